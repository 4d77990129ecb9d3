"""What every code means, why it is one, and how to mend it: the text of ``bridge check --explain CODE``.

All of it stands in ``codes.yaml`` beside this file.
"""

from __future__ import annotations

from difflib import get_close_matches
from functools import cache
from importlib import resources
from textwrap import fill, indent
from typing import Final

import msgspec
import yaml

WIDTH: Final = 100


class Explanation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``wrong`` and ``right`` are YAML: entries of a mapping file, or a whole one; '' where no short text shows it."""

    meaning: str
    why: str
    mend: str
    wrong: str = ""
    right: str = ""


@cache
def explanations() -> dict[str, Explanation]:
    """By code."""
    text = resources.files("bridge").joinpath("codes.yaml").read_text(encoding="utf-8")
    return msgspec.convert(yaml.safe_load(text), dict[str, Explanation])


def explain(code: str) -> str:
    """The page of one code. Raises LookupError with what to type instead."""
    known = explanations()
    found = known.get(code.upper())
    if found is None:
        close = get_close_matches(code.upper(), known, n=1)
        hint = f"did you mean {close[0]}?" if close else "codes look like M012"
        raise LookupError(f"there is no code {code[:20]!r}; {hint}")
    parts = [f"{code.upper()}: {found.meaning}", _paragraph(found.why)]
    parts += [f"{name}:\n\n{indent(text.rstrip(), '    ')}" for name, text in _examples(found)]
    parts.append(_paragraph(f"To mend it: {found.mend}"))
    return "\n\n".join(parts) + "\n"


def _examples(found: Explanation) -> list[tuple[str, str]]:
    return [(name, text) for name, text in (("Wrong", found.wrong), ("Right", found.right)) if text]


def _paragraph(text: str) -> str:
    return fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)
