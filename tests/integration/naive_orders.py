"""The truth about mappings/demo/order.yaml: the bytes that the topics' records mean. Nothing here comes from the bridge.

All records are at hand, so this needs no queues, counts or barriers: rows are grouped by xid, repeats dropped, and the
transactions applied in the order of their ENDs, one by one, with the whole history of every table in plain dicts.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.integration.seen import Record

NAMESPACE = uuid.UUID("6f1d6c9e-0d4b-5f0e-9a52-2f6f5b1c7a11")
Row = dict[str, Any]
Image = dict[str, dict[str, Row]]  # one order: table → row key → row
Event = tuple[bytes, tuple[tuple[str, bytes], ...]]  # value and headers
ORDER, LINE, PAYMENT, CUSTOMER = "t_ord", "t_ord_line", "t_pay", "t_cust"


@dataclass
class Truth:
    """Events by record key; and what was in the topics."""

    events: dict[str, list[Event]] = field(default_factory=dict)
    transactions: int = 0
    repeated_ends: int = 0
    repeated_rows: int = 0
    restarts: int = 0


@dataclass
class _Log:
    rows: dict[str, dict[tuple[Any, ...], Row]] = field(default_factory=dict)  # xid → distinct rows
    ends: list[tuple[str, int, int]] = field(default_factory=list)  # xid, commit position, ms
    seeds: list[Row] = field(default_factory=list)


def truth(records: Iterable[Record]) -> Truth:
    """What a read_committed consumer of the events has to see, whatever failed on the way."""
    result = Truth()
    log = _read(records, result)
    database = _Database()
    for seed in log.seeds:
        database.apply(seed)
    latest_ms = 0
    for xid, position, ms in log.ends:
        result.transactions += 1
        latest_ms = max(latest_ms, ms)
        rows = sorted(log.rows.get(xid, {}).values(), key=lambda row: int(row["source"]["lsn"]))
        touched = dict.fromkeys(key for row in rows for key in database.orders_of(row))
        before = {key: database.image(key) for key in touched}
        for row in rows:
            database.apply(row)
        for key in touched:
            # the customer is read as of this commit for both images
            models = [_model(image, key, database.customers) for image in (before[key], database.image(key))]
            for kind, data in _events(*models):
                event = _encode(key, kind, data, position, latest_ms, ms)
                result.events.setdefault(key, []).append(event)
    return result


def _read(records: Iterable[Record], result: Truth) -> _Log:
    log = _Log()
    last, begun = -1, ""
    for record in sorted(records, key=lambda record: (record.topic, record.partition, record.offset)):
        envelope = _payload(record.value)
        if envelope is None:
            continue
        if "status" in envelope:
            xid, _, lsn = envelope["id"].partition(":")
            if envelope["status"] == "BEGIN":
                result.restarts += begun != ""
                begun = xid
            else:
                begun = ""
                if int(lsn) > last:
                    last = int(lsn)
                    log.ends.append((xid, int(lsn), envelope["ts_ms"]))
                else:
                    result.repeated_ends += 1
        elif "source" in envelope and envelope["op"] in ("c", "u", "d", "r"):
            _row(envelope | {"row_key": json.dumps(_payload(record.key), sort_keys=True)}, log, result)
    return log


def _row(row: Row, log: _Log, result: Truth) -> None:
    source = row["source"]
    if source["table"] not in (ORDER, LINE, PAYMENT, CUSTOMER):
        return
    if source["snapshot"] not in (None, "false"):
        log.seeds.append(row)
        return
    rows = log.rows.setdefault(row["transaction"]["id"].partition(":")[0], {})
    identity = source["lsn"], source["table"], row["row_key"], row["op"]
    result.repeated_rows += identity in rows
    rows.setdefault(identity, row)


def _payload(text: bytes | None) -> Any:
    """A JSON document of Kafka Connect, with an inline schema or without."""
    value = json.loads(text) if text is not None else None
    return value["payload"] if isinstance(value, dict) and value.keys() == {"schema", "payload"} else value


class _Database:
    """All rows as of one commit: those of orders by order number, table and row key."""

    def __init__(self) -> None:
        self.customers: dict[int, Row] = {}
        self._orders: dict[str, Image] = {}
        self._places: dict[tuple[str, str], str] = {}

    def orders_of(self, row: Row) -> list[str]:
        """The order that a row belongs to, or belonged to before."""
        if row["source"]["table"] == CUSTOMER:
            return []
        old = self._places.get((row["source"]["table"], row["row_key"]))
        new = None if row["after"] is None else str(row["after"]["ord_no"])
        return [key for key in (old, new) if key is not None]

    def image(self, key: str) -> Image:
        return {name: dict(rows) for name, rows in self._orders.get(key, {}).items()}

    def apply(self, row: Row) -> None:
        name, key, after = row["source"]["table"], row["row_key"], row["after"]
        if name == CUSTOMER:
            if after is not None:
                self.customers[after["cust_no"]] = after
            return
        old = self._places.pop((name, key), None)
        if old is not None:
            del self._orders[old][name][key]
        if row["op"] != "d":
            number = self._places[name, key] = str(after["ord_no"])
            self._orders.setdefault(number, {}).setdefault(name, {})[key] = after


# -- the mapping, in plain Python --------------------------------------------------------------------------------------


def _model(image: Image, key: str, customers: dict[int, Row]) -> Row | None:
    order = next((row for row in image.get(ORDER, {}).values() if row["rec_typ"] == "O"), None)
    if order is None:
        return None
    payments = [row["st"] for row in image.get(PAYMENT, {}).values()]
    customer = customers[order["cust_no"]]
    return {
        "orderId": key,
        "customerId": str(order["cust_no"]),
        "customerTier": {"S": "STANDARD", "G": "GOLD"}[customer["cust_tier"]],
        "currency": order["cur"].strip(" "),
        "total": _money(order["tot_cents"]),
        "lines": [
            {"sku": line["itm_cd"].strip(" "), "quantity": line["qty"], "price": _money(line["prc_cents"])}
            for line in sorted(image.get(LINE, {}).values(), key=lambda line: int(line["line_no"]))
        ],
        "status": {"N": "NEW", "P": "PLACED", "B": "PAID", "S": "SHIPPED", "X": "CANCELLED"}[order["ord_stat"]],
        "payment": {"C": "CAPTURED", "A": "PENDING", "I": "PENDING"}[payments[0]] if payments else "NONE",
    }


def _money(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d}"


def _events(was: Row | None, now: Row | None) -> Iterator[tuple[str, Row]]:
    if now is None:
        return
    status, old_status = now["status"], was["status"] if was is not None else None
    if status == "PLACED" != old_status or (was is None and status == "PAID"):
        names = ("orderId", "customerId", "customerTier", "currency", "total", "lines")
        yield "OrderPlaced", {name: now[name] for name in names}
    if now["payment"] == "CAPTURED" and (was is None or was["payment"] != "CAPTURED"):
        yield "OrderPaid", {"orderId": now["orderId"], "amount": now["total"]}
    if status == "SHIPPED" != old_status:
        yield "OrderShipped", {"orderId": now["orderId"]}
    if status == "CANCELLED" and was is not None and old_status in ("NEW", "PLACED", "PAID"):
        refund = was["total"] if was["payment"] == "CAPTURED" else "0.00"
        yield "OrderCancelled", {"orderId": now["orderId"], "refundDue": refund}


def _encode(key: str, kind: str, data: Row, position: int, latest_ms: int, commit_ms: int) -> Event:
    name = "\x1f".join(("legacy", "1", str(position), "Order", key, kind, "1", ""))
    identity = uuid.uuid5(NAMESPACE, name)
    headers = {
        "ce_specversion": "1.0",
        "ce_id": str(identity),
        "ce_source": "/bridge/legacy",
        "ce_type": kind,
        "ce_subject": key,
        "ce_time": _time(latest_ms),
        "content-type": "application/json",
        "schemaVersion": "1",
        "lastUpdated": _time(commit_ms),
        "traceparent": f"00-{identity.hex}-{identity.hex[16:]}-01",
    }
    value = json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode()
    return value, tuple((name, text.encode()) for name, text in headers.items())


def _time(ms: int) -> str:
    text = datetime.fromtimestamp(ms // 1000, UTC).isoformat().removesuffix("+00:00")
    return f"{text}.{ms % 1000:03d}Z"
