"""Step 6, encode: a canonical event → the record that Kafka gets, the same bytes every time.

CloudEvents 1.0, Kafka protocol binding, binary content mode: attributes as ``ce_`` headers, the payload as JSON. The
event id is a UUIDv5 of everything that makes the event this one (semantics: source, incarnation, commit position,
aggregate, event type, version, element), so that it survives restart, replay and batching. ``traceparent`` (W3C Trace
Context) derives from the event id, so that a replay has the same.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha1
from uuid import UUID

import msgspec

from bridge.core.history import incarnation_of, own
from bridge.core.images import Told
from bridge.core.translate import CanonicalEvent
from bridge.model import OutboundRecord

NAMESPACE = UUID("6f1d6c9e-0d4b-5f0e-9a52-2f6f5b1c7a11").bytes
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_encode_json = msgspec.json.Encoder().encode


class Encode:
    """The step, for one source."""

    def __init__(self, source: str) -> None:
        self._name = source
        self._source = b"/bridge/" + source.encode()

    def event_id(self, event: CanonicalEvent, position: int, part: str = "") -> str:
        """UUIDv5 (RFC 9562) over the parts of the event's identity. ``part``: which of several units at one position."""
        name = "\x1f".join(
            (
                self._name,
                str(incarnation_of(position)),
                f"{own(position)}{part}",
                event.aggregate,
                event.aggregate_id,
                event.rule.type,
                str(event.rule.version),
                event.element,
            )
        )
        digest = bytearray(sha1(NAMESPACE + name.encode(), usedforsecurity=False).digest()[:16])
        digest[6] = digest[6] & 0x0F | 0x50
        digest[8] = digest[8] & 0x3F | 0x80
        text = digest.hex()
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def transaction(
        self, events: list[CanonicalEvent], position: int, event_time_ms: int, commit_time_ms: int, part: str = ""
    ) -> list[OutboundRecord]:
        """The records of one source transaction's events, or of what a snapshot row showed. Times in ms since the epoch."""
        time = rfc3339(event_time_ms)
        updated = time if event_time_ms == commit_time_ms else rfc3339(commit_time_ms)
        return [self._record(event, self.event_id(event, position, part), time, updated) for event in events]

    def unit(self, events: list[CanonicalEvent], told: Told) -> list[OutboundRecord]:
        """The records of one unit's events."""
        return self.transaction(events, told.position, told.event_time_ms, told.commit_time_ms, told.part)

    def _record(self, event: CanonicalEvent, event_id: str, time: bytes, updated: bytes) -> OutboundRecord:
        rule = event.rule
        key = event.aggregate_id.encode()
        digest = event_id.replace("-", "")
        return OutboundRecord(
            rule.topic,
            key,
            _encode_json(event.data),
            [
                ("ce_specversion", b"1.0"),
                ("ce_id", event_id.encode()),
                ("ce_source", self._source),
                ("ce_type", rule.type.encode()),
                ("ce_subject", key),
                ("ce_time", time),
                ("content-type", b"application/json"),
                ("schemaVersion", str(rule.version).encode()),
                ("lastUpdated", updated),
                ("traceparent", f"00-{digest}-{digest[16:]}-01".encode()),
            ],
        )


def rfc3339(ms: int) -> bytes:
    """``2026-11-23T07:37:25.163Z``"""
    moment = _EPOCH + timedelta(milliseconds=max(ms, 0))
    return (moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z").encode()


def cloudevent(record: OutboundRecord) -> dict[str, object]:
    """The record in CloudEvents' JSON format: one line of ``bridge transform``."""
    headers = {name: value.decode() for name, value in record.headers}
    attributes: dict[str, object] = {
        name.removeprefix("ce_"): value for name, value in headers.items() if name.startswith("ce_")
    }
    attributes["datacontenttype"] = headers["content-type"]
    attributes["schemaversion"] = headers["schemaVersion"]
    attributes["lastupdated"] = headers["lastUpdated"]
    attributes["traceparent"] = headers["traceparent"]
    attributes["partitionkey"] = record.key.decode()
    attributes["topic"] = record.topic
    attributes["data"] = msgspec.json.decode(record.value)
    return attributes
