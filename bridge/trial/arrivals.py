"""One way in which a log can reach the core, drawn by a seed: an arrival order across partitions, batches, crashes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from bridge.model import InboundRecord, MappingSet, OutboundRecord
from bridge.trial.log import Log, Shape
from bridge.trial.machine import Machine

_COMMITS: Final = 60  # at most, about: more of them in a long log show nothing new


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
    often = dice.choice((0.0, 0.2, 0.5, 1.0)) * min(1.0, _COMMITS / max(1, count))
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
