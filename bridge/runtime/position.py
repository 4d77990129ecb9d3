"""A place in a source's history, as an operator names it. It is one number: the offset of an END in the transaction topic.

What may be said: that offset · a time (RFC 3339; of the commits, as a running maximum) · a commit position as the database
writes it (PostgreSQL's LSN, MariaDB's GTID) · the id of an event · ``checkpoint:NAME`` · ``beginning`` · ``now``.

An END that a killed Connect sent again is a repeat: a time, a commit position and an event name the first of them. Positions
that an accepted history used anew mean the latest history that has an END there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from bridge.core.connectors import CONNECTORS
from bridge.core.decode import Decode, TransactionMarker
from bridge.core.history import BITS, Decisions, Histories, history_of, own
from bridge.errors import Fatal
from bridge.model import InputPartition, Reader, SourceSettings
from bridge.runtime.follow import read_to
from bridge.runtime.published import Published, Told

_FIRST_LOOK: Final = 2_000  # offsets before a place; four times as many where no END is among them
_LSN: Final = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")
_GTID: Final = re.compile(r"[0-9]+-[0-9]+-[0-9]+", re.ASCII)
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_OFFSET: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_CHECKPOINT: Final = "checkpoint:"
_BEGIN: Final = b'{"status":"BEGIN"'
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)
BEGINNING: Final = "beginning"
NOW: Final = "now"


class Place(NamedTuple):
    """``first``: the first END at or behind what was named, where something begins; ``last``: the last one at or before it.

    Both are offsets; ``first`` is the topic's end where nothing is behind it, ``last`` is -1 where nothing is before.
    """

    first: int
    last: int


class Ends:
    """The ENDs of a source, read from its transaction topic or log in nobody's name. ``accepted``: see bridge.core.history."""

    def __init__(self, source: SourceSettings, reader: Reader, accepted: Decisions | None = None) -> None:
        self.connector = CONNECTORS[source.connector]
        self._decode = Decode({}, self.connector, source.modes)
        self._reader = reader
        self._single_log = bool(source.log)
        self.markers = InputPartition(source.log or source.transaction_topic, 0)
        self.histories = Histories(accepted or {}, [self.markers])
        partitions = reader.partitions()
        self.start = reader.seek(dict.fromkeys(partitions, -1))[self.markers]
        self._idle = reader.ends()
        self.end = self._idle[self.markers]

    def between(self, start: int, end: int, *, begins: bool = True) -> Iterator[TransactionMarker]:
        """BEGIN (unless not wanted) and END from one offset to before another, as they stand there, repeats and all."""
        reader = self._reader
        start = max(start, self.start)
        if start >= end:
            return
        reader.seek(self._idle | {self.markers: start})
        for records in read_to(reader, {self.markers: end}, str(self.markers)):
            topic = self.markers.topic
            mine = [one for one in records if one.topic() == topic and one.offset() < end]
            if self._single_log:  # rows need not be looked into
                mine = [one for one in mine if b'"source":{' not in (one.value() or b"")]
            if not begins:
                mine = [one for one in mine if not (one.value() or b"").startswith(_BEGIN)]
            found = [item for item in self._decode.records(mine, 0) if isinstance(item, TransactionMarker)]
            if self.histories.count:
                self.histories.place(found, 0)
            yield from found

    def rising(self) -> Iterator[tuple[TransactionMarker, int]]:
        """The ENDs that were released, no repeats; each with the running maximum of commit times."""
        position, time_ms = -1, 0
        for marker in self.between(self.start, self.end, begins=False):
            if marker.begin or marker.position <= position:
                continue
            position = marker.position
            time_ms = max(time_ms, marker.ts_ms or 0)
            yield marker, time_ms

    def search(self, reached: Callable[[TransactionMarker, int], int]) -> Place:
        """``reached``: -1 where an END, with the running maximum of commit times, lies before the place, 0 at it, 1 behind."""
        first, last = self.end, -1
        for marker, time_ms in self.rising():
            where = reached(marker, time_ms)
            if where >= 0:
                first = min(first, marker.offset)
            if where <= 0:
                last = marker.offset
            if where > 0:
                break
        return Place(first, last)

    def last_before(self, offset: int) -> TransactionMarker | None:
        """The last END before an offset, a repeat or not."""
        look = _FIRST_LOOK
        while offset > self.start:
            first = max(self.start, offset - look)
            found = None
            for marker in self.between(first, offset):
                found = found if marker.begin else marker
            if found is not None:
                return found
            offset, look = first, look * 4
        return None

    def first_from(self, offset: int) -> TransactionMarker | None:
        """The first END at or behind an offset, a repeat or not."""
        return next((marker for marker in self.between(offset, self.end) if not marker.begin), None)


def resolve(text: str, ends: Ends, checkpoint_end: Callable[[str], int], published: Published | None = None) -> Place:
    """``checkpoint_end``: the offset of the last END that the stored checkpoint of this name holds. Raises Fatal, Retriable.

    ``published``: where events are looked up by their id.
    """
    if text == BEGINNING:
        return Place(ends.start, -1)
    if text == NOW:
        return Place(ends.end, _offset(ends.last_before(ends.end)))
    if text.startswith(_CHECKPOINT):
        offset = checkpoint_end(text.removeprefix(_CHECKPOINT))
        return Place(offset + 1, offset)
    if _OFFSET.fullmatch(text):
        return _at_offset(int(text), ends)
    lsn = _LSN.fullmatch(text)
    if lsn is not None and ends.connector.name == "postgresql":
        return _at_position((int(lsn[1], 16) << 32) + int(lsn[2], 16), ends)
    if _GTID.fullmatch(text) and ends.connector.name != "postgresql":
        return _at_position(ends.connector.marker_place(text)[1], ends)
    if published is not None and _UUID.fullmatch(text.lower()):
        return _at_event(published, text.lower(), ends)
    return _at_time(text, ends)


def needs_histories(text: str) -> bool:
    """Whether ``Ends`` must know the accepted histories to find it: what counts ENDs by their position or their time."""
    return text not in {BEGINNING, NOW} and not text.startswith(_CHECKPOINT) and not _OFFSET.fullmatch(text)


def _offset(marker: TransactionMarker | None) -> int:
    return -1 if marker is None else marker.offset


def _at_offset(offset: int, ends: Ends) -> Place:
    if not ends.start <= offset < max(ends.end, 1):
        raise not_a_position(str(offset), f"{ends.markers} holds offsets {ends.start} to {ends.end - 1}")
    found = ends.first_from(offset)
    if found is not None and found.offset == offset:
        return Place(offset, offset)
    return Place(ends.end if found is None else found.offset, _offset(ends.last_before(offset)))


def _at_position(position: int, ends: Ends) -> Place:
    history = 0
    if ends.histories.count:
        there = [history_of(marker.position) for marker, _ in ends.rising() if own(marker.position) == position]
        history = max(there, default=ends.histories.count)
    wanted = (history << BITS) + position
    return ends.search(lambda marker, _time: (marker.position > wanted) - (marker.position < wanted))


def _at_time(text: str, ends: Ends) -> Place:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise not_a_position(text, "this is none of them") from None
    if moment.tzinfo is None:
        raise not_a_position(text, "a time needs its zone, as in 2026-11-25T03:00:00Z")
    wanted = (moment - _EPOCH) // _MS
    return ends.search(lambda _marker, time_ms: (time_ms > wanted) - (time_ms < wanted))


def _at_event(published: Published, event_id: str, ends: Ends) -> Place:
    told = published.find(event_id)
    if told is None:
        raise not_a_position(event_id, f"no event of this id is in {', '.join(published.topics)}")
    offset = _of_hash(told, ends)
    if offset is None:
        raise not_a_position(
            event_id, f"the event is there, but {ends.markers} does not hold the END of its transaction any more"
        )
    return Place(offset, offset)


def _of_hash(told: Told, ends: Ends) -> int | None:
    """The END that the event's id is made of; where the id has more parts, the first one of the event's commit time."""
    at_its_time = None
    for marker, _ in ends.rising():
        if told.is_of(marker.position):
            return marker.offset
        if at_its_time is None and marker.ts_ms == told.commit_time_ms:
            at_its_time = marker.offset
    if at_its_time is not None:
        told.tell_guess(f"{ends.markers}@{at_its_time}")
    return at_its_time


def not_a_position(text: str, reason: str) -> Fatal:
    return Fatal(
        f"{text!r} is no position of this source: {reason}",
        "give the offset of an END in the transaction topic, a time such as 2026-11-25T03:00:00Z, an LSN (0/16B3748) or "
        "GTID (0-1-4711), the id of an event, checkpoint:NAME, beginning or now",
        code="B525",
    )
