"""What rows of the source look like: the values of each table's columns, from captures or from the database itself.

Values are canonical (see ``bridge.core.wire``). A sample says what occurs, never what cannot: whatever is concluded from
it is a guess, and the draft says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Final

import msgspec

from bridge.core.columns import RAW_NULL, TableDecoder
from bridge.mapping.catalog import Catalog, CatalogTable
from bridge.model import UNKNOWN, InboundRecord, Layout, Modes

Image = dict[str, Any]  # a row: column → canonical value; columns that nobody knows are left out

IMAGES_MAX: Final = 10_000  # of one table; more would not change what is guessed


class TableSample:
    """``images``: rows as they were at some time, so one row may be there several times, with each status it had.

    ``whole``: every row of the table is among them, so that a value that no row has is in no row.
    """

    def __init__(
        self, images: Sequence[Image] = (), key: tuple[str, ...] | None = None, *, whole: bool = False
    ) -> None:
        self.images = images
        self.whole = whole
        self._key = key

    @cached_property
    def rows(self) -> list[Image]:
        """The last image of each row."""
        if not self._key:
            return list(self.images)
        last = {tuple(repr(image.get(column)) for column in self._key): image for image in self.images}
        return list(last.values())

    def values(self, column: str) -> Counter[Any]:
        """How often each value of a column occurs, nulls apart; blanks around a text say nothing."""
        found: Counter[Any] = Counter()
        for image in self.images:
            value = image.get(column)
            if isinstance(value, str):
                value = value.strip()
            if isinstance(value, (str, int, float)):
                found[value] += 1
        return found

    def texts(self, column: str) -> Iterator[str]:
        """The texts of a column as they are, blanks and all."""
        return (image[column] for image in self.images if isinstance(image.get(column), str))

    def has_null(self, column: str) -> bool:
        return any(column in image and image[column] is None for image in self.images)

    def most_rows_per(self, columns: Sequence[str]) -> int:
        """How many rows share one value of the columns, at most."""
        keys = Counter(
            tuple(repr(row[column]) for column in columns)
            for row in self.rows
            if all(row.get(column) is not None for column in columns)
        )
        return max(keys.values(), default=0)


Sample = Mapping[str, TableSample]
_EMPTY: Final = TableSample()


def of(sample: Sample, table: str) -> TableSample:
    return sample.get(table, _EMPTY)


# -- from captures -----------------------------------------------------------------------------------------------------


class _Source(msgspec.Struct, gc=False):
    db: str = ""
    schema: str | None = None
    table: str | None = None
    snapshot: str | bool | None = None


class _Envelope(msgspec.Struct, gc=False):
    after: msgspec.Raw = RAW_NULL
    source: _Source | None = None


class _WithSchema(msgspec.Struct, gc=False):
    schema: msgspec.Raw
    payload: msgspec.Raw


_INLINE: Final = b'{"schema":{'
_decode = msgspec.json.Decoder(_Envelope).decode
_decode_with_schema = msgspec.json.Decoder(_WithSchema).decode


def from_captures(records: Iterable[InboundRecord], catalog: Catalog, modes: Modes | None = None) -> Sample:
    """The rows of the catalog's tables in captured records; a record that is no row of them says nothing here."""
    decoders = {name: _decoder(name, table, modes, catalog.connector) for name, table in catalog.tables.items()}
    images: dict[str, list[Image]] = {name: [] for name in catalog.tables}
    seeded: set[str] = set()
    for record in records:
        value = record.value()
        if value is None:
            continue
        try:
            name, image, seed = _row(value, decoders)
        except (msgspec.DecodeError, ValueError, KeyError, TypeError, ArithmeticError):
            continue  # not Debezium's, or a row that differs from the catalog: `check` and `run` are who complains
        if image and len(images[name]) < IMAGES_MAX:
            images[name].append(image)
            seeded.update([name] if seed else [])
    return {
        name: TableSample(found, catalog.tables[name].key, whole=name in seeded and len(found) < IMAGES_MAX)
        for name, found in images.items()
        if found
    }


def _decoder(name: str, table: CatalogTable, modes: Modes | None, connector: str) -> TableDecoder:
    types = tuple(column.type for column in table.columns.values())
    return TableDecoder(Layout(name, tuple(table.columns), types), 0, modes, connector)


def _row(value: bytes, decoders: Mapping[str, TableDecoder]) -> tuple[str, Image, bool]:
    """The table of a change event, its row after it, and whether a snapshot found it; ("", {}, …) for anything else."""
    schema = None
    if value.startswith(_INLINE):
        outer = _decode_with_schema(value)
        value, schema = bytes(outer.payload), bytes(outer.schema)
    envelope = _decode(value)
    source = envelope.source
    if source is None or source.table is None or envelope.after == RAW_NULL:
        return "", {}, False
    name = f"{source.schema or source.db}.{source.table}"
    decoder = decoders.get(name)
    if decoder is None:
        return "", {}, False
    if schema is not None:
        decoder.learn(schema)
    row = decoder.row(envelope.after) or ()
    columns = zip(decoder.layout.columns, decoder.without_placeholders(row), strict=True)
    image = {column: value for column, value in columns if value is not UNKNOWN}
    return name, image, source.snapshot not in ("false", False, None)
