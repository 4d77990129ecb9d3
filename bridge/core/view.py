"""The rows as of after a transaction, or of before it: what aggregate sees of the state."""

from __future__ import annotations

from collections.abc import Collection

from bridge.core.collapse import NetChange, Rows
from bridge.core.joins import Join, Move
from bridge.core.large import SpooledImages, SpooledMoves
from bridge.model import Row


class View:
    """The rows as of after the transaction, or of before it for those that it changed."""

    __slots__ = ("_moved", "_old", "_rows")

    def __init__(self, rows: Rows, old: dict[tuple[int, bytes], Row | None] | SpooledImages) -> None:
        self._rows = rows
        self._old = old
        self._moved: dict[tuple[int, Join], tuple[set[bytes], set[bytes]]] = {}

    def moved(self, change: NetChange, moves: list[Move]) -> None:
        """Note, per join value, the keys that only the before image has, and those that only the after image has."""
        for index, before, after in moves:
            if before is not None:
                self._moved.setdefault((index, before), (set(), set()))[0].add(change.old_key)
            if after is not None:
                self._moved.setdefault((index, after), (set(), set()))[1].add(change.row_key)

    def row(self, table: int, row_key: bytes) -> Row | None:
        if self._old:
            place = (table, row_key)
            if place in self._old:
                return self._old[place]
        stored = self._rows.get(table, row_key)
        return None if stored is None else stored.row

    def children(self, index: int, join: Join) -> list[bytes]:
        keys: Collection[bytes] = self._rows.children(index, join)
        if self._moved:
            moved = self._moved.get((index, join))
            if moved is not None:
                keys = (set(keys) - moved[1]) | moved[0]
        return sorted(keys) if len(keys) > 1 else list(keys)


class SpooledView(View):
    """The same for a transaction that is too large for memory."""

    __slots__ = ("_moves",)

    def __init__(self, rows: Rows, old: SpooledImages, moves: SpooledMoves) -> None:
        super().__init__(rows, old)
        self._moves = moves

    def moved(self, change: NetChange, moves: list[Move]) -> None:
        for index, before, after in moves:
            if before is not None:
                self._moves.add(index, before, change.old_key, after=False)
            if after is not None:
                self._moves.add(index, after, change.row_key, after=True)

    def children(self, index: int, join: Join) -> list[bytes]:
        return sorted(self._moves.before(index, join, self._rows.children(index, join)))
