"""A place in a source's history, as an operator names it. It is one number: the offset of an END in the transaction topic.

What may be said: that offset · a time (RFC 3339; of the commits, as a running maximum) · a commit position as the database
writes it (PostgreSQL's LSN, MariaDB's GTID) · ``checkpoint:NAME`` · ``beginning`` · ``now``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final, NamedTuple

from bridge.core.connectors import CONNECTORS
from bridge.core.decode import Decode, TransactionMarker
from bridge.errors import Fatal, Retriable
from bridge.model import InputPartition, Reader, SourceSettings

_BATCH: Final = 10_000
_PATIENCE: Final = 300  # empty reads of a tenth of a second
_LSN: Final = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")
_GTID: Final = re.compile(r"[0-9]+-[0-9]+-[0-9]+")
_CHECKPOINT: Final = "checkpoint:"
BEGINNING: Final = "beginning"
NOW: Final = "now"


class Place(NamedTuple):
    """``first``: the first END at or behind what was named, where something begins; ``last``: the last one at or before it.

    Both are offsets; ``first`` is the topic's end where nothing is behind it, ``last`` is -1 where nothing is before.
    """

    first: int
    last: int


class Ends:
    """The ENDs of a source, read from its transaction topic or log in nobody's name."""

    def __init__(self, source: SourceSettings, reader: Reader) -> None:
        self.connector = CONNECTORS[source.connector]
        self._decode = Decode({}, self.connector, source.modes)
        self._reader = reader
        self.markers = InputPartition(source.log or source.transaction_topic, 0)
        partitions = reader.partitions()
        self.start = reader.seek(dict.fromkeys(partitions, -1))[self.markers]
        self._idle = reader.ends()
        self.end = self._idle[self.markers]

    def between(self, start: int, end: int) -> Iterator[TransactionMarker]:
        """BEGIN and END from one offset to before another, as they stand there, repeats and all."""
        reader = self._reader
        start = max(start, self.start)
        reader.seek(self._idle | {self.markers: start})
        empty = 0
        while reader.positions().get(self.markers, start) < end:
            records = reader.read(_BATCH, 0.1)
            empty = 0 if records else empty + 1
            if empty > _PATIENCE:
                raise Retriable(f"{self.markers} cannot be read to its end")
            mine = [one for one in records if one.topic() == self.markers.topic and one.offset() < end]
            for item in self._decode.records(mine, 0):
                if isinstance(item, TransactionMarker):
                    yield item

    def search(self, reached: Callable[[TransactionMarker, int], int]) -> Place:
        """``reached``: -1 where an END, with the running maximum of commit times, lies before the place, 0 at it, 1 behind."""
        first, last, time_ms = self.end, -1, 0
        for marker in self.between(self.start, self.end):
            if marker.begin:
                continue
            time_ms = max(time_ms, marker.ts_ms or 0)
            where = reached(marker, time_ms)
            if where >= 0:
                first = min(first, marker.offset)
            if where <= 0:
                last = max(last, marker.offset)
            if where > 0:
                break
        return Place(first, last)


def resolve(text: str, ends: Ends, checkpoint_end: Callable[[str], int]) -> Place:
    """``checkpoint_end``: the offset of the last END that the stored checkpoint of this name holds. Raises Fatal, Retriable."""
    if text == BEGINNING:
        return Place(ends.start, -1)
    if text == NOW:
        return Place(ends.end, ends.search(lambda _marker, _time: -1).last)
    if text.startswith(_CHECKPOINT):
        offset = checkpoint_end(text.removeprefix(_CHECKPOINT))
        return Place(offset + 1, offset)
    if text.isdecimal():
        return _at_offset(int(text), ends)
    lsn = _LSN.fullmatch(text)
    if lsn is not None and ends.connector.name == "postgresql":
        return _at_position((int(lsn[1], 16) << 32) + int(lsn[2], 16), ends)
    if _GTID.fullmatch(text) and ends.connector.name != "postgresql":
        return _at_position(ends.connector.marker_place(text)[1], ends)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise not_a_position(text, "this is none of them") from None
    if moment.tzinfo is None:
        raise not_a_position(text, "a time needs its zone, as in 2026-11-25T03:00:00Z")
    wanted = int(moment.astimezone(UTC).timestamp() * 1000)
    return ends.search(lambda _marker, time_ms: (time_ms > wanted) - (time_ms < wanted))


def _at_offset(offset: int, ends: Ends) -> Place:
    if not ends.start <= offset < max(ends.end, 1):
        raise not_a_position(str(offset), f"{ends.markers} holds offsets {ends.start} to {ends.end - 1}")
    return ends.search(lambda marker, _time: (marker.offset > offset) - (marker.offset < offset))


def _at_position(position: int, ends: Ends) -> Place:
    return ends.search(lambda marker, _time: (marker.position > position) - (marker.position < position))


def not_a_position(text: str, reason: str) -> Fatal:
    return Fatal(
        f"{text!r} is no position of this source: {reason}",
        "give the offset of an END in the transaction topic, a time such as 2026-11-25T03:00:00Z, an LSN (0/16B3748) or "
        "GTID (0-1-4711), checkpoint:NAME, beginning or now",
        code="B525",
    )
