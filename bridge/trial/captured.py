"""A capture as a history of rows: source transactions in commit order, each with what it did to which row.

The core's own decode and assemble read it, with the columns that the mapping uses and those of the tables' keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from bridge.core.assemble import Assemble
from bridge.core.connectors import CONNECTORS
from bridge.core.decode import ChangeEvent, Decode, TransactionMarker
from bridge.core.released import Released
from bridge.core.transaction import Seeds
from bridge.mapping.cases import DELETE, INSERT, REKEY, TRUNCATE, UPDATE, Row, Statement
from bridge.mapping.catalog import Catalog
from bridge.mapping.scope import columns_of
from bridge.model import UNKNOWN, InboundRecord, InputPartition, Layout, Modes
from bridge.trial.log import Log

RowName = tuple[str, str]  # table, and the row's key as its record key has it


@dataclass(frozen=True, slots=True)
class Move:
    """One statement on one row. ``row``: the row as it is after it, as it was before a delete."""

    name: RowName
    statement: Statement
    row: Row
    old_name: RowName | None = None  # under which the row was found, where its key changed

    @property
    def names(self) -> set[RowName]:
        return {self.name} if self.old_name is None else {self.name, self.old_name}


@dataclass(slots=True)
class History:
    """``seeds``: rows of the initial snapshot. ``unknown``: changes that were left out, since the capture begins after
    their row was made.
    """

    keys: dict[str, tuple[str, ...]]
    seeds: list[Move] = field(default_factory=list)
    transactions: list[list[Move]] = field(default_factory=list)
    unknown: int = 0


def history_of(log: Log, layouts: dict[str, Layout], catalog: Catalog | None, modes: Modes | None) -> History:
    """Raises what decode and assemble raise."""
    keys = _keys(_decoded(log, Decode(layouts, CONNECTORS[log.settings.connector])))
    wide = {}
    for table, layout in layouts.items():
        columns = tuple(dict.fromkeys((*keys.get(table, ()), *layout.columns)))
        known = columns_of(catalog, table) or {}
        wide[table] = Layout(table, columns, tuple(known[one].type if one in known else "" for one in columns))
    decode = Decode(wide, CONNECTORS[log.settings.connector], modes)
    history = History(keys)
    _Reading(history).all(_assembled(log, decode))
    return history


def _decoded(log: Log, decode: Decode) -> list[list[ChangeEvent | TransactionMarker]]:
    found = []
    for number, queue in enumerate(log.queues):
        records: list[InboundRecord] = list(queue)
        found.append(decode.records(records, number))
    return found


def _keys(decoded: Sequence[Sequence[ChangeEvent | TransactionMarker]]) -> dict[str, tuple[str, ...]]:
    """Each table's key columns, as record keys name them."""
    found: dict[str, tuple[str, ...]] = {}
    for change in (one for part in decoded for one in part):
        if isinstance(change, ChangeEvent) and change.row_key and change.table.name not in found:
            found[change.table.name] = tuple(msgspec.json.decode(change.row_key))
    return found


def _assembled(log: Log, decode: Decode) -> list[Any]:
    settings = log.settings
    markers = InputPartition(settings.log or settings.transaction_topic, 0)
    assemble = Assemble(
        decode.connector,
        {name: table.number for name, table in decode.tables.items()},
        log.partitions,
        log.partitions.index(markers),
        source=settings,
        released=Released(),
    )
    ends = dict(enumerate(log.ends))
    for number, decoded in enumerate(_decoded(log, decode)):
        assemble.add(decoded, number)
    assemble.read_to(ends)
    items = assemble.release()
    while assemble.wants_ends:
        assemble.ends_are(ends)
        items += assemble.release()
    return items


class _Reading:
    """Follows the rows, so that each statement says what it changes and no more."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._rows: dict[RowName, Row] = {}
        self._rekeyed: dict[RowName, RowName] = {}  # new name → old name, inside a transaction

    def all(self, items: Sequence[Any]) -> None:
        for item in items:
            if isinstance(item, Seeds):
                seeds = [self._seed(change) for change in item.rows if change.after is not None]
                if not self._history.transactions:  # later ones are known from the changes, or are no initial snapshot
                    self._history.seeds += seeds
                continue
            moves = [move for change in item.changes if (move := self._move(change)) is not None]
            self._rekeyed.clear()
            if moves:
                self._history.transactions.append(moves)

    def _seed(self, change: ChangeEvent) -> Move:
        name, row = _name(change), self._image(change, {})
        self._rows[name] = row
        return Move(name, Statement(INSERT, name[0], _given(row)), row)

    def _move(self, change: ChangeEvent) -> Move | None:
        name = _name(change)
        table = change.table.name
        if change.op == "t":
            for gone in [one for one in self._rows if one[0] == table]:
                del self._rows[gone]
            return Move(name, Statement(TRUNCATE, table, {}), {})
        if change.op == "d" and change.new_key is not None:
            self._rekeyed[table, change.new_key.decode()] = name
            return None
        old = self._rekeyed.pop(name, None)
        if old is not None:
            return self._rekey(change, old, name)
        before = self._rows.get(name)
        if change.op == "c" and before is None:
            row = self._rows[name] = self._image(change, {})
            return Move(name, Statement(INSERT, table, _given(row)), row)
        if before is None:
            self._history.unknown += 1
            return None
        key = self._key(table, before)
        if change.op == "d":
            return Move(name, Statement(DELETE, table, key), self._rows.pop(name))
        row = self._rows[name] = self._image(change, before)
        changed = {column: value for column, value in row.items() if before.get(column) != value}
        return Move(name, Statement(UPDATE, table, key | changed), row) if changed else None

    def _rekey(self, change: ChangeEvent, old: RowName, name: RowName) -> Move | None:
        before = self._rows.pop(old, None)
        if before is None:
            self._history.unknown += 1
            return None
        row = self._rows[name] = self._image(change, before)
        changed = {column: value for column, value in row.items() if before.get(column) != value}
        return Move(name, Statement(REKEY, name[0], self._key(name[0], before), changed), row, old)

    def _key(self, table: str, row: Row) -> Row:
        return {column: row[column] for column in self._history.keys[table]}

    @staticmethod
    def _image(change: ChangeEvent, before: Row) -> Row:
        values = change.after or change.table.from_key(change.row_key)
        columns = change.table.layout.columns
        return before | {name: value for name, value in zip(columns, values, strict=True) if value is not UNKNOWN}


def _given(row: Row) -> Row:
    """Columns that are not given are null."""
    return {column: value for column, value in row.items() if value is not None}


def _name(change: ChangeEvent) -> RowName:
    return change.table.name, change.row_key.decode()
