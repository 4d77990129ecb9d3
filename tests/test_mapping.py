"""The language's example, run: rows in, model and payloads out, and every way in which a row can be no good."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import MappingInvalid, Untranslatable
from bridge.mapping import diagnose, load
from bridge.mapping.catalog import Catalog
from bridge.mapping.diagnostics import RUNTIME_CODES
from bridge.model import UNKNOWN, Mapping, MappingSet, Node, Row

EXAMPLE = (Path(__file__).parent / "golden" / "order.yaml").read_text()
CATALOG = {
    "public.t_ord": {
        "ord_no": "integer", "rec_typ": "char(1)", "ord_stat": "char(1)", "tot_cents": "bigint", "cur": "char(4)",
        "cust_no": "integer", "plc_dt": "timestamp without time zone",
    },
    "public.t_ord_line": {
        "ord_no": "integer", "line_no": "integer", "itm_cd": "char(5)", "qty": "integer", "prc_cents": "bigint",
    },
    "public.t_pay": {"ord_no": "integer", "st": "char(1)", "del_flg": "char(1)", "valid_from": "date"},
    "public.t_cust": {"cust_no": "integer", "email": "text"},
}  # fmt: skip
ORDER = {
    "ord_no": 7, "rec_typ": "O", "ord_stat": "N", "tot_cents": 2000, "cur": "EUR ", "cust_no": 1,
    "plc_dt": "2026-01-02T10:00:00.000000",
}  # fmt: skip


class Bench:
    """Builds rows and nodes for one mapping by column and alias names."""

    def __init__(self, text: str, types: dict[str, dict[str, str]] | None = None) -> None:
        self.set: MappingSet = load([("order.yaml", text)], "legacy", None if types is None else Catalog.of(types))
        self.mapping: Mapping = self.set.mappings[0]
        self.alias = {use.alias: use for use in self.mapping.tables}

    def row(self, alias: str, **columns: Any) -> Row:
        use = self.alias[alias]
        row = tuple(columns.get(column) for column in self.set.layouts[use.table].columns)
        return use.normalise(row) if use.normalise else row

    def node(self, alias: str, columns: dict[str, Any], **kids: Any) -> Node:
        """``kids``: alias → None, a node, or a list of nodes."""
        found = []
        for index in self.alias[alias].kids:
            use = self.mapping.tables[index]
            found.append(kids.get(use.alias, [] if use.many else None))
        return (self.row(alias, **columns), *found)

    def order(self, *lines: dict[str, Any], payment: str | None = None, **columns: Any) -> Node:
        return self.node(
            "order",
            {**ORDER, **columns},
            lines=[self.node("lines", line) for line in lines],
            payment=None if payment is None else self.node("payment", {"st": payment}),
            customer=self.node("customer", {"cust_no": 1, "email": "a@example.org"}),
        )

    def model(self, node: Node) -> dict[str, Any]:
        return dict(zip(self.mapping.fields, self.mapping.model(node), strict=True))

    def events(
        self, before: Node | None, after: Node | None, steps: Any = None
    ) -> list[tuple[str, str, dict[str, Any]]]:
        old, new = (None if node is None else self.mapping.model(node) for node in (before, after))
        found = []
        for rule in self.mapping.events:
            for key, item, past in rule.each(old, new) if rule.each else [("", None, None)]:
                if rule.when(old, new, item, past, steps):
                    found.append((rule.type, key, rule.data(old, new, item, past, steps)))
        return found


def line(number: int, sku: str, quantity: Any = 1, cents: Any = 1000) -> dict[str, Any]:
    return {"ord_no": 7, "line_no": number, "itm_cd": sku, "qty": quantity, "prc_cents": cents}


@pytest.fixture(scope="module", params=[None, CATALOG], ids=["untyped", "typed"])
def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(EXAMPLE, request.param)


def test_layouts_are_shared_and_sorted(bench: Bench) -> None:
    assert bench.set.layouts["public.t_ord"].columns == (
        "cur", "cust_no", "ord_no", "ord_stat", "plc_dt", "rec_typ", "tot_cents",
    )  # fmt: skip
    assert bench.mapping.key_columns == (2,)
    assert bench.mapping.tables[0].kids == (1, 2, 3)


def test_the_canonical_model(bench: Bench) -> None:
    found = bench.model(bench.order(line(2, "B-2  "), line(1, "A-1  ", 2, 250), payment="C"))
    assert found == {
        "orderId": "7",
        "total": Decimal("20.00"),
        "currency": "EUR",
        "customer": "a@example.org",
        "status": "NEW",
        "payment": "CAPTURED",
        "placedAt": datetime(2026, 1, 2, 9, tzinfo=UTC),
        "lines": [("A-1", 2, Decimal("2.50")), ("B-2", 1, Decimal("10.00"))],
    }


@pytest.mark.parametrize("value", ["1900-01-01T00:00:00.000000", "1900-01-01", None])
def test_sentinels_are_absent(bench: Bench, value: str | None) -> None:
    assert bench.model(bench.order(plc_dt=value))["placedAt"] is None


def test_payment_cases(bench: Bench) -> None:
    assert bench.model(bench.order())["payment"] == "NONE"
    assert bench.model(bench.order(payment="I"))["payment"] == "PENDING"


def test_rows_that_exist_and_rows_that_are_picked(bench: Bench) -> None:
    order, payment = bench.alias["order"], bench.alias["payment"]
    assert order.when is not None
    assert order.when(bench.row("order", rec_typ="O"))
    assert not order.when(bench.row("order", rec_typ=None))
    with pytest.raises(Untranslatable, match="T104"):
        order.when(bench.row("order", rec_typ=UNKNOWN))
    assert payment.pick is not None
    rows = [
        (str(i).encode(), bench.row("payment", del_flg=flag, valid_from=day))
        for i, (flag, day) in enumerate([("N", "2026-01-01"), ("N", "2026-02-01"), ("Y", "2026-03-01"), ("N", None)])
    ]
    assert payment.pick(rows) == rows[1][1]
    assert payment.pick(rows[2:3]) is None
    assert payment.pick([]) is None
    lookup = bench.alias["customer"]
    assert lookup.pick is not None
    assert lookup.pick([(b"1", bench.row("customer", cust_no=1))]) == bench.row("customer", cust_no=1)
    with pytest.raises(Untranslatable) as caught:
        lookup.pick([(b"1", ()), (b"2", ())])
    assert caught.value.code == "T105"


def test_normalise_leaves_null_and_unknown(bench: Bench) -> None:
    slot = bench.set.layouts["public.t_ord_line"].columns.index("itm_cd")
    assert bench.row("lines", itm_cd=" A ")[slot] == "A"
    assert bench.row("lines", itm_cd=None)[slot] is None
    assert bench.row("lines", itm_cd=UNKNOWN)[slot] is UNKNOWN


def test_placed(bench: Bench) -> None:
    before, after = bench.order(ord_stat="N"), bench.order(line(1, "A-1", 2), ord_stat="P")
    assert bench.events(before, after) == [
        ("OrderPlaced", "", {
            "orderId": "7", "customer": "a@example.org", "total": "20.00", "currency": "EUR",
            "lines": [{"sku": "A-1", "quantity": 2, "price": "10.00"}],
        }),
        ("OrderLineAdded", "A-1", {"orderId": "7", "sku": "A-1", "quantity": 2}),
    ]  # fmt: skip
    assert bench.events(after, after) == []
    assert bench.events(None, bench.order(ord_stat="P"))[0][0] == "OrderPlaced"


def test_cancelled(bench: Bench) -> None:
    paid, gone = bench.order(ord_stat="P", payment="C"), bench.order(ord_stat="X")
    assert bench.events(paid, gone) == [("OrderCancelled", "", {"orderId": "7", "refundDue": "20.00"})]
    assert bench.events(bench.order(ord_stat="P"), gone) == [
        ("OrderCancelled", "", {"orderId": "7", "refundDue": "0.00"})
    ]
    assert bench.events(None, gone) == []
    assert bench.events(bench.order(ord_stat="S"), gone) == []
    assert bench.events(paid, None) == []


@pytest.mark.parametrize(
    ("columns", "code", "field"),
    [
        ({"ord_no": None}, "T101", "orderId"),
        ({"ord_no": True}, "T107", "orderId"),
        ({"ord_stat": "Q"}, "T102", "status"),
        ({"ord_stat": None}, "T101", "status"),
        ({"ord_stat": UNKNOWN}, "T104", "status"),
        ({"tot_cents": 10**12}, "T103", "total"),
        ({"tot_cents": "1.5"}, "T103", "total"),
        ({"tot_cents": 1.5}, "T107", "total"),
        ({"tot_cents": None}, "T108", "total"),
        ({"tot_cents": UNKNOWN}, "T104", "total"),
        ({"tot_cents": "NaN"}, "T107", "total"),
        ({"cur": UNKNOWN}, "T104", "currency"),
        ({"plc_dt": UNKNOWN}, "T104", "placedAt"),
        ({"plc_dt": "2026-13-01T00:00:00"}, "T107", "placedAt"),
        ({"plc_dt": 12}, "T107", "placedAt"),
    ],
)
def test_what_a_row_can_get_wrong(bench: Bench, columns: dict[str, Any], code: str, field: str) -> None:
    with pytest.raises(Untranslatable) as caught:
        bench.mapping.model(bench.order(**columns))
    error = caught.value
    assert (error.code, error.field) == (code, field)
    assert error.place.startswith("order.yaml:")
    assert not any(repr(value) in str(error) for value in columns.values() if value not in {None, True})


def test_errors_inside_a_list_name_the_path(bench: Bench) -> None:
    with pytest.raises(Untranslatable) as caught:
        bench.mapping.model(bench.order(line(1, "A"), line(2, "B", None)))
    assert (caught.value.code, caught.value.field) == ("T101", "lines.quantity")
    with pytest.raises(Untranslatable) as caught:
        bench.mapping.model(bench.order(payment="?"))
    assert caught.value.code == "T106"


def test_elements_need_keys_of_their_own(bench: Bench) -> None:
    with pytest.raises(Untranslatable) as caught:
        bench.events(None, bench.order(line(1, "A"), line(2, "A"), ord_stat="P"))
    assert caught.value.code == "T109"


def test_runtime_codes_are_explained() -> None:
    assert all(text and not text.endswith(".") for text in RUNTIME_CODES.values())


def test_digest_follows_content() -> None:
    one, two = (load([("a.yaml", text)], "legacy").digest for text in (EXAMPLE, EXAMPLE + "# x\n"))
    assert one == load([("a.yaml", EXAMPLE), ("b.yaml", EXAMPLE.replace("legacy", "other"))], "legacy").digest
    assert one != two


# Smaller mappings, each for one part of the language.

SMALL = """
aggregate: Thing
source: legacy
key: t.id
tables:
  t: {{table: s.t{root}}}
  kids: {{table: s.kid, many: true, match: {{t_id: t.id}}}}
  parts: {{table: s.part, many: true, match: {{kid_id: kids.id}}}}
  product: {{lookup: s.product, match: {{no: kids.product_no}}}}
  attrs: {{table: s.attr, many: true, match: {{t_id: t.id}}, pivot: {{name: nm, value: val}}}}
model:
  id: string = t.id
{model}
events:
  ThingHappened:
    topic: x
    when: {when}
    data: {data}
{more}
"""


def small(model: str = "", when: str = "created()", data: str = "[id]", more: str = "", root: str = "") -> Bench:
    return Bench(
        SMALL.format(
            model="\n".join(f"  {row}" for row in model.splitlines()), when=when, data=data, more=more, root=root
        )
    )


def thing(bench: Bench, kids: Any = (), attrs: Any = (), **columns: Any) -> Node:
    nodes = []
    for kid in kids:
        parts = [bench.node("parts", part) for part in kid.get("parts", ())]
        product = bench.node("product", kid["product"]) if "product" in kid else None
        nodes.append(bench.node("kids", kid, parts=parts, product=product))
    pairs = [bench.node("attrs", {"nm": name, "val": value}) for name, value in attrs]
    return bench.node("t", {"id": 1, **columns}, kids=nodes, attrs=pairs)


def value(expression: str, kind: str = "int?", **given: Any) -> Any:
    bench = small(f"x: {kind} = {expression}")
    return bench.model(thing(bench, **given))["x"]


@pytest.mark.parametrize(
    ("expression", "kind", "expected"),
    [
        ("t.a + t.b * 2", "int", 7),
        ("-t.a", "int", -1),
        ("t.d * 2", "decimal(9,3)", Decimal("25.000")),
        ("round(t.a / t.b, 2)", "decimal(9,2)", Decimal("0.33")),
        ("round(t.a / t.b * 100, 1)", "decimal(9,1)", Decimal("33.3")),
        ("round(t.f, 1)", "decimal(9,1)", Decimal("0.3")),
        ("double(t.f)", "double", 0.25),
        ("t.b // 2", "int", 1),
        ("t.b % 2", "int", 1),
        ("1 if t.d > 12 else 0", "int", 1),
        ("1 if t.d == 12.50 else 0", "int", 1),
        ("1 if t.a < t.b <= 3 else 0", "int", 1),
        ("1 if t.s in ('x', 'y') else 0", "int", 1),
        ("1 if t.s not in ('x', 'y') else 0", "int", 0),
        ("1 if t.nil in ('x', 'y') or t.nil == 'x' else 0", "int", 0),
        ("1 if t.nil is None and t.s is not None else 0", "int", 1),
        ("1 if not t.flag else 0", "int", 0),
        ("coalesce(t.nil, t.s)", "string", "x"),
        ("trim(t.nil)", "string?", None),
        ("concat(t.s, '-', t.a)", "string", "x-1"),
        ("concat(t.s, t.nil)", "string?", None),
        ("match(t.nil, 'x')", "bool", False),
        ("date(t.day)", "date?", datetime(2026, 1, 2, tzinfo=UTC).date()),
        ("t.day", "date?", datetime(2026, 1, 2, tzinfo=UTC).date()),
        ("instant(t.ms, 'ms')", "timestamp?", datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)),
        ("t.at", "timestamp", datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)),
        ("parse_json(t.doc, 'a', 1)", "decimal(4,2)?", Decimal("1.50")),
    ],
)
def test_expressions(expression: str, kind: str, expected: Any) -> None:
    columns = {
        "a": 1, "b": 3, "d": "12.50", "f": 0.25, "s": "x", "nil": None, "flag": True, "day": "2026-01-02", "ms": 1000,
        "at": "2026-01-02T03:04:05.000678Z", "doc": '{"a": [1, 1.50]}',
    }  # fmt: skip
    found = value(expression, kind, **columns)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("expression", "kind", "code", "given"),
    [
        ("t.a / 3", "decimal(9,2)", "T103", 1),
        ("1 / t.a", "decimal(9,2)", "T103", 0),
        ("1 // t.a", "int", "T103", 0),
        ("t.a", "int", "T103", 1 << 63),
        ("t.a", "int", "T103", "1.5"),
        ("t.a", "decimal(9,2)", "T103", "1.005"),
        ("t.a", "decimal(9,2)", "T107", 0.1),
        ("t.a * t.a * t.a", "int", "T110", 1 << 90),
        ("concat(t.a, t.a)", "string", "T110", "x" * 40_000),
        ("1 if t.a < 3 else 0", "int", "T108", None),
        ("1 if t.a < 3 else 0", "int", "T104", UNKNOWN),
        ("1 if t.a == 3 else 0", "int", "T104", UNKNOWN),
        ("1 if t.a == 3 else 0", "int", "T107", "x"),
        ("1 if t.a == '3' else 0", "int", "T107", True),
        ("1 if t.a is None else 0", "int", "T104", UNKNOWN),
        ("1 if t.a in (1, 2) else 0", "int", "T104", UNKNOWN),
        ("coalesce(t.a, 3)", "int", "T104", UNKNOWN),
        ("t.a", "string?", "T104", UNKNOWN),
        ("t.a", "timestamp", "T107", "2026-01-01T00:00:00"),
        ("t.a", "double", "T103", float("inf")),
        ("t.a", "bool", "T107", 1),
        ("t.a", "date", "T103", "2026-01-01T10:00:00"),
        ("upper(t.a)", "string", "T107", 1),
        ("parse_json(t.a, 'x')", "string?", "T107", "{"),
        ("parse_json(t.a, 'x')", "string?", "T107", '{"x": {}}'),
        ("sum(k.n for k in kids)", "int", "T108", None),
        ("attrs['a']", "string?", "T105", None),
    ],
)
def test_refusals(expression: str, kind: str, code: str, given: Any) -> None:
    bench = small(f"x: {kind} = {expression}")
    with pytest.raises(Untranslatable) as caught:
        bench.mapping.model(thing(bench, kids=[{"n": None}], attrs=[("a", 1), ("a", 2)], a=given))
    assert caught.value.code == code


KIDS = [{"n": 3, "st": "A", "product": {"nm": "pen"}, "parts": [{"w": 1}, {"w": 2}]}, {"n": 1, "st": None, "parts": []}]


@pytest.mark.parametrize(
    ("expression", "kind", "expected"),
    [
        ("sum(k.n for k in kids)", "int", 4),
        ("count(kids)", "int", 2),
        ("count(k for k in kids if k.st == 'A')", "int", 1),
        ("max(k.n for k in kids)", "int?", 3),
        ("min(k.n for k in kids if k.n > 9)", "int?", None),
        ("any(k.st == 'A' for k in kids)", "bool", True),
        ("all(k.st == 'A' for k in kids)", "bool", False),
        ("first(k.n for k in kids)", "int?", 3),
        ("last(k.n for k in kids)", "int?", 1),
        ("'A' in [k.st for k in kids]", "bool", True),
        ("first(product.nm for k in kids)", "string?", "pen"),
        ("count(k for k in kids if product is None)", "int", 1),
        ("max(sum(p.w for p in parts) for k in kids)", "int?", 3),
        ("round(sum(k.n / 3 for k in kids), 2)", "decimal(9,2)", Decimal("1.33")),
        ("attrs['COLOR']", "string?", "red"),
        ("attrs['SIZE']", "string?", None),
    ],
)
def test_lists_of_rows(expression: str, kind: str, expected: Any) -> None:
    assert value(expression, kind, kids=KIDS, attrs=[("COLOR", "red")]) == expected


def test_nested_lists_records_and_lookups_inside_a_list() -> None:
    model = """address:
  fields:
    street: string? = t.street
kids:
  each: kids
  order_by: n
  where: n > 0
  fields:
    n: int = n
    product: string = coalesce(product.nm, 'none')
    of: string = t.id
    parts: {each: parts, fields: {w: int = w}}"""
    bench = small(model, data="[address, kids]")
    found = bench.model(thing(bench, kids=[*KIDS, {"n": 0}], street="Rue"))
    assert found["address"] == ("Rue",)
    assert found["kids"] == [(1, "none", "1", []), (3, "pen", "1", [(1,), (2,)])]
    assert bench.events(None, thing(bench, kids=KIDS))[0][2] == {
        "address": {"street": None},
        "kids": [
            {"n": 1, "product": "none", "of": "1", "parts": []},
            {"n": 3, "product": "pen", "of": "1", "parts": [{"w": 1}, {"w": 2}]},
        ],
    }


STATUS = "st: {type: enum, from: t.st, codes: {1: ONE, 2: TWO, 'null': ZERO}}\nn: int? = t.n\nd: date? = t.d"


@pytest.mark.parametrize(
    ("when", "before", "after", "happens"),
    [
        ("deleted()", {}, None, True),
        ("deleted() and st == 'ONE'", {"st": 1}, None, True),
        ("deleted() and st == 'ONE'", {"st": "2"}, None, False),
        ("deleted() or became(st, 'TWO')", {"st": 1}, {"st": 2}, True),
        ("created()", {}, {}, False),
        ("st == 'ZERO'", {}, None, False),
        ("changed(st, n)", {"n": 1}, {"n": 2}, True),
        ("changed(st, n)", None, {"n": 2}, False),
        ("before.st != 'ONE'", None, {}, False),
        ("before.n is not None and before.n < 3", None, {}, False),
        ("not before.n == 3", None, {}, True),
        ("before is None", None, {}, True),
        ("before.st not in ('ONE', 'TWO')", None, {}, False),
        ("n is not None and before.n is not None and n > before.n", {"n": 1}, {"n": 2}, True),
        ("d == date('2026-01-02')", None, {"d": "2026-01-02"}, True),
    ],
)
def test_rules(when: str, before: dict[str, Any] | None, after: dict[str, Any] | None, happens: bool) -> None:  # noqa: FBT001
    bench = small(STATUS, when=when)
    old, new = (None if columns is None else thing(bench, **columns) for columns in (before, after))
    assert bool(bench.events(old, new)) is happens


def test_data_of_a_deleted_thing_is_what_it_was() -> None:
    bench = small(STATUS, when="deleted()", data="{id: , st: , wasN: 'int? = before.n'}")
    assert bench.events(thing(bench, st=1, n=4), None) == [("ThingHappened", "", {"id": "1", "st": "ONE", "wasN": 4})]


def test_passed_looks_at_every_step() -> None:
    bench = small(STATUS, when="passed(st, 'TWO')", root=", when: x == 'y', columns: {st: trim}")
    assert bench.mapping.events[0].looks_at_steps
    use = bench.mapping.tables[0]
    columns = bench.set.layouts[use.table].columns

    def steps(*rows: dict[str, Any]) -> list[Row]:
        return [tuple({"id": 1, "x": "y", **row}.get(column) for column in columns) for row in rows]

    node = thing(bench, st=1)
    assert bench.events(node, node, steps({"st": "2 "}, {"st": "1"}))
    assert not bench.events(node, node, steps({"st": "2", "x": "n"}, {"st": "1"}))
    assert not bench.events(node, node, steps())
    with pytest.raises(Untranslatable):
        bench.events(node, node, steps({"st": "9"}))


def test_removed_and_changed_elements() -> None:
    model = "kids: {each: kids, fields: {k: string = k, n: 'decimal(5,8)? = n'}}".replace("5,8", "12,8")
    more = """
  KidRemoved: {topic: x, each: 'removed(kids, by=k)', data: [id, item.k]}
  KidChanged:
    topic: x
    each: changed(kids, by=(k, k))
    when: item.n != item_before.n and any(i.k == 'a' for i in kids)
    data: {n: 'decimal(12,8)? = item.n', old: 'decimal(12,8)? = item_before.n', more: 'int = count(kids)'}
"""
    bench = small(model, when="created()", more=more)
    before = thing(bench, kids=[{"k": "a", "n": 1}, {"k": "b"}])
    after = thing(bench, kids=[{"k": "a", "n": "0.00000001"}])
    assert bench.events(before, after) == [
        ("KidRemoved", "b", {"id": "1", "k": "b"}),
        ("KidChanged", "a/a", {"n": "0.00000001", "old": "1.00000000", "more": 1}),
    ]


def test_payload_values_are_ready_for_json() -> None:
    model = "at: timestamp = t.at\nd: date? = t.d\nf: double = t.f\nb: bool = t.b\nm: decimal(9,2) = t.m"
    bench = small(model, data="[at, d, f, b, m]")
    node = thing(bench, at="2026-11-23T07:37:25Z", d="2026-01-02", f=0.5, b=True, m="-0.00")
    assert bench.events(None, node)[0][2] == {
        "at": "2026-11-23T07:37:25.000000Z", "d": "2026-01-02", "f": 0.5, "b": True, "m": "0.00",
    }  # fmt: skip


def test_generated_code_has_no_builtins() -> None:
    assert small().mapping.model.__globals__["__builtins__"] == {}


def test_one_mistake_raises_with_its_place() -> None:
    with pytest.raises(MappingInvalid, match=r"order.yaml:13:\d+: M014"):
        small("x: string = trimm(t.x)")


def test_decimal_columns_order_as_numbers() -> None:
    text = EXAMPLE.replace("order_by: line_no", "order_by: [line_no, qty]").replace(
        "last: valid_from", "first: valid_from"
    )
    types = {table: dict(columns) for table, columns in CATALOG.items()}
    types["public.t_ord_line"]["line_no"] = "numeric(9,2)"
    types["public.t_pay"]["valid_from"] = "numeric(9,2)"
    bench = Bench(text, types)
    found = bench.model(bench.order(line("10.00", "A"), line("9.50", "B"), line(None, "C")))  # type: ignore[arg-type]
    assert [row[0] for row in found["lines"]] == ["B", "A", "C"]
    pick = bench.alias["payment"].pick
    assert pick is not None
    rows = [(b"%d" % i, bench.row("payment", del_flg="N", valid_from=text)) for i, text in enumerate(["10.00", "9.50"])]
    assert pick(rows) == rows[1][1]


def test_no_damaged_file_breaks_the_checker() -> None:
    dice = random.Random(7)
    words = [*EXAMPLE.split(), "{", "}", "[", "]", ": ", "- ", "null", "0", "''", "true", "lines", "\n"]
    for _ in range(300):
        text = EXAMPLE
        for _ in range(dice.randint(1, 3)):
            start = dice.randrange(len(text))
            text = text[:start] + dice.choice(["", *words]) + text[start + dice.randint(0, 12) :]
        for catalog in (None, Catalog.of(CATALOG)):
            if not diagnose([("f.yaml", text)], catalog):
                load([("f.yaml", text)], "legacy", catalog)
