"""A legacy order system's chatter, by a seed: what the simulated database lives through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from tests.sim.database import Column, Database, ForeignKey, Key, Row, Seed, Table

ORDER, LINE, TAX, PAYMENT, CUSTOMER = (
    "public.t_ord",
    "public.t_ord_line",
    "public.t_line_tax",
    "public.t_pay",
    "public.t_cust",
)
AUDIT, SIGNAL = "public.audit", "public.debezium_signal"
MAPPED = (ORDER, LINE, TAX, PAYMENT, CUSTOMER)


@dataclass(frozen=True)
class Features:
    """What one scenario has. ``start``: how the bridge gets to know the rows that were there before."""

    start: str = "snapshot"  # snapshot | empty | lookup (customers were there, and come by an incremental snapshot)
    taxes: bool = True  # children of children
    payment: bool = True
    customer: bool = True
    soft_delete: bool = False
    full: frozenset[str] = frozenset()
    poison: bool = False
    listed: bool = False  # what the initial snapshot finds is told
    rekeys: bool = True
    incremental: bool = True
    transactions: int = 15
    concurrency: int = 2
    window: tuple[int, int] | None = None  # autocommit code: quiet and at_most in ms
    until: bool = False  # a window ends when the order is shipped
    mariadb: bool = False
    cascades: bool = False  # MariaDB: foreign keys change rows, and the log does not say so

    def foreign_keys(self) -> list[ForeignKey]:
        if not self.cascades:
            return []
        return [
            ForeignKey(LINE, ("ord_no",), ORDER, ("ord_no",), "cascade"),
            ForeignKey(TAX, ("ord_no", "line_no"), LINE, ("ord_no", "line_no"), "cascade"),
            ForeignKey(PAYMENT, ("ord_no",), ORDER, ("ord_no",), "set null"),
        ]

    def tables(self) -> list[Table]:
        def table(name: str, key: tuple[str, ...], *columns: Column) -> Table:
            return Table(name, columns, key, name in self.full)

        def number(name: str) -> Column:
            return Column(name, "int")

        def text(name: str, **more: Any) -> Column:
            return Column(name, "text", **more)

        return [
            table(
                ORDER,
                ("ord_no",),
                number("ord_no"),
                text("rec_typ", default="O"),
                number("cust_no"),
                text("ord_stat", default="N"),
                Column("tot_cents", "int", default=0),
                text("cur", nullable=True),
                text("note", nullable=True, toast=True),
                Column("upd_cnt", "int", default=0),
            ),
            table(
                LINE,
                ("ord_no", "line_no"),
                number("ord_no"),
                number("line_no"),
                text("itm_cd"),
                number("qty"),
                number("prc_cents"),
                Column("upd_cnt", "int", default=0),
            ),
            table(TAX, ("id",), number("id"), number("ord_no"), number("line_no"), number("amt")),
            table(PAYMENT, ("id",), number("id"), number("ord_no"), text("st", default="I")),
            table(CUSTOMER, ("cust_no",), number("cust_no"), text("grp", nullable=True), text("email")),
            table(AUDIT, (), text("what"), text("who")),
            table(SIGNAL, ("id",), text("id"), text("type"), text("data", nullable=True)),
        ]


def random_features(rng: Random) -> Features:
    start = rng.choice(("snapshot", "snapshot", "empty", "lookup"))
    names = (ORDER, LINE, TAX, PAYMENT, CUSTOMER)
    return Features(
        start=start,
        taxes=rng.random() < 0.5,
        payment=rng.random() < 0.6,
        customer=start == "lookup" or rng.random() < 0.6,
        soft_delete=rng.random() < 0.3,
        full=frozenset(name for name in names if rng.random() < 0.35),
        poison=rng.random() < 0.15,
        rekeys=rng.random() < 0.7,
        incremental=start == "lookup" or rng.random() < 0.4,
        transactions=rng.choice((3, 8, 8, 15, 15, 25)),
        concurrency=rng.choice((0, 1, 3, 6)),
        listed=rng.random() < 0.5,
    )


def with_windows(features: Features, rng: Random) -> Features:
    """Every fourth scenario has them."""
    if rng.random() < 0.75:
        return features
    quiet = rng.choice((40, 500, 3000, 6000))
    at_most = quiet * rng.choice((1, 2, 5, 20))
    transactions = features.transactions + rng.choice((0, 10, 25))
    return replace(features, window=(quiet, at_most), until=rng.random() < 0.5, transactions=transactions)


class Workload:
    """Writes one scenario's history into a database."""

    def __init__(self, features: Features, rng: Random) -> None:
        self.features = features
        self.rng = rng
        self.database = Database(features.tables(), rng)
        self.database.foreign_keys = features.foreign_keys()
        self.db = self.database.rows
        self.poisoned: set[int] = set()
        self._number = 100
        self._actions = self._possible_actions()

    def run(self) -> Database:
        database, features = self.database, self.features
        if features.start != "empty":
            self._prehistory()
        database.transactions.clear()
        database.remember_initial()
        if features.start == "snapshot":
            database.take_snapshot()
        chunks_at = set(self.rng.sample(range(features.transactions), 2)) if features.incremental else set()
        if features.start == "lookup" and not chunks_at:
            chunks_at = {features.transactions // 2}
        if features.window:
            self._first_order()
        for number in range(features.transactions):
            if number in chunks_at:
                self._incremental_snapshot()
            self._transaction(self.rng.choice((1, 1, 4)) if features.window else 4)
            if features.window and self.rng.random() < 0.15:
                self._heartbeat()
        if features.window and self.rng.random() < 0.7:
            database.now_ms += features.window[1]
            self._heartbeat()
        return database

    def _first_order(self) -> None:
        """So that there is one that much happens to."""
        self.database.begin()
        self._place_order()
        self.database.commit()

    def _heartbeat(self) -> None:
        """What the connector writes to a table of its own: nothing that is read, but its END tells the time."""
        self.database.begin()
        self.database.insert(AUDIT, {"what": "heartbeat", "who": "connector"})
        self.database.commit()

    def _prehistory(self) -> None:
        database = self.database
        database.begin()
        for number in range(1, self.rng.randint(2, 5)):
            database.insert(CUSTOMER, {"cust_no": number, "grp": f"G{number}", "email": f"c{number}@x.test"})
        if self.features.start == "snapshot":
            for _ in range(self.rng.randint(0, 3)):
                self._place_order()
        database.commit()

    # Transactions

    def _transaction(self, most: int) -> None:
        database = self.database
        database.begin()
        for _ in range(self.rng.randint(1, most)):
            weights, actions = zip(*self._actions, strict=True)
            self.rng.choices(actions, weights)[0]()
        self._settle()
        database.commit()

    def _autocommit(self) -> None:
        """Code that has windows may commit in the middle of what it does."""
        if self.features.window and self.rng.random() < 0.4:
            self.database.commit()
            self.database.begin()

    def _possible_actions(self) -> list[tuple[int, Callable[[], None]]]:
        features = self.features
        actions: list[tuple[int, Callable[[], None]]] = [
            (1 if features.window else 6, self._place_order),  # few orders that much happens to
            (6, self._add_line),
            (5, self._change_line),
            (5, self._change_order),
            (4, self._touch),
            (3, self._status),
            (3, self._delete_line),
            (2, self._rewrite_lines),
            (2, self._delete_order),
            (2, self._audit),
            (1, self._message),
            (1, self._early_line),
            (2, self._reprice),
        ]
        if features.rekeys:
            actions += [(2, self._rekey_order), (2, self._rekey_line), (1, self._move_line)]
        if features.taxes:
            actions += [(5, self._add_tax), (3, self._change_tax)]
        if features.payment:
            actions += [(5, self._pay), (2, self._move_payment)]
        if features.customer:
            actions += [(4, self._change_customer), (2, self._add_customer)]
        if features.soft_delete:
            actions += [(3, self._soft_delete)]
        if features.poison:
            actions += [(2, self._poison)]
        return actions

    def _settle(self) -> None:
        """Autocommit code rewrites the total at the end, more often than it changes."""
        for key, order in list(self.db[ORDER].items()):
            lines = [row for row in self.db[LINE].values() if row["ord_no"] == key[0]]
            total = sum(row["qty"] * row["prc_cents"] for row in lines)
            if total != order["tot_cents"] and self.rng.random() < 0.8:
                self.database.update(ORDER, key, tot_cents=total)

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _pick(self, table: str) -> Key | None:
        keys = list(self.db[table])
        return self.rng.choice(keys) if keys else None

    def _customer(self) -> int:
        key = self._pick(CUSTOMER)
        if key is None or self.rng.random() < 0.1:
            return 999  # no such customer
        self.database.depends_on(CUSTOMER, key)
        return int(key[0])

    def _text(self) -> str | None:
        return self.rng.choice((None, "short", "long " * 3 + str(self.rng.randrange(5))))

    # Orders and lines

    def _place_order(self) -> None:
        number = self._next()
        row = {
            "ord_no": number,
            "cust_no": self._customer(),
            "ord_stat": self.rng.choice("NNP"),
            "cur": self.rng.choice((None, "EUR", "CHF")),
            "note": self._text(),
        }
        lines = [self._line(number, line) for line in range(1, self.rng.randint(1, 4))]
        if self.rng.random() < 0.2 and not self.features.cascades:  # children first
            if lines:
                self.database.insert(LINE, *lines)
            self.database.insert(ORDER, row)
            return
        self.database.insert(ORDER, row)
        if self.rng.random() < 0.5:
            for line in lines:
                self.database.insert(LINE, line)
        elif lines:
            self.database.insert(LINE, *lines)

    def _line(self, order: int, line: int) -> Row:
        item = self.rng.choice(("A-1", "B-2", "C-3"))
        padded = item + " " * self.rng.choice((0, 5))
        return {
            "ord_no": order,
            "line_no": line,
            "itm_cd": padded,
            "qty": self.rng.randint(1, 3),
            "prc_cents": 250 * self.rng.randint(1, 4),
        }

    def _free_line(self, order: int) -> int:
        return max((key[1] for key in self.db[LINE] if key[0] == order), default=0) + 1

    def _add_line(self) -> None:
        key = self._pick(ORDER)
        if key is not None:
            self.database.depends_on(ORDER, key)
            self.database.insert(LINE, self._line(key[0], self._free_line(key[0])))

    def _early_line(self) -> None:
        """A line whose order comes later, or never: nobody declared a foreign key."""
        if self.features.cascades:
            return
        number = self._number + self.rng.choice((1, 2, 50))
        if (number,) not in self.db[ORDER] and (number, 9) not in self.db[LINE]:
            self.database.insert(LINE, self._line(number, 9))

    def _change_line(self) -> None:
        key = self._pick(LINE)
        if key is None:
            return
        for _ in range(self.rng.choice((1, 1, 2))):
            self.database.update(LINE, key, qty=self.rng.randint(1, 3), itm_cd=self.rng.choice(("A-1   ", "D-4")))

    def _reprice(self) -> None:
        """A batch job: many rows of one table, spread over its partitions."""
        for key in list(self.db[LINE])[-10:]:
            self.database.update(LINE, key, prc_cents=250 * self.rng.randint(1, 4))

    def _change_order(self) -> None:
        key = self._pick(ORDER)
        if key is None:
            return
        change = self.rng.randrange(4)
        if change == 0:
            self.database.update(ORDER, key, cur=self.rng.choice((None, "EUR", "USD")))
        elif change == 1:
            self.database.update(ORDER, key, note=self._text())
        elif change == 2:
            self.database.update(ORDER, key, cust_no=self._customer())
        else:
            self.database.update(ORDER, key, cur="XXX")
            self.database.update(ORDER, key, cur=self.rng.choice((None, "EUR")))

    def _touch(self) -> None:
        table = self.rng.choice((ORDER, LINE))
        key = self._pick(table)
        if key is None:
            return
        row = self.db[table][key]
        if self.rng.random() < 0.5:
            self.database.update(table, key, upd_cnt=row["upd_cnt"] + 1)
        else:
            self.database.update(table, key, upd_cnt=row["upd_cnt"])

    def _status(self) -> None:
        key = self._pick(ORDER)
        if key is not None and key[0] not in self.poisoned:
            self.database.update(ORDER, key, ord_stat=self.rng.choice("NPSX"))

    def _poison(self) -> None:
        key = self._pick(ORDER)
        if key is not None:
            self.poisoned.add(key[0])
            self.database.update(ORDER, key, ord_stat="Z")

    def _delete_line(self) -> None:
        key = self._pick(LINE)
        if key is not None:
            if not self.features.cascades:
                self._drop_taxes(key)
            self.database.delete(LINE, key)

    def _rewrite_lines(self) -> None:
        """What an ORM does on each save: delete and insert again."""
        key = self._pick(ORDER)
        if key is None:
            return
        rows = [row for row in self.db[LINE].values() if row["ord_no"] == key[0]]
        for row in rows:
            self.database.delete(LINE, (row["ord_no"], row["line_no"]))
            self._autocommit()
        if rows:
            self.database.insert(LINE, *rows)

    def _delete_order(self) -> None:
        key = self._pick(ORDER)
        if key is None:
            return
        first = self.features.cascades or self.rng.random() < 0.5
        if first:
            self.database.delete(ORDER, key)
            self._autocommit()
        for line in [line for line in self.db[LINE] if line[0] == key[0]]:
            self._drop_taxes(line)
            self.database.delete(LINE, line)
            self._autocommit()
        for payment in [k for k, row in self.db[PAYMENT].items() if row["ord_no"] == key[0]]:
            self.database.delete(PAYMENT, payment)
        if not first:
            self.database.delete(ORDER, key)

    def _soft_delete(self) -> None:
        key = self._pick(ORDER)
        if key is not None:
            now = self.db[ORDER][key]["rec_typ"]
            self.database.update(ORDER, key, rec_typ="X" if now == "O" else "O")

    # Changes of keys

    def _rekey_order(self) -> None:
        key = self._pick(ORDER)
        if key is None or key[0] in self.poisoned:
            return
        number = self._next()
        if any(line[0] == number for line in self.db[LINE]):
            return
        self.database.rekey(ORDER, key, ord_no=number)
        self._autocommit()
        for line in [line for line in self.db[LINE] if line[0] == key[0]]:
            self.database.rekey(LINE, line, ord_no=number)
            self._autocommit()
        for table in (TAX, PAYMENT):
            for child in [k for k, row in self.db[table].items() if row["ord_no"] == key[0]]:
                self.database.update(table, child, ord_no=number)

    def _rekey_line(self) -> None:
        key = self._pick(LINE)
        if key is not None:
            self.database.rekey(LINE, key, line_no=self._free_line(key[0]) + 1)

    def _move_line(self) -> None:
        key, order = self._pick(LINE), self._pick(ORDER)
        if key is not None and order is not None and order[0] != key[0]:
            self.database.depends_on(ORDER, order)
            self.database.rekey(LINE, key, ord_no=order[0], line_no=self._free_line(order[0]))

    # The rest

    def _add_tax(self) -> None:
        key = self._pick(LINE)
        if key is not None:
            self.database.depends_on(LINE, key)
            rows = [
                {"id": self._next(), "ord_no": key[0], "line_no": key[1], "amt": self.rng.randint(1, 9)}
                for _ in range(self.rng.randint(1, 2))
            ]
            self.database.insert(TAX, *rows)

    def _change_tax(self) -> None:
        key = self._pick(TAX)
        if key is None:
            return
        if self.rng.random() < 0.4:
            self.database.delete(TAX, key)
        else:
            self.database.update(TAX, key, amt=self.rng.randint(1, 9))

    def _drop_taxes(self, line: Key) -> None:
        for key in [k for k, row in self.db[TAX].items() if (row["ord_no"], row["line_no"]) == line]:
            self.database.delete(TAX, key)

    def _pay(self) -> None:
        key = self._pick(ORDER)
        if key is None:
            return
        existing = [k for k, row in self.db[PAYMENT].items() if row["ord_no"] == key[0]]
        if not existing:
            self.database.depends_on(ORDER, key)
            self.database.insert(PAYMENT, {"id": self._next(), "ord_no": key[0], "st": self.rng.choice("IA")})
        elif self.rng.random() < 0.2:
            self.database.delete(PAYMENT, existing[0])
        else:
            self.database.update(PAYMENT, existing[0], st=self.rng.choice("IAC"))

    def _move_payment(self) -> None:
        """A child that changes its parent by an update of a column that is not its key."""
        key, order = self._pick(PAYMENT), self._pick(ORDER)
        if key is None or order is None:
            return
        if not any(row["ord_no"] == order[0] for row in self.db[PAYMENT].values()):
            self.database.depends_on(ORDER, order)
            self.database.update(PAYMENT, key, ord_no=order[0])

    def _change_customer(self) -> None:
        key = self._pick(CUSTOMER)
        if key is not None:
            self.database.update(CUSTOMER, key, grp=self.rng.choice((None, "G1", "VIP")))

    def _add_customer(self) -> None:
        number = self._next()
        self.database.insert(CUSTOMER, {"cust_no": number, "grp": "NEW", "email": f"c{number}@x.test"})

    def _audit(self) -> None:
        if self.rng.random() < 0.15:
            self.database.truncate(AUDIT)
        else:
            self.database.insert(AUDIT, *({"what": "x", "who": "y"} for _ in range(self.rng.randint(1, 3))))

    def _message(self) -> None:
        self.database.message("app", f"hello {self._next()}")

    # Incremental snapshots

    def _incremental_snapshot(self) -> None:
        """A signal, then windows: each reads a chunk of one table while the workload goes on."""
        candidates = [CUSTOMER] if self.features.start == "lookup" else [ORDER, LINE, PAYMENT, CUSTOMER]
        table = self.rng.choice(candidates)
        self._signal(f"s{self._next()}", "execute-snapshot")
        keys = sorted(self.db[table])
        size = self.rng.choice((1, 2, 10))
        for start in range(0, min(len(keys), 4 * size), size):
            self._window(table, keys[start : start + size])

    def _window(self, table: str, keys: list[Key]) -> None:
        name = f"w{self._next()}"
        self._signal(f"{name}-open", "snapshot-window-open")
        first = len(self.database.transactions)
        for _ in range(self.rng.choice((0, 0, 1, 2))):
            self._transaction(2)
        touched = {row for t in self.database.transactions[first:] for row in t.touched_by_writing()}
        seeds = [
            Seed(self.database.tables[table], self.db[table][key])
            for key in keys
            if key in self.db[table] and (table, key) not in touched
        ]
        self._signal(f"{name}-close", "snapshot-window-close")
        self.database.transactions[-1].seeds = seeds

    def _signal(self, name: str, kind: str) -> None:
        self.database.begin()
        self.database.insert(SIGNAL, {"id": name, "type": kind, "data": "{}"})
        self.database.commit(signal=True)
