"""Columns that come and go at the source: which tables' rows came with every column that is used.

Rows that were written before a column was added lack it, and are unknown there. Once a row of a table came with all of
them, a later one without (in commit order) means that the column was dropped or renamed: nothing that is published could be
right from there on, so the bridge stops. Without this, a column that is gone would keep its last value for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from bridge.core.decode import ChangeEvent
from bridge.errors import ColumnGone
from bridge.model import UNKNOWN, InputPartition

_SEEN = b"seen"


class State(Protocol):
    """The named values."""

    def meta(self, name: bytes) -> bytes | None: ...
    def put_meta(self, name: bytes, value: bytes | None) -> None: ...


class Seen:
    """``columns``: those that are used, by table; ``tables``: the tables' numbers."""

    def __init__(
        self,
        state: State,
        tables: Mapping[str, int],
        columns: Mapping[str, Sequence[str]],
        partitions: Sequence[InputPartition],
    ) -> None:
        self._state = state
        self._partitions = partitions
        self._columns = columns
        known = msgspec.json.decode(state.meta(_SEEN) or b"{}", type=dict[str, list[str]])
        self._names = {number: name for name, number in tables.items()}
        self.missing = {number for name, number in tables.items() if not {*columns[name]} <= {*known.get(name, ())}}

    def see(self, changes: Iterable[ChangeEvent]) -> None:
        """Take note of tables whose rows are whole; to be called while any is ``missing``."""
        before = len(self.missing)
        for change in changes:
            row = change.after
            if row is None or change.lacks or change.table.number not in self.missing:
                continue
            if change.op != "r" or UNKNOWN not in row:
                self.missing.discard(change.table.number)
        if len(self.missing) < before:
            seen = {name: list(self._columns[name]) for n, name in self._names.items() if n not in self.missing}
            self._state.put_meta(_SEEN, msgspec.json.encode(seen))

    def check(self, changes: Iterable[ChangeEvent]) -> None:
        """Raises ColumnGone for a row without a column that its table's rows had; to be called where a row lacked one."""
        for change in changes:
            if change.lacks and change.table.number not in self.missing:
                raise self._gone(change)

    def _gone(self, change: ChangeEvent) -> ColumnGone:
        names = ", ".join(f"{change.table.name}.{name}" for name in change.lacks)
        return ColumnGone(
            f"{self._partitions[change.partition]}@{change.offset}: the source's rows lack {names}, which mappings use "
            "and earlier rows had",
            "the column was dropped or renamed: take it out of the mappings, or use its new name and complete the state "
            "with `bridge backfill`; nothing was published beyond the transaction before",
        )
