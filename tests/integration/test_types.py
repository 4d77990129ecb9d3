"""What the connectors write today is what tests/types has stored: every column of every type, in one set of modes each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deploy.stack import Stack
from tests.types.make import SERVICES, Server, capture, sets
from tests.types.stored import SERVERS, records

pytestmark = [pytest.mark.stack, pytest.mark.slow]

SET = "text"  # far from the defaults
COUNTED = {"c_serial"}  # goes on from row to row, in the order in which connectors and tests write

# What 3.7 writes otherwise than 3.5, which wrote what is stored: infinities, years before Christ, and money of a snapshot
LATER: dict[str, set[str]] = {
    "postgresql": {"c_date", "c_money", "c_timestamp", "c_timestamp_0", "c_timestamp_3", "c_timestamptz"},
    "mariadb": set(),
}


@pytest.mark.parametrize("name", SERVERS)
def test_the_wire_is_as_it_was(name: str, tmp_path: Path) -> None:
    chosen = [one for one in sets(name) if one[0] == SET]
    with Stack(tmp_path / "stack", services=SERVICES[name], progress=lambda _: None) as stack:
        found = capture(Server(name, stack), chosen)[SET]
    stored = {(one.table, one.op, one.id): one for one in records(name) if one.set == SET}
    assert len(found) == len(stored) > len(SERVERS)
    for record in found:
        value = json.loads(record.value or b"null")
        payload = value["payload"]
        before = stored[payload["source"]["table"], payload["op"], json.loads(record.key or b"null")["payload"]["id"]]
        known = [column for column in before.wire if column not in COUNTED | LATER[name]]  # and more types may come
        assert {column: payload["after"].get(column) for column in known} == {c: before.wire[c] for c in known}
        schema, then = _row_schema(value["schema"]), _row_schema(json.loads(before.schema))
        assert {column: schema.get(column) for column in then} == then


def _row_schema(envelope: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    fields = next(part["fields"] for part in envelope["fields"] if part["field"] == "after")
    return {field["field"]: field for field in fields}
