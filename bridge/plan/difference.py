"""What two mapping sets tell of one history, held against each other as it comes: counts and the first examples are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET

from bridge.core.history import own
from bridge.core.pipeline import Observed
from bridge.model import OutboundRecord
from bridge.plan.edition import Edition, EventName
from bridge.plan.fields import Field, differences, masked, text_of
from bridge.plan.letters import DeadLetters
from bridge.plan.report import Difference, Event, Example, Letters, Pair, Plan, Stretch, Summary
from bridge.plan.waiting import Order, Reached, Waiting

OLD: Final = 0
NEW: Final = 1


class Told(NamedTuple):
    """An event of one of the two. ``order``: which one it was."""

    record: OutboundRecord
    end: int
    position: int
    order: int


class Comparison:
    """``names``: see ``renamed``; the edited mappings run under the old ones. ``first``, ``last``: the stretch, by END."""

    def __init__(
        self, old: Edition, new: Edition, names: dict[EventName, EventName], stretch: Stretch, examples: int
    ) -> None:
        self._editions = (old, new)
        self._names = names
        self._bounds = (stretch.first, stretch.last)
        self._stretch = Stretch(stretch.topic, stretch.state)
        self._examples = examples
        mappings = (*old.mappings.mappings, *new.mappings.mappings)
        slack = max((one.window.at_most for one in mappings if one.window is not None), default=0)
        self._events: Waiting[Told] = Waiting(slack)
        self._letters = DeadLetters(old, new, slack, examples)
        self._order = Order(slack)
        self._counts = [0, 0]
        self._seen = [-1, -1]  # the last END of which something was told
        self._incomplete = [0, 0]
        self._found = self._every_event()

    def _every_event(self) -> dict[EventName, Event]:
        old, new = self._editions
        found = {
            name: Event(aggregate, *name, str(self._names[name]) if name in self._names else "")
            for name, (aggregate, _) in old.events.items()
        }
        come = [name for name in new.events if name not in found and name not in self._names.values()]
        return found | {name: Event(new.events[name][0], *name) for name in come}

    # -- as they tell --------------------------------------------------------------------------------------------------

    def see(self, side: int, observed: Observed) -> None:
        """The next unit of one of the two."""
        unit = observed.transaction
        self._seen[side] = max(self._seen[side], unit.offset)
        first, last = self._bounds
        if not first <= unit.offset <= last:
            return
        if side == OLD and not (observed.snapshot or observed.difference or observed.window):
            self._stretch.transactions += 1
            self._stretch.first = unit.offset if self._stretch.first < 0 else self._stretch.first
            self._stretch.last = unit.offset
        self._incomplete[side] += sum(not one.complete for one in observed.touched)
        for record in observed.records:
            identity = _header(record, "ce_id")
            if identity:
                self._counts[side] += 1
                self._event(side, identity, Told(record, unit.offset, own(unit.position), self._counts[side]))
            else:
                self._letters.see(side, record, unit)

    def _event(self, side: int, identity: str, told: Told) -> None:
        other = self._events.meet(side, identity, told)
        if other is not None:
            self._both(*((other, told) if side == NEW else (told, other)))

    def settle(self, reached: tuple[Reached, Reached]) -> None:
        """Both were given the same records, and are there."""
        told = tuple([Reached(max(one.end, seen), one.time_ms) for one, seen in zip(reached, self._seen, strict=True)])
        for side, one in self._events.alone((told[OLD], told[NEW]), reached):
            self._one(side, one)
        self._letters.settle((told[OLD], told[NEW]), reached)
        self._order.forget(reached)

    # -- what comes of it ----------------------------------------------------------------------------------------------

    def _both(self, old: Told, new: Told) -> None:
        event = self._found[_name(old.record)]
        found = differences(old.record, new.record)
        same_topic = old.record.topic == new.record.topic
        if same_topic and self._order.is_other((old.record.topic, old.record.key), old.order, new.order):
            event.reordered += 1
            if not found:
                self._keep(event, "reordered", old, [])
        if event.becomes:
            event.renamed += 1
        elif found:
            event.changed += 1
        else:
            event.unchanged += 1
        for path in dict.fromkeys([text_of(one.path, exact=False) for one in found]):
            event.fields[path] = event.fields.get(path, 0) + 1
        if found or event.becomes:
            self._keep(
                event, "renamed" if event.becomes else "changed", old, self._shown(old.record, new.record, found)
            )

    def _one(self, side: int, told: Told) -> None:
        event = self._found[_name(told.record)]
        if side == OLD:
            event.vanishing += 1
        else:
            event.appearing += 1
        self._keep(event, "vanishing" if side == OLD else "appearing", told, [], self._payload(side, told.record))

    def _keep(self, event: Event, what: str, told: Told, shown: list[Difference], data: Any = UNSET) -> None:
        if sum(one.what == what for one in event.examples) >= self._examples:
            return
        identity = self._identity(event.aggregate, told.record.key.decode())
        event.examples.append(
            Example(what, _header(told.record, "ce_id"), identity, told.end, told.position, shown, data)
        )

    def _identity(self, aggregate: str, text: str) -> str:
        for edition in self._editions:
            if aggregate in edition.aggregates:
                text = edition.personal.identity(aggregate, text)
        return text

    def _payload(self, side: int, record: OutboundRecord) -> Any:
        name = _name(record)
        edition = self._editions[side]
        aggregate, event = edition.events[self._names.get(name, name) if side == NEW else name]
        return edition.personal.payload(aggregate, event, msgspec.json.decode(record.value))

    def _shown(self, old: OutboundRecord, new: OutboundRecord, found: list[Field]) -> list[Difference]:
        was, now = self._payload(OLD, old), self._payload(NEW, new)
        shown = []
        for field in found:
            values = masked(field, was, now) if field.is_value else (field.old, field.new)
            shown.append(Difference(text_of(field.path, exact=True), *values))
        return shown

    # -- at the end ----------------------------------------------------------------------------------------------------

    def plan(self, source: str, open_windows: Sequence[int]) -> Plan:
        """All of it; nothing is told any more."""
        for side, one in self._events.rest():
            self._one(side, one)
        letters = self._letters.found()
        events = sorted(self._found.values(), key=lambda one: (one.aggregate, one.type, one.version))
        summary = Summary(dead_letters_unchanged=self._letters.unchanged)
        for event in events:
            for name in ("unchanged", "changed", "renamed", "reordered", "appearing", "vanishing"):
                setattr(summary, name, getattr(summary, name) + getattr(event, name))
        for some in letters:
            _add(summary, some)
        return Plan(source, self._stretch, events, letters, Pair(*open_windows), Pair(*self._incomplete), summary)


def _add(summary: Summary, letters: Letters) -> None:
    name = f"parked_{letters.what}" if letters.is_parked else f"dead_letters_{letters.what}"
    setattr(summary, name, getattr(summary, name) + letters.count)


def _header(record: OutboundRecord, name: str) -> str:
    return next((value.decode() for header, value in record.headers if header == name), "")


def _name(record: OutboundRecord) -> EventName:
    return EventName(_header(record, "ce_type"), int(_header(record, "schemaVersion")))
