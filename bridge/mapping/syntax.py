"""Expression text → Python's syntax tree, within limits. Python's parser reads; nothing is ever evaluated."""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings
from typing import Final

from bridge.mapping.diagnostics import Source

MAX_LENGTH: Final = 2000
MAX_DEPTH: Final = 40
MAX_LITERAL: Final = 1000
MAX_DIGITS: Final = 40


class Parsed:
    """A syntax tree and the way from its nodes back to characters of the text."""

    def __init__(self, source: Source, tree: ast.expr, text: str, lead: int) -> None:
        self.source = source
        self.tree = tree
        self.text = text
        self.lead = lead
        self._encoded = None if text.isascii() else text.encode()

    def offset(self, node: ast.AST) -> int:
        """The character of the expression where a node starts (the tree counts UTF-8 bytes)."""
        column = int(getattr(node, "col_offset", 0))
        if self._encoded is not None:
            column = len(self._encoded[:column].decode(errors="ignore"))
        return column + self.lead

    def segment(self, node: ast.AST) -> str:
        return ast.get_source_segment(self.text, node) or ""


def parse(source: Source) -> Parsed | None:
    """Parse one expression, or report why not and give None."""
    if len(source.text.strip()) > MAX_LENGTH:
        source.add(
            "M018", 0, f"the expression is longer than {MAX_LENGTH} characters", "put part of it into a model field"
        )
        return None
    whole = re.sub(r"[\r\n]", " ", source.text)
    text = whole.lstrip(" ")
    lead = len(whole) - len(text)
    text = text.rstrip(" ")
    if not text:
        source.add("M010", 0, "an empty expression")
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tree = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        _report_syntax(source, error, lead, text)
        return None
    except (ValueError, MemoryError, RecursionError, Warning):
        source.add("M018", 0, "the expression is nested too deeply or holds too big a literal")
        return None
    parsed = Parsed(source, tree, text, lead)
    if "#" in text and (comment := _comment(text)) is not None:
        source.add("M010", comment + lead, "a comment inside an expression", "put it on a YAML line of its own")
        return None
    if (deep := _too_deep(tree)) is not None:
        source.add(
            "M018",
            parsed.offset(deep),
            f"nested more than {MAX_DEPTH} levels deep",
            "put part of it into a model field",
        )
        return None
    return parsed


def _report_syntax(source: Source, error: SyntaxError, lead: int, text: str) -> None:
    hint = ""
    if re.search(r"(?<![=!<>])=(?!=)", text):
        hint = "compare with '=='"
    elif "&&" in text or "||" in text or re.search(r"!(?!=)", text):
        hint = "write and, or, not"
    offset = max((error.offset or 1) - 1, 0)
    code = "M018" if "too many nested" in error.msg else "M010"
    source.add(code, min(offset, len(text)) + lead, f"cannot read the expression: {error.msg.split('. ')[0]}", hint)


def _comment(text: str) -> int | None:
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                return token.start[1]
    except (tokenize.TokenError, SyntaxError):
        return None
    return None


def _too_deep(tree: ast.expr) -> ast.AST | None:
    """The first node below the depth limit, found without recursion."""
    stack: list[tuple[ast.AST, int]] = [(tree, 1)]
    while stack:
        node, depth = stack.pop()
        if depth > MAX_DEPTH:
            return node if hasattr(node, "col_offset") else tree
        stack.extend((child, depth + 1) for child in ast.iter_child_nodes(node))
    return None
