"""Every way in which a short log can reach the core.

A walk over what a life of the core can come to: from each place every batch that can come next is tried, whatever
partitions its records are of. Lives that read as far, were told the same ends and kept the same go on in the same way, so
each place is left once, however many arrivals lead to it; what was kept there must also do for a next life.

Twice: in a log that fills as it is read, batch by batch; and in one in which everything is there already, record by
record, where the core may die at each of them and the next life reads in every order as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Final

from bridge.errors import BridgeError
from bridge.model import MappingSet, OutboundRecord
from bridge.trial.log import Log
from bridge.trial.machine import Kept, Machine

SHORT: Final = 8  # records of a log up to which every arrival is run
Right = Callable[[Sequence[OutboundRecord], bool], bool]
"""Is this what must come out? Published records, and whether everything was read; before, they are its beginning."""


def batches(log: Log) -> int:
    """How many batches there are, from every place to every later one."""
    return prod((count + 1) * (count + 2) // 2 for count in log.ends)


@dataclass(frozen=True, slots=True)
class Way:
    """An arrival that went wrong: its batches, what was published, and an error of the core."""

    described: list[str]
    published: list[OutboundRecord]
    error: str


@dataclass(frozen=True, slots=True)
class _Node:
    """A life that committed: the one before died at ``kept``, and it then read in ``steps``."""

    kept: Kept
    steps: tuple[tuple[int, ...], ...]
    deaths: int


class Everything:
    """All arrivals of one log. ``late``: everything is there already when the core begins."""

    def __init__(self, log: Log, mappings: MappingSet, right: Right, *, late: bool) -> None:
        self._log = log
        self._mappings = mappings
        self._right = right
        self._late = late
        self._end = tuple(log.ends)
        self._seen: set[object] = set()
        self._ahead = [_Node(Kept(), (), 0)]

    def failing(self) -> Way | None:
        """The shortest way that does not give what is right; None if there is none."""
        for node in self._ahead:
            first = self._replayed(node)
            for number, read in enumerate(list(self._batches(first))):
                machine = self._replayed(node) if number else first
                way = _Node(node.kept, (*node.steps, read), node.deaths)
                failed = self._failed(machine, self._step(machine, read), way) or self._new_place(machine, way)
                if failed is not None:
                    return failed
        return None

    def _failed(self, machine: Machine, error: str, way: _Node) -> Way | None:
        done = tuple(machine.read) == self._end and not machine.is_held
        error = error or (machine.missing() if done else "")
        if error or not self._right(machine.kept.published, done):
            return Way(self._described(way), machine.kept.published, error)
        return None

    def _new_place(self, machine: Machine, way: _Node) -> Way | None:
        """Go on from here, and from a death here, where nothing came by before."""
        kept = frozenset(machine.kept.changelog.items())
        place = (way.deaths, tuple(machine.read), machine.told, machine.missing(), kept)
        if place in self._seen:
            return None
        self._seen.add(place)
        self._ahead.append(way)
        if kept in self._seen:
            return None
        self._seen.add(kept)
        after_death = _Node(machine.kept.copy(), (), 1)
        if self._late:
            self._ahead.append(after_death)
            return None
        heir = self._replayed(after_death)
        error = self._step(heir, self._end)
        return self._failed(heir, error, _Node(after_death.kept, (self._end,), 1)) if not heir.is_held else None

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
        if machine.is_held:
            yield start
        if not self._late:
            ranges = [range(low, high + 1) for low, high in zip(start, self._end, strict=True)]
            yield from (read for read in product(*ranges) if read != start)
            return
        for number, (low, high) in enumerate(zip(start, self._end, strict=True)):
            if low < high:
                yield (*start[:number], low + 1, *start[number + 1 :])

    def _described(self, way: _Node) -> list[str]:
        start = Machine(self._log, self._mappings, way.kept.copy()).read
        lines = [f"after a crash that kept {len(way.kept.published)} event(s)"] if way.deaths else []
        for read in way.steps:
            parts = zip(self._log.labels, start, read, strict=True)
            lines.append(" | ".join(label for labels, low, high in parts for label in labels[low:high]) + " → commit")
            start = list(read)
        return lines
