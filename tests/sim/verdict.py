"""Right or wrong: what a ``read_committed`` consumer sees, against the truth and against another run of one input."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from typing import NamedTuple

from bridge.model import OutboundRecord
from bridge.testing import Broker
from tests.sim.mappings import DEAD_LETTERS, OUTPUTS
from tests.sim.naive import BEFORE_ALL, Event, Truth
from tests.sim.world import CHANGELOG


class Wrong(AssertionError):
    """The bridge published something else than it had to."""


class Seen(NamedTuple):
    """One published record, and the Kafka transaction that it came in."""

    record: OutboundRecord
    transaction: int

    def header(self, name: str) -> str:
        return dict(self.record.headers)[name].decode()


def seen(broker: Broker) -> list[Seen]:
    """Everything that took effect, in order. Checked against what readers of the topics really see."""
    found = [Seen(record, transaction.number) for transaction in broker.history for record in transaction.records]
    visible = Counter((r.topic(), r.key(), r.value()) for topic in OUTPUTS for r in broker.committed(topic))
    published = Counter((one.record.topic, one.record.key, one.record.value) for one in found)
    if visible != published:
        raise Wrong("the topics do not hold what was committed")
    return found


def judge(broker: Broker, truth: Truth) -> list[Seen]:
    """Raises Wrong. Returns what was seen, for ``same``."""
    published = seen(broker)
    events = [one for one in published if one.record.topic != DEAD_LETTERS]
    _ids_are_unique(events)
    matched = _as_the_truth_says(events, truth)
    _whole(matched)
    letters = [one for one in published if one.record.topic == DEAD_LETTERS]
    _unreadable([one for one in letters if one.header("bridge_kind") == "record"], truth)
    _parked([one for one in letters if one.header("bridge_kind") == "unit"], truth)
    return published


def _ids_are_unique(events: list[Seen]) -> None:
    counts = Counter(one.header("ce_id") for one in events)
    twice = [identity for identity, count in counts.items() if count > 1]
    if twice:
        one = next(one for one in events if one.header("ce_id") == twice[0])
        raise Wrong(
            f"event id {twice[0]} ({one.header('ce_type')} of {one.record.key!r}) came {counts[twice[0]]} times"
        )


def _as_the_truth_says(events: list[Seen], truth: Truth) -> list[tuple[Seen, Event]]:
    by_key: dict[str, list[Seen]] = {}
    for one in events:
        by_key.setdefault(one.record.key.decode(), []).append(one)
    expected = truth.by_key()
    matched = []
    for key in sorted(by_key.keys() | expected.keys()):
        ours, theirs = by_key.get(key, []), expected.get(key, [])
        for number, (one, event) in enumerate(zip(ours, theirs, strict=False)):
            got = (one.record.topic, one.header("ce_type"), json.loads(one.record.value))
            if got != (event.topic, event.type, event.data):
                raise Wrong(
                    f"event {number} of aggregate {key} (source transaction {event.transaction}) is\n"
                    f"    {got}\n  and must be\n    {(event.topic, event.type, event.data)}"
                )
            times = (one.header("lastUpdated"), one.header("ce_time"))
            if times != (_iso(event.committed_ms), _iso(event.time_ms)):
                raise Wrong(f"event {number} of aggregate {key} has times {times}, not those of its transaction")
            matched.append((one, event))
        if len(ours) > len(theirs):
            extra = ours[len(theirs)]
            raise Wrong(
                f"aggregate {key} has {len(ours)} events instead of {len(theirs)}; the first too many: "
                f"{extra.header('ce_type')} {extra.record.value.decode()}"
            )
        if len(ours) < len(theirs):
            lost = theirs[len(ours)]
            raise Wrong(
                f"aggregate {key} has {len(ours)} events instead of {len(theirs)}; the first that is missing: "
                f"{lost.type} {lost.data} (source transaction {lost.transaction})"
            )
    return matched


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{ms % 1000:03d}Z"


def _whole(matched: list[tuple[Seen, Event]]) -> None:
    """A source transaction never straddles two Kafka transactions, and they come in commit order."""
    carrier: dict[int, int] = {}
    for one, event in matched:
        if event.transaction == BEFORE_ALL:
            continue  # the snapshot may be told in parts
        if carrier.setdefault(event.transaction, one.transaction) != one.transaction:
            raise Wrong(f"source transaction {event.transaction} straddles two Kafka transactions")
    carriers = [carrier[number] for number in sorted(carrier)]
    if carriers != sorted(carriers):
        raise Wrong("Kafka transactions do not follow the source's commit order")


def _parked(letters: list[Seen], truth: Truth) -> None:
    parked = {json.loads(one.record.value)["aggregateId"] for one in letters}
    if parked != truth.parked:
        raise Wrong(f"dead letters for aggregates {sorted(parked)} instead of {sorted(truth.parked)}")
    counts = Counter((one.record.key, one.header("bridge_position")) for one in letters)
    if any(count > 1 for count in counts.values()):
        raise Wrong("a unit was dead-lettered twice")


def _unreadable(letters: list[Seen], truth: Truth) -> None:
    places = {tuple(one.header(f"bridge_{name}") for name in ("topic", "partition", "offset")) for one in letters}
    if len(letters) != len(places) or len(letters) != truth.unreadable:
        raise Wrong(f"{len(letters)} dead letters for {truth.unreadable} records that cannot be read")


def same(first: list[Seen], second: list[Seen]) -> None:
    """The same input gives the same bytes, in the same order per key."""
    one, other = _bytes_by_key(first), _bytes_by_key(second)
    for key in sorted(one.keys() | other.keys()):
        ours, theirs = one.get(key, []), other.get(key, [])
        for a, b in zip(ours, theirs, strict=False):
            if a != b:
                raise Wrong(f"another interleaving gives other bytes for {key}:\n    {a}\n    {b}")
        if len(ours) != len(theirs):
            raise Wrong(f"another interleaving gives {len(ours)} instead of {len(theirs)} records for {key}")


def _bytes_by_key(records: list[Seen]) -> dict[tuple[bool, bytes], list[OutboundRecord]]:
    found: dict[tuple[bool, bytes], list[OutboundRecord]] = {}
    for one in records:
        found.setdefault((one.record.topic == DEAD_LETTERS, one.record.key), []).append(one.record)
    return found


def same_state(first: Broker, second: Broker) -> None:
    """The changelogs hold the same rows and open windows: a difference would show in a later event."""
    one, other = _rows(first), _rows(second)
    for key in sorted(one.keys() | other.keys()):
        if one.get(key) != other.get(key):
            raise Wrong(
                f"another interleaving leaves other state under {key!r}:\n    {one.get(key)!r}\n    {other.get(key)!r}"
            )


def _rows(broker: Broker) -> dict[bytes, bytes]:
    rows: dict[bytes, bytes] = {}
    for record in broker.committed(CHANGELOG):
        key, value = record.key_bytes or b"", record.value_bytes
        if not key.startswith((b"r", b"mwindow\x00")):
            continue
        if value is None:
            rows.pop(key, None)
        else:
            rows[key] = value
    return rows
