"""A pipeline fed from the topics up to a place, for all that looks at history: backfill, replay, plan.

What it makes is handed over in parts; nothing is published here. It may go on to a further place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from bridge.core.pipeline import Output
from bridge.core.transaction import Waiting
from bridge.errors import Fatal, TransactionIncomplete
from bridge.model import InboundRecord, InputPartition, Reader, SourceSettings

_READ = 10_000
_AHEAD = 50_000
_IDLE_READS = 600  # of a tenth of a second

Save = Callable[[Output], None]
Tell = Callable[[int, int], None]


class Rolled(Protocol):
    """What is rolled: a ``Pipeline``, or several that read the same."""

    @property
    def source(self) -> SourceSettings: ...
    @property
    def markers(self) -> InputPartition: ...
    @property
    def partitions(self) -> Sequence[InputPartition]: ...
    @property
    def wants_ends(self) -> bool: ...
    @property
    def is_held(self) -> bool: ...
    @property
    def pending(self) -> int: ...
    def inputs(self) -> dict[InputPartition, int]: ...
    def start_at(self, offsets: Mapping[InputPartition, int], ends: Mapping[InputPartition, int]) -> None: ...
    def go_on(self, until: int | None) -> None: ...
    def receive(self, records: Sequence[InboundRecord], positions: Mapping[InputPartition, int]) -> None: ...
    def ends_are(self, ends: Mapping[InputPartition, int]) -> None: ...
    def take(self) -> Output: ...
    def is_short_of(self, end: int) -> bool: ...
    def crowded(self, limit: int) -> tuple[set[InputPartition], set[InputPartition]]: ...
    def waiting(self) -> Waiting | None: ...
    def incomplete(self, waiting: Waiting) -> TransactionIncomplete: ...


class Roll:
    """``pipeline`` goes on where its state stands. ``begins``: where reading begins, per partition."""

    def __init__(self, reader: Reader, pipeline: Rolled, part: int = 10_000) -> None:
        self._reader = reader
        self._pipeline = pipeline
        self._part = part
        self._left: list[InboundRecord] = []  # read already, and beyond the place asked for
        known = pipeline.inputs()
        self.begins = reader.seek({partition: known.get(partition, -1) for partition in pipeline.partitions})
        pipeline.start_at(self.begins, reader.ends())

    def run(self, until: int, goals: Mapping[InputPartition, int], save: Save, tell: Tell) -> None:
        """Release what ends up to ``until``, the offset of an END, once these partitions are read to these offsets.

        ``save`` is given each part of what came of it, the last one too where it is empty; ``tell``: records read, of how
        many, in each round. Raises TransactionIncomplete, Fatal where the topics do not hold it, and what the core raises.
        """
        pipeline, reader = self._pipeline, self._reader
        pipeline.go_on(until)
        total = sum(max(0, goal - self.begins[partition]) for partition, goal in goals.items())
        idle = 0
        self._receive((), goals)  # what was read already
        while pipeline.is_held or not self._is_there(until, goals):
            records = () if pipeline.is_held else reader.read(_READ, 0.1)
            idle = 0 if records or pipeline.is_held else idle + 1
            if idle > _IDLE_READS:
                raise self._missing()
            self._receive(records, goals)
            while pipeline.wants_ends:
                pipeline.ends_are(reader.ends())
            pause, resume = pipeline.crowded(_AHEAD)
            reader.pause(pause)
            reader.resume(resume)
            tell(self._done(goals), total)
            if pipeline.pending >= self._part or pipeline.is_held:
                save(pipeline.take())
        save(pipeline.take())

    def _receive(self, records: Sequence[InboundRecord], goals: Mapping[InputPartition, int]) -> None:
        positions = self._reader.positions()
        if self._pipeline.source.log:  # a snapshot's row applies where it stands: nothing beyond the place
            goal = goals[self._pipeline.markers]
            records = [*self._left, *records]
            self._left = [record for record in records if record.offset() >= goal]
            records = [record for record in records if record.offset() < goal]
            positions = {partition: min(offset, goal) for partition, offset in positions.items()}
        self._pipeline.receive(records, positions)

    def _done(self, goals: Mapping[InputPartition, int]) -> int:
        positions = self._reader.positions()
        return sum(
            max(0, min(positions.get(partition, 0), goal) - self.begins[partition]) for partition, goal in goals.items()
        )

    def _is_there(self, until: int, goals: Mapping[InputPartition, int]) -> bool:
        positions = self._reader.positions()
        read = all(positions.get(partition, 0) >= goal for partition, goal in goals.items())
        return read and not self._pipeline.is_short_of(until)

    def _missing(self) -> Exception:
        waiting = self._pipeline.waiting()
        if waiting is not None:
            return self._pipeline.incomplete(waiting)
        return Fatal("the topics do not hold what was read before", "look for deleted topics", code="B506")
