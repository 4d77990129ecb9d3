"""Two pipelines that read the same records at the same time, for ``Roll`` as one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from bridge.core.pipeline import Output, Pipeline
from bridge.core.transaction import Waiting
from bridge.errors import TransactionIncomplete
from bridge.model import InboundRecord, InputPartition
from bridge.plan.waiting import Reached
from bridge.runtime.transform import taken
from bridge.state.rows import RowState


class Side(NamedTuple):
    """One of the two."""

    pipeline: Pipeline
    state: RowState

    @property
    def reached(self) -> Reached:
        checkpoint = self.pipeline.checkpoint
        return Reached(checkpoint.end_offset, checkpoint.event_time_ms)


class Pair:
    """Both begin at the same place of the same partitions. ``settle`` is called when both were given the same."""

    def __init__(self, old: Side, new: Side, settle: Callable[[tuple[Reached, Reached]], None]) -> None:
        self._sides = (old, new)
        self._pipelines = (old.pipeline, new.pipeline)
        self._settle = settle
        self.source = old.pipeline.source
        self.markers = old.pipeline.markers
        self.partitions = old.pipeline.partitions

    def inputs(self) -> dict[InputPartition, int]:
        return self._pipelines[0].inputs()

    def start_at(self, offsets: Mapping[InputPartition, int], ends: Mapping[InputPartition, int]) -> None:
        for one in self._pipelines:
            one.start_at(offsets, ends)

    def go_on(self, until: int | None) -> None:
        for one in self._pipelines:
            one.go_on(until)

    def receive(self, records: Sequence[InboundRecord], positions: Mapping[InputPartition, int]) -> None:
        for one in self._pipelines:
            one.receive(records, positions)

    @property
    def wants_ends(self) -> bool:
        return any(one.wants_ends for one in self._pipelines)

    def ends_are(self, ends: Mapping[InputPartition, int]) -> None:
        for one in self._pipelines:
            if one.wants_ends:
                one.ends_are(ends)

    @property
    def is_held(self) -> bool:
        return any(one.is_held for one in self._pipelines)

    @property
    def pending(self) -> int:
        return sum(one.pending for one in self._pipelines)

    def take(self) -> Output:
        """Both are rid of what they made; it was looked at as it came."""
        outputs = [taken(one.pipeline, one.state) for one in self._sides]
        self._settle((self._sides[0].reached, self._sides[1].reached))
        return outputs[0]

    def is_short_of(self, end: int) -> bool:
        return any(one.is_short_of(end) for one in self._pipelines)

    def crowded(self, limit: int) -> tuple[set[InputPartition], set[InputPartition]]:
        """A partition waits where it is far ahead for one of them: what the other needs of it was read already then."""
        (pause, resume), (also, too) = [one.crowded(limit) for one in self._pipelines]
        return pause | also, resume & too

    def waiting(self) -> Waiting | None:
        return next((found for one in self._pipelines if (found := one.waiting()) is not None), None)

    def incomplete(self, waiting: Waiting) -> TransactionIncomplete:
        return self._pipelines[0].incomplete(waiting)

    @property
    def open_windows(self) -> tuple[int, int]:
        return self._pipelines[0].open_windows, self._pipelines[1].open_windows
