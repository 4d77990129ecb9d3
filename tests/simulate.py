"""Seeded simulation: the real core and runtime against a Kafka that fails and a Debezium that dies and repeats.

``python -m tests.simulate --seed 1 --runs 1000``. One seed is one whole scenario: a database's history, the topics that
a connector made of it, and two runs of the bridge over them: a rough one with crashes, take-overs, zombies and failing
calls, and a calm one. What the first published must be what the naive model says, and the same bytes as the second; for
some seeds a stretch of it is then replayed.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
import traceback
from collections import Counter
from contextlib import nullcontext
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from random import Random

from bridge.model import MappingSet
from tests.sim.chaos import Chaos
from tests.sim.compiled import compiled
from tests.sim.regress import refuses_another_history
from tests.sim.replaying import Slices, rehearse, temporary
from tests.sim.scenario import Scenario, make_scenario
from tests.sim.verdict import judge, same, same_state
from tests.sim.workload import Features
from tests.sim.world import World, source_settings

SEED_SECONDS = 20
MARIADB_SHARE = 0.35
REPLAYED_SHARE = 0.15
REPORTED = (
    "bridge crash",
    "take-over",
    "fenced zombie",
    "ambiguous commit",
    "failing call",
    "connector death",
    "repeat",
    "restart inside a transaction",
    "seeds overlapping live changes",
    "local state lost",
    "spooled",
    "parked aggregate",
    "single log",
    "windows",
    "mariadb",
    "BEGIN without END",
    "cascaded change",
    "replayed stretch",
    "replay crash",
    "unreadable record",
    "late commit",
    "member of a storm",
    "broker outage",
    "clock jump",
    "reboot",
    "damaged local state",
    "stopped",
    "positions went back",
    "everything repeated",
)


def run_seed(seed: int) -> Counter[str]:
    """One seed. Raises AssertionError, or what the bridge raised. Returns what it reached."""
    scenario = make_scenario(seed, mariadb=Random(f"dialect/{seed}").random() < MARIADB_SHARE, garbage=True)
    rng = Random(f"chaos/{seed}")
    rough = _run(scenario, Chaos.random(rng), f"{seed}/rough")
    published = judge(rough.broker, scenario.truth)
    calm = _run(scenario, Chaos.calm(), f"{seed}/calm")
    same(published, judge(calm.broker, scenario.truth))
    same_state(rough.broker, calm.broker)
    replayed = _replayed(rough, Random(f"replay/{seed}"))
    return _reached(scenario, rough) + replayed + Counter({"positions went back": refuses_another_history(calm)})


def _replayed(world: World, rng: Random) -> Counter[str]:
    """For some seeds, a stretch is replayed to shadow topics; without stored checkpoints (see tests/test_replay.py)."""
    slices = Slices(world) if rng.random() < REPLAYED_SHARE else None
    if slices is None or not slices.of:
        return Counter()
    with temporary() as directory:
        return rehearse(world, slices, Path(directory), rng, Chaos.random(rng)) + Counter({"replayed stretch": 1})


def _run(scenario: Scenario, chaos: Chaos, seed: str) -> World:
    world = World(scenario, mappings_for(scenario.features), source_settings(scenario), chaos, seed)
    world.run()
    return world


_compiled = cache(compiled)
# what the mapping depends on
_SAID = ("taxes", "payment", "customer", "soft_delete", "listed", "window", "until", "mariadb", "cascades")


def mappings_for(features: Features) -> MappingSet:
    return _compiled(Features(**{name: getattr(features, name) for name in _SAID}))


def _reached(scenario: Scenario, world: World) -> Counter[str]:
    reached = world.reached + scenario.topics.reached
    reached["seeds overlapping live changes"] += scenario.seeds_overlap_live_changes()
    reached["parked aggregate"] += bool(scenario.truth.parked)
    reached["unreadable record"] += scenario.truth.unreadable
    reached["single log"] += scenario.layout.single_log
    reached["windows"] += scenario.features.window is not None
    reached["mariadb"] += scenario.features.mariadb
    changes = (change for transaction in scenario.database.transactions for change in transaction.changes)
    reached["cascaded change"] += any(change.silent for change in changes)
    reached["events"] += len(scenario.truth.events)
    reached["source transactions"] += len(scenario.database.transactions)
    return reached


def _too_long(_signal: int, _frame: object) -> None:
    raise TimeoutError(f"the seed took longer than {SEED_SECONDS} s")


def _tried(seed: int) -> tuple[int, Counter[str], str]:
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(SEED_SECONDS)
    try:
        return seed, run_seed(seed), ""
    except Exception as error:  # noqa: BLE001 - whatever it is, the seed tells how to see it again
        return seed, Counter(), "".join(traceback.format_exception(error)[-6:])
    finally:
        signal.alarm(0)


def simulate(first: int, runs: int, jobs: int, *, until_failure: bool = False) -> tuple[Counter[str], dict[int, str]]:
    """Run the seeds; returns how often they reached what, and the failures by seed."""
    reached: Counter[str] = Counter()
    failures: dict[int, str] = {}
    seeds = range(first, first + runs)
    with get_context("fork").Pool(jobs) if jobs > 1 and runs > 1 else nullcontext() as pool:
        results = map(_tried, seeds) if pool is None else pool.imap_unordered(_tried, seeds, chunksize=20)
        for seed, found, failure in results:
            reached.update(found)
            if failure:
                failures[seed] = failure
                if until_failure:
                    break
    return reached, failures


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulate", description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--runs", type=int, default=1000, help="how many seeds")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--until-failure", action="store_true", help="stop at the first seed that fails")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    reached, failures = simulate(options.seed, options.runs, options.jobs, until_failure=options.until_failure)
    seconds = time.monotonic() - started
    for seed, failure in sorted(failures.items())[:5]:
        print(f"seed {seed} FAILED; replay with: make simulate SEED={seed} RUNS=1\n{failure}", file=sys.stderr)
    print(
        f"{options.runs} seeds in {seconds:.1f} s ({options.runs / max(seconds, 0.001):.0f}/s), {len(failures)} failed"
    )
    for name in ("source transactions", "events", *REPORTED):
        print(f"  {name}: {reached[name]}")
    if failures:
        print(f"failed: {' '.join(str(seed) for seed in sorted(failures)[:50])}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
