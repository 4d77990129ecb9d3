"""The bytes that Debezium 3.5 with the JSON converter sends, with and without inline schemas."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import msgspec

from tests.sim.database import Change, Key, Row, Seed, Table, Transaction

Headers = list[tuple[str, bytes | None]]
Sent = tuple[bytes | None, bytes | None, Headers]
UNAVAILABLE = "__debezium_unavailable_value"

encode = msgspec.json.encode


class Wire:
    """Makes records of one connector. ``inline``: every record carries its schema."""

    connector = b"postgresql"

    def __init__(self, prefix: str, *, inline: bool = False) -> None:
        self.prefix = prefix
        self.inline = inline
        self.context: Headers = []
        self._schemas: dict[str, bytes] = {}
        self.start_run(0)

    def start_run(self, number: int) -> None:
        """A connector that starts anew has another run id."""
        self.context = [
            ("__debezium.context.connectorLogicalName", self.prefix.encode()),
            ("__debezium.context.taskId", b"0"),
            ("__debezium.context.connectorName", self.connector),
            ("__debezium.context.runId", b"01a20756-85c3-74f1-8d3f-%012x" % number),
        ]

    # Rows

    def row(self, change: Change, transaction: Transaction, order: tuple[int, int], before_commit: int | None) -> Sent:
        """``order``: total_order and data_collection_order; ``before_commit``: the preceding commit position."""
        first = "null" if before_commit is None else f'\\"{before_commit}\\"'
        source = self._source(
            change.table, transaction.ts_ms, "false", f'[{first},\\"{change.lsn}\\"]', transaction.xid, change.lsn
        )
        block = f'{{"id":"{transaction.xid}:{change.lsn}","total_order":{order[0]},"data_collection_order":{order[1]}}}'
        if change.op == "m":
            return self._message(change, source, block, transaction.ts_ms)
        before, after = self._images(change)
        value = self._envelope(before, after, source, block, change.op, transaction.ts_ms)
        return self._key(change.table, change.key()), self._wrap(change.table, value), self._headers(change)

    def tombstone(self, change: Change) -> Sent:
        return self._key(change.table, change.key()), None, self._headers(change)

    def seed(self, seed: Seed, snapshot: str, ts_ms: int, sequence: int, xid: int | None) -> Sent:
        """A snapshot row. Incremental ones have neither transaction nor LSN, but the last commit position twice."""
        incremental = snapshot == "incremental"
        text = f'[\\"{sequence}\\",\\"{sequence}\\"]' if incremental else f'[null,\\"{sequence}\\"]'
        source = self._source(seed.table, ts_ms, snapshot, text, xid, None if incremental else sequence)
        value = self._envelope(b"null", encode(seed.row), source, "null", "r", ts_ms)
        return self._key(seed.table, seed.table.key_of(seed.row)), self._wrap(seed.table, value), self.context

    def _images(self, change: Change) -> tuple[bytes, bytes]:
        before, after = change.before, change.after
        if before is not None and not change.table.full:
            before = self._key_only(change.table, before) if change.op == "d" else None
        if after is not None and change.unchanged_toast:
            after = after | dict.fromkeys(change.unchanged_toast, UNAVAILABLE)
        return encode(before), encode(after)

    @staticmethod
    def _key_only(table: Table, row: Row) -> Row:
        return {c.name: row[c.name] if c.name in table.key else c.placeholder() for c in table.columns}

    def _headers(self, change: Change) -> Headers:
        if change.other_key is None:
            return self.context
        name = "__debezium.newkey" if change.op == "d" else "__debezium.oldkey"
        return [(name, self._key(change.table, change.other_key)), *self.context]

    def _source(self, table: Table, ts_ms: int, snapshot: str, sequence: str, xid: int | None, lsn: int | None) -> str:
        schema, _, name = table.name.partition(".")
        return (
            f'{{"version":"3.5.0.Final","connector":"postgresql","name":"{self.prefix}","ts_ms":{ts_ms},'
            f'"snapshot":"{snapshot}","db":"shop","sequence":"{sequence}","ts_us":{ts_ms}097,"ts_ns":{ts_ms}097000,'
            f'"schema":"{schema}","table":"{name}","txId":{_json(xid)},"lsn":{_json(lsn)},'
            '"xmin":null,"origin":null,"origin_lsn":null}'
        )

    @staticmethod
    def _envelope(before: bytes, after: bytes, source: str, block: str, op: str, ts_ms: int) -> bytes:
        now = ts_ms + 300
        return b'{"before":%b,"after":%b,"source":%b,"transaction":%b,"op":"%b","ts_ms":%d,"ts_us":%d,"ts_ns":%d}' % (
            before,
            after,
            source.encode(),
            block.encode(),
            op.encode(),
            now,
            now * 1000,
            now * 1_000_000,
        )

    def _message(self, change: Change, source: str, block: str, ts_ms: int) -> Sent:
        assert change.message is not None
        prefix, content = change.message
        text = b64encode(content.encode()).decode()
        value = (
            f'{{"op":"m","ts_ms":{ts_ms + 300},"source":{source},"transaction":{block},'
            f'"message":{{"prefix":"{prefix}","content":"{text}"}}}}'
        ).encode()
        return self._plain({"prefix": prefix}), self._wrap_plain("message", value), []

    def loose_message(self, ts_ms: int, last_commit: int | None, lsn: int) -> Sent:
        """A logical message outside of any transaction."""
        first = "null" if last_commit is None else f'\\"{last_commit}\\"'
        source = self._source(Table("", (), ()), ts_ms, "false", f'[{first},\\"{lsn}\\"]', None, lsn)
        change = Change(Table("", (), ()), "m", None, None, message=("app", "loose"))
        return self._message(change, source, "null", ts_ms)

    # Markers

    def begin(self, transaction: Transaction) -> Sent:
        identity = f"{transaction.xid}:{transaction.begin_lsn}"
        value = (
            f'{{"status":"BEGIN","id":"{identity}","event_count":null,"data_collections":null,'
            f'"ts_ms":{transaction.ts_ms}}}'
        ).encode()
        return self._plain({"id": identity}), self._wrap_plain("transaction", value), []

    def end(self, transaction: Transaction, counts: dict[str, int]) -> Sent:
        identity = self.end_id(transaction)
        collections = ",".join(f'{{"data_collection":"{name}","event_count":{n}}}' for name, n in counts.items())
        value = (
            f'{{"status":"END","id":"{identity}","event_count":{sum(counts.values())},'
            f'"data_collections":[{collections}],"ts_ms":{transaction.ts_ms}}}'
        ).encode()
        return self._plain({"id": identity}), self._wrap_plain("transaction", value), []

    def end_id(self, transaction: Transaction) -> str:
        return f"{transaction.xid}:{transaction.end_lsn}"

    def heartbeat(self, ts_ms: int) -> Sent:
        return self._plain({"serverName": self.prefix}), self._wrap_plain("heartbeat", b'{"ts_ms":%d}' % ts_ms), []

    # Keys and schemas

    def _key(self, table: Table, key: Key | None) -> bytes | None:
        if key is None:
            return None
        payload = encode(dict(zip(table.key, key, strict=True)))
        if not self.inline:
            return payload
        name = f"key {table.name}"
        if name not in self._schemas:
            fields = [_field(column) for column in table.columns if column.name in table.key]
            self._schemas[name] = encode(
                {"type": "struct", "fields": fields, "optional": False, "name": f"{self.prefix}.{table.name}.Key"}
            )
        return b'{"schema":%b,"payload":%b}' % (self._schemas[name], payload)

    def _wrap(self, table: Table, value: bytes) -> bytes:
        if not self.inline:
            return value
        if table.name not in self._schemas:
            self._schemas[table.name] = encode(self._envelope_schema(table))
        return b'{"schema":%b,"payload":%b}' % (self._schemas[table.name], value)

    def _envelope_schema(self, table: Table) -> dict[str, Any]:
        name = f"{self.prefix}.{table.name}"
        fields = [_field(column) for column in table.columns]
        row = {"type": "struct", "fields": fields, "optional": True, "name": f"{name}.Value"}
        source = {"type": "struct", "fields": [], "optional": False, "name": "io.debezium.connector.postgresql.Source"}
        block = {"type": "struct", "fields": [], "optional": True, "name": "event.block", "version": 1}
        return {
            "type": "struct",
            "fields": [
                row | {"field": "before"},
                row | {"field": "after"},
                source | {"field": "source"},
                block | {"field": "transaction"},
                {"type": "string", "optional": False, "field": "op"},
                {"type": "int64", "optional": True, "field": "ts_ms"},
                {"type": "int64", "optional": True, "field": "ts_us"},
                {"type": "int64", "optional": True, "field": "ts_ns"},
            ],
            "optional": False,
            "name": f"{name}.Envelope",
            "version": 2,
        }

    def _plain(self, payload: Row) -> bytes:
        return self._wrap_plain("plain", encode(payload))

    def _wrap_plain(self, name: str, value: bytes) -> bytes:
        if not self.inline:
            return value
        schema = b'{"type":"struct","fields":[],"optional":false,"name":"%b"}' % name.encode()
        return b'{"schema":%b,"payload":%b}' % (schema, value)


def _field(column: Any) -> dict[str, Any]:
    field = {"type": "int64" if column.kind == "int" else "string", "optional": column.nullable}
    if column.default is not None:
        field["default"] = column.default
    return field | {"field": column.name}


def _json(value: int | None) -> str:
    return "null" if value is None else str(value)
