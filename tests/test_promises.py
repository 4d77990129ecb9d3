"""Promises of docstrings and pages that no scenario of the simulator reaches."""

from __future__ import annotations

import json

import pytest

from bridge.core.aggregate import Sight, Touched
from bridge.core.translate import translate
from bridge.core.view import View
from bridge.errors import Fatal, TransactionIncomplete
from bridge.mapping import load
from bridge.model import ChangelogRecord, MappingSet, Row, SourceSettings
from bridge.runtime.worker import Limits, Worker
from bridge.state.rows import RowState
from bridge.state.store import MemoryStore
from bridge.testing import Broker, FakeKafka, Process, SourceTopics

MAPPING = """\
aggregate: Order
source: legacy
key: order.ord_no
tables:
  order: {table: public.t_ord}
model:
  orderId: string = order.ord_no
  status: {type: enum, from: order.st, codes: {N: NEW, P: PAID}}
events:
  OrderPaid: {topic: orders, when: "passed(status, 'PAID')", data: [orderId]}
  OrderTouched: {topic: orders, when: not deleted(), data: [orderId]}
"""
COLUMNS = ("ord_no", "st")


def mappings(text: str = MAPPING) -> MappingSet:
    made = load([("order.yaml", text)], "legacy")
    assert made.layouts["public.t_ord"].columns == COLUMNS
    return made


def touched(before: Row, after: Row, *steps: Row) -> Touched:
    (mapping,) = mappings().mappings
    view = View(RowState(MemoryStore(), mappings()), {})
    sight: Sight = ([], view, view, b"", b"")
    return Touched(mapping, (before,), (after,), before, after, True, None, list(steps), [], sight)  # noqa: FBT003


def fired(one: Touched) -> list[str]:
    return [event.rule.type for event in translate(one)]


def test_a_model_that_did_not_change_fires_only_rules_that_look_at_steps() -> None:
    new, paid = (1, "N"), (1, "P")
    assert fired(touched(new, new, new)) == []
    assert fired(touched(new, new, paid, new)) == ["OrderPaid"]
    assert fired(touched(new, paid, paid)) == ["OrderPaid", "OrderTouched"]


def test_a_state_of_other_columns_is_refused_with_what_to_do() -> None:
    state = RowState(MemoryStore(), mappings())
    row = ChangelogRecord(b'rpublic.t_ord\x00{"ord_no":1}', b"\x96\x01\x00\x01\x01\xa1N\xa1x")
    with pytest.raises(Fatal) as caught:
        state.restore([row], b"")
    assert caught.value.code == "B503"
    assert "public.t_ord has 3 columns there, its layout has 2" in caught.value.message
    assert "bridge backfill" in caught.value.hint


def marker(status: str, counts: int | None) -> bytes:
    collections = None if counts is None else [{"data_collection": "public.t_ord", "event_count": counts}]
    return json.dumps({"status": status, "id": "7:100", "data_collections": collections, "ts_ms": 1}).encode()


def test_a_transaction_whose_rows_do_not_come_stops_with_its_table_and_counts() -> None:
    broker = Broker(1)
    for topic in ("shop.transaction", "shop.public.t_ord", "changelog", "orders", "legacy.DLT"):
        broker.create_topic(topic, 1)
    broker.log("shop.transaction").append(b"{}", marker("BEGIN", None))
    broker.log("shop.transaction").append(b"{}", marker("END", 2))
    topics = SourceTopics("shop.transaction", ("shop.public.t_ord",), changelog="changelog")
    settings = SourceSettings(
        "legacy", "postgresql", ("shop.public.t_ord",), "shop.transaction", dead_letter_topic="legacy.DLT"
    )
    worker = Worker(
        settings,
        mappings(),
        FakeKafka(broker, topics, Process("one", 1)),
        lambda _discard: MemoryStore(),
        broker.clock,
        limits=Limits(incomplete_after_seconds=60.0),
    )
    begun = broker.clock.now()
    with pytest.raises(TransactionIncomplete) as caught:
        worker.run(lambda: broker.clock.now() - begun > 300)
    assert 60 <= broker.clock.now() - begun <= 70
    assert "transaction 7 (commit position 100) is short: public.t_ord: 0 of 2 rows" in str(caught.value)
    assert broker.committed("orders") == []
