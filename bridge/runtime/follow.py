"""Reads a source's topics from their beginning to their end as it is now, in nobody's name: no group, no commit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from bridge.errors import Retriable
from bridge.model import InboundRecord, InputPartition, Reader

BATCH: Final = 10_000
_WAIT_SECONDS: Final = 0.2
_TELL_SECONDS: Final = 2.0
_PATIENCE: Final = 300  # empty reads of a tenth of a second


class Follow:
    """One reading. ``starts`` and ``ends``: per partition where it begins, and where it ended when the reading began."""

    def __init__(self, reader: Reader, tell: Callable[[str], None]) -> None:
        self._reader = reader
        self._tell = tell
        self._told = time.monotonic()
        self._paused: set[InputPartition] = set()
        self.starts = reader.seek(dict.fromkeys(reader.partitions(), -1))
        self.ends = reader.ends()
        self.count = 0

    def records(self, seconds: float = 0.0) -> Iterator[Sequence[InboundRecord]]:
        """Batches until every partition was read to its end; with ``seconds``, of all that comes until they are over.

        The last batch may be empty: by then the reader's positions are at the ends.
        """
        until = time.monotonic() + seconds
        while True:
            batch = self._reader.read(BATCH, _WAIT_SECONDS)
            self.count += len(batch)
            self._progress()
            yield batch
            if time.monotonic() < until:
                continue
            if seconds or self.is_read():
                return

    def is_read(self) -> bool:
        """Whether every partition was read to ``ends``."""
        positions = self._reader.positions()
        return all(positions.get(partition, 0) >= end for partition, end in self.ends.items())

    def pace(self, pause: set[InputPartition], resume: set[InputPartition]) -> None:
        """Let partitions that are far ahead wait for the others."""
        pause = pause - self._paused
        resume = resume & self._paused
        if pause:
            self._reader.pause(pause)
        if resume:
            self._reader.resume(resume)
        self._paused = (self._paused | pause) - resume

    def _progress(self) -> None:
        now = time.monotonic()
        if now - self._told < _TELL_SECONDS:
            return
        self._told = now
        positions = self._reader.positions()
        total = sum(max(0, end - self.starts[partition]) for partition, end in self.ends.items())
        done = sum(max(0, positions[partition] - start) for partition, start in self.starts.items())
        self._tell(f"read {self.count:,} records, {min(100, 100 * done // max(1, total))} % of what is there")


def read_to(reader: Reader, goals: Mapping[InputPartition, int], what: str) -> Iterator[Sequence[InboundRecord]]:
    """Batches, from where the reader stands until these partitions are read to these offsets.

    The reader may be put elsewhere once the last batch is given. Raises Retriable where ``what`` cannot be read so far.
    """

    def is_there() -> bool:
        positions = reader.positions()
        return all(positions.get(partition, 0) >= goal for partition, goal in goals.items())

    idle, done = 0, is_there()
    while not done:
        records = reader.read(BATCH, 0.1)
        idle = 0 if records else idle + 1
        if idle > _PATIENCE:
            raise Retriable(f"{what} cannot be read to the end")
        done = is_there()
        yield records
