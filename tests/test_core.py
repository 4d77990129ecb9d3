"""Steps of the core by themselves, where a scenario is too small to show which of them is wrong."""

from __future__ import annotations

import pytest

from bridge.core import history
from bridge.core.assemble import Assemble
from bridge.core.checkpoint import Checkpoint
from bridge.core.connectors import CONNECTORS
from bridge.core.decode import Decode
from bridge.core.history import Histories, decision, decisions
from bridge.core.released import BLOCK, Released
from bridge.core.transaction import SourceTransaction, Waiting
from bridge.model import InputPartition, Layout, PlainRecord, SourceSettings

# -- released ----------------------------------------------------------------------------------------------------------


class Stored:
    """What a changelog keeps of the released positions."""

    def __init__(self) -> None:
        self.blocks: dict[int, bytes] = {}

    def take(self, released: Released) -> int:
        """Returns how many blocks were touched."""
        changes = released.take_changes()
        for number, block in changes:
            if block is None:
                del self.blocks[number]
            else:
                self.blocks[number] = block
        return len(changes)

    def loaded(self, limit: int) -> Released:
        released = Released(limit)
        released.load(self.blocks)
        return released


@pytest.mark.parametrize("restarts", [False, True])
def test_released_positions_are_known_across_blocks_and_restarts_up_to_the_limit(restarts: bool) -> None:  # noqa: FBT001
    limit, stored = 2 * BLOCK, Stored()
    released, added = Released(limit), 0  # positions are 0, 3, 6 …
    assert (released.last, -1 in released, 0 in released) == (-2, False, False)
    for size in (1, 2, BLOCK - 4, 1, 1, BLOCK, BLOCK + 1, 5, 3 * BLOCK, 700, 700, 700, 700):
        for number in range(added, added + size):
            released.add(3 * number)
        added += size
        assert stored.take(released) <= 2 * (size // BLOCK + 2), "blocks that did not change are not written"
        assert stored.take(released) == 0
        if restarts:
            released = stored.loaded(limit)
        assert released.last == 3 * (added - 1)
        oldest = BLOCK * min(stored.blocks)
        assert min(limit, added) <= added - oldest <= limit + BLOCK
        looked_at = {3 * number + more for number in range(0, added, 257) for more in (0, 1)}
        looked_at |= {3 * oldest - 3, 3 * oldest, 3 * added - 3, 3 * added} - {-3}
        for known in (released, stored.loaded(limit)):
            assert [one for one in looked_at if one in known] == [
                one for one in looked_at if one % 3 == 0 and 3 * oldest <= one < 3 * added
            ]
    assert 5 <= min(stored.blocks) == max(stored.blocks) - len(stored.blocks) + 1, "old blocks are gone"


def test_a_block_that_is_full_is_not_written_again() -> None:
    released, stored = Released(), Stored()
    for position in range(BLOCK):
        released.add(position)
    assert [number for number, _ in released.take_changes()] == [0]
    released.add(BLOCK)
    assert [number for number, _ in released.take_changes()] == [1]
    released.add(BLOCK + 1)
    assert stored.take(released) == 1


def test_a_first_block_may_be_any() -> None:
    released = Released()
    released.load({})
    released.add(7)
    assert [number for number, _ in released.take_changes()] == [0]


def test_more_blocks_than_the_limit_go_one_by_one() -> None:
    released = Released(BLOCK)
    for position in range(5 * BLOCK):
        released.add(position)
    changes = released.take_changes()
    assert [number for number, block in changes if block is None] == [0, 1, 2]
    assert [3 * BLOCK - 1 in released, 3 * BLOCK in released] == [False, True]


def test_a_million_positions_are_kept_without_being_told_so() -> None:
    released = Released()
    for position in range(1_000_000 + BLOCK + 1):
        released.add(position)
    assert 0 in released
    released.take_changes()
    assert (0 in released, BLOCK in released) == (False, True)


# -- history -----------------------------------------------------------------------------------------------------------

TOP = 1 << history.BITS


@pytest.mark.parametrize(
    ("position", "of", "own", "incarnation"),
    [
        (-2, -1, -2, 1),
        (-1, -1, -1, 1),
        (0, 0, 0, 1),
        (7, 0, 7, 1),
        (TOP - 1, 0, TOP - 1, 1),
        (TOP, 1, 0, 2),
        (3 * TOP + 5, 3, 5, 4),
    ],
)
def test_a_position_tells_its_history(position: int, of: int, own: int, incarnation: int) -> None:
    assert history.history_of(position) == of
    assert history.own(position) == own
    assert history.incarnation_of(position) == incarnation
    if position >= 0:
        assert history.start_of(position) == of * TOP


ROWS, MARKERS = InputPartition("rows", 0), InputPartition("markers", 0)


class Placed:
    """A record as far as histories look at it."""

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.position = 5


def test_records_are_put_into_the_history_that_begins_at_or_before_them() -> None:
    metas = [
        *decision(history.ACCEPT, 90, {MARKERS: 90, ROWS: 40}).items(),
        *decision(history.ACCEPT, 20, {MARKERS: 20, ROWS: 10}).items(),
    ]
    found = decisions([(name, value or b"") for name, value in metas], history.ACCEPT)
    assert found == {90: {"markers-0": 90, "rows-0": 40}, 20: {"markers-0": 20, "rows-0": 10}}
    histories = Histories(found, [ROWS, MARKERS])
    assert histories.count == 2
    assert [histories.starts_after(entered) for entered in range(3)] == [[10, 20], [40, 90], None]
    records = [Placed(offset) for offset in (9, 10, 39, 40)]
    histories.place(records, 0)  # type: ignore[arg-type]
    assert [one.position for one in records] == [5, TOP + 5, TOP + 5, 2 * TOP + 5]


def test_a_partition_that_a_decision_does_not_name_is_of_the_new_history_whole() -> None:
    histories = Histories({20: {"markers-0": 20}}, [ROWS, MARKERS])
    assert histories.starts_after(0) == [0, 20]


# -- checkpoint --------------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_what_was_written() -> None:
    written = Checkpoint(
        {"a.b-c-1": 5, "t-12": 0}, 7, 8, 9, 2, "digest", 3, from_the_start=False, domain="d", run="r", cut_until=4
    )
    read = Checkpoint.decode(written.encode())
    assert read == written
    assert read.inputs() == {InputPartition("a.b-c", 1): 5, InputPartition("t", 12): 0}
    assert Checkpoint.decode(None) == Checkpoint()


# -- assemble ----------------------------------------------------------------------------------------------------------

TABLE = "public.t"


def row(offset: int, partition: int, commit: int, before: int, key: int) -> PlainRecord:
    """Of the transaction that commits at ``commit``, after the one at ``before``."""
    source = (
        f'{{"schema":"public","table":"t","snapshot":"false","lsn":{commit - 1},"sequence":"[\\"{before}\\",\\"0\\"]"}}'
    )
    block = f'{{"id":"{commit}:{commit - 1}","total_order":1,"data_collection_order":1}}'
    value = f'{{"before":null,"after":{{"id":{key}}},"source":{source},"transaction":{block},"op":"c"}}'
    return PlainRecord(f"shop.{TABLE}", partition, offset, b'{"id":%d}' % key, value.encode())


def unreadable(offset: int, partition: int, key: int) -> PlainRecord:
    return PlainRecord(f"shop.{TABLE}", partition, offset, b'{"id":%d}' % key, b"{")


def end(offset: int, commit: int, count: int) -> PlainRecord:
    collections = f'[{{"data_collection":"{TABLE}","event_count":{count}}}]'
    value = (
        f'{{"status":"END","id":"{commit}:{commit}","event_count":{count},"data_collections":{collections},"ts_ms":1}}'
    )
    return PlainRecord("shop.transaction", 0, offset, b"{}", value.encode())


ROWS_AND_MARKERS = [
    InputPartition(f"shop.{TABLE}", 0),
    InputPartition(f"shop.{TABLE}", 1),
    InputPartition("shop.transaction", 0),
]


def rejected_when_read(runs: list[list[PlainRecord]], turns: list[list[int]]) -> list[list[tuple[int, int]]]:
    """Of each transaction the records that could not be read. ``turns``: which partitions are read, one turn after the other."""
    connector = CONNECTORS["postgresql"]
    decode = Decode({TABLE: Layout(TABLE, ("id",), ("integer",))}, connector)
    source = SourceSettings("shop", "postgresql", topics=(f"shop.{TABLE}",), transaction_topic="shop.transaction")
    before = Released()
    before.add(50)  # the first transaction of all waits for every partition anyway
    assemble = Assemble(connector, {TABLE: 0}, ROWS_AND_MARKERS, 2, source=source, released=before)
    ends = {number: len(records) for number, records in enumerate(runs)}
    released = []
    for turn in turns:
        for number in turn:
            assemble.add(decode.records(runs[number], number), number)
        assemble.read_to({number: ends[number] for number in turn})
        released += assemble.release()
        while assemble.wants_ends:
            assemble.ends_are(ends)
            released += assemble.release()
    transactions = [one for one in released if isinstance(one, SourceTransaction)]
    return [[(one.partition, one.offset) for one in transaction.rejected] for transaction in transactions]


@pytest.mark.parametrize("turns", [[[0, 1, 2]], [[2], [0], [1]], [[0, 2], [1]], [[1, 2], [0]]])
def test_records_that_cannot_be_read_fill_places_in_the_order_that_the_rows_behind_them_show(
    turns: list[list[int]],
) -> None:
    """The first partition's is of the second transaction, and the second partition's of the first one."""
    runs = [
        [unreadable(0, 0, 2), row(1, 0, 300, 200, 4)],
        [unreadable(0, 1, 1), row(1, 1, 200, 100, 3), row(2, 1, 300, 200, 5)],
        [end(0, 100, 1), end(1, 200, 2), end(2, 300, 2)],
    ]
    assert rejected_when_read(runs, turns) == [[(1, 0)], [(0, 0)], []]


@pytest.mark.parametrize("turns", [[[0, 1, 2]], [[2], [0], [1]], [[0, 2], [1]], [[1, 2], [0]]])
def test_a_place_waits_for_its_row_that_is_still_to_be_read(turns: list[list[int]]) -> None:
    """The first transaction's row lies in one partition, the second's record that cannot be read in the other."""
    runs = [
        [unreadable(0, 0, 2), row(1, 0, 300, 200, 4)],
        [row(0, 1, 100, 50, 1)],
        [end(0, 100, 1), end(1, 200, 1), end(2, 300, 1)],
    ]
    assert rejected_when_read(runs, turns) == [[], [(0, 0)], []]


def test_a_short_transaction_says_what_is_missing_where_and_what_to_do() -> None:
    waiting = Waiting("7", 100, 5, {"public.b": (0, 2), "public.a": (1, 3)}, "shop")
    assert waiting.error(InputPartition("shop.transaction", 0)).message == (
        "shop.transaction-0@5: transaction 7 (commit position 100) is short: "
        "public.a: 1 of 3 rows, public.b: 0 of 2 rows"
    )
    assert waiting.error(InputPartition("shop.transaction", 0)).hint == (
        "rows that END counts are not in the topics: a transform or filter of the connector drops them, a topic is not "
        "listed in `topics`, or retention deleted them; nothing was published beyond this transaction; mend that, or go on "
        "without them, knowing that events may be missing or wrong: bridge release --config FILE --source shop --position 5"
    )
