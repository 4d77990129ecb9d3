"""Proposes events: created, what each value of the status says that happened, changed, removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bridge.mapping.syntax import MAX_LENGTH
from bridge.scaffold.columns import Field
from bridge.scaffold.draft import Model, quoted
from bridge.scaffold.names import happened, plural, words

_BEGINNINGS: Final = frozenset({"NEW", "CREATED", "INITIAL", "INITIATED"})  # what `created` says already


@dataclass(frozen=True, slots=True)
class Event:
    name: str
    when: str
    data: tuple[str, ...]
    comment: str = ""


def topic(source: str, aggregate: str) -> str:
    """``legacy.order-lines``."""
    found = words(aggregate)
    return f"{source}.{'-'.join((*found[:-1], plural(found[-1])))}"


def events(model: Model, taken: set[str]) -> list[Event]:
    """The events of an aggregate; ``taken``: names that are given already, to which these are added."""
    stem = _stem(model, taken)
    ids = [one.name for one in model.fields if one.key]
    shown = tuple(one.name for one in model.fields)
    rest = [one.name for one in model.fields if not (one.key or one.state or one.looked_up)]
    found = [Event(f"{stem}Created", "created()", shown)]
    for state in (one for one in model.fields if one.state and one.codes):
        found += _of_state(stem, state, ids)
    changed = f"changed({', '.join(rest)})"
    if rest:
        when = changed if len(changed) < MAX_LENGTH // 4 else "not created() and not deleted()"
        found.append(Event(f"{stem}Changed", when, shown, "name what it means, and keep the fields that matter"))
    found.append(Event(f"{stem}Removed", "deleted()", tuple(ids)))
    once: dict[str, Event] = {}
    for event in found:
        once.setdefault(event.name, event)
    taken.update(once)
    return list(once.values())


def _stem(model: Model, taken: set[str]) -> str:
    """The aggregate, with a number if another one's events are called so."""
    stem, number = model.aggregate, 2
    while any(f"{stem}{end}" in taken for end in _endings(model)):
        stem, number = f"{model.aggregate}{number}", number + 1
    return stem


def _endings(model: Model) -> list[str]:
    states = [state for state in model.fields if state.state]
    reached = [happened(value) for state in states for value in (state.codes or {}).values()]
    moved = [f"{state.name[0].upper()}{state.name[1:]}Changed" for state in states]
    return ["Created", "Changed", "Removed", *moved, *(word for word in reached if word)]


def _of_state(stem: str, state: Field, ids: Sequence[str]) -> list[Event]:
    """One event per value that says what happened; the others share one that carries the value."""
    values = list(dict.fromkeys((state.codes or {}).values()))
    named = {value: happened(value) for value in values if value not in _BEGINNINGS}
    found = [
        Event(f"{stem}{word}", f"became({state.name}, {quoted(value)})", tuple(ids))
        for value, word in named.items()
        if word and word not in ("Created", "Changed", "Removed")
    ]
    others = [value for value, word in named.items() if not word]
    if others or not found:
        one_of = (
            f"in ({', '.join(map(quoted, others))})"
            if len(others) > 1
            else f"== {quoted(*others[:1])}"
            if others
            else ""
        )
        also = f" and {state.name} {one_of}" if found else ""
        comment = "values that do not say what happened: name an event for each that matters"
        name = f"{stem}{state.name[0].upper()}{state.name[1:]}Changed"
        found.append(Event(name, f"changed({state.name}){also}", (*ids, state.name), comment))
    return found
