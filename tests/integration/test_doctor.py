"""``bridge doctor`` on real servers: each trap is set for real, exactly its code is found, and the trap is undone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from bridge.cli import main
from deploy.stack import HEARTBEAT_TABLE, SIGNAL_TABLE, Stack
from deploy.stack.connect import request
from deploy.stack.process import wait_until
from tests.integration.clinic import SECONDS, Patient, Topics

pytestmark = [pytest.mark.stack, pytest.mark.slow]

SCHEMA = """
CREATE TABLE t_ord (ord_no int PRIMARY KEY, stat char(1) DEFAULT 'N', tot numeric(12,2), placed timestamp, note text);
CREATE TABLE t_line (ord_no int, line_no int, qty int, PRIMARY KEY (ord_no, line_no));
CREATE TABLE t_empty (id int PRIMARY KEY);
INSERT INTO t_ord VALUES (1, 'N', 10.00, now(), 'x');
INSERT INTO t_line VALUES (1, 1, 1);
"""
TABLES = ["public.t_ord", "public.t_line", "public.t_empty"]
MAPPING = """
aggregate: Order
source: {source}
key: order.ord_no
tables:
  order: {{table: {schema}.t_ord}}
  lines: {{table: {schema}.t_line, many: true, match: {{ord_no: order.ord_no}}}}
model:
  orderId: string = order.ord_no
  total: decimal(12,2)? = order.tot
  status: {{type: string?, from: order.stat}}
  placed: string? = string(order.placed)
  note: {{type: string?, from: order.note}}
  lines: {{each: lines, order_by: line_no, fields: {{quantity: int? = qty}}}}
events:
  OrderPlaced: {{topic: sales.orders, when: created(), data: [orderId, total, status, lines]}}
"""
PASSWORD = "sesame-4711"  # noqa: S105 - of no use: the server trusts everybody


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    services = ("postgres", "kafka", "connect", "mariadb")
    with Stack(tmp_path_factory.mktemp("stack"), services=services, progress=lambda _: None) as running:
        yield running


@pytest.fixture(scope="module")
def topics(stack: Stack) -> Topics:
    return Topics(stack)


def config_of(
    stack: Stack, patient: str, connector: str, topics: list[str], database: dict[str, Any]
) -> dict[str, Any]:
    source = {
        "connector": connector,
        "topics": topics,
        "transaction_topic": f"{patient}.transaction",
        "connect": {"url": stack.connect_url, "user": "reader", "password": PASSWORD},
        "database": database,
    }
    return {
        "application": f"{patient}app",
        "kafka": {"bootstrap.servers": stack.bootstrap},
        "sources": {patient: source},
        "mappings": f"{patient}-mappings",
    }


def sql(stack: Stack, *statements: str) -> None:
    """Each committed by itself."""
    with psycopg.connect(**stack.postgres, autocommit=True) as connection:  # type: ignore[arg-type]
        for statement in statements:
            connection.execute(statement.encode())


# -- PostgreSQL ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shop(stack: Stack, topics: Topics, tmp_path_factory: pytest.TempPathFactory) -> Patient:
    """Set up as the README says, and running."""
    sql(stack, *SCHEMA.strip().split(";\n"))
    connector = stack.debezium_postgres("shop", TABLES, schemas=True)
    connector |= {"heartbeat.interval.ms": "500", "database.password": PASSWORD}
    where = stack.postgres
    database = {"host": where["host"], "port": where["port"], "user": where["user"], "database": where["dbname"]}
    config = config_of(stack, "shop", "postgresql", ["shop.public.t_ord", "shop.public.t_line"], database)
    mapping = MAPPING.format(source="shop", schema="public")
    patient = Patient(stack, tmp_path_factory.mktemp("shop"), connector, config, mapping)
    stack.register("shop", connector)
    assert wait_until(lambda: topics.exist(["shop.public.t_ord", "shop.public.t_line", "shop.transaction"]), SECONDS)
    assert main(["topics", "--create", "--config", str(patient.write_config())]) == 0
    return patient


def test_a_healthy_source_gets_advice_alone(shop: Patient, capsys: pytest.CaptureFixture[str]) -> None:
    found = shop.findings()
    assert set(found) == {"D017", "D036", "D075"}, found.text
    assert found.codes == set()
    assert found.exit_code == 0
    assert shop.findings(None, "--strict").exit_code == 1
    assert main(["doctor", "--config", str(shop.write_config())]) == 0
    said = capsys.readouterr().out
    assert said.endswith("shop: 3 advice\n")
    assert "\x1b" not in said
    assert PASSWORD not in said + found.text


def test_what_cannot_be_reached_hides_nothing(shop: Patient) -> None:
    nowhere = {"connect.url": "http://127.0.0.1:9", "database.port": 9, "/mappings": "absent"}
    found = shop.findings(nowhere)
    assert found.codes == {"D001", "D003", "D004"}, found.text
    assert {one["severity"] for code in found.codes for one in found[code]} == {"unknown"}
    assert found.exit_code == 1
    found = shop.findings({"connect": None, "database": None, "/kafka": {"bootstrap.servers": "127.0.0.1:9"}})
    assert found.codes == {"D001", "D002", "D003"}, found.text


def test_a_stopped_connector(shop: Patient) -> None:
    shop.stop()
    assert wait_until(lambda: shop.findings().codes == {"D012", "D073"}, SECONDS), shop.findings().text
    found = shop.findings()
    assert found["D012"][0]["mend"] == "curl -X PUT CONNECT/connectors/shop/resume"
    assert found.exit_code == 70
    shop.baseline = set(found)


@pytest.fixture
def stopped(shop: Patient) -> Patient:
    if not shop.baseline:
        test_a_stopped_connector(shop)
    return shop


SETTINGS: dict[str, tuple[dict[str, str | None], set[str]]] = {
    "no transaction metadata": ({"provide__transaction__metadata": None}, {"D016"}),
    "another transaction topic": ({"topic__transaction": "other"}, {"D010"}),
    "several tasks": ({"tasks__max": "2"}, {"D015"}),
    "no signal table": ({"signal__data__collection": None}, {"D018"}),
    "another signal table": ({"signal__data__collection": "public.t_other"}, {"D018"}),
    "no snapshot": ({"snapshot__mode": "no_data"}, {"D019"}),
    "no heartbeat": ({"heartbeat__interval__ms": "0"}, {"D020"}),
    "no heartbeat in the database": ({"heartbeat__action__query": None}, {"D020"}),
    "heartbeat of another table": ({"heartbeat__action__query": "UPDATE public.beat SET at = now()"}, {"D021"}),
    # its topic, which the config lists, gets nothing any more
    "a mapped table left out": (
        {"table__exclude__list": "public.T_ORD", "table__include__list": None},
        {"D030", "D032"},
    ),
    "a key of its own": ({"message__key__columns": "public.t_line:ord_no"}, {"D033"}),
    "a column left out": ({"column__exclude__list": "public.t_ord.(stat|upd)"}, {"D037"}),
    "a column masked": ({"column__mask__with__5__chars": "public.t_ord.note"}, {"D037"}),
    "truncates skipped": ({"skipped__operations": None}, {"D038"}),
    "deletes skipped": ({"skipped__operations": "t,d"}, {"D038"}),
    "no publication": ({"publication__name": "absent", "publication__autocreate__mode": "disabled"}, {"D039"}),
    "money as double": ({"decimal__handling__mode": "double"}, {"D050"}),
    "microseconds cut": ({"time__precision__mode": "connect"}, {"D051"}),
    "no schemas": ({"value__converter__schemas__enable": "false"}, {"D057"}),
    "decimals that the config does not know": (
        {"value__converter__schemas__enable": "false", "decimal__handling__mode": "string"},
        {"D052", "D057"},
    ),
    "another converter": ({"value__converter": "org.apache.kafka.connect.storage.StringConverter"}, {"D055"}),
    "a converter of the worker": ({"key__converter": None}, {"D055"}),
    "null as default": ({"value__converter__replace__null__with__default": None}, {"D056"}),
    "null as default in keys": ({"key__converter__replace__null__with__default": None}, {"D056"}),
    "flattened": ({"transforms": "t", "transforms__t__type": "io.debezium.transforms.ExtractNewRecordState"}, {"D060"}),
    "filtered": ({"transforms": "t", "transforms__t__type": "org.apache.kafka.connect.transforms.Filter"}, {"D061"}),
    "routed by time": (
        {"transforms": "t", "transforms__t__type": "org.apache.kafka.connect.transforms.TimestampRouter"},
        {"D062"},
    ),
    "a field replaced": (
        {
            "transforms": "t",
            "transforms__t__type": "org.apache.kafka.connect.transforms.ReplaceField$Value",
            "transforms__t__exclude": "before",
        },
        {"D063"},
    ),
    "another slot": ({"slot__name": "other"}, {"D071"}),
    "slot dropped": ({"slot__drop__on__stop": "true"}, {"D076"}),
    "slot not moved": ({"lsn__flush__mode": "manual"}, {"D077"}),
    "slot trusted": ({"offset__mismatch__strategy": "trust_slot"}, {"D077"}),
    "large rows": ({"producer__override__max__request__size": "4000000"}, {"D098"}),
}


@pytest.mark.parametrize("trap", SETTINGS)
def test_settings_of_the_connector(stopped: Patient, trap: str) -> None:
    changes, codes = SETTINGS[trap]
    stopped.settings(**changes)
    stopped.shows(*codes)


def test_the_documented_command_mends(stopped: Patient, stack: Stack) -> None:
    stopped.settings(provide__transaction__metadata="false")
    (found,) = stopped.shows("D016")["D016"]
    key, _, value = found["mend"].partition("=")
    request(f"{stack.connect_url}/connectors/shop/config", "PATCH", {key: value})
    stopped.shows()


def test_single_log(stopped: Patient, topics: Topics) -> None:
    """The documented router is no finding, and is understood: what does not lead to the log is one."""
    topics.make("one.log")
    router = {
        "transforms": "log",
        "transforms__log__type": "org.apache.kafka.connect.transforms.RegexRouter",
        "transforms__log__regex": r"shop\..*",
        "transforms__log__replacement": "one.log",
    }
    log = {"topics": None, "transaction_topic": None, "log": "one.log"}
    stopped.settings(**router)
    stopped.shows(changes=log)
    stopped.settings(**router | {"transforms__log__regex": r"shop\.public\.(.*)"})
    stopped.shows("D010", changes=log)


def test_a_second_connector(stopped: Patient, stack: Stack) -> None:
    stopped.settings()
    url = f"{stack.connect_url}/connectors"
    request(f"{url}/copy/config", "PUT", stopped.healthy | {"slot.name": "copy", "publication.name": "copy"})
    request(f"{url}/copy/stop", "PUT")
    assert wait_until(lambda: "D011" in stopped.findings(), SECONDS)
    stack.unregister("copy")
    stopped.shows()


def test_a_failed_task_is_told_without_secrets(stopped: Patient, stack: Stack) -> None:
    broken = {"publication__name": f"absent-{PASSWORD}", "publication__autocreate__mode": "disabled"}
    stopped.settings(**broken)
    url = f"{stack.connect_url}/connectors/shop"
    request(f"{url}/resume", "PUT")
    assert wait_until(lambda: "has failed: " in stopped.findings().get("D012", [{"what": ""}])[0]["what"], SECONDS)
    found = stopped.findings()
    assert "Exception" in found["D012"][0]["what"]
    assert PASSWORD not in found["D012"][0]["what"]
    stopped.stop()
    stopped.settings()


def test_another_kind_of_database(stopped: Patient) -> None:
    stopped.settings()
    found = stopped.findings({"connector": "mariadb", "database": None})
    assert "D014" in found


TOPICS: dict[str, tuple[str, dict[str, str], str]] = {
    "compacted input": ("shop.public.t_ord", {"cleanup__policy": "compact"}, "D092"),
    "short retention": ("shop.transaction", {"retention__ms": "3600000"}, "D093"),
    "small retention": ("shop.public.t_line", {"retention__bytes": "1000000000"}, "D093"),
    "changelog deleted": ("shopapp.shop.changelog", {"cleanup__policy": "delete"}, "D096"),
    "deletions forgotten": ("shopapp.shop.changelog", {"delete__retention__ms": "60000"}, "D096"),
    "dead letters forgotten": ("shop.DLT", {"retention__ms": "60000"}, "D097"),
    "large rows": ("shop.public.t_ord", {"max__message__bytes": "20000000"}, "D098"),
}


@pytest.mark.parametrize("trap", TOPICS)
def test_settings_of_topics(stopped: Patient, topics: Topics, trap: str) -> None:
    name, settings, code = TOPICS[trap]
    stopped.settings()
    with topics.altered(name, **settings):
        assert all(name in one["place"] + one["what"] for one in stopped.shows(code)[code])
    stopped.shows()


def test_several_partitions_and_a_lost_beginning(stopped: Patient, topics: Topics) -> None:
    topics.make("shop.wide", 3)
    stopped.settings(topic__transaction="wide")
    wide = {"transaction_topic": "shop.wide"}
    stopped.shows("D090", changes=wide)
    topics.lose_beginning("shop.wide")
    stopped.shows("D090", "D094", changes=wide)


def test_the_config(stopped: Patient, topics: Topics) -> None:
    stopped.settings()
    listed = stopped.config["sources"]["shop"]["topics"]
    topics.make("shop.public.t_old")
    stopped.shows("D031", changes={"topics": listed[1:]})
    stopped.shows("D032", changes={"topics": [*listed, "shop.public.t_old"]})
    stopped.shows("D091", changes={"topics": [*listed, "shop.public.t_empty"]})
    stopped.shows("D095", changes={"/application": "another"})
    small = {"receive.message.max.bytes": 1_000_000, "fetch.max.bytes": 999_000, "message.copy.max.bytes": 1000}
    stopped.shows("D098", changes={"/kafka": stopped.config["kafka"] | small})
    stopped.shows("D099", changes={"/limits.transaction_timeout_seconds": 1000})


DATABASE: dict[str, tuple[str, str, set[str]]] = {
    "no replica identity": (
        "ALTER TABLE t_line REPLICA IDENTITY NOTHING",
        "ALTER TABLE t_line REPLICA IDENTITY DEFAULT",
        {"D035"},
    ),
    "no primary key": (  # and so no replica identity
        "ALTER TABLE t_line DROP CONSTRAINT t_line_pkey, ALTER ord_no DROP NOT NULL",
        "ALTER TABLE t_line ADD PRIMARY KEY (ord_no, line_no)",
        {"D034", "D035"},
    ),
    "a table not published": (
        "ALTER PUBLICATION shop_publication DROP TABLE t_line",
        "ALTER PUBLICATION shop_publication ADD TABLE t_line",
        {"D039"},
    ),
    "heartbeat not published": (
        f"ALTER PUBLICATION shop_publication DROP TABLE {HEARTBEAT_TABLE}",
        f"ALTER PUBLICATION shop_publication ADD TABLE {HEARTBEAT_TABLE}",
        {"D021"},
    ),
    "signals not published": (
        f"ALTER PUBLICATION shop_publication DROP TABLE {SIGNAL_TABLE}",
        f"ALTER PUBLICATION shop_publication ADD TABLE {SIGNAL_TABLE}",
        {"D018"},
    ),
    "deletes not published": (
        "ALTER PUBLICATION shop_publication SET (publish = 'insert, update')",
        "ALTER PUBLICATION shop_publication SET (publish = 'insert, update, delete, truncate')",
        {"D040"},
    ),
    "rows not published": (
        "ALTER PUBLICATION shop_publication SET TABLE t_ord, t_line WHERE (line_no > 0), debezium_signal, debezium_heartbeat",
        "ALTER PUBLICATION shop_publication SET TABLE t_ord, t_line, debezium_signal, debezium_heartbeat",
        {"D040"},
    ),
}


@pytest.mark.parametrize("trap", DATABASE)
def test_postgresql(stopped: Patient, stack: Stack, trap: str) -> None:
    do, undo, codes = DATABASE[trap]
    stopped.settings()
    sql(stack, do)
    try:
        stopped.shows(*codes)
    finally:
        sql(stack, undo)
    stopped.shows()


def test_full_images_need_no_advice(stopped: Patient, stack: Stack) -> None:
    stopped.settings()
    sql(stack, "ALTER TABLE t_ord REPLICA IDENTITY FULL")
    assert wait_until(lambda: "D036" not in stopped.findings(), SECONDS)
    sql(stack, "ALTER TABLE t_ord REPLICA IDENTITY DEFAULT")


# -- MariaDB -------------------------------------------------------------------------------------------------------------

MARIADB_SCHEMA = """
CREATE TABLE shop.t_ord (ord_no bigint unsigned PRIMARY KEY, stat char(1) DEFAULT 'N', tot decimal(12,2), placed datetime(6),
  note text);
CREATE TABLE shop.t_line (ord_no bigint unsigned, line_no int, qty int, PRIMARY KEY (ord_no, line_no),
  FOREIGN KEY (ord_no) REFERENCES shop.t_ord (ord_no) ON DELETE CASCADE);
INSERT INTO shop.t_ord VALUES (1, 'N', 10.00, now(), 'x');
INSERT INTO shop.t_line VALUES (1, 1, 1)
"""
NO_ZERO_DATES = "STRICT_TRANS_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE"  # MariaDB's default allows them
STORE_TOPICS = ["store.shop.t_ord", "store.shop.t_line"]


@pytest.fixture(scope="module")
def store(stack: Stack, topics: Topics, tmp_path_factory: pytest.TempPathFactory) -> Patient:
    """The same on MariaDB, with a catalog; its connector is stopped once it was seen to be well."""
    stack.mariadb_sql(*MARIADB_SCHEMA.strip().split(";\n"), f"SET GLOBAL sql_mode = '{NO_ZERO_DATES}'")
    connector = stack.debezium_mariadb("store", ["shop.t_ord", "shop.t_line"], schemas=True)
    connector |= {"heartbeat.interval.ms": "500", "bigint.unsigned.handling.mode": "precise"}
    where = stack.mariadb
    database = {"host": where["host"], "port": where["port"], "user": where["user"], "database": "shop"}
    config = config_of(stack, "store", "mariadb", STORE_TOPICS, database)
    config["sources"]["store"]["catalog"] = "catalog.yaml"
    mapping = MAPPING.format(source="store", schema="shop")
    patient = Patient(stack, tmp_path_factory.mktemp("store"), connector, config, mapping)
    assert main(["introspect", "--config", str(patient.write_config())]) == 0
    stack.register("store", connector)
    assert wait_until(lambda: topics.exist([*STORE_TOPICS, "store.transaction"]), SECONDS)
    assert main(["topics", "--create", "--config", str(patient.write_config())]) == 0
    healthy = patient.findings()
    assert set(healthy) == {"D017"}, healthy.text
    patient.stop()
    assert wait_until(lambda: patient.findings().codes == {"D012"}, SECONDS)
    patient.baseline = {"D012", "D017"}
    return patient


VARIABLES: dict[str, tuple[str, str, str]] = {
    "statements": ("binlog_format = 'MIXED'", "binlog_format = 'ROW'", "D080"),
    "compressed": ("log_bin_compress = ON", "log_bin_compress = OFF", "D080"),
    "half images": ("binlog_row_image = 'MINIMAL'", "binlog_row_image = 'FULL'", "D081"),
    "no names": ("binlog_row_metadata = 'NO_LOG'", "binlog_row_metadata = 'FULL'", "D082"),
    "loose positions": ("gtid_strict_mode = OFF", "gtid_strict_mode = ON", "D083"),
    "short logs": ("binlog_expire_logs_seconds = 3600", "binlog_expire_logs_seconds = 0", "D084"),
    "zero dates": ("sql_mode = ''", f"sql_mode = '{NO_ZERO_DATES}'", "D086"),
}


@pytest.mark.parametrize("trap", VARIABLES)
def test_variables_of_mariadb(store: Patient, stack: Stack, trap: str) -> None:
    do, undo, code = VARIABLES[trap]
    store.settings()
    stack.mariadb_sql(f"SET GLOBAL {do}")
    try:
        store.shows(code)
    finally:
        stack.mariadb_sql(f"SET GLOBAL {undo}")


def test_mariadb(store: Patient) -> None:
    store.settings(bigint__unsigned__handling__mode=None)
    store.shows("D053")
    store.settings()
    store.shows("D085", changes={"catalog": None})


def test_a_type_that_ends_the_connector(store: Patient, stack: Stack) -> None:
    """Found before it hurts; it does hurt; and what the finding says does mend it."""
    resume, failed = f"{stack.connect_url}/connectors/store/resume", "task 0 has failed: "
    skip = {"schema__history__internal__skip__unparseable__ddl": "true"}
    store.settings()
    stack.mariadb_sql("CREATE TABLE shop.t_net (id int PRIMARY KEY, addr inet6)")
    store.shows("D054")
    store.settings(**skip, table__include__list=store.healthy["table.include.list"] + ",shop.t_net")
    store.shows("D054")
    store.settings()
    request(resume, "PUT")
    assert wait_until(lambda: failed in store.findings().text, SECONDS)
    store.settings(**skip)
    assert wait_until(lambda: set(store.findings()) == {"D017"}, SECONDS)


# -- the end of the slot: nothing below can be undone ---------------------------------------------------------------------


@contextmanager
def kept(stack: Stack, size: str) -> Iterator[None]:
    """max_slot_wal_keep_size; a new segment of WAL is begun."""
    sql(stack, f"ALTER SYSTEM SET max_slot_wal_keep_size = '{size}'", "SELECT pg_reload_conf()")
    try:
        yield
    finally:
        sql(stack, "ALTER SYSTEM RESET max_slot_wal_keep_size", "SELECT pg_reload_conf()")


def write_wal(stack: Stack, segments: int) -> None:
    """Each of 16 MiB."""
    for _ in range(segments):
        sql(stack, "UPDATE t_line SET qty = qty + 1", "SELECT pg_switch_wal()")


def test_a_slot_falls_behind_and_is_lost(stopped: Patient, stack: Stack) -> None:
    stopped.settings()
    stopped.baseline = stopped.baseline - {"D075"}  # there is a limit now
    with kept(stack, "100MB"):
        write_wal(stack, 5)
        stopped.shows("D074")
    stopped.baseline = stopped.baseline - {"D073"}  # a lost slot keeps nothing
    with kept(stack, "16MB"):
        write_wal(stack, 4)
        sql(stack, "CHECKPOINT")
        stopped.shows("D072")


def test_no_logical_decoding(stopped: Patient, stack: Stack) -> None:
    stopped.settings()
    sql(stack, "SELECT pg_drop_replication_slot('shop_slot')")
    settings = stack.home / "postgresql.conf"
    settings.write_text(settings.read_text().replace("wal_level=logical", "wal_level=replica"))
    stack.restart("postgres")
    assert wait_until(lambda: {"D070", "D071"} <= set(stopped.findings()), SECONDS)
