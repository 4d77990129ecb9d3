"""Snapshots, backfills and columns that come and go, on the real servers: judged by what a read_committed consumer sees.

One stream flows through all tests; each runs the bridge under an application of its own.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka.admin import AdminClient

from deploy.stack import Stack
from deploy.stack.process import running, wait_until
from tests.integration.seen import ROOT, Application, Bridge, run_command, visible, wait_for_offsets

pytestmark = [pytest.mark.stack, pytest.mark.slow]

TABLES = ["public.t_ord", "public.t_line", "public.t_cust"]
SIGNAL = "public.debezium_signal"
SECONDS = 60
SCHEMA = """
CREATE TABLE t_ord (ord_no int PRIMARY KEY, st char(1) NOT NULL, cents int NOT NULL, cust_no int, unused int);
CREATE TABLE t_line (id int PRIMARY KEY, ord_no int NOT NULL, sku text NOT NULL);
CREATE TABLE t_cust (cust_no int PRIMARY KEY, tier text NOT NULL);
INSERT INTO t_cust VALUES (1, 'gold'), (2, 'plain');
INSERT INTO t_ord SELECT n, 'N', n * 100, 1 FROM generate_series(1, 200) n;
INSERT INTO t_line SELECT n, n, 'sku' || n FROM generate_series(1, 200) n;
"""
TOPIC = """INSERT INTO debezium_signal VALUES ('first', 'log', '{"message": "so that its topic is there"}')"""


def mapping(*, lines: bool = False, customer: bool = False, cents: bool = True, columns: str = "") -> str:
    """The order as one of the tests' mappings sees it."""
    tables, model = "", ""
    if lines:
        tables += "\n  lines:\n    table: public.t_line\n    many: true\n    match: {ord_no: order.ord_no}"
        model += (
            "\n  lines:\n    each: lines\n    order_by: id\n    fields:\n      id: int = id\n      sku: string = sku"
        )
    if customer:
        tables += "\n  customer:\n    lookup: public.t_cust\n    match: {cust_no: order.cust_no}"
        model += "\n  tier: string? = customer.tier"
    if cents:
        model += "\n  cents: int = order.cents"
    names = [name for name, there in (("lines", lines), ("tier", customer), ("cents", cents)) if there]
    return f"""\
aggregate: Order
source: legacy
key: order.ord_no
tables:
  order:
    table: public.t_ord{tables}
model:
  orderId: int = order.ord_no
  status: string = order.st{model}{columns}
events:
  OrderChanged:
    topic: TOPIC
    when: not deleted()
    data: [{", ".join(["orderId", "status", *names])}]
  OrderDeleted:
    topic: TOPIC
    when: deleted()
    data: [orderId]
"""


class Shop:
    """The database and its connector."""

    def __init__(self, stack: Stack, home: Path) -> None:
        self.stack = stack
        self.home = home
        self._number = itertools.count(1)

    def open(self) -> None:
        self.sql(SCHEMA)
        self.register()
        self.sql(TOPIC)
        client = AdminClient({"bootstrap.servers": self.stack.bootstrap})
        wanted = {f"shop.{table}" for table in [*TABLES, SIGNAL]} | {"shop.transaction"}
        assert wait_until(lambda: wanted <= client.list_topics(timeout=10).topics.keys(), SECONDS)
        wait_for_offsets(self.stack, "shop")

    def register(self, *more: str) -> None:
        """``more``: tables that join the capture."""
        fast = {"heartbeat.interval.ms": "500", "incremental.snapshot.chunk.size": "64"}
        self.stack.register("shop", self.stack.debezium_postgres("shop", [*TABLES, *more]) | fast)

    def is_published(self, table: str) -> bool:
        """Whether changes of it are decoded from now on: when a connector that was registered again has begun."""
        query = "SELECT 1 FROM pg_publication_tables WHERE schemaname || '.' || tablename = %s"
        with psycopg.connect(**self.stack.postgres) as connection:  # type: ignore[arg-type]
            return connection.execute(query, [table]).fetchone() is not None

    def sql(self, text: str) -> None:
        with psycopg.connect(**self.stack.postgres, autocommit=True) as connection:  # type: ignore[arg-type]
            connection.execute(text)

    def signal(self, kind: str, *tables: str) -> None:
        data = json.dumps({"type": kind, "data-collections": list(tables)})
        self.sql(f"INSERT INTO debezium_signal VALUES ('t{time.monotonic_ns()}', 'execute-snapshot', '{data}')")  # noqa: S608

    def application(self, name: str, text: str, **source: Any) -> Application:
        inputs = {
            "topics": [f"shop.{table}" for table in [*TABLES, SIGNAL]],
            "transaction_topic": "shop.transaction",
            "signal_table": SIGNAL,
            "database": {key: self.stack.postgres[key] for key in ("host", "port", "user", "password")}
            | {"database": self.stack.postgres["dbname"]},
        }
        application = Application(self.stack.bootstrap, self.home, name, inputs | source)
        write(application, text)
        application.make_topics()
        return application


def write(application: Application, text: str) -> None:
    for path in application.mappings.glob("*.yaml"):
        path.unlink()
    (application.mappings / "order.yaml").write_text(text.replace("TOPIC", application.events))


def events(application: Application) -> list[tuple[str, dict[str, Any]]]:
    found = visible(application.bootstrap, application.events)
    return [(one.header("ce_type"), json.loads(one.value or b"")) for one in found]


def last(application: Application, order: int) -> dict[str, Any] | None:
    return next((data for _, data in reversed(events(application)) if data["orderId"] == order), None)


def await_event(bridge: Bridge, application: Application, order: int, **wanted: Any) -> dict[str, Any]:
    """Until the newest event of an order says this."""

    def is_there() -> bool:
        data = last(application, order)
        return data is not None and all(data.get(name) == value for name, value in wanted.items())

    bridge.wait_until(is_there, f"no event of order {order} with {wanted}: {last(application, order)}", SECONDS)
    found = last(application, order)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    services = ("postgres", "kafka", "connect")
    with Stack(tmp_path_factory.mktemp("seeding"), services=services, progress=lambda _: None) as stack:
        shop = Shop(stack, tmp_path_factory.mktemp("applications"))
        shop.open()
        yield shop


def test_a_table_that_a_mapping_takes_up_is_backfilled_from_the_topics_while_the_bridge_runs(shop: Shop) -> None:
    application = shop.application("topics", mapping())
    bridge = application.start()
    shop.sql("UPDATE t_ord SET st = 'P' WHERE ord_no = 1")
    await_event(bridge, application, 1, status="P")
    bridge.stop()
    write(application, mapping(lines=True))
    refused = run_command("run", "--config", str(application.write_config("b")))
    assert refused.returncode == 70
    assert b"B503" in refused.stderr
    assert b"public.t_line" in refused.stderr
    assert b"bridge backfill" in refused.stderr
    write(application, mapping())
    bridge = application.start()
    bridge.wait_for("owner")

    write(application, mapping(lines=True))
    filled = run_command("backfill", "--config", str(application.config))
    assert filled.returncode == 0, filled.stderr
    assert b"public.t_line: staged" in filled.stderr
    shop.sql("INSERT INTO t_line VALUES (1000, 1, 'late')")  # the bridge of the old mapping goes on
    shop.sql("UPDATE t_ord SET st = 'Q' WHERE ord_no = 2")
    bridge.wait_until(lambda: last(application, 2) is not None, "the old mapping went on", SECONDS)
    bridge.stop()

    bridge = application.start()
    shop.sql("UPDATE t_ord SET st = 'S' WHERE ord_no = 1")
    data = await_event(bridge, application, 1, status="S")
    assert data["lines"] == [{"id": 1, "sku": "sku1"}, {"id": 1000, "sku": "late"}]
    bridge.stop()


def signalled(application: Application, table: str) -> tuple[Bridge, str]:
    """A backfill from the database, beside a bridge that it lets begin; the bridge, and what it told."""
    command = [sys.executable, "-m", "bridge", "backfill", "--signal", "--config", str(application.config)]
    with running(command, cwd=ROOT, stderr=subprocess.PIPE) as backfill:
        assert backfill.stderr is not None
        assert table in backfill.stderr.readline()
        bridge = application.start()
        _, told = backfill.communicate(timeout=SECONDS + 60)
    assert backfill.returncode == 0, told
    return bridge, told


def test_a_lookup_is_backfilled_by_a_signal_while_other_aggregates_go_on(shop: Shop) -> None:
    application = shop.application("signal", mapping())
    bridge = application.start()
    shop.sql("UPDATE t_ord SET st = 'A' WHERE ord_no = 10")
    await_event(bridge, application, 10, status="A")
    write(application, mapping(customer=True))
    bridge.stop()

    bridge, told = signalled(application, "public.t_cust")
    assert "public.t_cust, public.t_ord: complete" in told or "public.t_cust: complete" in told
    shop.sql("UPDATE t_ord SET st = 'B' WHERE ord_no = 10")
    assert await_event(bridge, application, 10, status="B")["tier"] == "gold"
    assert bridge.metric("seed_differences_total") == 0
    bridge.stop()


@pytest.mark.parametrize("kind", ["incremental", "blocking"])
def test_a_snapshot_in_the_middle_of_changes_changes_nothing(shop: Shop, kind: str) -> None:
    application = shop.application(kind, mapping(lines=True), snapshot_changes="stop")
    bridge = application.start()
    bridge.wait_for("owner")
    for number in range(11, 61):
        if number == 20:
            shop.signal(kind, *TABLES)
        shop.sql(f"UPDATE t_ord SET cents = cents + 1 WHERE ord_no = {number}")  # noqa: S608
        shop.sql(f"UPDATE t_line SET sku = '{kind}' WHERE id = {number}")  # noqa: S608
    bridge.wait_until(lambda: bridge.metric("seeds_total") >= 780, "the snapshot's rows came", SECONDS)
    shop.sql(f"UPDATE t_ord SET st = '{kind[0]}' WHERE ord_no = 60")  # noqa: S608
    await_event(bridge, application, 60, status=kind[0])
    bridge.stop()
    told = [data for _, data in events(application) if 11 <= data["orderId"] <= 60 and data["lines"][0]["sku"] == kind]
    assert len(told) == 51, "one event for each second update, and one for the last"


def test_a_table_that_joins_the_capture_later_is_read_by_a_signal(shop: Shop) -> None:
    """Its rows that were there before are in no record of the topics."""
    application = shop.application("late", mapping())
    bridge = application.start()
    shop.sql("CREATE TABLE t_late (id int PRIMARY KEY, ord_no int NOT NULL, sku text NOT NULL)")
    shop.sql("INSERT INTO t_late SELECT n, n, 'early' FROM generate_series(300, 309) n")
    shop.sql("INSERT INTO t_ord SELECT n, 'N', n, 1 FROM generate_series(300, 309) n")
    await_event(bridge, application, 309, status="N")
    shop.register("public.t_late")
    assert wait_until(lambda: shop.is_published("public.t_late"), SECONDS), "the connector did not take it up"
    shop.sql("INSERT INTO t_late VALUES (1, 300, 'late'), (2, 1, 'late')")
    client = AdminClient({"bootstrap.servers": shop.stack.bootstrap})
    topic = "shop.public.t_late"
    assert wait_until(lambda: topic in client.list_topics(timeout=10).topics, SECONDS), "the table did not join"
    bridge.stop()

    application.inputs["topics"].append(topic)
    write(application, mapping(lines=True).replace("public.t_line", "public.t_late"))
    refused = run_command("run", "--config", str(application.write_config("a")))
    assert refused.returncode == 70
    assert b"B503" in refused.stderr
    bridge, _ = signalled(application, "public.t_late")
    shop.sql("UPDATE t_ord SET st = 'S' WHERE ord_no IN (300, 301)")
    early = [{"id": 300, "sku": "early"}]
    assert await_event(bridge, application, 300, status="S")["lines"] == [{"id": 1, "sku": "late"}, *early]
    assert await_event(bridge, application, 301, status="S")["lines"] == [{"id": 301, "sku": "early"}]
    bridge.stop()


def test_what_changed_while_the_slot_was_lost_is_published_and_ghosts_are_deleted(shop: Shop) -> None:
    application = shop.application("lost", mapping(), snapshot_changes="publish")
    bridge = application.start()
    shop.sql("UPDATE t_ord SET st = 'L' WHERE ord_no = 100")
    await_event(bridge, application, 100, status="L")
    shop.stack.unregister("shop")
    shop.sql("UPDATE t_ord SET st = 'M' WHERE ord_no = 100; DELETE FROM t_ord WHERE ord_no = 101")
    shop.sql("INSERT INTO t_ord VALUES (900, 'N', 5, 1)")
    shop.register()
    wait_for_offsets(shop.stack, "shop")
    shop.sql("UPDATE t_ord SET st = 'Z' WHERE ord_no = 102")
    await_event(bridge, application, 102, status="Z")
    bridge.stop()
    missed = [(kind, data["orderId"]) for kind, data in events(application) if data["orderId"] in (100, 101, 900)]
    assert sorted(missed) == [
        ("OrderChanged", 100),
        ("OrderChanged", 100),
        ("OrderChanged", 900),
        ("OrderDeleted", 101),
    ]
    assert last(application, 100) == {"orderId": 100, "status": "M", "cents": 10000}


def test_columns_come_and_go(shop: Shop) -> None:
    application = shop.application("columns", mapping())
    bridge = application.start()
    shop.sql("ALTER TABLE t_ord ADD COLUMN more int DEFAULT 7; ALTER TABLE t_ord DROP COLUMN unused")
    shop.sql("ALTER TABLE t_ord ALTER COLUMN cents TYPE bigint")
    shop.sql("UPDATE t_ord SET cents = 777, more = 8 WHERE ord_no = 120")
    await_event(bridge, application, 120, cents=777)
    shop.sql("ALTER TABLE t_ord RENAME COLUMN cents TO total")
    shop.sql("UPDATE t_ord SET st = 'G' WHERE ord_no = 121")
    assert bridge.end(SECONDS) == 65
    assert "B307" in bridge.tail()
    assert "public.t_ord.cents" in bridge.tail()
    assert last(application, 121) is None

    write(application, mapping(cents=False))
    bridge = application.start()
    await_event(bridge, application, 121, status="G")
    bridge.stop()
