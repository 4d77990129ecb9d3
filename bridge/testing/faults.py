"""What can go wrong, decided by a seed: crashes, pauses, failing calls; and the clock that only tests move."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

import msgspec

from bridge.errors import Retriable


class Crash(BaseException):
    """The process dies here, as by kill -9. No ``except Exception`` may survive it, so it is no Exception."""


class FakeClock:
    """Monotonic seconds that pass only when somebody sleeps. ``on_sleep`` lets the world go on meanwhile."""

    def __init__(self, start: float = 1000.0) -> None:
        self.seconds = start
        self.on_sleep: Callable[[], None] | None = None

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += max(seconds, 0.0)
        if self.on_sleep is not None:
            self.on_sleep()


class Faults(msgspec.Struct, frozen=True):
    """Chances, from 0 to 1, per call. The default is a Kafka in which nothing ever fails."""

    poll_fails: float = 0.0
    read_fails: float = 0.0
    read_partial: float = 0.0  # the call returns an arbitrary part of what is there, possibly nothing
    open_fails: float = 0.0
    changelog_fails: float = 0.0
    publish_before: float = 0.0  # fails before anything was written
    publish_middle: float = 0.0  # some records are written; the Kafka transaction stays open until open() aborts it
    publish_unknown: float = 0.0  # the commit was sent, its answer lost: it may still take effect, until open()
    publish_after: float = 0.0  # the commit took effect, its answer lost


class Process:
    """One bridge process as Kafka sees it: dies or freezes at a chosen call, and draws its faults from one seed.

    Every call of a port passes ``point``. A crash is planned either as the n-th point of all (``crash_at``) or as the
    n-th passing of a named point (``crash_at_point``); a pause likewise (``pause_at_point``), which calls ``on_pause``
    in the middle of that call, so that other processes can run while this one stands still.
    """

    def __init__(self, name: str, seed: int | str = 0, faults: Faults | None = None) -> None:
        self.name = name
        self.rng = Random(f"{seed}/{name}")  # noqa: S311 - a seed must replay
        self.faults = faults or Faults()
        self.dead = False
        self.points = 0
        self.passed: Counter[str] = Counter()
        self.crash_at: int | None = None
        self.crash_at_point: tuple[str, int] | None = None
        self.pause_at_point: tuple[str, int] | None = None
        self.on_pause: Callable[[], None] | None = None
        self.crashed_at: str | None = None
        self.failures: Counter[str] = Counter()
        self.members = 0

    def point(self, name: str) -> None:
        """A place where the process may die or freeze. A dead process does nothing more."""
        if self.dead:
            raise Crash(self.crashed_at)
        self.points += 1
        nth = self.passed[name] = self.passed[name] + 1
        if self.points == self.crash_at or self.crash_at_point == (name, nth):
            self.die(name)
            raise Crash(name)
        if self.pause_at_point == (name, nth) and self.on_pause is not None:
            self.on_pause()

    def die(self, where: str) -> None:
        self.dead = True
        self.crashed_at = where

    def chance(self, probability: float) -> bool:
        return probability > 0.0 and self.rng.random() < probability

    def fail(self, name: str, probability: float) -> None:
        """Raise Retriable with this chance."""
        if self.chance(probability):
            self.failures[name] += 1
            msg = f"simulated fault: {name}"
            raise Retriable(msg)
