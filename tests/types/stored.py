"""The records that Debezium wrote for columns of every type, and what the bridge makes of them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import yaml

from bridge.core.columns import TableDecoder
from bridge.mapping.catalog import Catalog, read
from bridge.model import MODES, UNKNOWN, Layout, Modes, PlainRecord

HERE = Path(__file__).parent
SERVERS = ("postgresql", "mariadb")
STREAMED = 1000  # added to the ids of the rows that come after the snapshot


class Stored(NamedTuple):
    """One record of one set: ``schema`` is "" where it came without. ``image``: the row as JSON text."""

    set: str
    table: str
    op: str
    id: int
    schema: str
    image: str
    payload: str  # all of the record, without its schema

    def plain(self, schema: str) -> PlainRecord:
        """The record, as a capture has it."""
        source = {"connector": "mariadb" if schema == "shop" else "postgresql", "schema": schema, "table": self.table}
        payload = f'{{"source":{json.dumps(source)},"after":{self.image}}}'
        return PlainRecord("log", 0, 0, b'{"id":1}', f'{{"schema":{self.schema},"payload":{payload}}}'.encode())

    @property
    def wire(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.image)
        return found


@cache
def columns() -> dict[str, Any]:
    """columns.yaml: the types and their values."""
    found: dict[str, Any] = yaml.safe_load((HERE / "columns.yaml").read_text())
    return found


@cache
def catalog(server: str) -> Catalog:
    """As introspection wrote it."""
    found, problems = read((HERE / f"{server}.catalog.yaml").read_text(), server)
    assert problems == []
    return found


def types(server: str, table: str) -> dict[str, str]:
    """SQL types by column."""
    schema = {"postgresql": "public", "mariadb": "shop"}[server]
    return {name: column.type for name, column in catalog(server).tables[f"{schema}.{table}"].columns.items()}


def modes(server: str, name: str) -> Modes:
    """Of a set, as a config would tell them."""
    given = columns()[server]["sets"].get(name, {})
    return Modes().told({key: value for key, value in given.items() if key in MODES})


@cache
def records(server: str) -> tuple[Stored, ...]:
    """All of them."""
    return tuple(_records(server))


def _records(server: str) -> Iterator[Stored]:
    name = ""
    schemas: dict[str, str] = {}
    with gzip.open(HERE / f"{server}.jsonl.gz", "rt") as file:
        for line in file:
            about = json.loads(line)
            if "set" in about:
                name, schemas = about["set"], {}
            elif "schema" in about:
                schemas[about["table"]] = json.dumps(about["schema"])
            else:
                envelope = msgspec.json.decode(about["record"], type=dict[str, msgspec.Raw])
                op = json.loads(bytes(envelope["op"]))
                image = bytes(envelope["after"]).decode()
                yield Stored(
                    name,
                    about["table"],
                    op,
                    about["key"]["id"],
                    schemas.get(about["table"], ""),
                    image,
                    about["record"],
                )


class Reader:
    """Decodes one set's rows of one table: by their inline schema, or by catalog and modes."""

    def __init__(
        self,
        server: str,
        set_name: str,
        table: str,
        *,
        inline: bool,
        known: bool = True,
        sql: dict[str, str] | None = None,
    ) -> None:
        self.types = types(server, table) if sql is None else sql
        names = tuple(self.types)
        layout = Layout(table, names, tuple(self.types.values()) if known else ())
        self._decoder = TableDecoder(layout, 0, modes(server, set_name), server)
        self._inline = inline

    def row(self, record: Stored) -> dict[str, Any]:
        """Canonical values; a column that the record does not have is left out."""
        if self._inline and record.schema:
            self._decoder.learn(record.schema.encode())
        found = self._decoder.row(msgspec.Raw(record.image.encode()))
        assert found is not None
        found = self._decoder.without_placeholders(found)
        row = dict(zip(self.types, found, strict=True))
        if UNKNOWN in row.values():
            wire = record.wire
            row = {name: value for name, value in row.items() if value is not UNKNOWN or name in wire}
        return row
