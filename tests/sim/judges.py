"""Seeds as tests, each by its own name: what judges mutants (``tests.mutants``), which a batch in one test could not do."""

from __future__ import annotations

import pytest

from tests.simulate import run_seed


@pytest.mark.parametrize("seed", range(1, 41))
def test_seed(seed: int) -> None:
    run_seed(seed)
