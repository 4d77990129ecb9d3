"""A source transaction that is too large for memory gives the same bytes as one that is not, wherever the limit lies."""

from __future__ import annotations

from collections import Counter, deque
from pathlib import Path
from random import Random
from zlib import crc32

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.core.collapse import StoredRow
from bridge.core.pipeline import Pipeline
from bridge.core.spool import Spool, SpooledRecords
from bridge.mapping import load
from bridge.model import (
    UNKNOWN,
    Cascade,
    InputPartition,
    Layout,
    MappingSet,
    OutboundRecord,
    PlainRecord,
    SourceSettings,
)
from bridge.state.rows import RowState
from bridge.state.store import MemoryStore, temporary_store
from bridge.testing.stream import OrderStream, Record
from deploy.bench.large import ImportStream

ORDER = Path("bridge/testing/order.yaml")
MAPPINGS = load([(str(ORDER), ORDER.read_text())], "legacy", None)


class Drive:
    """A pipeline over some records, each partition's read in its order, and what it gave."""

    def __init__(
        self,
        records: list[Record],
        *,
        single_log: bool,
        rows_max: int,
        read_ahead: int = 1000,
        mappings: MappingSet = MAPPINGS,
        truncate: dict[str, str] | None = None,
        partitions: int = 1,
    ) -> None:
        self.queues: dict[InputPartition, deque[PlainRecord]] = {}
        for record in records:
            number = 0 if record.topic.endswith(".transaction") else crc32(record.key) % partitions
            place = InputPartition("log" if single_log else record.topic, number)
            queue = self.queues.setdefault(place, deque())
            queue.append(PlainRecord(*place, len(queue), record.key, record.value, [*record.headers]))
        self.ends = {place: len(queue) for place, queue in self.queues.items()}
        self.positions = dict.fromkeys(self.queues, 0)
        topics = sorted({place.topic for place in self.queues})
        markers = "log" if single_log else next(topic for topic in topics if topic.endswith(".transaction"))
        source = SourceSettings(
            "legacy",
            "postgresql",
            topics=() if single_log else tuple(topic for topic in topics if topic != markers),
            transaction_topic="" if single_log else markers,
            log="log" if single_log else "",
            dead_letter_topic="DLT",
            transaction_rows_in_memory_max=rows_max,
            truncate=truncate or {},
        )
        self.spools = 0
        self.state = RowState(MemoryStore(), mappings, 50, lambda: Spool(MemoryStore(), part=7), rows_max)
        self.pipeline = Pipeline(source, mappings, self.state, list(self.queues), new_spool=self.new_spool)
        self.pipeline.start_at(self.positions, self.ends)
        self.read_ahead = read_ahead
        self.ahead = 0  # most rows that were read and not taken
        self.paused: set[InputPartition] = set()
        self.published: list[OutboundRecord] = []
        self.changelog: dict[bytes, bytes | None] = {}

    def new_spool(self) -> Spool:
        self.spools += 1
        return Spool(MemoryStore(), part=7)

    def run(self, dice: Random, weights: dict[str, int] | None = None) -> Drive:
        """Read in any order. ``weights``: how much likelier one topic is read than another."""
        while any(self.queues.values()):
            places = [place for place in self.queues if self.queues[place] and place not in self.paused]
            assert places, "everything that is left to read is paused"
            likely = [(weights or {}).get(place.topic, 1) for place in places]
            place = dice.choices(places, likely)[0]
            queue = self.queues[place]
            batch = [queue.popleft() for _ in range(min(len(queue), dice.choice((1, 5, 40))))]
            self.positions[place] += len(batch)
            self.receive(batch)
            if dice.random() < 0.1:
                self.commit()
        self.receive([])
        self.commit()
        assert self.pipeline.waiting() is None
        return self

    def receive(self, batch: list[PlainRecord]) -> None:
        self.pipeline.receive(batch, dict(self.positions))
        while self.pipeline.wants_ends:
            self.pipeline.ends_are(self.ends)
        pause, resume = self.pipeline.crowded(self.read_ahead)
        assert not pause & resume
        self.paused = (self.paused | pause) - resume
        self.ahead = max(self.ahead, self.pipeline.read_ahead)

    def commit(self) -> None:
        output = self.pipeline.take()
        self.published += output.records
        self.changelog |= {record.key: record.value for record in output.changelog if not record.key.startswith(b"m")}
        self.state.committed(b"")


def chatty(seed: int, rows: int = 300) -> list[Record]:
    """The transactions of an order system, several of them made one: rows change many times inside one transaction."""
    return list(OrderStream("shop", rows, seed).records())[4900:]


@pytest.mark.parametrize("single_log", [False, True])
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), rows_max=st.sampled_from((1, 2, 5, 17)))
def test_the_limit_changes_nothing(seed: int, rows_max: int, single_log: bool) -> None:  # noqa: FBT001 - parametrised
    records = chatty(seed)
    whole = Drive(records, single_log=single_log, rows_max=1_000_000).run(Random(seed))
    spooled = Drive(records, single_log=single_log, rows_max=rows_max).run(Random(seed + 1))
    assert whole.spools == 0
    assert spooled.spools > 0
    assert spooled.published == whole.published
    assert spooled.changelog == whole.changelog


@pytest.mark.parametrize("single_log", [False, True])
def test_one_large_transaction(single_log: bool) -> None:  # noqa: FBT001 - parametrised
    """More rows than are read ahead, in one transaction: nothing stands still, and each event comes once, in order."""
    stream = ImportStream("shop", 1000)
    drive = Drive(list(stream.records()), single_log=single_log, rows_max=200, read_ahead=500).run(Random(1))
    assert Counter(dict(record.headers)["ce_type"].decode() for record in drive.published) == stream.expected
    assert [int(record.key) for record in drive.published] == list(range(1, 201))


def test_rows_of_the_first_transaction_of_all_leave_the_queues_as_they_come() -> None:
    """Every partition is to be read past it, so none may pause: without that all of its rows were in memory."""
    drive = Drive(list(ImportStream("shop", 900).records()), single_log=False, rows_max=60, read_ahead=10**6)
    drive.run(Random(1), {"shop.transaction": 1000})
    assert drive.spools > 0
    assert drive.ahead <= 60 + 4 * 40  # a batch of each table, read before it is looked at


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from((1, 20, 100)), st.sampled_from(OrderStream.TABLES))
def test_a_skew_is_bounded_and_ends(seed: int, limit: int, far: str) -> None:
    """One topic is read long before the others; what is read ahead in all stays near the limit, and all of it comes out."""
    records = chatty(seed, 600)
    weights = {f"shop.public.{far}": 1000, "shop.transaction": 30}
    drive = Drive(records, single_log=False, rows_max=50, read_ahead=limit).run(Random(seed), weights)
    assert (
        drive.published == Drive(records, single_log=False, rows_max=10**6, read_ahead=10**6).run(Random(1)).published
    )
    assert drive.ahead <= limit + 5 * 40  # a batch of each of the tables and of the ENDs, read before it is paused


def test_ten_thousand_transactions_ahead_over_fifty_partitions() -> None:
    """One table's partitions are read to their ends first, as far as they may: 10,000 transactions wait for the others."""
    stream = OrderStream("shop", 40_000, 3)
    records = list(stream.records())
    drive = Drive(records, single_log=False, rows_max=20_000, read_ahead=3000, partitions=13)
    assert len(drive.queues) > 50
    assert stream.transactions > 9_000
    drive.run(Random(1), {"shop.public.t_pay": 10**9, "shop.transaction": 10**6})
    events = Counter(dict(record.headers)["ce_type"].decode().rsplit(".", 1)[-1] for record in drive.published)
    assert events == stream.expected
    assert drive.ahead <= 2 * 3000 + len(drive.queues) * 40  # those that hold less than their share go on
    assert not drive.pipeline.read_ahead


@pytest.mark.parametrize(
    ("collapse", "truncate"), [("{quiet: 1s, at_most: 2s}", {}), ("transaction", {"public.t_ord": "forget"})]
)
def test_what_looks_at_whole_transactions_has_them_in_memory(collapse: str, truncate: dict[str, str]) -> None:
    text = ORDER.read_text().replace("key: order.ord_no\n", f"key: order.ord_no\ncollapse: {collapse}\n")
    mappings = load([(str(ORDER), text)], "legacy", None)
    records = chatty(3)
    done = [
        Drive(records, single_log=False, rows_max=rows_max, mappings=mappings, truncate=truncate).run(Random(seed))
        for seed, rows_max in enumerate((1_000_000, 1))
    ]
    assert done[0].published
    assert done[0].published == done[1].published
    assert [one.spools for one in done] == [0, 0]


def from_mariadb(file: str, rows: int) -> list[PlainRecord]:
    """One transaction that gives so many parents another code, as Debezium for MariaDB writes it."""
    gtid = "0-1-5"
    end = {"status": "END", "id": gtid, "data_collections": [{"data_collection": "shop.parent", "event_count": rows}]}
    documents: list[tuple[str, object, object]] = [("shop.transaction", None, {"status": "BEGIN", "id": gtid})]
    for number in range(rows):
        source = {"db": "shop", "table": "parent", "gtid": gtid, "file": file, "pos": 100 + number, "snapshot": "false"}
        row = {
            "op": "u",
            "before": {"id": number, "code": f"old {number}"},
            "after": {"id": number, "code": f"new {number}"},
            "source": source,
            "transaction": {"id": gtid, "total_order": number + 1, "data_collection_order": number + 1},
        }
        documents.append(("shop.parent", {"id": number}, row))
    documents.append(("shop.transaction", None, end | {"ts_ms": 1}))
    return [
        PlainRecord(topic, 0, place, msgspec.json.encode(key) if key else None, msgspec.json.encode(value), [])
        for place, (topic, key, value) in enumerate(documents)
    ]


@pytest.mark.parametrize("cascades", [True, False])
def test_a_binary_logs_places_and_a_parent_that_nobody_knew(cascades: bool) -> None:  # noqa: FBT001 - parametrised
    """A place in a late file takes more than 64 bits; what a row was is in its record alone, which a cascade needs."""
    key = Cascade("shop.child", (1,), ("code",), "shop.parent", (1,), ("code",), "cascade", "cascade")
    layouts = {table: Layout(table, ("id", "code")) for table in ("shop.child", "shop.parent")}
    mappings = MappingSet("shop", (), layouts, "", (key,) if cascades else ())
    spools: list[Spool] = []

    def new_spool() -> Spool:
        spools.append(Spool(MemoryStore()))
        return spools[-1]

    state = RowState(MemoryStore(), mappings, new_spool=new_spool)
    state.replace("shop.child", b'{"id":9}', StoredRow(1, 0, (9, "old 1")))
    topics = [InputPartition(topic, 0) for topic in ("shop.parent", "shop.transaction")]
    source = SourceSettings(
        "shop", "mariadb", ("shop.parent",), "shop.transaction", "", "DLT", transaction_rows_in_memory_max=1
    )
    pipeline = Pipeline(source, mappings, state, topics, new_spool=new_spool)
    ends = dict.fromkeys(topics, 10)
    pipeline.start_at(dict.fromkeys(topics, 0), ends)
    pipeline.receive(from_mariadb("binlog.000300", 3), ends)
    while pipeline.wants_ends:
        pipeline.ends_are(ends)
    assert pipeline.waiting() is None
    parents = [state.row("shop.parent", b'{"id":%d}' % number) for number in range(3)]
    child = state.row("shop.child", b'{"id":9}')
    assert [one and one.row for one in parents] == [(number, f"new {number}") for number in range(3)]
    assert child is not None
    assert child.row == (9, "new 1" if cascades else "old 1")
    assert bool(spools) is not cascades


def test_a_table_is_whole_with_what_is_spilled_and_its_layout_comes_before_its_rows() -> None:
    table = min(MAPPINGS.layouts)
    state = RowState(MemoryStore(), MAPPINGS, 4, lambda: Spool(MemoryStore(), 2), 1)
    state.adopt()
    row = ("a",) * len(MAPPINGS.layouts[table].columns)
    for number in range(4):
        state.put(0, b"%d" % number, StoredRow(number, 0, row), [])
    state.take_changes()
    state.committed(b"")
    for number in (0, 1, 4, 5, 6):  # some of them deleted, some changed, some new
        state.put(0, b"%d" % number, None if number == 0 else StoredRow(number + 10 * (number < 4), 0, row), [])
    assert state.row_keys(0) == [b"1", b"2", b"3", b"4", b"5", b"6"]
    assert sorted(state.older(0, 5)) == [b"2", b"3", b"4"]
    narrow = RowState(MemoryStore(), MAPPINGS, 4, lambda: Spool(MemoryStore(), 2), 1)
    narrow.adopt()
    narrow.put(0, b"1", StoredRow(1, 0, row), [])
    narrow.put(0, b"2", StoredRow(1, 0, row), [])
    assert [record.key[:1] for record in narrow.take_changes()] == [b"m", b"r", b"r"]


def test_what_is_not_known_stays_unknown() -> None:
    """A stored row with a column that neither record nor state knew: it must not come back as a text."""
    store = MemoryStore()
    table = min(MAPPINGS.layouts)
    row = (UNKNOWN,) * len(MAPPINGS.layouts[table].columns)
    state = RowState(store, MAPPINGS)
    state.put(0, b'{"n":1}', StoredRow(1, 0, row), [])
    state.take_changes()
    state.committed(b"")
    found = RowState(store, MAPPINGS).get(0, b'{"n":1}')
    assert found is not None
    assert found.row == row


def test_keys_longer_than_a_storage_takes_are_written_whole(tmp_path: Path) -> None:
    """A changelog record has its whole key, and the row is found under it."""
    key = b'{"name":"' + b"x" * 900 + b'"}'
    row = ("a",) * len(MAPPINGS.layouts[min(MAPPINGS.layouts)].columns)
    state = RowState(temporary_store(tmp_path), MAPPINGS, 4, lambda: Spool(temporary_store(tmp_path), 2), 1)
    for number in range(5):
        state.put(0, key + b"%d" % number, StoredRow(1, 0, row), [])
    changes = list(state.take_changes())
    assert {record.key.partition(b"\x00")[2] for record in changes} == {key + b"%d" % number for number in range(5)}
    state.committed(b"")
    assert all(state.get(0, key + b"%d" % number) is not None for number in range(5))
    state.close()


def test_temporary_storage_leaves_nothing_behind(tmp_path: Path) -> None:
    """Its files have no names, and go with it: however the process ends, the disk is free again."""
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    storage = temporary_store(tmp_path)
    records = SpooledRecords(
        Spool(storage, 3), [OutboundRecord("t", b"%d" % n, b"v", [("a", b"b")]) for n in range(10)]
    )
    assert [record.key for record in records] == [b"%d" % n for n in range(10)]
    assert list(tmp_path.iterdir()) == []
    storage.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors
