"""One state of a source's mapping files, and which events of two such states are the same under other names.

An event id holds type and version, so that a renamed event shares no id with the one it was. To compare them all the same,
the edited mappings run under the old names: ids, records and order are then those that the event had before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from bridge.errors import MappingInvalid
from bridge.explain.personal import Personal
from bridge.mapping import load
from bridge.mapping.catalog import Catalog
from bridge.mapping.draft import Event
from bridge.mapping.probes import Probes
from bridge.mapping.tokens import Tokenise
from bridge.model import Diagnostic, EventRule, MappingSet


class EventName(NamedTuple):
    """What tells one event of a source from the others."""

    type: str
    version: int

    def __str__(self) -> str:
        return f"{self.type} v{self.version}"


class Edition:
    """``directory``: where the files are, for what is said of them. Raises MappingInvalid with every mistake in them."""

    def __init__(
        self,
        directory: str,
        files: Sequence[tuple[str, str]],
        source: str,
        catalog: Catalog | None,
        tokenise: Tokenise,
        *,
        show_data: bool,
    ) -> None:
        self.mappings = load(files, source, catalog, tokenise)
        if not self.mappings.mappings:
            raise MappingInvalid([Diagnostic("M000", f"no mapping file names source {source!r}", directory)])
        probes = Probes()
        load(files, source, catalog, tokenise, probes)
        self.personal = Personal(probes.drafts, catalog, show=show_data)
        self.aggregates = {draft.aggregate: {_name(one): one for one in draft.events} for draft in probes.drafts}
        self.events = {name: (one, event) for one, events in self.aggregates.items() for name, event in events.items()}
        self.stops = {one.aggregate for one in self.mappings.mappings if one.on_error == "stop"}


def renamed(old: Edition, new: Edition) -> dict[EventName, EventName]:
    """The new name by the old one, of each event that plainly is the same.

    Plain is: of one aggregate, the only one of its type that went and the only one that came; or the only ones that went
    and came with this condition.
    """
    found: dict[EventName, EventName] = {}
    for aggregate in old.aggregates.keys() & new.aggregates.keys():
        gone = {name: one for name, one in old.aggregates[aggregate].items() if name not in new.events}
        come = {name: one for name, one in new.aggregates[aggregate].items() if name not in old.events}
        for sign in (_type, _condition):
            pairs = _only_pairs(gone, come, sign)
            found |= pairs
            gone = {name: one for name, one in gone.items() if name not in pairs}
            come = {name: one for name, one in come.items() if name not in pairs.values()}
    return found


def _only_pairs(
    gone: Mapping[EventName, Event], come: Mapping[EventName, Event], sign: Callable[[Event], object]
) -> dict[EventName, EventName]:
    signs = {sign(one) for one in gone.values()}
    pairs = {}
    for each in signs:
        were = [name for name, one in gone.items() if sign(one) == each]
        are = [name for name, one in come.items() if sign(one) == each]
        if len(were) == len(are) == 1:
            pairs[were[0]] = are[0]
    return pairs


def _name(event: Event) -> EventName:
    return EventName(event.type, event.version)


def _type(event: Event) -> str:
    return event.type


def _condition(event: Event) -> tuple[object, ...]:
    each = None if event.each is None else (event.each.kind, event.each.list_field.name)
    return (None if event.source is None else event.source.text, each, event.triggers)


def under_old_names(mappings: MappingSet, names: Mapping[EventName, EventName]) -> MappingSet:
    """The edited mappings, their events with the names that ``names`` (new by old) gives back to them."""
    before = {now: was for was, now in names.items()}

    def rules(some: Iterable[EventRule]) -> tuple[EventRule, ...]:
        return tuple([_named(one, before.get(EventName(one.type, one.version))) for one in some])

    changed = [
        replace(one, events=rules(one.events), on_change=rules(one.on_change), on_snapshot=rules(one.on_snapshot))
        for one in mappings.mappings
    ]
    return replace(mappings, mappings=tuple(changed))


def _named(rule: EventRule, name: EventName | None) -> EventRule:
    return rule if name is None else replace(rule, type=name.type, version=name.version)
