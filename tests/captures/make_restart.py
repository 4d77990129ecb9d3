"""python -m tests.captures.make_restart: captures what Debezium writes when Connect dies inside a long transaction.

Needs Java and Maven. The transaction runs over three tables while small ones commit around it; Connect is killed twice
after it wrote the long one's BEGIN and some of its rows, and before it wrote END. What came of it is checked before it
is written: BEGIN without END, then BEGIN again, and one END.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg
from confluent_kafka.admin import AdminClient

from deploy.stack import Stack
from deploy.stack.process import wait_until
from tests.integration.seen import Outsider, Record, visible, wait_for_offsets

CAPTURE = Path(__file__).with_name("restart.jsonl.gz")
PREFIX = "pgr"
TABLES = ("public.parcel", "public.item", "public.scan")
TOPICS = [f"{PREFIX}.{table}" for table in TABLES]
MARKERS = f"{PREFIX}.transaction"
SCHEMA = """
CREATE TABLE parcel (id int PRIMARY KEY, state char(1) NOT NULL, weight int NOT NULL);
CREATE TABLE item (parcel_id int NOT NULL, no int NOT NULL, sku varchar(20) NOT NULL, PRIMARY KEY (parcel_id, no));
CREATE TABLE scan (id int PRIMARY KEY, parcel_id int NOT NULL, place varchar(20) NOT NULL);
"""
LONG_PARCELS = 700
KILL_AFTER_ROWS = (500, 1300)  # of the long transaction, in each run


def small(connection: psycopg.Connection[tuple[object, ...]], first: int, count: int) -> None:
    """Transactions of a few rows each: a parcel is packed, another one sent."""
    for number in range(first, first + count):
        connection.execute("INSERT INTO parcel VALUES (%s, 'N', 100)", [number])
        connection.execute("INSERT INTO item VALUES (%s, 1, 'A'), (%s, 2, 'B')", [number, number])
        if number % 3:
            connection.execute("UPDATE parcel SET state = 'S' WHERE id = %s", [number - 1])
            connection.execute("INSERT INTO scan VALUES (%s, %s, 'DOCK')", [number, number - 1])
        connection.commit()


def long(connection: psycopg.Connection[tuple[object, ...]], first: int) -> None:
    """One transaction over three tables that touches rows more than once, and old rows too. Not yet committed."""
    for number in range(first, first + LONG_PARCELS):
        connection.execute("INSERT INTO parcel VALUES (%s, 'N', 1)", [number])
        connection.execute("INSERT INTO item VALUES (%s, 1, 'L-1')", [number])
        connection.execute("UPDATE parcel SET weight = weight + 1 WHERE id = %s", [number])
        connection.execute("INSERT INTO scan VALUES (%s, %s, 'BELT')", [number, number])
        if number % 2:
            connection.execute("UPDATE parcel SET state = 'S', weight = weight + 1 WHERE id = %s", [number])
    connection.execute("UPDATE parcel SET state = 'L' WHERE id < 40")
    connection.execute("DELETE FROM item WHERE parcel_id BETWEEN 20 AND 30 AND no = 2")


def kill_inside(stack: Stack, outsider: Outsider, rows: int) -> None:
    """SIGKILL to Connect once it wrote so many rows of the long transaction in this run."""
    written = 0
    until = time.monotonic() + 60
    while written < rows:
        written += sum(
            b'"BELT"' in (record.value or b"") or b'"L-1"' in (record.value or b"") for record in outsider.look(0.01)
        )
        if time.monotonic() > until:
            raise SystemExit("Connect did not write the long transaction")
    stack.kill("connect")
    outsider.look(1)


def make() -> list[Record]:
    """Play it; all records of the four topics."""
    with tempfile.TemporaryDirectory() as home, Stack(Path(home) / "stack") as stack:
        with psycopg.connect(**stack.postgres) as connection:  # type: ignore[arg-type]
            connection.execute(SCHEMA)
            small(connection, 1, 10)
            # small batches, so that it can be caught in the act
            slow = {"max.batch.size": "20", "max.queue.size": "40"}
            stack.register(PREFIX, stack.debezium_postgres(PREFIX, TABLES) | slow)
            small(connection, 11, 30)
            admin = AdminClient({"bootstrap.servers": stack.bootstrap})
            if not wait_until(lambda: {*TOPICS, MARKERS} <= admin.list_topics(timeout=10).topics.keys(), 60):
                raise SystemExit("Debezium did not make its topics")
            wait_for_offsets(stack, PREFIX)
            with psycopg.connect(**stack.postgres) as other:  # type: ignore[arg-type]
                long(other, 1000)
                small(connection, 41, 60)
                with Outsider(stack.bootstrap, TOPICS) as outsider:
                    other.commit()
                    for number, rows in enumerate(KILL_AFTER_ROWS):
                        kill_inside(stack, outsider, rows)
                        small(connection, 101 + 10 * number, 10)
                        stack.restart("connect")
                    stack.wait_running(PREFIX)
            small(connection, 121, 10)
            connection.execute("INSERT INTO scan VALUES (0, 1, 'THE LAST')")
            connection.commit()
        with Outsider(stack.bootstrap, [f"{PREFIX}.public.scan", MARKERS]) as outsider:
            for _ in range(300):
                outsider.look(0.2)
                if any(b"THE LAST" in (record.value or b"") for record in outsider.records) and _settled(outsider):
                    break
        return visible(stack.bootstrap, *TOPICS, MARKERS)


def _settled(outsider: Outsider) -> bool:
    markers = [record for record in outsider.records if record.topic == MARKERS]
    return bool(markers) and b'"END"' in (markers[-1].value or b"")


def check(records: Sequence[Record]) -> None:
    """The long transaction has three BEGINs and one END."""
    markers = [json.loads(record.value or b"null") for record in records if record.topic == MARKERS]
    counts: dict[str, list[str]] = {}
    for marker in markers:
        counts.setdefault(marker["id"].partition(":")[0], []).append(marker["status"])
    runs = max(counts.values(), key=lambda states: states.count("BEGIN") - states.count("END"))
    print(f"{len(records)} records, {len(counts)} transactions, the long one: {runs}", file=sys.stderr)
    if runs.count("BEGIN") < len(KILL_AFTER_ROWS) + 1 or runs.count("END") != 1:
        raise SystemExit("Connect was not killed inside the transaction; try again")


def lines(records: Sequence[Record]) -> Iterator[bytes]:
    """One JSON object a record."""
    for record in records:
        headers = [[name, value.decode()] for name, value in record.headers]
        line = {
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "timestamp": record.timestamp,
            "headers": headers,
            "key": None if record.key is None else record.key.decode(),
            "value": None if record.value is None else record.value.decode(),
        }
        yield json.dumps(line, ensure_ascii=False).encode() + b"\n"


def main() -> None:
    """Make the capture, check it, write it."""
    records = sorted(make(), key=lambda record: record[:3])
    check(records)
    with CAPTURE.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as file:
        file.writelines(lines(records))
    print(f"{CAPTURE}: {CAPTURE.stat().st_size} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
