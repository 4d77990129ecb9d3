# ruff: noqa: INP001 - a program, run by its path
"""The bench's job in Quix Streams: orders joined with lines, payments and customers, and their four events.

Orders are read as they lie; lines and payments, which are keyed by something else, are grouped by order beside them
(``group_by``: through a topic of its own), and ``concat`` aligns the three by the time of the source's commits. One
stateful function keeps each order with its rows, and compares the order before and after each row. There are no global
tables: customers are a lookup of our own. Source transactions are not known here: an event is told when its row comes.

Run by an environment of its own (requirements.txt), not by the project's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import orjson  # type: ignore[import-not-found]
from confluent_kafka import Consumer, TopicPartition
from quixstreams import Application, State  # type: ignore[import-not-found]
from quixstreams.dataframe.joins.lookups.base import BaseField, BaseLookup  # type: ignore[import-not-found]

Row = dict[str, Any]

USED = {
    "t_ord": ("ord_no", "rec_typ", "cust_no", "ord_stat", "tot_cents", "cur"),
    "t_ord_line": ("ord_no", "line_no", "itm_cd", "qty", "prc_cents"),
    "t_pay": ("pay_no", "ord_no", "st", "del_flg"),
}
CHILDREN = {"t_ord_line": ("lines", "line_no"), "t_pay": ("payments", "pay_no")}
COMMIT_SECONDS = 0.1
SECONDS = 30


class Customers(BaseLookup):  # type: ignore[misc]
    """The countries of all customers, in memory: read to the end at first, then whatever comes."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._countries: dict[int, str | None] = {}
        self._consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "lookup", "enable.auto.commit": False})
        numbers = self._consumer.list_topics(topic, timeout=SECONDS).topics[topic].partitions
        places = [TopicPartition(topic, number, 0) for number in numbers]
        ends = {place.partition: self._consumer.get_watermark_offsets(place, timeout=SECONDS)[1] for place in places}
        left = {partition: end for partition, end in ends.items() if end}
        self._consumer.assign(places)
        while left:
            for message in self._read(1.0):
                if message.offset() + 1 >= left.get(message.partition(), sys.maxsize):
                    del left[message.partition()]

    def _read(self, seconds: float) -> list[Any]:
        messages: list[Any] = self._consumer.consume(1000, seconds)
        for message in messages:
            after = orjson.loads(message.value() or b"{}").get("after")
            if after is not None:
                self._countries[after["cust_no"]] = after["ctry_cd"]
        return messages

    def join(
        self, fields: Mapping[str, BaseField], on: str, value: Row, key: Any, timestamp: int, headers: Any
    ) -> None:
        """Put the country into an OrderPlaced."""
        del fields, key, timestamp, headers
        if value["type"] == "OrderPlaced":
            self._read(0)
            country = self._countries.get(int(on))
            value["data"]["country"] = "unknown" if country is None else country.strip()


def row_of(table: str) -> Callable[[Row], Row]:
    """A function from an envelope to the columns that are used, with table and operation beside them."""
    columns = USED[table]

    def row(envelope: Row) -> Row:
        op = envelope["op"]
        values = envelope["before" if op == "d" else "after"]
        return {"op": op, "table": table, **{column: values[column] for column in columns}}

    return row


def on_row(row: Row, state: State) -> list[Row]:
    """What a row changes in its order, and the events of that."""
    order = state.get("order") or {"header": None, "lines": {}, "payments": {}}
    before = summary(order)
    new: Row | None = {column: value for column, value in row.items() if column not in {"op", "table"}}
    if row["op"] == "d":
        new = None
    if row["table"] == "t_ord":
        old, order["header"] = order["header"], new
    else:
        place, key = CHILDREN[row["table"]]
        rows, name = order[place], str(row[key])
        old = rows.pop(name, None)
        if new is not None:
            rows[name] = new
    if old == new:
        return []
    state.set("order", order)
    return events_of(order, *before)


def summary(order: Row) -> tuple[str | None, bool, int]:
    """Status, whether it is paid, and the total; of no order: nothing."""
    header = order["header"]
    if header is None or header["rec_typ"] != "O":
        return None, False, 0
    payments = [payment for payment in order["payments"].values() if payment["del_flg"] == "N"]
    last = max(payments, key=lambda payment: payment["pay_no"], default=None)
    return header["ord_stat"], last is not None and last["st"] == "C", header["tot_cents"]


def events_of(order: Row, status: str | None, captured: bool, total: int) -> list[Row]:  # noqa: FBT001 - of a summary
    """The events between an order as it was (its summary) and as it is."""
    now, paid, _ = summary(order)
    header = order["header"]
    events = []
    if now != status and now == "P":
        events.append(event("OrderPlaced", header, placed(order)))
    if paid and not captured:
        events.append(event("OrderPaid", header, {"total": money(header["tot_cents"]), "currency": currency(header)}))
    if now != status and now == "S":
        events.append(event("OrderShipped", header, {"customerId": str(header["cust_no"])}))
    if now != status and now == "X":
        events.append(event("OrderCancelled", header, {"refundDue": money(total if captured else 0)}))
    return events


def event(kind: str, header: Row, data: Row) -> Row:
    """An event on its way."""
    return {"type": kind, "customer": str(header["cust_no"]), "data": {"orderId": str(header["ord_no"]), **data}}


def placed(order: Row) -> Row:
    """The data of OrderPlaced, without the country."""
    header = order["header"]
    lines = sorted(order["lines"].values(), key=lambda line: line["line_no"])
    return {
        "customerId": str(header["cust_no"]),
        "total": money(header["tot_cents"]),
        "currency": currency(header),
        "lines": [
            {"sku": line["itm_cd"].strip(), "quantity": line["qty"], "price": money(line["prc_cents"])}
            for line in lines
        ],
    }


def currency(header: Row) -> str:
    """Of an order."""
    return "EUR" if header["cur"] is None else str(header["cur"]).strip()


def money(cents: int) -> str:
    """As events show it."""
    return f"{cents // 100}.{cents % 100:02d}"


def main(bootstrap: str, name: str, prefix: str, output: str, directory: str) -> None:
    """Build the dataframes and run them."""
    app = Application(
        bootstrap,
        consumer_group=name,
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        commit_interval=COMMIT_SECONDS,
        consumer_poll_timeout=COMMIT_SECONDS,  # it waits for a full batch as long; 1.0, the default, takes twice the time
        state_dir=directory,
        loglevel="WARNING",
    )

    def committed(value: Row, *_: object) -> int:
        return int(value["source"]["ts_ms"])

    def table(name: str) -> Any:
        topic = app.topic(f"{prefix}.public.{name}", key_deserializer="bytes", timestamp_extractor=committed)
        return app.dataframe(topic).apply(row_of(name))

    others = table("t_ord_line").concat(table("t_pay"))
    others = others.group_by(
        lambda row: b'{"ord_no":%d}' % row["ord_no"], "order", key_serializer="bytes", key_deserializer="bytes"
    )
    events = table("t_ord").concat(others).apply(on_row, stateful=True, expand=True)
    customers = Customers(bootstrap, f"{prefix}.public.t_cust")
    events = events.join_lookup(customers, {}, on=lambda value, _key: value["customer"])
    events = events.set_headers(lambda value, *_: [("ce_type", value["type"].encode())])
    events = events.apply(lambda value: value["data"])
    events.to_topic(app.topic(output, key_serializer="str"), key=lambda data: data["orderId"])
    print("reading", flush=True)
    app.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
