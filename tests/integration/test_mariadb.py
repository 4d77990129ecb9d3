"""A real MariaDB, a real Debezium and the bridge: whatever dies, a consumer sees what the source transactions did.

Clerks work on a schema whose foreign keys delete, move and orphan rows below the binary log. After each commit a clerk
reads its orders back from the database: that is the ledger, and it owes nothing to any record.
"""

from __future__ import annotations

import itertools
import json
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pymysql
import pytest

from deploy.stack import Stack
from deploy.stack.connect import request
from deploy.stack.process import wait_until
from tests.integration.seen import LIMITS, Application, Bridge, Outsider, run_command, visible

pytestmark = [pytest.mark.stack, pytest.mark.slow]

MAPPING = Path(__file__).parent / "mariadb" / "order.yaml"
SCHEMA = (
    "CREATE TABLE ord (id int PRIMARY KEY, st char(1) NOT NULL, tot int NOT NULL DEFAULT 0)",
    """CREATE TABLE lin (ord int, no int, sku varchar(20) NOT NULL, qty int NOT NULL, PRIMARY KEY (ord, no),
        FOREIGN KEY (ord) REFERENCES ord (id) ON DELETE CASCADE ON UPDATE CASCADE)""",
    """CREATE TABLE pay (id int PRIMARY KEY, ord int, amt int NOT NULL,
        FOREIGN KEY (ord) REFERENCES ord (id) ON DELETE SET NULL ON UPDATE CASCADE)""",
    "CREATE TABLE note (id int PRIMARY KEY, ord int, FOREIGN KEY (ord) REFERENCES ord (id) ON DELETE CASCADE)",
    "CREATE TABLE audit (what varchar(20))",
)
TABLES = [f"shop.{table}" for table in ("ord", "lin", "pay", "note", "audit")]
READ = [f"many.{table}" for table in TABLES[:4]]
SIGNAL = """INSERT INTO shop.debezium_signal VALUES
    ('again', 'execute-snapshot', '{"data-collections": ["shop.ord"], "type": "incremental"}')"""
WAIT = 90
PAUSE = 0.015  # between a clerk's transactions
LAST = 999_999
DEADLOCK = 1213
Event = tuple[str, dict[str, Any]]


class Clerk(threading.Thread):
    """Works on orders of its own; ``ledger``: by order the events that its commits mean."""

    def __init__(self, stack: Stack, number: int, orders: list[int], ledger: dict[str, list[Event]]) -> None:
        super().__init__(daemon=True)
        where: dict[str, Any] = {**stack.mariadb, "database": "shop"}
        self.connection = pymysql.connect(**where)
        self.db = self.connection.cursor()
        self.db.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        self.dice = random.Random(number)
        self.orders = orders
        self.ledger = ledger
        self.numbers = itertools.count(number * 100_000)
        self.done = threading.Event()
        self.error: BaseException | None = None
        self.actions = (
            [self.place] * 5 + [self.lines] * 4 + [self.revise] * 4 + [self.pay] * 3
            + [self.rekey, self.rekey, self.replace, self.delete, self.delete, self.again]
        )  # fmt: skip

    def run(self) -> None:
        try:
            while not self.done.is_set():
                self.work(self.dice.choice(self.actions))
                time.sleep(PAUSE)  # a pace, not a wait
        except Exception as error:  # noqa: BLE001 - the test's own thread tells it
            self.error = error
        finally:
            self.connection.close()  # or DDL would wait for it

    def work(self, action: Any, *arguments: int) -> None:
        """One transaction over one or two orders."""
        chosen = [*arguments] or self.dice.sample(self.orders, min(2, len(self.orders)))
        before = self.committed(lambda: {order: self.seen(order) for order in chosen})
        moved = {order: order for order in chosen} | (self.committed(lambda: action(*chosen)) or {})
        after = self.committed(lambda: {new: self.seen(new) for new in moved.values()})
        for old, new in moved.items():
            self.told(before.get(old), after[new], new, old)

    def committed(self, action: Callable[[], Any]) -> Any:
        """Until the other clerk or DDL is not in the way."""
        while True:
            try:
                found = action()
                self.connection.commit()
            except pymysql.err.OperationalError as error:
                if error.args[0] != DEADLOCK:
                    raise
                self.connection.rollback()
            else:
                return found

    def told(self, was: dict[str, Any] | None, now: dict[str, Any] | None, key: int, old: int) -> None:
        if was == now:
            return
        if now is None:
            self.ledger.setdefault(str(old), []).append(("OrderDeleted", {"orderId": str(old)}))
        else:
            kind = "OrderCreated" if was is None else "OrderChanged"
            self.ledger.setdefault(str(key), []).append((kind, now))

    def seen(self, order: int) -> dict[str, Any] | None:
        """The order as the database has it now."""
        row = self.rows("SELECT st, tot FROM ord WHERE id = %s", order)
        if not row:
            return None
        lines = self.rows("SELECT no, sku, qty FROM lin WHERE ord = %s ORDER BY no", order)
        paid = self.rows("SELECT coalesce(sum(amt), 0) FROM pay WHERE ord = %s", order)
        notes = self.rows("SELECT count(*) FROM note WHERE ord = %s", order)
        return {
            "orderId": str(order),
            "status": row[0][0],
            "total": row[0][1],
            "paid": int(paid[0][0]),
            "notes": notes[0][0],
            "lines": [{"no": no, "sku": sku, "quantity": qty} for no, sku, qty in lines],
        }

    def rows(self, text: str, *values: object) -> tuple[tuple[Any, ...], ...]:
        self.db.execute(text, values)
        found: tuple[tuple[Any, ...], ...] = self.db.fetchall()
        return found

    def place(self, *_: int) -> dict[int, int]:
        """A new order; children and parent in one transaction."""
        order = next(self.numbers)
        self.orders.append(order)
        self.fill(order)
        return {-1: order}

    def fill(self, order: int) -> None:
        self.rows("INSERT INTO ord VALUES (%s, 'N', 1)", order)
        self.rows("INSERT INTO lin (ord, no, sku, qty) VALUES (%s, 1, 'A', 1), (%s, 2, 'B', 2)", order, order)
        self.rows("INSERT INTO pay VALUES (%s, %s, 5)", next(self.numbers), order)

    def lines(self, order: int, *_: int) -> None:
        if self.dice.random() < 0.4:
            self.rows("DELETE FROM lin WHERE ord = %s AND no = 2", order)
        elif self.rows("SELECT 1 FROM ord WHERE id = %s", order):
            self.rows("REPLACE INTO lin (ord, no, sku, qty) VALUES (%s, %s, 'C', 3)", order, self.dice.randint(1, 4))
        self.rows("UPDATE lin SET qty = qty + 1 WHERE ord = %s", order)

    def revise(self, order: int, *_: int) -> None:
        """Several updates of one row."""
        for status in self.dice.choice(("NPN", "P", "PSX")):
            self.rows("UPDATE ord SET st = %s, tot = tot + 1 WHERE id = %s", status, order)

    def pay(self, order: int, other: int) -> None:
        """A payment that changes its order."""
        if self.rows("SELECT 1 FROM ord WHERE id = %s", other):
            self.rows("UPDATE pay SET ord = %s, amt = amt + 1 WHERE ord = %s", other, order)

    def rekey(self, order: int, *_: int) -> dict[int, int]:
        new = next(self.numbers)
        if not self.rows("SELECT 1 FROM ord WHERE id = %s", order):
            return {}
        self.rows("UPDATE ord SET id = %s WHERE id = %s", new, order)
        self.rows("UPDATE lin SET qty = qty + 1 WHERE ord = %s AND no = 1", new)
        self.orders.append(new)
        return {order: new}

    def replace(self, order: int, *_: int) -> None:
        """Deletes first, and the lines with it."""
        self.rows("REPLACE INTO ord VALUES (%s, 'R', 7)", order)

    def delete(self, order: int, *_: int) -> None:
        self.rows("DELETE FROM ord WHERE id = %s", order)

    def again(self, order: int, *_: int) -> None:
        """Gone and there again, with other lines."""
        self.rows("DELETE FROM ord WHERE id = %s", order)
        self.rows("INSERT INTO ord VALUES (%s, 'N', 2)", order)
        self.rows("INSERT INTO lin (ord, no, sku, qty) VALUES (%s, 1, 'Z', 9)", order)

    def last(self) -> None:
        self.orders.append(LAST)
        self.work(self.fill, LAST)


class Shop:
    def __init__(self, stack: Stack, home: Path) -> None:
        self.stack = stack
        self.home = home
        self.catalog = home / "catalog.yaml"
        self.ledger: dict[str, list[Event]] = {}
        self.clerks: list[Clerk] = []

    def open(self) -> None:
        self.sql(
            *(text.replace(" TABLE ", " TABLE shop.", 1).replace("REFERENCES ", "REFERENCES shop.") for text in SCHEMA)
        )
        for number in (1, 2):
            clerk = Clerk(self.stack, number, [], self.ledger)
            for _ in range(8):
                clerk.work(clerk.place)
            self.clerks.append(clerk)
        self.sql("INSERT INTO shop.note VALUES (1, NULL)")  # a topic is made with its first record
        self.ledger.clear()  # the snapshot's rows are no events
        done = run_command("introspect", "--url", self.url, "--output", str(self.catalog))
        assert done.returncode == 0, done.stderr.decode()
        for number, (name, single) in enumerate({"many": False, "one": True}.items()):
            config = self.stack.debezium_mariadb(
                name, TABLES, server_id=5400 + number, single_log=single, schemas=single
            )
            self.stack.register(name, config)
        assert wait_until(lambda: all(self.is_streaming(name) for name in ("many", "one")), WAIT)

    @property
    def url(self) -> str:
        return f"mariadb://root@{self.stack.mariadb['host']}:{self.stack.mariadb['port']}/shop"

    def is_streaming(self, connector: str) -> bool:
        """Whether Connect wrote down a place behind the snapshot: killed before, it would take another one."""
        offsets = request(f"{self.stack.connect_url}/connectors/{connector}/offsets")["offsets"]
        return any("file" in entry["offset"] and "snapshot" not in entry["offset"] for entry in offsets)

    def sql(self, *statements: str) -> None:
        self.stack.mariadb_sql(*statements)

    @contextmanager
    def application(self, name: str, inputs: dict[str, Any], **config: Any) -> Iterator[Application]:
        inputs = {"connector": "mariadb", "catalog": str(self.catalog)} | inputs
        made = Application(self.stack.bootstrap, self.home, name, inputs, **config)
        for path in made.mappings.iterdir():
            path.unlink()
        (made.mappings / "order.yaml").write_text(MAPPING.read_text().replace("EVENTS", made.events))
        made.make_topics()
        try:
            yield made
        finally:
            made.close()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    home = tmp_path_factory.mktemp("mariadb")
    with Stack(home / "stack", services=("kafka", "connect", "mariadb"), progress=lambda _: None) as stack:
        made = Shop(stack, home)
        made.open()
        yield made
        for clerk in made.clerks:
            clerk.done.set()


def finish(shop: Shop, application: Application, bridge: Bridge) -> None:
    """Wait for the last order's event, end the bridge, and compare with the ledger."""
    with Outsider(shop.stack.bootstrap, [application.events]) as outsider:
        until = time.monotonic() + WAIT
        while not any(record.key == b"%d" % LAST for record in outsider.look()):
            assert bridge.alive(), bridge.tail()
            assert time.monotonic() < until, bridge.tail()
    bridge.stop()
    assert visible(shop.stack.bootstrap, application.dead_letters) == []
    records = visible(shop.stack.bootstrap, application.events)
    found: dict[str, list[Event]] = {}
    for record in records:
        event = record.header("ce_type"), json.loads(record.value or b"")
        found.setdefault((record.key or b"").decode(), []).append(event)
    ids = [record.header("ce_id") for record in records]
    assert len(set(ids)) == len(ids), "an event is there twice"
    for key in sorted(found.keys() | shop.ledger.keys()):
        assert found.get(key) == shop.ledger.get(key), key


def grown(shop: Shop, count: int) -> None:
    """Wait until so many transactions more were captured."""
    with Outsider(shop.stack.bootstrap, ["many.transaction"]) as outsider:
        target = len(outsider.read_to_end()) + 2 * count
        until = time.monotonic() + WAIT
        while len(outsider.records) < target:
            outsider.look()
            assert all(clerk.error is None for clerk in shop.clerks), [clerk.error for clerk in shop.clerks]
            assert time.monotonic() < until, "nothing is captured"


def repeats(shop: Shop) -> int:
    """ENDs that came again."""
    ends = [json.loads(r.value or b"{}") for r in visible(shop.stack.bootstrap, "many.transaction")]
    ids = [end["id"] for end in ends if end["status"] == "END"]
    return len(ids) - len(set(ids))


def test_connect_and_the_bridge_killed_under_load(shop: Shop) -> None:
    inputs = {"topics": READ, "transaction_topic": "many.transaction"}
    with shop.application("kills", inputs) as application:
        bridge = application.start()
        bridge.wait_for("owner")
        for clerk in shop.clerks:
            clerk.start()
        grown(shop, 60)
        shop.sql("ALTER TABLE shop.lin ADD COLUMN colour int", "TRUNCATE shop.note", "TRUNCATE shop.audit")
        shop.stack.kill("connect")
        shop.stack.restart("connect")
        shop.sql("CREATE INDEX by_status ON shop.ord (st)")
        bridge.kill()
        bridge = application.start()
        for name in ("many", "one"):
            shop.stack.wait_running(name)
        shop.sql(SIGNAL)
        grown(shop, 60)
        bridge.kill()
        bridge = application.start()
        grown(shop, 30)
        for clerk in shop.clerks:
            clerk.done.set()
            clerk.join(WAIT)
            assert clerk.error is None, clerk.error
        Clerk(shop.stack, 9, [], shop.ledger).last()
        finish(shop, application, bridge)
    assert repeats(shop) > 0, "Connect repeated nothing: it was not killed under load"
    seeds = sum(b'"snapshot":"incremental"' in (r.value or b"") for r in visible(shop.stack.bootstrap, "many.shop.ord"))
    assert seeds > 0, "the incremental snapshot read nothing"


def test_one_log_with_inline_schemas(shop: Shop) -> None:
    """The same transactions from one log; the bridge dies in the middle of them."""
    small_steps = {**LIMITS, "read_records_max": 200, "commit_rows": 100}  # so that there is a second one to die in
    with shop.application("log", {"log": "one.log"}, limits=small_steps) as application:
        dying = application.start(BRIDGE_CRASH_AT="before_commit:2")
        assert dying.end() == -signal.SIGKILL
        finish(shop, application, application.start())
