"""Step 1, decode: a Kafka record → ``ChangeEvent`` · ``TransactionMarker`` · something that is neither.

Only the columns that a mapping uses are taken out of a row. What a record is, is read from its content (Debezium's
envelope), never from its topic's name, so that one log may carry everything. Records with and without inline schemas
are told apart one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, Literal

import msgspec

from bridge.core.columns import BROKEN, RAW_NULL, TableDecoder, is_clean
from bridge.core.connectors import Connector, Source
from bridge.errors import Undecodable
from bridge.model import UNKNOWN, InboundRecord, InputOffset, Layout, Modes, Row, TranslatedRecord


class TransactionBlock(msgspec.Struct, gc=False):
    id: str
    total_order: int = 0
    data_collection_order: int = 0


class CollectionCount(msgspec.Struct, gc=False):
    data_collection: str
    event_count: int


class Envelope(msgspec.Struct, gc=False):
    """Debezium's change event. A transaction marker has ``status`` and no ``source``, a heartbeat neither.

    ``after`` is Raw, or a Struct of the columns in use.
    """

    before: msgspec.Raw = RAW_NULL
    after: Any = None
    source: Source | None = None
    transaction: TransactionBlock | None = None
    op: str = ""
    status: str = ""
    ts_ms: int | None = None


Read = Callable[[bytes | msgspec.Raw], Envelope]


@cache
def envelope_of(connector: Connector) -> Read:
    """Reads a change event of this connector."""
    fields = [("source", connector.source | None, None), ("after", msgspec.Raw, RAW_NULL)]
    kind: type[Envelope] = msgspec.defstruct("Envelope", fields, bases=(Envelope,), gc=False)  # type: ignore[assignment]
    return msgspec.json.Decoder(kind).decode


@cache
def envelope_of_table(connector: Connector, schema: str, table: str, used: type[msgspec.Struct]) -> Read:
    """Reads a change event of one table in one go, ``after`` as a Struct of the columns in use. Raises for all others."""
    kind = connector.source
    names = dict(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
    only = [
        (field, Literal[value], msgspec.field(name=names[field]))
        for field, value in (("schema", schema), ("table", table))
    ]
    source = msgspec.defstruct("Source", only, bases=(kind,), kw_only=True, gc=False)
    fields = [("source", source), ("after", used | None, None)]
    envelope: type[Envelope] = msgspec.defstruct("Envelope", fields, bases=(Envelope,), kw_only=True, gc=False)  # type: ignore[assignment,arg-type]
    return msgspec.json.Decoder(envelope).decode


class WithSchema(msgspec.Struct, gc=False):
    schema: msgspec.Raw
    payload: msgspec.Raw


class ChangeEvent(msgspec.Struct, gc=False):
    """One row change, or one seed. ``partition`` is an index into the source's input partitions.

    ``op``: ``c`` ``u`` ``d`` ``t`` (truncate), or ``?`` for a record that could not be decoded (``raw`` holds it).
    ``group``: the transaction's identity (see connectors); "" for a seed. ``position``: the row's place in the source log;
    for a seed, the commit position that it is as of. ``partial``: ``after`` holds UNKNOWN where the record does not know.
    ``run`` tells the connector's runs apart.
    """

    table: TableDecoder
    op: str
    row_key: bytes
    after: Row | None
    before: msgspec.Raw | None
    group: str
    position: int
    order: int
    table_order: int
    partition: int
    offset: int
    source: Source
    partial: bool = False
    run: str = ""
    new_key: bytes | None = None
    lacks: tuple[
        str, ...
    ] = ()  # columns in use that ``after`` came without; UNKNOWN there, as what a record does not know
    raw: InboundRecord | None = None


class TransactionMarker(msgspec.Struct, gc=False):
    """BEGIN or END, as Debezium writes it; ``group`` and ``position`` follow from its id (see connectors)."""

    status: str
    id: str
    data_collections: list[CollectionCount] | None = None
    ts_ms: int | None = None
    group: str = ""
    position: int = 0
    offset: int = 0

    @property
    def begin(self) -> bool:
        return self.status == "BEGIN"


_decode_marker = msgspec.json.Decoder(TransactionMarker).decode
_decode_with_schema = msgspec.json.Decoder(WithSchema).decode
_INLINE = b'{"schema":{'
_NO_HEAD = (b"\xff", b"")  # no record begins like this
_OPERATIONS = frozenset("cudrt")
_MARKER = b'{"status":"'
_STATUSES = frozenset(("BEGIN", "END"))
_HEARTBEAT = frozenset(("ts_ms", "ts_us", "ts_ns"))
_FRAMED = b"\x00"  # the first byte of Confluent's framing
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_OF_ENVELOPES = frozenset(("op", "source"))
_ADDED_TO_ROWS = frozenset(("__op", "__deleted", "__table", "__lsn", "__source_ts_ms"))  # by ExtractNewRecordState


class Decode:
    """The step. ``tables`` holds a decoder per mapped table; rows of other tables are of no concern."""

    def __init__(self, layouts: dict[str, Layout], connector: Connector, modes: Modes | None = None) -> None:
        self.connector = connector
        self.tables = {
            name: TableDecoder(layout, number, modes, connector.name)
            for number, (name, layout) in enumerate(sorted(layouts.items()))
        }
        self._decode_envelope = envelope_of(connector)
        self._by_table: dict[str | None, TableDecoder] = {}
        self.has_sparse = False  # whether any row lacked a column that is used
        self.keeps_before = False  # whether images before a change are wanted in any case
        self.signals: TableDecoder | None = None  # the signal table, while rows of it in a snapshot are waited for
        # per partition: what its last inline schema's record began with
        self._heads: dict[int, tuple[bytes, bytes]] = {}
        # per partition: the table that all its rows without an inline schema are of, as long as there is but one
        self._only: dict[int, tuple[TableDecoder, Read] | None] = {}
        self._row_place = connector.row_place
        self._marker_place = connector.marker_place

    def records(self, records: Sequence[InboundRecord], partition: int) -> list[ChangeEvent | TransactionMarker]:
        """What one partition's records, in offset order, say; tombstones, heartbeats and others' rows say nothing.

        Raises Undecodable for a row whose key cannot be read, and for records that are not Debezium's.
        """
        decoded: list[ChangeEvent | TransactionMarker] = []
        run: str | None = None
        last: InboundRecord | None = None  # that gave a change event
        change = self._change
        only = self._only.get(partition)
        for record in records:
            value = record.value()
            if value is None:
                continue  # a tombstone: the delete before it said all
            item: ChangeEvent | TransactionMarker | None
            try:
                if value.startswith(_MARKER):
                    decoded.append(self._marker(value, record))
                    continue
                try:
                    envelope = None if only is None else only[1](value)
                except msgspec.ValidationError:  # it lacks a column, or is another table's
                    envelope = None
                if envelope is None or only is None:
                    item = self._other(value, record, partition)
                    only = self._only.get(partition)
                else:
                    after = None if envelope.after is None else only[0].taken(envelope.after)
                    item = change(only[0], envelope, after, record, partition)
            except BROKEN:
                item = self._garbage(record, partition)
            if item is None:
                continue
            decoded.append(item)
            if isinstance(item, ChangeEvent):
                if run is None:
                    run = run_of(record)
                item.run = run
                last = record
        if last is not None and run_of(last) != run:
            _tell_runs(decoded, records)
        return decoded

    def _other(self, value: bytes, record: InboundRecord, partition: int) -> ChangeEvent | TransactionMarker | None:
        """Whatever it is."""
        if value.startswith(_INLINE):
            return self._with_schema(value, record, partition)
        return self._envelope(self._decode_envelope(value), value, record, partition, None)

    def _with_schema(
        self, value: bytes, record: InboundRecord, partition: int
    ) -> ChangeEvent | TransactionMarker | None:
        """A value with an inline schema. The one before it had the same most times: then its text need not be read again."""
        head, schema = self._heads.get(partition, _NO_HEAD)
        if value.startswith(head) and value.endswith(b"}"):
            payload = value[len(head) : -1]
            try:
                return self._envelope(self._decode_envelope(payload), payload, record, partition, schema)
            except BROKEN:
                pass  # more stands behind the payload: read it whole
        outer = _decode_with_schema(value)
        payload, schema = bytes(outer.payload), bytes(outer.schema)
        self._heads[partition] = b'{"schema":%b,"payload":' % schema, schema
        return self._envelope(self._decode_envelope(payload), payload, record, partition, schema)

    def _envelope(
        self,
        envelope: Envelope,
        value: bytes,
        record: InboundRecord,
        partition: int,
        schema: bytes | None,
    ) -> ChangeEvent | TransactionMarker | None:
        source = envelope.source
        if source is None:
            return self._without_source(envelope, value, record, partition)
        table = self._by_table.get(source.table)
        if table is None or table.schema != source.schema:
            table = self._table_of(source)
            if table is None:
                return None
        if schema is not None:
            table.learn(schema)
        elif source.table is not None and table is not self.signals:
            self._note(table, source.schema, source.table, partition)
        after = None if envelope.after == RAW_NULL else table.row(envelope.after)
        return self._change(table, envelope, after, record, partition)

    def _note(self, table: TableDecoder, schema: str, name: str, partition: int) -> None:
        """A row without an inline schema came: are all of this partition of one table?"""
        if partition not in self._only:
            self._only[partition] = table, envelope_of_table(self.connector, schema, name, table.used)
        elif (known := self._only[partition]) is not None and known[0] is not table:
            self._only[partition] = None

    def _table_of(self, source: Source) -> TableDecoder | None:
        """By the collection's whole name; remembered by the table's name alone where that is enough."""
        name = self.connector.collection(source)
        table = self.tables.get(name)
        if table is None and self.signals is not None and name == self.signals.name:
            return self.signals if source.snapshot == "incremental" else None
        if table is not None:
            table.schema = source.schema
            self._by_table[source.table] = table
        return table

    def _without_source(
        self, envelope: Envelope, value: bytes, record: InboundRecord, partition: int
    ) -> ChangeEvent | TransactionMarker | None:
        if envelope.status in _STATUSES:
            return self._marker(value, record)
        if envelope.ts_ms is not None and members(value) <= _HEARTBEAT:
            return None
        return self._garbage(record, partition)

    def _change(
        self,
        table: TableDecoder,
        envelope: Envelope,
        after: Row | None,
        record: InboundRecord,
        partition: int,
    ) -> ChangeEvent | None:
        op, source = envelope.op, envelope.source
        if op not in _OPERATIONS or source is None:
            return None
        partial = table.sparse
        lacks: tuple[str, ...] = ()
        if partial and after is not None and UNKNOWN in after:
            lacks = tuple(name for name, value in zip(table.layout.columns, after, strict=True) if value is UNKNOWN)
            self.has_sparse = True
        if after is not None and not is_clean(after):
            after = table.without_placeholders(after)
            partial = True
        row_key = record.key() or b""
        if op == "t":
            row_key = b""
        elif row_key[:1] != b"{" or row_key.startswith(_INLINE):
            row_key = key_payload(record.key(), record)
            if not row_key:
                raise _no_key(table, record)
        block = envelope.transaction
        if block is None:
            return self._seed(table, after, source, record, partition, row_key)
        group, position = self._row_place(source, block.id)
        # a Raw holds the whole record in memory, so it is kept only where something may have to be filled in from it
        before = envelope.before if partial or after is None or self.keeps_before else None
        change = ChangeEvent(
            table,
            op,
            row_key,
            after,
            before,
            group,
            position,
            block.total_order,
            block.data_collection_order,
            partition,
            record.offset(),
            source,
            partial,
        )
        if lacks:
            change.lacks = lacks
        if op == "d":
            change.new_key = _new_key(record)
        return change

    def _seed(
        self,
        table: TableDecoder,
        after: Row | None,
        source: Source,
        record: InboundRecord,
        partition: int,
        row_key: bytes,
    ) -> ChangeEvent:
        snapshot = source.snapshot
        if snapshot in ("false", False, None):
            raise Undecodable(
                f"{place_of(record)}: a streamed row of {table.name} has no transaction block",
                "set provide.transaction.metadata=true on the Debezium connector: "
                "without it source transactions cannot be put together",
                code="B203",
            )
        incremental = snapshot == "incremental"
        position = self.connector.predecessor(source) if incremental else self._row_place(source, "")[1]
        return ChangeEvent(table, "r", row_key, after, None, "", position, 0, 0, partition, record.offset(), source)

    def _marker(self, value: bytes, record: InboundRecord) -> TransactionMarker:
        marker = _decode_marker(value)
        marker.group, marker.position = self._marker_place(marker.id)
        marker.offset = record.offset()
        return marker

    def _garbage(self, record: InboundRecord, partition: int) -> ChangeEvent | None:
        """A record that cannot be read: its table is guessed from the topic, as a last resort, and its row from its key."""
        if is_flattened(record):
            raise _flattened(record)
        topic = record.topic()
        table = next((t for name, t in self.tables.items() if topic.endswith("." + name)), None)
        if table is None:
            raise _foreign(record)
        return ChangeEvent(
            table,
            "?",
            key_payload(record.key(), record),
            None,
            None,
            "",
            0,
            0,
            0,
            partition,
            record.offset(),
            Source(),
            raw=record,
        )


def _tell_runs(decoded: Iterable[ChangeEvent | TransactionMarker], records: Iterable[InboundRecord]) -> None:
    """Ask every record. A connector's runs follow each other in a partition, so seldom there are two in one batch."""
    runs = {record.offset(): run_of(record) for record in records}
    for item in decoded:
        if isinstance(item, ChangeEvent):
            item.run = runs[item.offset]


def run_of(record: InboundRecord) -> str:
    """Which run of the connector wrote a row (a header of Debezium 3.5); "" where it does not say."""
    for name, value in record.headers() or ():
        if name == "__debezium.context.runId":
            return (value or b"").decode(errors="replace")
    return ""


def place_of(record: InboundRecord) -> InputOffset:
    return InputOffset(record.topic(), record.partition(), record.offset())


def _new_key(record: InboundRecord) -> bytes | None:
    """The header of a delete that is half of a primary key change (Debezium reference, "Primary key updates")."""
    for name, value in record.headers() or ():
        if name == "__debezium.newkey":
            return key_payload(value, record)
    return None


def key_payload(key: bytes | None, record: InboundRecord) -> bytes:
    """A row's identity: its record key's JSON text, without an inline schema. b"" for a table without a primary key."""
    if key is None:
        return b""
    if key.startswith(_INLINE):
        try:
            return bytes(_decode_with_schema(key).payload)
        except BROKEN as error:
            raise _unreadable_key(record) from error
    if not key.startswith(b"{"):
        raise _unreadable_key(record)
    return key


def members(value: bytes | None) -> frozenset[str]:
    """The names that a JSON object has, without an inline schema around it; of anything else none."""
    try:
        found = _decode_members(value or b"")
        if found.keys() == {"schema", "payload"}:
            found = _decode_members(found["payload"])
    except BROKEN:
        return frozenset()
    return frozenset(found)


def is_flattened(record: InboundRecord) -> bool:
    """Whether a value is a bare row: nothing of an envelope, but what a transform adds to rows, or the columns of its key."""
    found = members(record.value())
    key = members(record.key())
    return bool(found & _ADDED_TO_ROWS) or (bool(key) and key <= found and not found >= _OF_ENVELOPES)


def _flattened(record: InboundRecord) -> Undecodable:
    return Undecodable(
        f"{place_of(record)}: this record is a bare row, without Debezium's envelope (before, after, op, source)",
        "remove the transform of type io.debezium.transforms.ExtractNewRecordState (often named `unwrap`) from the "
        "connector's `transforms`, and let it write its topics anew: what flattened records left out is nowhere else",
        code="B208",
    )


def _foreign(record: InboundRecord) -> Undecodable:
    hint = "the topic holds foreign records, or a transform rewrote them: the bridge needs Debezium's whole envelope"
    if (record.value() or b"").startswith(_FRAMED) and not isinstance(record, TranslatedRecord):
        hint = "it may be Avro or Protobuf of a Schema Registry: say in the config where that is (`registry:`)"
    return Undecodable(
        f"{place_of(record)}: this record is neither a change event, a transaction marker nor a heartbeat of Debezium",
        hint,
    )


def _no_key(table: TableDecoder, record: InboundRecord) -> Undecodable:
    return Undecodable(
        f"{place_of(record)}: a row of {table.name} has no record key, so its changes cannot be told from other rows'",
        "a table without a primary key cannot be mapped: give it one, or name its columns in the connector's "
        "message.key.columns",
        code="B205",
    )


def _unreadable_key(record: InboundRecord) -> Undecodable:
    return Undecodable(
        f"{place_of(record)}: the record key is not a JSON object, so the row it belongs to is not known",
        "use Kafka Connect's JSON converter for keys, or Avro or Protobuf with `registry:` in the config; "
        "skip the record only by an operator's decision",
        code="B204",
    )
