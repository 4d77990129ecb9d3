"""YAML that knows where everything stands, and that refuses what YAML would quietly get wrong.

``parse(text, file)`` gives a ``Located``: plain data (dict, list, str, int, float, bool, None) and, for every path
into it,
line and column. Mistakes are ``Located.diagnostics``, as many at once as can be found; with any of them the data may
be partial.

Only ``true``, ``false``, ``null``, ``~`` and JSON's numbers are not text: ``no``, ``on``, ``1:30`` and dates stay
text, and what
YAML 1.1 and 1.2 read as different numbers (``012``, ``1_000``, ``0x1F``) is refused.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import Any, Final

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from bridge.model import Diagnostic
from bridge.yaml_nodes import IMPLICIT, MAX_DEPTH, STRING, Limits, UnsoundError, compose

Path = tuple[str | int, ...]

MAX_DIGITS: Final = 400  # of a number; longer ones stay text
MAX_TABS: Final = 20  # reported
MAX_FOUND: Final = 500  # diagnostics of one file
MAX_SHOWN: Final = 500  # characters of a line that a diagnostic shows

CODES: Final[dict[str, str]] = {
    "Y001": "the file is not valid YAML",
    "Y002": "a key stands twice in one mapping",
    "Y003": "a number that YAML versions read differently",
    "Y004": "a tag; data is plain",
    "Y005": "aliases that grow too big or contain themselves",
    "Y006": "the file, or a text in it, is too big",
    "Y007": "nested too deeply",
    "Y008": "too many nodes",
    "Y009": "a tab",
    "Y010": "an expression that a flow mapping or list cut apart",
    "Y011": "not exactly one document with a mapping at its top",
    "Y012": "a key that is not plain text",
}

_INT = re.compile(r"-?(?:0|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+(?:[eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)\Z")
_TRAP = re.compile(
    r"[-+]?(?:0[0-9][0-9_]*|0x[0-9a-fA-F_]+|0o[0-7_]+|0b[01_]+|[1-9][0-9]*(?:_[0-9]+)+)\Z|\+[0-9][0-9_]*\Z"
)
_HALF: Final = re.compile("[\ud800-\udfff]")
_ESCAPE_LENGTH = {"x": 4, "u": 6, "U": 10}
_NUMERIC: Final = frozenset("0123456789-+")  # how a number starts, or what looks like one
_WORDS: Final[dict[str, bool | None]] = {"true": True, "false": False, "null": None, "~": None, "": None}


class Located:
    """The data of one file and the place of each part of it. ``diagnostics`` is empty if the file is sound YAML."""

    def __init__(self, text: str, file: str, limits: Limits) -> None:
        self.file = file
        self.limits = limits
        self.text = text
        self.data: Any = None
        self.diagnostics: list[Diagnostic] = []
        self._starts = [0, *(m.end() for m in re.finditer("\n", text))]
        self._nodes: dict[Path, Node] = {}
        self._keys: dict[Path, Node] = {}

    def position(self, index: int) -> tuple[int, int]:
        """Line and column, from 1, of a character of the file."""
        line = bisect_right(self._starts, index)
        return line, index - self._starts[line - 1] + 1

    def diagnostic(self, code: str, message: str, index: int, hint: str = "") -> Diagnostic:
        """A diagnostic at a character of the file."""
        line, column = self.position(min(index, len(self.text)))
        start = self._starts[line - 1]
        end = self.text.find("\n", start)
        end = end if end >= 0 else len(self.text)
        shown = self.text[start : min(end, start + MAX_SHOWN)].rstrip() if column <= MAX_SHOWN else ""
        return Diagnostic(code, message, self.file, line, column, shown.replace("\t", " "), hint)

    def index(self, path: Path, offset: int | None = None, *, key: bool = False) -> int:
        """Where the value of ``path`` (or its key) starts; with ``offset``: that character of the scalar's value.

        A path that does not exist gives the nearest parent that does.
        """
        while path:
            node = (self._keys.get(path) if key else None) or self._nodes.get(path)
            if node is not None:
                if offset is not None and isinstance(node, ScalarNode):
                    return self._character(node, offset)
                return int(node.start_mark.index)
            path = path[:-1]
            key, offset = True, None
        return 0

    def place(self, path: Path) -> str:
        """``file:line`` of the key of ``path``, for messages at run time."""
        return f"{self.file}:{self.position(self.index(path, key=True))[0]}"

    def scalar(self, path: Path) -> str | None:
        """The text of a scalar as it was written (``true`` and ``12`` too), or None if there is no non-empty scalar."""
        node = self._nodes.get(path)
        if not isinstance(node, ScalarNode) or (node.style is None and node.value in {"", "~", "null"}):
            return None
        return str(node.value) if len(node.value) <= self.limits.text else None

    def _character(self, node: ScalarNode, offset: int) -> int:
        """Align the value with the raw text, whatever the style, up to ``offset``."""
        raw, style, i = self.text, node.style, int(node.start_mark.index)
        indent = ""
        if style in {"|", ">"}:
            i = raw.find("\n", i) + 1
            content = re.compile(r"(?:[ ]*\n)*([ ]*)").match(raw, i)
            indent = content.group(1) if content else ""
            i = content.end() if content else i
        elif style in {"'", '"'}:
            i += 1
        for char in str(node.value)[:offset]:
            if char in " \n" and (gap := _GAP.match(raw, i)):
                i = gap.end() if not indent else raw.find("\n", i) + 1 + len(indent)
            elif style == "'" and raw.startswith("''", i):
                i += 2
            elif style == '"' and raw.startswith("\\", i):
                i += _ESCAPE_LENGTH.get(raw[i + 1 : i + 2], 2)
            else:
                i += 1
        return i


_GAP = re.compile(r"[ ]*\r?\n\s*")


def parse(text: str, file: str, limits: Limits = Limits()) -> Located:  # noqa: B008 - a constant
    """Read one YAML document. Never raises: what is wrong is in ``Located.diagnostics``."""
    text = text.removeprefix("\ufeff")
    located = Located(text, file, limits)
    if len(text) > limits.size or len(text.encode("utf-8", "surrogatepass")) > limits.size:
        located.diagnostics.append(Diagnostic("Y006", f"the file is larger than {limits.size} bytes", file))
        return located
    for line in re.finditer(r"^[ ]*\t|\t", text, re.MULTILINE):
        located.diagnostics.append(
            located.diagnostic(
                "Y009", "a tab", line.end() - 1, 'indent and separate with spaces; write "\\t" in quotes if it is data'
            )
        )
        if len(located.diagnostics) == MAX_TABS:
            break
    if located.diagnostics:
        return located
    try:
        node = compose(located.text, limits)
    except UnsoundError as error:
        located.diagnostics.append(located.diagnostic(error.code, error.message, error.index, error.hint))
    else:
        _Reader(located, limits).read(node)
    return located


class _Reader:
    """Walks the nodes once: builds data, notes places, reports."""

    def __init__(self, located: Located, limits: Limits) -> None:
        self.located = located
        self.limits = limits
        self.visits = 0
        self.stopped = False

    def read(self, node: Node) -> None:
        if not isinstance(node, MappingNode):
            self.report("Y011", "the top of the file is not a mapping", node)
            return
        self.located.data = self.value(node, (), 0)

    def report(self, code: str, message: str, node: Node, hint: str = "") -> None:
        self.located.diagnostics.append(self.located.diagnostic(code, message, node.start_mark.index, hint))
        self.stopped = self.stopped or len(self.located.diagnostics) >= MAX_FOUND

    def value(self, node: Node, path: Path, depth: int) -> Any:
        """The data of a node. Aliased nodes are walked once per use, so that visits bound what they grow to."""
        self.visits += 1
        if depth > MAX_DEPTH or self.visits > self.limits.nodes:
            if not self.stopped:
                self.report(
                    "Y005", "aliases grow beyond the limits, or contain themselves", node, "write the values out"
                )
            self.stopped = True
            return None
        self.located._nodes[path] = node  # noqa: SLF001 - the reader fills what it reads for
        if isinstance(node, ScalarNode):
            return self.scalar(node)
        if node.tag not in IMPLICIT.values():
            self.report("Y004", f"unknown tag {node.tag.replace('tag:yaml.org,2002:', '!!')[:60]}", node, "remove it")
        if len(node.value) > self.limits.entries:
            self.report("Y008", f"more than {self.limits.entries} entries in one mapping or list", node)
            return None
        if isinstance(node, SequenceNode):
            if node.flow_style:
                self.cut_apart(node.value)
            return [self.value(child, (*path, i), depth + 1) for i, child in enumerate(node.value) if not self.stopped]
        return self.mapping(node, path, depth) if isinstance(node, MappingNode) else None

    def mapping(self, node: MappingNode, path: Path, depth: int) -> dict[str, Any]:
        data: dict[str, Any] = {}
        if node.flow_style:
            self.cut_apart([part for pair in node.value for part in pair])
        for key_node, value_node in node.value:
            if self.stopped:
                break
            key = self.key(key_node)
            if key is None:
                continue
            if key in data:
                self.report("Y002", f"the key '{key}' stands twice", key_node, "remove one")
                continue
            self.located._keys[(*path, key)] = key_node  # noqa: SLF001
            data[key] = self.value(value_node, (*path, key), depth + 1)
        return data

    def key(self, node: Node) -> str | None:
        """Keys are text as written: ``1`` and ``no`` and ``null`` are the texts '1', 'no' and 'null'."""
        if not isinstance(node, ScalarNode):
            self.report("Y012", "a key must be plain text", node)
            return None
        if node.style is None and node.value == "<<":
            self.report("Y012", "the merge key '<<' is not supported", node, "write the keys out")
            return None
        if not self.fits(node, "key"):
            return None
        self.scalar(node)
        return str(node.value)

    def fits(self, node: ScalarNode, what: str) -> bool:
        """Is it not too long, and made of characters?"""
        if len(node.value) > self.limits.text:
            self.report("Y006", f"a {what} of more than {self.limits.text} characters", node)
            return False
        if node.style == '"' and _HALF.search(node.value):
            self.report("Y001", "half of a character: the escape of a surrogate", node, "write the character itself")
            return False
        return True

    def scalar(self, node: ScalarNode) -> Any:
        if node.tag not in _SCALAR_TAGS:
            self.report("Y004", f"unknown tag {node.tag[:60]}", node, "remove it")
            return None
        text = str(node.value)
        if not self.fits(node, "text"):
            return None
        if node.style is not None or (text == "" and node.tag == STRING):
            return text
        if text in _WORDS:
            return _WORDS[text]
        if text[0] not in _NUMERIC:
            return text
        if _INT.match(text):
            return int(text) if len(text) <= MAX_DIGITS else text
        if _FLOAT.match(text):
            return float(text)
        if _TRAP.match(text):
            self.report(
                "Y003", f"{text[:40]} is read differently by different YAML versions", node, f"quote it: '{text[:40]}'"
            )
        return text

    def cut_apart(self, parts: list[Node]) -> None:
        """``{from: f(a, b)}`` is two keys, ``from: f(a`` and ``b)``: unbalanced parentheses give it away."""
        for part in dict.fromkeys(parts):
            if isinstance(part, ScalarNode) and part.style is None and _open(part.value) > 0:
                hint = "quote it inside { } and [ ], or use lines instead"
                self.report("Y010", f"the comma after '{part.value[:100]}' cuts the expression apart", part, hint)
                return


_SCALAR_TAGS = {
    "",
    *(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "timestamp", "merge", "value")),
}


def _open(text: str) -> int:
    """How many parentheses are open at the end of ``text``."""
    text = re.sub(r"'[^']*'|\"[^\"]*\"", "", text)
    return text.count("(") - text.count(")")
