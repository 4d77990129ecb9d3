"""The corpus of bad input: each record of anyone's making, and what is documented to become of it.

Every record stands in the place of a row of its own transaction, between two that are sound, and goes through the whole
pipeline. Nothing may come of it but what its outcome says, and the sound ones pass whatever it is: the partition is not
blocked. README's figure is the number of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from bridge.core.pipeline import Pipeline
from bridge.errors import BridgeError
from bridge.mapping import load
from bridge.mapping.catalog import Catalog
from bridge.model import InputPartition, OutboundRecord, PlainRecord, SourceSettings
from bridge.state.rows import RowState
from bridge.state.store import MemoryStore

TABLE: Final = "public.t"
KEY: Final = b'{"id":1}'
DEEP: Final = b"[" * 10_000 + b"]" * 10_000
PLACEHOLDER: Final = "__debezium_unavailable_value"
MAPPING: Final = """
aggregate: Thing
source: shop
key: root.id
tables: {root: {table: public.t}}
model:
  thingId: string = root.id
  num: decimal(12,2)? = root.num
  txt: string? = root.txt
  code: {type: enum, from: root.code, codes: {A: ALPHA}}
events:
  ThingMade: {topic: things, when: created(), data: [thingId, num, txt, code]}
  ThingChanged: {topic: things, when: not created() and not deleted(), data: [thingId, num, txt, code]}
"""
CATALOG: Final = Catalog.of(
    {
        TABLE: {
            "id": "integer not null",
            "num": "numeric(12,2)",
            "txt": "text",
            "code": "character(1)",
        }
    }
)
MAPPINGS: Final = load([("thing.yaml", MAPPING)], "shop", CATALOG)
SOUND: Final = {"id": 1, "num": "AGQ=", "txt": "x", "code": "A"}


class Entry(NamedTuple):
    """``outcome``: the code of the record's or the unit's dead letter, the code that stops, "" where nothing happens;
    or ``event`` with what the event says.
    """

    outcome: str
    value: bytes | None
    key: bytes | None = KEY
    says: dict[str, Any] | None = None


def row(after: Any = SOUND, **envelope: Any) -> bytes:
    """A row's record; ``after`` may be JSON text."""
    image = after if isinstance(after, bytes) else json.dumps(after).encode()
    source = {"schema": "public", "table": "t", "snapshot": "false", "lsn": 200, "sequence": '["150","200"]'}
    block = {"id": "2:200", "total_order": 1, "data_collection_order": 1}
    rest = {"before": None, "source": source, "transaction": block, "op": "u"} | envelope
    return b'{"after":%b,%b' % (image, json.dumps(rest).encode()[1:])


def with_(text: bytes = b"", **columns: Any) -> bytes:
    """A sound row but for some columns; ``text`` is JSON of more of them."""
    image = json.dumps({name: value for name, value in (SOUND | columns).items() if value is not ...}).encode()
    return row(image[:-1] + (b"," + text if text else b"") + b"}")


def typed(fields: Any) -> bytes:
    return b'{"schema":%b,"payload":%b}' % (json.dumps({"fields": fields}, separators=(",", ":")).encode(), row())


def event(value: bytes, **says: Any) -> Entry:
    return Entry("event", value, says=says)


DECIMAL: Final = "org.apache.kafka.connect.data.Decimal"
CORPUS: Final[dict[str, Entry]] = {
    # no record of Debezium's, in a table's topic: a dead letter with its raw bytes
    "no JSON": Entry("B201", b"this is no JSON"),
    "nothing in it": Entry("B201", b""),
    "invalid UTF-8": Entry("B201", b"\xff\xfe"),
    "invalid UTF-8 in a column": Entry("B201", row(b'{"id":1,"num":"AGQ=","txt":"\xff","code":"A"}')),
    "half a surrogate": Entry("B201", row(b'{"id":1,"num":"AGQ=","txt":"\\ud800","code":"A"}')),
    "a wrong magic byte": Entry("B201", b"\x07\x00\x00\x00\x01{}"),
    "Confluent's framing where no registry is configured": Entry("B201", b"\x00\x00\x00\x00\x01\x02"),
    "cut in the middle": Entry("B201", row()[:-20]),
    "more behind it": Entry("B201", row() + b"x"),
    "a number": Entry("B201", b"7"),
    "a text": Entry("B201", b'"text"'),
    "a list": Entry("B201", b"[]"),
    "the JSON literal null": Entry("B201", b"null"),
    "an empty object": Entry("B201", b"{}"),
    "someone else's object": Entry("B201", b'{"hello":"world"}'),
    "a source that is a text": Entry("B201", row(source="x")),
    "a position that is a text": Entry("B201", row(source={"schema": "public", "table": "t", "lsn": "x"})),
    "a transaction that is a number": Entry("B201", row(transaction=7)),
    "an operation that is a number": Entry("B201", row(op=7)),
    # deep, large, and of the wrong form
    "a deep value": Entry("B201", DEEP),
    "a deep column": Entry("B201", row(b'{"id":1,"num":"AGQ=","txt":%b,"code":"A"}' % DEEP)),
    "a deep column that nobody reads": Entry("B201", with_(b'"other":' + DEEP)),
    "a deep source": Entry("B201", b'{"source":%b}' % DEEP),
    "a decimal of a million digits": Entry("B201", with_(num="f" * 1_000_000)),
    "a decimal that is no base64": Entry("B201", with_(num="12.50")),
    "a number of 5,000 digits": Entry("B201", row(b'{"id":%b}' % (b"9" * 5_000))),
    "NaN as JSON has it not": Entry("B201", row(b'{"id":1,"num":NaN,"txt":"x","code":"A"}')),
    "an image that is a list": Entry("B201", row([1, 2])),
    "an image that is a text": Entry("B201", row("x")),
    # inline schemas
    "a schema whose fields are a text": Entry("B201", typed("abc")),
    "a schema with a field that is null": Entry("B201", typed([None])),
    "a schema that nests without end": Entry("B201", b'{"schema":{"fields":%b},"payload":%b}' % (DEEP, row())),
    "a decimal's scale that is no number": Entry(
        "B201",
        typed([{"field": "after", "fields": [{"field": "num", "name": DECIMAL, "parameters": {"scale": "x"}}]}]),
    ),
    "a decimal's scale without end": Entry(
        "B201",
        typed(
            [{"field": "after", "fields": [{"field": "num", "name": DECIMAL, "parameters": {"scale": "-2000000000"}}]}]
        ),
    ),
    # readable, and not to be translated: the unit's dead letter
    "an unknown code": Entry("T102", with_(code="Z")),
    # readable, and sound: absent is not null, and what is not known is not published
    "NaN, as Debezium writes it: null": event(with_(num=None), num=None),
    "an empty text": event(with_(txt=""), txt=""),
    "a text with a NUL": event(with_(txt="a\0b"), txt="a\0b"),
    "a column that nobody knows": event(with_(b'"other":[1,{"a":null}]'), txt="x"),
    "the same column twice": event(with_(b'"txt":"y"'), txt="y"),
    # nothing is told
    "a tombstone": Entry("", None),
    "a heartbeat": Entry("", b'{"ts_ms":1}'),
    "a row of a table that nobody maps": Entry("", row(source={"schema": "public", "table": "other", "lsn": 200})),
    "a logical message": Entry("", row(b"null", op="m", message={"prefix": "p", "content": ""})),
    # whose row it is, or which transaction's, cannot be known: stop
    "a key that is no JSON": Entry("B204", row(), b"\xff"),
    "a key that is a number": Entry("B204", row(), b"7"),
    "a key that nests without end": Entry("B204", row(), DEEP),
    "a key whose schema has no payload": Entry("B204", row(), b'{"schema":{}}'),
    "no key": Entry("B205", row(), None),
    "an empty key": Entry("B204", row(), b""),
    "a streamed row without a transaction": Entry("B203", row(transaction=None)),
    "a bare row (unwrap)": Entry("B208", json.dumps(SOUND).encode()),
}
# a TOAST placeholder in an update never overwrites what is known
for _name, _placeholder in {
    "a placeholder in a text": PLACEHOLDER,
    "a placeholder in base64": "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==",
}.items():
    CORPUS[_name] = event(with_(txt=_placeholder, num="Aaw="), txt="known", num="4.28")


class Ran(NamedTuple):
    """What came out: events by their aggregate's id, dead letters by code, and the code of what stopped it."""

    events: dict[str, list[dict[str, Any]]]
    letters: dict[str, list[OutboundRecord]]
    stopped: str


def run(entry: Entry) -> Ran:
    """The row before it is of the same aggregate, the one behind it of another; its transaction counts one row."""
    table, markers = InputPartition(f"shop.{TABLE}", 0), InputPartition("shop.transaction", 0)
    settings = SourceSettings(
        "shop", "postgresql", topics=(table.topic,), transaction_topic=markers.topic, dead_letter_topic="DLT"
    )
    pipeline = Pipeline(settings, MAPPINGS, RowState(MemoryStore(), MAPPINGS), [table, markers])
    pipeline.start_at({table: 0, markers: 0}, {table: 0, markers: 0})
    counted = entry.outcome != ""
    rows = [
        PlainRecord(*table, 0, KEY, _placed(SOUND | {"txt": "known"}, 1, 100, None)),
        PlainRecord(*table, 1, entry.key, entry.value),
        PlainRecord(*table, 2, b'{"id":2}', _placed(SOUND | {"id": 2}, 3, 300, 250)),
    ]
    ends = [
        PlainRecord(*markers, number, None, _end(xid, position, count))
        for number, (xid, position, count) in enumerate([(1, 150, 1), (2, 250, int(counted)), (3, 350, 1)])
    ]
    read = {table: len(rows), markers: len(ends)}
    try:
        pipeline.receive([*rows, *ends], read)
        while pipeline.wants_ends:
            pipeline.ends_are(read)
    except BridgeError as error:
        return Ran({}, {}, error.code)
    assert pipeline.waiting() is None
    events: dict[str, list[dict[str, Any]]] = {}
    letters: dict[str, list[OutboundRecord]] = {}
    for record in pipeline.take().records:
        if record.topic == "DLT":
            letters.setdefault(dict(record.headers)["bridge_code"].decode(), []).append(record)
        else:
            events.setdefault(record.key.decode(), []).append(json.loads(record.value))
    return Ran(events, letters, "")


def _placed(image: dict[str, Any], xid: int, lsn: int, predecessor: int | None) -> bytes:
    sequence = json.dumps([None if predecessor is None else str(predecessor), str(lsn)])
    source = {"schema": "public", "table": "t", "snapshot": "false", "lsn": lsn, "sequence": sequence}
    block = {"id": f"{xid}:{lsn}", "total_order": 1, "data_collection_order": 1}
    return row(image, source=source, transaction=block, op="c")


def _end(xid: int, position: int, count: int) -> bytes:
    counts = [{"data_collection": TABLE, "event_count": count}] if count else []
    text = {"status": "END", "id": f"{xid}:{position}", "event_count": count, "data_collections": counts, "ts_ms": 1}
    return json.dumps(text, separators=(",", ":")).encode()


@pytest.mark.parametrize("name", CORPUS)
def test_it_is_handled_as_documented(name: str) -> None:
    entry = CORPUS[name]
    found = run(entry)
    if entry.outcome.startswith("B2") and entry.outcome != "B201":
        assert found.stopped == entry.outcome
        return
    assert not found.stopped
    _check[entry.outcome if entry.outcome in _check else "unit"](entry, found)
    assert [one["txt"] for one in found.events["2"]] == ["x"], "the partition goes on"
    assert found.events["1"][0]["txt"] == "known"


def _told(entry: Entry, found: Ran) -> None:
    (_, changed) = found.events["1"]
    assert changed.items() >= (entry.says or {}).items()
    assert not found.letters


def _untold(_: Entry, found: Ran) -> None:
    assert len(found.events["1"]) == 1
    assert not found.letters


def _record_letter(entry: Entry, found: Ran) -> None:
    (letter,) = found.letters.pop("B201")
    headers = dict(letter.headers)
    assert letter.value == entry.value
    assert (headers["bridge_topic"], headers["bridge_offset"]) == (f"shop.{TABLE}".encode(), b"1")
    assert found.letters.keys() == {"T120"}, "the aggregate is not known any more, and parks"
    assert len(found.events["1"]) == 1


def _unit_letter(entry: Entry, found: Ran) -> None:
    assert found.letters.keys() == {entry.outcome}
    assert len(found.events["1"]) == 1


_check: Final[dict[str, Callable[[Entry, Ran], None]]] = {
    "event": _told,
    "": _untold,
    "B201": _record_letter,
    "unit": _unit_letter,
}


def test_the_figure_is_their_number() -> None:
    figure = re.search(r"(\d+) inputs of the \[corpus", Path("README.md").read_text())
    assert figure is not None
    assert int(figure[1]) == len(CORPUS)
