"""Records that are too large for their topics: found by the one who publishes, decided by an entry in the state.

Whether a record fits is a setting of a topic, so no function of the log. It becomes one by being recorded: ``large``, NUL,
name of the record. An event whose id stands there makes its unit a dead letter (B213) that points to it; a dead letter that
stands there itself goes on as the same document without its rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b, sha256
from typing import ClassVar

import msgspec

from bridge.errors import Oversize, TooLarge
from bridge.model import OutboundRecord

REDUCED = "bridge_reduced"  # header of a dead letter without its rows: how many bytes it would have taken


class Large:
    """The decisions of one source. False where there are none, which is as good as always."""

    PREFIX: ClassVar = b"large\x00"

    def __init__(self, metas: Iterable[tuple[bytes, bytes]]) -> None:
        self._decided = {name[len(self.PREFIX) :]: value for name, value in metas}

    def __bool__(self) -> bool:
        return bool(self._decided)

    def knows(self, record: OutboundRecord) -> bool:
        return record_name(record) in self._decided

    def refuse(self, records: Iterable[OutboundRecord]) -> None:
        """Raises Oversize where one of a unit's events is among them."""
        found = [self._pointer(record) for record in records if self.knows(record)]
        if found:
            raise Oversize(found)

    def _pointer(self, record: OutboundRecord) -> dict[str, object]:
        decided = msgspec.json.decode(self._decided[record_name(record)], type=dict[str, int])
        return pointer(record, decided["size"], decided["limit"])


def pointer(record: OutboundRecord, size: int, limit: int) -> dict[str, object]:
    """What an event is known by that is not there itself."""
    headers = dict(record.headers)
    return {
        "id": headers["ce_id"].decode(),
        "type": headers["ce_type"].decode(),
        "topic": record.topic,
        "size": size,
        "limit": limit,
        "sha256": sha256(record.value).hexdigest(),
    }


def record_name(record: OutboundRecord) -> bytes:
    """An event's id; of a dead letter, a hash of what names its place."""
    headers = dict(record.headers)
    if "ce_id" in headers:
        return headers["ce_id"]
    known = [one for one in record.headers if one[0] != REDUCED]
    return blake2b(repr((record.key, known)).encode(), digest_size=16).hexdigest().encode()


def decisions(found: Iterable[TooLarge]) -> dict[bytes, bytes | None]:
    """The named values that record what does not fit."""
    return {
        Large.PREFIX + record_name(one.record): msgspec.json.encode({"size": one.size, "limit": one.limit})
        for one in found
    }
