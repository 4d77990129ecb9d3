"""The core over a source's history, from capture files or from Kafka, until what is wanted went by."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from bridge.core.pipeline import Pipeline
from bridge.errors import Fatal, TransactionIncomplete
from bridge.explain.wanted import Wanted
from bridge.model import InputPartition, MappingSet, PlainRecord, Reader, SourceSettings
from bridge.runtime.follow import Follow
from bridge.runtime.transform import taken, transform
from bridge.state.rows import RowState
from bridge.state.store import LmdbStore

_ROWS_AHEAD: Final = 100_000  # of one partition, before it waits for the others


def over_records(
    records: Sequence[PlainRecord], settings: SourceSettings, mappings: MappingSet, wanted: Wanted
) -> list[InputPartition]:
    """Shows ``wanted`` the transactions of captured records. Returns the input partitions, as row changes name them."""
    try:
        for _ in transform(records, settings, mappings, wanted.see):
            if wanted.done:
                break
    except TransactionIncomplete as error:
        if not wanted.found:
            raise Fatal(
                f"the capture ends before what was asked for: {error.message}", error.hint, code="B510"
            ) from error
    log = settings.log
    return sorted({InputPartition(r.topic_name, r.partition_number) for r in records if log in ("", r.topic_name)})


def over_topics(
    reader: Reader, settings: SourceSettings, mappings: MappingSet, wanted: Wanted, tell: Callable[[str], None]
) -> list[InputPartition]:
    """The same from Kafka: the topics from their beginning to their end as it is now. ``tell``: progress, for people."""
    with tempfile.TemporaryDirectory(prefix="bridge-explain-") as directory:
        store = LmdbStore(Path(directory))
        try:
            follow = Follow(reader, tell)
            state = RowState(store, mappings)
            pipeline = Pipeline(settings, mappings, state, list(follow.ends), observe=wanted.see)
            pipeline.start_at(follow.starts, follow.ends)
            for records in follow.records():
                positions = reader.positions()
                pipeline.receive(records, positions)
                while pipeline.wants_ends:
                    pipeline.ends_are(reader.ends())
                taken(pipeline, state)
                while pipeline.is_held:
                    pipeline.receive((), positions)
                    taken(pipeline, state)
                if wanted.done:
                    break
                follow.pace(*pipeline.crowded(_ROWS_AHEAD))
            return pipeline.partitions
        finally:
            store.close()
