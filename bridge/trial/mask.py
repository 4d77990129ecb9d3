"""Made-up values in place of personal ones: the same value has the same stand-in, and its format is kept.

Personal is what a column is marked for (``pii`` in the catalog, or of a field that reads it), and what looks like a mail
address or a telephone number in any text. Columns of keys and joins are left as they are: rows would not meet any more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, Final

from bridge.mapping.cases import Row
from bridge.mapping.catalog import Catalog
from bridge.mapping.draft import Draft, ModelField
from bridge.mapping.nodes import Column, walk
from bridge.mapping.scope import columns_of

Place = tuple[str, str]  # table, column

_MAIL: Final = re.compile(r"[\w.%+-]+@[\w-]+(?:\.[\w-]+)+")
_PHONE: Final = re.compile(r"(?<![\w+.:-])(?:\+|00?|\()\d[\d ()/.-]{6,}\d(?![\w-])")
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d(?=\Z|T)")
_FIRST_DAY: Final = date(1970, 1, 1)


def marked(draft: Draft, catalog: Catalog | None) -> dict[Place, str]:
    """Columns of the mapping's tables that hold personal data, and the kind of it."""
    found: dict[Place, str] = {}
    for table in {alias.table for alias in draft.aliases.values()}:
        for name, column in (columns_of(catalog, table) or {}).items():
            if column.pii:
                found[table, name] = column.pii
    made = [item.made for event in draft.events for item in event.data if item.made is not None]
    for field in [*_all(draft.fields), *_all(made)]:
        if field.pii or field.type.kind == "token":
            kind = field.pii or field.type.pii or "person"
            for node in (node for expression in field.expressions() for node in walk(expression)):
                if isinstance(node, Column):
                    found.setdefault((draft.aliases[node.row.alias].table, node.name), kind)
    return found


def _all(fields: list[ModelField]) -> list[ModelField]:
    return [one for field in fields for one in (field, *_all(field.fields))]


def untouched(draft: Draft, keys: Mapping[str, tuple[str, ...]]) -> set[Place]:
    """Columns of keys and joins."""
    found = {(table, column) for table, columns in keys.items() for column in columns}
    found |= {(draft.aliases[draft.root].table, column) for column in draft.key}
    for alias in draft.aliases.values():
        for own, theirs in alias.match:
            found.add((alias.table, own))
            found.add((draft.aliases[alias.parent or draft.root].table, theirs))
    return found


class Mask:
    """Gives stand-ins, numbered in the order in which values come."""

    def __init__(self, kinds: Mapping[Place, str], keep: set[Place]) -> None:
        self._kinds = kinds
        self._keep = keep
        self._known: dict[tuple[str, str], int] = {}
        self._counts: dict[str, int] = {}

    def row(self, table: str, row: Row) -> Row:
        """The row without personal data."""
        return {column: self._value((table, column), value) for column, value in row.items()}

    def _value(self, place: Place, value: Any) -> Any:
        if value is None or isinstance(value, bool) or place in self._keep:
            return value
        kind = self._kinds.get(place)
        if isinstance(value, list):
            return [self._value(place, one) for one in value]
        if isinstance(value, str):
            return self._text(value) if kind is None else self._personal(kind, value)
        if kind is not None and isinstance(value, (int, float)):
            return type(value)(self._number(kind, str(value)))
        return value

    def _text(self, value: str) -> str:
        value = _MAIL.sub(lambda found: self._mail(found[0]), value)
        return _PHONE.sub(lambda found: self._digits("phone", found[0]), value)

    def _personal(self, kind: str, value: str) -> str:
        text = value.rstrip(" ")
        if not text:
            return value
        if _MAIL.fullmatch(text):
            made = self._mail(text)
        elif _DAY.match(text):
            made = (_FIRST_DAY + timedelta(days=self._number(kind, text))).isoformat() + text[10:]
        elif any(character.isalpha() for character in text):
            made = f"{kind.capitalize()} {self._number(kind, text)}"
        else:
            made = self._digits(kind, text)
        return made.ljust(len(value)) if text != value else made

    def _mail(self, value: str) -> str:
        made = f"person{self._number('mail', value)}@example.com"
        return made.upper() if value.isupper() else made

    def _digits(self, kind: str, value: str) -> str:
        """The same signs between other digits; a telephone number keeps the one that it begins with."""
        count = sum(character.isdigit() for character in value)
        digits = iter(str(self._number(kind, value)).rjust(count, "0")[-count:] if count else "")
        return "".join(next(digits) if character.isdigit() else character for character in value)

    def _number(self, kind: str, value: str) -> int:
        number = self._known.get((kind, value))
        if number is None:
            number = self._counts[kind] = self._counts.get(kind, 0) + 1
            self._known[kind, value] = number
        return number
