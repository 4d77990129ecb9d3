"""The events that facts of the business must become, byte by byte: worked out here, without any code of the bridge."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

NAMESPACE: Final = uuid.UUID("6f1d6c9e-0d4b-5f0e-9a52-2f6f5b1c7a11")
SOURCE: Final = "legacy"  # as order.yaml names it

Headers = tuple[tuple[str, bytes], ...]


class Fact(NamedTuple):
    """Something that happened in the business, in the transaction that committed at ``position``."""

    event: str
    position: int
    milliseconds: int
    data: dict[str, Any]


class Event(NamedTuple):
    """What a consumer sees of an event."""

    key: bytes
    value: bytes
    headers: Headers


def events_of(facts: Iterable[Fact]) -> list[Event]:
    """Facts in commit order, as their events."""
    return [_event(fact) for fact in facts]


def _event(fact: Fact) -> Event:
    key = fact.data["orderId"]
    name = "\x1f".join((SOURCE, "1", str(fact.position), "Order", key, fact.event, "1", ""))
    identity = uuid.uuid5(NAMESPACE, name)
    when = _time(fact.milliseconds)
    headers = {
        "ce_specversion": "1.0",
        "ce_id": str(identity),
        "ce_source": f"/bridge/{SOURCE}",
        "ce_type": fact.event,
        "ce_subject": key,
        "ce_time": when,
        "content-type": "application/json",
        "schemaVersion": "1",
        "lastUpdated": when,
        "traceparent": f"00-{identity.hex}-{identity.hex[16:]}-01",
    }
    value = json.dumps(fact.data, separators=(",", ":"), ensure_ascii=False).encode()
    return Event(key.encode(), value, tuple((name, text.encode()) for name, text in headers.items()))


def _time(milliseconds: int) -> str:
    text = datetime.fromtimestamp(milliseconds // 1000, UTC).isoformat().removesuffix("+00:00")
    return f"{text}.{milliseconds % 1000:03d}Z"
