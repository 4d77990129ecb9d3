"""When the loop commits: at once where it has all that was there, in large Kafka transactions where more is waiting."""

from __future__ import annotations

from bridge.runtime.worker import Limits, Worker
from bridge.state.store import MemoryStore
from bridge.testing import FakeKafka, Process
from tests.test_decisions import PER_TABLE, Legacy


def bridge(legacy: Legacy, limits: Limits) -> Worker:
    kafka = FakeKafka(legacy.broker, legacy.topics, Process("p", 1))
    return Worker(legacy.settings, legacy.mappings, kafka, lambda _: MemoryStore(), legacy.broker.clock, limits=limits)


def events_per_commit(legacy: Legacy, limits: Limits) -> list[int]:
    """How many events each Kafka transaction holds, of a bridge that comes to the end."""
    begun = legacy.broker.clock.now()
    bridge(legacy, limits).run(lambda: legacy.broker.clock.now() - begun > 20)
    counts = [sum(record.topic == "orders" for record in one.records) for one in legacy.broker.history]
    return [count for count in counts if count]


def test_what_has_come_is_committed_at_once() -> None:
    """More comes all the time, and an hour's wait is allowed: a read that empties the topics is a commit all the same."""
    legacy = Legacy(PER_TABLE)
    worker = bridge(legacy, Limits(commit_seconds=3600.0))
    legacy.order(1, 100, 1, "N")
    while not legacy.events():
        worker.step()
    for number in range(2, 10):
        legacy.order(number, 100 * number, number, "N")
        worker.step()
        assert len(legacy.events()) == number
    worker.close()


def test_a_backlog_is_committed_in_large_parts() -> None:
    legacy = Legacy(PER_TABLE)
    for number in range(1, 41):
        legacy.order(number, 100 * number, number, "N")
    assert events_per_commit(legacy, Limits(read_records_max=6, commit_rows=1000, commit_seconds=3600.0)) == [40]


def test_a_backlog_does_not_hold_back_what_waited_long() -> None:
    legacy = Legacy(PER_TABLE)
    for number in range(1, 41):
        legacy.order(number, 100 * number, number, "N")
    assert len(events_per_commit(legacy, Limits(read_records_max=6, commit_rows=1000, commit_seconds=0.0))) > 5
