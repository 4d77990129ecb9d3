"""Tables whose rows are not what they seem: one attribute per row, one version per row, rows that only look deleted."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple

from bridge.mapping.catalog import CatalogTable
from bridge.mapping.types import column_type
from bridge.scaffold.columns import is_technical
from bridge.scaffold.names import sayable, words
from bridge.scaffold.personal import kind_of
from bridge.scaffold.sample import TableSample

MOST_ATTRIBUTES: Final = 25  # that a draft reads one by one
LONGEST: Final = 60  # characters of an attribute's name
_FEW: Final = 3  # columns beside key, name and value
_NAMES: Final = (
    ("attribute", "name"), ("attribute", "code"), ("attribute", "key"), ("attribute",), ("property",), ("parameter",),
    ("property", "name"), ("parameter", "name"), ("key",), ("name",), ("field", "name"), ("field",), ("code",),
)  # fmt: skip
_VALUES: Final = frozenset({"value", "wert", "text"})
_STARTS: Final = (
    ("valid", "from"), ("effective", "from"), ("effective", "date"), ("from", "date"), ("start", "date"),
    ("date", "from"), ("begin", "date"), ("gueltig", "von"), ("valid", "since"), ("valid", "start"),
)  # fmt: skip
_ENDS: Final = (
    ("valid", "to"), ("valid", "until"), ("effective", "to"), ("to", "date"), ("end", "date"), ("date", "to"),
    ("valid", "end"), ("expiry", "date"), ("gueltig", "bis"), ("valid", "thru"),
)  # fmt: skip
_DELETED: Final = frozenset({"deleted", "delete", "removed", "geloescht"})


class Attributes(NamedTuple):
    """An entity-attribute-value table. ``found``: the attributes that occur; ``personal``: those of them left out."""

    name: str
    value: str
    found: tuple[str, ...]
    personal: tuple[str, ...]


def attributes(table_name: str, table: CatalogTable, joins: Collection[str], seen: TableSample) -> Attributes | None:
    """The columns of name and value of a child that holds one attribute per row, or None."""
    own = [column for column in table.columns if column not in joins and not is_technical(column)]
    value = next((column for column in own if _VALUES.intersection(words(column)[-1:])), None)
    names = [
        column for column in own if words(column) in _NAMES and column_type(table.columns[column].type).kind in _TEXT
    ]
    names.sort(key=lambda column: _NAMES.index(words(column)))
    if value is None or not names or value == names[0] or len(own) > 2 + _FEW:
        return None
    found = sorted({str(one) for one in seen.values(names[0])})
    if len(found) > MOST_ATTRIBUTES or any(not one.isprintable() or not 0 < len(one) <= LONGEST for one in found):
        found = []
    known = table.columns[value]
    personal = tuple(one for one in found if kind_of(table_name, one, known, TableSample()))
    return Attributes(names[0], value, tuple(one for one in found if one not in personal), personal)


_TEXT: Final = ("string", "any")


def since(table: CatalogTable) -> str | None:
    """The column from which a version of a row is valid, in a table that also says until when; None elsewhere."""
    start = _first(table, _STARTS)
    return start if start is not None and _first(table, _ENDS) is not None else None


def _first(table: CatalogTable, endings: tuple[tuple[str, ...], ...]) -> str | None:
    for column, known in table.columns.items():
        kind = column_type(known.type).kind
        if kind in ("date", "timestamp") and any(words(column)[-len(end) :] == end for end in endings):
            return column
    return None


def alive(table: CatalogTable, seen: TableSample) -> tuple[str, str] | None:
    """(the condition that a row which is not deleted meets, the column) where rows only get a mark; None elsewhere."""
    for column, known in table.columns.items():
        own, kind = words(column), column_type(known.type).kind
        if not sayable(column) or column in ("true", "false", "null") or not _DELETED.intersection(own):
            continue
        if kind in ("timestamp", "date") and known.nullable is not False:
            return f"{column} is None", column
        if own[-1] not in ("deleted", "delete", "flag", "indicator", "ind", "kz", "removed"):
            continue
        if kind == "bool":
            return f"{column} != True", column
        if kind == "int":
            return f"{column} != 1", column
        values = {str(value).upper() for value in seen.values(column)}
        if kind == "string" and values <= {"Y", "N", "J", ""}:
            return f"{column} != '{'J' if 'J' in values else 'Y'}'", column
    return None
