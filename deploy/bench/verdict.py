"""Events that were told, held against those that happened: one by one, not by their number.

An order has at most one event of a type here, so that order and type name an event. One that was told once too often is
doubled; one with another content than it should have is wrong, and so is one that never happened.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable
from typing import NamedTuple

from confluent_kafka import Message

from bridge.testing.expected import Event
from deploy.bench.topics import event_type, headers_of


class Told(NamedTuple):
    """An event, as far as it is compared."""

    order: str
    event: str
    content: Hashable


class Verdict(NamedTuple):
    """How many events were told, and what is amiss with them."""

    events: int
    missing: int
    doubled: int
    wrong: int

    @property
    def clean(self) -> bool:
        """Whether every event is there once, as it should be."""
        return not (self.missing or self.doubled or self.wrong)


def judge(happened: Iterable[Told], told: Iterable[Told]) -> Verdict:
    """Compare, whatever the order: partitions have none among each other."""
    wanted, seen = _by_name(happened), _by_name(told)
    missing = doubled = wrong = 0
    for name in wanted.keys() | seen.keys():
        should, was = wanted[name], seen[name]
        right = (should & was).total()
        missing += max(0, should.total() - was.total())
        if should:
            doubled += max(0, was.total() - should.total())
            wrong += min(should.total(), was.total()) - right
        else:
            wrong += was.total()
    return Verdict(sum(content.total() for content in seen.values()), missing, doubled, wrong)


def _by_name(events: Iterable[Told]) -> defaultdict[tuple[str, str], Counter[Hashable]]:
    names: defaultdict[tuple[str, str], Counter[Hashable]] = defaultdict(Counter)
    for event in events:
        names[event.order, event.event][event.content] += 1
    return names


def whole(event: Event) -> Told:
    """An event that happened, to be compared byte by byte: value and headers."""
    types = dict(event.headers)
    return Told(event.key.decode(), types["ce_type"].decode(), (event.value, event.headers))


def whole_record(message: Message) -> Told:
    """A record, to be compared byte by byte."""
    return Told(_key(message), event_type(message), (message.value(), tuple(headers_of(message))))


def payload(event: Event) -> Told:
    """An event that happened, to be compared by its data: ids and headers are the bridge's own."""
    types = dict(event.headers)
    return Told(event.key.decode(), types["ce_type"].decode(), _canonical(event.value))


def payload_of(message: Message) -> Told:
    """A record, to be compared by its data."""
    return Told(_key(message), event_type(message), _canonical(message.value() or b"null"))


def _key(message: Message) -> str:
    return (message.key() or b"").decode()


def _canonical(value: bytes) -> str:
    return json.dumps(json.loads(value), sort_keys=True)
