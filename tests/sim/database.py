"""A simulated PostgreSQL: tables, transactions in commit order, and a WAL in which concurrent ones interleave.

Transactions are made one after the other, in commit order, which is what the database guarantees for rows that two of
them touch. ``lay_out_wal`` then lets those that share no row overlap, as they would have: their rows' LSNs lie below
the commit positions of transactions that committed first, and transaction ids are in the order of the first write.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any

Row = dict[str, Any]
Key = tuple[Any, ...]


@dataclass(frozen=True)
class Column:
    name: str
    kind: str  # int | text
    nullable: bool = False
    default: Any = None
    toast: bool = False

    def placeholder(self) -> Any:
        """What a delete shows of this column under the default replica identity: it looks real and is not."""
        if self.default is not None:
            return self.default
        if self.nullable:
            return None
        return 0 if self.kind == "int" else ""


@dataclass(frozen=True)
class Table:
    name: str  # schema.table
    columns: tuple[Column, ...]
    key: tuple[str, ...]  # empty: a table without primary key
    full: bool = False  # REPLICA IDENTITY FULL

    def key_of(self, row: Row) -> Key:
        return tuple(row[name] for name in self.key)


@dataclass(eq=False)
class Change:
    """One row change as it is in the WAL. Changes of one statement that share ``group`` share an LSN."""

    table: Table
    op: str  # c u d t m; a key change is d and c with ``other_key``
    before: Row | None
    after: Row | None
    other_key: Key | None = None
    unchanged_toast: frozenset[str] = frozenset()
    group: int = 0
    lsn: int = 0
    message: tuple[str, str] | None = None
    file: int = 0  # MariaDB: with ``lsn`` and ``row`` the row's place
    row: int = 0
    silent: bool = False  # done by a foreign key, and not in the log
    garbage: bytes | None = None  # what stands in the topic instead of its value

    def key(self) -> Key | None:
        row = self.before if self.op == "d" else self.after
        return self.table.key_of(row) if row is not None and self.table.key else None


@dataclass(eq=False)
class Seed:
    """A row that a snapshot read."""

    table: Table
    row: Row


@dataclass(eq=False)
class Transaction:
    index: int
    ts_ms: int
    changes: list[Change] = field(default_factory=list)
    touched: set[tuple[str, Key]] = field(default_factory=set)
    xid: int = 0
    begin_lsn: int = 0
    end_lsn: int = 0
    signal: bool = False
    seeds: list[Seed] = field(default_factory=list)  # the incremental chunk that this one closes
    then_ddl: list[Transaction] = field(default_factory=list)  # MariaDB: what followed it that has no END

    def touched_by_writing(self) -> set[tuple[str, Key]]:
        """The rows that it changed; ``touched`` holds those too that it locked."""
        return {(change.table.name, key) for change in self.changes if (key := change.key()) is not None}

    def logged(self) -> list[Change]:
        return [change for change in self.changes if not change.silent]

    def groups(self) -> list[list[Change]]:
        """The changes that are in the log, those on one LSN together."""
        groups: list[list[Change]] = []
        for change in self.logged():
            if groups and groups[-1][0].group == change.group:
                groups[-1].append(change)
            else:
                groups.append([change])
        return groups


@dataclass(frozen=True)
class ForeignKey:
    """``columns`` of ``table`` refer to ``to`` of ``parent``; updates cascade, deletes do or set null."""

    table: str
    columns: tuple[str, ...]
    parent: str
    to: tuple[str, ...]
    on_delete: str


MESSAGE_TABLE = Table("", (), ())


class Database:
    """The tables now, and every transaction that ever committed."""

    def __init__(self, tables: Iterable[Table], rng: Random) -> None:
        self.rng = rng
        self.tables = {table.name: table for table in tables}
        self.rows: dict[str, dict[Key, Row]] = {name: {} for name in self.tables}
        self.transactions: list[Transaction] = []
        self.now_ms = 1_795_000_000_000 + rng.randrange(1_000_000)
        self.snapshot: list[Seed] | None = None
        self.snapshot_lsn = 0
        self.initial: dict[str, dict[Key, Row]] = {}
        self.foreign_keys: list[ForeignKey] = []
        self.snapshot_file = 0
        self._silent = False
        self._open: Transaction | None = None
        self._group = 0

    # Writing

    def begin(self) -> None:
        self.now_ms += self.rng.choice((0, 1, 7, 40, 500, 3000))
        jitter = self.rng.choice((0, 0, 0, 0, 3, 50))  # commit times are not guaranteed to rise
        self._open = Transaction(len(self.transactions), self.now_ms - jitter)

    def commit(self, *, signal: bool = False) -> Transaction | None:
        """None when nothing was written: such a transaction leaves no trace in the stream."""
        transaction, self._open = self._open, None
        assert transaction is not None
        if not transaction.changes:
            return None
        transaction.signal = signal
        self.transactions.append(transaction)
        return transaction

    def insert(self, table: str, *rows: Row) -> None:
        """Several rows are one statement: they share an LSN."""
        self._group += 1
        for row in rows:
            definition = self.tables[table]
            full = {column.name: row.get(column.name, column.default) for column in definition.columns}
            if definition.key:
                self.rows[table][definition.key_of(full)] = full
            self._write(Change(definition, "c", None, full))

    def update(self, table: str, key: Key, **values: Any) -> None:
        self._group += 1
        definition = self.tables[table]
        before = self.rows[table][key]
        after = before | values
        self.rows[table][key] = after
        toast = frozenset(c.name for c in definition.columns if c.toast and c.name not in values and after[c.name])
        self._write(Change(definition, "u", before, after, unchanged_toast=toast))
        self._act(table, before, after)

    def delete(self, table: str, key: Key) -> None:
        self._group += 1
        row = self.rows[table].pop(key)
        self._write(Change(self.tables[table], "d", row, None))
        self._act(table, row, None)

    def rekey(self, table: str, key: Key, **values: Any) -> None:
        """An update of the primary key: a delete and a create on one LSN."""
        self._group += 1
        definition = self.tables[table]
        before = self.rows[table].pop(key)
        after = before | values
        new_key = definition.key_of(after)
        assert new_key not in self.rows[table]
        self.rows[table][new_key] = after
        toast = frozenset(c.name for c in definition.columns if c.toast and c.name not in values and after[c.name])
        self._write(Change(definition, "d", before, None, other_key=new_key))
        self._write(Change(definition, "c", None, after, other_key=key, unchanged_toast=toast))
        self._act(table, before, after)

    def _act(self, table: str, before: Row, after: Row | None) -> None:
        """What foreign keys do to the rows that refer to this one: below the log."""
        for one in self.foreign_keys:
            if one.parent == table:
                old = [before[name] for name in one.to]
                new = None if after is None else [after[name] for name in one.to]
                if new != old:
                    silent, self._silent = self._silent, True
                    self._act_on(one, old, new)
                    self._silent = silent

    def _act_on(self, one: ForeignKey, old: list[Any], new: list[Any] | None) -> None:
        definition = self.tables[one.table]
        for key, row in list(self.rows[one.table].items()):
            if [row[name] for name in one.columns] != old:
                continue
            if new is None and one.on_delete == "cascade":
                self.delete(one.table, key)
                continue
            values = dict(zip(one.columns, new or [None] * len(old), strict=True))
            if set(values) & set(definition.key):
                self.rekey(one.table, key, **values)
            else:
                self.update(one.table, key, **values)

    def truncate(self, table: str) -> None:
        self._group += 1
        self.rows[table].clear()
        self._write(Change(self.tables[table], "t", None, None))

    def message(self, prefix: str, content: str) -> None:
        self._group += 1
        self._write(Change(MESSAGE_TABLE, "m", None, None, message=(prefix, content)))

    def depends_on(self, table: str, key: Key) -> None:
        """The open transaction read-locks this row (a foreign key): it cannot have begun before that row committed."""
        assert self._open is not None
        self._open.touched.add((table, key))

    def _write(self, change: Change) -> None:
        assert self._open is not None
        change.group = self._group
        change.silent = self._silent
        self._open.changes.append(change)
        key = change.key()
        if key is not None:
            self._open.touched.add((change.table.name, key))

    # Reading

    def take_snapshot(self) -> None:
        """The initial snapshot reads what is there now."""
        assert not self.transactions
        self.snapshot = [
            Seed(table, row) for name, table in self.tables.items() for row in self.rows[name].values() if table.key
        ]

    def remember_initial(self) -> None:
        self.initial = {name: dict(rows) for name, rows in self.rows.items()}


_XIDS = 1 << 32
_FIRST_XID = 3  # PostgreSQL's first that is not special


def lay_out_wal(database: Database, concurrency: int) -> None:
    """Give every transaction its xid, every row its LSN, every commit its position."""
    rng = database.rng
    commit_of: dict[tuple[str, Key], int] = {}
    items: list[tuple[float, int, int]] = []  # (time, transaction, group index; -1 is the commit)
    for transaction in database.transactions:
        index = transaction.index
        earliest = max([commit_of.get(row, -1) for row in transaction.touched], default=-1) + 1
        overlap = rng.randint(0, concurrency)
        start = float(max(earliest, index - overlap))
        for row in transaction.touched:
            commit_of[row] = index
        groups = len(transaction.groups())
        times = sorted(rng.uniform(start, index + 1.0) for _ in range(groups))
        items.extend((time, index, number) for number, time in enumerate(times))
        items.append((index + 1.0, index, -1))
    items.sort()
    _number(database, items, rng)


def _number(database: Database, items: list[tuple[float, int, int]], rng: Random) -> None:
    lsn = 26_700_000 + rng.randrange(1000) * 8
    xid = 700 + rng.randrange(100)
    database.snapshot_lsn = lsn
    lsn += rng.randint(0, 5) * 8
    started: set[int] = set()
    groups = [transaction.groups() for transaction in database.transactions]
    for _, index, number in items:
        transaction = database.transactions[index]
        if number == -1:
            lsn += 48
            transaction.end_lsn = lsn  # the end of the commit record: where the next record starts
        else:
            if index not in started:
                started.add(index)
                xid += rng.choice((1, 1, 1, 2))
                transaction.xid = xid
                transaction.begin_lsn = lsn
            for change in groups[index][number]:
                change.lsn = lsn
            lsn += 8 * rng.randint(7, 20)
        if rng.random() < 0.3:  # records of others: rolled back, of tables that are not published
            lsn += 8 * rng.randint(1, 60)


def wrap_xids(database: Database, concurrency: int, *, repeat: bool) -> None:
    """Number the transactions so that their xids, which have 32 bits, go over the end; with ``repeat`` they come again.

    A connector that dies goes back less far than four thousand million transactions, so they come again only without one.
    """
    ordered = sorted(database.transactions, key=lambda transaction: transaction.xid)
    cycle = 2 * concurrency + 4 if repeat else len(ordered) or 1
    first = _XIDS - cycle // 2
    for number, transaction in enumerate(ordered):
        xid = first + number % cycle
        transaction.xid = xid if xid < _XIDS else xid - _XIDS + _FIRST_XID
