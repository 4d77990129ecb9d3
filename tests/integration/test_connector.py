"""What the connector itself must not do, shown on the version that the stack pins: no bridge can mend rows that never came.

Debezium's PostgreSQL connector up to 3.6 loses rows in silence (debezium/dbz#76): it is killed right after a COMMIT,
while another transaction is open whose next row lies at the very position where that COMMIT ends. When it comes back it
takes that row for the one that it acknowledged, skips the open transaction up to there, and END counts what is left.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import psycopg
import pytest

from deploy.stack import Stack
from deploy.stack.process import wait_until
from tests.integration.seen import Record, visible

pytestmark = [pytest.mark.stack, pytest.mark.slow]

ROWS, MARKERS = "held.public.t_held", "held.transaction"
QUIET = {"heartbeat.interval.ms": "0", "heartbeat.action.query": ""}  # nothing may be acknowledged after the COMMIT
OFFSETS_SECONDS = 60


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("held") / "stack", progress=lambda _: None) as stack:
        yield stack


def test_a_transaction_that_is_open_when_the_connector_dies_comes_whole(stack: Stack) -> None:
    with psycopg.connect(**stack.postgres, autocommit=True) as database:  # type: ignore[arg-type]
        database.execute("CREATE TABLE t_held (id integer PRIMARY KEY)")
        stack.register("held", stack.debezium_postgres("held", ["public.t_held"]) | QUIET)
        assert wait_until(lambda: _slot_is_used(database), OFFSETS_SECONDS)
        with psycopg.connect(**stack.postgres) as held:  # type: ignore[arg-type]
            held.execute("INSERT INTO t_held VALUES (1)")
            database.execute("INSERT INTO t_held VALUES (10)")
            held.execute("INSERT INTO t_held VALUES (2)")  # at the position where the other's COMMIT ends
            assert wait_until(lambda: _acknowledged(stack), OFFSETS_SECONDS)
            stack.kill("connect")
            held.execute("INSERT INTO t_held VALUES (3)")
        stack.restart("connect")
        stack.wait_running("held")
        database.execute("INSERT INTO t_held VALUES (99)")
        assert wait_until(lambda: 99 in _rows(stack), OFFSETS_SECONDS)
    assert sorted(_rows(stack)) == [1, 2, 3, 10, 99]


def _slot_is_used(database: psycopg.Connection[tuple[object, ...]]) -> bool:
    return bool(database.execute("SELECT 1 FROM pg_replication_slots WHERE active").fetchall())


def _acknowledged(stack: Stack) -> bool:
    """Whether Connect's stored offset is that COMMIT: its END is the last record that the connector wrote."""
    ends = [json.loads(r.value or b"{}") for r in _records(stack, MARKERS)]
    last = [int(end["id"].partition(":")[2]) for end in ends if end["status"] == "END"]
    stored = [json.loads(record.value or b"{}") for record in _records(stack, "connect-offsets")]
    return bool(last) and any(offset.get("lsn") == last[-1] for offset in stored)


def _rows(stack: Stack) -> list[int]:
    return [json.loads(record.key or b"{}")["id"] for record in _records(stack, ROWS)]


def _records(stack: Stack, topic: str) -> list[Record]:
    return visible(stack.bootstrap, topic)
