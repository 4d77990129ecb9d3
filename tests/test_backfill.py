"""A mapping that changes while the bridge works: every event is one that a whole run with either mapping has, cut at one place.

The simulator's databases and connectors, with processes that die; the switch and the backfill come at random moments.
"""

from __future__ import annotations

import json
from contextlib import suppress
from random import Random

import pytest
from msgspec import structs

from bridge.core.checkpoint import Checkpoint
from bridge.mapping import load
from bridge.mapping.cases import Database, Statement
from bridge.model import MappingSet, OutboundRecord
from bridge.runtime.backfill import from_topics
from bridge.runtime.worker import Worker
from bridge.state.store import MemoryStore
from bridge.testing import Broker, Crash, FakeKafka, Process, SourceTopics
from bridge.trial.log import Log as TrialLog
from bridge.trial.log import Shape, log_of
from bridge.trial.machine import plain_run
from bridge.trial.stream import Stream
from tests.sim.evolution import Change, checkpoint, expected, make_change, world_of
from tests.sim.verdict import seen
from tests.sim.world import CHANGELOG, World

SEEDS = 150
NOTE = """\
aggregate: Order
source: legacy
key: ord.no
collapse: {quiet: 2s, at_most: 5s}
tables:
  ord: {table: public.ord}
model:
  orderId: string = ord.no
  cents: int = ord.cents{note}
events:
  OrderRevised:
    topic: orders
    when: not created()
    data: {orderId: , cents: , was: int? = before.cents{data}}
"""
NOTED = {"{note}": "\n  note: string? = ord.note", "{data}": ", note: , noteWas: string? = before.note"}


def work(world: World, rounds: int) -> None:
    for _ in range(rounds):
        world.feeder.feed(world.rng.randint(0, min(world.chaos.feed, 20)))
        world.rng.choice(world.machines).step()


def feed_while_waiting(world: World) -> None:
    """Rows of tables that the old mapping does not use may be on their way still when the new one needs them."""
    sleep = world.broker.clock.sleep

    def sleep_and_feed(seconds: float) -> None:
        world.feeder.feed(2)
        sleep(seconds)

    world.broker.clock.sleep = sleep_and_feed  # type: ignore[method-assign]


def switch(world: World, change: Change) -> None:
    """Every process is stopped, and started with the other mapping."""
    world.mappings, world.settings = change.new, change.new_settings
    world.topics = topics_of(change, "bridge.legacy")
    for machine in world.machines:
        with suppress(Crash):
            machine.worker.close()
        machine.start()


def topics_of(change: Change, identity: str) -> SourceTopics:
    settings = change.new_settings
    return SourceTopics(settings.log or settings.transaction_topic, settings.topics, CHANGELOG, "bridge", identity)


def backfill(world: World, change: Change, rng: Random) -> None:
    """Killed now and then, and started again."""
    for attempt in range(20):
        process = Process(f"backfill.{attempt}", world.seed, world.faults)
        if rng.random() < 0.6 and attempt < 10:
            process.crash_at = rng.choice((rng.randint(1, 10), rng.randint(1, 60)))
        try:
            from_topics(
                FakeKafka(world.broker, topics_of(change, "bridge.backfill"), process),
                change.new_settings,
                change.new,
                lambda _done, _total: None,
            )
        except Crash:
            world.reached["backfill crash"] += 1
            continue
        return


def published(world: World, change: Change, switch: Checkpoint, *, narrow: bool) -> bool:
    """Old events up to ``switch``, the new ones behind it: per key, byte for byte. Whether windows were open there."""
    wanted = expected(change, switch, narrow=narrow)
    assert by_key([one.record for one in seen(world.broker)]) == by_key([*wanted.old, *wanted.new])
    return wanted.windows_open


def by_key(records: list[OutboundRecord]) -> dict[bytes, list[OutboundRecord]]:
    found: dict[bytes, list[OutboundRecord]] = {}
    for one in records:
        found.setdefault(one.key, []).append(one)
    return found


@pytest.mark.parametrize("narrow", [False, True])
def test_events_are_those_of_the_old_mapping_and_then_those_of_the_new_one(*, narrow: bool) -> None:
    done = crashes = windows = 0
    for seed in range(1, SEEDS):
        change = make_change(seed, narrow=narrow)
        if change is None:
            continue
        rng = Random(f"switch/{seed}")
        world = world_of(change, rng, f"{seed}/switch")
        feed_while_waiting(world)
        try:
            work(world, rng.choice((5, 20, 80)))
            while not checkpoint(world.broker).offsets:
                work(world, 1)
            if not narrow:
                backfill(world, change, rng)
                work(world, rng.choice((0, 10, 60)))
            switch(world, change)
            stood = checkpoint(world.broker)
            world.run()
            windows += published(world, change, stood, narrow=narrow)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        done += 1
        crashes += world.reached["backfill crash"]
    assert done > SEEDS / 4
    assert windows > SEEDS / 20
    assert narrow or crashes > 5


# -- a window that is open at the hand-over ------------------------------------------------------------------------------


def order_mapping(*, noted: bool) -> MappingSet:
    text = NOTE
    for place, what in NOTED.items():
        text = text.replace(place, what if noted else "")
    return load([("order.yaml", text)], "legacy")


class Bridge:
    """One that works on a log as far as it is fed, with an empty disk at each start."""

    def __init__(self, log: TrialLog) -> None:
        self.broker = Broker("windows", session_timeout=3.0)
        self.log = log
        self.settings = structs.replace(log.settings, dead_letter_topic="legacy.DLT")
        inputs = sorted({partition.topic for partition in log.partitions})
        for topic in (*inputs, "orders", "legacy.DLT", CHANGELOG):
            self.broker.create_topic(topic, 1)
        self.fed = 0

    def feed(self, transactions: int) -> None:
        """The next ones: a row and both markers each, and BEGIN and END alone where nothing of ours changes."""
        markers = self.log.settings.transaction_topic
        ends = 0
        while ends < transactions:
            record = self.log.queues[self.log.arrival[self.fed]][self._offset()]
            self.broker.log(record.topic_name, 0).append(record.key_bytes, record.value_bytes, record.header_list)
            ends += record.topic_name == markers and b'"status":"END"' in (record.value_bytes or b"")
            self.fed += 1

    def _offset(self) -> int:
        return self.log.arrival[: self.fed].count(self.log.arrival[self.fed])

    def kafka(self, name: str, crash_at: int | None = None) -> FakeKafka:
        settings = self.settings
        process = Process(name)
        process.crash_at = crash_at
        topics = SourceTopics(settings.transaction_topic, settings.topics, CHANGELOG, "bridge", f"bridge.{name}")
        return FakeKafka(self.broker, topics, process)

    def work(self, mappings: MappingSet, crash_at: int | None = None) -> bool:
        """Until nothing is left to do; False where the process dies before."""
        kafka = self.kafka("legacy", crash_at)
        worker = Worker(self.settings, mappings, kafka, lambda _: MemoryStore(), self.broker.clock)
        begun = self.broker.clock.now()
        try:
            worker.run(lambda: self.broker.clock.now() - begun > 20)
        except Crash:
            return False
        return True

    def kept(self, kind: bytes) -> dict[bytes, bytes]:
        kept = {one.key_bytes or b"": one.value_bytes for one in self.broker.committed(CHANGELOG)}
        return {key: value for key, value in kept.items() if key.startswith(kind) and value is not None}

    @property
    def events(self) -> list[OutboundRecord]:
        return [record for transaction in self.broker.history for record in transaction.records]


def order_log() -> TrialLog:
    database, stream = Database({"public.ord": ("no",)}, {"public.ord": ("no", "cents", "note")}), Stream()
    stream.snapshot([])
    for after, what, row in (
        (1_000, "insert", {"no": 1, "cents": 3, "note": "a"}),
        (60_000, "update", {"no": 1, "note": "b"}),  # of this the old mapping knows nothing
        (1_000, "update", {"no": 1, "cents": 4}),
        (1_000, "update", {"no": 1, "note": "c"}),
        (60_000, "", {}),
    ):
        stream.transaction([database.run(Statement(what, "public.ord", row, {}))] if what else [], after_ms=after)
    return log_of(stream.sent, "legacy", ["public.ord"], Shape())


def test_a_new_column_is_in_a_window_that_is_open_when_it_is_taken_up() -> None:
    """The window is the new mapping's: it began with a change of the new column, and knows what that was before."""
    log = order_log()
    expected_events = plain_run(log, order_mapping(noted=True))[0]
    assert [json.loads(one.value) for one in expected_events] == [
        {"orderId": "1", "cents": 4, "was": 3, "note": "c", "noteWas": "a"}
    ]
    found: list[dict[bytes, bytes]] = []  # what was open after a crash: the old mapping's window, then the new one's
    crash_at = 0
    while len(found) < 2:
        crash_at += 1
        bridge = Bridge(log)
        bridge.feed(3)
        assert bridge.work(order_mapping(noted=False))
        from_topics(bridge.kafka("backfill"), bridge.settings, order_mapping(noted=True), lambda *_: None)
        assert not bridge.work(order_mapping(noted=True), crash_at)
        windows = bridge.kept(b"mwindow")
        if windows not in found[-1:]:
            found.append(windows)
        assert windows == found[0] or not bridge.kept(b"mmerge")
        bridge.broker.clock.sleep(10)
        bridge.feed(2)
        assert bridge.work(order_mapping(noted=True))
        assert bridge.events == expected_events, crash_at
        assert not bridge.kept(b"mwindow")
