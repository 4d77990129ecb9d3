"""One database, written as JSON, JSON with schemas, Avro and Protobuf: the same events, byte for byte.

Three Debezium connectors capture the same tables, the third with a live Avro converter and a real Schema Registry. No
Protobuf converter is published where this project takes its servers from, so its topics are made here from the JSON ones,
after the layout that Confluent's converter documents, with schemas in the same registry.
"""

from __future__ import annotations

import base64
import json
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from bridge.formats import protobuf
from bridge.formats.registry import HttpRegistry, RegistrySettings
from bridge.formats.translate import Formats
from bridge.model import PlainRecord
from deploy.stack import Stack
from deploy.stack.process import wait_until
from deploy.stack.registry import request
from tests.integration.seen import Application, Bridge, Outsider, Record, run_command, visible, wait_for_offsets

pytestmark = [pytest.mark.stack, pytest.mark.slow]

SECONDS = 90
TABLES = ["public.item", "public.item_line"]
SCHEMA = """
CREATE TABLE item (
  id bigint, code char(4), amount numeric(12,2) NOT NULL DEFAULT 1.50, free numeric, ok boolean, note text, doc text,
  maybe text DEFAULT 'm', day date, at timestamp, zoned timestamptz, PRIMARY KEY (id, code));
CREATE TABLE item_line (item_id bigint, line_no int, qty smallint, price numeric(10,4), PRIMARY KEY (item_id, line_no));
"""
CATALOG = """
tables:
  public.item:
    columns:
      {id: bigint, code: char(4), amount: "numeric(12,2)", free: numeric, ok: boolean, note: text, doc: text,
       day: date, at: timestamp without time zone, zoned: timestamp with time zone, extra: text}
  public.item_line:
    columns: {item_id: bigint, line_no: integer, qty: smallint, price: "numeric(10,4)"}
"""
MAPPING = """
aggregate: Item
source: legacy
key: i.id
tables:
  i:
    table: public.item
    columns: {code: trim}
  lines:
    table: public.item_line
    many: true
    match: {item_id: i.id}
model:
  itemId: string = i.id
  code: string = i.code
  amount: decimal(12,2) = i.amount
  free: decimal(12,4)? = i.free
  ok: bool? = i.ok
  note: string? = i.note
  doc: string? = i.doc
  day: date? = i.day
  at:
    type: timestamp?
    from: i.at
    zone: UTC
  zoned: timestamp? = i.zoned
  lines:
    each: lines
    order_by: line_no
    fields:
      quantity: int = qty
      price: decimal(10,4) = price
events:
  ItemCreated:
    topic: {topic}
    when: created()
    data: [itemId, code, amount, free, ok, note, doc, day, at, zoned, lines]
  ItemChanged:
    topic: {topic}
    when: not created() and not deleted()
    data: [itemId, code, amount, free, ok, note, doc, day, at, zoned, lines]
  ItemDeleted:
    topic: {topic}
    when: deleted()
    data: [itemId]
"""
LONG = random.Random(5).randbytes(6000).hex()  # does not compress below TOAST's threshold
ROW = f"(1, 'ab', 12.34, 5.678, false, 'h', '{LONG}', 'x', '2026-01-05', '2026-01-05 10:00:00.123456', '2026-01-05 10:00:00+01')"
WORK = [
    ["INSERT INTO item VALUES " + ROW],  # noqa: S608 - our own text
    ["UPDATE item SET note = 'unchanged doc' WHERE id = 1"],
    ["INSERT INTO item (id, code, maybe) VALUES (2, 'cd', NULL)"],
    [
        "INSERT INTO item (id, code, amount, maybe) VALUES (4, 'ef', 0, 'z'), (5, 'ä\"\t', -0.01, 'z')",
        "INSERT INTO item_line VALUES (4, 1, 0, 1.5), (4, 2, NULL, 0.0001), (5, 1, 7, -3)".replace("NULL", "2"),
    ],
    ["ALTER TABLE item ADD COLUMN extra text DEFAULT 'e'"],
    ["UPDATE item SET amount = 0.01, doc = NULL WHERE id = 1"],
    ["UPDATE item SET id = 3 WHERE id = 2"],
    ["DELETE FROM item_line WHERE item_id = 4 AND line_no = 1", "UPDATE item SET ok = true WHERE id = 4"],
    ["DELETE FROM item WHERE id = 3"],
]
EVENTS = 9  # of that work


class Proxy:
    """A way to the registry that a test can close."""

    def __init__(self, url: str) -> None:
        self.is_open = True
        proxy = self
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = 503, b"{}"
                if proxy.is_open:
                    try:
                        with direct.open(url + self.path, timeout=20) as answer:
                            status, body = answer.status, answer.read()
                    except urllib.error.HTTPError as error:
                        status, body = error.code, error.read()
                        error.close()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Store:
    """The database, its topics in every format, and bridges on them."""

    def __init__(self, stack: Stack, home: Path) -> None:
        self.stack = stack
        self.home = home
        self.proxy = Proxy(stack.registry_url)
        self.catalog = home / "catalog.yaml"
        self.catalog.write_text(CATALOG)

    def open(self) -> None:
        self.sql([SCHEMA])
        stack = self.stack
        stack.register("plain", stack.debezium_postgres("plain", TABLES))
        stack.register("inline", stack.debezium_postgres("inline", TABLES, schemas=True))
        stack.register("avro", stack.debezium_postgres("avro", TABLES) | stack.avro_converters())
        for connector in ("plain", "inline", "avro"):
            wait_for_offsets(stack, connector)
        for statements in WORK:
            self.sql(statements)
        client = AdminClient({"bootstrap.servers": stack.bootstrap})
        wanted = {f"{prefix}.{topic}" for prefix in ("plain", "inline", "avro") for topic in (*TABLES, "transaction")}
        assert wait_until(lambda: wanted <= client.list_topics(timeout=10).topics.keys(), SECONDS)

    def sql(self, statements: list[str]) -> None:
        """One transaction."""
        with psycopg.connect(**self.stack.postgres) as connection:  # type: ignore[arg-type]
            for statement in statements:
                connection.execute(statement)

    @contextmanager
    def application(self, name: str, prefix: str) -> Iterator[Application]:
        inputs = {
            "topics": [f"{prefix}.{table}" for table in TABLES],
            "transaction_topic": f"{prefix}.transaction",
            "catalog": str(self.catalog),
        }
        made = Application(self.stack.bootstrap, self.home, name, inputs, registry={"url": self.proxy.url})
        for path in made.mappings.iterdir():
            path.unlink()
        (made.mappings / "item.yaml").write_text(MAPPING.replace("{topic}", made.events))
        made.make_topics()
        try:
            yield made
        finally:
            made.close()

    def close(self) -> None:
        self.proxy.close()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    home = tmp_path_factory.mktemp("formats")
    services = ("postgres", "kafka", "connect", "registry")
    with Stack(home / "stack", services=services, progress=lambda _: None) as stack:
        store = Store(stack, home)
        try:
            store.open()
            yield store
        finally:
            store.close()


def await_records(bridge: Bridge, outsider: Outsider, count: int) -> list[Record]:
    """So many records and none beyond, in the order of their partitions."""
    until = time.monotonic() + SECONDS
    while len(outsider.records) < count:
        outsider.look(0.2)
        assert bridge.alive(), bridge.tail()
        assert time.monotonic() < until, f"{len(outsider.records)} of {count}\n{bridge.tail()}"
    outsider.look(0.5)
    assert len(outsider.records) == count
    return sorted(outsider.records, key=lambda record: (record.partition, record.offset))


def events(store: Store, name: str, prefix: str) -> list[tuple[Any, ...]]:
    """What a bridge publishes of one format's topics; nothing of it is a dead letter."""
    with store.application(name, prefix) as application:
        bridge = application.start()
        with Outsider(store.stack.bootstrap, [application.events]) as outsider:
            found = await_records(bridge, outsider, EVENTS)
        bridge.stop()
        assert visible(store.stack.bootstrap, application.dead_letters) == []
        return [(one.partition, one.key, one.value, one.headers) for one in found]


# -- Protobuf, as Confluent's converter lays it out -----------------------------------------------------------------------

HEAD = 'syntax = "proto3";\npackage {package};\n'
IMPORTS = 'import "confluent/type/decimal.proto";\n'
OF_SOURCE = """
  message Source {
    string version = 1; string connector = 2; string name = 3; int64 ts_ms = 4; optional string snapshot = 5; string db = 6;
    optional string sequence = 7; optional int64 ts_us = 8; optional int64 ts_ns = 9; string schema = 10; string table = 11;
    optional int64 txId = 12; optional int64 lsn = 13; optional int64 xmin = 14;
  }
  message block { string id = 1; int64 total_order = 2; int64 data_collection_order = 3; }
"""
ENVELOPE = """message Envelope {
  optional Value before = 1; optional Value after = 2; Source source = 3; optional block transaction = 4; string op = 5;
  optional int64 ts_ms = 6; optional int64 ts_us = 7; optional int64 ts_ns = 8;
  message Value { {columns} }
"""
VARIABLE = "message VariableScaleDecimal { int32 scale = 1; bytes value = 2; }"
ITEM = (
    "int64 id = 1; string code = 2; confluent.type.Decimal amount = 3; optional VariableScaleDecimal free = 4; "
    "optional bool ok = 5; optional string note = 6; optional string doc = 7; optional string maybe = 8; "
    f"optional int32 day = 9; optional int64 at = 10; optional string zoned = 11; {VARIABLE}"
)
LINE = "int64 item_id = 1; int32 line_no = 2; optional int32 qty = 3; optional confluent.type.Decimal price = 4;"
MARKER = """message TransactionMetadataValue {
  string status = 1; string id = 2; optional int64 event_count = 3; repeated collection data_collections = 4; int64 ts_ms = 5;
  message collection { string data_collection = 1; int64 event_count = 2; }
}
"""


def table_schema(package: str, columns: str) -> str:
    envelope = ENVELOPE.replace("{columns}", columns) + OF_SOURCE + "}\n"
    return HEAD.replace("{package}", package) + IMPORTS + envelope


class ProtobufTopic:
    """Writes JSON payloads of one subject as Protobuf."""

    def __init__(self, stack: Stack, subject: str, text: str, message: str) -> None:
        body = {"schemaType": "PROTOBUF", "schema": text}
        url = f"{stack.registry_url}/subjects/{subject}/versions"
        self._head = b"\x00" + int(request(url, body)["id"]).to_bytes(4, "big") + b"\x00"
        pool = DescriptorPool()
        for file in protobuf._descriptors(0, text, {}).file:
            pool.Add(file)
        self._kind: Any = GetMessageClass(pool.FindMessageTypeByName(message))

    def framed(self, data: dict[str, Any]) -> bytes:
        made = self._kind()
        fill(made, data)
        return bytes(self._head + made.SerializeToString())


def fill(message: Any, data: dict[str, Any]) -> None:
    """A message's fields from JSON, with decimals as the converter has them; null stays unset."""
    for field in message.DESCRIPTOR.fields:
        value = data.get(field.name)
        if value is None:
            continue
        if field.message_type is None:
            setattr(message, field.name, base64.b64decode(value) if field.type == field.TYPE_BYTES else value)
        elif field.is_repeated:
            for one in value:
                fill(getattr(message, field.name).add(), one)
        elif field.message_type.full_name == "confluent.type.Decimal":
            getattr(message, field.name).value = base64.b64decode(value)
            getattr(message, field.name).scale = 2
        else:
            getattr(message, field.name).SetInParent()
            fill(getattr(message, field.name), value)


def write_protobuf(store: Store) -> None:
    """The plain connector's topics, record for record, as Protobuf; the added column comes with a schema of its own."""
    stack = store.stack
    keys = {
        "public.item": "int64 id = 1; string code = 2;",
        "public.item_line": "int64 item_id = 1; int32 line_no = 2;",
    }
    old = {"public.item": ITEM, "public.item_line": LINE}
    topics = {f"proto.{table}": 3 for table in TABLES} | {"proto.transaction": 1}
    client = AdminClient({"bootstrap.servers": stack.bootstrap})
    for future in client.create_topics([NewTopic(name, count, 1) for name, count in topics.items()]).values():
        future.result()
    producer = Producer({"bootstrap.servers": stack.bootstrap, "enable.idempotence": True})
    for table in TABLES:
        package = f"proto.{table}"
        key = ProtobufTopic(
            stack,
            f"{package}-key",
            HEAD.replace("{package}", package) + f"message Key {{ {keys[table]} }}\n",
            f"{package}.Key",
        )
        values = [
            ProtobufTopic(stack, f"{package}-value", table_schema(package, columns), f"{package}.Envelope")
            for columns in (old[table], old[table] + " optional string extra = 12;")
        ]
        for record in visible(stack.bootstrap, f"plain.{table}"):
            data = json.loads(record.value) if record.value else None
            value = None if data is None else values["extra" in (data["after"] or data["before"])].framed(data)
            framed = key.framed(json.loads(record.key or b"{}"))
            producer.produce(f"proto.{table}", value, framed, partition=record.partition, headers=list(record.headers))
    text = HEAD.replace("{package}", "proto") + MARKER
    marker = ProtobufTopic(stack, "proto.transaction-value", text, "proto.TransactionMetadataValue")
    for record in visible(stack.bootstrap, "plain.transaction"):
        producer.produce("proto.transaction", marker.framed(json.loads(record.value or b"{}")), record.key, partition=0)
    producer.flush(30)


# -- tests -----------------------------------------------------------------------------------------------------------------


def test_every_format_gives_the_same_events(store: Store) -> None:
    """TOAST, decimals, dates, moments, nulls, a key change, and a column that was added in mid-stream."""
    assert any(
        b"unavailable_value" in (one.value or b"") for one in visible(store.stack.bootstrap, "plain.public.item")
    )
    plain = events(store, "plain_app", "plain")
    assert [json.loads(value)["itemId"] for _, key, value, _ in plain if key == b"1"] == ["1"] * 3
    (_, _, changed, _) = [one for one in plain if one[1] == b"1"][1]
    assert json.loads(changed) == {
        "itemId": "1",
        "code": "ab",
        "amount": "12.34",
        "free": "5.6780",
        "ok": False,
        "note": "unchanged doc",
        "doc": LONG,
        "day": date(2026, 1, 5).isoformat(),
        "at": "2026-01-05T10:00:00.123456Z",
        "zoned": "2026-01-05T09:00:00.000000Z",
        "lines": [],
    }
    assert events(store, "inline_app", "inline") == plain
    assert events(store, "avro_app", "avro") == plain
    write_protobuf(store)
    assert events(store, "proto_app", "proto") == plain


def test_null_in_a_column_with_a_default(store: Store) -> None:
    """JSON keeps it; this Avro converter writes the default instead, which the pages say."""
    formats = Formats(HttpRegistry(RegistrySettings(store.stack.registry_url)))

    def seen(prefix: str) -> list[Any]:
        rows = []
        for one in visible(store.stack.bootstrap, f"{prefix}.public.item"):
            record = formats.record(PlainRecord(one.topic, one.partition, one.offset, one.key, one.value or None))
            data = json.loads(record.value() or b"{}")
            rows.append((data.get("payload", data).get("after") or {}).get("maybe", ""))
        return rows

    assert None in seen("plain")
    assert None in seen("inline")
    assert None not in seen("avro")
    assert "m" in seen("avro")


def test_a_capture_of_avro_is_replayed_without_a_registry(store: Store) -> None:
    with store.application("captured", "avro") as application:
        path = application.home / "captured.jsonl.gz"
        config = ("--config", str(application.config))
        done = run_command("capture", *config, "--source", "legacy", "--output", str(path))
        assert done.returncode == 0, done.stderr
        mappings = ("--mappings", str(application.mappings), "--source", "legacy")
        store.proxy.is_open = False
        try:
            told = run_command("transform", str(path), *mappings)
            explained = run_command(
                "explain", str(path), *mappings, "--event", json.loads(told.stdout.splitlines()[0])["id"]
            )
        finally:
            store.proxy.is_open = True
        assert told.returncode == 0, told.stderr
        assert len(told.stdout.splitlines()) == EVENTS
        assert explained.returncode == 0, explained.stderr
        assert b"ItemCreated" in explained.stdout


def test_a_registry_that_is_away_is_waited_for_and_a_torn_record_is_a_dead_letter(store: Store) -> None:
    """A new schema while the registry does not answer: what came before is published, the rest waits, in order."""
    with store.application("away", "avro") as application:
        bridge = application.start()
        with Outsider(store.stack.bootstrap, [application.events]) as outsider:
            await_records(bridge, outsider, EVENTS)
            store.proxy.is_open = False
            store.sql(["UPDATE item SET note = 'before' WHERE id = 4"])
            store.sql(["ALTER TABLE item ADD COLUMN late text"])
            store.sql(["UPDATE item SET note = 'after', late = 'l' WHERE id = 4"])
            await_records(bridge, outsider, EVENTS + 1)
            waiting = lambda: any(line.get("code") == "B441" for line in bridge.log())  # noqa: E731
            bridge.wait_until(waiting, "it did not wait for the registry", SECONDS)
            store.proxy.is_open = True
            await_records(bridge, outsider, EVENTS + 2)
            notes = [json.loads(one.value or b"{}").get("note") for one in outsider.records if one.key == b"4"]
            assert notes[-2:] == ["before", "after"]
            whole = [
                one for one in visible(store.stack.bootstrap, "avro.public.item") if b"after" in (one.value or b"")
            ][-1]
            torn = (whole.value or b"")[:-3]
            producer = Producer({"bootstrap.servers": store.stack.bootstrap})
            producer.produce(whole.topic, torn, whole.key, partition=whole.partition)
            producer.flush(30)
            store.sql(["UPDATE item SET note = 'last' WHERE id = 4"])
            await_records(bridge, outsider, EVENTS + 3)
        bridge.stop()
        (letter,) = visible(store.stack.bootstrap, application.dead_letters)
        assert (letter.key, letter.value, letter.header("bridge_code")) == (whole.key, torn, "B201")


def test_flattened_records_name_the_transform(store: Store) -> None:
    """A real ExtractNewRecordState: `run` stops with the error that says what to remove."""
    stack = store.stack
    config = stack.debezium_postgres("flat", TABLES) | {
        "transforms": "unwrap",
        "transforms.unwrap.type": "io.debezium.transforms.ExtractNewRecordState",
    }
    stack.register("flat", config)
    wait_for_offsets(stack, "flat")
    store.sql(["UPDATE item SET note = 'flat' WHERE id = 4"])
    client = AdminClient({"bootstrap.servers": stack.bootstrap})
    wanted = {"flat.public.item", "flat.public.item_line", "flat.transaction"}
    assert wait_until(lambda: wanted <= client.list_topics(timeout=10).topics.keys(), SECONDS)
    with store.application("flat_app", "flat") as application:
        bridge = application.start()
        assert bridge.end(SECONDS) == 65
        (stopped,) = [line for line in bridge.log() if line.get("event") == "stop"]
        assert "B208" in json.dumps(stopped)
        assert "ExtractNewRecordState" in json.dumps(stopped)
        path = application.home / "flat.jsonl"
        path.write_text(
            "".join(
                json.dumps(
                    {
                        "topic": one.topic,
                        "partition": one.partition,
                        "offset": one.offset,
                        "key": one.key and one.key.decode(),
                        "value": one.value and one.value.decode(),
                    }
                )
                + "\n"
                for one in visible(stack.bootstrap, *sorted(wanted))
            )
        )
        told = run_command("transform", str(path), "--mappings", str(application.mappings), "--source", "legacy")
        assert told.returncode == 65
        assert b"B208" in told.stderr
