"""What a window keeps while it is open, and how that stands in the changelog.

``window`` NUL name NUL ``h``: the window; NUL number: one row that it changed. A row is written again when it changes
again, and holds its before image, so that a window of many rows costs per change what the change is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from bridge.core import packed
from bridge.core.collapse import NetChange
from bridge.core.transaction import SourceTransaction
from bridge.errors import Fatal
from bridge.model import InputPartition, Row

Record = tuple[str, int, int]  # topic, partition, offset
_HEADER = b"h"


class Seen(msgspec.Struct, frozen=True):
    """A transaction that a window saw. ``offset``: of its END; ``time_ms``: event time, ``commit_ms``: its own."""

    group: str
    position: int
    offset: int
    commit_ms: int
    time_ms: int

    @staticmethod
    def of(transaction: SourceTransaction, event_time_ms: int) -> Seen:
        return Seen(transaction.group, transaction.position, transaction.offset, transaction.ts_ms, event_time_ms)


class Records:
    """The records of one transaction, by the row that they are about. Read only where a window wants to know."""

    def __init__(self, transaction: SourceTransaction, partitions: Sequence[InputPartition]) -> None:
        self._transaction = transaction
        self._partitions = partitions
        self._found: dict[tuple[int, bytes], tuple[Record, Record]] = {}

    def of(self, change: NetChange) -> tuple[Record, Record]:
        """The first and the last one of a row."""
        if not self._found:
            for one in self._transaction.changes:
                record = (*self._partitions[one.partition], one.offset)
                place = (one.table.number, one.row_key)
                self._found[place] = (self._found.get(place, (record,))[0], record)
        old = self._found.get((change.table, change.old_key))
        new = self._found.get((change.table, change.row_key))
        first, last = old or new, new or old
        if first is None or last is None:  # a foreign key did it: some record of the transaction stands for it
            return (some := next(iter(self._found.values()))[0]), some
        return first[0], last[1]


class Held(msgspec.Struct, eq=False):
    """One row that a window changed: as it was before the first change, and where it is now.

    ``row_key`` is GONE when another row took its key. ``first``, ``last``: the records of its first and last change.
    """

    number: int
    table: int
    old_key: bytes
    row_key: bytes
    before: Row | None
    created: int  # as in StoredRow
    damaged: bool
    steps: list[Row]
    first: Record
    last: Record


class OpenWindow(msgspec.Struct, eq=False):
    """One window. ``old_key``, ``new_key``: the root's key before it and now; ``root_key``: what it is told by, always."""

    PREFIX: ClassVar[bytes] = b"window\x00"

    name: bytes
    mapping: int
    aggregate: str
    root_key: bytes
    old_key: bytes
    new_key: bytes
    first: Seen
    last: Seen
    transactions: int = 0
    rows: list[Held] = msgspec.field(default_factory=list)

    @property
    def header_name(self) -> bytes:
        return self.PREFIX + self.name + b"\x00" + _HEADER

    def row_name(self, held: Held) -> bytes:
        return self.PREFIX + self.name + b"\x00%d" % held.number

    def records(self, change: NetChange) -> list[Record]:
        """The first and the last record of one of its net changes."""
        held = self.rows[change.order]
        return [held.first] if held.first == held.last else [held.first, held.last]

    def as_transaction(self) -> SourceTransaction:
        """The unit as the steps behind take one: at the first change's place, at the last one's time."""
        return SourceTransaction(self.first.group, self.first.position, [], self.last.commit_ms, self.first.offset, [])


def header(window: OpenWindow) -> bytes:
    """The window without its rows."""
    return packed.encode(
        (
            window.aggregate,
            window.root_key,
            window.old_key,
            window.new_key,
            msgspec.structs.astuple(window.first),
            msgspec.structs.astuple(window.last),
            window.transactions,
        )
    )


def held_row(held: Held, table: str) -> bytes:
    """One row of it. Tables go by name: numbers are those of one start."""
    flags = 2 * held.created + held.damaged
    return packed.encode((table, held.old_key, held.row_key, held.before, flags, held.steps, held.first, held.last))


def load(
    metas: Sequence[tuple[bytes, bytes]],
    mappings: Mapping[str, int],
    tables: Mapping[str, int],
    widths: Sequence[int],
) -> tuple[list[OpenWindow], list[bytes]]:
    """Open windows with their rows, and the names of what belongs to an aggregate that is not in ``mappings``.

    Raises Fatal for rows of other columns than ``widths``.
    """
    windows: dict[bytes, OpenWindow] = {}
    foreign: list[bytes] = []
    parts = [(*_split(name), name, packed.decode(value)) for name, value in metas]
    for name, part, meta, values in parts:
        if part != _HEADER:
            continue
        if values[0] not in mappings:
            foreign.append(meta)
            continue
        aggregate, root_key, old_key, new_key, first, last, transactions = values
        windows[name] = OpenWindow(
            name, mappings[aggregate], aggregate, root_key, old_key, new_key, Seen(*first), Seen(*last), transactions
        )
    for name, part, meta, values in parts:
        if part == _HEADER:
            continue
        if name in windows:
            windows[name].rows.append(_held(int(part), values, tables, widths))
        else:
            foreign.append(meta)
    for window in windows.values():
        window.rows.sort(key=lambda held: held.number)
    return list(windows.values()), foreign


def _split(meta: bytes) -> tuple[bytes, bytes]:
    name, _, part = meta[len(OpenWindow.PREFIX) :].rpartition(b"\x00")
    return name, part


def _held(number: int, values: tuple[Any, ...], tables: Mapping[str, int], widths: Sequence[int]) -> Held:
    table, old_key, row_key, before, flags, steps, first, last = values
    rows = [before, *steps]
    if table not in tables or any(row is not None and len(row) != widths[tables[table]] for row in rows):
        raise Fatal(
            f"an open window holds rows of {table} with other columns than the mappings use",
            "take the change of the mapping back until the window has closed",
            code="B503",
        )
    return Held(
        number,
        tables[table],
        old_key,
        row_key,
        None if before is None else tuple(before),
        flags >> 1,
        bool(flags & 1),
        [tuple(step) for step in steps],
        tuple(first),
        tuple(last),
    )
