"""``python -m deploy.bench.mapping``: what a compiled mapping costs, against the hand-written function for the same.

Both take the same orders of the bench's stream: they decode each row image, then make the model before and after each
transaction, ask the rules and make the payloads. Reading Kafka, joins and state are the core's, and left out of both.
They run in turns in one process; figures are medians. The last line is one JSON object:

  ratio                the compiled mapping's time, divided by the hand-written function's just after it
  compiled_us          microseconds per source transaction (about four row images and two models)
  handwritten_us       the same
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from bridge.core.columns import TableDecoder
from bridge.mapping import load
from bridge.model import Mapping, Node, Row
from bridge.testing.stream import MAPPING, OrderStream
from deploy.bench import handwritten

TABLES = ("t_cust", "t_ord", "t_ord_line", "t_pay")
Events = list[tuple[str, dict[str, Any]]]


class Rows(NamedTuple):
    """The rows of one order at one time, by number of their image; payments with their row keys."""

    header: int | None
    lines: tuple[int, ...]
    payments: tuple[tuple[bytes, int], ...]
    customer: int | None

    def of(self, decoded: Sequence[Any], *, keys: bool) -> Image:
        """The same rows, decoded; with ``keys``, payments as pairs of row key and row, as picks take them."""
        return Image(
            None if self.header is None else decoded[self.header],
            [decoded[number] for number in self.lines],
            [(key, decoded[number]) if keys else decoded[number] for key, number in self.payments],
            None if self.customer is None else decoded[self.customer],
        )


class Image(NamedTuple):
    header: Any
    lines: list[Any]
    payments: list[Any]
    customer: Any


class Work(NamedTuple):
    """Row images as (table, JSON), and per transaction the order before and after it."""

    images: list[tuple[str, msgspec.Raw]]
    units: list[tuple[Rows, Rows]]


class _Envelope(msgspec.Struct):
    after: msgspec.Raw
    source: dict[str, Any]


def work(row_changes: int) -> Work:
    """What the bench's stream holds for the mapping."""
    found = Work([], [])
    rows: dict[str, dict[bytes, int]] = {table: {} for table in TABLES}
    orders: dict[int, dict[str, dict[bytes, int]]] = {}
    stream = OrderStream("shop", row_changes)
    decode = msgspec.json.Decoder(_Envelope).decode
    touched: int | None = None
    before = Rows(None, (), (), None)
    for record in stream.records():
        if record.topic == stream.transaction_topic:
            if touched is not None:
                found.units.append((before, _rows(orders[touched], rows, found.images)))
            touched = None
            continue
        envelope = decode(record.value)
        table = envelope.source["table"]
        number = len(found.images)
        found.images.append((table, envelope.after))
        order = json.loads(record.value)["after"].get("ord_no")
        if order is not None and touched is None:
            touched = order
            before = _rows(orders.setdefault(order, {name: {} for name in TABLES}), rows, found.images)
        rows[table][record.key] = number
        if order is not None:
            orders[order][table][record.key] = number
    return found


def _rows(order: dict[str, dict[bytes, int]], rows: dict[str, dict[bytes, int]], images: list[Any]) -> Rows:
    header = next(iter(order["t_ord"].values()), None)
    key = b"" if header is None else b'{"cust_no":%d}' % json.loads(bytes(images[header][1]))["cust_no"]
    lines = tuple(number for _, number in sorted(order["t_ord_line"].items()))
    return Rows(header, lines, tuple(sorted(order["t_pay"].items())), rows["t_cust"].get(key))


class Compiled:
    """The mapping as the core runs it."""

    keys = True

    def __init__(self) -> None:
        mappings = load([(MAPPING.name, MAPPING.read_text())], "legacy")
        self.decoders = {
            name.partition(".")[2]: TableDecoder(layout, 0).row for name, layout in mappings.layouts.items()
        }
        self.mapping: Mapping = mappings.mappings[0]

    def run(self, units: list[tuple[Image, Image]]) -> list[Events]:
        """The events of each unit, as aggregate and translate make them."""
        model, rules = self.mapping.model, self.mapping.events
        found = []
        for before, after in units:
            node, past = self.node(after), self.node(before)
            new = None if node is None else model(node)
            old = None if past is None else model(past)
            events: Events = []
            if old != new:
                for rule in rules:
                    if rule.when(old, new, None, None, ()):
                        events.append((rule.type, rule.data(old, new, None, None, ())))
            found.append(events)
        return found

    def node(self, image: Image) -> Node | None:
        """An order's rows, cleaned, picked and joined."""
        order, lines, payment, customer = self.mapping.tables
        assert order.when is not None  # noqa: S101 - the mapping has it
        assert lines.normalise is not None  # noqa: S101
        assert payment.pick is not None  # noqa: S101
        assert customer.normalise is not None  # noqa: S101
        if image.header is None or not order.when(image.header):
            return None
        normalise = lines.normalise
        picked: Row | None = payment.pick(image.payments) if image.payments else None
        return (
            image.header,
            [(normalise(line),) for line in image.lines],
            None if picked is None else (picked,),
            None if image.customer is None else (customer.normalise(image.customer),),
        )


class HandWritten:
    """The yardstick."""

    keys = False

    decoders = handwritten.DECODERS

    def run(self, units: list[tuple[Image, Image]]) -> list[Events]:
        """The events of each unit."""
        order_of, events_of = handwritten.order_of, handwritten.events_of
        found = []
        for before, after in units:
            new = order_of(*after)
            old = order_of(*before)
            found.append(events_of(old, new))
        return found


def seconds(side: Compiled | HandWritten, given: Work) -> tuple[float, list[Events]]:
    """The processor time of one pass, and its events."""
    decoders: dict[str, Callable[[msgspec.Raw], Any]] = side.decoders  # type: ignore[assignment]
    gc.collect()
    start = time.process_time()
    decoded = [decoders[table](image) for table, image in given.images]
    spent = time.process_time() - start
    units = [(before.of(decoded, keys=side.keys), after.of(decoded, keys=side.keys)) for before, after in given.units]
    gc.collect()
    start = time.process_time()
    events = side.run(units)
    return spent + time.process_time() - start, events


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and refuse if the two disagree on an event."""
    parser = argparse.ArgumentParser(prog="python -m deploy.bench.mapping", description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=20_000, help="row changes of the stream (default: 20000)")
    parser.add_argument("--runs", type=int, default=15, help="runs of each side (default: 15)")
    given = parser.parse_args(arguments)
    stream = work(given.rows)
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)  # as `bridge run` does
    sides = (Compiled(), HandWritten())
    if seconds(sides[0], stream)[1] != seconds(sides[1], stream)[1]:
        print("the compiled mapping and the hand-written function disagree", file=sys.stderr)
        return 1
    runs = [[seconds(side, stream)[0] for side in sides] for _ in range(given.runs)]
    compiled, written = (statistics.median(run[i] for run in runs) for i in (0, 1))
    print(f"{len(stream.images):,} row images, {len(stream.units):,} transactions, {given.runs} runs of each in turns")
    figures = {
        "ratio": round(statistics.median(run[0] / run[1] for run in runs), 2),
        "compiled_us": round(compiled / len(stream.units) * 1e6, 2),
        "handwritten_us": round(written / len(stream.units) * 1e6, 2),
    }
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
