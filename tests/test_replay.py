"""``bridge replay`` over the simulator's databases: what the first run told, told again, whatever dies meanwhile."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID, uuid5

import pytest
from msgspec import structs

from bridge.core.history import RELEASE, decision
from bridge.core.units import PARKED
from bridge.errors import Fatal, Retriable, TransactionIncomplete
from bridge.runtime.as_of import Beginnings, decided
from bridge.runtime.backfill import Known
from bridge.runtime.decide import decide
from bridge.runtime.stored import Checkpoints
from bridge.runtime.stretch import Asked, Told
from bridge.state.rows import RowState
from bridge.state.store import MemoryStore
from bridge.testing import FakeKafka, Process
from tests.sim.chaos import Chaos
from tests.sim.evolution import checkpoint, make_change
from tests.sim.evolution import world_of as evolving
from tests.sim.mappings import DEAD_LETTERS
from tests.sim.replaying import Machine, Slices, compare, everything, rehearse, temporary
from tests.sim.scenario import Scenario, make_scenario
from tests.sim.verdict import seen
from tests.sim.world import CHANGELOG, World, source_settings
from tests.simulate import MARIADB_SHARE, mappings_for

SEEDS = 120


def scenario_of(seed: int) -> Scenario:
    return make_scenario(seed, mariadb=Random(f"dialect/{seed}").random() < MARIADB_SHARE)


def world_of(scenario: Scenario, seed: str, chaos: Chaos) -> World:
    return World(scenario, mappings_for(scenario.features), source_settings(scenario), chaos, seed)


def test_shadow_topics_hold_the_slice_of_the_first_run_byte_by_byte() -> None:
    reached: Counter[str] = Counter()
    for seed in range(1, SEEDS):
        rng = Random(f"replay/{seed}")
        scenario = scenario_of(seed)
        world = world_of(scenario, f"{seed}/first", Chaos.random(rng))
        with temporary() as directory:
            try:
                if rng.random() < 0.7:
                    reached["checkpoints"] += store_some(world, Path(directory), rng)
                world.run()
                slices = Slices(world)
                by_key: dict[tuple[bool, bytes], list[object]] = {}
                for one in seen(world.broker):
                    by_key.setdefault((one.record.topic == DEAD_LETTERS, one.record.key), []).append(one.record)
                assert by_key == everything(slices)
                if slices.of:
                    reached += rehearse(world, slices, Path(directory), rng, Chaos.random(rng))
                    reached["done"] += 1
            except BaseException as error:
                error.add_note(f"seed {seed}")
                raise
    print(reached)


def store_some(world: World, directory: Path, rng: Random) -> int:
    """Stored checkpoints at random moments of a run."""
    kafka = FakeKafka(world.broker, world.topics, Process("operator"))
    stored = 0
    for number in range(rng.randint(1, 3)):
        for _ in range(rng.randint(1, 60)):
            world.feeder.feed(rng.randint(0, min(world.chaos.feed, 20)))
            rng.choice(world.machines).step()
        if checkpoint(world.broker).offsets:
            with suppress(Retriable):  # somebody died in the middle of a Kafka transaction
                Checkpoints(directory, "legacy").create(f"c{number}", kafka.changelog(), 0, lambda _done, _total: None)
                stored += 1
    return stored


# -- what is refused, and what is left alone -----------------------------------------------------------------------------


class Past:
    """A run that is over, and what each END of it means."""

    def __init__(self, seed: int, directory: Path) -> None:
        self.world = world_of(scenario_of(seed), f"{seed}/calm", Chaos.calm())
        self.world.run()
        self.slices = Slices(self.world)
        self.ends = sorted(self.slices.of)
        self.machine = Machine(self.world, Checkpoints(directory, "legacy"), Random(seed))

    def replay(self, asked: Asked, rate: float | None = None) -> Told:
        if f"{CHANGELOG}.{asked.name}" not in self.world.broker.topics:
            self.machine.make_topics(asked)
        return self.machine.start(asked, rate=rate)

    def refused(self, asked: Asked) -> Fatal:
        with pytest.raises(Fatal) as raised:
            self.replay(asked)
        return raised.value


def _fits(seed: int) -> bool:
    """A topic per table, something parked, and enough of it."""
    scenario = scenario_of(seed)
    return not scenario.layout.single_log and bool(scenario.truth.parked) and len(scenario.truth.events) > 40


SEED = next(seed for seed in range(1, 500) if _fits(seed))


@pytest.fixture
def past(tmp_path: Path) -> Past:
    return Past(SEED, tmp_path)


def asked(past: Past, since: float, until: float = 1.0, **how: Any) -> Asked:
    first, last = (past.ends[int(share * (len(past.ends) - 1))] for share in (since, until))
    return Asked(str(how.pop("name", "again")), str(first), str(last), **how)


def test_behind_what_retention_took_it_begins_at_a_checkpoint_or_not_at_all(past: Past, tmp_path: Path) -> None:
    broker, middle = past.world.broker, asked(past, 0.5)
    kafka = FakeKafka(broker, past.world.topics, Process("operator"))
    for log in (one for topic in past.world.topics.inputs() for one in broker.topics[topic]):
        log.start = min(1, log.end())
    error = past.refused(middle)
    assert error.code == "B551"
    assert "there is none that serves at all" in error.hint
    stored = Checkpoints(tmp_path, "legacy").create("late", kafka.changelog(), 0, lambda _done, _total: None)
    assert f"--from {stored.end_offset + 1}, behind checkpoint late" in past.refused(middle).hint


def test_it_publishes_no_faster_than_it_is_told(past: Past) -> None:
    told = past.replay(asked(past, 0.0), rate=2.0)
    assert told.events > 20
    mine = [one for one in past.world.broker.history if one.process == "replay.1"]
    before = 0  # events of the Kafka transactions before
    for one in mine:
        assert not one.records or one.at - mine[0].at >= before / 2.0 - 0.001
        before += sum(record.topic != f"{DEAD_LETTERS}.again" for record in one.records)
    assert max(len(one.records) for one in mine) < 20  # those of the snapshot come together
    compare(past.world, asked(past, 0.0), past.slices.between(past.ends[0], past.ends[-1]))


def test_live_it_writes_events_alone_and_moves_nothing_of_the_bridge(past: Past) -> None:
    world = past.world
    broker, wanted = world.broker, asked(past, 0.2, live=True)
    for machine in world.machines:
        machine.worker.close()
    changelog, offsets = broker.log(CHANGELOG).end(), dict(broker.group("bridge").offsets)
    told = past.replay(wanted)
    records = [one for some in past.slices.between(int(wanted.since), past.ends[-1]) for one in some]
    events = [one for one in records if one.topic != DEAD_LETTERS]
    assert [one for some in broker.history if some.process == "replay.1" for one in some.records] == events
    assert (told.events, told.letters) == (len(events), len(records) - len(events))
    assert told.letters
    assert broker.log(CHANGELOG).end() == changelog
    assert broker.group("bridge").offsets == offsets


def test_live_it_waits_for_the_bridge_to_go(past: Past) -> None:
    machine = past.world.machines[0]
    machine.step()
    stopped: list[float] = []

    def stop() -> None:
        """The bridge works on while the replay waits, and then ends."""
        if not stopped and past.world.broker.clock.now() > begun + 30:
            machine.worker.close()
            stopped.append(past.world.broker.clock.now())
        if not stopped:
            machine.step()

    begun = past.world.broker.clock.now()
    past.world.broker.clock.on_sleep = stop
    told = past.replay(asked(past, 0.5, live=True))
    assert told.done
    at = [one.at for one in past.world.broker.history if one.process == "replay.1"]
    assert stopped
    assert min(at) >= stopped[0]


def test_live_under_new_ids_each_event_names_the_one_it_replaces(past: Past) -> None:
    for machine in past.world.machines:
        machine.worker.close()
    wanted = asked(past, 0.2, live=True, reissue=True)
    past.replay(wanted)
    new = [one for some in past.world.broker.history if some.process == "replay.1" for one in some.records]
    old = [
        one
        for some in past.slices.between(int(wanted.since), past.ends[-1])
        for one in some
        if one.topic != DEAD_LETTERS
    ]
    assert [(one.key, one.value, dict(one.headers)["replaces"]) for one in new] == [
        (one.key, one.value, dict(one.headers)["ce_id"]) for one in old
    ]
    ids = [dict(one.headers)["ce_id"].decode() for one in new]
    assert ids == [str(uuid5(UUID(dict(one.headers)["replaces"].decode()), "again")) for one in new]
    assert all(
        dict(one.headers)["traceparent"][3:35].decode() == UUID(new_id).hex
        for one, new_id in zip(new, ids, strict=True)
    )


def test_live_is_refused_where_it_would_put_old_over_new_or_other_under_known_ids(past: Past) -> None:
    for machine in past.world.machines:
        machine.worker.close()
    past.machine.compacted = ("sales.orders",)
    assert past.refused(asked(past, 0.2, 0.6, live=True)).code == "B554"
    first = str(past.ends[1])
    assert past.replay(Asked("now", first, live=True)).until == past.ends[-1]
    past.machine.compacted = ()
    world, mappings = past.world, past.world.mappings
    world.mappings = structs.replace(mappings, digest="edited")
    assert past.refused(asked(past, 0.2, name="edited", live=True)).code == "B555"
    assert past.replay(asked(past, 0.2, name="reissued", live=True, reissue=True)).done


def test_other_arguments_and_a_second_time_are_refused(past: Past) -> None:
    wanted = asked(past, 0.3)
    past.machine.stop_after = 1
    assert not past.replay(wanted, rate=5.0).done
    past.machine.stop_after = None
    assert past.refused(asked(past, 0.4)).code == "B552"
    assert past.replay(wanted).done
    assert past.refused(wanted).code == "B553"
    compare(past.world, wanted, past.slices.between(int(wanted.since), int(wanted.until)))


def test_an_empty_stretch_and_an_unknown_mapping_are_refused(past: Past) -> None:
    assert past.refused(asked(past, 0.8, 0.2)).code == "B550"
    assert past.refused(asked(past, 0.2, mappings=("Orders",))).code == "B556"


def test_a_checkpoint_without_the_columns_that_are_used_now_does_not_serve(tmp_path: Path) -> None:
    change = next(one for one in (make_change(seed, narrow=False) for seed in range(1, 100)) if one is not None)
    world = evolving(change, Random(1), "1/evolving")
    world.run()
    kafka = FakeKafka(world.broker, world.topics, Process("operator"))
    changelog, end = kafka.changelog(), 1 << 40
    checkpoints = Checkpoints(tmp_path, "legacy")
    checkpoints.create("old", changelog, 0, lambda _done, _total: None)
    whole = {log.name: 0 for topic in world.topics.inputs() for log in world.broker.topics[topic]}
    found = Beginnings(checkpoints, changelog.identity(), whole)
    assert found.bring(RowState(MemoryStore(), change.old), change.old, end) == "checkpoint old"
    assert found.bring(RowState(MemoryStore(), change.new), change.new, end) == "the beginning"
    cut = Beginnings(checkpoints, changelog.identity(), whole | {next(iter(whole)): 1})
    with pytest.raises(Fatal, match=r"lack what the mappings use \(public\.t_") as raised:
        cut.bring(RowState(MemoryStore(), change.new), change.new, end)
    assert raised.value.code == "B551"
    foreign = Beginnings(checkpoints, "another topic", whole)
    assert foreign.bring(RowState(MemoryStore(), change.old), change.old, end) == "the beginning"


def test_an_operators_decision_holds_in_a_replay_too(past: Past) -> None:
    """A row is gone from the topics: the replay waits for it as the bridge would, and goes on where that was decided."""
    world = past.world
    broker, topics = world.broker, world.topics
    rows = [one for topic in topics.data for log in broker.topics[topic] for one in log.visible()]
    lost = next(one for one in rows if b'"transaction":{' in (one.value_bytes or b""))
    broker.log(lost.topic_name, lost.partition_number).records[lost.offset()] = None
    with pytest.raises(TransactionIncomplete) as raised:
        past.replay(asked(past, 0.0))
    end = int(str(re.search(r"transaction-0@(\d+)", str(raised.value)).group(1)))  # type: ignore[union-attr]
    ends = {one.name: one.end() for topic in topics.inputs() for one in broker.topics[topic]}
    decide(FakeKafka(broker, topics, Process("operator")), decision(RELEASE, end, ends))
    assert past.replay(asked(past, 0.0)).done


def test_what_was_let_go_on_since_a_checkpoint_is_not_held_up_in_a_replay(past: Past) -> None:
    """The checkpoint says that two aggregates are parked; by now one of them was replayed, or given up."""
    kafka = FakeKafka(past.world.broker, past.world.topics, Process("operator"))
    decide(kafka, {PARKED + b"Order\x1f7": b"5"})
    state = RowState(MemoryStore(), past.world.mappings)
    for name in (b"Order\x1f7", b"Order\x1f8"):
        state.put_meta(PARKED + name, b"5")
    decided(Known(kafka, past.world.mappings), state)
    assert [name for name, _ in state.metas(PARKED)] == [PARKED + b"Order\x1f7"]
