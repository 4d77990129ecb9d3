"""python -m tests.types.make [postgresql|mariadb]: every column type of both servers, in every mode, as Debezium writes it.

Needs Java and Maven. The columns and their values are those of columns.yaml. One connector per set of modes, with inline
schemas; for the default modes one without, too. Each value is seen by the snapshot and by the stream, which read it on
different ways. What is kept: the schema of the row once per table and set, each record's key and payload, and the catalog.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import psycopg
import yaml
from confluent_kafka.admin import AdminClient

from bridge.introspect import database
from bridge.mapping.catalog import write
from bridge.model import Database
from deploy.stack import Stack
from deploy.stack.process import wait_until
from tests.integration.seen import Record, visible

HERE = Path(__file__).parent
COLUMNS: dict[str, Any] = yaml.safe_load((HERE / "columns.yaml").read_text())
SERVICES = {"postgresql": ("postgres", "kafka", "connect"), "mariadb": ("kafka", "connect", "mariadb")}
STREAMED = 1000  # added to the ids of the rows that come after the snapshot
LAST = 9999  # the row that ends a capture
DATABASE = {"postgresql": "public", "mariadb": "shop"}


def tables(server: str) -> dict[str, str]:
    """CREATE TABLE per table."""
    found = {}
    for name, columns in COLUMNS[server]["tables"].items():
        lines = ["id int PRIMARY KEY", *(f"{column} {about['type']}" for column, about in columns.items())]
        found[name] = f"CREATE TABLE {DATABASE[server]}.{name} ({', '.join(lines)})"
    return found


def rows(server: str, table: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Each row's number, and what it holds by column, as SQL; the last row is null all over."""
    columns = {name: about["values"] for name, about in COLUMNS[server]["tables"][table].items() if "values" in about}
    every: list[Sequence[str | None]] = [list(values) for values in columns.values()]
    for number, values in enumerate([*zip_longest(*every), ()], 1):
        yield number, {name: value for name, value in zip(columns, values, strict=False) if value is not None}


def inserts(server: str, first: int) -> list[str]:
    """INSERT of every row of every table."""
    found = []
    for table in COLUMNS[server]["tables"]:
        for number, values in rows(server, table):
            names, texts = ["id", *values], [str(first + number), *values.values()]
            found.append(f"INSERT INTO {DATABASE[server]}.{table} ({', '.join(names)}) VALUES ({', '.join(texts)})")  # noqa: S608
    return found


class Server:
    """One database server with its tables of every type."""

    def __init__(self, name: str, stack: Stack) -> None:
        self.name = name
        self.stack = stack
        self.tables = [f"{DATABASE[name]}.{table}" for table in tables(name)]

    def sql(self, statements: Sequence[str]) -> None:
        if self.name == "mariadb":
            self.stack.mariadb_sql("SET SESSION sql_mode = ''", "SET SESSION time_zone = '+00:00'", *statements)
            return
        with psycopg.connect(**self.stack.postgres, autocommit=True) as connection:  # type: ignore[arg-type]
            for statement in statements:
                connection.execute(statement.encode())

    def register(self, name: str, modes: dict[str, str], *, schemas: bool, number: int) -> None:
        if self.name == "mariadb":
            config = self.stack.debezium_mariadb(
                name, self.tables, single_log=True, schemas=schemas, server_id=5400 + number
            )
        else:
            config = self.stack.debezium_postgres(name, self.tables, single_log=True, schemas=schemas)
        self.stack.register(name, config | modes)

    def catalog(self) -> str:
        where = self.stack.mariadb if self.name == "mariadb" else self.stack.postgres
        about = Database(
            self.name,
            str(where["host"]),
            int(where["port"]),
            str(where["user"]),
            str(where.get("password", "")),
            "shop" if self.name == "mariadb" else str(where["dbname"]),
        )
        return write(database.read(about, lambda table: table in self.tables))


Set = tuple[str, dict[str, str], bool]


def sets(server: str) -> Iterator[Set]:
    """Name, modes, whether with schemas."""
    for name, modes in COLUMNS[server]["sets"].items():
        yield name, {key: str(value) for key, value in modes.items()}, True
    yield "plain", {}, False


def capture(server: Server, chosen: Sequence[Set]) -> dict[str, list[Record]]:
    """Play it; the rows of each set."""
    server.sql([*COLUMNS[server.name].get("before", ()), *tables(server.name).values(), *inserts(server.name, 0)])
    names = {name: f"{server.name}-{name}" for name, _, _ in chosen}
    for number, (name, modes, schemas) in enumerate(chosen):
        server.register(names[name], modes, schemas=schemas, number=number)
    seeds = len(inserts(server.name, 0))
    for name in names.values():
        await_rows(server.stack, name, lambda found: len(found) >= seeds)
    first = server.tables[0]
    server.sql([*inserts(server.name, STREAMED), *COLUMNS[server.name].get("after", ())])
    server.sql([f"INSERT INTO {first} (id) VALUES ({LAST})"])  # noqa: S608 - our own names
    last = f'"id":{LAST}'.encode()
    found = {}
    for set_name, name in names.items():
        all_rows = await_rows(server.stack, name, lambda found: any(last in (row.key or b"") for row in found))
        found[set_name] = [row for row in all_rows if last not in (row.key or b"")]
    return found


def await_rows(stack: Stack, name: str, enough: Any) -> list[Record]:
    """The rows of the log, once there are enough."""
    log, admin = f"{name}.log", AdminClient({"bootstrap.servers": stack.bootstrap})
    found: list[Record] = []

    def there() -> bool:
        if log not in admin.list_topics(timeout=10).topics:
            return False
        found[:] = [record for record in visible(stack.bootstrap, log) if is_row(record)]
        return bool(enough(found))

    if not wait_until(there, 120):
        raise SystemExit(f"{log}: Debezium did not write all rows, but {len(found)}; look at the log of Connect")
    return found


def is_row(record: Record) -> bool:
    """Whether it is a row of one of our tables."""
    value = json.loads(record.value or b"null")
    payload = (value or {}).get("payload", value) or {}
    source = payload.get("source") or {}
    return "op" in payload and not str(source.get("table")).startswith("debezium_")


def lines(server: str, found: dict[str, list[Record]]) -> Iterator[str]:
    """One JSON object a line: a set with its modes; a row's schema, where it is new; a record."""
    for name, modes, schemas in sets(server):
        yield json.dumps({"set": name, "modes": modes, "schemas": schemas})
        seen: set[str] = set()
        for record in found[name]:
            key, value = json.loads(record.key or b"null"), json.loads(record.value or b"null")
            if schemas:
                schema = json.dumps(value["schema"], ensure_ascii=False)
                if schema not in seen:
                    seen.add(schema)
                    yield json.dumps(
                        {"table": value["payload"]["source"]["table"], "schema": value["schema"]}, ensure_ascii=False
                    )
                key, value = key["payload"], value["payload"]
            # the payload as it came: what JSON says of numbers must not pass through Python's floats
            yield json.dumps(
                {"table": value["source"]["table"], "key": key, "record": text_of(record, schemas=schemas)},
                ensure_ascii=False,
            )


def text_of(record: Record, *, schemas: bool) -> str:
    """The payload's own text."""
    text = (record.value or b"").decode()
    if not schemas:
        return text
    return text[text.index(',"payload":') + len(',"payload":') : -1]


def main(servers: Sequence[str]) -> None:
    """Capture and write."""
    for name in servers or COLUMNS:
        with tempfile.TemporaryDirectory() as home, Stack(Path(home) / "stack", services=SERVICES[name]) as stack:
            server = Server(name, stack)
            found = capture(server, list(sets(name)))
            (HERE / f"{name}.catalog.yaml").write_text(server.catalog())
            path = HERE / f"{name}.jsonl.gz"
            with path.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as file:
                file.writelines(f"{line}\n".encode() for line in lines(name, found))
            print(f"{path}: {path.stat().st_size} bytes", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
