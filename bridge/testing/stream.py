"""A chatty order system's row changes, as Debezium 3.5 for PostgreSQL writes them with the schemaless JSON converter.

The legacy code behind it rewrites an order's total after every line, touches rows without changing them, saves drafts,
and spreads the life of an order over many transactions: about one row change in ten is news to the business. Orders
live side by side, so that their transactions interleave. REPLICA IDENTITY is DEFAULT: updates have no ``before``.

Everything follows from the seed. The generator writes down what happens in the business while it happens (``facts``,
counted in ``expected``): that knows nothing of the bridge. ``order.yaml`` beside it is the mapping.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from bridge.testing.expected import Fact
from bridge.testing.order import Change, Order, Row

MAPPING = Path(__file__).with_name("order.yaml")
CUSTOMERS = 5_000
ORDERS_AT_A_TIME = 200
EPOCH_US = 1_760_000_000_000_000  # commit time of the first transaction, microseconds
FIRST_LSN = 26_700_000
FIRST_XID = 750
COUNTRIES = ("DE  ", "FR  ", "NL  ", "PT  ", "SE  ")  # CHAR(4), padded as the database pads it
SHARE_DRAFTS, SHARE_CANCELLED, SHARE_CANCELLED_PAID = 0.3, 0.08, 0.04
RUN_ID = b"01a20756-85c3-74f1-8d3f-ca85e4517743"

Step = Callable[[], None]


class Record(NamedTuple):
    """One Kafka record to be written; the partition follows from the key."""

    topic: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


class OrderStream:
    """``records()`` gives every record in the order in which Debezium would; the counts are right when it has ended."""

    TABLES: tuple[str, ...] = ("t_cust", "t_ord", "t_ord_line", "t_pay")

    def __init__(
        self,
        prefix: str,
        row_changes: int,
        seed: int = 1,
        *,
        customers: int = CUSTOMERS,
        orders_at_a_time: int = ORDERS_AT_A_TIME,
    ) -> None:
        self.prefix = prefix
        self.customers = customers
        self._orders_at_a_time = orders_at_a_time
        self.wanted = row_changes
        self.row_changes = 0
        self.transactions = 0
        self.seeds = 0
        self.expected: Counter[str] = Counter()
        self.facts: list[Fact] = []
        self._random = random.Random(seed)  # noqa: S311 - dice, not secrets
        self._encode = msgspec.json.Encoder().encode
        self._lsn = FIRST_LSN
        self._xid = FIRST_XID
        self._now_us = EPOCH_US
        self._last_end: int | None = None
        self._orders = 0
        self._changes: list[Change] = []
        self._happened: list[tuple[str, Row]] = []
        self._customers = [self._customer(number) for number in range(1, customers + 1)]
        name, task = prefix.encode(), b"0"
        self._headers = [
            ("__debezium.context.connectorLogicalName", name),
            ("__debezium.context.taskId", task),
            ("__debezium.context.connectorName", b"postgresql"),
            ("__debezium.context.runId", RUN_ID),
        ]

    @property
    def topics(self) -> list[str]:
        """The topics of the tables; their partitions hold rows by key."""
        return [f"{self.prefix}.public.{table}" for table in self.TABLES]

    @property
    def transaction_topic(self) -> str:
        """The topic of BEGIN and END; one partition."""
        return f"{self.prefix}.transaction"

    def records(self) -> Iterator[Record]:
        """The snapshot of the customers, then transactions until there are enough row changes and every order ended."""
        yield from self._snapshot()
        lives: list[Iterator[Step]] = []
        while True:
            while len(lives) < self._orders_at_a_time and self.row_changes < self.wanted:
                self._orders += 1
                lives.append(self._life(self._orders))
            if not lives:
                return
            chosen = self._random.randrange(len(lives))
            step = next(lives[chosen], None)
            if step is None:
                lives[chosen] = lives[-1]
                lives.pop()
                continue
            step()
            yield from self._commit()

    # -- the business ------------------------------------------------------------------------------------------------

    def _life(self, number: int) -> Iterator[Step]:
        """The transactions of one order, each as a function that makes its row changes."""
        dice = self._random
        order = Order(self, number, lines=dice.choice((1, 2, 3, 3, 4, 5, 6, 8)))
        if dice.random() < SHARE_DRAFTS:
            yield order.save_draft
            yield order.touch
        yield order.place
        for _ in range(dice.choice((1, 2, 3, 4))):
            yield dice.choice((order.touch, order.touch, order.save_again, order.rename_customer))
        if dice.random() < SHARE_CANCELLED:
            yield order.cancel
            return
        yield order.pay
        yield order.touch
        if dice.random() < SHARE_CANCELLED_PAID:
            yield order.cancel
            return
        yield order.save_again
        yield order.ship
        yield order.touch

    def change(self, table: str, op: str, key: Row, after: Row) -> None:
        """Add a row change to the open transaction. ``after`` is copied: callers go on changing their row."""
        self._changes.append(Change(table, op, key, dict(after)))

    def happened(self, event: str, data: Row) -> None:
        """A fact of the business, in the open transaction; ``data`` is what its event says."""
        self.expected[event] += 1
        self._happened.append((event, data))

    def dice(self) -> random.Random:
        """The one source of chance."""
        return self._random

    def timestamp(self) -> int:
        """Now, as a ``timestamp`` column shows it: microseconds."""
        return self._now_us

    def customer(self, number: int) -> Row:
        """The row of a customer, to be changed in place."""
        return self._customers[number - 1]

    @staticmethod
    def _customer(number: int) -> Row:
        return {
            "cust_no": number,
            "cust_nm": f"Customer {number}",
            "email": f"c{number}@example.org",
            "ctry_cd": COUNTRIES[number % len(COUNTRIES)],
            "crd_lim": 100_000 + number,
            "upd_usr": "BATCH   ",
        }

    # -- what Debezium makes of it -------------------------------------------------------------------------------------

    def _snapshot(self) -> Iterator[Record]:
        for place, row in enumerate(self._customers):
            mark = "first" if place == 0 else "last" if place == len(self._customers) - 1 else "true"
            source = self._source("t_cust", mark)
            value = b'{"before":null,"after":%b,"source":%b,"transaction":null,"op":"r",%b}' % (
                self._encode(row),
                source,
                self._clock(),
            )
            self.seeds += 1
            key = self._encode({"cust_no": row["cust_no"]})
            yield Record(f"{self.prefix}.public.t_cust", key, value, self._headers)

    def _commit(self) -> Iterator[Record]:
        """The open transaction: BEGIN, its rows, END with the counts."""
        self._xid += 1
        self._now_us += self._random.randrange(200, 4_000)
        self._lsn += 56
        changes, self._changes = self._changes, []
        yield self._marker("BEGIN", "null", "null")
        counts: Counter[str] = Counter()
        for total_order, change in enumerate(changes, 1):
            counts[change.table] += 1
            yield self._row(change, total_order, counts[change.table])
            self._lsn += self._random.randrange(64, 320, 8)
        tables = ",".join(
            f'{{"data_collection":"public.{table}","event_count":{count}}}' for table, count in counts.items()
        )
        end = self._marker("END", str(len(changes)), f"[{tables}]")
        self._last_end = self._lsn
        milliseconds = self._now_us // 1000
        self.facts += [Fact(name, self._lsn, milliseconds, data) for name, data in self._happened]
        self._happened.clear()
        self.row_changes += len(changes)
        self.transactions += 1
        yield end  # last: whoever stops here has the account of all that was yielded

    def _marker(self, status: str, count: str, tables: str) -> Record:
        number = f"{self._xid}:{self._lsn}"
        value = (
            f'{{"status":"{status}","id":"{number}","event_count":{count},"data_collections":{tables},'
            f'"ts_ms":{self._now_us // 1000}}}'
        )
        return Record(self.transaction_topic, b'{"id":"%b"}' % number.encode(), value.encode(), [])

    def _row(self, change: Change, total_order: int, collection_order: int) -> Record:
        block = (
            f'{{"id":"{self._xid}:{self._lsn}","total_order":{total_order},"data_collection_order":{collection_order}}}'
        )
        value = b'{"before":null,"after":%b,"source":%b,"transaction":%b,"op":"%b",%b}' % (
            self._encode(change.after),
            self._source(change.table, "false"),
            block.encode(),
            change.op.encode(),
            self._clock(),
        )
        return Record(f"{self.prefix}.public.{change.table}", self._encode(change.key), value, self._headers)

    def _source(self, table: str, snapshot: str) -> bytes:
        last_end = "null" if self._last_end is None else f'\\"{self._last_end}\\"'
        now = self._now_us
        return (
            f'{{"version":"3.5.0.Final","connector":"postgresql","name":"{self.prefix}","ts_ms":{now // 1000},'
            f'"snapshot":"{snapshot}","db":"shop","sequence":"[{last_end},\\"{self._lsn}\\"]","ts_us":{now},'
            f'"ts_ns":{now}000,"schema":"public","table":"{table}","txId":{self._xid},"lsn":{self._lsn},'
            f'"xmin":null,"origin":null,"origin_lsn":null}}'
        ).encode()

    def _clock(self) -> bytes:
        """When the connector saw it: a quarter of a second after the commit."""
        seen = self._now_us + 250_000
        return b'"ts_ms":%d,"ts_us":%d,"ts_ns":%d' % (seen // 1000, seen, seen * 1000 + 157)
