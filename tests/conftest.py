"""Under a mutant (``tests.mutants``): what finds most in least time comes first, and what runs for ever ends.

Seconds are those of the processor, so that a busy machine makes no verdicts.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

FIRST = ("test_core", "test_broken_records", "test_seed.py", "test_promises", "judges", "test_decisions")
SECONDS = 5
UNDER_A_MUTANT = "MUTANT_UNDER_TEST"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get(UNDER_A_MUTANT):
        items.sort(key=lambda item: next((n for n, name in enumerate(FIRST) if name in item.nodeid), len(FIRST)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    if "mutmut" not in os.environ.get(UNDER_A_MUTANT, ""):
        return (yield)
    signal.signal(signal.SIGVTALRM, _too_long)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _too_long(_signal: int, _frame: object) -> None:
    raise TimeoutError(f"the test took longer than {SECONDS} s of processor time")
