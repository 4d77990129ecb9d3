"""Published events, looked up by their id in the topics that mappings name: from the ends backwards, in nobody's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

import msgspec

from bridge.core.encode import Encode
from bridge.core.translate import CanonicalEvent
from bridge.model import EventRule, InboundRecord, InputPartition, MappingSet, Reader
from bridge.runtime.follow import read_to

_FIRST_LOOK: Final = 5_000  # records of each partition; four times as many where it is not among them
_MS: Final = timedelta(milliseconds=1)
_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00Z")

Offsets = dict[InputPartition, int]


class Told(msgspec.Struct):
    """What is known of an event that was found. ``commit_time_ms``: of its source transaction, of a window's last one."""

    id: str
    commit_time_ms: int
    likes: list[CanonicalEvent]
    """The event as each aggregate that may have told it would have; the id says which."""
    encode: Encode
    tell: Callable[[str], None]

    def is_of(self, position: int) -> bool:
        """Whether it is an event of the unit at this commit position. Events of `each` and of seeds have more in their ids."""
        return any(self.encode.event_id(like, position) == self.id for like in self.likes)

    def tell_guess(self, place: str) -> None:
        self.tell(
            f"event {self.id} speaks of a list's element or a snapshot: its id does not tell the transaction; "
            f"taken is the first one of its commit time, {place}"
        )


class Published:
    """The events of one source. ``reader`` reads their topics, and may read more; ``tell`` is for people."""

    def __init__(self, source: str, mappings: MappingSet, reader: Reader, tell: Callable[[str], None]) -> None:
        self._mappings = mappings
        self._encode = Encode(source)
        self._source = b"/bridge/" + source.encode()
        self._reader = reader
        self._tell = tell
        self.topics = event_topics(mappings)

    def find(self, event_id: str) -> Told | None:
        """The latest event of this id; one that was told again is the same. Raises Retriable."""
        reader, wanted = self._reader, event_id.encode()
        begins = reader.seek(dict.fromkeys(reader.partitions(), -1))
        ends = reader.ends()
        highs = {one: end for one, end in ends.items() if one.topic in self.topics}
        look = _FIRST_LOOK
        while any(high > begins[one] for one, high in highs.items()):
            lows = {one: max(begins[one], high - look) for one, high in highs.items()}
            found = self._between(lows, highs, ends, wanted)
            if found is not None:
                return self._told(event_id, found)
            highs, look = lows, look * 4
        return None

    def _between(
        self, lows: Offsets, highs: Mapping[InputPartition, int], ends: Offsets, wanted: bytes
    ) -> dict[str, bytes] | None:
        reader = self._reader
        reader.seek(ends | {one: low for one, low in lows.items() if low < highs[one]})
        for records in read_to(reader, highs, "a topic of events"):
            for record in records:
                headers = _headers(record)
                if headers.get("ce_id") == wanted and headers.get("ce_source") == self._source:
                    return headers | {"": record.key() or b""}
        return None

    def _told(self, event_id: str, headers: Mapping[str, bytes]) -> Told:
        kind, version = headers["ce_type"].decode(), int(headers["schemaVersion"])
        known = [one.aggregate for one in self._mappings.mappings if any(rule.type == kind for rule in one.events)] or [
            one.aggregate for one in self._mappings.mappings
        ]
        rule = EventRule(kind, version, "", bool, dict)
        key = headers[""].decode()
        time = datetime.fromisoformat(headers["lastUpdated"].decode())
        likes = [CanonicalEvent(rule, aggregate, key, "", {}) for aggregate in dict.fromkeys(known)]
        return Told(event_id, (time - _EPOCH) // _MS, likes, self._encode, self._tell)


def event_topics(mappings: MappingSet) -> list[str]:
    """Every topic that a mapping of this source names."""
    return sorted({rule.topic for mapping in mappings.mappings for rule in mapping.events})


def _headers(record: InboundRecord) -> dict[str, bytes]:
    return {name: value or b"" for name, value in record.headers() or ()}
