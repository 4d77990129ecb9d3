"""The ways in which a log can reach the core: arrival orders across partitions, batches, crashes.

A *plan* is one way; ``seeded`` draws it. ``Everything`` walks through all of them, where a log is short: its nodes are
what a life and its commits can be, its edges every batch that can come next, and a crash. Nodes that read as far and
kept the same go on in the same way, so each is left once, however many arrivals lead to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from random import Random
from typing import Final

from bridge.errors import BridgeError
from bridge.model import InboundRecord, MappingSet, OutboundRecord
from bridge.trial.log import Log, Shape
from bridge.trial.machine import Kept, Machine

SHORT: Final = 8  # records of a log up to which every arrival is run
Right = Callable[[Sequence[OutboundRecord], bool], bool]
"""Is this what must come out? Published records, and whether everything was read; before, they are its beginning."""


# -- one way -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Plan:
    """``order``: partition numbers, one per record; ``commits`` and ``crashes``: after how many arrivals. A crash comes
    before the commit that stands at the same place. ``late``: the core meets a log in which everything is there already.
    """

    shape: Shape
    order: tuple[int, ...]
    commits: frozenset[int]
    crashes: frozenset[int]
    late: bool = False

    def simpler(self) -> Iterator[Plan]:
        """Plans with less in them, the simplest first."""
        if self.crashes:
            yield replace(self, crashes=frozenset())
            yield from (replace(self, crashes=self.crashes - {one}) for one in sorted(self.crashes))
        if self.commits:
            yield replace(self, commits=frozenset())
            yield from (replace(self, commits=self.commits - {one}) for one in sorted(self.commits))

    def described(self, log: Log) -> list[str]:
        """One line per batch."""
        seen = [0] * len(log.partitions)
        lines, batch = [str(self.shape)], []
        for count, number in enumerate(self.order, 1):
            batch.append(log.labels[number][seen[number]])
            seen[number] += 1
            ends = [word for word, where in (("crash", self.crashes), ("commit", self.commits)) if count in where]
            if ends or count == len(self.order):
                lines.append(f"{' | '.join(batch)} → {', '.join(ends) or 'commit'}")
                batch = []
        return lines


def shape_of(dice: Random, transactions: int) -> Shape:
    """How the records of one plan are laid out; now and then the connector dies and sends transactions again."""
    partitions = dice.choice((0, 1, 2, 2, 3))
    if transactions and dice.random() < 0.4:  # noqa: PLR2004 - often enough, and not always
        died = dice.randint(1, transactions)
        return Shape(partitions, (died, dice.randint(1, died)))
    return Shape(partitions)


def seeded(log: Log, shape: Shape, dice: Random) -> Plan:
    """One way, as the dice fall."""
    order = _merged(log, dice)
    count = len(order)
    often = dice.choice((0.0, 0.2, 0.5, 1.0))
    commits = frozenset(place for place in range(1, count) if dice.random() < often)
    deaths = dice.choice((0, 1, 1, 2, 3)) if count > 1 else 0
    crashes = frozenset(dice.randint(1, count) for _ in range(deaths))
    return Plan(shape, order, commits, crashes, late=dice.random() < 0.3)  # noqa: PLR2004


def _merged(log: Log, dice: Random) -> tuple[int, ...]:
    """Each partition in its order, otherwise any: mostly shuffled, now and then as it was sent, or one after another."""
    order = list(log.arrival)
    kind = dice.random()
    if kind < 0.1:  # noqa: PLR2004
        return tuple(order)
    if kind < 0.25:  # noqa: PLR2004
        ranks = list(range(len(log.partitions)))
        dice.shuffle(ranks)
        return tuple(sorted(order, key=ranks.__getitem__))
    dice.shuffle(order)
    return tuple(order)


def follow(log: Log, mappings: MappingSet, plan: Plan) -> tuple[list[OutboundRecord], str]:
    """Run one plan: what was published in all, and what is missing at the end."""
    machine = Machine(log, mappings)
    there = log.ends if plan.late else list(log.seeds)
    arrived = [0] * len(log.partitions)
    batch: list[InboundRecord] = []
    for count, number in enumerate(plan.order, 1):
        if arrived[number] >= machine.read[number]:
            batch.append(log.queues[number][arrived[number]])
        arrived[number] += 1
        last = count == len(plan.order)
        if not last and count not in plan.commits and count not in plan.crashes:
            continue
        there = [max(pair) for pair in zip(there, arrived, strict=True)]
        machine.receive(batch, arrived, there)
        batch = []
        if count in plan.crashes:
            machine = machine.after_crash()
            batch = _again(log, machine.read, arrived)
            if last:
                machine.receive(batch, arrived, there)
        if last:
            machine.finish()
        elif count in plan.commits:
            machine.commit()
    return machine.kept.published, machine.missing()


def _again(log: Log, start: Sequence[int], end: Sequence[int]) -> list[InboundRecord]:
    """What the next life reads anew."""
    return [record for queue, low, high in zip(log.queues, start, end, strict=True) for record in queue[low:high]]


# -- every way ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Node:
    """A life that committed: the one before died at ``kept``, and it then read in ``steps``."""

    kept: Kept
    steps: tuple[tuple[int, ...], ...]
    deaths: int


@dataclass(frozen=True, slots=True)
class Way:
    """An arrival that went wrong: its batches, what was published, and an error of the core."""

    described: list[str]
    published: list[OutboundRecord]
    error: str


class Everything:
    """All arrivals of one log. ``late``: the core meets a log in which everything is there already, and may crash."""

    def __init__(self, log: Log, mappings: MappingSet, *, late: bool) -> None:
        self._log = log
        self._mappings = mappings
        self._late = late
        self._end = tuple(log.ends)
        self.steps = 0

    def failing(self, right: Right) -> Way | None:
        """The shortest way that does not give what is right; None if there is none."""
        todo = [_Node(Kept(), (), 0)]
        seen: set[object] = set()
        for node in todo:
            machine = self._replayed(node)
            for read in self._batches(machine):
                self.steps += 1
                way = _Node(node.kept, (*node.steps, read), node.deaths)
                error = self._step(machine, read)
                done = read == self._end and not machine.is_held
                error = error or (machine.missing() if done else "")
                if error or not right(machine.kept.published, done):
                    return Way(self._described(way), machine.kept.published, error)
                self._note(machine, way, seen, todo)
                machine = self._replayed(node)
        return None

    def _note(self, machine: Machine, way: _Node, seen: set[object], todo: list[_Node]) -> None:
        """Go on from here, and from a crash here, where nothing came by before."""
        place = self._place(machine, way.deaths)
        if place not in seen:
            seen.add(place)
            todo.append(way)
            self._crash(machine, seen, todo)

    def _crash(self, machine: Machine, seen: set[object], todo: list[_Node]) -> None:
        if self._late:
            place = (1, frozenset(machine.kept.changelog.items()))
            if place not in seen:
                seen.add(place)
                todo.append(_Node(machine.kept.copy(), (), 1))

    def _replayed(self, node: _Node) -> Machine:
        machine = Machine(self._log, self._mappings, node.kept.copy())
        for read in node.steps:
            self._step(machine, read)
        return machine

    def _step(self, machine: Machine, read: tuple[int, ...]) -> str:
        """One batch and its commit. Gives an error of the core."""
        there = self._end if self._late else [max(pair) for pair in zip(self._log.seeds, read, strict=True)]
        try:
            machine.read_to(read, there)
            machine.commit()
        except BridgeError as error:
            return str(error)
        return ""

    def _batches(self, machine: Machine) -> Iterator[tuple[int, ...]]:
        start = tuple(machine.read)
        ranges = [range(low, high + 1) for low, high in zip(start, self._end, strict=True)]
        return (read for read in product(*ranges) if read != start or machine.is_held)

    @staticmethod
    def _place(machine: Machine, deaths: int) -> object:
        return (
            deaths,
            tuple(machine.read),
            machine.told,
            machine.missing(),
            len(machine.kept.published),
            frozenset(machine.kept.changelog.items()),
        )

    def _described(self, way: _Node) -> list[str]:
        start = Machine(self._log, self._mappings, way.kept.copy()).read
        lines = [f"after a crash that kept {len(way.kept.published)} event(s)"] if way.deaths else []
        for read in way.steps:
            parts = zip(self._log.labels, start, read, strict=True)
            lines.append(" | ".join(label for labels, low, high in parts for label in labels[low:high]) + " → commit")
            start = list(read)
        return lines
