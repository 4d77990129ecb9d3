"""``bridge replay`` over the simulator's databases: what the first run told, told again, whatever dies meanwhile."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

from bridge.runtime.stored import Checkpoints
from bridge.testing import FakeKafka, Process
from tests.sim.evolution import checkpoint
from tests.sim.replaying import Slices, everything, rehearse, temporary
from tests.sim.scenario import Scenario, make_scenario
from tests.sim.verdict import seen
from tests.sim.world import Chaos, World, source_settings
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
                    by_key.setdefault((one.record.topic == "legacy.DLT", one.record.key), []).append(one.record)
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
            Checkpoints(directory, "legacy").create(f"c{number}", kafka.changelog(), 0, lambda _done, _total: None)
            stored += 1
    return stored
