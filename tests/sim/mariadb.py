"""The MariaDB dialect of the simulated database and its Debezium.

One transaction after the other lies in the binary log, rows at (file, pos, row), and each has a GTID, also those without
rows: DDL and TRUNCATE give BEGIN and never END. Records have whole images. What foreign keys do is not in the log.
"""

from __future__ import annotations

from random import Random

from tests.sim.database import Change, Database, Seed, Table, Transaction
from tests.sim.wire import Headers, Sent, Wire, encode
from tests.sim.workload import CUSTOMER, LINE, ORDER, PAYMENT

FIRST_POS = 342


def lay_out_binlog(database: Database) -> None:
    """Give every transaction its GTID's sequence number and every row its place; drop what MariaDB does not have."""
    rng = database.rng
    for transaction in database.transactions:
        transaction.changes = [change for change in transaction.changes if change.op not in "mt"]
        transaction.ts_ms = transaction.ts_ms // 1000 * 1000
    database.transactions[:] = [one for one in database.transactions if one.logged()]
    sequence, file, pos = rng.randint(1, 500), rng.randint(1, 3), rng.randint(FIRST_POS, 90_000)
    database.snapshot_file, database.snapshot_lsn = file, pos
    for index, transaction in enumerate(database.transactions):
        transaction.index = index
        sequence += 1
        transaction.xid = transaction.end_lsn = sequence
        pos += 42
        for group in transaction.groups():
            pos += rng.randint(100, 400)
            for row, change in enumerate(group):
                change.file, change.lsn = file, pos
                change.row = 0 if change.other_key is not None else row
        is_last = index == len(database.transactions) - 1  # an open BEGIN at the end stays unread
        if rng.random() < 0.1 and not is_last:
            sequence += 1
            pos += rng.randint(50, 200)
            then = Transaction(index, transaction.ts_ms, xid=sequence)
            if rng.random() < 0.5:
                table = database.tables[rng.choice((ORDER, LINE, PAYMENT, CUSTOMER))]
                then.changes.append(Change(table, "t", None, None, lsn=pos, file=file))
            transaction.then_ddl.append(then)
        if rng.random() < 0.05:
            file, pos = file + 1, FIRST_POS
        pos += 31


class MariadbWire(Wire):
    """Makes records of the MariaDB connector."""

    connector = b"mariadb"

    def __init__(self, prefix: str, rng: Random, server: int, *, inline: bool = False) -> None:
        super().__init__(prefix, inline=inline)
        self._rng = rng
        self._server = server

    def gtid(self, transaction: Transaction) -> str:
        return f"0-{self._server}-{transaction.xid}"

    def row(self, change: Change, transaction: Transaction, order: tuple[int, int], _before_commit: int | None) -> Sent:
        gtid = self.gtid(transaction)
        place = (change.file, change.lsn, change.row)
        source = self._binlog_source(change.table, transaction.ts_ms, "false", gtid, place)
        block = f'{{"id":"{gtid}","total_order":{order[0]},"data_collection_order":{order[1]}}}'
        value = self._envelope(encode(change.before), encode(change.after), source, block, change.op, transaction.ts_ms)
        return self._key(change.table, change.key()), self._wrap(change.table, value), self._headers(change)

    def snapshot_seed(self, seed: Seed, snapshot: str, ts_ms: int, place: tuple[int, int]) -> Sent:
        return self._seed(seed, snapshot, ts_ms, None, place)

    def incremental_seed(self, seed: Seed, transaction: Transaction) -> Sent:
        """It carries the place of the signal that closed its chunk."""
        change = transaction.changes[0]
        place = (change.file, change.lsn)
        return self._seed(seed, "incremental", transaction.ts_ms, self.gtid(transaction), place)

    def _seed(self, seed: Seed, snapshot: str, ts_ms: int, gtid: str | None, place: tuple[int, int]) -> Sent:
        source = self._binlog_source(seed.table, ts_ms, snapshot, gtid, (*place, 0))
        value = self._envelope(b"null", encode(seed.row), source, "null", "r", ts_ms)
        return self._key(seed.table, seed.table.key_of(seed.row)), self._wrap(seed.table, value), self.context

    def _headers(self, change: Change) -> Headers:
        return self.context if change.op == "t" else super()._headers(change)

    def _binlog_source(
        self, table: Table, ts_ms: int, snapshot: str, gtid: str | None, place: tuple[int, int, int]
    ) -> str:
        schema, _, name = table.name.partition(".")
        file, pos, row = place
        return (
            f'{{"version":"3.5.0.Final","connector":"mariadb","name":"{self.prefix}","ts_ms":{ts_ms},'
            f'"snapshot":"{snapshot}","db":"{schema}","sequence":null,"ts_us":{ts_ms}000,"ts_ns":{ts_ms}000000,'
            f'"table":"{name}","server_id":1,"gtid":{encode(gtid).decode()},"file":"binlog.{file:06d}","pos":{pos},'
            f'"row":{row},"thread":null,"query":null}}'
        )

    def begin(self, transaction: Transaction) -> Sent:
        """Its time may be long past: that of whatever the connector saw last."""
        stale = transaction.ts_ms - self._rng.choice((0, 0, 1000, 53_000))
        value = (
            f'{{"status":"BEGIN","id":"{self.gtid(transaction)}","event_count":null,"data_collections":null,'
            f'"ts_ms":{stale}}}'
        ).encode()
        return self._plain({"id": self.gtid(transaction)}), self._wrap_plain("transaction", value), []

    def end_id(self, transaction: Transaction) -> str:
        return self.gtid(transaction)
