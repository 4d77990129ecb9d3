"""The core at work on one log, as ``bridge run`` drives it: it reads, commits, dies, and starts again from what it kept.

What one Kafka transaction holds (records, changelog, offsets) is kept in one step; whatever was not committed is gone
when it dies. Nothing else outlives a life: the state is restored from the changelog alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from bridge.core.pipeline import Pipeline
from bridge.model import ChangelogRecord, InboundRecord, InputPartition, MappingSet, OutboundRecord
from bridge.state.rows import RowState
from bridge.state.store import MemoryStore
from bridge.trial.log import DEAD_LETTERS, Log


@dataclass(frozen=True, slots=True)
class Published:
    """One record that came out: an event, or a dead letter with what stays the same wherever its rows stood."""

    record: OutboundRecord
    code: str = ""
    field: str = ""
    place: str = ""
    message: str = ""

    @property
    def identity(self) -> object:
        """What must be equal in every run: an event's bytes; of a dead letter whose it is and what is wrong."""
        if not self.code:
            return self.record
        headers = dict(self.record.headers)
        return (self.record.key, headers.get("bridge_aggregate"), headers.get("bridge_position"), self.code, self.field)


def published(record: OutboundRecord) -> Published:
    """With a dead letter's document read."""
    if record.topic != DEAD_LETTERS:
        return Published(record)
    letter = msgspec.json.decode(record.value)
    return Published(record, letter["code"], letter["field"], letter["place"], letter["message"])


@dataclass(slots=True)
class Kept:
    """What outlives a life: the changelog (compacted), and what was published, in order."""

    changelog: dict[bytes, bytes | None] = field(default_factory=dict)
    published: list[OutboundRecord] = field(default_factory=list)

    def copy(self) -> Kept:
        return Kept(dict(self.changelog), list(self.published))


class Machine:
    """One life. ``read``: how far each partition was read; ``told``: the ends that the core asked for last."""

    def __init__(self, log: Log, mappings: MappingSet, kept: Kept | None = None) -> None:
        self.log = log
        self.mappings = mappings
        self.kept = kept or Kept()
        self.told: tuple[int, ...] | None = None
        self._state = RowState(MemoryStore(), mappings)
        if self.kept.changelog:
            self._state.restore([ChangelogRecord(*item) for item in self.kept.changelog.items()], b"")
        self._state.adopt()
        self._pipeline = Pipeline(log.settings, mappings, self._state, log.partitions)
        offsets = self._pipeline.checkpoint.inputs()
        self.read = [offsets.get(partition, 0) for partition in log.partitions]
        self._pipeline.start_at(dict.fromkeys(log.partitions, 0) | offsets, {})

    def receive(self, records: Sequence[InboundRecord], read: Sequence[int], ends: Sequence[int]) -> None:
        """A batch: ``records`` bring the partitions to ``read``; ``ends``: what is in the topics by then."""
        self.read = list(read)
        self._pipeline.receive(records, self._offsets(read))
        while self._pipeline.wants_ends:
            self.told = tuple(ends)
            self._pipeline.ends_are(self._offsets(ends))

    def read_to(self, read: Sequence[int], ends: Sequence[int]) -> None:
        """The same, of the log's records, partition after partition."""
        batch = [
            record
            for queue, start, end in zip(self.log.queues, self.read, read, strict=True)
            for record in queue[start:end]
        ]
        self.receive(batch, read, ends)

    def commit(self) -> None:
        """One Kafka transaction."""
        output = self._pipeline.take()
        self.kept.changelog.update(output.changelog)
        self.kept.published.extend(output.records)
        self._state.committed(b"")

    @property
    def is_held(self) -> bool:
        """Whether it has more to do although nothing new came: what the snapshot found is told in parts."""
        return self._pipeline.is_held

    def finish(self) -> None:
        """Commit until nothing is left to do."""
        self.commit()
        while self.is_held:
            self.receive((), self.read, self.log.ends)
            self.commit()

    def after_crash(self) -> Machine:
        """The next life, on what this one committed."""
        return Machine(self.log, self.mappings, self.kept)

    def missing(self) -> str:
        """What the next transaction waits for; "" if there is none."""
        waiting = self._pipeline.waiting()
        return "" if waiting is None else self._pipeline.incomplete(waiting).message

    def _offsets(self, numbers: Sequence[int]) -> dict[InputPartition, int]:
        return dict(zip(self.log.partitions, numbers, strict=True))


def plain_run(log: Log, mappings: MappingSet) -> tuple[list[OutboundRecord], str]:
    """Everything there, read at once, nothing fails: what is published, and what is missing at the end."""
    machine = Machine(log, mappings)
    machine.read_to(log.ends, log.ends)
    machine.finish()
    return machine.kept.published, machine.missing()
