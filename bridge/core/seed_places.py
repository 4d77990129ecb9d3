"""Where seeds have their place among the transactions: until it is reached, they wait.

A seed applies before the first transaction that committed after the position it is as of. On MariaDB a whole snapshot
says a place in the log instead: its seeds apply before the first transaction that has a row beyond it. In a single log
the order of the log is the truth, and nothing waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heappop, heappush

from bridge.core.connectors import Connector
from bridge.core.decode import ChangeEvent
from bridge.core.history import history_of
from bridge.core.released import Released


class _Waiting:
    """Seeds by the position that they are as of."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, int, ChangeEvent]] = []

    def __iter__(self) -> Iterator[ChangeEvent]:
        return (entry[3] for entry in self._heap)

    def __bool__(self) -> bool:
        return bool(self._heap)

    def push(self, seed: ChangeEvent) -> None:
        heappush(self._heap, (seed.position, seed.partition, seed.offset, seed))

    def before(self, position: int) -> Iterator[ChangeEvent]:
        """Take out those that are as of an earlier position, in order."""
        while self._heap and self._heap[0][0] < position:
            yield heappop(self._heap)[3]


class SeedPlaces:
    """The seeds that wait. ``emit`` is given each when its place is reached.

    ``snapshot_position``: of the initial snapshot, once known: its seeds need not wait. ``first_row``: the earliest
    position of a row that waits.
    """

    def __init__(
        self,
        connector: Connector,
        released: Released,
        emit: Callable[[ChangeEvent], None],
        first_row: Callable[[], int],
        *,
        single_log: bool,
        snapshot_position: int | None,
    ) -> None:
        self.snapshot_position = snapshot_position
        self._connector = connector
        self._released = released
        self._emit = emit
        self._first_row = first_row
        self._single_log = single_log
        self._by_commit = _Waiting()
        self._in_log = _Waiting()  # those whose place is one of the log

    def __iter__(self) -> Iterator[ChangeEvent]:
        yield from self._by_commit
        yield from self._in_log

    def __bool__(self) -> bool:
        return bool(self._by_commit) or bool(self._in_log)

    @property
    def is_begun(self) -> bool:
        """Whether anything was released: before that, a snapshot may be the beginning."""
        return self._released.last >= 0

    def add(self, seed: ChangeEvent) -> None:
        if self._connector.one_scale or seed.source.snapshot == "incremental":
            self._add_by_commit(seed)
        else:
            self._add_in_log(seed)

    def _add_by_commit(self, seed: ChangeEvent) -> None:
        if self._single_log or seed.position <= self._released.last:
            if not self.is_begun and seed.source.snapshot != "incremental":
                self.snapshot_position = seed.position
            self._emit(seed)  # the log's order is the truth; or late: the row's own position decides
        elif seed.position == self.snapshot_position and not self.is_begun:
            self._emit(seed)
        else:
            self._by_commit.push(seed)

    def _add_in_log(self, seed: ChangeEvent) -> None:
        if self._single_log and not self.is_begun:
            self.snapshot_position = seed.position
        if self._single_log or (not self.is_begun and seed.position == self.snapshot_position):
            self._emit_in_log(seed)
        else:
            self._in_log.push(seed)

    def _emit_in_log(self, seed: ChangeEvent) -> None:
        """Where all before its place were released, the last of them is what it is as of."""
        seed.position = max(self._released.last, 0)
        self._emit(seed)

    # -- places that are reached -------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Nothing was released yet, and every partition has shown how it begins: the earliest snapshot is the beginning."""
        self.up_to(self._find_snapshot() + 1)

    def settle(self) -> bool:
        """Before a transaction: which snapshot is the beginning? False while not every partition has shown how it begins."""
        if self.snapshot_position is None and not self._single_log:
            if self._in_log and not self.is_begun:
                return False
            self._find_snapshot()
        return True

    def before(self, position: int, last_row: Callable[[], int]) -> None:
        """A transaction is next. ``last_row``: the position of its last row.

        Of the log's places, its rows lie beyond; before the first transaction of all, those that no row precedes.
        """
        if self._in_log:
            place = last_row() if self.is_begun else self._first_row()
            for seed in self._in_log.before(place):
                self._emit_in_log(seed)
        self.up_to(position)

    def up_to(self, position: int) -> None:
        """Everything that committed before this position was released."""
        for seed in self._by_commit.before(position):
            self._emit(seed)

    def _find_snapshot(self) -> int:
        if self._connector.one_scale:
            initial = [
                seed.position
                for seed in self._by_commit
                if seed.source.snapshot != "incremental" and not history_of(seed.position)
            ]
            self.snapshot_position = min(initial, default=-1)
            return self.snapshot_position
        first = min((seed.position for seed in self._in_log), default=-1)
        if first > self._first_row():
            first = -1  # rows lie before it: it is not the beginning, and has to wait for its place
        self.snapshot_position = first
        for seed in self._in_log.before(first + 1):
            self._emit_in_log(seed)
        return -1
