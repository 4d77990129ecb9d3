"""Real records of Debezium for MariaDB, without a server.

- ``mariadb``: one transaction of each kind (key changes, cascades, DDL, truncate, an incremental snapshot …)
- ``mariadb-restart``: Connect killed three times inside one long transaction (``make_mariadb_restart``)
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from bridge.core.pipeline import Pipeline
from bridge.errors import BridgeError, HistoryWentBack, Undecodable
from bridge.mapping import load
from bridge.mapping.catalog import read
from bridge.model import InboundRecord, InputPartition, MappingSet, OutboundRecord, PlainRecord, SourceSettings
from bridge.runtime.transform import read_captures, settings_for, transform
from bridge.state.rows import RowState
from bridge.state.store import MemoryStore
from tests.test_captures import CAPTURES, GOLDEN, Row, Told, by_key, every_way, records
from tests.test_captures import transform as transform_command

CATALOG = CAPTURES / "mappings" / "mariadb.catalog.yaml"


def loaded(name: str) -> tuple[list[PlainRecord], MappingSet]:
    captured = read_captures([str(CAPTURES / f"{name}.jsonl.gz")])
    files = [(str(path), path.read_text()) for path in sorted((CAPTURES / "mappings" / name).glob("*.yaml"))]
    catalog = read(CATALOG.read_text(), CATALOG.name)[0] if name == "mariadb" else None
    return captured, load(files, "depot" if name == "mariadb-restart" else "shop", catalog)


def told(published: list[OutboundRecord]) -> list[Told]:
    return [(dict(r.headers)["ce_type"].decode(), r.key.decode(), r.value.decode()) for r in published]


def test_every_kind_of_transaction() -> None:
    """The golden file was checked by hand against the SQL that was run."""
    done = transform_command("mariadb")
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == (GOLDEN / "mariadb.jsonl").read_bytes()
    assert b"327 row changes, 35 transactions, 11 events, 0 dead letters, 0 duplicates" in done.stderr


def test_a_truncate_without_an_end_is_told() -> None:
    captured, mappings = loaded("mariadb")
    outputs = list(transform(captured, settings_for(captured, "shop", "dead"), mappings))
    assert [name for output in outputs for name in output.counts.truncated] == ["shop.payments"]


def test_without_foreign_keys_the_lines_stay_behind() -> None:
    """What cannot be known without a catalog: the order's lines went with it to its new key."""
    captured, _ = loaded("mariadb")
    text = (CAPTURES / "mappings" / "mariadb" / "order.yaml").read_text()
    types = read(CATALOG.read_text().replace("connector: mariadb", ""), "c.yaml")[0]
    mappings = load([("order.yaml", text)], "shop", types)
    published = [r for o in transform(captured, settings_for(captured, "shop", "d"), mappings) for r in o.records]
    moved = next(data for kind, key, data in told(published) if key == "2002")
    assert json.loads(moved)["lines"] == []


# -- restarts ------------------------------------------------------------------------------------------------------------


def orders() -> Iterator[Told]:
    """The truth, naively: distinct rows of each transaction in the order of its ENDs."""
    tables: dict[str, dict[str, Row]] = {"ord": {}, "lin": {}}
    groups: dict[str, dict[tuple[Any, ...], Row]] = {}
    ends: list[str] = []
    for record in records("mariadb-restart"):
        value = json.loads(record["value"]) if record["value"] else {}
        if value.get("status") == "END" and value["id"] not in ends:
            ends.append(value["id"])
        elif value.get("op") == "r":
            tables[value["source"]["table"]][record["key"]] = value["after"]
        elif value.get("transaction"):
            source, key = value["source"], record["key"]
            place = (source["pos"], source["row"], source["table"], key, value["op"])
            other = dict(record["headers"]).get("__debezium.oldkey")
            row = value | {"key": key, "table": source["table"], "other": other}
            groups.setdefault(value["transaction"]["id"], {}).setdefault(place, row)
    for end in ends:
        yield from _told(tables, sorted(groups.get(end, {}).values(), key=_place))


def _place(row: Row) -> tuple[int, int, bool]:
    return row["source"]["pos"], row["source"]["row"], row["op"] == "c"


def _told(tables: dict[str, dict[str, Row]], rows: list[Row]) -> Iterator[Told]:
    was = {row["key"]: order(tables, row["key"]) for row in rows if row["table"] == "ord"}
    moved = {}
    for row in rows:
        tables[row["table"]].pop(row["key"], None)
        if row["after"] is not None:
            tables[row["table"]][row["key"]] = row["after"]
        if row["other"]:
            moved[row["key"]] = row["other"]
    gone = set(moved.values())
    for key in was:
        if key not in gone:
            before, now = was.get(moved.get(key, key)), order(tables, key)
            if now is not None and now != before:
                kind = "OrderMade" if before is None else "OrderChanged"
                yield kind, now["orderId"], json.dumps(now, separators=(",", ":"))


def order(tables: dict[str, dict[str, Row]], key: str) -> Row | None:
    row = tables["ord"].get(key)
    if row is None:
        return None
    line = tables["lin"].get(f'{{"ord":{row["id"]},"no":1}}')
    lines = [] if line is None else [{"quantity": line["q"]}]
    return {"orderId": str(row["id"]), "state": row["st"], "version": row["v"], "lines": lines}


def test_the_restart_is_one() -> None:
    """BEGIN four times, and one END that counts the rows of the last run alone."""
    markers = [json.loads(r["value"]) for r in records("mariadb-restart") if r["topic"] == "lab.transaction"]
    states: dict[str, list[str]] = {}
    for marker in markers:
        states.setdefault(marker["id"], []).append(marker["status"])
    long = next(name for name, found in states.items() if found == ["BEGIN"] * 4 + ["END"])
    count = next(m["event_count"] for m in markers if m["id"] == long and m["status"] == "END")
    rows = [
        r
        for r in records("mariadb-restart")
        if f'"id":"{long}"' in (r["value"] or "") and r["topic"] != "lab.transaction"
    ]
    assert count < len(rows)


@pytest.mark.parametrize("name", ["mariadb", "mariadb-restart"])
def test_any_interleaving_any_batches_any_crash(name: str) -> None:
    first = every_way(name, *loaded(name))
    if name == "mariadb-restart":
        assert by_key(iter(told(first))) == by_key(orders())


# -- histories -----------------------------------------------------------------------------------------------------------


def marker(gtid: str, offset: int, status: str = "END") -> PlainRecord:
    value = {"status": status, "id": gtid, "event_count": 0, "data_collections": [], "ts_ms": 1000 + offset}
    return PlainRecord("log", 0, offset, None, json.dumps(value, separators=(",", ":")).encode(), [], 0)


def ended(*gtids: str) -> int:
    """What the core says of these ENDs, the last of them after a restart: the last released position."""
    _, mappings = loaded("mariadb-restart")
    source = SourceSettings("depot", "mariadb", log="log", dead_letter_topic="dead")
    place = InputPartition("log", 0)
    state = RowState(MemoryStore(), mappings)
    pipeline = Pipeline(source, mappings, state, [place])
    for offset, gtid in enumerate(gtids):
        if offset == len(gtids) - 1:
            pipeline.take()
            state.committed(b"")
            pipeline = Pipeline(source, mappings, state, [place])
        batch: list[InboundRecord] = [marker(gtid, offset)]
        pipeline.receive(batch, {place: offset + 1})
    return pipeline.take().commit_position


@pytest.mark.parametrize(
    ("gtids", "error", "code"),
    [
        (("0-1-7", "0-1-8", "0-1-10"), None, ""),
        (("0-1-7", "0-2-8", "0-2-9"), None, ""),  # a fail-over: another server goes on
        (("0-1-7", "0-1-8", "0-1-7"), None, ""),  # a repeat
        (("0-1-7", "0-1-9", "0-2-8"), HistoryWentBack, "B302"),
        (("0-1-7", "0-1-8", "1-1-9"), HistoryWentBack, "B305"),
        (("0-1-7", "0-1-8", "binlog.000001:9"), Undecodable, "B201"),
    ],
)
def test_histories(gtids: tuple[str, ...], error: type[BridgeError] | None, code: str) -> None:
    if error is None:
        assert ended(*gtids) == max(int(gtid.rpartition("-")[2]) for gtid in gtids)
        return
    with pytest.raises(error) as caught:
        ended(*gtids)
    assert caught.value.code == code
