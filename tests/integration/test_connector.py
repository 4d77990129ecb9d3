"""Where the connector itself loses rows in silence, shown on the version that the stack pins: no bridge can mend that.

A transaction is open, another one commits, and the open one's next row lies at the very position where that COMMIT ends.
The connector's stored offset is that position. When it comes back it takes that row for the one that it acknowledged,
skips the open transaction up to there, and END counts what is left.

Debezium's PostgreSQL connector up to 3.6 does so where the offset stands at that COMMIT (debezium/dbz#76). 3.7.0 does
not: but it still does where the offset stands at the BEGIN of the open transaction, which is written with that position.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from deploy.stack import Stack
from deploy.stack.connect import request
from deploy.stack.process import wait_until
from tests.integration.seen import Record, visible
from tests.integration.witness import Witness

pytestmark = [pytest.mark.stack, pytest.mark.slow]

QUIET = {"heartbeat.interval.ms": "0", "heartbeat.action.query": ""}  # nothing may be acknowledged after the position
LIMIT = "producer.override.max.request.size"
LARGE = "SELECT string_agg(md5(n::text), '') FROM generate_series(1, 10000) n"  # a note of 320 kB
OFFSETS_SECONDS = 60


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("held") / "stack", progress=lambda _: None) as stack:
        yield stack


class Table:
    """A table, its connector, and a witness."""

    def __init__(self, stack: Stack, database: psycopg.Connection[Any], name: str, **config: str) -> None:
        self.stack = stack
        self.connector = name.removeprefix("t_")
        self.topic = f"{self.connector}.public.{name}"
        database.execute(f"CREATE TABLE {name} (id integer PRIMARY KEY, note text)")
        self.config = stack.debezium_postgres(self.connector, [f"public.{name}"]) | QUIET | config
        stack.register(self.connector, self.config)
        slot = "SELECT 1 FROM pg_replication_slots WHERE active AND slot_name = %s"
        assert wait_until(lambda: bool(database.execute(slot, [self.config["slot.name"]]).fetchall()), OFFSETS_SECONDS)

    def records(self) -> list[Record]:
        return visible(self.stack.bootstrap, self.topic)

    def rows(self) -> list[int]:
        return [json.loads(record.key or b"{}")["id"] for record in self.records()]

    def markers(self) -> list[dict[str, Any]]:
        return [json.loads(r.value or b"{}") for r in visible(self.stack.bootstrap, f"{self.connector}.transaction")]

    def state(self) -> str:
        """Of the connector's task; "" while there is none."""
        tasks = request(f"{self.stack.connect_url}/connectors/{self.connector}/status")["tasks"]
        return str(tasks[0]["state"]) if tasks else ""

    def stored(self, status: str) -> bool:
        """Whether Connect's stored offset is the marker of this status that the connector wrote last."""
        last = [int(marker["id"].partition(":")[2]) for marker in self.markers() if marker["status"] == status]
        offsets = visible(self.stack.bootstrap, "connect-offsets")
        mine = [json.loads(r.value or b"{}") for r in offsets if f'"{self.connector}"'.encode() in (r.key or b"")]
        return bool(last) and bool(mine) and mine[-1].get("lsn") == last[-1]


def test_a_transaction_that_is_open_when_the_connector_dies_comes_whole(stack: Stack) -> None:
    with psycopg.connect(**stack.postgres, autocommit=True) as database:  # type: ignore[arg-type]
        table = Table(stack, database, "t_held")
        with psycopg.connect(**stack.postgres) as held:  # type: ignore[arg-type]
            held.execute("INSERT INTO t_held VALUES (1)")
            database.execute("INSERT INTO t_held VALUES (10)")
            held.execute("INSERT INTO t_held VALUES (2)")  # at the position where the other's COMMIT ends
            assert wait_until(lambda: table.stored("END"), OFFSETS_SECONDS)
            stack.kill("connect")
            held.execute("INSERT INTO t_held VALUES (3)")
        stack.restart("connect")
        stack.wait_running("held")
        database.execute("INSERT INTO t_held VALUES (99)")
        assert wait_until(lambda: 99 in table.rows(), OFFSETS_SECONDS)
    assert sorted(table.rows()) == [1, 2, 3, 10, 99]


def test_a_transaction_is_lost_whose_begin_is_the_stored_offset(stack: Stack) -> None:
    """If this fails because nothing is lost any more, the README, the doctor's D013 and the witness can go."""
    with psycopg.connect(**stack.postgres, autocommit=True) as database:  # type: ignore[arg-type]
        table = Table(stack, database, "t_begun", **{"max.batch.size": "1", LIMIT: "100000"})
        witness = Witness(stack.postgres, ["public.t_begun"])
        with psycopg.connect(**stack.postgres) as held:  # type: ignore[arg-type]
            held.execute(f"INSERT INTO t_begun SELECT 1, ({LARGE})")  # fails after BEGIN was written
            database.execute("INSERT INTO t_begun VALUES (10)")
            held.execute("INSERT INTO t_begun VALUES (2)")  # at the position where the other's COMMIT ends
            held.execute("INSERT INTO t_begun VALUES (3)")
        assert wait_until(lambda: table.state() == "FAILED", OFFSETS_SECONDS)
        assert wait_until(lambda: table.stored("BEGIN"), OFFSETS_SECONDS)
        request(f"{stack.connect_url}/connectors/begun/config", "PUT", table.config | {LIMIT: "10000000"})
        assert wait_until(lambda: table.state() == "RUNNING", OFFSETS_SECONDS)
        database.execute("INSERT INTO t_begun VALUES (99)")
        assert wait_until(lambda: 99 in table.rows(), OFFSETS_SECONDS)
    assert sorted(table.rows()) == [3, 10, 99]
    assert [row.column("id") for row in witness.lost(table.records())] == ["1", "2"]
    counts = [marker["event_count"] for marker in table.markers() if marker["status"] == "END"]
    assert counts == [1, 1, 1], "END counts what is left, so nobody can notice"
