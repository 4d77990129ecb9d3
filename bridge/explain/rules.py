"""Why a condition was true or false: what its probes were told, as a tree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from bridge.explain.account import Condition
from bridge.explain.personal import Personal
from bridge.mapping.probes import Probe, Probes


class Reasons:
    """Reads a recorder after something was asked."""

    def __init__(self, recorder: Probes, personal: Personal) -> None:
        self._recorder = recorder
        self._personal = personal
        self._below: dict[int, list[Probe]] = defaultdict(list)
        self._wholes: dict[tuple[str, str, str, str], Probe] = {}
        for probe in recorder.probes:
            if probe.parent is not None:
                self._below[probe.parent].append(probe)
            elif probe.kind in {"when", "row"}:
                self._wholes[probe.kind, probe.aggregate, probe.name, probe.place] = probe

    def ask(self, question: Callable[[], Any]) -> Any:
        """Ask anew; what the probes were told before is forgotten."""
        self._recorder.hits.clear()
        return question()

    def why(self, kind: str, aggregate: str, name: str, place: str) -> Condition | None:
        """What was just asked: an event's ``when`` or an alias's ``row``; None where there is no condition."""
        probe = self._wholes.get((kind, aggregate, name, place))
        if probe is None:
            return None
        told: dict[int, list[Any]] = defaultdict(list)
        for number, value in self._recorder.hits:
            told[number].append(value)
        return self._condition(probe, told)

    def _condition(self, probe: Probe, told: dict[int, list[Any]]) -> Condition:
        values: dict[str, Any] = {}
        parts: list[Condition] = []
        self._gather(probe, told, values, parts)
        seen = told.get(probe.number)
        return Condition(probe.text, bool(seen[-1]) if seen else None, list(values.items()), parts)

    def _gather(self, probe: Probe, told: dict[int, list[Any]], values: dict[str, Any], parts: list[Condition]) -> None:
        """Values in and between the parts. What a form asks of each element is a list of values, not a part."""
        for below in self._below[probe.number]:
            seen = told.get(below.number, [])
            if below.kind != "operand" and len(seen) < 2:  # noqa: PLR2004 - asked once, or never
                parts.append(self._condition(below, told))
                continue
            if seen:
                shown = [self._personal.operand(below.aggregate, below.node, value) for value in seen]
                values[below.text] = shown[0] if len(shown) == 1 else shown
            self._gather(below, told, values, parts)
