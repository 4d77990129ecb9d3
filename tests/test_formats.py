"""Avro and Protobuf: the text that Connect's JSON converter writes, stable keys, garbage, and a registry that is away.

``golden/avro.json``: what one PostgreSQL, captured by two connectors of a real Kafka Connect, was written as: Avro through a
registry, and JSON with schemas. A column was added between the two schemas.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message_factory import GetMessageClass

from bridge.core.connectors import CONNECTORS
from bridge.core.decode import ChangeEvent, Decode, TransactionMarker
from bridge.core.reject import Reject
from bridge.errors import Fatal, Retriable, Undecodable
from bridge.formats import protobuf
from bridge.formats.codec import float32, float64
from bridge.formats.framing import is_framed, message_path
from bridge.formats.registry import HttpRegistry, Registered, RegistrySettings
from bridge.formats.translate import Formats, TranslatingReader
from bridge.model import UNKNOWN, InboundRecord, InputPartition, Layout, PlainRecord

GOLDEN = json.loads((Path(__file__).parent / "golden" / "avro.json").read_text())
COLUMNS = ("id", "code", "amount", "free", "r", "doc", "raw", "day", "at", "zoned", "tags")
LAYOUT = Layout("public.thing", COLUMNS)
NULL_DEFAULTS = {
    "small": 7,
    "amount": "A7Y=",
    "ok": True,
    "note": "none",
    "extra": "e",
}  # what the converter makes of null


class Known:
    """A registry that knows these, and says how often it was asked."""

    def __init__(self, schemas: dict[int, Registered]) -> None:
        self.schemas = schemas
        self.asked: list[int] = []

    def schema(self, schema_id: int) -> Registered:
        self.asked.append(schema_id)
        return self.schemas[schema_id]


def avro() -> Known:
    return Known({int(number): Registered("AVRO", text) for number, text in GOLDEN["schemas"].items()})


def raw(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)


def framed(number: int, body: bytes) -> bytes:
    return b"\x00" + number.to_bytes(4, "big") + body


def record(key: bytes | None, value: bytes | None, offset: int = 0, topic: str = "pa.public.thing") -> PlainRecord:
    return PlainRecord(topic, 0, offset, key, value, [("__debezium.context.runId", b"r")], 5)


def golden_records() -> list[PlainRecord]:
    return [record(raw(one["key"]), raw(one["value"]), n) for n, one in enumerate(GOLDEN["records"])]


def decoded(records: list[InboundRecord], layout: Layout = LAYOUT) -> list[ChangeEvent | TransactionMarker]:
    return Decode({layout.table: layout}, CONNECTORS["postgresql"]).records(records, 0)


# -- the text ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(len(GOLDEN["records"])))
def test_avro_becomes_the_text_of_the_json_converter(number: int) -> None:
    """Schema and payload, but for nulls that the Avro converter itself turned into the column's default."""
    expected = GOLDEN["records"][number]
    given = golden_records()[number]
    found = Formats(avro()).record(given)
    head, payload = (found.value() or b"").split(b',"payload":', 1)
    assert head == b'{"schema":' + GOLDEN["connect"][str(int.from_bytes((given.value() or b"")[1:5], "big"))].encode()
    data = json.loads(payload[:-1])
    want = expected["payload"]
    for name in ("ts_ms", "ts_us", "ts_ns"):  # when each connector saw it
        want[name] = data[name]
    want["source"]["snapshot"] = "false"
    for image in filter(None, (want["before"], want["after"])):
        image.update({name: value for name, value in NULL_DEFAULTS.items() if image.get(name, "") is None})
    assert data == want
    assert payload[:-1] == json.dumps(want, separators=(",", ":"), ensure_ascii=False).encode()
    key = found.key()
    assert (None if key is None else json.loads(key)) == expected["json_key"]


def test_a_row_is_decoded_with_its_types() -> None:
    found = decoded([Formats(avro()).record(one) for one in golden_records()])
    changes = [one for one in found if isinstance(one, ChangeEvent)]
    update = next(one for one in changes if one.op == "u")
    assert update.row_key == b'{"id":1,"code":"ab  "}'
    assert update.after == (
        *(1, "ab  ", "12.34", "5.678", 1.1, UNKNOWN, "AAH/", "2026-01-05"),
        *("2026-01-05T10:00:00.123456", "2026-01-05T09:00:00.000000Z", ["a", "b"]),
    )
    created = next(one for one in changes if one.op == "c")
    assert created.after is not None
    assert created.after[COLUMNS.index("r")] == "NaN"
    assert {one.op for one in changes} == {"c", "u", "d", "t"}


def test_markers_are_markers() -> None:
    records = [
        record(raw(one["key"]), raw(one["value"]), n, "pa.transaction") for n, one in enumerate(GOLDEN["markers"])
    ]
    found = decoded([Formats(avro()).record(one) for one in records])
    assert [(type(one), getattr(one, "status", "")) for one in found] == [
        (TransactionMarker, "BEGIN"),
        (TransactionMarker, "END"),
    ]


@pytest.mark.parametrize(
    ("fix", "value", "text"),
    [
        (float32, 1.100000023841858, 1.1),
        (float32, 16777216.0, 16777216.0),
        (float32, 3.4028234663852886e38, 3.4028234663852886e38),
        (float32, None, None),
        (float64, 1.1, 1.1),
        (float64, float("inf"), "Infinity"),
        (float64, float("-inf"), "-Infinity"),
    ],
)
def test_floats_are_written_as_java_writes_them(fix: Callable[[Any], Any], value: Any, text: Any) -> None:
    found = fix(value)
    assert found == text or abs(found - text) < 1e-6 * text
    assert float64(float("nan")) == float32(float("nan")) == "NaN"


# -- keys ----------------------------------------------------------------------------------------------------------------


def key_schema(*fields: dict[str, Any], **more: Any) -> Registered:
    return Registered("AVRO", json.dumps({"type": "record", "name": "Key", "fields": list(fields), **more}))


def test_a_row_has_one_key_whatever_schema_wrote_it() -> None:
    """Another name, documentation, a default or a Connect type changes the schema and its id, never the row's key."""
    fields = {"name": "id", "type": "int"}, {"name": "code", "type": "string"}
    registry = Known(
        {
            1: key_schema(*fields),
            2: key_schema(
                *fields, namespace="other.place", **{"connect.name": "other.place.Key", "connect.version": 2}
            ),
            3: key_schema({**fields[0], "type": "long"}, {**fields[1], "default": "x", "doc": "what it is"}),
        }
    )
    formats = Formats(registry)
    keys = {formats.record(record(framed(number, b"\x54\x06\xc3\xa4\x0a"), b"{}")).key() for number in (1, 2, 3)}
    assert keys == {'{"id":42,"code":"ä\\n"}'.encode()}


def test_a_key_of_each_format_is_the_same_and_headers_are_keys() -> None:
    formats = Formats(Known({1: key_schema({"name": "id", "type": "long"})}))
    plain = record(b'{"id":7}', framed(1, b"\x0e"))
    mixed = formats.record(
        PlainRecord("t", 0, 0, framed(1, b"\x0e"), None, [("__debezium.newkey", framed(1, b"\x10"))])
    )
    assert formats.record(plain).key() == mixed.key() == b'{"id":7}'
    assert mixed.headers() == [("__debezium.newkey", b'{"id":8}')]


def test_a_record_that_is_json_is_the_same_record() -> None:
    registry = avro()
    one = record(b'{"id":1}', b'{"after":null}')
    tombstone = record(b'{"id":1}', None)
    formats = Formats(registry)
    assert formats.record(one) is one
    assert formats.record(tombstone) is tombstone
    assert registry.asked == []


def test_a_schema_is_asked_for_once() -> None:
    registry = avro()
    formats = Formats(registry)
    for one in golden_records() * 3:
        formats.record(one)
    assert len(registry.asked) == len(set(registry.asked))


# -- garbage -------------------------------------------------------------------------------------------------------------


def test_every_torn_value_is_a_dead_letter_with_its_own_bytes() -> None:
    """Cut anywhere, or with a byte too much: named by its key, and the dead letter holds what stood in the topic."""
    formats = Formats(avro())
    whole = golden_records()[0]
    value = whole.value() or b""
    reject = Reject("pa", "pa.DLT", [LAYOUT], [InputPartition("pa.public.thing", 0)], 0)
    for torn in [*(value[:length] for length in range(5, len(value))), value + b"\x00", b"\x00\x00", b"\x00"]:
        (found,) = decoded([formats.record(record(whole.key(), torn, 9))])
        assert isinstance(found, ChangeEvent)
        assert found.op == "?"
        letter = reject.record(found)
        assert (letter.key, letter.value) == (whole.key(), torn)


def test_a_torn_key_stops_with_its_place() -> None:
    whole = golden_records()[0]
    with pytest.raises(Undecodable, match=r"pa\.public\.thing-0@3") as caught:
        decoded([Formats(avro()).record(record((whole.key() or b"")[:-1], whole.value(), 3))])
    assert caught.value.code == "B204"


def test_without_a_registry_the_config_is_named() -> None:
    marker = record(b"{}", raw(GOLDEN["markers"][0]["value"]), 0, "pa.transaction")
    with pytest.raises(Undecodable) as caught:
        decoded([marker])
    assert "registry" in caught.value.hint


@pytest.mark.parametrize("kind", ["JSON", "AVRO", "PROTOBUF"])
def test_a_schema_that_cannot_be_used_stops(kind: str) -> None:
    formats = Formats(Known({1: Registered(kind, "no schema")}))
    with pytest.raises(Fatal, match="schema 1 ") as caught:
        formats.record(record(None, framed(1, b"\x00")))
    assert caught.value.code == "B541"


def test_framing() -> None:
    assert is_framed(b"\x00\x00\x00\x00\x01")
    assert not is_framed(b"\x00\x00\x00\x00")
    assert not is_framed(b'{"id":1}')
    assert not is_framed(None)
    assert message_path(b"\x00rest") == ((0,), 1)
    assert message_path(b"\x04\x02\x80\x02rest") == ((1, 128), 4)
    for torn in (b"", b"\x80", b"\x04\x02", b"\x01", b"\xff" * 12):
        with pytest.raises(ValueError, match="not a"):
            message_path(torn)


# -- Protobuf ------------------------------------------------------------------------------------------------------------

# What Confluent's converter makes of a Debezium envelope with optional.for.nullables=true: after its documentation.
ENVELOPE = """\
syntax = "proto3";
package pa.public.thing;
import "confluent/meta.proto";
import "confluent/type/decimal.proto";
import "google/type/date.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
message Envelope {
  optional Value before = 1;
  optional Value after = 2;
  Source source = 3;
  optional block transaction = 4;
  string op = 5;
  optional int64 ts_ms = 6;
  message Value {
    int64 id = 1;
    optional int32 small = 2 [(confluent.field_meta) = {params: [{key: "connect.type", value: "int16"}]}];
    optional confluent.type.Decimal amount = 3 [(confluent.field_meta) = {params: [{key: "scale", value: "2"}]}];
    optional google.type.Date day = 4;
    optional google.protobuf.Timestamp at = 5;
    optional string doc = 6;
    optional bytes raw = 7;
    repeated string tags = 8;
    optional float r = 9;
    google.protobuf.Int64Value wrapped = 10;
    repeated AttrsEntry attrs = 11;
    message AttrsEntry { string key = 1; optional string value = 2; }
  }
  message Source { string schema = 1; string table = 2; optional int64 lsn = 3; optional string snapshot = 4; }
  message block { string id = 1; int64 total_order = 2; int64 data_collection_order = 3; }
}
message Key { int64 id = 1; }
"""


def message(text: str, *path: str) -> Any:
    """An empty message of a schema, made by protoc and the Protobuf runtime alone."""
    from google.protobuf.descriptor_pool import DescriptorPool  # noqa: PLC0415

    pool = DescriptorPool()
    for file in protobuf._descriptors(1, text, {}).file:
        pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName(".".join(path)))()


def test_protobuf_becomes_the_text_of_the_json_converter_without_a_schema() -> None:
    envelope = message(ENVELOPE, "pa.public.thing.Envelope")
    row = envelope.after
    row.id = 1
    row.small = 0
    row.amount.value, row.amount.scale, row.amount.precision = b"\x04\xd2", 2, 12
    row.day.year, row.day.month, row.day.day = 2026, 1, 5
    row.at.seconds, row.at.nanos = 1767607200, 123_456_000
    row.doc = "__debezium_unavailable_value"
    row.raw = b"\x00\x01\xff"
    row.tags.extend(["a", "b"])
    row.r = 1.1
    row.wrapped.value = 0
    row.attrs.add(key="k", value="v")
    row.attrs.add(key="n")
    envelope.source.schema, envelope.source.table, envelope.source.lsn = "public", "thing", 5
    envelope.transaction.id, envelope.transaction.total_order = "7:5", 1
    envelope.op = "u"
    key = message(ENVELOPE, "pa.public.thing.Key")
    key.id = 1
    formats = Formats(Known({3: Registered("PROTOBUF", ENVELOPE)}))
    value = framed(3, b"\x00" + envelope.SerializeToString())
    found = formats.record(record(framed(3, b"\x02\x02" + key.SerializeToString()), value))
    assert found.key() == b'{"id":1}'
    assert json.loads(found.value() or b"")["after"] == {
        "id": 1,
        "small": 0,
        "amount": "BNI=",
        "day": 20458,
        "at": 1767607200123,
        "doc": "__debezium_unavailable_value",
        "raw": "AAH/",
        "tags": ["a", "b"],
        "r": 1.1,
        "wrapped": 0,
        "attrs": {"k": "v", "n": None},
    }
    layout = Layout(
        "public.thing", ("id", "small", "amount", "day", "doc"), ("bigint", "smallint", "numeric(12,2)", "date", "text")
    )
    (change,) = decoded([found], layout)
    assert isinstance(change, ChangeEvent)
    assert (change.after, change.row_key) == ((1, 0, "12.34", "2026-01-05", UNKNOWN), b'{"id":1}')
    row.Clear()
    row.id = 1
    nulls = formats.record(record(None, framed(3, b"\x00" + envelope.SerializeToString())))
    after = json.loads(nulls.value() or b"")["after"]
    assert [name for name, one in after.items() if one is None] == [
        *("small", "amount", "day", "at", "doc", "raw", "r", "wrapped")
    ]
    assert json.loads(nulls.value() or b"")["before"] is None


def test_torn_protobuf_is_a_dead_letter() -> None:
    formats = Formats(Known({3: Registered("PROTOBUF", ENVELOPE)}))
    for body in (b"", b"\x00\x0a\x7f", b"\x02\x40", b"\x04\x00"):
        value = framed(3, body)
        (found,) = decoded([formats.record(record(b'{"id":1}', value))])
        assert isinstance(found, ChangeEvent)
        assert (found.op, found.raw and found.raw.value()) == ("?", value)


def test_protobuf_that_cannot_tell_null_from_zero_stops() -> None:
    formats = Formats(Known({3: Registered("PROTOBUF", ENVELOPE.replace("optional int64 ts_ms", "int64 ts_ms"))}))
    with pytest.raises(Fatal, match="null from zero") as caught:
        formats.record(record(None, framed(3, b"\x00")))
    assert "optional.for.nullables" in caught.value.hint


def test_protobuf_refers_to_other_schemas() -> None:
    text = 'syntax = "proto3"; import "parts/id.proto"; message Key { parts.Id id = 1; }'
    part = 'syntax = "proto3"; package parts; message Id { int32 number = 1; }'
    formats = Formats(Known({1: Registered("PROTOBUF", text, {"parts/id.proto": part})}))
    found = formats.record(record(framed(1, b"\x00\x0a\x02\x08\x07"), b"{}"))
    assert found.key() == b'{"id":{"number":7}}'
    outside = Formats(Known({1: Registered("PROTOBUF", text, {"../../id.proto": part})}))
    with pytest.raises(Fatal, match="refers to"):
        outside.record(record(framed(1, b"\x00"), b"{}"))


# -- flattened records -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        b'{"id":1,"txt":"x"}',
        b'{"id":1,"status":"NEW","ts_ms":5}',
        b'{"id":"1:5","status":"PAID"}',
        b'{"id":1,"source":"web"}',
        b'{"n":1,"__deleted":"true"}',
        b'{"n":1,"op":"x","source":"y","__op":"c"}',
        b'{"schema":{"type":"struct","fields":[]},"payload":{"id":1,"txt":"x"}}',
    ],
)
def test_a_flattened_record_names_the_transform(value: bytes) -> None:
    with pytest.raises(Undecodable, match="bare row") as caught:
        decoded([record(b'{"id":1}', value)])
    assert caught.value.code == "B208"
    assert "ExtractNewRecordState" in caught.value.hint


def test_a_heartbeat_is_no_row() -> None:
    assert decoded([record(b'{"serverName":"pa"}', b'{"ts_ms":5}')]) == []


# -- the registry ----------------------------------------------------------------------------------------------------------


class Script:
    """A reader that gives these batches."""

    def __init__(self, *batches: list[PlainRecord]) -> None:
        self.batches = list(batches)
        self.at = 0

    def read(self, _limit: int, _seconds: float) -> list[PlainRecord]:
        batch = self.batches.pop(0) if self.batches else []
        self.at = batch[-1].offset() + 1 if batch else self.at
        return batch

    def positions(self) -> dict[InputPartition, int]:
        return {InputPartition("pa.public.thing", 0): self.at}


def test_what_came_before_a_missing_schema_goes_on_and_nothing_overtakes() -> None:
    """The records before it, then nothing once so that they can be committed, then the error; afterwards the rest in order."""
    registry = avro()
    missing = registry.schemas.pop(9)
    formats = Formats(registry)
    records = golden_records()
    first = next(n for n, one in enumerate(records) if (one.value() or b"")[4] == 9)
    assert 0 < first < len(records) - 1
    script: Any = Script(records)
    reader = TranslatingReader(script, formats)
    known = dict(registry.schemas)

    def schema(schema_id: int) -> Registered:
        if schema_id not in known:
            raise Retriable("away", code="B442")
        return known[schema_id]

    registry.schema = schema  # type: ignore[method-assign]
    assert [one.offset() for one in reader.read(100, 0)] == list(range(first))
    assert reader.positions() == {InputPartition("pa.public.thing", 0): first}
    assert list(reader.read(100, 0)) == []
    for _ in range(3):
        with pytest.raises(Retriable):
            reader.read(100, 0)
    known[9] = missing
    assert [one.offset() for one in reader.read(100, 0)] == list(range(first, len(records)))
    assert reader.positions() == {InputPartition("pa.public.thing", 0): len(records)}


@contextmanager
def served(answer: Callable[[str], tuple[int, bytes]]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """A registry at a URL, and what it was asked: path and Authorization."""
    asked: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers.get("Authorization", "")))
            status, body = answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/api/", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_references_come_with_a_schema_in_their_order() -> None:
    texts = {
        "/api/schemas/ids/7": {
            "schema": "S",
            "schemaType": "PROTOBUF",
            "references": [{"name": "a", "subject": "s/a", "version": 2}],
        },
        "/api/subjects/s%2Fa/versions/2": {"schema": "A", "references": [{"name": "b", "subject": "b", "version": 1}]},
        "/api/subjects/b/versions/1": {"schema": "B", "id": 1},
    }
    with served(lambda path: (200, json.dumps(texts[path]).encode())) as (url, asked):
        found = HttpRegistry(RegistrySettings(url, "me", "secret")).schema(7)
    assert (found.kind, found.text, list(found.references.items())) == ("PROTOBUF", "S", [("b", "B"), ("a", "A")])
    assert {login for _, login in asked} == {"Basic " + base64.b64encode(b"me:secret").decode()}


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (404, b'{"error_code":40403}', Retriable, "B442"),
        (500, b"", Retriable, "B441"),
        (429, b"", Retriable, "B441"),
        (200, b"no JSON", Retriable, "B441"),
        (401, b"", Fatal, "B542"),
        (403, b"", Fatal, "B542"),
    ],
)
def test_what_an_answer_means(status: int, body: bytes, kind: type[Exception], code: str) -> None:
    with served(lambda _: (status, body)) as (url, _), pytest.raises(kind) as caught:
        HttpRegistry(RegistrySettings(url, "me", "secret")).schema(7)
    assert getattr(caught.value, "code", "") == code
    assert "secret" not in str(caught.value)


def test_a_registry_that_is_away_is_waited_for() -> None:
    with served(lambda _: (200, b"")) as (url, _):
        pass
    with pytest.raises(Retriable) as caught:
        HttpRegistry(RegistrySettings(url)).schema(7)
    assert caught.value.code == "B441"
