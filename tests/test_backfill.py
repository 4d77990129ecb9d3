"""A mapping that changes while the bridge works: every event is one that a whole run with either mapping has, cut at one place.

The simulator's databases and connectors, with processes that die; the switch and the backfill come at random moments.
"""

from __future__ import annotations

from contextlib import suppress
from random import Random

import pytest

from bridge.core.checkpoint import Checkpoint
from bridge.model import OutboundRecord
from bridge.runtime.backfill import from_topics
from bridge.testing import Crash, FakeKafka, Process, SourceTopics
from tests.sim.evolution import Change, checkpoint, expected, make_change, world_of
from tests.sim.verdict import seen
from tests.sim.world import CHANGELOG, World

SEEDS = 150


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
