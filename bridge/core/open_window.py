"""What a window keeps while it is open, and how that stands in the changelog.

``window`` NUL name NUL ``h``: the window; NUL number: one row that it changed. A row is written again when it changes
again, and holds its before image, so that a window of many rows costs per change what the change is. It says by which
layout of the state it was written, as the state's rows do, and is read as they are.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import ClassVar, Protocol

import msgspec

from bridge.core import packed
from bridge.core.collapse import NetChange
from bridge.core.transaction import SourceTransaction
from bridge.model import InputPartition, Row

Record = tuple[str, int, int]  # topic, partition, offset
ReadRow = Callable[[int, int, Row], Row]  # table, the layout that a row was written by, the row
_HEADER = b"h"


class State(Protocol):
    """What is needed of a state to take windows over."""

    def put_meta(self, name: bytes, value: bytes | None) -> None: ...
    def metas(self, prefix: bytes) -> list[tuple[bytes, bytes]]: ...
    @property
    def layout(self) -> int: ...


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

    @property
    def next_number(self) -> int:
        """Of a row that it changes now: rows of a table that is not used any more leave gaps."""
        return self.rows[-1].number + 1 if self.rows else 0

    def records(self, change: NetChange) -> list[Record]:
        """The first and the last record of one of its net changes."""
        held = self.rows[bisect_left(self.rows, change.order, key=lambda one: one.number)]
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


def held_row(held: Held, table: str, layout: int) -> bytes:
    """One row of it, written by a layout. Tables go by name: numbers are those of one start."""
    flags = 2 * held.created + held.damaged
    values = (layout, table, held.old_key, held.row_key, held.before, flags, held.steps, held.first, held.last)
    return packed.encode(values)


def load(
    metas: Sequence[tuple[bytes, bytes]],
    mappings: Mapping[str, int],
    tables: Sequence[Mapping[str, int]],
    read: ReadRow,
) -> tuple[list[OpenWindow], list[bytes]]:
    """Open windows with their rows, and the names of what nobody uses any more.

    ``mappings``: numbers by aggregate; ``tables``: per mapping, the numbers of its tables by name.
    """
    windows: dict[bytes, OpenWindow] = {}
    foreign: list[bytes] = []
    parts = [(*_split(name), name, value) for name, value in metas]
    for name, part, meta, value in parts:
        if part != _HEADER:
            continue
        aggregate, root_key, old_key, new_key, first, last, transactions = packed.decode(value)
        if aggregate not in mappings:
            foreign.append(meta)
            continue
        windows[name] = OpenWindow(
            name, mappings[aggregate], aggregate, root_key, old_key, new_key, Seen(*first), Seen(*last), transactions
        )
    for name, part, meta, value in parts:
        if part == _HEADER:
            continue
        window = windows.get(name)
        held = None if window is None else _held(int(part), value, tables[window.mapping], read)
        if window is None or held is None:
            foreign.append(meta)
        else:
            window.rows.append(held)
    for window in windows.values():
        window.rows.sort(key=lambda held: held.number)
    return list(windows.values()), foreign


def take_over(state: State, other: State, aggregates: Collection[str]) -> None:
    """The open windows of these aggregates are those of another state that keeps the same columns."""
    names = {one.encode() for one in aggregates}
    for meta, _ in state.metas(OpenWindow.PREFIX):
        if _aggregate(meta) in names:
            state.put_meta(meta, None)
    for meta, value in other.metas(OpenWindow.PREFIX):
        is_row = _split(meta)[1] != _HEADER
        state.put_meta(meta, packed.encode((state.layout, *packed.decode(value)[1:])) if is_row else value)


def _aggregate(meta: bytes) -> bytes:
    return meta[len(OpenWindow.PREFIX) :].partition(b"/")[0]


def _split(meta: bytes) -> tuple[bytes, bytes]:
    name, _, part = meta[len(OpenWindow.PREFIX) :].rpartition(b"\x00")
    return name, part


def _held(number: int, value: bytes, tables: Mapping[str, int], read: ReadRow) -> Held | None:
    """None: the mapping does not use the table."""
    layout, name, old_key, row_key, before, flags, steps, first, last = packed.decode(value)
    if name not in tables:
        return None
    table = tables[name]
    return Held(
        number,
        table,
        old_key,
        row_key,
        None if before is None else read(table, layout, tuple(before)),
        flags >> 1,
        bool(flags & 1),
        [read(table, layout, tuple(step)) for step in steps],
        tuple(first),
        tuple(last),
    )
