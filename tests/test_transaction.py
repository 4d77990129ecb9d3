"""A transaction that waits for its rows counts each of them once, in memory or not, before its END is read or after."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bridge.core.connectors import CONNECTORS
from bridge.core.decode import ChangeEvent, Decode
from bridge.core.large import BEYOND_ALL
from bridge.core.spool import Spool
from bridge.core.transaction import Pending
from bridge.model import Layout, PlainRecord
from bridge.state.store import MemoryStore

TABLES = ("public.a", "public.b")


def _rows_of_tables() -> list[ChangeEvent]:
    decode = Decode({name: Layout(name, ("id",), ("integer",)) for name in TABLES}, CONNECTORS["postgresql"])
    found = []
    for name in TABLES:
        source = f'{{"schema":"public","table":"{name[-1]}","snapshot":"false","lsn":1,"sequence":"[\\"0\\",\\"0\\"]"}}'
        block = '{"id":"7:1","total_order":1,"data_collection_order":1}'
        value = f'{{"before":null,"after":{{"id":1}},"source":{source},"transaction":{block},"op":"c"}}'
        found += decode.records([PlainRecord(f"shop.{name}", 0, 0, b'{"id":1}', value.encode())], 0)
    return [one for one in found if isinstance(one, ChangeEvent)]


ROWS = _rows_of_tables()


class Told(NamedTuple):
    """A row as the log has it."""

    table: int
    position: int
    key: bytes
    op: str
    order: int
    partition: int
    offset: int

    @property
    def change(self) -> ChangeEvent:
        row = ROWS[self.table]
        return replace(
            row,
            op=self.op,
            row_key=self.key,
            position=self.position,
            order=self.order,
            table_order=self.order,
            partition=self.partition,
            offset=self.offset,
            run="1",
        )

    @property
    def identity(self) -> tuple[int, int, bytes, str]:
        return self.position, self.table, self.key, self.op


TOLD = st.builds(
    Told,
    st.integers(0, 1),
    st.integers(1, 4),
    st.sampled_from([b"1", b"2"]),
    st.sampled_from("cud"),
    st.integers(1, 3),
    st.integers(0, 2),
    st.integers(0, 9),
)


def waiting_for(counts: dict[int, int], *, restarted: bool = False) -> Pending:
    return Pending("7", 9, counts, 1, 0, 0, restarted=restarted, barrier=False)


def spool() -> Spool:
    return Spool(MemoryStore(), part=3)


@given(
    rows=st.lists(st.tuples(TOLD, st.booleans()), max_size=12),
    counts=st.dictionaries(st.integers(0, 1), st.integers(0, 4)),
    early=st.integers(0, 12),
    restarted=st.booleans(),
)
def test_what_a_transaction_says_follows_from_its_distinct_rows(
    rows: list[tuple[Told, bool]],
    counts: dict[int, int],
    early: int,
    restarted: bool,  # noqa: FBT001
) -> None:
    """Wherever they are moved out of memory, and however many were taken before END was read."""
    pending, first = waiting_for(counts, restarted=restarted), Pending.early("7")
    distinct: dict[tuple[int, int, bytes, str], Told] = {}
    for number, (row, spill) in enumerate(rows):
        to = first if number < early else pending
        if number == early:
            pending.go_on_from(first)
        assert to.take(row.change) == (row.identity not in distinct), "a repeat is told, a new row is taken"
        distinct.setdefault(row.identity, row)
        if spill:
            to.spill(spool)
    if len(rows) <= early:
        pending.go_on_from(first)
    left = list(distinct.values())
    have = [sum(row.table == table for row in left) for table in (0, 1)]
    assert [pending.short_of(table) for table in (0, 1)] == [counts.get(n, 0) - have[n] for n in (0, 1)]
    assert pending.is_short() == any(have[table] < count for table, count in counts.items())
    assert pending.exceeds() == any(have[table] > counts.get(table, 0) for table in (0, 1))
    assert pending.first_position() == min((row.position for row in left), default=BEYOND_ALL)
    assert pending.last_position() == max((row.position for row in left), default=-1)
    offsets = [max((row.offset for row in left if row.partition == one), default=-1) for one in range(3)]
    assert [pending.last_offset(one) for one in range(3)] == offsets
    assert pending.run == ("1" if left else "")
    in_order = sorted((row.position, row.order, row.partition, row.offset) for row in left)
    assert [(one.position, one.order, one.partition, one.offset) for one in pending.changes()] == in_order


def test_rows_before_their_end_are_of_no_transaction_yet() -> None:
    """Nothing is released of it, and none of its rows lies beyond it."""
    early = Pending.early("7")
    assert (early.group, early.restarted, early.barrier, early.conceded) == ("7", False, False, False)
    assert all(early.position > row.position for row in ROWS)
    assert not early.is_short()


@pytest.mark.parametrize("spilled", [False, True])
def test_each_record_that_cannot_be_read_fills_one_place(spilled: bool) -> None:  # noqa: FBT001
    """It says nothing of where in the log the transaction's rows lie."""
    pending = waiting_for({0: 4, 1: 1})
    pending.take(Told(0, 5, b"1", "c", 1, 0, 0).change)
    if spilled:
        pending.spill(spool)
    unreadable = [Told(0, 0, b"", "?", 0, partition, offset).change for partition, offset in ((0, 1), (0, 11), (1, 1))]
    for left, one in zip((2, 1, 0), unreadable, strict=True):
        pending.fill(one)
        assert (pending.short_of(0), pending.short_of(1)) == (left, 1)
    assert pending.rejected == unreadable
    assert (pending.first_position(), pending.last_position()) == (5, 5)
    assert pending.is_short()
    pending.take(Told(1, 6, b"1", "c", 1, 2, 0).change)
    assert not pending.is_short()
    assert not pending.exceeds()
    assert [one.op for one in pending.changes()].count("?") == 3


def run_of(positions: dict[int, list[int]], run: str) -> list[ChangeEvent]:
    """One run's rows: table → their positions, numbered from 1."""
    rows = [
        (Told(table, position, b"%d" % position, "c", order, 0, position), run)
        for table, of_table in positions.items()
        for order, position in enumerate(of_table, 1)
    ]
    return [replace(told.change, run=run) for told, run in rows]


@pytest.mark.parametrize("spilled", [False, True])
@pytest.mark.parametrize(
    ("runs", "counts", "whole"),
    [
        ([{0: [1, 2, 3]}], {0: 3}, True),
        ([{0: [1, 2]}, {0: [3, 4]}], {0: 2}, True),  # the last run went on behind the first
        ([{0: [1, 2]}, {0: [1, 2]}], {0: 2}, True),  # or began again
        ([{0: [1, 2]}, {0: [2, 3]}], {0: 2}, True),
        ([{0: [1, 2]}, {0: [3]}], {0: 2}, False),  # END counts two of the last run, of which one is read
        ([{0: [1, 3]}, {0: [2]}], {0: 1}, False),  # the last run's row lies behind all others
        ([{0: [1]}], {0: 2}, False),
        ([{0: [1, 2]}], {0: 0}, True),  # nothing was left to send
        ([{0: [1], 1: [2]}, {0: [3], 1: [4]}], {0: 1, 1: 1}, True),
        ([{0: [1], 1: [2]}, {0: [3]}], {0: 1, 1: 1}, False),  # one table's tail is of another run
        ([], {0: 0}, True),
    ],
)
def test_a_restarted_transaction_is_whole_with_the_last_rows_of_one_run(
    runs: list[dict[int, list[int]]],
    counts: dict[int, int],
    whole: bool,  # noqa: FBT001
    spilled: bool,  # noqa: FBT001
) -> None:
    pending = waiting_for(counts, restarted=True)
    for number, positions in enumerate(runs):
        for change in run_of(positions, str(number)):
            pending.take(change)
        if spilled:
            pending.spill(spool)
    assert pending.last_run_is_whole() == whole


def test_a_later_end_may_count_the_run_that_is_whole() -> None:
    pending = waiting_for({0: 3}, restarted=True)
    for change in run_of({0: [1, 2]}, "1"):
        pending.take(change)
    assert not pending.last_run_is_whole()
    pending.later_counts.append({0: 2})
    assert pending.last_run_is_whole()


def test_a_row_that_a_run_sends_twice_stands_where_it_was_sent_last() -> None:
    """Two places of one order: rows of a storage that was read again."""
    pending = waiting_for({0: 1}, restarted=True)
    for position in (3, 2):
        pending.take(replace(Told(0, position, b"%d" % position, "c", 1, 0, position).change, run="1"))
    assert pending.last_run_is_whole()


def test_a_barrier_that_was_asked_for_stands() -> None:
    """The ends as they were before are none to wait for; those that were asked for are."""
    pending, ends = waiting_for({0: 1}), []
    for before in ({0: 1}, {0: 2}):
        pending.ends = before
        pending.needs_barrier()
        ends.append(pending.ends)
    assert pending.barrier
    assert ends == [None, {0: 2}]
