"""Records of anyone's making: a row that cannot be read is named for what it is; nothing else may come out of reading."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.collapse import Collapse
from bridge.core.columns import TableDecoder
from bridge.core.connectors import CONNECTORS
from bridge.core.decode import ChangeEvent, Decode, TransactionMarker
from bridge.errors import Undecodable
from bridge.model import UNKNOWN, Layout, MappingSet, PlainRecord
from bridge.state.rows import RowState
from bridge.state.store import MemoryStore

TABLE = "public.t"
LAYOUT = Layout(TABLE, ("id", "num", "txt"), ("integer", "numeric(12,2)", "text"))
DEEP = b"[" * 200_000 + b"]" * 200_000
KEY = b'{"id":1}'
DECIMAL = "org.apache.kafka.connect.data.Decimal"


def row(after: bytes = b'{"id":1,"num":"AA==","txt":"x"}', before: bytes = b"null") -> bytes:
    source = b'{"schema":"public","table":"t","snapshot":"false","lsn":5}'
    block = b'{"id":"1:5","total_order":1,"data_collection_order":1}'
    return b'{"before":%b,"after":%b,"source":%b,"transaction":%b,"op":"u"}' % (before, after, source, block)


def with_schema(fields: Any) -> bytes:
    schema = json.dumps({"fields": fields}, separators=(",", ":")).encode()
    return b'{"schema":%b,"payload":%b}' % (schema, row())


def decoded(value: bytes, key: bytes = KEY) -> list[ChangeEvent | TransactionMarker]:
    step = Decode({TABLE: LAYOUT}, CONNECTORS["postgresql"])
    return step.records([PlainRecord(f"shop.{TABLE}", 0, 7, key, value)], 0)


BROKEN_VALUES = {
    "no JSON": b"\xff",
    "a list": b"[]",
    "a deep column": row(b'{"id":1,"num":"AA==","txt":%b}' % DEEP),
    "a deep column that nobody reads": row(b'{"id":1,"num":"AA==","txt":"x","y":%b}' % DEEP),
    "a deep source": b'{"source":%b}' % DEEP,
    "a deep marker": b'{"status":"END","id":"1:5","data_collections":%b}' % DEEP,
    "a deep schema": b'{"schema":{"fields":%b},"payload":%b}' % (DEEP, row()),
    "fields that are a text": with_schema("abc"),
    "a field that is null": with_schema([None]),
    "a name that is a list": with_schema([{"field": "after", "fields": [{"field": "num", "name": [1]}]}]),
    "a scale that is no number": with_schema(
        [{"field": "after", "fields": [{"field": "num", "name": DECIMAL, "parameters": {"scale": "x"}}]}]
    ),
    "a scale without end": with_schema(
        [{"field": "after", "fields": [{"field": "num", "name": DECIMAL, "parameters": {"scale": "-2000000000"}}]}]
    ),
    "a decimal without end": row(b'{"id":1,"num":"%b","txt":"x"}' % (b"f" * 1_000_000)),
    "a decimal that is no base64": row(b'{"id":1,"num":"12.50","txt":"x"}'),
    "a number of 5,000 digits": row(b'{"id":%b,"num":"AA==","txt":"x"}' % (b"9" * 5_000)),
}


@pytest.mark.parametrize("name", BROKEN_VALUES)
def test_a_row_that_cannot_be_read_is_said_to_be_so(name: str) -> None:
    (found,) = decoded(BROKEN_VALUES[name])
    assert isinstance(found, ChangeEvent)
    assert (found.op, found.row_key) == ("?", KEY)


@pytest.mark.parametrize("key", [b"", b"7", DEEP, b'{"schema":{"a":%b},"payload":1}' % DEEP, b'{"schema":{}}'])
def test_a_key_that_cannot_be_read_stops_with_its_place(key: bytes) -> None:
    with pytest.raises(Undecodable, match=r"shop\.public\.t-0@7"):
        decoded(row(), key)


def test_a_schema_may_lack_what_it_does_not_need() -> None:
    fields = [{"field": "after", "fields": [{"field": "num", "name": DECIMAL, "parameters": None}, {"field": "txt"}]}]
    (found,) = decoded(with_schema(fields))
    assert isinstance(found, ChangeEvent)
    assert found.after == (1, "0", "x")


@pytest.mark.parametrize("before", [b'{"id":1,"num":"=","txt":"y"}', b"7", b"[]"])
def test_a_before_image_that_cannot_be_read_tells_nothing(before: bytes) -> None:
    """It is read only where the after image lacks a column."""
    (change,) = decoded(row(b'{"id":1,"num":"AA=="}', before))
    assert isinstance(change, ChangeEvent)
    rows = RowState(MemoryStore(), MappingSet("shop", (), {TABLE: LAYOUT}, ""))
    (net,) = Collapse().transaction([change], 1, rows)
    assert net.after == (1, "0.00", UNKNOWN)


@pytest.mark.parametrize("key", [DEEP, b'{"num":"="}', b"[]", b"\xff"])
def test_a_row_is_unknown_where_its_key_tells_nothing(key: bytes) -> None:
    assert TableDecoder(LAYOUT, 0).from_key(key) == (UNKNOWN,) * 3


def inline(payload: bytes, tail: bytes = b"}", schema: bytes = b'{"fields":[]}') -> PlainRecord:
    return PlainRecord(f"shop.{TABLE}", 0, 7, KEY, b'{"schema":%b,"payload":%b%b' % (schema, payload, tail))


@pytest.mark.parametrize("tail", [b"}", b" }", b"} ", b',"x":1}', b"", b"x", b"}}"])
def test_a_record_is_read_alike_whatever_came_before_it(tail: bytes) -> None:
    """The text of a schema is looked at once; what stands around it is looked at each time."""
    step = Decode({TABLE: LAYOUT}, CONNECTORS["postgresql"])
    (alone,) = Decode({TABLE: LAYOUT}, CONNECTORS["postgresql"]).records([inline(row(), tail)], 0)
    (_, after) = step.records([inline(row()), inline(row(), tail)], 0)
    assert isinstance(alone, ChangeEvent)
    assert isinstance(after, ChangeEvent)
    assert (after.op, after.after) == (alone.op, alone.after)


def test_a_schema_that_changes_is_learnt() -> None:
    """Of two rows with one schema and one with another, each has its own types."""
    typed = json.dumps(
        {"fields": [{"field": "after", "fields": [{"field": "num", "name": DECIMAL, "parameters": {"scale": "2"}}]}]},
        separators=(",", ":"),
    ).encode()
    records = [inline(row()), inline(row(), schema=typed), inline(row(), schema=typed), inline(row())]
    found = Decode({TABLE: LAYOUT}, CONNECTORS["postgresql"]).records(list(records), 0)
    assert [one.after[1] for one in found if isinstance(one, ChangeEvent) and one.after] == [
        "AA==",
        "0.00",
        "0.00",
        "AA==",
    ]


def change(table: str, columns: str, schema: str = "public") -> bytes:
    source = f'{{"schema":"{schema}","table":"{table}","snapshot":"false","lsn":5}}'
    block = '{"id":"1:5","total_order":1,"data_collection_order":1}'
    return f'{{"before":null,"after":{columns},"source":{source},"transaction":{block},"op":"c"}}'.encode()


WHOLE, LACKING = '{"id":1,"num":"AA==","txt":"x"}', '{"id":2,"txt":"y"}'
MIXED = {
    "a row": change("t", WHOLE),
    "a row that lacks a column": change("t", LACKING),
    "a row without an image": change("t", "null"),
    "another table's": change("u", WHOLE),
    "another schema's": change("t", WHOLE, "archive"),
    "nobody's": change("v", WHOLE),
    "with a schema": b'{"schema":{"fields":[]},"payload":%b}' % change("t", WHOLE),
    "a marker": b'{"status":"END","id":"1:5"}',
    "a heartbeat": b'{"ts_ms":1}',
    "no JSON": b"\xff",
    "an image that is no object": change("t", "[1]"),
}


def read(step: Decode, name: str) -> Any:
    value = step.records([PlainRecord(f"shop.{TABLE}", 0, 7, KEY, MIXED[name])], 0)
    return [
        (one.table.name, one.op, one.row_key, one.after, one.group, one.position, one.lacks)
        if isinstance(one, ChangeEvent)
        else one.position
        for one in value
    ]


@given(st.lists(st.sampled_from(list(MIXED)), max_size=8), st.sampled_from(list(MIXED)))
def test_what_a_partition_held_before_does_not_change_how_a_record_is_read(before: list[str], name: str) -> None:
    """One table's rows are read in one go as long as there are no others."""
    layouts = {TABLE: Layout(TABLE, LAYOUT.columns), "public.u": Layout("public.u", ("txt", "id"))}
    step, fresh = (Decode(layouts, CONNECTORS["postgresql"]) for _ in range(2))
    for one in before:
        read(step, one)
    assert read(step, name) == read(fresh, name)
