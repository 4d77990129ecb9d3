"""Mappings that change on the way: what must be published, from two whole runs over the same topics."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import NamedTuple

from bridge.core.checkpoint import Checkpoint
from bridge.core.pipeline import CHECKPOINT, Pipeline
from bridge.model import ChangelogRecord, InputPartition, MappingSet, OutboundRecord, SourceSettings
from bridge.state.rows import RowState, meta_key
from bridge.state.store import MemoryStore
from bridge.testing import Broker
from bridge.testing.broker import Log
from tests.sim.chaos import Chaos
from tests.sim.compiled import compiled
from tests.sim.scenario import Scenario, make_scenario
from tests.sim.workload import Features
from tests.sim.world import CHANGELOG, World, source_settings


class Change(NamedTuple):
    """A scenario whose mapping becomes another one."""

    scenario: Scenario
    old: MappingSet
    new: MappingSet
    old_settings: SourceSettings
    new_settings: SourceSettings


def wider(features: Features) -> Features:
    return replace(features, listed=False)


def narrower(features: Features, rng: Random) -> Features:
    """The same order with fewer tables."""
    has = [name for name in ("taxes", "payment", "customer") if getattr(features, name)]
    gone = rng.sample(has, rng.randint(1, len(has))) if has else []
    kept = {name: getattr(features, name) and name not in gone for name in ("taxes", "payment", "customer")}
    return replace(wider(features), taxes=kept["taxes"], payment=kept["payment"], customer=kept["customer"])


def settings_for(scenario: Scenario, features: Features) -> SourceSettings:
    return source_settings(replace(scenario, features=features))


def make_change(seed: int, *, narrow: bool = False) -> Change | None:
    """None for a scenario that has nothing to change, or dead letters, which belong to the mapping that wrote them."""
    scenario = make_scenario(seed)
    rng = Random(f"change/{seed}")
    features = wider(scenario.features)
    fewer = narrower(features, rng)
    if fewer == features or scenario.truth.parked:
        return None
    old, new = (features, fewer) if narrow else (fewer, features)
    return Change(scenario, compiled(old), compiled(new), settings_for(scenario, old), settings_for(scenario, new))


class Whole:
    """One undisturbed run over everything in the topics, or to where a bridge stood; on what another one left, if any."""

    def __init__(
        self,
        scenario: Scenario,
        mappings: MappingSet,
        settings: SourceSettings,
        *,
        until: Checkpoint | None = None,
        after: Whole | None = None,
    ) -> None:
        state = RowState(MemoryStore(), mappings)
        state.restore(after.changelog if after else (), b"")
        state.adopt()
        logs = _logs(scenario, settings)
        pipeline = Pipeline(
            settings,
            mappings,
            state,
            [log.name for log in logs],
            until=None if until is None else until.end_offset,
        )
        ends: dict[InputPartition, int] = {log.name: log.end() for log in logs}
        starts = dict.fromkeys(ends, 0) | pipeline.checkpoint.inputs()
        pipeline.start_at(starts, ends)
        # in a single log snapshot rows apply where they stand
        stops = until.inputs() if until is not None and settings.log else ends
        records = [one for log in logs for one in log.records[starts[log.name] : stops[log.name]] if one is not None]
        pipeline.receive(records, stops)
        while pipeline.wants_ends:
            pipeline.ends_are(ends)
        output = pipeline.take()
        self.records = list(output.records)
        self.changelog: list[ChangelogRecord] = list(output.changelog)
        self.open_windows = output.counts.open_windows


def _logs(scenario: Scenario, settings: SourceSettings) -> list[Log]:
    """The topics that a source names, with everything in them."""
    broker = Broker("told", session_timeout=3.0)
    for topic, partitions in scenario.layout.topics().items():
        broker.create_topic(topic, partitions)
    for send in scenario.topics.sends():
        log = broker.log(send.topic, send.partition)
        if send.gap:
            log.gap(send.gap)
        log.append(send.key, send.value, send.headers)
    topics = (settings.log,) if settings.log else (settings.transaction_topic, *settings.topics)
    return [log for topic in topics for log in broker.topics[topic]]


class Expected(NamedTuple):
    """What a mapping that changes where a bridge stood must publish.

    ``old``: by the old mapping, up to there; ``new``: by the new one behind it, if it had always been that one.
    """

    old: list[OutboundRecord]
    new: list[OutboundRecord]
    windows_open: bool


def expected(change: Change, switch: Checkpoint, *, narrow: bool) -> Expected:
    """A narrower mapping goes on with the windows that it finds, as they were opened."""
    old = Whole(change.scenario, change.old, change.old_settings, until=switch)
    begun = Whole(change.scenario, change.new, change.new_settings, until=switch)
    whole = Whole(change.scenario, change.new, change.new_settings)
    windows_open = bool(old.open_windows or begun.open_windows)
    if narrow and windows_open:
        new = Whole(change.scenario, change.new, change.new_settings, after=old).records
    else:
        assert whole.records[: len(begun.records)] == begun.records
        new = whole.records[len(begun.records) :]
    return Expected(old.records, new, windows_open)


def checkpoint(broker: Broker) -> Checkpoint:
    """Where the bridge stands, by its changelog."""
    found = None
    for record in broker.committed(CHANGELOG):
        if record.key_bytes == meta_key(CHECKPOINT):
            found = record.value_bytes
    return Checkpoint.decode(found)


def world_of(change: Change, rng: Random, seed: str) -> World:
    chaos = Chaos.random(rng)
    chaos.faults = type(chaos.faults)()
    return World(change.scenario, change.old, change.old_settings, chaos, seed)
