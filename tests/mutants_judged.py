"""The judges of mutants: tests are collected and run once; each mutant is then tried in a fork of this process.

A mutant is judged by the tests that reach the lines it changes: first by those that killed others of its function, then
by the quickest. A test that takes many times longer than without it kills it too.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from itertools import accumulate
from pathlib import Path
from tempfile import mkdtemp
from typing import NoReturn

import coverage
import pytest
from _pytest.runner import runtestprotocol

from tests.mutants_made import Change, Mutant, path_of

JUDGES = """
test_core.py test_broken_records.py test_seed.py test_promises.py test_decisions.py test_window.py test_corpus.py
test_transaction.py test_joins.py test_units.py test_retold.py test_seed_places.py test_packed.py test_truncate.py
test_images.py test_large.py test_replay.py test_dlt.py test_captures.py
test_captures_mariadb.py sim/judges.py
"""
TOO_LONG = """test_any_interleaving_any_batches_any_crash test_a_skew_is_bounded_and_ends test_the_limit_changes_nothing
test_ten_thousand_transactions_ahead_over_fifty_partitions test_any_batches_and_restarts_give_the_same
test_shadow_topics_hold_the_slice_of_the_first_run_byte_by_byte"""
PATIENCE = 10  # times as long as without the mutant
SPENT = 4.0  # seconds of judges for a mutant, the quickest; on what is tried again, none is spared
WALL_SECONDS = 120
MEMORY = 4 << 30  # of its own; the store maps a file that is larger
OPTIONS = "-q -s --timeout=0 -p no:cacheprovider -o tmp_path_retention_policy=none".split()

Verdicts = list[tuple[Mutant, str]]
"""Each mutant with the test that killed it; nothing where it lives."""


def judge(changes: Mapping[str, list[Change]], done: Callable[[str, Verdicts], None], *, thorough: bool) -> None:
    """Tries the mutants, and says of each module what became of them."""
    court = Court(changes, done, thorough=thorough)
    here = Path(__file__).parent
    sys.stdout.flush()
    said = os.dup(1)
    with Path(os.devnull).open("w") as nothing:
        os.dup2(nothing.fileno(), 1)
    scratch = mkdtemp(prefix="mutants-")
    try:
        selected = [
            f"--basetemp={scratch}",
            f"-knot ({' or '.join(TOO_LONG.split())})",
            *(str(here / name) for name in JUDGES.split()),
        ]
        code = pytest.main([*OPTIONS, *selected], plugins=[court])
    finally:
        sys.stdout.flush()
        os.dup2(said, 1)
        shutil.rmtree(scratch)
    if code or court.fails:
        raise SystemExit(f"without any mutant these fail: {', '.join(court.fails) or code}")


class Court:
    """A plugin of pytest: instead of the tests' one run, one without and one with each mutant."""

    def __init__(
        self, changes: Mapping[str, list[Change]], done: Callable[[str, Verdicts], None], *, thorough: bool
    ) -> None:
        self.fails: list[str] = []
        self._changes = changes
        self._done = done
        self._thorough = thorough
        self._items: list[pytest.Item] = []
        self._seconds: list[float] = []
        self._reached: dict[str, list[frozenset[int]]] = {}

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self._items = session.items
        self._without_mutants()
        everything = sorted(range(len(self._items)), key=self._seconds.__getitem__)
        if failing := _tried(self._items, everything, lambda: None, self._seconds):
            self.fails.append(failing)
        if self.fails:
            return True
        for module, changes in self._changes.items():
            started, verdicts = time.process_time() + _of_children(), []
            last: dict[str, list[str]] = defaultdict(list)
            for change in changes:
                killers = last[change.mutant.function]
                killer = _tried(self._items, self._judges(change, killers), change.apply, self._seconds)
                verdicts.append((change.mutant, killer))
                self._done(module, verdicts)
                if killer:
                    killers[:] = [killer, *(one for one in killers if one != killer)]
            seconds = time.process_time() + _of_children() - started
            print(f"{module}: {len(changes)} took {seconds:.0f} s of a processor", file=sys.stderr, flush=True)
        return True

    def _without_mutants(self) -> None:
        paths = {module: str(path_of(module)) for module in self._changes}
        seen = coverage.Coverage(data_file=None, include=list(paths.values()), config_file=False)
        seen.start()
        for number, item in enumerate(self._items):
            seen.switch_context(str(number))
            started = time.process_time()
            if any(report.failed for report in runtestprotocol(item, log=False, nextitem=None)):
                self.fails.append(item.nodeid)
            self._seconds.append(time.process_time() - started)
        seen.stop()
        data = seen.get_data()
        for module, path in paths.items():
            reached: list[set[int]] = [set() for _ in self._items]
            for line, names in data.contexts_by_lineno(path).items():
                for name in filter(None, names):
                    reached[int(name)].add(line)
            self._reached[module] = [frozenset(lines) for lines in reached]

    def _judges(self, change: Change, killers: list[str]) -> list[int]:
        reached = self._reached[change.mutant.module]
        able = [n for n, lines in enumerate(reached) if lines & change.lines]
        rank = {name: n for n, name in enumerate(killers)}
        able.sort(key=lambda n: (rank.get(self._items[n].nodeid, len(rank)), self._seconds[n]))
        spent = accumulate(self._seconds[n] for n in able)
        return [n for n, seconds in zip(able, spent, strict=True) if self._thorough or seconds < SPENT]


def _of_children() -> float:
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime


def _tried(items: list[pytest.Item], judges: list[int], change: Callable[[], None], seconds: list[float]) -> str:
    """The test that fails, or nothing."""
    if not judges:
        return ""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        _try(items, judges, change, seconds, write)
    os.close(write)
    late = threading.Timer(WALL_SECONDS, os.killpg, (child, signal.SIGKILL))
    late.start()
    with os.fdopen(read, "rb") as told:
        at = told.read()
    _, status = os.waitpid(child, 0)
    late.cancel()
    return items[judges[len(at) - 1]].nodeid if status else ""


def _try(
    items: list[pytest.Item], judges: list[int], change: Callable[[], None], seconds: list[float], tell: int
) -> NoReturn:
    """In a process of its own, which tells with one byte that it comes to the next test, and ends badly where one fails."""
    os.setpgid(0, 0)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(nothing, stream)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
    code = 1
    try:
        change()
        for number in judges:
            os.write(tell, b".")
            signal.setitimer(signal.ITIMER_VIRTUAL, 1 + PATIENCE * seconds[number])
            if any(report.failed for report in runtestprotocol(items[number], log=False, nextitem=None)):
                break
        else:
            code = 0
    finally:
        os._exit(code)
