"""``bridge capture``: whole source transactions as they stand in the topics, from a simulated Kafka."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import msgspec
import pytest

from bridge.errors import Fatal, Retriable
from bridge.mapping import load
from bridge.model import InputPartition, OutboundRecord, PlainRecord
from bridge.runtime.capture import Summary, Wish, capture
from bridge.runtime.transform import read_captures, settings_for, transform
from bridge.testing import Broker, FakeReader, Faults, Process, SourceTopics

CAPTURES = Path(__file__).parent / "captures"
SOURCES = {"crash": "crash", "restart": "depot"}


class Source:
    """The topics of a capture on a simulated broker, with or without the last records of some partitions."""

    def __init__(self, name: str, without: dict[str, int] | None = None) -> None:
        self.records = read_captures([str(CAPTURES / f"{name}.jsonl.gz")])
        directory = CAPTURES / "mappings" / name
        files = [(str(path), path.read_text()) for path in sorted(directory.glob("*.yaml"))]
        self.mappings = load(files, SOURCES[name])
        self.settings = settings_for(self.records, SOURCES[name], "dead")
        self.kept = [r for r in self.records if r.offset_number < (without or {}).get(r.topic_name, 1 << 60)]
        self.broker = self._broker()

    def _broker(self) -> Broker:
        broker = Broker(seed=7)
        sizes: dict[str, int] = {}
        for record in self.records:
            sizes[record.topic_name] = max(sizes.get(record.topic_name, 0), record.partition_number + 1)
        for topic, partitions in sizes.items():
            broker.create_topic(topic, partitions)
        for record in self.kept:
            log = broker.log(record.topic_name, record.partition_number)
            log.gap(record.offset_number - log.end())
            log.append(record.key_bytes, record.value_bytes, record.header_list, record.timestamp_ms)
        return broker

    def capture(self, path: Path, wish: Wish | None = None, seed: int = 1, faults: Faults | None = None) -> Summary:
        settings = self.settings
        topics = SourceTopics(settings.transaction_topic or settings.log, settings.topics, changelog="none")
        reader = FakeReader(self.broker, topics, Process(str(seed), seed=seed, faults=faults))
        return capture(reader, settings, wish or Wish(), path, lambda _: None)

    def events(self, records: list[PlainRecord]) -> list[OutboundRecord]:
        found = [record for output in transform(records, self.settings, self.mappings) for record in output.records]
        assert found
        return found


@pytest.mark.parametrize("name", ["crash", "restart"])
def test_a_capture_holds_what_the_topics_hold(name: str, tmp_path: Path) -> None:
    """Repeats and restarts as well: record for record the same, whatever order they come in, so that events are."""
    source = Source(name)
    path = tmp_path / "all.jsonl.gz"
    summary = source.capture(path, faults=Faults(read_partial=0.5))
    found = read_captures([str(path)])
    assert summary.left_out == 0
    assert summary.records == len(found)
    assert [msgspec.to_builtins(r) for r in found] == [msgspec.to_builtins(r) for r in source.records]
    assert source.events(found) == source.events(source.records)
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_not_whole_is_left_out(tmp_path: Path) -> None:
    """A table's topic lags: the capture ends where a transaction misses rows, and everything in it is whole."""
    source = Source("crash", without={"pgc.crash.b": 1000})
    summary = source.capture(tmp_path / "some.jsonl.gz")
    found = read_captures([str(tmp_path / "some.jsonl.gz")])
    events = source.events(found)  # raises TransactionIncomplete if the last transaction lacked rows
    everything = source.events(source.records)
    assert summary.left_out > 0
    assert 0 < len(events) < len(everything)
    assert events == everything[: len(events)]
    texts = [r.value_bytes or b"" for r in found if r.topic_name == source.settings.transaction_topic]
    assert len({json.loads(text)["id"] for text in texts if b'"END"' in text}) == summary.transactions


@pytest.mark.parametrize("count", [1, 7, 100])
def test_so_many_transactions(count: int, tmp_path: Path) -> None:
    source = Source("crash")
    summary = source.capture(tmp_path / "few.jsonl", Wish(transactions=count))
    assert summary.transactions == count
    found = read_captures([str(tmp_path / "few.jsonl")])
    counted = [output.counts.transactions for output in transform(found, source.settings, source.mappings)]
    assert sum(counted) == count


def test_from_an_end_on(tmp_path: Path) -> None:
    """Of a transaction that was before it there is no row and no marker; those behind it are whole."""
    source = Source("crash")
    source.capture(tmp_path / "first.jsonl", Wish(transactions=50))
    first = read_captures([str(tmp_path / "first.jsonl")])
    last = max(r.offset_number for r in first if r.topic_name == source.settings.transaction_topic)
    summary = source.capture(tmp_path / "next.jsonl", Wish(start=str(last + 1), transactions=10))
    found = read_captures([str(tmp_path / "next.jsonl")])
    assert summary.transactions == 10
    assert summary.ends[0] > last
    counted = [output.counts.transactions for output in transform(found, source.settings, source.mappings)]
    assert sum(counted) == 10
    held = {InputPartition(r.topic_name, r.partition_number): r.offset_number for r in first}
    rows = [r for r in found if r.value_bytes and b'"op":' in r.value_bytes]
    assert all(r.offset_number > held[InputPartition(r.topic_name, r.partition_number)] for r in rows)


def test_from_now_on(tmp_path: Path) -> None:
    """What commits after the command began is recorded; here nothing does."""
    summary = Source("crash").capture(tmp_path / "none.jsonl", Wish(start="end", seconds=0.01))
    assert (summary.transactions, summary.records) == (0, 0)


def test_foreign_records_and_broken_texts_are_recorded_too(tmp_path: Path) -> None:
    source = Source("crash")
    topic = source.settings.topics[-1]
    log = source.broker.log(topic, 0)
    log.append(b"\xff", b"no JSON", [("h", b"\xfe"), ("n", None)], 5)
    summary = source.capture(tmp_path / "all.jsonl")
    assert summary.records == len(source.records) + 1
    assert summary.not_text == 2
    last = json.loads(next(line for line in (tmp_path / "all.jsonl").read_text().splitlines() if "no JSON" in line))
    assert last["key"] == {"base64": "/w=="}
    assert last["headers"] == [["h", {"base64": "/g=="}], ["n", None]]
    (read,) = [r for r in read_captures([str(tmp_path / "all.jsonl")]) if r.value_bytes == b"no JSON"]
    assert (read.key_bytes, read.header_list) == (b"\xff", [("h", b"\xfe"), ("n", None)])


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    source = Source("crash")
    path = tmp_path / "kept.jsonl.gz"
    path.write_bytes(gzip.compress(b"old"))

    with pytest.raises(Retriable):
        source.capture(path, faults=Faults(read_fails=1.0))
    assert gzip.decompress(path.read_bytes()) == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_path_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(Fatal, match="cannot be written: No such file or directory") as raised:
        Source("crash").capture(tmp_path / "absent" / "x.jsonl")
    assert raised.value.code == "B511"
