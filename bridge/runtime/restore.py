"""Restore: from the changelog to a local state that is exactly as of its last committed record.

The local store is a cache. It is taken up where its stamp says that it stands, or discarded and built anew when it is
foreign (another changelog), torn (written before the machine's last start), stale (older than the changelog keeps
deletes) or of another shape (other columns or indexes). Restore runs after ``init_transactions`` of the new owner, so
nothing of a predecessor is still on its way.
"""

from __future__ import annotations

import msgspec

from bridge.model import Changelog, Clock
from bridge.runtime.report import Report
from bridge.state.rows import RowState, other_columns

STALE_SECONDS = (
    12 * 3600
)  # well below the changelog's delete.retention.ms (Kafka's default: a day; `bridge topics`: a week)
_LAYOUT = b"layout"


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
        """Read what the store lacks. Raises Retriable, StateLost, and Fatal where the mappings need other columns."""
        start, end = self._changelog.bounds()
        offset = self._usable_offset(start, end)
        if offset is None:
            self._state.wipe()
            offset = start
        self._report.restoring(offset, end)
        for records, after in self._changelog.read(offset, end):
            self._state.restore(records, self.stamp(after))
            self._report.restoring(after, end)
        self._check_layout()

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

    def _check_layout(self) -> None:
        """The columns that the state holds must be those that the mappings use."""
        now = self._state.layouts()
        stored = self._state.meta(_LAYOUT)
        if stored is None:
            self._state.put_meta(_LAYOUT, msgspec.json.encode(now))
            return
        known = msgspec.json.decode(stored, type=dict[str, list[str]])
        changed = [_difference(table, known.get(table), columns) for table, columns in now.items()]
        problems = [text for text in changed if text]
        if problems:
            self._state.wipe()
            raise other_columns("; ".join(problems))


def _difference(table: str, known: list[str] | None, columns: list[str]) -> str:
    if known is None:
        return f"{table} is new"
    if known == columns:
        return ""
    new = [column for column in columns if column not in known]
    gone = [column for column in known if column not in columns]
    parts = ([f"new {', '.join(new)}"] if new else []) + ([f"no longer used {', '.join(gone)}"] if gone else [])
    return f"{table}: {' and '.join(parts)}"
