"""The codes of a column: from its enum type, from what its comment says, or from the values that occur."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bridge.mapping.catalog import CatalogColumn
from bridge.mapping.types import column_type
from bridge.scaffold.names import IDS, constant, words
from bridge.scaffold.sample import TableSample

MOST: Final = 12  # values of a code; more are no code
LONGEST: Final = 24  # characters of one
MANY: Final = 20  # images that a column with another name must have, to be taken for a code
STATES: Final = frozenset({"status", "state", "phase", "stage", "zustand"})
_CODES: Final = STATES | frozenset("type kind category class channel method mode tier level priority reason".split())
_FLAGS: Final = frozenset({"flag", "indicator", "ind", "kz", "yn"})
_YES: Final = ("Y", "J", "T", "1", "YES", "TRUE", "X")
_NO: Final = ("N", "F", "0", "NO", "FALSE", "")
_CODE: Final = re.compile(r"[^\s'\"]{1,24}(?: [^\s'\"]+)?")
_SAID: Final = re.compile(
    r"""(?:^|[\s,;(/|:])['"]?([A-Z0-9]{1,4})['"]?\s*(?:=>|->|[=:\u2013\u2192-]|\s)\s*['"]?([^\W\d_][\w -]*?)['"]?\s*
    (?=$|[,;/|().\n\u201c"]|\b(?:and|or|und|oder)\b|\s['"]?[A-Z0-9]{1,4}['"]?\s*[=:\u2013\u2192-])""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Codes:
    """``values``: code → VALUE, in a good order. ``why``: where they come from."""

    values: Mapping[str, str]
    why: str


def is_state(column: str) -> bool:
    """Is it the column that says where in its life the thing is?"""
    return bool(STATES.intersection(words(column)[-1:]))


def flag(column: str, known: CatalogColumn, seen: TableSample) -> tuple[str, str] | None:
    """(the value that means yes, why) of a column that holds yes and no as text or number."""
    kind, own = column_type(known.type).kind, words(column)
    if kind not in ("string", "int"):
        return None
    values = {str(value).upper() for value in seen.values(column)} | {value.upper() for value in known.values}
    named = bool(_FLAGS.intersection(own[-1:])) or own[:1] in (("is",), ("has",))
    if re.match(r"tinyint\(1\)", known.type.lower()) and values <= {"0", "1"}:
        return "1", "tinyint(1) is MySQL's boolean"
    if not values:
        yes = "1" if kind == "int" else "J" if re.search(r"\bJ\b", known.comment) else "Y"
        return (yes, f"by its name a flag; is '{yes}' yes?") if named and _short(known) else None
    if kind == "int" and not values <= {"0", "1"}:
        return None
    if not values <= {*_YES, *_NO} or len(values) > 2 or (not named and len(values) < 2):  # noqa: PLR2004 - yes and no
        return None
    yes = next((value for value in _YES if value in values), "")
    if not yes:
        yes = "1" if "0" in values else "Y"
        return yes, f"the sample has only {_listed(values)}; is '{yes}' yes?"
    return (yes, f"the sample has only {_listed(values)}") if named or not values.isdisjoint(_NO) else None


def _short(known: CatalogColumn) -> bool:
    return bool(re.search(r"\(1\)|\bchar\Z|tinyint|smallint", known.type.lower()))


def _listed(values: set[str]) -> str:
    return " and ".join(f"'{value}'" for value in sorted(values))


def codes(column: str, known: CatalogColumn, seen: TableSample) -> Codes | None:
    """The codes of a column, or None if it is no code as far as anybody can tell."""
    if "null" in known.values:
        return None  # as a code, null means a null: such a type cannot be listed
    if known.values:
        return Codes(_named(list(known.values), column, {}), "all values of the column's type")
    if column_type(known.type).kind not in ("string", "int", "any"):
        return None
    said = _said(known.comment)
    values = seen.values(column)
    count = sum(values.values())
    texts = sorted(str(value) for value in values)
    if said and {*texts} <= {*said}:
        return Codes(_named(list(said), column, said), "as the column's comment says")
    last = words(column)[-1:]
    if not 1 < len(texts) <= MOST or not all(_is_code(text) for text in texts):
        return None
    few = count >= MANY and count >= 4 * len(texts) and column_type(known.type).kind == "string"
    if _CODES.intersection(last) or (few and not IDS.intersection(last)):
        return Codes(_named(texts, column, said), f"guess: what occurs in {count} rows of the sample")
    return None


def _is_code(text: str) -> bool:
    return len(text) <= LONGEST and text != "null" and (not text or _CODE.fullmatch(text) is not None)


def _said(comment: str) -> dict[str, str]:
    """``N new, P placed`` → {N: new, P: placed}; {} if the comment lists no codes."""
    found = {code: meaning.strip() for code, meaning in _SAID.findall(comment[:500])}
    return found if len(found) > 1 else {}


def _named(values: list[str], column: str, said: Mapping[str, str]) -> dict[str, str]:
    """Each code with a name in capitals: what the comment calls it, the code itself if it is a word, else a placeholder."""
    found: dict[str, str] = {}
    for value in values:
        name = constant(said.get(value, "")) or (constant(value) if len(constant(value)) > 2 else "")  # noqa: PLR2004
        if not name or not name[0].isalpha():
            stem = constant(" ".join(words(column)[-1:])) or "CODE"
            name = f"{stem}_{constant(value) or ('EMPTY' if not value else len(found) + 1)}"
        while name in found.values() and said.get(value) is None and constant(value) != name:
            name += "_"
        found[value] = name
    return found
