"""The bridge's core alone: a pipeline and its state on disk in this process, given records as if they had been fetched.

No Kafka, no network, no threads: what is measured here is our own work, and the number of calls does not depend on the
machine.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Final

import msgspec

from bridge.core.pipeline import Pipeline
from bridge.model import ChangelogRecord, InputPartition, MappingSet, PlainRecord, SourceSettings
from bridge.runtime.restore import PART
from bridge.runtime.worker import Limits
from bridge.state.rows import RowState
from bridge.state.store import LmdbStore
from bridge.testing.stream import OrderStream, Record

SOURCE: Final = "legacy"


class Work(msgspec.Struct):
    """What some records took, and what came of them."""

    row_changes: int = 0
    events: int = 0
    seconds: float = 0.0  # of the processor
    calls: int = 0  # of functions, written in Python or in C; 0 where they were not counted


class InProcess:
    """One run. ``state``: rows that are there before it begins."""

    def __init__(
        self, directory: Path, stream: OrderStream, mappings: MappingSet, state: Iterable[ChangelogRecord] = ()
    ) -> None:
        tables = tuple(stream.topics)
        self._offsets: Counter[str] = Counter()  # of the next record of each topic
        self._partitions = [InputPartition(topic, 0) for topic in (*tables, stream.transaction_topic)]
        self._limits = Limits()
        self._state = RowState(LmdbStore(directory), mappings, self._limits.state_cache_rows)
        rows = iter(state)
        while part := list(islice(rows, PART)):
            self._state.restore(part, b"")
        self._state.adopt()
        settings = SourceSettings(
            SOURCE, "postgresql", topics=tables, transaction_topic=stream.transaction_topic, dead_letter_topic="dlt"
        )
        self._pipeline = Pipeline(settings, mappings, self._state, self._partitions)
        self._read = dict.fromkeys(self._partitions, 0)
        self._pipeline.start_at(self._read, self._read)

    def work(self, records: Iterable[Record], *, count: bool = False) -> Work:
        """Take all of them to the end. ``count``: the calls instead of the time, which counting changes."""
        fetched = list(self._fetched(records))
        done = Work()
        started = time.process_time()
        if count:
            done.calls = _calls(lambda: self._take_all(fetched, done))
        else:
            self._take_all(fetched, done)
            done.seconds = time.process_time() - started
        return done

    def close(self) -> None:
        """The store's files may be removed."""
        self._state.close()

    def _take_all(self, fetched: Sequence[Sequence[PlainRecord]], done: Work) -> None:
        pipeline, last = self._pipeline, len(fetched) - 1
        for number, batch in enumerate(fetched):
            ends = self._read_to(batch)
            pipeline.receive(batch, ends)
            while pipeline.wants_ends:
                pipeline.ends_are(ends)
            if pipeline.pending >= self._limits.commit_rows or number == last:
                self._commit(done)
                while pipeline.is_held:
                    pipeline.receive((), ends)
                    self._commit(done)

    def _commit(self, done: Work) -> None:
        output = self._pipeline.take()
        done.row_changes += output.counts.row_changes
        done.events += sum(output.counts.events.values())
        if output.counts.dead_letters:
            raise ValueError(f"dead letters: {output.counts.dead_letters}")
        self._state.committed(b"")

    def _fetched(self, records: Iterable[Record]) -> Iterator[list[PlainRecord]]:
        """As a consumer gives them: so many at once, each partition's together."""
        rest = iter(records)
        while batch := list(islice(rest, self._limits.read_records_max)):
            queues: dict[str, list[PlainRecord]] = {}
            for topic, key, value, _ in batch:
                offset = self._offsets[topic]
                self._offsets[topic] = offset + 1
                queues.setdefault(topic, []).append(PlainRecord(topic, 0, offset, key, value, []))
            yield [record for queue in queues.values() for record in queue]

    def _read_to(self, batch: Sequence[PlainRecord]) -> dict[InputPartition, int]:
        for record in batch:
            self._read[InputPartition(record.topic_name, 0)] = record.offset_number + 1
        return self._read


def _calls(run: Callable[[], None]) -> int:
    """How many functions ``run`` calls."""
    count = 0

    def called(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        if event in ("call", "c_call"):
            count += 1

    sys.setprofile(called)
    try:
        run()
    finally:
        sys.setprofile(None)
    return count
