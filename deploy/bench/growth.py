"""Growth: what a row change costs while one thing around it grows, and all others stay as they are.

``python -m deploy.bench.growth`` runs the core in this process (see ``inprocess``): updates of existing rows, about one
in five of them an event. Each line is one shape: the processor time of a row change in microseconds, the smallest of
three runs, and how many functions are called for it. ``--most``: the most aggregates (default 1,000,000).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from bridge.mapping import load
from bridge.model import ChangelogRecord, MappingSet
from bridge.runtime.daemon import spare_collections
from bridge.testing.order import Row
from bridge.testing.stream import OrderStream, Record
from deploy.bench.inprocess import SOURCE, InProcess, Work
from deploy.bench.restore import STRIDE, stored_row

RUNS: Final = 3
COUNTED_ROWS: Final = 1_000
NEWS: Final = 10  # one change in so many is news, and so is the next one of that row, which takes it back


class Shape(NamedTuple):
    """What surrounds a row change."""

    tables: int = 1
    rows: int = 10  # of a transaction
    children: int = 1  # of each root
    mappings: int = 1  # of each table
    aggregates: int = 1_000  # of all tables together
    schemas: bool = False  # JSON with inline schemas
    reads: bool = False  # children are changed, and the event is about them

    @property
    def changed(self) -> int:
        """Row changes of one run: fewer, where each takes long."""
        return max(1_000, min(20_000, 2_000_000 // self.children))

    def table(self, number: int) -> str:
        """The table that holds an aggregate's root."""
        return f"t_{number % self.tables:03d}"


class GrowingStream(OrderStream):
    """Transactions over ``shape.aggregates`` roots, each with its children, all of which are there when it begins."""

    def __init__(self, shape: Shape, row_changes: int) -> None:
        super().__init__("growth", row_changes, customers=1)
        roots = [shape.table(number) for number in range(shape.tables)]
        self.TABLES = (*roots, *(f"{root}_line" for root in roots))
        self._shape = shape
        self._schemas = {table: inline_schema(self.prefix, table) for table in self.TABLES} if shape.schemas else {}

    def records(self) -> Iterator[Record]:
        place = 0
        while self.row_changes < self.wanted:
            for _ in range(min(self._shape.rows, self.wanted - self.row_changes)):
                place += 1
                self._change(self.dice().randrange(self._shape.aggregates), place)
            for record in self._commit():
                yield self._with_schema(record) if self._schemas else record

    def _change(self, number: int, place: int) -> None:
        """An update; what it says of the row holds until the next one."""
        shape = self._shape
        news = place // NEWS if place % NEWS == 0 else 0
        if shape.reads:
            row = line(number, self.dice().randrange(shape.children), quantity=1 + news)
            self.change(f"{shape.table(number)}_line", "u", {"id": row["id"]}, row)
        else:
            self.change(shape.table(number), "u", {"id": number}, root(number, f"S{news}" if news else "A", place))

    def _with_schema(self, record: Record) -> Record:
        schema = self._schemas.get(record.topic.rpartition(".")[2])
        if schema is None:
            return record
        return record._replace(value=b'{"schema":%b,"payload":%b}' % (schema, record.value))


def root(number: int, status: str, place: int = 0) -> Row:
    """A root's row: its status, and columns that nobody maps."""
    return {"id": number, "st": status, "nm": f"number {number}", "rmk": "with care, please", "upd_ts": place}


def line(number: int, place: int, quantity: int = 1) -> Row:
    """A child's row."""
    return {"id": number * 100_000 + place, "root_id": number, "qty": quantity, "rmk": "none", "upd_ts": quantity}


def inline_schema(prefix: str, table: str) -> bytes:
    """The JSON converter's schema of a table's change events."""
    example = line(0, 0) if table.endswith("_line") else root(0, "A")
    row = [
        {"type": "string" if isinstance(v, str) else "int64", "optional": k != "id", "field": k}
        for k, v in example.items()
    ]
    source = ("version", "connector", "name", "snapshot", "db", "sequence", "schema", "table", "origin")
    numbers = ("ts_ms", "ts_us", "ts_ns", "txId", "lsn", "xmin", "origin_lsn")
    fields = [{"type": "string", "optional": True, "field": one} for one in source]
    fields += [{"type": "int64", "optional": True, "field": one} for one in numbers]
    name = f"{prefix}.public.{table}"
    return msgspec.json.encode(
        {
            "type": "struct",
            "fields": [
                {"type": "struct", "fields": row, "optional": True, "name": f"{name}.Value", "field": "before"},
                {"type": "struct", "fields": row, "optional": True, "name": f"{name}.Value", "field": "after"},
                {
                    "type": "struct",
                    "fields": fields,
                    "name": "io.debezium.connector.postgresql.Source",
                    "field": "source",
                },
                {"type": "string", "optional": False, "field": "op"},
                *({"type": "int64", "optional": True, "field": one} for one in ("ts_ms", "ts_us", "ts_ns")),
            ],
            "optional": False,
            "name": f"{name}.Envelope",
            "version": 2,
        }
    )


def mapping_text(shape: Shape, table: int, number: int) -> str:
    """One of the mappings of one of the tables."""
    name = f"T{table}M{number}"
    when = "changed(quantity)" if shape.reads else "changed(status)"
    return f"""
aggregate: {name}
source: {SOURCE}
key: root.id
tables:
  root: {{table: public.{shape.table(table)}}}
  lines: {{table: public.{shape.table(table)}_line, many: true, match: {{root_id: root.id}}}}
model:
  rootId: int = root.id
  status: string = root.st
  quantity: int = sum(x.qty for x in lines)
events:
  {name}Changed: {{topic: growth.{name.lower()}, when: "{when}", data: [rootId, status{", quantity" if shape.reads else ""}]}}
"""


def mapping_set(shape: Shape) -> MappingSet:
    """All of them."""
    places = [(table, number) for table in range(shape.tables) for number in range(shape.mappings)]
    return load([(f"m{t}_{n}.yaml", mapping_text(shape, t, n)) for t, n in places], SOURCE)


def rows_before(shape: Shape, mappings: MappingSet) -> Iterator[ChangelogRecord]:
    """The state in which every run begins."""
    layouts = mappings.layouts
    for place in range(shape.aggregates):
        number = place * STRIDE % shape.aggregates
        table = shape.table(number)
        yield stored_row(layouts, table, {"id": number}, root(number, "A"))
        for child in range(shape.children):
            row = line(number, child)
            yield stored_row(layouts, f"{table}_line", {"id": row["id"]}, row)


def measure(shape: Shape) -> tuple[float, float]:
    """Microseconds and calls of one row change."""
    mappings = mapping_set(shape)
    with tempfile.TemporaryDirectory(prefix="growth-") as directory:
        stream = GrowingStream(shape, 0)
        core = InProcess(Path(directory), stream, mappings, rows_before(shape, mappings))
        spare_collections()

        def work(changes: int, *, count: bool) -> Work:
            stream.wanted += changes
            done = core.work(stream.records(), count=count)
            if done.row_changes != changes or done.events < changes // NEWS * 0.8:
                raise ValueError(f"{done} of {changes} row changes")
            return done

        spent = min(work(shape.changed, count=False).seconds for _ in range(RUNS))
        counted = work(min(shape.changed, COUNTED_ROWS), count=True)
        core.close()
    return spent / shape.changed * 1e6, counted.calls / counted.row_changes


def curves(most: int) -> dict[str, list[tuple[int | str, Shape]]]:
    """What grows, and its steps."""
    base = Shape()
    few = base._replace(aggregates=5)  # their rows fit into the cache, however many children
    children = (1, 10, 100, 1_000, 10_000)
    thousands = [number for number in (1_000, 10_000, 100_000, 1_000_000, 10_000_000) if number <= most]
    return {
        "tables": [(n, base._replace(tables=n)) for n in (1, 10, 100)],
        "rows of a transaction": [(n, base._replace(rows=n)) for n in (1, 10, 100, 1_000)],
        "children of a root, which is changed": [(n, few._replace(children=n)) for n in children],
        "children of a root, one is changed": [(n, few._replace(children=n, reads=True)) for n in children],
        "mappings of the same tables": [(n, base._replace(mappings=n)) for n in (1, 5, 10, 50)],
        "aggregates": [(n, base._replace(aggregates=n)) for n in thousands],
        "JSON": [("without schemas", base), ("with schemas", base._replace(schemas=True))],
    }


def main() -> int:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m deploy.bench.growth", description=__doc__)
    parser.add_argument("--most", type=int, default=1_000_000, help="the most aggregates (default: 1,000,000)")
    options = parser.parse_args()
    print("| What grows | | µs per row change | calls |\n|---|---:|---:|---:|")
    for name, steps in curves(options.most).items():
        for step, shape in steps:
            spent, calls = measure(shape)
            shown = f"{step:,}" if isinstance(step, int) else step
            print(f"| {name} | {shown} | {spent:,.0f} | {calls:,.0f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
