"""What PostgreSQL decodes itself, beside the connector: it tells a row that the connector lost from one that the bridge lost.

A second replication slot, with ``test_decoding``, sees every committed row. A row is the same in both where its xid and
its position in the WAL are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import psycopg

from tests.integration.seen import Record

SLOT = "witness"
PEEK = "SELECT lsn - '0/0', xid::text, data FROM pg_logical_slot_peek_changes(%s, NULL, NULL, 'skip-empty-xacts', '1')"
ROW = re.compile(r"table (\S+): (?:INSERT|UPDATE|DELETE): ")


class Row(NamedTuple):
    """A committed row change: where it lies, and its columns as ``test_decoding`` writes them."""

    xid: int
    lsn: int
    text: str

    def column(self, name: str) -> str | None:
        """What it says of a column that holds a number."""
        found = re.search(rf"\b{name}\[\w+\]:(\d+)", self.text)
        return None if found is None else found[1]


class Witness:
    """Sees what commits from now on. Reads it without taking it, so that each test can ask for everything."""

    def __init__(self, postgres: Mapping[str, Any], tables: Sequence[str]) -> None:
        self._postgres = postgres
        self._tables = tables
        with psycopg.connect(**postgres, autocommit=True) as database:
            database.execute("SELECT pg_create_logical_replication_slot(%s, 'test_decoding')", [SLOT])

    def lost(self, records: Iterable[Record]) -> list[Row]:
        """The rows that committed and that none of the records that a connector wrote holds, in commit order."""
        captured = {(source["txId"], source["lsn"]) for source in map(_source, records) if source}
        return [row for row in self._rows() if (row.xid, row.lsn) not in captured]

    def _rows(self) -> list[Row]:
        with psycopg.connect(**self._postgres) as database:
            changes = database.execute(PEEK, [SLOT]).fetchall()
        found = ((ROW.match(text), int(xid), int(lsn), text) for lsn, xid, text in changes)
        return [Row(xid, lsn, text) for row, xid, lsn, text in found if row is not None and row[1] in self._tables]


def _source(record: Record) -> dict[str, Any]:
    """The block of this name in a row's record, with or without inline schemas; empty in other records."""
    value = json.loads(record.value or b"{}")
    return value.get("payload", value).get("source") or {}
