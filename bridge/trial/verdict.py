"""One test, run: first plainly, for the difference to what is expected, then in many arrivals, each of which must give
the same events with the same ids.

A log of up to ``SHORT`` records is run in every arrival order, batch and crash; a longer one in seeded ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from bridge.core.encode import cloudevent
from bridge.errors import BridgeError, Fatal
from bridge.mapping.cases import Case
from bridge.model import OutboundRecord
from bridge.trial.arrivals import Plan, follow, seeded, shape_of
from bridge.trial.difference import SAME, Line, Shown, compare, shown_expected, shown_published
from bridge.trial.everything import SHORT, Everything, batches
from bridge.trial.log import Log, Shape
from bridge.trial.machine import Published, plain_run, published
from bridge.trial.subject import Input, Subject

BATCHES_MAX = 500  # beyond, a short log's tables have one partition each
CAPTURED_RECORDS_MAX = 5_000  # of a capture, over all its seeded runs: more seeds for a small one
_SHORT_SHARE = 10  # of the seeds, a short log gets the tenth part: they repeat transactions, what else there is was run


@dataclass(frozen=True, slots=True)
class Dice:
    """``seeds`` runs of a longer log, from the seed ``first`` on."""

    seeds: int = 200
    first: int = 0


@dataclass(frozen=True, slots=True)
class Unsteady:
    """An arrival that gave something else: what, and how to see it again. ``seed`` None: found without one."""

    lines: list[Line]
    arrival: list[str]
    seed: int | None = None
    error: str = ""


@dataclass(slots=True)
class Verdict:
    """What a test came to. ``arrivals``: what was tried beside the plain run, for people."""

    case: Case
    file: str
    lines: list[Line] = field(default_factory=list)
    error: str = ""
    unsteady: Unsteady | None = None
    records: int = 0
    arrivals: str = ""

    @property
    def passed(self) -> bool:
        return not self.error and self.unsteady is None and all(line.mark == SAME for line in self.lines)


def try_case(subject: Subject, case: Case, dice: Dice, *, update_golden: bool = False) -> Verdict:
    """Run one test. Errors of the core (a capture that cannot be read) are part of the verdict."""
    verdict = Verdict(case, subject.draft.file)
    try:
        given = Input(subject, case)
        log = given.log(Shape())
        verdict.records = sum(log.ends)
        records, missing = plain_run(log, subject.for_case(case, probed=True))
        if missing:
            verdict.error = missing
            return verdict
        found = [published(record) for record in records]
        if case.golden:
            verdict.lines = _golden(subject, case, found, update=update_golden)
        else:
            names = subject.event_names
            shown = [shown_published(one, names) for one in found]
            verdict.lines = compare([shown_expected(one) for one in case.expect], shown)
        _Arrivals(subject, case, given, found, dice).run(verdict)
    except BridgeError as error:
        verdict.error = str(error)
    return verdict


def _golden(subject: Subject, case: Case, found: Sequence[Published], *, update: bool) -> list[Line]:
    """Compare with the golden file, or write it."""
    path = Path(subject.draft.file).parent / case.golden
    documents = [_document(one) for one in found]
    if update:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in documents))
    try:
        wanted = [msgspec.json.decode(line) for line in path.read_bytes().splitlines() if line.strip()]
    except (OSError, msgspec.DecodeError) as error:
        hint = "`bridge test --update-golden` writes it from what the mapping gives now"
        raise Fatal(f"{path}: the golden events cannot be read: {error}", hint, code="B502") from error
    return compare([_as_shown(one) for one in wanted], [_as_shown(one) for one in documents])


def _document(one: Published) -> dict[str, Any]:
    if one.code:
        return {"dead_letter": {"code": one.code, "field": one.field}}
    return cloudevent(one.record)


def _as_shown(document: dict[str, Any]) -> Shown:
    letter = document.get("dead_letter")
    return Shown("", {}, letter["code"], letter["field"]) if letter else Shown(str(document.get("type")), document)


class _Arrivals:
    """The same input, on every way to the core that is tried."""

    def __init__(self, subject: Subject, case: Case, given: Input, plain: Sequence[Published], dice: Dice) -> None:
        self._mappings = subject.for_case(case)
        self._names = subject.event_names
        self._given = given
        self._plain = list(plain)
        self._identities = [one.identity for one in plain]
        self._dice = dice
        self._name = case.name

    def run(self, verdict: Verdict) -> None:
        """Try them, until one differs."""
        seeds = self._dice.seeds
        verdict.arrivals = f"{seeds} arrivals"
        if self._given.captured:
            seeds = min(seeds, max(1, CAPTURED_RECORDS_MAX // max(1, verdict.records)))
            verdict.arrivals = f"{seeds} arrivals"
        elif verdict.records <= SHORT:
            verdict.unsteady = self._everything()
            seeds //= _SHORT_SHARE
            verdict.arrivals = "every arrival"
        for seed in range(self._dice.first, self._dice.first + seeds):
            if verdict.unsteady is not None:
                return
            verdict.unsteady = self._seed(seed)

    def _everything(self) -> Unsteady | None:
        spread = Shape(2 if batches(self._given.log(Shape(2))) <= BATCHES_MAX else 1)
        for shape in (spread, Shape(0)):
            log = self._given.log(shape)
            for late in (False, True):
                way = Everything(log, self._mappings, self._is_right, late=late).failing()
                if way is not None:
                    return Unsteady(self._lines(way.published), [str(shape), *way.described], None, way.error)
        return None

    def _seed(self, seed: int) -> Unsteady | None:
        dice = Random(f"{self._name}\x1f{seed}")
        shape = Shape() if self._given.captured else shape_of(dice, self._given.transactions)
        log = self._given.log(shape)
        plan = seeded(log, shape, dice)
        if self._gives_the_same(log, plan):
            return None
        simplest = self._simplified(log, plan)
        found, error = self._follow(log, simplest)
        return Unsteady(self._lines(found), simplest.described(log), seed, error)

    def _simplified(self, log: Log, plan: Plan) -> Plan:
        """The same order with fewer crashes and commits, as long as it still differs."""
        for simpler in plan.simpler():
            if not self._gives_the_same(log, simpler):
                return self._simplified(log, simpler)
        return plan

    def _follow(self, log: Log, plan: Plan) -> tuple[list[OutboundRecord], str]:
        try:
            return follow(log, self._mappings, plan)
        except BridgeError as error:
            return [], str(error)

    def _gives_the_same(self, log: Log, plan: Plan) -> bool:
        found, error = self._follow(log, plan)
        return not error and self._is_right(found, True)  # noqa: FBT003

    def _is_right(self, found: Sequence[OutboundRecord], done: bool) -> bool:  # noqa: FBT001 - see everything.Right
        """Is it what the plain run gave, or where there is more to come, its beginning?"""
        wanted = self._identities if done else self._identities[: len(found)]
        return [published(one).identity for one in found] == wanted

    def _lines(self, found: Sequence[OutboundRecord]) -> list[Line]:
        """The difference to the plain run; where payloads are equal, of everything that makes the record."""
        events = [published(one) for one in found]
        lines = compare(self._shown(self._plain), self._shown(events))
        if all(line.mark == SAME for line in lines):
            documents = [[_as_shown(_document(one)) for one in some] for some in (self._plain, events)]
            lines = compare(*documents)
        return lines

    def _shown(self, some: Sequence[Published]) -> list[Shown]:
        return [shown_published(one, self._names) for one in some]
