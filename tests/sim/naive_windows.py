"""The truth of windows: plain dicts, whole copies of the tables, and loops over everything that is open.

A window of an order keeps the tables as they were before its first change, so its before image needs no cleverness. What
belongs to it is what ``mappings/README.md`` says: changes of rows that belong to the order before or after them, of rows
that it changed already, and of rows that join what it changed, as that was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.sim.database import Key, Row, Transaction
from tests.sim.workload import LINE, ORDER, PAYMENT, TAX, Features

Tables = dict[str, dict[Key, Row]]
Place = tuple[str, Key]
Root = tuple[
    str, int
]  # ("old", an order's number before the transaction), or ("new", a number that was given up in it)


@dataclass
class Net:
    """What a transaction did to one row."""

    table: str
    old: Key
    new: Key
    before: Row | None
    after: Row | None


@dataclass(eq=False)
class Window:
    """``before``: all tables before its first change. ``held``: where the rows are that it changed; ``joins``: as they were."""

    old: int | None
    now: int | None
    before: Tables
    first: int
    first_ms: int
    last_ms: int = 0
    committed_ms: int = 0
    held: set[Place] = field(default_factory=set)
    joins: list[tuple[str, Row]] = field(default_factory=list)


class Windows:
    """All that are open. ``tell`` gets what closed and the number of the transaction that it closed with."""

    def __init__(self, features: Features, is_finished: Callable[[int | None], bool]) -> None:
        assert features.window is not None
        self.quiet, self.at_most = features.window
        self.is_finished = is_finished
        self.open: list[Window] = []
        self.used = {
            ORDER: ["ord_no", "ord_stat", "tot_cents", "cur", "note"]
            + ["rec_typ"] * features.soft_delete
            + ["cust_no"] * features.customer,
            LINE: ["ord_no", "line_no", "itm_cd", "qty", "prc_cents"],
        }
        if features.taxes:
            self.used[TAX] = ["ord_no", "line_no", "amt"]
        if features.payment:
            self.used[PAYMENT] = ["ord_no", "st"]

    def due(self, time_ms: int) -> Iterator[Window]:
        """Those that are over when a transaction of this time comes."""
        deadlines = {id(one): min(one.last_ms + self.quiet, one.first_ms + self.at_most) for one in self.open}
        found = [one for one in self.open if deadlines[id(one)] <= time_ms]
        self.open = [one for one in self.open if deadlines[id(one)] > time_ms]
        yield from sorted(found, key=lambda one: (deadlines[id(one)], one.first))

    def fold(self, transaction: Transaction, time_ms: int, before: Tables, after: Tables) -> list[Window]:
        """Take a transaction, and give those windows that are finished with it."""
        changes = list(self._net(transaction, before, after))
        touched: list[Window] = []
        taken: list[tuple[Window, Net]] = []

        def take(window: Window, change: Net) -> bool:
            if any(one is window and of is change for one, of in taken):
                return False
            taken.append((window, change))
            if window not in touched:
                touched.append(window)
            if change.before is not None and (change.table, change.old) not in window.held:
                window.joins.append((change.table, change.before))
            return True

        roots = self._roots(changes, before, after)
        windows = {root: self._of(root, transaction, time_ms, before) for root in roots}
        self._move(windows, changes)
        for root, members in roots.items():
            for change in members:
                take(windows[root], change)
        while any(take(w, c) for w in self.open for c in changes if _reaches(w, c, before, after)):
            pass
        self._settle(taken)
        for window in touched:
            window.last_ms, window.committed_ms = time_ms, transaction.ts_ms
        finished = [one for one in touched if self.is_finished(one.now)]
        self.open = [one for one in self.open if one not in finished]
        return finished

    # What happened

    def _net(self, transaction: Transaction, before: Tables, after: Tables) -> Iterator[Net]:
        """Net changes of columns that the mapping uses. A key change is one row; deleted and inserted again is one too."""
        origin: dict[Place, Key] = {}  # where a row of the transaction is → the key it had
        given_up: set[Place] = set()
        created: set[Place] = set()  # by the key that it had first
        gone: list[tuple[Place, Key]] = []
        for change in transaction.changes:
            name, key = change.table.name, change.key()
            if name not in self.used or key is None:
                continue
            place = (name, key)
            if change.op == "d" and change.other_key is not None:
                continue
            if change.op == "c" and change.other_key is not None:
                old = origin.pop((name, change.other_key), change.other_key)
                given_up.add((name, change.other_key))
                gone += [(place, origin.pop(place))] if place in origin else []
                origin[place] = old
                continue
            if place not in origin:
                origin[place] = key
                if change.op == "c" and (place in given_up or place not in before[name]):
                    created.add(place)
        for (name, key), old in [*origin.items(), *gone]:
            fresh = (name, old) in created
            was = None if fresh else before[name].get(old)
            now = None if ((name, key), old) in gone else after[name].get(key)
            if (was, now) != (None, None) and (old != key or self._differs(name, was, now)):
                yield Net(name, old, key, was, now)

    def _differs(self, table: str, was: Row | None, now: Row | None) -> bool:
        if was is None or now is None:
            return True
        return any(was[column] != now[column] for column in self.used[table])

    # Whose it is

    def _roots(self, changes: list[Net], before: Tables, after: Tables) -> dict[Root, list[Net]]:
        came = {c.new[0]: c.old[0] for c in changes if c.table == ORDER and c.old != c.new and c.before is not None}
        went = set(came.values())
        found: dict[Root, list[Net]] = {}
        for change in changes:
            sides: list[Root] = [("old", one) for one in _orders(change.table, change.old, change.before, before)]
            sides += [
                ("old", came[one]) if one in came else ("new" if one in went else "old", one)
                for one in _orders(change.table, change.new, change.after, after)
            ]
            for root in dict.fromkeys(sides):
                found.setdefault(root, []).append(change)
        return found

    def _of(self, root: Root, transaction: Transaction, time_ms: int, before: Tables) -> Window:
        kind, number = root
        known = [one for one in self.open if kind == "old" and one.now == number]
        if known:
            return known[0]
        old = number if kind == "old" else None
        window = Window(old, number, {name: dict(rows) for name, rows in before.items()}, transaction.index, time_ms)
        self.open.append(window)
        return window

    def _move(self, windows: dict[Root, Window], changes: list[Net]) -> None:
        moved = {c.old[0]: c.new[0] for c in changes if c.table == ORDER and c.old != c.new and c.before is not None}
        for (kind, number), window in windows.items():
            if kind == "old":
                window.now = moved.get(number, None if number in moved.values() else number)
        taken = {window.now for window in windows.values()}
        for other in self.open:
            if other.now in taken and other not in windows.values():
                other.now = None

    def _settle(self, taken: list[tuple[Window, Net]]) -> None:
        for window, change in taken:
            window.held.discard((change.table, change.old))
        for _, change in taken:
            if change.after is not None and change.old != change.new:
                for window in self.open:  # another row took the key of one that is gone
                    window.held.discard((change.table, change.new))
        alive = {(change.table, change.new) for _, change in taken if change.after is not None}
        for window, change in taken:
            place = (change.table, change.new)
            if change.after is not None or place not in alive:
                window.held.add(place)


def _orders(table: str, key: Key, row: Row | None, tables: Tables) -> Iterator[int]:
    """The order that a row belongs to, if there is one."""
    if row is None:
        return
    number: Any = key[0] if table == ORDER else row["ord_no"]
    if table == TAX and (number, row["line_no"]) not in tables[LINE]:
        return
    if (number,) in tables[ORDER]:
        yield number


def _reaches(window: Window, change: Net, before: Tables, after: Tables) -> bool:
    if (change.table, change.old) in window.held:
        return True
    orders = {row["ord_no"] for table, row in window.joins if table == ORDER}
    lines = {(row["ord_no"], row["line_no"]) for table, row in window.joins if table == LINE}
    for row, tables in ((change.before, before), (change.after, after)):
        if row is None or change.table == ORDER:
            continue
        if change.table == TAX:
            line = (row["ord_no"], row["line_no"])
            if line in lines or (line in tables[LINE] and line[0] in orders):
                return True
        elif row["ord_no"] in orders:
            return True
    return False
