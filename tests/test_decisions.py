"""What an operator decides about a source: the same for every process, replay and order of arrival."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from bridge.core.history import ACCEPT, RELEASE, decision
from bridge.errors import Fatal, HistoryWentBack, TransactionIncomplete
from bridge.mapping import load
from bridge.model import MappingSet, SourceSettings
from bridge.runtime.decide import decide
from bridge.runtime.verdict import Topics, checkpoint_of, refuse_released
from bridge.runtime.worker import Limits, Worker
from bridge.state.store import MemoryStore
from bridge.testing import Broker, FakeKafka, Process, SourceTopics

MAPPING = """\
aggregate: Order
source: legacy
key: order.no
tables:
  order: {table: public.ord}
  lines: {table: public.line, many: true, match: {no: order.no}}
model:
  orderId: string = order.no
  status: string = order.st
  amounts: {each: lines, fields: {amount: int = amt}, order_by: id}
events:
  OrderChanged: {topic: orders, when: not deleted(), data: [orderId, status, amounts]}
"""
OUTPUTS = ("orders", "legacy.DLT", "changelog")
PER_TABLE = SourceSettings(
    "legacy", "postgresql", ("s.public.ord", "s.public.line"), "s.transaction", dead_letter_topic="legacy.DLT"
)
ONE_LOG = SourceSettings("legacy", "postgresql", log="s.log", dead_letter_topic="legacy.DLT")


class Legacy:
    """A source database whose connector writes into a simulated broker, and bridges that read it."""

    def __init__(self, settings: SourceSettings) -> None:
        self.settings = settings
        self.mappings: MappingSet = load([("order.yaml", MAPPING)], "legacy")
        self.broker = Broker(1, session_timeout=1.0)
        for topic in (*([settings.log] if settings.log else [settings.transaction_topic, *settings.topics]), *OUTPUTS):
            self.broker.create_topic(topic, 1)
        self.topics = SourceTopics(settings.log or settings.transaction_topic, settings.topics, changelog="changelog")
        self.run = "a"
        self.time = 1000
        self.last: int | None = None
        self._names = itertools.count()

    # -- the connector -------------------------------------------------------------------------------------------------

    def append(self, topic: str, key: Any, value: Any, headers: list[tuple[str, bytes | None]] | None = None) -> int:
        self.time += 1
        log = self.broker.log(self.settings.log or f"s.{topic}")
        data = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
        return log.append(
            None if key is None else json.dumps(key, separators=(",", ":")).encode(), data, headers, self.time
        )

    def row(self, xid: int, lsn: int, op: str, table: str, key: int | None, **after: Any) -> None:
        source = {"schema": "public", "table": table, "lsn": lsn, "snapshot": "false"}
        source["sequence"] = json.dumps([None if self.last is None else str(self.last), str(lsn)])
        block = {"id": f"{xid}:{lsn}", "total_order": lsn, "data_collection_order": lsn}
        value = {"before": None, "after": after or None, "source": source, "transaction": block, "op": op}
        name = "no" if table == "ord" else "id"
        self.append(f"public.{table}", None if key is None else {name: key}, value, self.headers())

    def seed(self, lsn: int, table: str, key: int, snapshot: str = "true", **after: Any) -> None:
        source = {
            "schema": "public",
            "table": table,
            "lsn": lsn,
            "snapshot": snapshot,
            "sequence": json.dumps([None, str(lsn)]),
        }
        name = "no" if table == "ord" else "id"
        self.append(
            f"public.{table}",
            {name: key},
            {"before": None, "after": after, "source": source, "op": "r"},
            self.headers(),
        )

    def headers(self) -> list[tuple[str, bytes | None]]:
        return [("__debezium.context.runId", self.run.encode())]

    def begin(self, xid: int, lsn: int) -> None:
        self.append("transaction", {}, {"status": "BEGIN", "id": f"{xid}:{lsn}", "ts_ms": self.time})

    def end(self, xid: int, lsn: int, **counts: int) -> int:
        self.last = lsn
        collections = [{"data_collection": f"public.{table}", "event_count": n} for table, n in counts.items()]
        value = {"status": "END", "id": f"{xid}:{lsn}", "data_collections": collections, "ts_ms": self.time}
        return self.append("transaction", {}, value)

    def order(self, xid: int, lsn: int, number: int, status: str, *amounts: int, op: str = "c", lost: int = 0) -> int:
        """One transaction: an order with lines, the last `lost` of which do not come. The offset of its END."""
        self.begin(xid, lsn)
        self.row(xid, lsn + 1, op, "ord", number, no=number, st=status)
        for place, amount in enumerate(amounts[: len(amounts) - lost]):
            self.row(
                xid, lsn + 2 + place, "c", "line", number * 10 + place, id=number * 10 + place, no=number, amt=amount
            )
        return self.end(xid, lsn + 9, **{"ord": 1} | ({"line": len(amounts)} if amounts else {}))

    # -- the bridge ----------------------------------------------------------------------------------------------------

    def bridge(self, settings: SourceSettings | None = None) -> Worker:
        process = Process(f"p{next(self._names)}", 1)
        kafka = FakeKafka(self.broker, self.topics, process)
        limits = Limits(incomplete_after_seconds=5.0, idle_commit_seconds=0.5)
        return Worker(
            settings or self.settings, self.mappings, kafka, lambda _: MemoryStore(), self.broker.clock, limits=limits
        )

    def work(self, settings: SourceSettings | None = None) -> None:
        """A bridge with an empty disk, until everything is through or it stops."""
        begun = self.broker.clock.now()
        self.bridge(settings).run(lambda: self.broker.clock.now() - begun > 20)

    def decide(self, prefix: bytes, position: int) -> None:
        """What `bridge release` and `bridge accept` do."""
        kafka = FakeKafka(self.broker, self.topics, Process(f"o{next(self._names)}", 1))
        topics = Topics(self.settings, self.mappings, kafka.reader())
        topics.end_at(position)
        refuse_released(checkpoint_of(kafka.changelog()), topics.markers, position)
        offsets = topics.ends if prefix == RELEASE else topics.new_history(position)
        decide(kafka, decision(prefix, position, offsets))

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(record.value() or b"") for record in self.broker.committed("orders")]

    def ids(self) -> list[str]:
        return [_header(record.headers(), "ce_id") for record in self.broker.committed("orders")]

    def anew(self) -> list[tuple[str, dict[str, Any]]]:
        """What another bridge makes of the same topics and decisions from the beginning: the law."""
        found = Legacy(self.settings)
        for topic, logs in self.broker.topics.items():
            if topic not in OUTPUTS:
                found.broker.topics[topic] = logs
        metas = [
            one for kept in self.broker.history for one in kept.changelog if one.key[1:].startswith((ACCEPT, RELEASE))
        ]
        decide(FakeKafka(found.broker, found.topics, Process("o", 1)), {one.key[1:]: one.value for one in metas})
        found.work()
        return list(zip(found.ids(), found.events(), strict=True))


def _header(headers: list[tuple[str, bytes | None]] | None, name: str) -> str:
    return (dict(headers or [])[name] or b"").decode()


@pytest.fixture(params=["per table", "one log"])
def legacy(request: pytest.FixtureRequest) -> Iterator[Legacy]:
    made = Legacy(PER_TABLE if request.param == "per table" else ONE_LOG)
    made.order(1, 100, 1, "N", 5, 6)
    yield made
    assert made.anew() == list(zip(made.ids(), made.events(), strict=True))


def test_a_short_transaction_is_released_with_the_rows_that_it_has(legacy: Legacy) -> None:
    end = legacy.order(2, 200, 2, "N", 7, 8, lost=1)
    legacy.order(3, 300, 1, "P", op="u")
    with pytest.raises(TransactionIncomplete) as caught:
        legacy.work()
    assert f"bridge release --config FILE --source legacy --position {end}" in caught.value.hint
    legacy.decide(RELEASE, end)
    legacy.work()
    assert [(e["orderId"], [line["amount"] for line in e["amounts"]]) for e in legacy.events()] == [
        ("1", [5, 6]),
        ("2", [7]),
        ("1", [5, 6]),
    ]
    with pytest.raises(Fatal, match="was released already"):
        legacy.decide(RELEASE, end)


def test_a_row_that_comes_after_the_decision_is_not_taken() -> None:
    legacy = Legacy(PER_TABLE)
    end = legacy.order(1, 100, 1, "N", 5, 6, lost=1)
    legacy.decide(RELEASE, end)
    legacy.last = None
    legacy.row(1, 103, "c", "line", 11, id=11, no=1, amt=6)
    legacy.last = 109
    legacy.order(2, 200, 1, "P", op="u")
    legacy.work()
    assert [[line["amount"] for line in e["amounts"]] for e in legacy.events()] == [[5], [5]]
    assert legacy.anew() == list(zip(legacy.ids(), legacy.events(), strict=True))


def test_a_decision_names_an_end(legacy: Legacy) -> None:
    for position in (0, 1_000):
        with pytest.raises(Fatal, match="is not the END of a transaction"):
            legacy.decide(RELEASE, position)
    legacy.work()


def restored(legacy: Legacy, *, orphan: bool = True) -> int:
    """The database is put back to where nothing but order 1 was, with another status, and the connector snapshots it."""
    legacy.order(2, 200, 2, "N", 7)
    if orphan:  # of a transaction whose END the connector did not bring out any more; its xid comes again
        legacy.begin(3, 210)
        legacy.row(3, 211, "c", "line", 20, id=29, no=2, amt=99)
        legacy.row(3, 212, "c", "ord", 3, no=3, st="LOST")
    legacy.run, legacy.last = "b", None
    legacy.time += 1000
    legacy.seed(120, "ord", 1, "first", no=1, st="R")
    legacy.seed(120, "line", 10, no=1, id=10, amt=5)
    legacy.seed(120, "line", 11, "last", no=1, id=11, amt=60)
    end = legacy.order(2, 130, 4, "N", 1)
    legacy.order(3, 200, 1, "P", op="u")
    legacy.order(4, 300, 2, "P")  # the number is free again
    return end


def test_another_history_is_accepted_and_begins_anew(legacy: Legacy) -> None:
    end = restored(legacy)
    with pytest.raises(HistoryWentBack) as caught:
        legacy.work()
    assert "commit position 139, behind 209" in caught.value.message
    assert f"bridge accept --config FILE --source legacy --position {end}" in caught.value.hint
    legacy.decide(ACCEPT, end)
    legacy.work()
    told = [(e["orderId"], e["status"], [line["amount"] for line in e["amounts"]]) for e in legacy.events()]
    assert told == [
        ("1", "N", [5, 6]),
        ("2", "N", [7]),
        ("4", "N", [1]),
        ("1", "P", [5, 60]),
        ("2", "P", []),
    ]
    assert len(set(legacy.ids())) == len(told)
    legacy.row(5, 401, "c", "ord", 5, no=5, st="N")
    legacy.work()  # BEGIN and END are still on their way
    legacy.begin(5, 400)
    legacy.end(5, 409, ord=1)
    legacy.work()
    assert legacy.events()[-1]["orderId"] == "5"


def test_the_same_position_in_another_history_is_no_repeat(legacy: Legacy) -> None:
    """The first transaction after a restore may end where one of the old history did: it is looked at again."""
    legacy.order(2, 200, 2, "N")
    legacy.run, legacy.last = "b", None
    legacy.time += 1000
    legacy.seed(90, "ord", 1, "last_in_data_collection", no=1, st="R")
    legacy.seed(90, "line", 10, "last", no=1, id=10, amt=1)
    legacy.order(1, 100, 1, "P", op="u")
    legacy.work()  # it is taken for a repeat, and the checkpoint goes past it
    end = legacy.order(2, 150, 8, "N")
    with pytest.raises(HistoryWentBack):
        legacy.work()
    legacy.decide(ACCEPT, end)
    legacy.work()
    assert [(e["orderId"], e["status"]) for e in legacy.events()] == [("1", "N"), ("2", "N"), ("1", "P"), ("8", "N")]
    assert len(set(legacy.ids())) == 4  # another history, another event


def test_what_two_histories_share_is_not_told_twice(legacy: Legacy) -> None:
    """A lagging replica took over: the connector goes on without a snapshot, and repeats what both have."""
    legacy.order(2, 200, 2, "N", 7)
    legacy.order(3, 300, 2, "Q", op="u")
    legacy.run, legacy.last = "b", 109
    legacy.time += 1000
    legacy.order(2, 200, 2, "N", 7)
    end = legacy.order(3, 250, 4, "N", 9)
    legacy.order(4, 400, 2, "P", op="u")
    with pytest.raises(HistoryWentBack):
        legacy.work()
    legacy.decide(ACCEPT, end)
    legacy.work()
    assert [e["orderId"] + e["status"] for e in legacy.events()] == ["1N", "2N", "2Q", "4N", "2P"]


def test_a_history_that_did_not_go_back_is_not_accepted(legacy: Legacy) -> None:
    end = legacy.order(2, 200, 2, "N", 7)
    with pytest.raises(Fatal, match="do not tell where the history begins"):
        legacy.decide(ACCEPT, end)
    legacy.work()


@pytest.mark.parametrize("point", ["publish.before_commit", "publish.after_commit", "reader.read"])
def test_a_crash_at_the_border_of_histories_changes_nothing(legacy: Legacy, point: str) -> None:
    end = restored(legacy)
    with pytest.raises(HistoryWentBack):
        legacy.work()
    legacy.decide(ACCEPT, end)
    for number in range(1, 5):
        bridge = legacy.bridge()
        bridge.limits = msgspec.structs.replace(bridge.limits, read_records_max=2, commit_rows=1)
        process = bridge.kafka.process  # type: ignore[attr-defined]
        process.crash_at_point = (point, number)
        begun = legacy.broker.clock.now()
        try:
            bridge.run(lambda until=begun + 5: bool(legacy.broker.clock.now() > until))  # type: ignore[misc]
        except BaseException as error:  # noqa: BLE001 - a crash is one
            assert type(error).__name__ == "Crash"  # noqa: PT017
    legacy.work()
    assert [e["orderId"] for e in legacy.events()] == ["1", "2", "4", "1", "2"]


# -- tables ------------------------------------------------------------------------------------------------------------


def test_a_filtered_table_may_lack_rows_that_are_counted() -> None:
    legacy = Legacy(msgspec.structs.replace(ONE_LOG, filtered=frozenset({"public.line"})))
    legacy.order(1, 100, 1, "N", 5, 6, lost=1)
    legacy.work()
    assert [[line["amount"] for line in e["amounts"]] for e in legacy.events()] == [[5]]


def truncated(policy: str) -> Legacy:
    legacy = Legacy(msgspec.structs.replace(ONE_LOG, truncate={"public.line": policy} if policy else {}))
    legacy.order(1, 100, 1, "N", 5, 6)
    legacy.begin(2, 200)
    legacy.row(2, 201, "c", "line", 12, id=12, no=1, amt=7)
    legacy.row(2, 202, "t", "line", None)
    legacy.row(2, 203, "c", "line", 13, id=13, no=1, amt=8)
    legacy.row(2, 204, "u", "ord", 1, no=1, st="T")
    legacy.end(2, 209, line=3, ord=1)
    legacy.order(3, 300, 1, "P", op="u")
    return legacy


@pytest.mark.parametrize(("policy", "amounts"), [("", [5, 6, 7, 8]), ("forget", [8])])
def test_a_truncate_makes_no_events_of_its_own(policy: str, amounts: list[int]) -> None:
    legacy = truncated(policy)
    legacy.work()
    assert [[line["amount"] for line in e["amounts"]] for e in legacy.events()] == [[5, 6], amounts, amounts]


def test_a_truncate_may_stop_the_bridge() -> None:
    legacy = truncated("stop")
    with pytest.raises(Fatal, match=r"public\.line was truncated") as caught:
        legacy.work()
    assert caught.value.code == "B303"
    legacy.work(msgspec.structs.replace(legacy.settings, truncate={"public.line": "forget"}))
    assert [[line["amount"] for line in e["amounts"]] for e in legacy.events()] == [[5, 6], [8], [8]]
