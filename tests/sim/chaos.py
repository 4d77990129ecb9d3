"""How rough a run is, drawn by its seed; and what Kafka and the machines go through between two steps of the bridge."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from bridge.runtime.worker import Limits
from bridge.testing import Broker, FakeClock, Faults

CRASH_POINTS = (
    "publish.begin",
    "publish.middle",
    "publish.before_commit",
    "publish.before_commit",
    "publish.after_commit",
    "publish.after_commit",
    "publisher.open",
    "publisher.opened",
    "changelog.read",
    "reader.seek",
    "reader.read",
    "reader.ends",
    "store.write",
    "store.written",
    "membership.poll",
)
PAUSE_POINTS = (
    "publish.begin",
    "publish.middle",
    "publish.before_commit",
    "publish.before_commit",
    "publish.after_commit",
    "reader.read",
    "publisher.open",
    "changelog.read",
    "store.write",
)
OUTAGE = Faults(poll_fails=1.0, read_fails=1.0, open_fails=1.0, changelog_fails=1.0, publish_before=1.0)
DAY = 86_400.0


@dataclass
class Chaos:
    """How rough it gets. Drawn per run; ``calm()`` is a run in which nothing fails and everything is there at once."""

    faults: Faults = field(default_factory=Faults)
    crashes: int = 0
    pauses: int = 0
    lose_disk: float = 0.0
    processes: int = 1
    limits: Limits = field(default_factory=Limits)
    feed: int = 1_000_000
    compact: float = 0.0
    moves: float = 0.0
    stops: float = 0.0
    damage: float = 0.0
    real_store: bool = False
    rows_in_memory: int = 20_000  # of one source transaction; the rest is spooled
    storm: float = 0.0
    outages: float = 0.0
    late: float = 0.0  # a commit whose answer was lost arrives now
    jumps: float = 0.0  # of a machine's clock
    reboots: float = 0.0

    @staticmethod
    def random(rng: Random) -> Chaos:
        rough = rng.random() < 0.6
        chance = rng.choice((0.0, 0.02, 0.1)) if rough else 0.0
        return Chaos(
            Faults(
                poll_fails=chance / 10,
                read_fails=chance / 4,
                read_partial=rng.choice((0.0, 0.5, 0.9)),
                open_fails=chance,
                changelog_fails=chance / 2,
                publish_before=chance,
                publish_middle=chance,
                publish_unknown=chance,
                publish_after=chance,
            ),
            crashes=rng.choice((0, 1, 2, 3)),
            pauses=rng.choice((0, 0, 1, 2)),
            lose_disk=rng.choice((0.0, 0.3, 1.0)),
            processes=rng.choice((1, 2, 2)),
            limits=Limits(
                read_records_max=rng.choice((2, 7, 50, 1000)),
                commit_rows=rng.choice((1, 5, 1000)),
                commit_seconds=rng.choice((0.0, 0.1, 1.0)),
                idle_commit_seconds=rng.choice((0.5, 5.0)),
                read_ahead_rows_max=rng.choice((2, 10, 1000)),
                incomplete_after_seconds=1e9,
                state_cache_rows=rng.choice((2, 10, 1000)),
                back_off_seconds_max=0.3,
            ),
            feed=rng.choice((3, 10, 40, 1_000_000)),
            compact=rng.choice((0.0, 0.05)),
            moves=rng.choice((0.0, 0.0, 0.02)),
            stops=rng.choice((0.0, 0.0, 0.01)),
            damage=rng.choice((0.0, 0.0, 0.3)),
            real_store=rng.random() < 0.03,
            rows_in_memory=rng.choice((1, 3, 20_000)),
            storm=rng.choice((0.0, 0.0, 0.0, 0.05, 0.3)),
            outages=rng.choice((0.0, 0.0, 0.005)),
            late=rng.choice((0.0, 0.1, 0.5)),
            jumps=rng.choice((0.0, 0.0, 0.01)),
            reboots=rng.choice((0.0, 0.3)),
        )

    @staticmethod
    def calm() -> Chaos:
        return Chaos(limits=Limits(incomplete_after_seconds=1e9, idle_commit_seconds=0.5))


class Clock:
    """A machine's own: it may be set, or stand at anything after a start."""

    def __init__(self, clock: FakeClock) -> None:
        self.ahead = 0.0
        self.sleep = clock.sleep
        self._clock = clock

    def now(self) -> float:
        return self._clock.now() + self.ahead


class Around(Protocol):
    """The world, as far as the weather reaches it."""

    broker: Broker
    chaos: Chaos
    reached: Counter[str]

    def clocks(self) -> list[Clock]: ...
    def set_faults(self, faults: Faults) -> None: ...


class Weather:
    """``turn`` after each step. ``group``: the consumer group that members storm."""

    def __init__(self, world: Around, group: str, seed: str) -> None:
        self._world = world
        self._group = world.broker.group(group)
        self._rng = Random(f"weather/{seed}")
        self._strangers: list[str] = []
        self._joined = 0
        self._outage = 0

    def turn(self) -> None:
        chaos, chance = self._world.chaos, self._rng.random
        if self._outage:
            self._outage -= 1
            if not self._outage:
                self._world.set_faults(chaos.faults)
        elif chance() < chaos.outages:
            self._outage = self._rng.randint(2, 40)
            self._world.set_faults(OUTAGE)
            self._world.reached["broker outage"] += 1
        if chance() < chaos.storm:
            self._storm()
        if self._world.broker.in_flight and chance() < chaos.late:
            self._world.reached["late commit"] += self._world.broker.deliver()
        if chance() < chaos.jumps:
            self._rng.choice(self._world.clocks()).ahead += DAY
            self._world.reached["clock jump"] += 1

    def _storm(self) -> None:
        """Processes that never get to work join, own the source perhaps, and leave or fall silent."""
        if self._strangers and self._rng.random() < 0.6:
            self._group.leave(self._strangers.pop(self._rng.randrange(len(self._strangers))))
            return
        self._joined += 1
        self._strangers.append(f"stranger{self._joined}")
        self._group.join(self._strangers[-1])
        self._world.reached["member of a storm"] += 1

    def at_start(self, clock: Clock) -> bool:
        """A process starts on a machine: with which clock, and was the machine itself started anew?"""
        chaos, rng = self._world.chaos, self._rng
        if rng.random() < chaos.jumps * 20:
            clock.ahead += rng.choice((-DAY, DAY, -3600.0, 3600.0))
            self._world.reached["clock jump"] += 1
        return rng.random() < chaos.reboots

    def clear(self) -> None:
        self._outage = 0
        while self._strangers:
            self._group.leave(self._strangers.pop())
