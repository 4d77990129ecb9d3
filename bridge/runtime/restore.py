"""Restore: from the changelog to a local state that is exactly as of its last committed record.

The local store is a cache. It is taken up where its stamp says that it stands, or discarded and built anew when it is
foreign (another changelog), torn (written before the machine's last start), stale (older than the changelog keeps
deletes) or of another shape (other columns or indexes). Restore runs after ``init_transactions`` of the new owner, so
nothing of a predecessor is still on its way.
"""

from __future__ import annotations

import msgspec

from bridge.model import Changelog, ChangelogRecord, Clock
from bridge.runtime.report import Report
from bridge.state.rows import RowState

STALE_SECONDS = (
    12 * 3600
)  # well below the changelog's delete.retention.ms (Kafka's default: a day; `bridge topics`: a week)
# Records written to the store at once: more of them find more neighbours on a page, which is copied for each write. Keys
# in no order, a million rows: 5.2 µs a row in the store with 10,000, 3.2 with 50,000, which hold 130 MiB more.
PART = 30_000


class Stamp(msgspec.Struct, frozen=True):
    """What a local store is a copy of. ``offset``: of the changelog, all before it is in the store; ``at``: monotonic seconds."""

    changelog: str
    offset: int
    boot: str
    shape: str
    at: float

    def encode(self) -> bytes:
        return msgspec.json.encode(self)


class Restore:
    """Brings a state up to date, and stamps it at each commit. ``boot`` identifies the machine's last start."""

    def __init__(self, changelog: Changelog, state: RowState, clock: Clock, boot: str, report: Report) -> None:
        self._changelog = changelog
        self._state = state
        self._clock = clock
        self._boot = boot
        self._report = report
        self._identity = changelog.identity()

    def run(self) -> None:
        """Read what the store lacks. Raises Retriable, StateLost."""
        start, end = self._changelog.bounds()
        offset = self._usable_offset(start, end)
        if offset is None:
            self._state.wipe()
            offset = start
        self._report.restoring(offset, end)
        part: list[ChangelogRecord] = []
        for records, after in self._changelog.read(offset, end):
            part += records
            if len(part) >= PART or after == end:
                self._state.restore(part, self.stamp(after))
                part = []
            self._report.restoring(after, end)

    def stamp(self, offset: int) -> bytes:
        """The stamp of a store that holds everything before ``offset``."""
        return Stamp(self._identity, offset, self._boot, self._state.shape(), self._clock.now()).encode()

    def _usable_offset(self, start: int, end: int) -> int | None:
        data = self._state.stamp()
        if data is None:
            return None
        try:
            stamp = msgspec.json.decode(data, type=Stamp)
        except msgspec.DecodeError:
            return None
        same = (stamp.changelog, stamp.boot, stamp.shape) == (self._identity, self._boot, self._state.shape())
        fresh = 0 <= self._clock.now() - stamp.at < STALE_SECONDS
        return stamp.offset if same and fresh and start <= stamp.offset <= end else None
