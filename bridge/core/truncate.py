"""What a TRUNCATE does to the state, by the policy of its table: a truncate is no delete of its rows, and makes no events.

``report``: an alert, the rows stay. ``stop``: the bridge stops before that transaction. ``forget``: the rows leave the
state before the transaction is applied, so that no image of it holds them and no rule sees them go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from bridge.core.collapse import Rows
from bridge.core.decode import ChangeEvent
from bridge.core.joins import Indexes
from bridge.errors import Fatal
from bridge.model import InputPartition


class Table(Rows, Protocol):
    """Rows of which a whole table can be named."""

    def row_keys(self, table: int) -> list[bytes]: ...


class Truncate:
    """``policies``: per table number, where it is not ``report``."""

    def __init__(self, policies: Mapping[int, str], rows: Table, indexes: Indexes) -> None:
        self._policies = policies
        self._rows = rows
        self._indexes = indexes

    def before(self, changes: list[ChangeEvent], partitions: list[InputPartition]) -> list[ChangeEvent]:
        """A transaction's changes without those that a truncate behind them made void. Raises Fatal (``stop``)."""
        last: dict[int, int] = {}
        for order, change in enumerate(changes):
            number = change.table.number
            if change.op == "t" and number in self._policies:
                if self._policies[number] == "stop":
                    raise _stop(change, partitions)
                last[number] = order
        if not last:
            return changes
        for number in last:
            self._forget(number)
        return [one for order, one in enumerate(changes) if one.op == "t" or order > last.get(one.table.number, -1)]

    def _forget(self, number: int) -> None:
        for key in self._rows.row_keys(number):
            stored = self._rows.get(number, key)
            if stored is not None:
                self._rows.put(number, key, None, self._indexes.moves(number, stored.row, None))


def _stop(change: ChangeEvent, partitions: list[InputPartition]) -> Fatal:
    table = change.table.name
    return Fatal(
        f"{partitions[change.partition]}@{change.offset}: {table} was truncated, and its policy is to stop",
        f"nothing of that transaction was published; to go on set tables.{table}.truncate to `forget` (its rows leave the "
        "state, without events) or `report` (they stay) in the config, and start again",
        code="B303",
    )
