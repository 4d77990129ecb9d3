"""The targets: each takes any bytes, and lets nothing out but what its door declares."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

from bridge.core.connectors import CONNECTORS
from bridge.core.decode import Decode
from bridge.errors import Fatal, Undecodable, Untranslatable
from bridge.formats.registry import Registered
from bridge.formats.translate import Formats
from bridge.located_yaml import parse
from bridge.mapping import diagnose, load
from bridge.mapping.catalog import Catalog, read
from bridge.model import UNKNOWN, Layout, Mapping, MappingSet, Node, PlainRecord, Row

ODD: Final[tuple[Any, ...]] = (
    None, UNKNOWN, True, 0, -1, 10**30, 0.5, "", "A", "12", "1.50", "2026-01-02", "2026-01-02T10:00:00.000000",
    "9999-12-31T23:59:59.999999", "{}", '{"a":[1]}', "a" * 70_000, "٣", [],
)  # fmt: skip
CATALOG: Final = Catalog.of(
    {
        "public.t": {
            "id": "integer not null", "txt": "text null", "num": "numeric(12,2) null", "day": "date", "at": "timestamp",
            "flag": "boolean", "dbl": "double precision", "st": "enum('N','P') not null",
        },
        "public.k": {"id": "integer not null", "t_id": "integer", "nm": "text", "val": "text", "qty": "integer null"},
    }
)  # fmt: skip
LAYOUTS: Final = {
    name: Layout(name, tuple(table.columns), tuple(column.type for column in table.columns.values()))
    for name, table in CATALOG.tables.items()
}
FILE: Final = """
aggregate: Thing
source: s
key: t.id
tables:
  t: {{table: public.t}}
  k: {{table: public.k, many: true, match: {{t_id: t.id}}, pivot: {{name: nm, value: val}}}}
  one: {{table: public.k, match: {{id: t.num}}}}
model:
  id: string = t.id
  x:
    type: {kind}?
    from: {model}
  ks: {{each: k, fields: {{nm: string? = nm, qty: int? = qty}}}}
events:
  ThingSeen:
    topic: things
    when: {rule}
    data: [id, x, ks]
"""
SCHEMAS: Final = json.loads((Path(__file__).parents[1] / "golden" / "avro.json").read_text())["schemas"]
KINDS: Final = ("string", "int", "decimal(12,2)", "bool", "date", "timestamp", "double")


def yaml(data: bytes) -> None:
    """Any text: data or diagnostics, with places inside the text."""
    text = data.decode(errors="replace")
    located = parse(text, "f")
    for diagnostic in located.diagnostics:
        str(diagnostic)
    read(text, "catalog.yaml")


def mapping(data: bytes) -> None:
    """Any mapping file: diagnostics, or code that runs on any row."""
    files = [("f.yaml", data.decode(errors="replace"))]
    for catalog in (None, CATALOG):
        found = diagnose(files, catalog)
        if all(one.warning for one in found):
            _run(_loaded(files, catalog), data)


def expression(data: bytes) -> None:
    """Any text as an expression of the model, and of a rule."""
    text = data[1:].decode(errors="replace").replace("\n", " ").replace("\r", " ")
    quoted = "'" + text.replace("'", "''") + "'"
    kind = KINDS[data[0] % len(KINDS)] if data else KINDS[0]
    for model, rule in ((quoted, "created()"), ("t.id", quoted)):
        mapping(FILE.format(kind=kind, model=model, rule=rule).encode())


def decode(data: bytes) -> None:
    """Any record of any topic: an event, a marker, nothing, or an error that names its place."""
    step = Decode(LAYOUTS, CONNECTORS["postgresql"])
    key, _, value = data.partition(b"\x00")
    for topic in ("s.public.t", "s.transaction"):
        record = PlainRecord(topic, 0, 7, key, value, [("__debezium.newkey", key)])
        try:
            for one in step.records([record], 0):
                before = getattr(one, "before", None)
                if before is not None:
                    one.table.row(before)  # type: ignore[union-attr]
        except Undecodable as error:
            str(error)


class _Registry:
    """Knows the schemas of real records, and any other as its text."""

    def __init__(self, text: str = "") -> None:
        self._text = text

    def schema(self, schema_id: int) -> Registered:
        return Registered("AVRO", SCHEMAS.get(str(schema_id), self._text))


KNOWN: Final = Formats(_Registry())


def formats(data: bytes) -> None:
    """Any Avro data of a real schema, and any text as a schema: a record, or an error that names the schema."""
    for number in (*SCHEMAS, "1"):
        framed = b"\x00" + int(number).to_bytes(4, "big") + data
        record = PlainRecord("s.public.t", 0, 7, framed, framed)
        known = KNOWN if number in SCHEMAS else Formats(_Registry(data.decode(errors="replace")))
        try:
            known.record(record)
        except Fatal as error:
            str(error)


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "yaml": yaml, "mapping": mapping, "expression": expression, "decode": decode, "formats": formats,
}  # fmt: skip


# -- compiled mappings on odd rows -------------------------------------------------------------------------------------


def _loaded(files: list[tuple[str, str]], catalog: Catalog | None) -> MappingSet:
    sources = {parse(text, name).data.get("source") for name, text in files}
    source = sources.pop()
    return load(files, str(source), catalog)


def _run(made: MappingSet | None, data: bytes) -> None:
    if made is None:
        return
    for one in made.mappings:
        for round_ in range(3):
            values = _values(data, round_)
            before, after = (_node(one, made, 0, values, 0) for _ in range(2))
            _attempt(lambda one=one, before=before, after=after: _unit(one, before, after))  # type: ignore[misc]


def _unit(one: Mapping, before: Node, after: Node) -> None:
    models = [None, one.model(before), one.model(after)]
    for old in models:
        for new in models:
            for rule in one.events:
                elements = rule.each(old, new) if rule.each is not None else [("", None, None)]
                for _, item, past in elements:
                    if rule.when(old, new, item, past, None):
                        rule.data(old, new, item, past, None)


def _attempt(call: Callable[[], None]) -> None:
    try:
        call()
    except Untranslatable as error:
        str(error)


def _values(data: bytes, round_: int) -> Iterator[Any]:
    """An endless choice of odd values, by the input's bytes."""
    step = round_
    while True:
        for byte in data or b"\x00":
            step += byte + 1
            yield ODD[step % len(ODD)]


def _node(one: Mapping, made: MappingSet, number: int, values: Iterator[Any], depth: int) -> Node:
    use = one.tables[number]
    row: Row = tuple(islice(values, len(made.layouts[use.table].columns)))
    if use.normalise is not None:
        row = use.normalise(row)
    if use.when is not None:
        _attempt(lambda: use.when(row) and None)  # type: ignore[misc,arg-type]
    kids: list[Any] = []
    for kid in use.kids:
        inner = one.tables[kid]
        nodes = [_node(one, made, kid, values, depth + 1)] * 2 if depth < 3 else []
        kids.append(nodes if inner.many else nodes[0] if nodes else None)
        if inner.pick is not None:
            pairs = [(b"%d" % i, node[0]) for i, node in enumerate(nodes)]
            _attempt(lambda inner=inner, pairs=pairs: inner.pick(pairs) and None)  # type: ignore[misc]
    return (row, *kids)
