"""Captured records as a ``Reader``: what looks at Kafka's history can look at a capture's in the same way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bridge.model import InboundRecord, InputPartition, SourceSettings


class CapturedReader:
    """``records`` in the order of their offsets. A capture that begins late begins there: nothing is missing before it."""

    def __init__(self, records: Iterable[InboundRecord], settings: SourceSettings) -> None:
        self._records: dict[InputPartition, list[InboundRecord]] = {}
        for record in records:
            if settings.log in ("", record.topic()):
                self._records.setdefault(InputPartition(record.topic(), record.partition()), []).append(record)
        self._next: dict[InputPartition, int] = {}  # into its records
        self._positions: dict[InputPartition, int] = {}
        self._paused: set[InputPartition] = set()

    def partitions(self) -> list[InputPartition]:
        return list(self._records)

    def seek(self, offsets: dict[InputPartition, int]) -> dict[InputPartition, int]:
        self._positions = {one: max(0, offset) for one, offset in offsets.items()}
        self._next = {
            one: sum(record.offset() < offset for record in self._records[one])
            for one, offset in self._positions.items()
        }
        self._paused = set()
        return dict(self._positions)

    def read(self, limit: int, seconds: float) -> Sequence[InboundRecord]:  # noqa: ARG002 - nothing is waited for
        """Of every partition a share, so that none is far ahead."""
        ends = self.ends()
        open_ones = [one for one in self._next if one not in self._paused and self._positions[one] < ends[one]]
        share = max(1, limit // max(1, len(open_ones)))
        found: list[InboundRecord] = []
        for one in open_ones:
            some = self._records[one][self._next[one] : self._next[one] + share]
            self._next[one] += len(some)
            self._positions[one] = some[-1].offset() + 1
            found += some
        return found

    def positions(self) -> dict[InputPartition, int]:
        return dict(self._positions)

    def ends(self) -> dict[InputPartition, int]:
        return {one: records[-1].offset() + 1 for one, records in self._records.items()}

    def written(self) -> dict[InputPartition, int]:
        return self.ends()

    def pause(self, partitions: Iterable[InputPartition]) -> None:
        self._paused.update(partitions)

    def resume(self, partitions: Iterable[InputPartition]) -> None:
        self._paused.difference_update(partitions)

    def close(self) -> None:
        """Nothing to release."""
