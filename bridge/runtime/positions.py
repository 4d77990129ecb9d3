"""``bridge positions``: looks at Kafka in nobody's name and tells where a source stands. It never waits for anybody."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from bridge.core.checkpoint import Checkpoint
from bridge.core.decode import TransactionMarker
from bridge.core.history import ACCEPT, decisions, incarnation_of, own
from bridge.core.pipeline import CHECKPOINT, Pipeline
from bridge.core.units import PARKED
from bridge.errors import BridgeError
from bridge.kafka.client import ConfluentKafka
from bridge.model import ChangelogRecord, InputPartition, MappingSet, Reader, SourceSettings
from bridge.runtime.follow import read_to
from bridge.runtime.position import Ends
from bridge.runtime.standing import At, Line, Open, Standing, is_old, place
from bridge.runtime.wiring import kafka_for, letters_reader, throwaway_reader
from bridge.state.rows import RowState, meta_key
from bridge.state.store import MemoryStore

if TYPE_CHECKING:
    from bridge.config import Config, Source

_BATCH: Final = 10_000
_AHEAD: Final = 50_000
_LOOK_SECONDS: Final = 2.0  # between the two looks that tell a rate
_LARGE: Final = 100_000  # rows of a transaction that is not looked into: it may well take its time
_META: Final = meta_key(b"")


class Named:
    """The named values of a source's state, as its changelog shows them now: an open Kafka transaction is not waited for."""

    def __init__(self, kafka: ConfluentKafka, topic: str) -> None:
        self._kafka = kafka
        self._partition = InputPartition(topic, 0)
        self._offset = kafka.cluster.starts([self._partition])[self._partition]
        self._values: dict[bytes, bytes] = {}
        self.look()

    def look(self) -> None:
        """Read what was added since."""
        end = self._kafka.cluster.stable_ends([self._partition])[self._partition]
        for records, after in self._kafka.changelog().read(self._offset, end):
            for key, value in records:
                if value is None:
                    self._values.pop(key, None)
                elif key.startswith(_META):
                    self._values[key] = value
            self._offset = after

    @property
    def checkpoint(self) -> Checkpoint:
        return Checkpoint.decode(self._values.get(meta_key(CHECKPOINT)))

    def of(self, prefix: bytes) -> list[tuple[bytes, bytes]]:
        start = meta_key(prefix)
        return [(key[1:], value) for key, value in self._values.items() if key.startswith(start)]

    def records(self) -> list[ChangelogRecord]:
        return [ChangelogRecord(key, value) for key, value in sorted(self._values.items())]


class _Bounds(NamedTuple):
    """Of the input partitions. ``ends`` were asked for before ``written``."""

    starts: Mapping[InputPartition, int]
    ends: Mapping[InputPartition, int]
    written: Mapping[InputPartition, int]

    def hidden(self) -> dict[InputPartition, int]:
        return {one: end for one, end in self.ends.items() if end < self.written[one]}


def standing(config: Config, source: Source, mappings: MappingSet) -> Standing:
    """Where one source stands. Raises Retriable, Fatal."""
    kafka = kafka_for(config, source, mappings)
    reader = throwaway_reader(config, source, "positions")
    try:
        return _Look(kafka, config, source, mappings, reader).run()
    finally:
        reader.close()


class _Look:
    """One look at one source."""

    def __init__(
        self, kafka: ConfluentKafka, config: Config, source: Source, mappings: MappingSet, reader: Reader
    ) -> None:
        self._kafka = kafka
        self._config = config
        self._source = source
        self._mappings = mappings
        self._reader = reader
        self._began = time.monotonic()
        self._named = Named(kafka, source.changelog_topic)
        accepted = decisions(self._named.of(ACCEPT), ACCEPT)
        self._ends = Ends(source.settings, reader, accepted)
        starts = reader.seek(dict.fromkeys(reader.partitions(), -1))
        self._bounds = _Bounds(starts, reader.ends(), reader.written())

    def run(self) -> Standing:
        checkpoint = self._named.checkpoint
        group = f"{self._config.application}.{self._source.settings.name}"
        members = self._kafka.cluster.members(group)
        last = self._ends.last_before(self._ends.end)
        waiting = self._waiting(checkpoint)
        committed = self._committed(checkpoint)
        lines = self._lines(checkpoint, self._kafka.cluster.group_offsets(group))
        short, stops = self._short(waiting[0]) if waiting else ("", "")
        seconds = 0.0 if not waiting or last is None else ((last.ts_ms or 0) - checkpoint.event_time_ms) / 1000
        return Standing(
            source=self._source.settings.name,
            topic=str(self._ends.markers),
            group=group,
            members=members,
            last=None if last is None else self._at(last),
            committed=committed,
            behind_records=sum(line.lag for line in lines),
            behind_transactions=len(waiting),
            behind_seconds=max(0.0, seconds) if checkpoint.offsets else 0.0,
            partitions=lines,
            open_source=self._open_source(last),
            short=short,
            stops=stops,
            parked=len(self._named.of(PARKED)),
            dead_letters=self._dead_letters(),
            dead_letter_topic=self._source.settings.dead_letter_topic,
            records_per_s=self._rate(checkpoint) if members and waiting else 0.0,
            hidden=self._hidden(),
        )

    def _at(self, marker: TransactionMarker) -> At:
        connector = self._ends.connector
        shown = connector.shown(own(marker.position), connector.domain(marker.id) if connector.domain else "")
        return At(marker.offset, shown, marker.ts_ms or 0, incarnation_of(marker.position))

    def _committed(self, checkpoint: Checkpoint) -> At | None:
        if checkpoint.end_offset < 0:
            return None
        shown = self._ends.connector.shown(own(checkpoint.commit_position), checkpoint.domain)
        return At(checkpoint.end_offset, shown, checkpoint.event_time_ms, checkpoint.incarnation)

    def _waiting(self, checkpoint: Checkpoint) -> list[TransactionMarker]:
        """The ENDs that are not processed, no repeats."""
        found: list[TransactionMarker] = []
        position = checkpoint.commit_position
        for marker in self._ends.between(checkpoint.end_offset + 1, self._ends.end):
            if not marker.begin and marker.position > position:
                position = marker.position
                found.append(marker)
        return found

    def _lines(self, checkpoint: Checkpoint, group: Mapping[InputPartition, int]) -> list[Line]:
        starts, ends, written = self._bounds
        inputs = checkpoint.inputs()
        lines = []
        for one in sorted(ends):
            at = inputs.get(one, starts[one])
            lines.append(Line(str(one), at, group.get(one), ends[one], written[one], max(0, ends[one] - at)))
        return lines

    def _open_source(self, last: TransactionMarker | None) -> Open | None:
        """The last BEGIN, where no END is behind it."""
        begin = None
        for marker in self._ends.between(0 if last is None else last.offset + 1, self._ends.end):
            begin = marker
        if begin is None or not is_old(begin.ts_ms, _now_ms()):
            return None
        return Open(place(self._ends.markers, begin.offset), begin.ts_ms)

    def _hidden(self) -> list[Open]:
        """What was open when this look began, still is, and is not young."""
        found = []
        now = _Bounds(self._bounds.starts, self._reader.ends(), self._reader.written()).hidden()
        for one, offset in self._bounds.hidden().items():
            if now.get(one) == offset:
                since = self._kafka.written_at(one, offset)
                if is_old(since, _now_ms()):
                    found.append(Open(place(one, offset), since))
        return found

    def _short(self, head: TransactionMarker) -> tuple[str, str]:
        """What the next transaction waits for, and the error that it ends in; what is young may be on its way."""
        rows = sum(one.event_count for one in head.data_collections or ())
        if rows > _LARGE or not is_old(head.ts_ms, _now_ms()):
            return "", ""
        state = RowState(MemoryStore(), self._mappings)
        state.restore(self._named.records(), b"")
        try:
            return next_is_short(self._source.settings, self._mappings, state, self._reader, head), ""
        except BridgeError as error:
            return "", f"{error.code}: {error.message}"

    def _dead_letters(self) -> int:
        topic = self._source.settings.dead_letter_topic
        if not self._kafka.cluster.describe([topic], 0):
            return 0
        reader = letters_reader(self._config, self._source)
        try:
            return count_of(reader)
        finally:
            reader.close()

    def _rate(self, before: Checkpoint) -> float:
        """Records processed per second since the first look."""
        time.sleep(max(0.0, _LOOK_SECONDS - (time.monotonic() - self._began)))
        self._named.look()
        seconds = time.monotonic() - self._began
        inputs = before.inputs()
        after = self._named.checkpoint.inputs()
        return sum(max(0, offset - inputs.get(one, offset)) for one, offset in after.items()) / seconds


def next_is_short(
    source: SourceSettings, mappings: MappingSet, state: RowState, reader: Reader, head: TransactionMarker
) -> str:
    """What the core says that the next transaction misses when everything is read; "": nothing. Raises what it raises."""
    pipeline = Pipeline(source, mappings, state, reader.partitions(), until=head.offset, silent=True)
    known = pipeline.inputs()
    begins = reader.seek({partition: known.get(partition, -1) for partition in pipeline.partitions})
    goals = reader.ends()
    pipeline.start_at(begins, goals)
    while True:
        pipeline.receive(reader.read(_BATCH, 0.1), reader.positions())
        while pipeline.wants_ends:
            pipeline.ends_are(reader.ends())
        positions = reader.positions()
        if positions[pipeline.markers] > head.offset and not pipeline.is_short_of(head.offset):
            return ""
        if all(positions[one] >= goal for one, goal in goals.items()):
            break
        pause, resume = pipeline.crowded(_AHEAD)
        reader.pause(pause)
        reader.resume(resume)
    waiting = pipeline.waiting()
    if waiting is None:
        return ""
    tables = ", ".join(f"{name}: {have} of {count} rows" for name, (have, count) in sorted(waiting.missing.items()))
    return f"END at {place(pipeline.markers, waiting.offset)} counts rows that are not in the topics: {tables}"


def count_of(reader: Reader) -> int:
    """How many records can be seen now. Raises Retriable where they cannot be read to the end."""
    reader.seek(dict.fromkeys(reader.partitions(), -1))
    return sum(len(records) for records in read_to(reader, reader.ends(), "the dead-letter topic"))


def _now_ms() -> int:
    return int(time.time() * 1000)
