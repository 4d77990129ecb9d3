"""What assemble works on: the transactions it gives, an END that waits for its rows, a partition's queue."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from operator import attrgetter

import msgspec

from bridge.core.decode import ChangeEvent
from bridge.core.large import BEYOND_ALL, Changes, Identity, SpooledRows
from bridge.core.spool import NewSpool
from bridge.errors import TransactionIncomplete
from bridge.model import InputPartition


class Seeds(msgspec.Struct, gc=False):
    """Snapshot rows to be applied now, in order."""

    rows: list[ChangeEvent]


class SourceTransaction(msgspec.Struct):
    """One committed transaction of the source. ``offset``: its END's offset in the transaction topic; times in ms."""

    group: str
    position: int
    changes: Changes
    ts_ms: int
    offset: int
    rejected: list[ChangeEvent]  # records that could not be decoded, those that fill a place among ``changes`` too
    run: str = ""  # the connector's, that sent its rows; "" where it has none
    cut: bool = False  # retention may have taken rows of it


Item = Seeds | SourceTransaction


class Waiting(msgspec.Struct):
    """What the next transaction misses: table → (distinct rows seen, rows that END counts)."""

    group: str
    position: int
    offset: int
    missing: dict[str, tuple[int, int]]
    source: str = ""

    def error(self, markers: InputPartition) -> TransactionIncomplete:
        """For rows that do not come."""
        tables = ", ".join(f"{name}: {have} of {count} rows" for name, (have, count) in sorted(self.missing.items()))
        return TransactionIncomplete(
            f"{markers}@{self.offset}: transaction {self.group} (commit position {self.position}) is short: {tables}",
            "rows that END counts are not in the topics: a transform or filter of the connector drops them, a topic is "
            "not listed in `topics`, or retention deleted them; nothing was published beyond this transaction; mend that, "
            "or go on without them, knowing that events may be missing or wrong: "
            f"bridge release --config FILE --source {self.source} --position {self.offset}",
        )


class Pending(msgspec.Struct):
    """An END that is read and not yet released, and the rows taken for it."""

    group: str
    position: int
    counts: dict[int, int]
    ts_ms: int
    offset: int
    first_offset: int
    restarted: bool
    barrier: bool
    ends: Mapping[int, int] | None = None
    rows: dict[Identity, ChangeEvent] = msgspec.field(default_factory=dict)
    have: dict[int, int] = msgspec.field(default_factory=dict)
    first_taken: dict[int, int] = msgspec.field(default_factory=dict)
    orders: dict[tuple[int, str], dict[int, int]] = msgspec.field(default_factory=dict)
    """Where a transaction was begun more than once: (table, run) → a row's order in the table → its position."""
    later_counts: list[dict[int, int]] = msgspec.field(default_factory=list)
    """What the ENDs of later runs count: the first END's run may have lost rows that only a later one brought."""
    rejected: list[ChangeEvent] = msgspec.field(default_factory=list)
    spooled: SpooledRows | None = None
    """Rows that were taken and are too many for memory; ``rows`` are those taken since."""
    conceded: bool = False
    """An operator decided to release it with the rows that lie before ``ends``."""

    @property
    def run(self) -> str:
        """The connector's that sent its rows; "" where it has none. Markers do not say (measured)."""
        if self.spooled is not None:
            return self.spooled.run
        for change in self.rows.values():
            return change.run
        return ""

    def needs_barrier(self) -> None:
        """It waits until every partition was read to its end as it is now; once asked for, that stands."""
        if not self.barrier:
            self.barrier = True
            self.ends = None

    def take(self, change: ChangeEvent) -> bool:
        """Add a row; False when it was there already (a repeat inside the transaction)."""
        number = change.table.number
        if self.restarted:
            orders = self.orders.setdefault((number, change.run), {})
            orders[change.table_order] = max(orders.get(change.table_order, 0), change.position)
        identity = (change.position, number, change.row_key, change.op)
        if identity in self.rows or (self.spooled is not None and identity in self.spooled):
            return False
        self.rows[identity] = change
        self.have[number] = self.have.get(number, 0) + 1
        return True

    @classmethod
    def early(cls, group: str) -> Pending:
        """For rows that are taken before their END is read: its position is beyond every row's."""
        return cls(group, BEYOND_ALL, {}, 0, 0, 0, restarted=False, barrier=False)

    def spill(self, new_spool: NewSpool) -> None:
        """Move the rows out of memory."""
        if self.spooled is None:
            self.spooled = SpooledRows(new_spool())
        self.spooled.add(self.rows)
        self.rows.clear()

    def go_on_from(self, early: Pending) -> None:
        """Take over the rows that were taken before the END was read."""
        self.rows, self.spooled, self.have, self.first_taken = early.rows, early.spooled, early.have, early.first_taken

    def last_offset(self, partition: int) -> int:
        """Of the rows taken from a partition; -1: none."""
        last = -1 if self.spooled is None else self.spooled.last_offsets.get(partition, -1)
        return max((last, *(row.offset for row in self.rows.values() if row.partition == partition)))

    def first_position(self) -> int:
        """Of its rows in the log; ``BEYOND_ALL``: none."""
        first = BEYOND_ALL if self.spooled is None else self.spooled.first_position
        return min((first, *(row.position for row in self.rows.values() if row.op != "?")))

    def last_position(self) -> int:
        """-1: none."""
        last = -1 if self.spooled is None else self.spooled.last_position
        return max((last, *(row.position for row in self.rows.values())))

    def fill(self, garbage: ChangeEvent) -> None:
        """An undecodable record takes a missing place of its table."""
        number = garbage.table.number
        self.rows[-1, number, b"%d:%d" % (garbage.partition, garbage.offset), "?"] = garbage
        self.rejected.append(garbage)
        self.have[number] = self.have.get(number, 0) + 1

    def short_of(self, number: int) -> int:
        return self.counts.get(number, 0) - self.have.get(number, 0)

    def is_short(self) -> bool:
        have = self.have
        for number, count in self.counts.items():  # noqa: SIM110 - called per END: a generator costs three times as much
            if have.get(number, 0) < count:
                return True
        return False

    def exceeds(self) -> bool:
        counts = self.counts
        for number, count in self.have.items():  # noqa: SIM110 - as above
            if count > counts.get(number, 0):
                return True
        return False

    def last_run_is_whole(self) -> bool:
        """Whether some run has, per table, the rows 1..n that an END counts, and they are the last n of all runs' rows.

        The connector goes on where it was acknowledged, so no earlier run had its d-th row behind the last run's d-th.
        """
        return any(self._is_whole(counts) for counts in (self.counts, *self.later_counts))

    def _is_whole(self, counts: dict[int, int]) -> bool:
        tails = {}
        for number, count in counts.items():
            positions = sorted(place[0] for place in self.rows if place[1] == number)
            if self.spooled is not None:
                positions = sorted([*positions, *self.spooled.positions(number)])
            if len(positions) < count:
                return False
            tails[number] = positions[len(positions) - count :]
        return not any(tails.values()) or any(
            self._run_ends_with(tails, run) for run in {run for _, run in self.orders}
        )

    def _run_ends_with(self, tails: dict[int, list[int]], run: str) -> bool:
        for number, tail in tails.items():
            orders = self.orders.get((number, run), {})
            if tail != [orders.get(order) for order in range(1, len(tail) + 1)]:
                return False
        return True

    def changes(self) -> Changes:
        """In source order. Rows on one position (a COPY, a key change) by their order in the run, then by arrival."""
        if self.spooled is not None:
            self.spooled.add(self.rows)
            return self.spooled
        return sorted(self.rows.values(), key=_SOURCE_ORDER)


_SOURCE_ORDER = attrgetter("position", "order", "partition", "offset")


class Queue:
    """One partition's rows that are read and not yet taken, in offset order."""

    __slots__ = ("garbage", "position", "rows", "seen")

    def __init__(self) -> None:
        self.rows: deque[ChangeEvent] = deque()
        self.garbage: list[ChangeEvent] = []
        self.position = 0  # offset up to which the partition was read
        self.seen = False  # its first record was read, or it was read to its end

    def readable(self) -> Iterator[ChangeEvent]:
        """The rows that could be decoded: the others have no position."""
        return (row for row in self.rows if row.op != "?")
