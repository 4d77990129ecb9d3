"""The truth: which events the committed transactions mean. Plain dicts and loops; nothing here comes from the bridge.

The database knows what it committed, so this needs no ENDs, no offsets and no LSNs: transactions come in commit order
with whole rows before and after, as the database had them and no matter what of it the records show.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.sim.database import Change, Database, Key, Row, Transaction
from tests.sim.mappings import EVENTS_TOPIC, LINES_TOPIC
from tests.sim.naive_windows import Window, Windows
from tests.sim.workload import CUSTOMER, LINE, ORDER, PAYMENT, TAX, Features

Tables = dict[str, dict[Key, Row]]
Model = dict[str, Any]
BEFORE_ALL = -1  # stands for a transaction, where there was none
STATUS = {"N": "NEW", "P": "PLACED", "S": "SHIPPED", "X": "CANCELLED"}


class Unknown(Exception):
    pass


@dataclass
class Event:
    topic: str
    key: str
    type: str
    data: dict[str, Any]
    transaction: int
    committed_ms: int  # of its source transaction
    time_ms: int  # the latest commit time until then: commit times may go back, event times do not


@dataclass
class Truth:
    events: list[Event] = field(default_factory=list)
    parked: set[str] = field(default_factory=set)
    unreadable: int = 0  # records
    time_ms: int = 0

    def by_key(self) -> dict[str, list[Event]]:
        found: dict[str, list[Event]] = {}
        for event in self.events:
            found.setdefault(event.key, []).append(event)
        return found


SeedRow = tuple[int, str, Key, Row]  # transactions committed before it, table, key, row


def truth(database: Database, features: Features, seeds: Iterable[SeedRow]) -> Truth:
    """The events of the whole history. ``seeds``: incremental snapshot rows that reached the topics."""
    tables = _start(database, features)
    waiting = sorted(seeds, key=lambda seed: seed[0])
    result = Truth()
    windows = None if features.window is None else Windows(features, lambda number: _shipped(tables, number, features))
    for transaction in database.transactions:
        while waiting and waiting[0][0] <= transaction.index:
            _, name, key, row = waiting.pop(0)
            tables[name][key] = row
        if transaction.index == 0 and features.listed:
            _listed(tables, transaction, features, result)
        result.time_ms = max(result.time_ms, transaction.ts_ms)
        for window in windows.due(result.time_ms) if windows is not None else ():
            _closed(window, tables, transaction, features, result)
        before = {name: dict(rows) for name, rows in tables.items()}
        moved = _apply(tables, transaction)
        _garbage(transaction, result)
        before[CUSTOMER] = tables[CUSTOMER]  # lookups are read as of the commit, for both images
        if windows is None:
            _units(before, tables, moved, transaction, features, result)
            continue
        for window in windows.fold(transaction, result.time_ms, before, tables):
            _closed(window, tables, transaction, features, result)
    return result


def _shipped(tables: Tables, number: int | None, features: Features) -> bool:
    """``until``: a model that cannot be made does not say so."""
    if not features.until or number is None:
        return False
    try:
        model = _model(tables, number, features)
    except Unknown:
        return False
    return model is not None and model["status"] == "SHIPPED"


def _closed(window: Window, tables: Tables, by: Transaction, features: Features, result: Truth) -> None:
    """One unit: the tables before the window, and now. Its events come with the transaction that closed it."""
    before = window.before | {CUSTOMER: tables[CUSTOMER]}
    nobody = -1
    old = nobody if window.old is None else window.old
    new = nobody if window.now is None else window.now
    told = Truth(parked=result.parked, time_ms=window.last_ms)
    _unit(before, tables, old, new, by, features, told)
    for event in told.events:
        event.committed_ms = window.committed_ms
    result.events += told.events


def _listed(tables: Tables, first: Transaction, features: Features, result: Truth) -> None:
    """What the initial snapshot found is told before the first transaction, as of its time."""
    for key in sorted(tables[ORDER]):
        try:
            model = _model(tables, key[0], features)
        except Unknown:
            result.parked.add(str(key[0]))
            continue
        if model is not None and model["status"] != "CANCELLED":
            data = _some(model, "orderId", "total", "lines")
            event = Event(EVENTS_TOPIC, str(key[0]), "OrderListed", data, BEFORE_ALL, first.ts_ms, first.ts_ms)
            result.events.append(event)


def _start(database: Database, features: Features) -> Tables:
    """What the bridge knows at first: everything that a snapshot read, or nothing."""
    known = features.start == "snapshot"
    return {name: dict(database.initial[name]) if known else {} for name in database.tables}


def _apply(tables: Tables, transaction: Transaction) -> dict[int, int]:
    """Apply the changes; returns which order number became which."""
    moved: dict[int, int] = {}
    for change in transaction.changes:
        _apply_one(tables, change)
        if change.table.name == ORDER and change.op == "d" and change.other_key is not None:
            old, new = change.key(), change.other_key
            assert old is not None
            first = next((a for a, b in moved.items() if b == old[0]), old[0])
            moved[first] = new[0]
    return moved


def _garbage(transaction: Transaction, result: Truth) -> None:
    """An order whose record cannot be read is not known from then on, so that nothing can be told of it."""
    for change in transaction.changes:
        if change.garbage is not None:
            assert change.after is not None
            result.unreadable += 1
            result.parked.add(str(change.after["ord_no"]))


def _apply_one(tables: Tables, change: Change) -> None:
    key = change.key()
    if key is None:
        return
    if change.op == "d":
        tables[change.table.name].pop(key, None)
    else:
        assert change.after is not None
        tables[change.table.name][key] = change.after


def _units(
    before: Tables, after: Tables, moved: dict[int, int], transaction: Transaction, features: Features, result: Truth
) -> None:
    new_numbers = set(moved.values())
    numbers = [key[0] for key in before[ORDER]] + [key[0] for key in after[ORDER] if key not in before[ORDER]]
    for number in numbers:
        if number in new_numbers and (number,) not in before[ORDER] and _was_there(before, moved, number):
            continue  # told under its old number
        now = moved.get(number, number)
        if (number,) not in before[ORDER]:
            now = number
        _unit(before, after, number, now, transaction, features, result)


def _was_there(before: Tables, moved: dict[int, int], number: int) -> bool:
    return any(new == number and (old,) in before[ORDER] for old, new in moved.items())


def _unit(
    before: Tables, after: Tables, old: int, new: int, transaction: Transaction, features: Features, result: Truth
) -> None:
    key = str(new if (new,) in after[ORDER] and _exists(after[ORDER][new,], features) else old)
    try:
        was = _model(before, old, features)
        now = _model(after, new, features)
    except Unknown:
        result.parked.add(str(new if (new,) in after[ORDER] else old))
        return
    if was == now or key in result.parked:
        return
    for topic, kind, data in _events(was, now, features):
        result.events.append(Event(topic, key, kind, data, transaction.index, transaction.ts_ms, result.time_ms))


def _exists(row: Row, features: Features) -> bool:
    return not features.soft_delete or row["rec_typ"] == "O"


def _money(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d}"


def _model(tables: Tables, number: int, features: Features) -> Model | None:
    order = tables[ORDER].get((number,))
    if order is None or not _exists(order, features):
        return None
    if order["ord_stat"] not in STATUS:
        raise Unknown
    model: Model = {
        "orderId": str(number),
        "total": _money(order["tot_cents"]),
        "currency": order["cur"] if order["cur"] is not None else "EUR",
        "note": order["note"],
        "status": STATUS[order["ord_stat"]],
    }
    if features.payment:
        states = [row["st"] for row in tables[PAYMENT].values() if row["ord_no"] == number]
        model["payment"] = {"C": "CAPTURED", "A": "PENDING", "I": "PENDING"}[states[0]] if states else "NONE"
    if features.customer:
        customer = tables[CUSTOMER].get((order["cust_no"],))
        model["group"] = customer["grp"] if customer is not None else None
    model["lines"] = [_line(tables, tables[LINE][key], features) for key in sorted(tables[LINE]) if key[0] == number]
    return model


def _line(tables: Tables, row: Row, features: Features) -> Model:
    line = {
        "line": row["line_no"],
        "sku": row["itm_cd"].strip(" "),
        "quantity": row["qty"],
        "price": _money(row["prc_cents"]),
    }
    if features.taxes:
        place = (row["ord_no"], row["line_no"])
        line["tax"] = _money(sum(t["amt"] for t in tables[TAX].values() if (t["ord_no"], t["line_no"]) == place))
    return line


def _events(was: Model | None, now: Model | None, features: Features) -> Iterable[tuple[str, str, Model]]:
    more = ["payment"] * features.payment + ["group"] * features.customer

    def became(status: str) -> bool:
        return now is not None and now["status"] == status and (was is None or was["status"] != status)

    if now is None:
        assert was is not None
        yield EVENTS_TOPIC, "OrderDeleted", _some(was, "orderId", "lines")
        return
    if was is None:
        yield EVENTS_TOPIC, "OrderCreated", _some(now, "orderId", "status", "total", "lines")
    if became("PLACED"):
        yield EVENTS_TOPIC, "OrderPlaced", _some(now, "orderId", "total", "currency", "lines", *more)
    if became("CANCELLED") and was is not None and was["status"] in ("NEW", "PLACED"):
        refund = was["total"] if was["status"] == "PLACED" else "0.00"
        yield EVENTS_TOPIC, "OrderCancelled", {"orderId": now["orderId"], "refund": refund}
    known = {line["line"] for line in was["lines"]} if was is not None else set()
    for line in now["lines"]:
        if line["line"] not in known:
            data = {"orderId": now["orderId"], "sku": line["sku"], "quantity": line["quantity"]}
            yield LINES_TOPIC, "OrderLineAdded", data
    if was is not None:
        yield EVENTS_TOPIC, "OrderRevised", _some(now, *"orderId status total currency note lines".split(), *more)
        if (was["total"], was["currency"]) != (now["total"], now["currency"]):
            yield EVENTS_TOPIC, "OrderRepriced", _some(now, "orderId", "total") | {"was": was["total"]}
        if features.customer and was["group"] != now["group"]:
            yield EVENTS_TOPIC, "OrderReassigned", _some(now, "orderId") | {"was": was["group"]}


def _some(model: Model, *names: str) -> Model:
    return {name: model[name] for name in names}
