"""The used columns of one table, taken out of a row image: with their types, and without TOAST placeholders."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import msgspec

from bridge.core import wire
from bridge.model import UNKNOWN, Layout, Modes, Row

RAW_NULL = msgspec.Raw(b"null")
# What bytes of anyone's making can make reading them raise; RecursionError for JSON that nests without end.
BROKEN = (msgspec.DecodeError, ValueError, KeyError, TypeError, ArithmeticError, RecursionError)
_PLACEHOLDERS = wire.PLACEHOLDERS
_astuple = msgspec.structs.astuple


class TableDecoder:
    """Takes the used columns out of one table's row images; one per mapped table, shared by all its partitions."""

    def __init__(self, layout: Layout, number: int, modes: Modes | None = None, connector: str = "postgresql") -> None:
        self.name = layout.table
        self.layout = layout
        self.number = number
        self.schema = ""  # the database schema that it was last seen in
        self.sparse = False  # whether a row ever came without one of the columns
        self.used, self._decode, self._decode_sparse = _decoders(layout.columns)
        self.unknown_row: Row = (UNKNOWN,) * len(layout.columns)
        types = layout.types or ("",) * len(layout.columns)
        told = [wire.from_catalog(sql_type, modes, connector) if sql_type else None for sql_type in types]
        self._told = Told(connector, types, told)
        self._converts = [(slot, convert) for slot, convert in enumerate(told) if convert is not None]
        self._inline_schema: bytes | None = None

    def learn(self, schema: bytes) -> None:
        """Take the columns' types from an inline schema; the same text again costs one comparison."""
        if schema == self._inline_schema:
            return
        self._converts = _converts(schema, self.layout, self._told)
        self._inline_schema = schema

    def row(self, image: msgspec.Raw) -> Row | None:
        """The used columns of a row image; None for a JSON null. Raises BROKEN."""
        try:
            found = self._decode(image)
        except msgspec.ValidationError:
            found = self._decode_sparse(image)
            self.sparse = True
        return None if found is None else self.taken(found)

    def taken(self, found: Any) -> Row:
        """The columns of an image that was decoded into ``used``, a Struct of them. Raises BROKEN."""
        row: Row = _astuple(found)
        return self._converted(row) if self._converts else row

    def without_placeholders(self, row: Row) -> Row:
        """TOAST placeholders mean "unchanged": not known from this record."""
        return tuple(UNKNOWN if _is_placeholder(value) else value for value in row)

    def from_key(self, row_key: bytes) -> Row:
        """All that a record key says of its row: its key columns, the rest UNKNOWN."""
        try:
            row = self.row(msgspec.Raw(row_key))
        except BROKEN:
            return self.unknown_row
        return row or self.unknown_row

    def _converted(self, row: Row) -> Row:
        values = list(row)
        for slot, convert in self._converts:
            value = values[slot]
            if value is not None and value is not UNKNOWN and value != wire.PLACEHOLDER:
                values[slot] = convert(value)
        return tuple(values)


@cache
def _decoders(
    columns: tuple[str, ...],
) -> tuple[type[msgspec.Struct], Callable[[msgspec.Raw], Any], Callable[[msgspec.Raw], Any]]:
    """A Struct of them; what reads images with all of the columns, and those that lack some.

    Made once: a class costs more than many rows.
    """
    strict = [(f"f{slot}", Any, msgspec.field(name=name)) for slot, name in enumerate(columns)]
    sparse = [(f"f{slot}", Any, msgspec.field(name=name, default=UNKNOWN)) for slot, name in enumerate(columns)]
    used = msgspec.defstruct("Row", strict, gc=False)
    return (
        used,
        msgspec.json.Decoder(used | None).decode,
        msgspec.json.Decoder(msgspec.defstruct("Row", sparse, gc=False)).decode,
    )


def is_clean(row: Row) -> bool:
    """Whether no value is a TOAST placeholder; an array, which cannot be hashed, is looked into later."""
    try:
        return _PLACEHOLDERS.isdisjoint(row)
    except TypeError:
        return False


def _is_placeholder(value: Any) -> bool:
    if isinstance(value, str):
        return value in _PLACEHOLDERS
    if not isinstance(value, list):
        return False
    return value == wire.PLACEHOLDER_NUMBERS or any(_is_placeholder(element) for element in value)


class Told(NamedTuple):
    """What the catalog and the modes say of each column."""

    connector: str
    types: tuple[str, ...]
    converts: list[wire.Convert | None]


class _SchemaField(msgspec.Struct):
    """What matters of a Kafka Connect schema: an envelope's, a row's, a column's or an array's elements'."""

    field: str = ""
    type: str = ""
    name: str | None = None
    parameters: dict[str, str] | None = None
    fields: list[_SchemaField] | None = None
    items: _SchemaField | None = None

    def convert(self) -> wire.Convert | None:
        items = None if self.items is None else self.items.convert()
        return wire.from_schema(self.name, self.parameters, self.type, items)


_decode_schema = msgspec.json.Decoder(_SchemaField).decode


def _converts(schema: bytes, layout: Layout, told: Told) -> list[tuple[int, wire.Convert]]:
    parts = _decode_schema(schema).fields or []
    image = next((part for part in parts if part.field in ("after", "before")), None)
    columns = {part.field: part for part in (parts if image is None else image.fields or [])}
    found = []
    for slot, column in enumerate(layout.columns):
        known = columns.get(column)
        if known is None:
            continue
        kind = known.type if known.items is None else known.items.type
        more = told.types[slot] and wire.says_more(told.types[slot], kind, told.connector)
        convert = told.converts[slot] if more else known.convert()
        if convert is not None:
            found.append((slot, convert))
    return found
