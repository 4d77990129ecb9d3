"""A source transaction that is too large for memory gives the same bytes as one that is not, wherever the limit lies."""

from __future__ import annotations

from collections import Counter, deque
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.core.collapse import StoredRow
from bridge.core.pipeline import Pipeline
from bridge.core.spool import Spool, SpooledRecords
from bridge.mapping import load
from bridge.model import UNKNOWN, InputPartition, OutboundRecord, PlainRecord, SourceSettings
from bridge.state.rows import RowState
from bridge.state.store import MemoryStore, temporary_store
from deploy.bench.large import ImportStream
from deploy.bench.stream import OrderStream, Record

ORDER = Path("deploy/bench/order.yaml")
MAPPINGS = load([(str(ORDER), ORDER.read_text())], "legacy", None)


class Drive:
    """A pipeline over some records, each partition's read in its order, and what it gave."""

    def __init__(self, records: list[Record], *, single_log: bool, rows_max: int, read_ahead: int = 1000) -> None:
        self.queues: dict[InputPartition, deque[PlainRecord]] = {}
        for record in records:
            place = InputPartition("log" if single_log else record.topic, 0)
            queue = self.queues.setdefault(place, deque())
            queue.append(PlainRecord(place.topic, 0, len(queue), record.key, record.value, [*record.headers]))
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
        )
        self.spools = 0
        self.state = RowState(MemoryStore(), MAPPINGS, 50, self.new_spool, rows_max)
        self.pipeline = Pipeline(source, MAPPINGS, self.state, list(self.queues), new_spool=self.new_spool)
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
    assert drive.ahead <= limit + 4 * 40  # a batch of each of the tables, read before it is paused


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
