"""A clerk at the order system: the transactions of the monolith, as chatty as its code is.

Each action runs the SQL of one transaction and returns the business facts that become true if it commits. What the
clerk believes about its orders changes only in `committed()`. Clerks own disjoint orders, so that the order of facts
per order is known; customers and touches are shared, so that their transactions still meet.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

Cursor = psycopg.Cursor[tuple[Any, ...]]
CUSTOMERS = 50
ITEMS = ("APPLE", "BREAD", "C-100", "D-7", "EGG-12", "FIG", "GRAPE-XL", "HONEY")  # CHAR(8): the last but one fills it
BLOCK = 1_000_000  # order numbers of clerk n start at (n + 1) * BLOCK; those below BLOCK were there before
NEW, PLACED, PAID, SHIPPED, CANCELLED = "N", "P", "B", "S", "X"
INITIATED, AUTHORISED, CAPTURED = "I", "A", "C"
TIERS = {"S": "STANDARD", "G": "GOLD"}


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that happened in the business: what a canonical event must say."""

    event: str
    key: str
    data: Mapping[str, Any]


@dataclass(slots=True)
class Line:
    """One line of an order; price in cents."""

    number: int
    item: str
    quantity: int
    price: int


@dataclass(slots=True)
class Order:
    """What the clerk knows of an order."""

    number: int
    customer: int
    status: str = NEW
    quote: bool = False
    payment: str | None = None
    lines: list[Line] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Sum of the lines in cents."""
        return sum(line.quantity * line.price for line in self.lines)


class Clerk:
    """Does one transaction after another; which, and with what content, follows from the seed alone."""

    def __init__(self, number: int, clerks: int, seed: int) -> None:
        self.number = number
        self.clerks = clerks
        self.dice = random.Random(f"{seed}-{number}")
        self.orders: dict[int, Order] = {}
        self.tiers: dict[int, str] = {}
        self.next_order = (number + 1) * BLOCK
        self._drafts: dict[int, Order] = {}

    # -- around a transaction --------------------------------------------------------------------------------------

    def adopt(self, db: Cursor) -> None:
        """Learn the open orders that are this clerk's, and where its order numbers stand."""
        mine, block = self.number, (self.next_order, self.next_order + BLOCK)
        db.execute("SELECT cust_no, cust_tier FROM t_cust")
        self.tiers = dict(db.fetchall())
        db.execute(
            "SELECT coalesce(max(ord_no) + 1, %s) FROM t_ord WHERE ord_no >= %s AND ord_no < %s", (block[0], *block)
        )
        for (number,) in db.fetchall():
            self.next_order = number
        db.execute(
            """SELECT o.ord_no, o.cust_no, o.ord_stat, o.rec_typ = 'Q', p.st
               FROM t_ord o LEFT JOIN t_pay p USING (ord_no)
               WHERE o.ord_stat IN ('N', 'P', 'B')
                 AND (o.ord_no < %s AND o.ord_no %% %s = %s OR o.ord_no >= %s AND o.ord_no < %s)
               ORDER BY o.ord_no""",
            (BLOCK, self.clerks, mine, *block),
        )
        self.orders = {row[0]: Order(*row) for row in db.fetchall()}
        db.execute(
            """SELECT ord_no, line_no, rtrim(itm_cd), qty, prc_cents FROM t_ord_line
               WHERE ord_no = ANY(%s) ORDER BY ord_no, line_no""",
            (list(self.orders),),
        )
        for number, *line in db.fetchall():
            self.orders[number].lines.append(Line(*line))

    def work(self, db: Cursor) -> tuple[list[Fact], bool]:
        """One transaction: the facts, and whether it must be rolled back in the end."""
        actions = [action for action, _ in ACTIONS]
        weights = [weight for _, weight in ACTIONS]
        (action,) = self.dice.choices(actions, weights)
        facts = action(self, db)
        if facts is None:  # there is no order to do it with
            facts = self.place_one(db)
        changed_her_mind = self._chance(0.06)
        return facts, changed_her_mind

    def committed(self) -> None:
        """The transaction committed: what was drafted is true."""
        for number, order in self._drafts.items():
            self.orders[number] = order
            if order.status in (SHIPPED, CANCELLED):
                del self.orders[number]
        self._drafts.clear()

    def rolled_back(self) -> None:
        """It did not: forget it. (Order numbers are not used again, as with a sequence.)"""
        self._drafts.clear()

    # -- transactions ----------------------------------------------------------------------------------------------

    def place_one(self, db: Cursor) -> list[Fact]:
        """Header, lines one by one, then the status, all in one transaction."""
        order = self._open(db)
        return self._place(db, order)

    def place_two(self, db: Cursor) -> list[Fact]:
        """A split delivery: two orders in one transaction, their statements interleaved."""
        first, second = self._open(db), self._open(db)
        self._add_line(db, first)
        return self._place(db, second) + self._place(db, first)

    def place_wholesale(self, db: Cursor) -> list[Fact]:
        """Many lines, and the total written again after each."""
        order = self._open(db, lines=self.dice.randint(60, 150))
        return self._place(db, order)

    def place_and_pay(self, db: Cursor) -> list[Fact]:
        """By phone, with the card at hand: the order is never seen in status PLACED from outside."""
        order = self._open(db)
        return self._place(db, order) + self._pay(db, order)

    def open_draft(self, db: Cursor) -> list[Fact]:
        """A basket: nothing that the business talks about yet."""
        self._open(db)
        return []

    def place_draft(self, db: Cursor) -> list[Fact] | None:
        """A basket of an earlier transaction is ordered."""
        order = self._pick(NEW)
        if order is None:
            return None
        self._add_line(db, order)
        return self._place(db, order)

    def purge_draft(self, db: Cursor) -> list[Fact] | None:
        """A basket is thrown away, row by row."""
        order = self._pick(NEW)
        if order is None or order.payment is not None:
            return None
        for line in order.lines:
            db.execute("DELETE FROM t_ord_line WHERE ord_no = %s AND line_no = %s", (order.number, line.number))
        db.execute("DELETE FROM t_ord WHERE ord_no = %s", (order.number,))
        order.status = CANCELLED  # gone, which is no cancellation
        return []

    def write_quote(self, db: Cursor) -> list[Fact]:
        """A quote lies in the orders' table and is none."""
        self._open(db, quote=True)
        return []

    def accept_quote(self, db: Cursor) -> list[Fact] | None:
        """A quote becomes an order."""
        order = self._pick(NEW, quote=True)
        if order is None:
            return None
        db.execute("UPDATE t_ord SET rec_typ = 'O', upd_ts = now() WHERE ord_no = %s", (order.number,))
        order.quote = False
        return self._place(db, order)

    def pay(self, db: Cursor) -> list[Fact] | None:
        """The payment goes through."""
        order = self._pick(PLACED)
        return None if order is None else self._pay(db, order)

    def ship(self, db: Cursor) -> list[Fact] | None:
        """The parcel leaves."""
        order = self._pick(PAID)
        return None if order is None else self._ship(db, order)

    def pay_and_ship(self, db: Cursor) -> list[Fact] | None:
        """The nightly batch in small: two orders in one transaction."""
        placed, paid = self._pick(PLACED), self._pick(PAID)
        if placed is None or paid is None:
            return None
        return self._ship(db, paid) + self._pay(db, placed)

    def cancel(self, db: Cursor) -> list[Fact] | None:
        """Cancelled as a basket, after ordering, or after payment."""
        order = self._pick(self.dice.choice((NEW, PLACED, PLACED, PAID, PAID)))
        if order is None:
            return None
        self._touch(db, order)
        self._set_status(db, order, CANCELLED)
        refund = order.total if order.payment == CAPTURED else 0
        return [self._fact("OrderCancelled", order, refundDue=money(refund))]

    def save_again(self, db: Cursor) -> list[Fact] | None:
        """What an ORM does to save an order: delete all lines, insert them again."""
        order = self._pick(self.dice.choice((NEW, PLACED, PAID)))
        if order is None:
            return None
        db.execute("DELETE FROM t_ord_line WHERE ord_no = %s", (order.number,))
        for line in order.lines:
            self._insert_line(db, order, line)
        self._write_total(db, order)
        return []

    def there_and_back(self, db: Cursor) -> list[Fact] | None:
        """Values change and change back before the commit."""
        order = self._pick(self.dice.choice((PLACED, PAID)))
        if order is None:
            return None
        status = order.status
        self._set_status(db, order, CANCELLED)
        db.execute("UPDATE t_ord_line SET qty = qty + 1 WHERE ord_no = %s", (order.number,))
        db.execute("UPDATE t_ord SET tot_cents = 0 WHERE ord_no = %s", (order.number,))
        db.execute("UPDATE t_ord_line SET qty = qty - 1 WHERE ord_no = %s", (order.number,))
        self._write_total(db, order)
        self._set_status(db, order, status)
        return []

    def touch(self, db: Cursor) -> list[Fact]:
        """Somebody opens an order, anybody's, and saves it unchanged."""
        number = (self.dice.randrange(self.clerks) + 1) * BLOCK + self.dice.randrange(200)
        db.execute("UPDATE t_ord SET upd_ts = now() WHERE ord_no = %s", (number,))
        return []

    def change_email(self, db: Cursor) -> list[Fact]:
        """A customer's new address changes no order."""
        customer, address = self.dice.randint(1, CUSTOMERS), f"mail{self.dice.randrange(10**6)}@example.com"
        db.execute("UPDATE t_cust SET email = %s, upd_ts = now() WHERE cust_no = %s", (address, customer))
        return []

    def audit(self, db: Cursor) -> list[Fact]:
        """A transaction that touches only a table nobody captures."""
        db.execute("INSERT INTO t_audit (txt) VALUES (%s)", (f"clerk {self.number} had coffee",))
        return []

    # -- parts of transactions -------------------------------------------------------------------------------------

    def _chance(self, probability: float) -> bool:
        return self.dice.random() < probability

    def _pick(self, status: str, *, quote: bool = False) -> Order | None:
        """A draft of any open order that is in this status."""
        numbers = [number for number, order in self.orders.items() if order.status == status and order.quote == quote]
        return self._draft(self.orders[self.dice.choice(numbers)]) if numbers else None

    def _draft(self, order: Order) -> Order:
        self._drafts[order.number] = copy.deepcopy(order)
        return self._drafts[order.number]

    def _open(self, db: Cursor, *, lines: int | None = None, quote: bool = False) -> Order:
        order = self._draft(Order(self.next_order, self.dice.randint(1, CUSTOMERS), quote=quote))
        self.next_order += 1
        db.execute(
            "INSERT INTO t_ord (ord_no, rec_typ, cust_no) VALUES (%s, %s, %s)",
            (order.number, "Q" if quote else "O", order.customer),
        )
        for _ in range(lines or self.dice.randint(1, 6)):
            self._add_line(db, order)
        if self._chance(0.2):
            self._change_last_line(db, order)
        return order

    def _add_line(self, db: Cursor, order: Order) -> None:
        number = max((line.number for line in order.lines), default=0) + 1
        line = Line(number, self.dice.choice(ITEMS), self.dice.randint(1, 5), self.dice.randint(50, 9_999))
        if self._chance(0.05):  # out of stock: undone without ending the transaction
            db.execute("SAVEPOINT stock")
            self._insert_line(db, order, line)
            db.execute("ROLLBACK TO SAVEPOINT stock")
        self._insert_line(db, order, line)
        order.lines.append(line)
        self._write_total(db, order)

    def _change_last_line(self, db: Cursor, order: Order) -> None:
        line = order.lines[-1]
        line.quantity += 1
        where = (line.quantity, order.number, line.number)
        db.execute("UPDATE t_ord_line SET qty = %s WHERE ord_no = %s AND line_no = %s", where)
        self._write_total(db, order)

    def _insert_line(self, db: Cursor, order: Order, line: Line) -> None:
        db.execute(
            "INSERT INTO t_ord_line (ord_no, line_no, itm_cd, qty, prc_cents) VALUES (%s, %s, %s, %s, %s)",
            (order.number, line.number, line.item, line.quantity, line.price),
        )

    def _write_total(self, db: Cursor, order: Order) -> None:
        db.execute("UPDATE t_ord SET tot_cents = %s, upd_ts = now() WHERE ord_no = %s", (order.total, order.number))

    def _set_status(self, db: Cursor, order: Order, status: str) -> None:
        order.status = status
        db.execute("UPDATE t_ord SET ord_stat = %s WHERE ord_no = %s", (status, order.number))

    def _touch(self, db: Cursor, order: Order) -> None:
        db.execute("UPDATE t_ord SET upd_ts = now() WHERE ord_no = %s", (order.number,))

    def _place(self, db: Cursor, order: Order) -> list[Fact]:
        db.execute("UPDATE t_ord SET plc_dt = now() WHERE ord_no = %s", (order.number,))
        if self._chance(0.7):
            self._insert_payment(db, order)
        self._set_status(db, order, PLACED)
        self._touch(db, order)
        return [
            self._fact(
                "OrderPlaced",
                order,
                customerId=str(order.customer),
                customerTier=TIERS[self.tiers[order.customer]],
                currency="EUR",
                total=money(order.total),
                lines=[
                    {"sku": line.item, "quantity": line.quantity, "price": money(line.price)} for line in order.lines
                ],
            )
        ]

    def _insert_payment(self, db: Cursor, order: Order) -> None:
        order.payment = self.dice.choice((INITIATED, AUTHORISED))
        db.execute(
            "INSERT INTO t_pay (pay_no, ord_no, st, amt_cents) VALUES (%s, %s, %s, %s)",
            (order.number, order.number, order.payment, order.total),
        )

    def _pay(self, db: Cursor, order: Order) -> list[Fact]:
        if order.payment is None:
            self._insert_payment(db, order)
        for status in (AUTHORISED, CAPTURED):
            db.execute("UPDATE t_pay SET st = %s, upd_ts = now() WHERE ord_no = %s", (status, order.number))
        order.payment = CAPTURED
        self._set_status(db, order, PAID)
        return [self._fact("OrderPaid", order, amount=money(order.total))]

    def _ship(self, db: Cursor, order: Order) -> list[Fact]:
        self._touch(db, order)
        self._set_status(db, order, SHIPPED)
        return [self._fact("OrderShipped", order)]

    def _fact(self, event: str, order: Order, **data: Any) -> Fact:
        return Fact(event, str(order.number), {"orderId": str(order.number), **data})


def money(cents: int) -> str:
    """Canonical money: 2000 → "20.00"."""
    return f"{cents // 100}.{cents % 100:02d}"


# Which transactions, and how often. None says that there is no order to do it with.
ACTIONS: Sequence[tuple[Callable[[Clerk, Cursor], list[Fact] | None], int]] = (
    (Clerk.place_one, 160),
    (Clerk.place_two, 30),
    (Clerk.place_wholesale, 3),
    (Clerk.place_and_pay, 30),
    (Clerk.open_draft, 70),
    (Clerk.place_draft, 60),
    (Clerk.purge_draft, 15),
    (Clerk.write_quote, 30),
    (Clerk.accept_quote, 20),
    (Clerk.pay, 170),
    (Clerk.ship, 150),
    (Clerk.pay_and_ship, 40),
    (Clerk.cancel, 60),
    (Clerk.save_again, 80),
    (Clerk.there_and_back, 50),
    (Clerk.touch, 70),
    (Clerk.change_email, 60),
    (Clerk.audit, 20),
)
