"""Captured records → events, without a cluster: the same core as ``bridge run``, the same ids and bytes.

A capture is JSON lines, one Kafka record each: either ``{topic, partition, offset, headers: [[name, text], …], key, value}``
or what ``kcat -J`` prints (``payload`` for the value, headers as one flat list). Bytes that are no text stand as
``{"base64": text}``. Files may be gzipped; ``-`` is standard input.
"""

from __future__ import annotations

import gzip
import re
import sys
from binascii import a2b_base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, cast

import msgspec

from bridge.core.connectors import CONNECTORS, POSTGRESQL, refusal
from bridge.core.pipeline import Observed, Output, Pipeline
from bridge.errors import Fatal
from bridge.model import InboundRecord, InputPartition, MappingSet, Modes, PlainRecord, SourceSettings
from bridge.state.rows import RowState
from bridge.state.store import MemoryStore

BATCH = 10_000
BINARY = "base64"  # {"base64": "…"} stands for bytes that are no text
_WRITTEN_BY = re.compile(rb'"source"\s*:\s*\{[^{}]*?"connector"\s*:\s*"([a-z0-9]+)"')


def read_captures(names: Sequence[str]) -> list[PlainRecord]:
    """All records of the files, in topic, partition and offset order, each once. Raises Fatal with file and line."""
    records: dict[tuple[str, int, int], PlainRecord] = {}
    for name in names:
        try:
            with _open(name) as lines:
                for number, line in enumerate(lines, 1):
                    if line.strip():
                        record = _record(line, name, number)
                        records[record.topic_name, record.partition_number, record.offset_number] = record
        except (OSError, EOFError) as error:
            raise Fatal(f"{name}: the capture cannot be read: {error}", code="B502") from error
    return [records[place] for place in sorted(records)]


def _open(name: str) -> IO[bytes]:
    if name == "-":
        return sys.stdin.buffer
    path = Path(name)
    return cast("IO[bytes]", gzip.open(path, "rb")) if name.endswith(".gz") else path.open("rb")


def _record(line: bytes, name: str, number: int) -> PlainRecord:
    try:
        data = msgspec.json.decode(line)
        value = data["value"] if "value" in data else data["payload"]
        return PlainRecord(
            data["topic"],
            data["partition"],
            data["offset"],
            _bytes(data.get("key")),
            _bytes(value),
            _headers(data.get("headers") or []),
            data.get("timestamp", data.get("ts", 0)),
        )
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise Fatal(
            f"{name}:{number}: not a captured record ({type(error).__name__})",
            "each line is a JSON object with topic, partition, offset, key and value (or payload, as kcat -J prints it)",
            code="B502",
        ) from error


def _bytes(value: Any) -> bytes | None:
    if value is None:
        return None
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict) and value.keys() == {BINARY}:
        return a2b_base64(value[BINARY])
    return msgspec.json.encode(value)


def _headers(headers: list[Any]) -> list[tuple[str, bytes | None]]:
    if headers and isinstance(headers[0], str):
        headers = [headers[i : i + 2] for i in range(0, len(headers), 2)]
    return [(name, _bytes(value)) for name, value in headers]


def marker_topic(records: Iterable[PlainRecord]) -> str:
    """The topic that holds BEGIN and END. Raises Fatal when there is none, or more than one."""
    topics = {r.topic_name for r in records if r.value_bytes and _is_marker(r.value_bytes)}
    if len(topics) == 1:
        return topics.pop()
    found = f"several topics do: {', '.join(sorted(topics))}" if topics else "none does"
    raise Fatal(
        f"one topic of the capture must hold the transactions' BEGIN and END, and {found}",
        "capture the transaction topic (<topic.prefix>.transaction) or the single log beside the tables; "
        "the connector writes it when provide.transaction.metadata=true",
        code="B502",
    )


def _is_marker(value: bytes) -> bool:
    return b'"status":"BEGIN"' in value or b'"status":"END"' in value or b'"status": "END"' in value


def _connector(records: Iterable[PlainRecord]) -> str:
    """Which connector wrote the records, as their rows say. Raises Fatal for one that the bridge does not know."""
    for record in records:
        found = _WRITTEN_BY.search(record.value_bytes or b"")
        if found is not None:
            name = found[1].decode()
            if name not in CONNECTORS:
                raise Fatal(refusal(name), "capture from another connector", code="B502")
            return name
    return POSTGRESQL.name


def settings_for(
    records: Sequence[PlainRecord], source: str, dead_letter_topic: str, modes: Modes | None = None
) -> SourceSettings:
    """Single-log mode when rows and markers share a topic, else one topic per table."""
    markers = marker_topic(records)
    is_log = any(r.topic_name == markers and r.value_bytes and b'"op":' in r.value_bytes for r in records)
    topics = tuple(sorted({r.topic_name for r in records} - {markers}))
    return SourceSettings(
        name=source,
        connector=_connector(records),
        topics=() if is_log else topics,
        transaction_topic="" if is_log else markers,
        log=markers if is_log else "",
        modes=modes or Modes(),
        dead_letter_topic=dead_letter_topic,
    )


def transform(
    records: Sequence[PlainRecord],
    settings: SourceSettings,
    mappings: MappingSet,
    observe: Callable[[Observed], None] | None = None,
) -> Iterator[Output]:
    """What ``bridge run`` would publish for these records; ``observe``: see ``Pipeline``.

    Raises TransactionIncomplete when the last ones lack rows.
    """
    if settings.log:
        records = [record for record in records if record.topic_name == settings.log]
    state = RowState(MemoryStore(), mappings)
    ends = {InputPartition(r.topic_name, r.partition_number): r.offset_number + 1 for r in records}
    pipeline = Pipeline(settings, mappings, state, list(ends), observe=observe)
    positions = dict.fromkeys(ends, 0)
    for start in range(0, len(records), BATCH):
        batch: list[InboundRecord] = list(records[start : start + BATCH])
        for record in batch:
            positions[InputPartition(record.topic(), record.partition())] = record.offset() + 1
        pipeline.receive(batch, positions)
        while pipeline.wants_ends:
            pipeline.ends_are(ends)
        yield taken(pipeline, state)
        while pipeline.is_held:
            pipeline.receive((), positions)
            yield taken(pipeline, state)
    waiting = pipeline.waiting()
    if waiting is not None:
        raise pipeline.incomplete(waiting)


def taken(pipeline: Pipeline, state: RowState) -> Output:
    """What is whole, with the state it leaves behind: one Kafka transaction of a bridge that publishes nowhere."""
    output = pipeline.take()
    state.committed(b"")
    return output
