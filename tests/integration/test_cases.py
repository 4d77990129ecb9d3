"""Every case of semantics §3 and §4 with records from a live PostgreSQL and Debezium, made anew in each run.

Two connectors read one database: `cases` writes a topic per table, `one` a single log. Both drop the rows of one table
that END counts all the same. The bridge runs on the first; the records of the second go through the same core
(`bridge transform`). Each case has an order number of its own, and says which events SQL means for it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from bridge.core.pipeline import Output
from bridge.errors import Undecodable
from bridge.mapping import load
from bridge.model import PlainRecord, SourceSettings
from bridge.runtime.transform import transform
from deploy.stack import Stack
from deploy.stack.dist import open_place
from tests.integration.cases import BIG_SIZE, DROPPED, MANY, MAPPED, MAPPINGS, SCHEMA, TABLES, Legacy
from tests.integration.seen import Application, Outsider, Record, run_command, visible, wait_for_offsets

pytestmark = [pytest.mark.stack, pytest.mark.slow]

SECONDS = 90
PER_TABLE: dict[str, Any] = {"topics": [f"cases.{name}" for name in MAPPED], "transaction_topic": "cases.transaction"}
FILTER = {
    "transforms": "drop",
    "transforms.drop.type": "org.apache.kafka.connect.transforms.Filter",
    "transforms.drop.predicate": "dropped",
    "predicates": "dropped",
    "predicates.dropped.type": "org.apache.kafka.connect.transforms.predicates.TopicNameMatches",
    "predicates.dropped.pattern": rf".*\.{DROPPED}",
}


class Shop:
    """The database, its connectors, and a bridge that reads what they write."""

    def __init__(self, stack: Stack, home: Path) -> None:
        self.stack = stack
        self.home = home
        self.legacy = Legacy(stack.postgres)
        self.kafka = AdminClient({"bootstrap.servers": stack.bootstrap})
        self.application = Application(stack.bootstrap, home, "bridged", PER_TABLE)
        self.use_mappings(self.application)

    def use_mappings(self, application: Application) -> None:
        for path in application.mappings.iterdir():
            path.unlink()
        for name, text in MAPPINGS.items():
            (application.mappings / name).write_text(text.replace("EVENTS", application.events))

    def open(self) -> None:
        self.legacy.commit(SCHEMA)
        self._copy_database("database", "copy")
        self.legacy.begin()
        places = [NewTopic(f"cases.{name}", 3, 1) for name in MAPPED]  # what is dropped makes no topic
        for made in self.kafka.create_topics(places).values():
            made.result()
        self.register("cases")
        self.register("one")
        for name in ("cases", "one"):
            wait_for_offsets(self.stack, name)
        self.application.make_topics()
        self.bridge = self.application.start()
        self.legacy.history()

    def register(self, name: str) -> None:
        if name == "cases":
            config = self.stack.debezium_postgres(name, TABLES) | FILTER
        else:
            config = self.stack.debezium_postgres(name, TABLES, single_log=True)
            config |= FILTER | {
                "transforms": f"drop,{config['transforms']}",
                "predicates.dropped.pattern": rf".*\.{DROPPED}",
            }
            config["value.converter.replace.null.with.default"] = "true"
        self.stack.register(name, config)

    def _database(self) -> Path:
        return open_place(self.stack.home / "data" / "postgres")

    def _copy_database(self, source: str, target: str) -> None:
        """A file copy of the database, or that copy put back; while the server is away."""
        names = {"database": self._database(), "copy": self.home / "copy"}
        self.stack.kill("postgres")
        shutil.rmtree(names[target], ignore_errors=True)
        subprocess.run(["cp", "-a", str(names[source]), str(names[target])], check=True)
        self.stack.restart("postgres")

    def restore_database(self) -> None:
        self._copy_database("copy", "database")

    # -- what came out -------------------------------------------------------------------------------------------------

    def wait(self, key: str, status: str) -> None:
        """Until the bridge told that an order has a status; everything that committed before it is out by then."""
        with Outsider(self.stack.bootstrap, [self.application.events]) as outsider:
            until = time.monotonic() + SECONDS
            while not any(r.key == key.encode() and data_of(r).get("status") == status for r in outsider.records):
                outsider.look()
                assert self.bridge.alive(), self.bridge.tail()
                assert time.monotonic() < until, self.bridge.tail()

    def ends(self, code: int) -> dict[str, Any]:
        """The bridge stops by itself; the error that it told."""
        assert self.bridge.end(SECONDS) == code, self.bridge.tail()
        return next(line for line in reversed(self.bridge.log()) if line.get("event") == "stop")

    def decide(self, command: str, position: int) -> None:
        done = run_command(
            command, "--config", str(self.application.config), "--source", "legacy", "--position", str(position)
        )
        assert done.returncode == 0, done.stderr.decode()

    def published(self) -> list[Record]:
        return visible(self.stack.bootstrap, self.application.events)

    def log_records(self) -> list[PlainRecord]:
        return [
            PlainRecord(r.topic, r.partition, r.offset, r.key, r.value, list(r.headers), r.timestamp)
            for r in visible(self.stack.bootstrap, "one.log")
        ]

    def transformed(self, records: list[PlainRecord], **settings: Any) -> list[Output]:
        """The single log through the core, whose filtered table is said to be one."""
        source = SourceSettings("legacy", "postgresql", log="one.log", dead_letter_topic="DLT", **settings)
        return list(transform(records, source, load(list(self.files().items()), "legacy")))

    def files(self) -> dict[str, str]:
        return {name: text.replace("EVENTS", self.application.events) for name, text in MAPPINGS.items()}


def data_of(record: Record) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(record.value or b"")
    return data


def told(records: list[Record], key: int, *fields: str) -> list[tuple[Any, ...]]:
    """One aggregate's events: type, and some fields."""
    return [
        (record.header("ce_type").removeprefix("Order").removeprefix("Item"), *[data_of(record).get(f) for f in fields])
        for record in records
        if record.key == str(key).encode()
    ]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    home = tmp_path_factory.mktemp("cases")
    with Stack(home / "stack", progress=lambda _: None) as stack:
        shop = Shop(stack, home)
        try:
            shop.open()
            yield shop
        finally:
            shop.application.close()


@pytest.fixture(scope="module")
def events(shop: Shop) -> list[Record]:
    """What the bridge published for all cases that need nobody's decision."""
    shop.wait("165", "S")
    return shop.published()


# -- keys --------------------------------------------------------------------------------------------------------------


def test_a_key_change_is_one_row_under_a_new_key(events: list[Record]) -> None:
    """Of the root with its children and what was not in the record (TOAST); of composite keys; back and forth."""
    fields = ("orderId", "status", "noteSize", "lines", "memoSize")
    assert told(events, 100, *fields) == [("Changed", "100", "N", BIG_SIZE, 1, BIG_SIZE)]
    assert told(events, 1100, *fields) == [("Changed", "1100", "N", BIG_SIZE, 1, BIG_SIZE)]
    assert told(events, 1110, "status", "lines") == [("Changed", "K", 0)]
    assert told(events, 110, "status", "lines") == [("Changed", "N", 1), ("Changed", "A", 1)]  # the line waited
    assert told(events, 120, "status", "lines", "quantity") == [("Changed", "N", 2, 11), ("Changed", "K", 2, 11)]
    assert told(events, 135, "status") == [("Changed", "N"), ("Changed", "B")]
    assert told(events, 136) == []


def test_a_child_that_goes_to_another_parent_changes_both(events: list[Record]) -> None:
    part = {"id": 130, "size": BIG_SIZE, "quantity": 1}
    assert told(events, 130, "parts") == [("Changed", [part]), ("Changed", [])]
    assert told(events, 131, "parts") == [("Changed", []), ("Changed", [part])]


def test_what_comes_and_goes_in_one_transaction(events: list[Record]) -> None:
    assert told(events, 137) == []
    assert told(events, 138, "status") == [("Changed", "N"), ("Changed", "again"), ("Removed", "again")]


# -- columns -----------------------------------------------------------------------------------------------------------


def test_large_values_that_were_not_touched_are_known(events: list[Record]) -> None:
    fields = ("status", "noteSize", "docSize", "binSize", "hasTags")
    sizes = (BIG_SIZE + len('{"k" : ""}'), BIG_SIZE // 2 * 4 // 3, True)
    assert told(events, 140, *fields) == [
        ("Changed", "N", BIG_SIZE, *sizes),
        ("Changed", "P", BIG_SIZE, *sizes),
        ("Changed", "P", len("short"), *sizes),
    ]
    assert told(events, 141, "status", "noteSize") == [("Changed", "P", BIG_SIZE)]
    assert told(events, 1, "status", "noteSize", "quantity") == [("Changed", "P", BIG_SIZE, 5)]  # from the seed
    assert [parts for _, parts in told(events, 150, "parts")][-1] == [{"id": 150, "size": BIG_SIZE, "quantity": 2}]


@pytest.mark.usefixtures("events")
def test_a_large_value_that_nobody_knows_parks_its_aggregate(shop: Shop) -> None:
    """The same records without the seed that had it: the row is not complete, and is never made up."""
    records = [
        r for r in shop.log_records() if b'"op":"r"' not in (r.value() or b"") or b"c_part" not in (r.value() or b"")
    ]
    outputs = shop.transformed(records, filtered=frozenset({DROPPED}), max_share=1.0)
    letters = [json.loads(r.value) for output in outputs for r in output.records if r.topic == "DLT"]
    assert [(letter["code"], letter["aggregateId"]) for letter in letters] == [("T104", "150")]


def test_old_values_never_come_from_a_delete_under_default_identity(events: list[Record]) -> None:
    """Its record says grade J and an empty code; under FULL it says the truth."""
    fields = ("code", "name", "grade", "size")
    assert told(events, 10, *fields) == [
        ("Changed", "c10", "n", "A", BIG_SIZE),
        ("Changed", "c10", "m", "A", BIG_SIZE),
        ("Removed", "c10", "m", "A", BIG_SIZE),
    ]
    assert told(events, 11, *fields) == [("Changed", "c11", "n", "A", BIG_SIZE), ("Changed", "c11", "m", "A", BIG_SIZE)]
    assert told(events, 111, *fields) == [
        ("Changed", "c11", "m", "A", BIG_SIZE),
        ("Removed", "c11", "m", "A", BIG_SIZE),
    ]


@pytest.mark.usefixtures("events")
def test_the_record_of_a_delete_looks_real(shop: Shop) -> None:
    """What the bridge must not believe is really there."""
    deletes = [json.loads(r.value() or b"{}") for r in shop.log_records() if b'"op":"d"' in (r.value() or b"")]
    (before,) = [d["before"] for d in deletes if d["source"]["table"] == "c_item" and d["before"]["id"] == 10]
    assert (before["code"], before["grade"]) == ("", "J")


@pytest.mark.usefixtures("events")
def test_a_delete_under_an_identity_that_lacks_the_key_names_no_row(shop: Shop, events: list[Record]) -> None:
    """REPLICA IDENTITY USING INDEX on other columns: Debezium fills the record key with 0, so the row stays. See README."""
    keys = [r.key() for r in shop.log_records() if b'"op":"d"' in (r.value() or b"") and b'"c12"' in (r.value() or b"")]
    assert keys == [b'{"id":0}']
    assert told(events, 12, "name") == [("Changed", "n"), ("Changed", "m")]


def test_postgresql_refuses_updates_without_an_identity(shop: Shop) -> None:
    shop.legacy.commit("ALTER TABLE c_item REPLICA IDENTITY NOTHING")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="does not have a replica identity"):
        shop.legacy.commit("UPDATE c_item SET name = 'x' WHERE id = 13")
    shop.legacy.commit("ALTER TABLE c_item REPLICA IDENTITY DEFAULT")


def test_a_null_in_a_column_with_a_default(shop: Shop, events: list[Record]) -> None:
    """It stays null with `replace.null.with.default=false`; without, it arrives as the default, and nothing tells it."""
    assert told(events, 20, "grade") == [("Changed", None), ("Removed", None)]
    outputs = shop.transformed(shop.log_records(), filtered=frozenset({DROPPED}))
    grades = [json.loads(r.value)["grade"] for output in outputs for r in output.records if r.key == b"20"]
    assert grades == ["J", "J"]


# -- what is no row ----------------------------------------------------------------------------------------------------


def test_messages_signals_keyless_rows_and_columns_that_come_and_go_are_no_rows(events: list[Record]) -> None:
    assert told(events, 160, "status") == [("Changed", status) for status in "NPSTU"]


def test_a_truncate_is_no_delete(shop: Shop, events: list[Record]) -> None:
    assert told(events, 165, "status", "notes") == [("Changed", "N", 2), ("Changed", "P", 2), ("Changed", "S", 2)]
    assert any(line.get("event") == "truncate" and line["table"] == "public.c_note" for line in shop.bridge.log())
    outputs = shop.transformed(shop.log_records(), filtered=frozenset({DROPPED}), truncate={"public.c_note": "forget"})
    forgotten = [json.loads(r.value) for output in outputs for r in output.records if r.key == b"165"]
    assert [(data["status"], data["notes"]) for data in forgotten] == [("N", 2), ("P", 0), ("S", 0)]


def test_a_single_log_tells_the_same(shop: Shop, events: list[Record]) -> None:
    """Ids, order and bytes; but for the null that became a default."""
    outputs = shop.transformed(shop.log_records(), filtered=frozenset({DROPPED}))
    found: dict[bytes, list[tuple[bytes, Mapping[str, bytes]]]] = {}
    for record in (one for output in outputs for one in output.records):
        found.setdefault(record.key, []).append((record.value, dict(record.headers)))
    for key in {record.key or b"" for record in events} - {b"20"}:
        assert [(r.value, dict(r.headers)) for r in events if r.key == key] == found[key], key


@pytest.mark.usefixtures("events")
def test_a_mapped_table_without_a_primary_key_stops(shop: Shop) -> None:
    text = "aggregate: Log\nsource: legacy\nkey: log.what\ntables:\n  log: {table: public.c_log}\nmodel:\n"
    text += "  what: string = log.what\nevents:\n  LogWritten: {topic: t, when: created(), data: [what]}\n"
    records: list[PlainRecord] = shop.log_records()
    source = SourceSettings("legacy", "postgresql", log="one.log", dead_letter_topic="DLT")
    with pytest.raises(Undecodable) as caught:
        list(transform(records, source, load([("log.yaml", text)], "legacy")))
    assert caught.value.code == "B205"


# -- what an operator decides ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("events")
def test_an_undecodable_record_fills_the_place_of_a_missing_row(shop: Shop) -> None:
    """The row of that key is unknown from then on, and its order parks. A foreign record fills nothing."""
    producer = Producer({"bootstrap.servers": shop.stack.bootstrap})
    producer.produce("cases.public.c_part", b"\x00garbage", b'{"id":130}', partition=0)
    producer.produce(f"cases.{DROPPED}", b'{"after":', b'{"id":170}')
    producer.flush()
    shop.legacy.dropped(170)
    shop.legacy.commit(
        "INSERT INTO c_ord VALUES (172, 'N')", "INSERT INTO c_part VALUES (172, 172, 'x', 1), (173, 172, 'x', 1)"
    )
    shop.legacy.commit("INSERT INTO c_part SELECT n, 172, 'x', 1 FROM generate_series(1720, 1739) n")
    shop.legacy.commit("UPDATE c_ord SET st = 'P' WHERE ord_no = 172")
    shop.wait("172", "P")
    letters = visible(shop.stack.bootstrap, shop.application.dead_letters)
    codes = sorted((letter.header("bridge_code"), letter.key) for letter in letters)
    assert ("B201", b'{"id":170}') in codes
    assert ("B201", b'{"id":130}') in codes


@pytest.mark.usefixtures("events")
def test_a_transaction_whose_rows_never_come_is_released_by_decision(shop: Shop) -> None:
    """The bridge stops and names the command; the decision holds for it, and for one that starts from nothing."""
    shop.bridge.stop()
    shop.application._extra = {"limits": {"session_timeout_seconds": 2, "incomplete_after_seconds": 1}}
    shop.legacy.dropped(171)
    shop.legacy.commit("UPDATE c_ord SET st = 'P' WHERE ord_no = 171")
    shop.bridge = shop.application.start()
    error = shop.ends(65)
    shop.decide("release", position_in(error))
    shop.bridge = shop.application.start()
    shop.wait("171", "P")
    assert any(line.get("event") == "released_short" for line in shop.bridge.log()), shop.bridge.tail()
    assert told(shop.published(), 171, "status", "audits") == [("Changed", "N", 0), ("Changed", "P", 0)]


def test_a_filtered_table_may_lack_rows_that_are_counted(shop: Shop) -> None:
    """The same transaction in a single log: nothing is to be decided. With a topic per table the config is refused (C013)."""
    inputs = {"log": "one.log", "tables": {DROPPED: {"filtered": True}}}
    application = Application(shop.stack.bootstrap, shop.home, "filtered", inputs)
    shop.use_mappings(application)
    application.make_topics()
    bridge = application.start()
    try:
        with Outsider(shop.stack.bootstrap, [application.events]) as outsider:
            until = time.monotonic() + SECONDS
            while len(told(outsider.records, 171)) < 2:
                outsider.look()
                assert bridge.alive(), bridge.tail()
                assert time.monotonic() < until, bridge.tail()
        assert told(outsider.records, 171, "status", "audits") == [("Changed", "N", 0), ("Changed", "P", 0)]
        bridge.stop()
    finally:
        application.close()


def position_in(error: dict[str, Any]) -> int:
    """The position that the error's command names."""
    words = json.dumps(error).split("--position ")
    assert len(words) > 1, error
    return int("".join(c for c in words[1].split()[0] if c.isdigit()))


@pytest.mark.usefixtures("events")
def test_connect_dies_inside_a_transaction(shop: Shop) -> None:
    """It begins that one again; what both runs brought is one transaction."""
    order = next((number for number in range(180, 185) if _dies_inside(shop, number)), 0)
    assert order, "Connect was never killed inside a transaction"
    shop.legacy.commit(f"UPDATE c_ord SET st = 'P' WHERE ord_no = {order}")  # noqa: S608
    shop.wait(str(order), "P")
    assert told(shop.published(), order, "status", "lines") == [("Changed", "N", MANY), ("Changed", "P", MANY)]


def _dies_inside(shop: Shop, order: int) -> bool:
    """Kill Connect as soon as the order's first line is in the topic; whether the order's transaction was begun twice."""
    begun = len(_begins(shop))
    with Outsider(shop.stack.bootstrap, ["cases.public.c_line"]) as outsider:
        before = len(outsider.read_to_end())
        shop.legacy.grow(order)
        until = time.monotonic() + SECONDS
        while len(outsider.records) == before:
            outsider.look(0.02)
            assert time.monotonic() < until
        shop.stack.kill("connect")
    shop.stack.restart("connect")
    shop.stack.wait_running("cases")
    shop.wait(str(order), "N")
    begins = _begins(shop)[begun:]
    return len(set(begins)) < len(begins)


def _begins(shop: Shop) -> list[str]:
    """The xid of every BEGIN, in the topic's order."""
    markers = [json.loads(r.value or b"{}") for r in visible(shop.stack.bootstrap, "cases.transaction")]
    return [marker["id"].split(":")[0] for marker in markers if marker["status"] == "BEGIN"]


@pytest.mark.usefixtures("events")
def test_a_connector_deleted_and_made_again_snapshots_and_goes_on(shop: Shop) -> None:
    shop.stack.unregister("cases")
    shop.legacy.commit("UPDATE c_ord SET note = 'missed' WHERE ord_no = 160")
    shop.register("cases")
    wait_for_offsets(shop.stack, "cases")
    shop.legacy.commit("UPDATE c_ord SET st = 'V' WHERE ord_no = 160")
    shop.wait("160", "V")
    assert told(shop.published(), 160, "status", "noteSize")[-1] == ("Changed", "V", len("missed"))


@pytest.mark.usefixtures("events")
def test_a_restored_database_is_another_history(shop: Shop) -> None:
    """A file copy is put back: positions and xids come again, with another content. The decision names both histories."""
    before = shop.published()
    shop.stack.unregister("cases")
    shop.stack.unregister("one")
    shop.restore_database()
    shop.legacy.commit("INSERT INTO c_ord VALUES (160, 'R')", "INSERT INTO c_item VALUES (1, 'a', 'restored')")
    shop.register("cases")
    wait_for_offsets(shop.stack, "cases")
    shop.legacy.commit("INSERT INTO c_ord VALUES (190, 'N')")
    error = shop.ends(65)
    assert "bridge accept" in json.dumps(error)
    shop.decide("accept", position_in(error))
    shop.bridge = shop.application.start()
    shop.legacy.commit("UPDATE c_ord SET st = 'S' WHERE ord_no = 160", "UPDATE c_ord SET st = 'P' WHERE ord_no = 190")
    shop.wait("190", "P")
    found = shop.published()
    assert {record.header("ce_id") for record in before} < {record.header("ce_id") for record in found}
    assert told(found, 160, "status", "noteSize")[-1] == ("Changed", "S", None)
    assert told(found, 190, "status") == [("Changed", "N"), ("Changed", "P")]
    ids = [record.header("ce_id") for record in found]
    assert len(set(ids)) == len(ids)
    shop.bridge.stop()
