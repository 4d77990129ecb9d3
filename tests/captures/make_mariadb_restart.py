"""python -m tests.captures.make_mariadb_restart: what Debezium for MariaDB writes when Connect dies in a long transaction.

Needs Java, Maven and MariaDB. Connect writes its offsets down ten times a second and is killed three times after it wrote
some of the transaction's rows: each time it goes on in the middle of it, with BEGIN again, and END counts the last run.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pymysql

from deploy.stack import Stack
from deploy.stack.process import wait_until
from tests.captures.make_restart import lines
from tests.integration.seen import Outsider, Record, visible

CAPTURE = Path(__file__).with_name("mariadb-restart.jsonl.gz")
PREFIX = "lab"
TABLES = ("shop.ord", "shop.lin")
TOPICS = [f"{PREFIX}.{table}" for table in TABLES]
MARKERS = f"{PREFIX}.transaction"
SCHEMA = (
    "CREATE TABLE shop.ord (id int PRIMARY KEY, st char(1), v int DEFAULT 0)",
    "CREATE TABLE shop.lin (ord int, no int, q int, PRIMARY KEY (ord, no))",
    "INSERT INTO shop.ord VALUES (1, 'N', 0)",
)
LONG = range(1000, 2500)
KILL_AFTER_ROWS = (700, 1500, 600)  # of the long transaction, in each run


def long(connection: pymysql.Connection[pymysql.cursors.Cursor]) -> None:
    """Inserts, updates of the same rows, one statement over many rows, and key changes."""
    with connection.cursor() as db:
        for number in LONG:
            db.execute("INSERT INTO ord VALUES (%s, 'L', 0)", (number,))
            db.execute("UPDATE ord SET v = v + 1 WHERE id = %s", (number,))
            db.execute("INSERT INTO lin VALUES (%s, 1, 1)", (number,))
        db.execute("UPDATE ord SET v = v + 100 WHERE id BETWEEN 1000 AND 1399")
        db.execute("UPDATE ord SET id = id + 100000 WHERE id BETWEEN 1000 AND 1299")
    connection.commit()


def kill_inside(stack: Stack, outsider: Outsider, rows: int) -> None:
    """SIGKILL to Connect once it wrote so many rows of the long transaction in this run."""
    written, until = 0, time.monotonic() + 60
    while written < rows:
        written += sum(b'"st":"L"' in (record.value or b"") for record in outsider.look(0.01))
        if time.monotonic() > until:
            raise SystemExit("Connect did not write the long transaction")
    stack.kill("connect")
    outsider.look(1)


def make() -> list[Record]:
    """Play it; all records of the three topics."""
    services = ("kafka", "connect", "mariadb")
    with tempfile.TemporaryDirectory() as home, Stack(Path(home) / "stack", services=services) as stack:
        properties = stack.home / "connect.properties"
        properties.write_text(properties.read_text() + "offset.flush.interval.ms=100\n")
        stack.restart("connect")
        stack.mariadb_sql(*SCHEMA)
        # small batches, so that it can be caught in the act
        slow = {"max.batch.size": "20", "max.queue.size": "40", "poll.interval.ms": "20"}
        stack.register(PREFIX, stack.debezium_mariadb(PREFIX, TABLES) | slow)
        stack.mariadb_sql("INSERT INTO shop.ord VALUES (2, 'N', 0)", "INSERT INTO shop.lin VALUES (2, 1, 1)")
        _await(stack, b'"ord":2', TOPICS[0], TOPICS[1])
        where: dict[str, Any] = {**stack.mariadb, "database": "shop"}
        with pymysql.connect(**where) as connection, Outsider(stack.bootstrap, TOPICS) as outsider:
            long(connection)
            for rows in KILL_AFTER_ROWS:
                kill_inside(stack, outsider, rows)
                stack.restart("connect")
                stack.wait_running(PREFIX)
        stack.mariadb_sql("INSERT INTO shop.ord VALUES (9, 'N', 0)")
        _await(stack, b'"id":9,', TOPICS[0])
        _await(stack, b'"shop.ord","event_count":1', MARKERS)
        return visible(stack.bootstrap, *TOPICS, MARKERS)


def _await(stack: Stack, text: bytes, *topics: str) -> None:
    if not wait_until(lambda: any(text in (r.value or b"") for r in visible(stack.bootstrap, *topics)), 90):
        raise SystemExit(f"{text!r} did not come")


def check(records: Sequence[Record]) -> None:
    """The long transaction has four BEGINs and one END."""
    states: dict[str, list[str]] = {}
    for marker in (json.loads(r.value or b"null") for r in records if r.topic == MARKERS):
        states.setdefault(marker["id"], []).append(marker["status"])
    if ["BEGIN"] * (len(KILL_AFTER_ROWS) + 1) + ["END"] not in states.values():
        raise SystemExit(f"Connect was not killed inside the transaction; try again: {states}")


def main() -> None:
    """Make the capture, check it, write it."""
    records = sorted(make(), key=lambda record: record[:3])
    check(records)
    with CAPTURE.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as file:
        file.writelines(lines(records))
    print(f"{CAPTURE}: {CAPTURE.stat().st_size} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
