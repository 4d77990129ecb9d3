"""The doctor's rules on facts: what the servers of tests/integration cannot be made to be, and names, secrets, exit codes."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import msgspec
import pytest

from bridge.codes import explanations
from bridge.doctor import connect, report
from bridge.doctor.facts import Connector, Facts, MariaDb, PostgreSql, Slot, TopicFacts, Topics
from bridge.doctor.filters import captures, kind, matches, routed
from bridge.doctor.finding import Finding, Severity, exit_code
from bridge.doctor.rules import RULES, examine
from bridge.errors import Fatal
from bridge.mapping.catalog import Catalog, CatalogColumn, CatalogTable
from bridge.model import ConnectRest, SourceSettings

CONFIG = {
    "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
    "topic.prefix": "shop",
    "slot.name": "s",
    "provide.transaction.metadata": "true",
    "key.converter": "org.apache.kafka.connect.json.JsonConverter",
    "value.converter": "org.apache.kafka.connect.json.JsonConverter",
    "key.converter.replace.null.with.default": "false",
    "value.converter.replace.null.with.default": "false",
    "signal.data.collection": "public.debezium_signal",
    "skipped.operations": "none",
    "heartbeat.interval.ms": "1000",
    "heartbeat.action.query": "UPDATE public.beat SET at = now()",
    "exactly.once.support": "required",
}
RUNNING = (("the connector", "RUNNING", ""), ("task 0", "RUNNING", ""))
HEALTHY = Facts(
    SourceSettings("shop", "postgresql", ("shop.public.t",), "shop.transaction"),
    {"public.t": ("id", "v")},
    connectors=(Connector("c", CONFIG, RUNNING, "3.7.0.Final"),),
    topics=Topics({"shop.public.t": TopicFacts(3), "shop.transaction": TopicFacts(1)}, has_checkpoint=True),
    database=PostgreSql(
        Catalog({"public.t": CatalogTable({"id": CatalogColumn("integer")}, ("id",), replica_identity="default")}),
        {"wal_level": "logical", "max_slot_wal_keep_size": "4096MB"},
        {"s": Slot(active=True, wal_status="reserved", lag_bytes=1000)},
    ),
)


def with_connector(**changes: Any) -> Facts:
    (one,) = HEALTHY.ours
    return msgspec.structs.replace(HEALTHY, connectors=(msgspec.structs.replace(one, **changes),))


def with_slot(**changes: Any) -> Facts:
    database = HEALTHY.postgresql
    assert database is not None
    slot = msgspec.structs.replace(database.slots["s"], **changes)
    return msgspec.structs.replace(HEALTHY, database=msgspec.structs.replace(database, slots={"s": slot}))


def found(facts: Facts) -> list[tuple[str, str]]:
    return [(one.code, one.severity.value) for one in examine(facts)]


# -- rules ---------------------------------------------------------------------------------------------------------------


def test_nothing_is_wrong_with_a_healthy_source() -> None:
    assert found(HEALTHY) == []


def test_every_rule_has_a_code_that_is_explained() -> None:
    assert set(RULES) == {code for code in explanations() if code.startswith("D")}


def test_no_rule_needs_what_could_not_be_read() -> None:
    """Whatever realm is missing, no rule crashes, and none speaks of what it does not know."""
    nothing = Facts(HEALTHY.source)
    assert found(nothing) == []
    for realm in ("connectors", "topics", "database"):
        assert found(msgspec.structs.replace(HEALTHY, **{realm: None})) == []


@pytest.mark.parametrize(
    ("facts", "wanted"),
    [
        (with_connector(version="1.9.7.Final"), [("D013", "stops")]),
        (with_connector(version="2.0.1.Final"), [("D013", "loses"), ("D013", "loses"), ("D013", "loses")]),
        (with_connector(version="2.6.0.Final"), [("D013", "loses"), ("D013", "loses")]),
        (with_connector(version="3.5.0.Final"), [("D013", "loses")]),
        (with_connector(version="3.7.0.Final"), []),
        (with_connector(version=""), []),
        (with_connector(states=(*RUNNING, ("task 1", "RUNNING", ""))), [("D015", "loses")]),
        (with_connector(states=RUNNING[:1]), [("D012", "stops")]),
        (with_connector(states=(("the connector", "PAUSED", ""), ("task 0", "PAUSED", ""))), [("D012", "stops")]),
        (with_slot(wal_status="unreserved"), [("D072", "hurts")]),
        (with_slot(active=False), [("D073", "hurts")]),
        (with_slot(lag_bytes=1 << 30), []),
        (with_slot(lag_bytes=(1 << 30) + 1), [("D074", "hurts")]),
        (with_connector(config=CONFIG | {"flush.lsn.source": "false"}), [("D077", "hurts")]),
        (with_connector(config=CONFIG | {"value.converter": "io.confluent.connect.avro.AvroConverter"}), []),
        (with_connector(config=CONFIG | {"snapshot.mode": "initial_only"}), [("D019", "stops")]),
        (with_connector(config=CONFIG | {"column.include.list": "public.t.id"}), [("D037", "loses")]),
        (with_connector(config=CONFIG | {"column.include.list": "public.t.(id|v)"}), []),
    ],
)
def test_rule(facts: Facts, wanted: list[tuple[str, str]]) -> None:
    assert found(facts) == wanted


def test_mysql_s_connector_for_mariadb() -> None:
    facts = with_connector(config=CONFIG | {"connector.class": "io.debezium.connector.mysql.MySqlConnector"})
    source = msgspec.structs.replace(HEALTHY.source, connector="mysql")
    facts = msgspec.structs.replace(facts, source=source, database=MariaDb(Catalog({}, "mariadb")), mapped={})
    assert ("D014", "stops") in found(facts)


def test_several_connectors() -> None:
    (one,) = HEALTHY.ours
    facts = msgspec.structs.replace(HEALTHY, connectors=(one, msgspec.structs.replace(one, name="d")))
    assert found(facts) == [("D011", "loses")]


@pytest.mark.parametrize(
    "text", ["", "${file:/etc/x:y}", "(", ":", "a:b;:,", "[[", "*", "${0}", "$9", "\\", "x" * 1000]
)
@pytest.mark.parametrize("kind_of", ["postgresql.PostgresConnector", "mariadb.MariaDbConnector"])
def test_whatever_a_setting_says_the_doctor_stays_calm(text: str, kind_of: str) -> None:
    names = re.findall(r"[a-z][a-z.]+", connect.ASKED.pattern.replace("\\", ""))
    asked = ["topic.transaction", "topic.delimiter", "table.include.list", "column.exclude.list", "message.key.columns"]
    asked += ["producer.override.max.request.size", "tasks.max", "heartbeat.action.query", "transforms.a.regex"]
    asked += ["transforms.a.replacement", "signal.data.collection", "skipped.operations", "snapshot.mode", "slot.name"]
    router = {"transforms": "a", "transforms.a.type": "org.apache.kafka.connect.transforms.RegexRouter"}
    for key in {*names, *asked}:
        config = CONFIG | router | {"connector.class": f"io.debezium.connector.{kind_of}", key: text}
        examine(with_connector(config=config))


# -- names ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "is_in"),
    [
        ("public.t", "public.t", True),
        ("PUBLIC.T", "public.t", True),
        ("public.t", "public.t_ord", False),
        (r"a, public\.t_.*", "public.t_ord", True),
        (r"public.t{1\,2}", "public.tt", True),
        ("public.(", "public.(", False),
        ("", "", False),
    ],
)
def test_lists(text: str, name: str, is_in: bool) -> None:  # noqa: FBT001 - a row of the table
    assert matches(text, name) is is_in


def test_captures() -> None:
    assert captures({"schema.include.list": "public", "table.exclude.list": "public.x"}, "public.t")
    assert not captures({"schema.include.list": "public", "table.exclude.list": "public.x"}, "public.x")
    assert not captures({"schema.exclude.list": "public"}, "public.t")
    maria = {"connector.class": "io.debezium.connector.mariadb.MariaDbConnector", "database.include.list": "shop"}
    assert captures(maria, "shop.t")
    assert not captures(maria, "other.t")
    assert kind("io.debezium.connector.postgresql.PostgresConnector") == "postgresql"
    assert kind("com.example.postgresql.Connector") == ""


def test_routes() -> None:
    log = {"transforms": "a", "transforms.a.type": "org.apache.kafka.connect.transforms.RegexRouter"}
    log |= {"transforms.a.regex": r"shop\.(\w+)\.(.*)", "transforms.a.replacement": "$2-of-$1"}
    assert routed(log, "shop.public.t") == "t-of-public"
    assert routed(log, "shop.transaction") == "shop.transaction"
    assert routed(log | {"transforms.a.predicate": "p"}, "shop.public.t") is None
    assert routed({"topic.delimiter": "_"}, "shop.public.t") is None
    assert routed({"transforms": "a", "transforms.a.type": "io.debezium.transforms.ByLogicalTableRouter"}, "x") is None


# -- Kafka Connect -------------------------------------------------------------------------------------------------------


@contextmanager
def server(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *_: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_port}"
        finally:
            running.shutdown()
            thread.join()


def says(body: Any, code: int = 200, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(code)
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(json.dumps(body).encode())

    return answer


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (says({}, 401), "it answers 401"),
        (says({}, 302, Location="http://127.0.0.1:9/"), "it answers 302"),
        (says({"hello": 1}), "what answers is no Kafka Connect"),
        (says([1]), "what answers is no Kafka Connect"),
        (says("x"), "what answers is no Kafka Connect"),
    ],
)
def test_what_is_no_connect(answer: Callable[[BaseHTTPRequestHandler], None], reason: str) -> None:
    with server(answer) as url, pytest.raises(Fatal) as caught:
        connect.read(ConnectRest(url, "reader", "secret"))
    assert caught.value.message == reason
    assert "secret" not in repr(caught.value) + repr(ConnectRest(url, "reader", "secret"))


def test_secrets_stay_at_the_door() -> None:
    config = CONFIG | {"database.password": "sesame", "transforms": "t", "transforms.t.api.key": "opensesame"}
    trace = "Exception: no login with sesame, opensesame at jdbc://me:pw@db/x?password=12\n at secret.code"
    status = {"connector": {"state": "RUNNING"}, "tasks": [{"id": 0, "state": "FAILED", "trace": trace}]}
    plugins = [{"class": CONFIG["connector.class"], "version": "3.7.0.Final"}]
    seen: list[str | None] = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        seen.append(request.headers["Authorization"])
        made = {"c": {"info": {"config": config}, "status": status}}
        says(plugins if request.path == "/connector-plugins" else made)(request)

    with server(answer) as url:
        (one,) = connect.read(ConnectRest(url, "me", "pw"))
    assert seen == ["Basic bWU6cHc="] * 2
    assert one.version == "3.7.0.Final"
    assert one.states[1] == ("task 0", "FAILED", "Exception: no login with …, … at jdbc://…db/x?password=…")
    assert not any(word in repr(one) for word in ("sesame", "pw@", "secret"))


# -- what is said --------------------------------------------------------------------------------------------------------


def finding(severity: Severity) -> Finding:
    return Finding("D016", severity, "shop", "connector c", "it is not true", "set it")


@pytest.mark.parametrize(
    ("severities", "code", "strict"),
    [
        ("", 0, 0),
        ("advice", 0, 1),
        ("unknown", 1, 1),
        ("hurts advice", 1, 1),
        ("loses advice", 70, 70),
        ("stops", 70, 70),
    ],
)
def test_exit_codes(severities: str, code: int, strict: int) -> None:
    findings = [finding(Severity(name)) for name in severities.split()]
    assert exit_code(findings, strict=False) == code
    assert exit_code(findings, strict=True) == strict


def test_report() -> None:
    said = report.text([finding(Severity.STOPS), finding(Severity.ADVICE)], ["shop"])
    assert said.splitlines()[0] == "stops   D016 shop: connector c"
    assert said.endswith("mend: set it\n\nshop: 1 stops, 1 advice\n")
    assert report.text([], ["a", "b"]) == "a, b: nothing found\n"
    assert "\x1b[31mstops" in report.text([finding(Severity.STOPS)], ["shop"], colour=True)
    (row,) = json.loads(report.json([finding(Severity.STOPS)]))
    assert row["why"] == explanations()["D016"].why
