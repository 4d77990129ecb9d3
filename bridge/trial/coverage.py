"""What no test reached: events, listed codes, branches of conditions, and the nulls of optional fields.

Each probe of a compiled mapping stands for one or two goals: a condition to be true and to be false, an optional field
to be null and not null, each listed code to be seen, an event to be published.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from bridge.mapping.probes import Probe, Probes
from bridge.model import UNKNOWN

_BRANCHES: Final = frozenset({"if", "row", "pick", "where"})
_CONSTANTS: Final = frozenset({"True", "False", "true", "false"})


@dataclass(frozen=True, slots=True)
class Goal:
    """One thing to be reached. ``said``: what it is, where it was not."""

    place: str  # file:line
    said: str


@dataclass(slots=True)
class Coverage:
    """Of one mapping file."""

    file: str
    goals: list[Goal] = field(default_factory=list)
    missed: list[Goal] = field(default_factory=list)

    @property
    def reached(self) -> int:
        return len(self.goals) - len(self.missed)


def coverage(file: str, probes: Probes) -> Coverage:
    """Of everything that the probes were told so far."""
    told: dict[int, set[str | None]] = {}
    events = {probe.number for probe in probes.probes if probe.kind == "event"}
    for number, value in probes.hits:
        told.setdefault(number, set()).add(None if number in events else _name(value))
    found = Coverage(file)
    reached: dict[Goal, bool] = {}
    for probe in probes.probes:
        for goal, value in _goals(probe, probes.probes):
            reached[goal] = reached.get(goal, False) or value in told.get(probe.number, ())
    found.goals = sorted(reached, key=lambda goal: (int(goal.place.rpartition(":")[2] or 0), goal.said))
    found.missed = [goal for goal in found.goals if not reached[goal]]
    return found


def _name(value: Any) -> str | None:
    """A told value as ``codes:`` writes it: null is None, conditions are 'true' and 'false'."""
    if value is None:
        return None
    if value is UNKNOWN:
        return "\x00unknown"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _goals(probe: Probe, probes: list[Probe]) -> Iterator[tuple[Goal, str | None]]:
    """The goals of a probe, and the told value that reaches each."""
    place, name, text = probe.place, probe.name, probe.text
    if probe.kind == "event":
        yield Goal(place, f"{name}: is never published"), None
    elif probe.kind == "codes":
        for code in probe.values:
            yield Goal(place, f"{name}: code {'null' if code is None else code} never comes"), code
    elif probe.kind == "case":
        yield Goal(place, f"{name}: {probe.values[0]} never holds: {text}"), "true"
    elif probe.kind == "optional":
        yield Goal(place, f"{name}: is never null"), "true"
        yield Goal(place, f"{name}: is always null"), "false"
    elif text in _CONSTANTS:
        return
    elif probe.kind == "when":
        yield Goal(place, f"{name}: always holds: {text}"), "false"
    elif probe.kind in _BRANCHES or (probe.kind == "part" and _outermost(probe, probes) == "when"):
        yield Goal(place, f"{name}: is never true: {text}"), "true"
        yield Goal(place, f"{name}: is never false: {text}"), "false"


def _outermost(probe: Probe, probes: list[Probe]) -> str:
    while probe.parent is not None:
        probe = probes[probe.parent]
    return probe.kind
