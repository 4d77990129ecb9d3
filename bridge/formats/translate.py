"""The border: what a Schema Registry's framing marks becomes the JSON that the core reads; all else passes as it is.

A value, key or header that is not what its schema says passes as it is too: the core finds it unreadable like any other
garbage, and a dead letter holds the record's own bytes. A row's key is its JSON text alone, the same whatever schema wrote it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bridge.errors import Retriable
from bridge.formats import avro, protobuf
from bridge.formats.codec import Codec, Unreadable, unusable
from bridge.formats.framing import HEAD, is_framed, schema_id
from bridge.formats.registry import Registry
from bridge.model import InboundRecord, InputPartition, Reader, TranslatedRecord


class Formats:
    """Translates records; schemas are compiled once, and remembered as long as this object lives."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._codecs: dict[int, Codec] = {}

    def record(self, record: InboundRecord) -> InboundRecord:
        """Raises Retriable while the registry does not tell a schema, Fatal for a schema that cannot be used."""
        key, value = record.key(), record.value()
        if not is_framed(value) and not is_framed(key):
            return record
        headers = record.headers()
        if headers:
            headers = [(name, self._key(one) if name.startswith("__debezium.") else one) for name, one in headers]
        return TranslatedRecord(
            record.topic(),
            record.partition(),
            record.offset(),
            self._key(key),
            self._value(value),
            headers,
            record.timestamp()[1],
            record,
        )

    def _key(self, data: bytes | None) -> bytes | None:
        if data is None or not is_framed(data):
            return data
        try:
            return self._codec(schema_id(data)).payload(data[HEAD:])
        except Unreadable:
            return data

    def _value(self, data: bytes | None) -> bytes | None:
        if data is None or not is_framed(data):
            return data
        try:
            return self._codec(schema_id(data)).value(data[HEAD:])
        except Unreadable:
            return data

    def _codec(self, number: int) -> Codec:
        codec = self._codecs.get(number)
        if codec is None:
            codec = self._codecs[number] = self._compiled(number)
        return codec

    def _compiled(self, number: int) -> Codec:
        found = self._registry.schema(number)
        if found.kind == "AVRO":
            return avro.compiled(number, found.text, list(found.references.values()))
        if found.kind == "PROTOBUF":
            return protobuf.compiled(number, found.text, found.references)
        hint = "use Kafka Connect's JSON converter, or an Avro or Protobuf converter"
        raise unusable(number, f"it is of type {found.kind}", hint)


class TranslatingReader:
    """A ``Reader`` whose records are translated.

    Where a schema is missing, the records before it are given first, and once nothing, so that they can be committed; then
    Retriable is raised, as for brokers that do not answer. Nothing is skipped and nothing overtakes.
    """

    def __init__(self, reader: Reader, formats: Formats) -> None:
        self._reader = reader
        self._formats = formats
        self._held: list[InboundRecord] = []  # read, and not given yet
        self._may_rest = False

    def read(self, limit: int, seconds: float) -> Sequence[InboundRecord]:
        """See ``Reader.read``."""
        records: Sequence[InboundRecord] = self._held or self._reader.read(limit, seconds)
        self._held = []
        translated: list[InboundRecord] = []
        try:
            for record in records:
                translated.append(self._formats.record(record))  # noqa: PERF401 - what was done before an error counts
        except Retriable:
            self._held = list(records[len(translated) :])
            if not translated and not self._may_rest:
                raise
            self._may_rest = bool(translated)
        return translated

    def positions(self) -> dict[InputPartition, int]:
        """See ``Reader.positions``: what is held was not read."""
        positions = self._reader.positions()
        for record in reversed(self._held):
            positions[InputPartition(record.topic(), record.partition())] = record.offset()
        return positions

    def seek(self, offsets: dict[InputPartition, int]) -> dict[InputPartition, int]:
        self._held = []
        return self._reader.seek(offsets)

    def partitions(self) -> list[InputPartition]:
        return self._reader.partitions()

    def ends(self) -> dict[InputPartition, int]:
        return self._reader.ends()

    def written(self) -> dict[InputPartition, int]:
        return self._reader.written()

    def pause(self, partitions: Iterable[InputPartition]) -> None:
        self._reader.pause(partitions)

    def resume(self, partitions: Iterable[InputPartition]) -> None:
        self._reader.resume(partitions)

    def close(self) -> None:
        self._reader.close()
