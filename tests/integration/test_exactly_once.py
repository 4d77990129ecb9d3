"""Exactly once on the real servers: whatever dies, a read_committed consumer sees what the source transactions mean.

One stream flows through all tests: clerks work on a real PostgreSQL, a real Debezium captures it twice (a topic per
table, and one log with inline schemas). Each test runs the bridge under an application name of its own from the
beginning of the topics, lets something die, waits for the event of an order that was placed last, and compares every
byte with the naive model of the topics, and the events with the ledger that the clerks wrote. An order whose rows the
connector itself lost (test_connector.py) is out of the ledger's comparison; a witness beside the connector knows them.
"""

from __future__ import annotations

import itertools
import json
import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka.admin import AdminClient

from bridge.torture.faults import CRASH_POINTS
from deploy.stack import Stack
from deploy.stack.process import Command, Server, start, wait_until
from legacy_demo import workload
from legacy_demo.clerk import Clerk
from legacy_demo.verify import PublishedEvent, read_ledger, verify
from tests.integration.naive_orders import Truth, truth
from tests.integration.seen import (
    LIMITS,
    ROOT,
    Application,
    Bridge,
    Outsider,
    Record,
    visible,
    wait_all,
    wait_for_offsets,
)
from tests.integration.witness import Witness

pytestmark = [pytest.mark.stack, pytest.mark.slow]

TABLES = [f"shop.{table}" for table in workload.TABLES]
TOPIC_PER_TABLE: dict[str, Any] = {"topics": TABLES, "transaction_topic": "shop.transaction"}
SINGLE_LOG: dict[str, Any] = {"log": "one.log"}
CLERKS = 8
LAST_CLERK = 20  # places the orders that tests wait for
EVENT_SECONDS = 60
SIDE_BY_SIDE = 7  # applications at once


class Shop:
    """The legacy system, its ledger, and the servers around it."""

    def __init__(self, stack: Stack, home: Path) -> None:
        self.stack = stack
        self.home = home
        self.ledger = home / "ledger.jsonl"
        self._loads = itertools.count(1)

    def open(self) -> None:
        workload.create_schema(self.stack.postgres)
        self.witness = Witness(self.stack.postgres, workload.TABLES)
        self.stack.register("shop", self.stack.debezium_postgres("shop", workload.TABLES))
        log = self.stack.debezium_postgres("one", workload.TABLES, single_log=True, schemas=True)
        self.stack.register("one", log)
        client = AdminClient({"bootstrap.servers": self.stack.bootstrap})
        wanted = {*TABLES, "shop.transaction", "one.log"}
        assert wait_until(lambda: wanted <= client.list_topics(timeout=10).topics.keys(), 60)
        wait_for_offsets(self.stack, "shop")
        wait_for_offsets(self.stack, "one")

    @contextmanager
    def load(self, rate: float = 60) -> Iterator[None]:
        """Clerks at work for as long as the test does something else."""
        seed = next(self._loads)
        server = self._clerks("--rate", str(rate), "--seconds", "120", "--seed", str(seed))
        try:
            yield
            assert server.alive(), server.log_tail()
            server.stop(20)
            assert server.child is not None
            assert server.child.returncode == 0, server.log_tail()
        finally:
            server.kill()

    def work(self, transactions: int) -> None:
        """So many transactions, as fast as the clerks can."""
        seed = next(self._loads)
        server = self._clerks("--rate", "0", "--transactions", str(transactions), "--seed", str(seed))
        assert wait_until(lambda: not server.alive(), 60)
        assert server.child is not None
        assert server.child.returncode == 0, server.log_tail()

    def _clerks(self, *arguments: str) -> Server:
        names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}
        environment = {names[name]: str(value) for name, value in self.stack.postgres.items()}
        fixed = ["--ledger", str(self.ledger), "--clerks", str(CLERKS)]
        command = [sys.executable, "-m", "legacy_demo.workload", *fixed, *arguments]
        log = self.home / "workload.log"
        return start(Command("workload", command, log, ROOT, environment=environment), detached=False)

    def place_last_order(self) -> bytes:
        """What belongs before its event is out with it, or will never be."""
        clerk = Clerk(LAST_CLERK, LAST_CLERK + 1, 1)
        with psycopg.connect(**self.stack.postgres) as connection:  # type: ignore[arg-type]
            db = connection.cursor()
            clerk.adopt(db)
            facts = clerk.place_one(db)
        with self.ledger.open("a") as book:
            book.writelines(json.dumps(asdict(fact)) + "\n" for fact in facts)
        return facts[0].key.encode()

    def truth(self, inputs: dict[str, Any]) -> Truth:
        """What the topics mean now."""
        return truth(self._captured(inputs))

    def _captured(self, inputs: dict[str, Any]) -> list[Record]:
        topics = [inputs["log"]] if "log" in inputs else [*inputs["topics"], inputs["transaction_topic"]]
        return visible(self.stack.bootstrap, *topics)

    def lost_orders(self, inputs: dict[str, Any]) -> set[str]:
        """Keys of the orders of which a committed row is not in the topics."""
        lost = self.witness.lost(self._captured(inputs))
        return {key for key in (row.column("ord_no") for row in lost) if key is not None}

    @contextmanager
    def application(self, name: str, inputs: dict[str, Any] | None = None, **config: Any) -> Iterator[Application]:
        made = Application(self.stack.bootstrap, self.home, name, inputs or TOPIC_PER_TABLE, **config)
        made.make_topics()
        try:
            yield made
        finally:
            made.close()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    home = tmp_path_factory.mktemp("shop")
    with Stack(home / "stack", progress=lambda _: None) as stack:
        shop = Shop(stack, home)
        shop.open()
        yield shop


def published(shop: Shop, application: Application) -> list[Record]:
    assert visible(shop.stack.bootstrap, application.dead_letters) == []
    return visible(shop.stack.bootstrap, application.events)


def judge(shop: Shop, application: Application, expected: Truth) -> None:
    """The verdict: every byte is what the topics mean, in order per key, once; and the business agrees."""
    records = published(shop, application)
    found: dict[str, list[tuple[bytes, tuple[tuple[str, bytes], ...]]]] = {}
    for record in records:
        found.setdefault((record.key or b"").decode(), []).append((record.value or b"", record.headers))
    ids = [record.header("ce_id") for record in records]
    assert len(set(ids)) == len(ids), "an event is there twice"
    assert found.keys() == expected.events.keys()
    for key, events in found.items():
        assert events == expected.events[key], key
    told = [
        PublishedEvent(r.header("ce_id"), r.header("ce_type"), (r.key or b"").decode(), json.loads(r.value or b""))
        for r in records
    ]
    facts = read_ledger(shop.ledger)
    report = verify(facts, told)
    assert report.events == len(records)
    if not report.right:
        lost = shop.lost_orders(application.inputs)
        report = verify([fact for fact in facts if fact.key not in lost], [e for e in told if e.key not in lost])
    assert report.right, report.examples
    assert report.expected == report.events


def finish(shop: Shop, application: Application, *bridges: Bridge) -> Truth:
    """Wait for the last order's event, end the bridges, and judge."""
    key = shop.place_last_order()
    with Outsider(shop.stack.bootstrap, [application.events]) as outsider:
        until = time.monotonic() + EVENT_SECONDS
        while not any(record.key == key for record in outsider.look()):
            for bridge in bridges:
                assert bridge.alive(), bridge.tail()
            assert time.monotonic() < until, bridges[-1].tail()
    for bridge in bridges:
        bridge.stop()
    expected = shop.truth(application.inputs)
    judge(shop, application, expected)
    return expected


# -- one stream, one death after the other -----------------------------------------------------------------------------


def test_killed_at_random_moments_under_load(shop: Shop) -> None:
    dice = random.Random(20_26)
    with shop.application("random") as application:
        with shop.load():
            for _ in range(3):
                bridge = application.start()
                bridge.wait_for("owner")
                time.sleep(dice.uniform(0.05, 1.2))  # the moment is the point
                bridge.kill()
            bridge = application.start()
            bridge.wait_for("owner")
        finish(shop, application, bridge)


def test_a_standby_takes_over_from_a_killed_owner_and_from_one_that_leaves(shop: Shop) -> None:
    with shop.application("takeover") as application:
        with shop.load():
            first = application.start("a")
            first.wait_for("owner")
            second = application.start("b")
            second.wait_for("standby")
            first.kill()
            second.wait_for("owner")
            third = application.start("a")
            third.wait_for("standby")
            second.stop()
            third.wait_for("owner")
        finish(shop, application, third)


def test_a_zombie_does_nothing_and_stands_by(shop: Shop) -> None:
    with shop.application("zombie") as application:
        with shop.load():
            zombie = application.start("a")
            zombie.wait_for("owner")
            successor = application.start("b")
            successor.wait_for("standby")
            zombie.send(signal.SIGSTOP)
            successor.wait_for("owner")
            zombie.send(signal.SIGCONT)
            zombie.wait_for("standby")
            assert successor.state() == "owner"
        finish(shop, application, successor, zombie)


@pytest.mark.parametrize("point", ["after_begin", "after_send_offsets", "before_commit"])
def test_a_zombie_that_wakes_inside_a_kafka_transaction(shop: Shop, point: str) -> None:
    with shop.application(f"zombie-{point}") as application:
        zombie = application.start("a", BRIDGE_CRASH_AT=f"{point}:2", BRIDGE_CRASH_SIGNAL="STOP")
        wait_all(lambda: [] if _stopped(zombie) else [point], EVENT_SECONDS)
        successor = application.start("b")
        successor.wait_for("owner")
        zombie.send(signal.SIGCONT)
        zombie.wait_for("standby")
        finish(shop, application, successor, zombie)


def _stopped(bridge: Bridge) -> bool:
    assert bridge.alive(), bridge.tail()
    return Path(f"/proc/{bridge.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_kafka_connect_killed_under_load(shop: Shop) -> None:
    with shop.application("connect") as application:
        bridge = application.start()
        bridge.wait_for("owner")
        with shop.load():
            for _ in range(2):
                wait_for_growth(shop, "shop.transaction", 200)
                shop.stack.kill("connect")
                shop.stack.restart("connect")
                shop.stack.wait_running("shop")
                shop.stack.wait_running("one")
        expected = finish(shop, application, bridge)
        assert expected.repeated_ends + expected.restarts > 0, "Connect repeated nothing: it was not killed under load"


def wait_for_growth(shop: Shop, topic: str, count: int) -> None:
    """Wait until a topic grew by so many records."""
    with Outsider(shop.stack.bootstrap, [topic]) as outsider:
        target = len(outsider.read_to_end()) + count
        until = time.monotonic() + EVENT_SECONDS
        while len(outsider.records) < target:
            outsider.look()
            assert time.monotonic() < until, f"{topic} does not grow"


def test_the_broker_killed_under_load(shop: Shop) -> None:
    with shop.application("broker") as application:
        bridge = application.start()
        bridge.wait_for("owner")
        with shop.load():
            wait_for_growth(shop, "shop.transaction", 100)
            shop.stack.kill("kafka")
            shop.stack.restart("kafka")
            shop.stack.wait_running("shop")
            shop.stack.wait_running("one")
            wait_for_growth(shop, "shop.transaction", 100)
        finish(shop, application, bridge)


# -- one backlog, killed at every point -------------------------------------------------------------------------------


def small_steps() -> dict[str, Any]:
    """Limits that make many Kafka transactions of a backlog."""
    return {"limits": {**LIMITS, "read_records_max": 400, "commit_rows": 200}}


def test_killed_at_every_crash_point(shop: Shop) -> None:
    shop.work(300)
    key = shop.place_last_order()
    plans = [[f"{point}:{n}"] for point in CRASH_POINTS if point != "after_restore" for n in (1, 3)]
    plans += [
        ["after_restore"],
        ["before_commit:3", "after_restore"],
        ["after_commit:2", "after_restore", "after_read:2"],
    ]
    for first in range(0, len(plans), SIDE_BY_SIDE):
        _crash_and_judge(shop, key, plans[first : first + SIDE_BY_SIDE])


def _crash_and_judge(shop: Shop, key: bytes, plans: list[list[str]]) -> None:
    """Side by side: each application dies at its points, one after the other, and then goes on to the end."""
    with ExitStack() as cleanup:
        runs = []
        for points in plans:
            name = "-".join(points).replace(":", "-")
            application = cleanup.enter_context(shop.application(name, **small_steps()))
            outsider = cleanup.enter_context(Outsider(shop.stack.bootstrap, [application.events]))
            runs.append(Run(application, outsider, key, [*points, ""]))
        wait_all(lambda: [run.application.name for run in runs if not run.goes_on()], 90)
        for run in runs:
            run.bridge.wait_for("owner")  # the event may be an earlier process's
            run.bridge.send(signal.SIGTERM)
        expected = shop.truth(TOPIC_PER_TABLE)  # the last order's event is out, so the topics hold everything by now
        for run in runs:
            run.bridge.must_end_well()
            judge(shop, run.application, expected)


class Run:
    """One application on its way through its crash points."""

    def __init__(self, application: Application, outsider: Outsider, key: bytes, points: list[str]) -> None:
        self.application = application
        self._outsider = outsider
        self._key = key
        self._points = iter(points)
        self._point = ""
        self.bridge = self._next()

    def _next(self) -> Bridge:
        self._point = next(self._points)
        return self.application.start(BRIDGE_CRASH_AT=self._point)

    def goes_on(self) -> bool:
        """Start the next process where one died; whether the last order's event is out."""
        if not self.bridge.alive():
            assert self._point, self.bridge.tail()
            assert self.bridge.end() == -signal.SIGKILL, self.bridge.tail()
            self.bridge = self._next()
        return not self._point and any(
            record.key == self._key for record in self._outsider.look(0.02) or self._outsider.records
        )


# -- other set-ups ----------------------------------------------------------------------------------------------------


def test_single_log_with_inline_schemas_gives_the_same_bytes(shop: Shop) -> None:
    with shop.application("one-log", SINGLE_LOG, **small_steps()) as application:
        bridge = application.start(BRIDGE_CRASH_AT="before_commit:3")
        assert bridge.end() == -signal.SIGKILL
        finish(shop, application, application.start())
        judge(shop, application, shop.truth(TOPIC_PER_TABLE))


def test_an_exactly_once_source_repeats_nothing(shop: Shop) -> None:
    """Connect goes over to exactly-once source mode, and is killed in it: see the README's recommendation."""
    stack = shop.stack
    properties = stack.home / "connect.properties"
    enabled = properties.read_text().replace("support=disabled", "support=enabled")
    properties.write_text(enabled)
    stack.restart("connect")
    stack.wait_running("shop")
    before = shop.truth(TOPIC_PER_TABLE)
    with shop.application("eos") as application:
        bridge = application.start()
        bridge.wait_for("owner")
        with shop.load():
            wait_for_growth(shop, "shop.transaction", 200)
            stack.kill("connect")
            stack.restart("connect")
            stack.wait_running("shop")
        expected = finish(shop, application, bridge)
    assert expected.repeated_ends == before.repeated_ends
    assert expected.repeated_rows == before.repeated_rows
