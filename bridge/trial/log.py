"""What a connector sent, in topics and partitions, with offsets: the input of one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from zlib import crc32

import msgspec

from bridge.model import InputPartition, PlainRecord, SourceSettings
from bridge.trial.stream import Sent

DEAD_LETTERS: Final = "\x00dead letters"  # no topic can have this name
_PREFIX: Final = "test"
_FOUND_AT_ONCE: Final = 2  # so that what a snapshot found is told in parts, with commits and crashes in between
_RUN_ID: Final = "__debezium.context.runId"


@dataclass(frozen=True, slots=True)
class Shape:
    """``partitions`` of each table's topic; 0: a single log. ``again``: the transaction (from 1) before whose repeat the
    connector dies, and the one from which it sends everything again; None where it lives.
    """

    partitions: int = 1
    again: tuple[int, int] | None = None

    def __str__(self) -> str:
        where = f"topics of {self.partitions} partition(s)" if self.partitions else "a single log"
        if self.again is None:
            return where
        return f"{where}, the connector died after transaction {self.again[0]} and began again at {self.again[1]}"


@dataclass(slots=True)
class Log:
    """``queues``: each partition's records, in the order of ``partitions``; ``seeds``: how many of them are the snapshot's."""

    settings: SourceSettings
    partitions: list[InputPartition]
    queues: list[list[PlainRecord]]
    seeds: list[int]
    arrival: list[int] = field(default_factory=list)  # partition numbers, in the order in which records were sent
    labels: list[list[str]] = field(default_factory=list)

    @property
    def ends(self) -> list[int]:
        return [len(queue) for queue in self.queues]


def settings_of(source: str, tables: Sequence[str], shape: Shape) -> SourceSettings:
    """A source whose dead letters never stop it: a test says which are expected."""
    log = "" if shape.partitions else f"{_PREFIX}.log"
    return SourceSettings(
        name=source,
        connector="postgresql",
        topics=() if log else tuple(f"{_PREFIX}.{table}" for table in tables),
        transaction_topic="" if log else f"{_PREFIX}.transaction",
        log=log,
        dead_letter_topic=DEAD_LETTERS,
        max_share=1.0,
        found_at_once=_FOUND_AT_ONCE,
    )


def log_of(sent: Sequence[Sent], source: str, tables: Sequence[str], shape: Shape) -> Log:
    """Lay out what was sent. ``tables``: those whose topics are read; partitions that stay empty are left out."""
    settings = settings_of(source, tables, shape)
    laid = [(_partition(one, settings, shape), one, run) for one, run in _runs(sent, shape)]
    markers = InputPartition(settings.log or settings.transaction_topic, 0)
    known = {*settings.topics, markers.topic}
    partitions = sorted({partition for partition, _, _ in laid if partition.topic in known} | {markers})
    log = Log(settings, partitions, [[] for _ in partitions], [0] * len(partitions))
    log.labels = [[] for _ in partitions]
    numbers = {partition: number for number, partition in enumerate(partitions)}
    for partition, one, run in laid:
        if partition in numbers:
            _append(log, numbers[partition], one, run)
    return log


def _runs(sent: Sequence[Sent], shape: Shape) -> list[tuple[Sent, int]]:
    """What is sent by the connector's first run, and by the one after its death."""
    if shape.again is None:
        return [(one, 1) for one in sent]
    died, again = shape.again
    first = [(one, 1) for one in sent if one.transaction <= died]
    return first + [(one, 2) for one in sent if one.transaction >= again]


def _partition(one: Sent, settings: SourceSettings, shape: Shape) -> InputPartition:
    if settings.log:
        return InputPartition(settings.log, 0)
    if not one.table:
        return InputPartition(settings.transaction_topic, 0)
    return InputPartition(f"{_PREFIX}.{one.table}", crc32(one.key or b"") % shape.partitions)


def _append(log: Log, number: int, one: Sent, run: int) -> None:
    topic, partition = log.partitions[number]
    headers: list[tuple[str, bytes | None]] = [*one.headers, (_RUN_ID, b"%d" % run)]
    queue = log.queues[number]
    queue.append(PlainRecord(topic, partition, len(queue), one.key, one.value, headers))
    log.arrival.append(number)
    log.labels[number].append(one.label + (" again" if run > 1 else ""))
    if one.table and one.transaction == 0:
        log.seeds[number] += 1


def log_of_capture(records: Sequence[PlainRecord], settings: SourceSettings) -> Log:
    """Captured records, all of which are in the topics before the core begins. Offsets are counted anew from 0."""
    if settings.log:
        records = [record for record in records if record.topic_name == settings.log]
    partitions = sorted({InputPartition(one.topic_name, one.partition_number) for one in records})
    log = Log(settings, partitions, [[] for _ in partitions], [])
    log.labels = [[] for _ in partitions]
    numbers = {partition: number for number, partition in enumerate(partitions)}
    for one in records:
        number = numbers[InputPartition(one.topic_name, one.partition_number)]
        queue = log.queues[number]
        log.labels[number].append(f"{one.topic_name}-{one.partition_number}@{one.offset_number}")
        queue.append(msgspec.structs.replace(one, offset_number=len(queue)))
        log.arrival.append(number)
    log.seeds = log.ends
    return log
