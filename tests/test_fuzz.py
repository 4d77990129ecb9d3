"""A short, seeded run of each fuzz target; ``make fuzz INPUTS=…`` runs long ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("target", "inputs"), [("yaml", 1500), ("mapping", 700), ("expression", 300), ("decode", 3000), ("formats", 300)]
)
def test_nothing_escapes(target: str, inputs: int) -> None:
    command = [sys.executable, "-m", "tests.fuzz", "--target", target, "--inputs", str(inputs)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert f'"inputs": {inputs}' in done.stdout
