"""Some seeds of the simulator in every test run, and the proof that they reach what they are for."""

from __future__ import annotations

import pytest

from tests.simulate import REPORTED, run_seed, simulate

RUNS = 600


def test_seeds_pass_and_reach_every_fault() -> None:
    reached, failures = simulate(1, RUNS, 2)
    assert not failures, "\n".join(f"make simulate SEED={seed} RUNS=1\n{text}" for seed, text in failures.items())
    missing = [name for name in REPORTED if reached[name] < RUNS / 50]
    assert not missing, reached


@pytest.mark.parametrize("seed", [7, 23])
def test_a_seed_replays_the_same_way(seed: int) -> None:
    assert run_seed(seed) == run_seed(seed)
