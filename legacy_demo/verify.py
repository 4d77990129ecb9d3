"""Do the published events say what the ledger says, each thing once, in order per key, and nothing else?"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from legacy_demo.clerk import Fact

EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class PublishedEvent:
    """A canonical event as a consumer saw it: id, type, record key, payload."""

    id: str
    type: str
    key: str
    data: Mapping[str, Any]


@dataclass(slots=True)
class Report:
    """Counts; all but the first two are 0 when all is right.

    missing: facts without an event of that type for that key. duplicated: events whose id was seen before, or that
    say again what was said. wrong: events that no fact asks for, or with another payload. disordered: keys whose
    events are the right ones in the wrong order.
    """

    events: int = 0
    expected: int = 0
    missing: int = 0
    duplicated: int = 0
    wrong: int = 0
    disordered: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def right(self) -> bool:
        """Whether the events are exactly the facts."""
        return not (self.missing or self.duplicated or self.wrong or self.disordered)

    def note(self, example: str) -> None:
        """Keep the first few deviations for people to look at."""
        if len(self.examples) < EXAMPLES:
            self.examples.append(example)


def read_ledger(path: Path) -> list[Fact]:
    """All facts of a ledger file."""
    with path.open(encoding="utf-8") as file:
        return [Fact(**json.loads(line)) for line in file]


def verify(facts: Iterable[Fact], events: Iterable[PublishedEvent]) -> Report:
    """Compare the ledger with the events in the order in which a consumer saw them."""
    report = Report()
    expected: defaultdict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        expected[fact.key].append(fact)
        report.expected += 1
    seen: defaultdict[str, list[PublishedEvent]] = defaultdict(list)
    ids: set[str] = set()
    for event in events:
        report.events += 1
        if event.id in ids:
            report.duplicated += 1
            report.note(f"duplicated id: {event}")
        else:
            ids.add(event.id)
            seen[event.key].append(event)
    for key in sorted(expected.keys() | seen.keys()):
        _verify_key(expected[key], seen[key], report)
    return report


def _verify_key(facts: list[Fact], events: list[PublishedEvent], report: Report) -> None:
    open_facts = Counter(_said(fact.event, fact.data) for fact in facts)
    asked_types = Counter(fact.event for fact in facts)
    told: set[str] = set()
    in_order: list[str] = []
    for event in events:
        said = _said(event.type, event.data)
        if open_facts[said]:
            open_facts[said] -= 1
            asked_types[event.type] -= 1
            in_order.append(said)
        elif said in told:
            report.duplicated += 1
            report.note(f"said again: {event}")
        else:
            asked_types[event.type] -= 1  # the event of this type came, but wrong: that is not missing too
            report.wrong += 1
            report.note(f"wrong: {event}; the ledger has {[fact for fact in facts if fact.event == event.type]}")
        told.add(said)
    for fact_type, count in asked_types.items():
        if count > 0:
            report.missing += count
            report.note(f"missing: {fact_type} of {facts[0].key}")
    wanted = [said for said in (_said(fact.event, fact.data) for fact in facts) if said in told]
    if in_order != wanted:
        report.disordered += 1
        report.note(f"disordered: {[event.type for event in events]} for {[fact.event for fact in facts]}")


def _said(event_type: str, data: Mapping[str, Any]) -> str:
    return event_type + json.dumps(data, sort_keys=True)
