"""Snapshots of all kinds, by records as Debezium 3.5 sends them: differences, ghosts, and what is no difference."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bridge.core.pipeline import Output, Pipeline
from bridge.errors import SnapshotDiffers, TransactionIncomplete
from bridge.mapping import load
from bridge.model import InputPartition, PlainRecord, SourceSettings
from bridge.state.rows import RowState
from bridge.state.store import MemoryStore

LOG = InputPartition("shop.log", 0)
MAPPING = """\
aggregate: Order
source: legacy
key: order.ord_no
tables:
  order:
    table: public.t_ord
model:
  orderId: int = order.ord_no
  status: string = order.st
events:
  OrderChanged:
    topic: orders
    when: not deleted()
    data: [orderId, status]
  OrderDeleted:
    topic: orders
    when: deleted()
    data: [orderId]
"""


class Stream:
    """One log, and the bridge that reads it."""

    def __init__(self, policy: str = "publish", begin: int = 0, end: int = 0) -> None:
        self.settings = SourceSettings("legacy", "postgresql", log=LOG.topic, snapshot_changes=policy)
        self.mappings = load([("order.yaml", MAPPING)], "legacy", None)
        self.state = RowState(MemoryStore(), self.mappings)
        self.pipeline = Pipeline(self.settings, self.mappings, self.state, [LOG])
        self.pipeline.start_at({LOG: begin}, {LOG: end})
        self.offset = begin
        self.records: list[PlainRecord] = []

    def restart(self) -> None:
        """A process that dies, and another one over the same state."""
        self.pipeline = Pipeline(self.settings, self.mappings, self.state, [LOG])
        self.pipeline.start_at({LOG: self.offset}, {LOG: self.offset})

    def send(self, key: Any, value: Any, run: str) -> Output:
        headers: list[tuple[str, bytes | None]] = [("__debezium.context.runId", run.encode())]
        record = PlainRecord("shop.log", 0, self.offset, msgspec.json.encode(key), msgspec.json.encode(value), headers)
        self.offset += 1
        self.records.append(record)
        self.pipeline.receive([record], {LOG: self.offset})
        output = self.pipeline.take()
        self.state.committed(b"")
        return output

    def seed(self, number: int, status: str, position: int, snapshot: str, run: str) -> Output:
        incremental = snapshot == "incremental"
        source = {"schema": "public", "table": "t_ord", "snapshot": snapshot, "lsn": None if incremental else position}
        source["sequence"] = f'["{position}","{position}"]'
        row = {"ord_no": number, "st": status}
        return self.send({"ord_no": number}, {"op": "r", "before": None, "after": row, "source": source}, run)

    def update(self, number: int, status: str, position: int, run: str, op: str = "u", count: int = 1) -> Output:
        source = {"schema": "public", "table": "t_ord", "snapshot": "false", "lsn": position}
        source["sequence"] = f'["{position - 10}","{position}"]'
        block = {"id": f"{position}:{position}", "total_order": 1, "data_collection_order": 1}
        row = {"ord_no": number, "st": status}
        change = {"op": op, "before": None, "after": row, "source": source, "transaction": block}
        self.send({"ord_no": number}, change, run)
        counts = [{"data_collection": "public.t_ord", "event_count": count}]
        end = {"status": "END", "id": f"{position}:{position}", "data_collections": counts, "ts_ms": position}
        return self.send({}, end, run)


def told(output: Output) -> list[tuple[str, Any]]:
    return [(dict(one.headers)["ce_type"].decode(), msgspec.json.decode(one.value)) for one in output.records]


def started(policy: str = "publish") -> Stream:
    stream = Stream(policy)
    stream.seed(1, "N", 100, "first", "a")
    stream.seed(2, "N", 100, "true", "a")
    stream.seed(3, "N", 100, "last", "a")
    assert told(stream.update(1, "P", 200, "a")) == [("OrderChanged", {"orderId": 1, "status": "P"})]
    return stream


def test_a_seed_that_differs_is_published_at_its_place_and_once() -> None:
    stream = started()
    output = stream.seed(2, "X", 200, "incremental", "a")
    assert told(output) == [("OrderChanged", {"orderId": 2, "status": "X"})]
    assert output.counts.seed_differences == 1
    assert told(stream.seed(2, "X", 200, "incremental", "a")) == []


def test_a_seed_loses_to_a_later_change() -> None:
    stream = started("stop")
    assert told(stream.seed(1, "N", 150, "incremental", "a")) == []
    assert told(stream.update(1, "P", 300, "a")) == []  # the state still says P


def test_a_difference_is_reported_without_an_event() -> None:
    stream = started("report")
    output = stream.seed(2, "X", 200, "incremental", "a")
    assert (told(output), output.counts.seed_differences) == ([], 1)
    assert told(stream.update(2, "X", 300, "a")) == []


def test_a_difference_stops_and_names_no_value() -> None:
    stream = started("stop")
    with pytest.raises(SnapshotDiffers) as caught:
        stream.seed(2, "SECRET", 200, "incremental", "a")
    assert caught.value.code == "B306"
    assert "shop.log-0@5: a row of public.t_ord (key " in caught.value.message
    assert "SECRET" not in str(caught.value)


def test_a_whole_snapshot_of_a_new_run_deletes_what_it_did_not_contain() -> None:
    stream = started()
    stream.seed(1, "P", 400, "first", "b")
    assert told(stream.seed(3, "N", 400, "last", "b")) == []
    stream.restart()
    assert told(stream.update(3, "S", 500, "b")) == [
        ("OrderDeleted", {"orderId": 2}),
        ("OrderChanged", {"orderId": 3, "status": "S"}),
    ]


def test_a_blocking_snapshot_shows_a_later_moment_and_swallows_no_event() -> None:
    stream = started("stop")
    stream.seed(2, "X", 200, "first", "a")
    stream.seed(3, "N", 200, "last", "a")
    assert told(stream.update(2, "X", 300, "a")) == [("OrderChanged", {"orderId": 2, "status": "X"})]
    assert told(stream.update(1, "Q", 310, "a")) == [("OrderChanged", {"orderId": 1, "status": "Q"})]


def test_a_start_in_mid_life_fires_nothing_of_what_was_there_and_everything_of_what_is_created_then() -> None:
    stream = Stream(begin=5, end=9)
    assert stream.pipeline.unseeded() == ["public.t_ord"]
    cut = stream.update(1, "N", 100, "a", op="c", count=2)  # a row of it was taken by retention
    assert (told(cut), cut.counts.incomplete) == ([], 1)
    assert told(stream.update(2, "N", 110, "a", op="c")) == []  # offset 8: its END was there at the start
    stream.restart()
    assert told(stream.update(2, "P", 120, "a")) == []
    assert told(stream.update(3, "N", 130, "a", op="c")) == [("OrderChanged", {"orderId": 3, "status": "N"})]
    with pytest.raises(TransactionIncomplete):
        stream.update(3, "P", 140, "a", count=2)
