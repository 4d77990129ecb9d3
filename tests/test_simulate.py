"""Some seeds of the simulator in every test run, and the proof that they reach what they are for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.planted import PATCHES, apply, copy_tree
from tests.simulate import REPORTED, run_seed, simulate

RUNS = 2000


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_seeds_pass_and_reach_every_fault() -> None:
    reached, failures = simulate(1, RUNS, 2)
    assert not failures, "\n".join(f"make simulate SEED={seed} RUNS=1\n{text}" for seed, text in failures.items())
    missing = [name for name in REPORTED if reached[name] < RUNS / 50]
    assert not missing, reached


def test_planted_bugs_can_be_planted(tmp_path: Path) -> None:
    """`make planted` catches them; here only that the patches still fit the code."""
    copy_tree(tmp_path)
    problems = [problem for patch in sorted(PATCHES.glob("*.patch")) if (problem := apply(patch, tmp_path, check=True))]
    assert not problems


@pytest.mark.parametrize("seed", [7, 23])
def test_a_seed_replays_the_same_way(seed: int) -> None:
    assert run_seed(seed) == run_seed(seed)
