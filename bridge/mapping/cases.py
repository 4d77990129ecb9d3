"""What the ``tests:`` of a mapping file are made of, once checked: rows in canonical form, names resolved to tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from bridge.located_yaml import Path

Row = dict[str, Any]  # column → canonical value (bridge.core.decode); a column that is not there was not given

INSERT, UPDATE, DELETE, REKEY, TRUNCATE = "insert", "update", "delete", "rekey", "truncate"
STATEMENTS: Final = (INSERT, UPDATE, DELETE, REKEY, TRUNCATE)


@dataclass(frozen=True, slots=True)
class Statement:
    """One SQL statement on one row. ``table``: ``schema.table``; ``new``: what a rekey sets."""

    what: str
    table: str
    row: Row
    new: Row = field(default_factory=dict)
    path: Path = ()


@dataclass(frozen=True, slots=True)
class Transaction:
    """``at_ms``: the time of its END in ms since 1970; ``after_ms``: so long after the one before; None: not said.

    Without statements it is one of somebody else's, such as a heartbeat.
    """

    statements: tuple[Statement, ...]
    at_ms: int | None = None
    after_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Expected:
    """An event (``name``, ``data``), or with ``code`` a dead letter and the model field that it names ('' for any)."""

    name: str
    data: Row = field(default_factory=dict)
    code: str = ""
    field: str = ""


@dataclass(slots=True)
class Case:
    """One test. Its input is statements or ``captures`` (file names as written), its output ``expect`` or ``golden``."""

    name: str
    place: str
    keys: Mapping[str, tuple[str, ...]]
    snapshot: list[Statement] = field(default_factory=list)
    transactions: list[Transaction] = field(default_factory=list)
    captures: list[str] = field(default_factory=list)
    expect: list[Expected] = field(default_factory=list)
    golden: str = ""

    def statements(self) -> list[Statement]:
        """All of them, in order."""
        return self.snapshot + [one for transaction in self.transactions for one in transaction.statements]


class Change(NamedTuple):
    """One row change as a log has it, with whole images. ``op``: c u d t, or r for a snapshot's row.

    ``key`` is the row's own; ``other_key`` the one that the other half of a primary key change has.
    """

    op: str
    table: str
    key: Row
    before: Row | None
    after: Row | None
    other_key: Row | None = None


class Refused(Exception):
    """A statement that no database would have committed: what is wrong, and a hint."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Database:
    """The rows of some tables while statements run. ``keys``: primary keys; ``columns``: those of every image, the rest
    of what an image has is what statements gave.
    """

    def __init__(self, keys: Mapping[str, Sequence[str]], columns: Mapping[str, Iterable[str]]) -> None:
        self._keys = keys
        self._columns = {table: dict.fromkeys((*keys[table], *columns.get(table, ()))) for table in keys}
        self._rows: dict[str, dict[tuple[Any, ...], Row]] = {table: {} for table in keys}

    def run(self, statement: Statement) -> list[Change]:
        """The changes of one statement, applied. Raises Refused."""
        table, rows = statement.table, self._rows[statement.table]
        if statement.what == TRUNCATE:
            rows.clear()
            return [Change("t", table, {}, None, None)]
        key = self._key(table, statement.row)
        if statement.what == INSERT:
            self._free(table, key)
            rows[key] = self._columns[table] | statement.row
            return [Change("c", table, self._named(table, key), None, rows[key])]
        stored = self._stored(table, key)
        if statement.what == UPDATE:
            rows[key] = stored | statement.row
            return [Change("u", table, self._named(table, key), stored, rows[key])]
        self._same(table, statement.row, stored)
        del rows[key]
        if statement.what == DELETE:
            return [Change("d", table, self._named(table, key), stored, None)]
        return self._rekeyed(table, key, stored, stored | statement.new)

    def _rekeyed(self, table: str, key: tuple[Any, ...], stored: Row, row: Row) -> list[Change]:
        new = self._key(table, row)
        self._free(table, new)
        self._rows[table][new] = row
        old_key, new_key = self._named(table, key), self._named(table, new)
        if new == key:
            raise Refused("the new key is the old one", "a change of other columns is an update")
        return [Change("d", table, old_key, stored, None, new_key), Change("c", table, new_key, None, row, old_key)]

    def _key(self, table: str, row: Row) -> tuple[Any, ...]:
        missing = [column for column in self._keys[table] if row.get(column) is None]
        if missing:
            known = ", ".join(self._keys[table])
            raise Refused(f"{', '.join(missing)} is missing: the key of {table} is ({known})")
        if any(isinstance(row[column], (list, dict)) for column in self._keys[table]):
            raise Refused(f"a column of the key of {table} holds a list")
        return tuple(row[column] for column in self._keys[table])

    def _named(self, table: str, key: tuple[Any, ...]) -> Row:
        return dict(zip(self._keys[table], key, strict=True))

    def _stored(self, table: str, key: tuple[Any, ...]) -> Row:
        found = self._rows[table].get(key)
        if found is None:
            raise Refused(f"there is no row of {table} with {self._said(table, key)}", "insert it before")
        return found

    def _free(self, table: str, key: tuple[Any, ...]) -> None:
        if key in self._rows[table]:
            raise Refused(f"there is a row of {table} with {self._said(table, key)} already")

    def _same(self, table: str, given: Row, stored: Row) -> None:
        for column, value in given.items():
            if stored.get(column) != value:
                raise Refused(f"the row of {table} has another {column}", "the key's columns are enough here")

    def _said(self, table: str, key: tuple[Any, ...]) -> str:
        return ", ".join(f"{column} {value}" for column, value in self._named(table, key).items())
