"""Generated expressions: the checker takes or refuses them, and compiled code means what the interpreter says."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.errors import Untranslatable
from bridge.located_yaml import parse
from bridge.mapping.catalog import Catalog
from bridge.mapping.check import check_files
from bridge.mapping.check_model import root_only
from bridge.mapping.compile import _Steps, compile_set
from bridge.mapping.diagnostics import Report, Source
from bridge.mapping.draft import Draft, ElementRule, Event, ModelField
from bridge.mapping.emit import Emitter, Names
from bridge.mapping.expression import check, check_bool
from bridge.mapping.functions import FUNCTIONS, PREDICATES
from bridge.mapping.model_code import ModelWriter
from bridge.mapping.nodes import Call, Expr, Field, Predicate, Root, walk
from bridge.mapping.rule_code import RuleWriter
from bridge.mapping.scope import RowScope, RuleScope
from bridge.mapping.types import Type, parse_type
from bridge.model import UNKNOWN, Layout, Mapping
from tests.interpreter.convert import converted
from tests.interpreter.evaluate import Item, World, condition, evaluate
from tests.interpreter.texts import Vocabulary, expression
from tests.interpreter.values import RefusedError

FILE = """
aggregate: Thing
source: legacy
key: t.id
tables:
  t: {table: s.t, when: typ == 'O'}
  up: {table: s.up, match: {t_id: t.id}}
  top: {lookup: s.top, match: {id: up.top_id}}
  lines: {table: s.line, many: true, match: {t_id: t.id}}
  product: {lookup: s.product, match: {no: lines.product_no}}
  attrs: {table: s.attr, many: true, match: {t_id: t.id}, pivot: {name: nm, value: val}}
model:
  id: string = t.id
  a: int = t.a
  b: int? = t.b
  total: decimal(12,2) = t.amount
  label: string? = t.s
  day: date? = t.d
  at: timestamp = t.m
  open: bool = t.flag
  status: {type: enum, from: t.st, codes: {N: NEW, P: PLACED, D: DONE}}
  address:
    fields:
      city: string? = t.s
      size: int = t.a
  lines:
    each: lines
    fields:
      sku: string = sku
      qty: int = qty
      price: decimal(9,2)? = price
      product: string? = product.name
      cents: int? = product.cents
events:
  ThingHappened: {topic: x, when: created(), data: [id]}
  AttributesRead: {topic: x, when: created(), data: {color: "string? = label"}}
"""
READ = "\n".join(
    f"  x{i}: string? = {name}" for i, name in enumerate(("top.q", "top.s", "up.q", "attrs['A']", "t.u", "t.j", "t.f"))
)
SQL = {
    "s.t": {
        "id": "integer", "typ": "char(1)", "a": "integer", "b": "bigint", "amount": "numeric(12,2)", "s": "text",
        "u": "varchar(9)", "d": "date", "m": "timestamptz", "flag": "boolean", "st": "char(1)", "j": "jsonb", "f": "float8",
    },
    "s.up": {"t_id": "integer", "q": "integer", "top_id": "integer"},
    "s.top": {"id": "integer", "q": "numeric(9,3)", "s": "text"},
    "s.line": {"t_id": "integer", "sku": "text", "qty": "integer", "price": "numeric(9,2)", "product_no": "integer"},
    "s.product": {"no": "integer", "name": "text", "cents": "bigint"},
    "s.attr": {"t_id": "integer", "nm": "text", "val": "text"},
}  # fmt: skip
ROW_WORDS = Vocabulary(
    names={
        "number": ("t.a", "t.b", "t.amount", "up.q", "top.q"),
        "text": ("t.s", "t.u", "top.s", "t.st"),
        "bool": ("t.flag",),
        "any": ("t.j", "t.f", "attrs['A']", "attrs['B']", "t.amount"),
        "moment": ("t.m",),
        "day": ("t.d",),
    },
    rows=("up", "top"),
    lists={
        "lines": {"number": ("qty", "price", "product.cents"), "text": ("sku", "product.name"), "any": ("price",)},
        "attrs": {"text": ("nm", "val")},
    },
)
RULE_WORDS = Vocabulary(
    names={
        "number": ("a", "b", "total", "before.total", "before.a", "address.size", "item.qty", "item_before.price"),
        "text": ("label", "status", "before.label", "before.status", "address.city", "item.sku"),
        "bool": ("open", "before.open"),
        "moment": ("at", "before.at"),
        "day": ("day", "before.day"),
    },
    rows=("before", "item_before", "after", "item"),
    lists={
        "lines": {"number": ("qty", "price"), "text": ("sku", "product")},
        "before.lines": {"number": ("qty",), "text": ("sku",)},
    },
    predicates=(
        "created()", "deleted()", "became(status, 'PLACED')", "became(label, None)", "became(total, 12.50)",
        "changed(total, label)", "changed(lines)", "changed(address)", "changed(address.city)", "passed(status, 'NEW')",
        "passed(status, 'DONE')", "became(open, True)",
    ),
)  # fmt: skip
EXAMPLES = 1000
DEPTHS = st.integers(0, 4)
DICE = st.randoms(use_true_random=True)  # one draw per example: many examples, and the text tells what failed
BOUNDED = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
DOCUMENT = json.dumps({"a": [1.50, {"b": "x"}], "big": 10**70, "n": None})

Outcome = tuple[str, Any]


# -- the mapping that everything is compiled for -----------------------------------------------------------------------


class Bench:
    """One mapping, checked and compiled; ``typed`` with a catalog."""

    def __init__(self, *, typed: bool) -> None:
        text = FILE.replace("events:\n", f"{READ}\nevents:\n")
        self.catalog = Catalog.of(SQL) if typed else None
        drafts, found = check_files([("thing.yaml", text)], lambda _: None)
        assert all(one.warning for one in found), [str(one) for one in found]
        self.draft: Draft = drafts[0]
        compiled = compile_set(drafts, "legacy", None, [])
        self.layouts: dict[str, Layout] = compiled.layouts
        self.mapping: Mapping = compiled.mappings[0]
        self.fields = self.draft.fields[:11]
        self.model = Type("record", fields=tuple((f.name, f.type) for f in self.fields))
        self.item = next(f.type.item for f in self.fields if f.name == "lines")

    def emitter(self) -> Emitter:
        width = max(len(layout.columns) for layout in self.layouts.values())
        return Emitter(Names(), self.draft.aliases, lambda t, c: self.layouts[t].columns.index(c), (None,) * width)

    def checked(self, text: str) -> Expr | None:
        """An expression of the model; None if the checker refuses it, which it then says."""
        report = Report(parse("x: 1", "f.yaml"))
        scope = RowScope(self.draft.aliases, {"t": "t"}, self.catalog)
        found = check(Source(report, ("x",), text), scope)
        assert (found is None) == bool(report.found)
        return found

    def function(self, value: Expr, kind: Type, zone: str = "") -> Callable[[Any], Any]:
        field = ModelField("x", kind, "f.yaml:1", ("x",), value=value, zone=zone)
        made = ModelWriter(self.emitter()).function("model", "t", [field])
        return lambda node: made(node)[0]

    def node(self, alias: str, item: Item) -> tuple[Any, ...]:
        """The row as the core gives it."""
        use = self.draft.aliases[alias]
        row = tuple(item.columns[name] for name in self.layouts[use.table].columns)
        kids: list[Any] = []
        for kid in use.kids:
            joined = item.joined[kid]
            is_list = isinstance(joined, list)
            kids.append([self.node(kid, one) for one in joined] if is_list else joined and self.node(kid, joined))
        return (row, *kids)


@cache
def bench(*, typed: bool) -> Bench:
    return Bench(typed=typed)


def outcome(make: Callable[[], Any]) -> Outcome:
    """What came of it: the value with its type (a decimal's digits too), or the code."""
    try:
        found = make()
    except (RefusedError, Untranslatable) as error:
        return "refused", error.code
    return type(found).__name__, str(found) if isinstance(found, (Decimal, float)) else found


# -- rows --------------------------------------------------------------------------------------------------------------

ODD: tuple[Any, ...] = (
    None, UNKNOWN, True, 0, 1, -7, 12, 10**12 - 1, 10**12, 2**63, 2**199,
    1.5, 0.1, "", "A", " x ", "12", "-1.50", "12.50", "9" * 60, "NaN",
    "2026-01-02", "2026-01-02T03:04:05.000678Z", "2026-07-01T10:00:00", "0001-01-01T00:00:00", DOCUMENT, '{"a":', "B9A=",
    "É" * 3,
)  # fmt: skip
USUAL: dict[str, tuple[Any, ...]] = {
    "a": (1, 2, 7, -3), "b": (0, 5, None), "amount": ("12.50", "-0.01", "1000000.00"), "s": ("A", " x ", None, "12"),
    "u": ("P", "NEW", ""), "d": ("2026-01-02", None), "m": ("2026-01-02T03:04:05.000678Z",), "flag": (True, False),
    "st": ("N", "P", "D"), "j": (DOCUMENT, None), "f": (0.25, -1e300), "q": (1, 3, "2.500"), "qty": (1, 2, 3),
    "price": ("9.99", "10.00", None), "sku": ("A", "B"), "name": ("x", None), "cents": (100, 2050), "nm": ("A", "B", "C"),
    "val": ("1", "x", None), "typ": ("O",),
}  # fmt: skip


def rows(dice: Random, alias: str) -> Item:
    """A row of an alias and all that joins it: usual values, and every fifth one odd."""
    made = bench(typed=False)
    use = made.draft.aliases[alias]
    columns = {}
    for name in made.layouts[use.table].columns:
        columns[name] = dice.choice(ODD if dice.randrange(5) == 0 else USUAL.get(name, (1, 2)))
    joined: dict[str, Any] = {}
    for kid in use.kids:
        several = [rows(dice, kid) for _ in range(dice.choice((0, 1, 1, 2, 3)))]
        joined[kid] = several if made.draft.aliases[kid].many else next(iter(several), None)
    return Item(columns, joined)


def world_of(item: Item) -> World:
    return World(rows={"t": item}, pivots={"attrs": ("nm", "val")})


SCALARS = ("string?", "int?", "bool?", "double?", "decimal(38,10)?", "date?", "timestamp?")


@pytest.mark.parametrize("typed", [False, True])
@BOUNDED
@given(depth=DEPTHS, dice=DICE)
def test_values_agree(depth: int, dice: Random, *, typed: bool) -> None:
    """The emitted expression itself."""
    made = bench(typed=typed)
    text = expression(dice, ROW_WORDS, depth=depth)
    node = made.checked(text)
    if node is None or node.type.kind == "list":
        return
    item = rows(dice, "t")
    compiled = plain_function(made, node)
    expected = outcome(lambda: evaluate(node, world_of(item)))
    assert outcome(lambda: compiled(made.node("t", item))) == expected, text


@pytest.mark.parametrize(
    "text",
    [
        "0 if round(t.a / 7, 2) < -100 else t.a / 7", "t.a / 7 + round(t.a / 7, 2)", "round(round(t.a / 7, 3) * t.a / 7, 2)",
        "round(sum(x.qty / 7 for x in lines), 2)", "sum(x.qty / 7 for x in lines)", "round(-t.amount / 7)",
        "1 < t.a < t.b < 100", "t.s in ('A', 'P') and t.s != 'A'", "t.a in (1, 2) or t.a == 7", "top.q == 3",
        "max(x.price for x in lines if x.price is not None)", "any(product.cents > 100 for x in lines)",
        "count(lines) == count(attrs)", "coalesce(attrs['A'], attrs['B'], t.s)", "up is None or top is not None",
        "any(x.sku == 'A' and any(y.val == x.sku for y in attrs) for x in lines)", "t.amount in (12.50, 1)",
        "t.amount * -12345678901234567890123456789012345678.5 < 0", "abs(t.amount)",
        "-t.amount * 1", "unscaled(t.a, 30)",
    ],
)  # fmt: skip
@pytest.mark.parametrize("typed", [False, True])
def test_values_agree_where_chance_seldom_goes(text: str, *, typed: bool) -> None:
    made = bench(typed=typed)
    node = made.checked(text)
    assert node is not None
    compiled = plain_function(made, node)
    for seed in range(30):
        item = rows(Random(seed), "t")
        assert outcome(lambda: compiled(made.node("t", item))) == outcome(lambda: evaluate(node, world_of(item))), text  # noqa: B023


def plain_function(made: Bench, node: Expr) -> Callable[[Any], Any]:
    """``node`` alone in a function, with errors as a model function has them."""
    writer = AsItIs(made.emitter())
    field = ModelField("x", Type("any"), "f.yaml:1", ("x",), value=node)
    function = writer.function("model", "t", [field])
    return lambda given: function(given)[0]


class AsItIs(ModelWriter):
    """Converts nothing."""

    def converted(self, _: ModelField, value: Expr, variable: str) -> list[str]:
        return [f"{variable} = {self.emitter.see(value)}"]


@BOUNDED
@given(depth=DEPTHS, dice=DICE)
def test_fields_agree(depth: int, dice: Random) -> None:
    """With the conversion to a declared type, whose usual case stands inline."""
    made = bench(typed=dice.random() < 0.5)
    declared = dice.choice((*SCALARS, *(name.rstrip("?") for name in SCALARS), "decimal(12,2)"))
    kind = parse_type(declared)[0]
    assert kind is not None
    usual = dice.choice(("t.amount / 100", "t.a / 100", "t.j", "t.f", "t.s"))
    text = usual if dice.randrange(3) == 0 else expression(dice, ROW_WORDS, depth=depth)
    node = made.checked(text)
    if node is None or node.type.kind == "list":
        return
    item = rows(dice, "t")
    zone = dice.choice(("", "Europe/Paris")) if kind.kind in {"date", "timestamp"} else ""
    compiled = made.function(node, kind, zone)
    expected = outcome(lambda: converted(evaluate(node, world_of(item)), kind, zone))
    assert outcome(lambda: compiled(made.node("t", item))) == expected, (text, declared)


@pytest.mark.parametrize("text", ["t.a", "t.a / 100"])
@pytest.mark.parametrize("declared", [*SCALARS, *(name.rstrip("?") for name in SCALARS), "decimal(12,2)"])
def test_fields_agree_for_each_odd_value(text: str, declared: str) -> None:
    made = bench(typed=False)
    node, kind = made.checked(text), parse_type(declared)[0]
    assert node is not None
    assert kind is not None
    compiled = made.function(node, kind, "Europe/Paris" if kind.kind in {"date", "timestamp"} else "")
    item = rows(Random(1), "t")
    for value in ODD:
        item.columns["a"] = value
        expected = outcome(lambda: converted(evaluate(node, world_of(item)), kind, "Europe/Paris"))
        assert outcome(lambda: compiled(made.node("t", item))) == expected, value


# -- rules -------------------------------------------------------------------------------------------------------------


def values_of(dice: Random, kind: Type) -> Any:
    """A canonical value of a model type; records as dicts."""
    plain: dict[str, tuple[Any, ...]] = {
        "string": ("A", "P", " x ", "12", ""),
        "int": (0, 1, 2, 7, -3, 2**62),
        "decimal": (Decimal("12.50"), Decimal("0.00"), Decimal("-3.00")),
        "bool": (True, False),
        "date": (date(2026, 1, 2), date(1, 1, 1)),
        "timestamp": (datetime(2026, 1, 2, 3, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)),
        "enum": kind.symbols,
    }
    if kind.kind == "record":
        return {name: values_of(dice, inner) for name, inner in kind.fields}
    if kind.kind == "list":
        return [values_of(dice, kind.item or kind) for _ in range(dice.randrange(4))]
    return None if kind.optional and dice.randrange(3) == 0 else dice.choice(plain[kind.kind])


def canonical(value: Any, kind: Type) -> Any:
    """The same value as the model function gives it."""
    if kind.kind == "record":
        return value if value is None else tuple(canonical(value[name], inner) for name, inner in kind.fields)
    return [canonical(one, kind.item or kind) for one in value] if kind.kind == "list" else value


def images(dice: Random) -> dict[str, Any]:
    """before, after, and an element of theirs; at least one of each pair is there, and often they are alike."""
    made = bench(typed=False)
    found: dict[str, Any] = {}
    for now, then, kind in (("after", "before", made.model), ("item", "item_before", made.item)):
        assert kind is not None
        new = values_of(dice, kind)
        old = {name: dice.choice((new[name], values_of(dice, inner))) for name, inner in kind.fields}
        gone = dice.choice(("", "", now, then))
        found[now], found[then] = None if gone == now else new, None if gone == then else old
    return found


def steps(dice: Random) -> list[Item]:
    """The root row's states inside a transaction."""
    layout = bench(typed=False).layouts["s.t"].columns
    states = [{"typ": dice.choice("OOX"), "st": dice.choice("NPD")} for _ in range(dice.randrange(4))]
    return [Item({name: state.get(name) for name in layout}) for state in states]


def rule_writer(made: Bench) -> RuleWriter:
    emitter = made.emitter()
    emitter.passed = _Steps(emitter, made.draft, made.mapping.tables[0]).passed
    return RuleWriter(emitter, made.model)


def event(made: Bench) -> Event:
    index = [f.name for f in made.fields].index("lines")
    lines = Field(made.fields[index].type, Root(made.model, "after"), index, "lines")
    return Event("ThingHappened", 1, "x", "f.yaml:1", (), each=ElementRule("added", lines, []))


def looks(text: str, made: Bench, kind: str) -> Expr | None:
    report = Report(parse("x: 1", "f.yaml"))
    scope = RuleScope(made.model, made.item, root_only(made.fields, "t"))
    found = (check_bool if kind == "bool" else check)(Source(report, ("x",), text), scope)
    assert (found is None) == bool(report.found)
    return found


@BOUNDED
@given(depth=DEPTHS, dice=DICE)
def test_rules_agree(depth: int, dice: Random) -> None:
    """``when:`` and calculated payload fields, over images that may be absent."""
    made = bench(typed=False)
    kind = dice.choice(("bool", "bool", "number", "text"))
    text = expression(dice, RULE_WORDS, kind, depth)
    node = looks(text, made, kind)
    if node is None or node.type.kind in {"list", "record"}:
        return
    seen, past = images(dice), steps(dice)
    status = {"N": "NEW", "P": "PLACED", "D": "DONE"}
    passed = {"status": [status[one.columns["st"]] for one in past if one.columns["typ"] == "O"]}
    world = World(images=seen, passed=passed)
    arguments = [canonical(seen[name], made.model) for name in ("before", "after")]
    arguments += [canonical(seen[name], made.item or made.model) for name in ("item", "item_before")]
    arguments.append([made.node("t", replace_kids(made, one))[0] for one in past])
    if kind == "bool":
        function = rule_writer(made).when(replace(event(made), when=node), "when", deleted=True)
        assert outcome(lambda: function(*arguments)) == outcome(lambda: condition(node, world)), text
    else:
        writer = rule_writer(made)
        lines = writer.prologue(event(made), [node])
        guarded = writer.writer.guarded([f"return {writer.emitter.see(node)}"], "x", "f.yaml:1")
        source = ["def value(b, a, it, ib, steps):", *(f" {line}" for line in [*lines, *guarded])]
        function = writer.names.define("value", source)
        assert outcome(lambda: function(*arguments)) == outcome(lambda: evaluate(node, world)), text


def replace_kids(made: Bench, item: Item) -> Item:
    """A row of the root that nothing joins."""
    kids: dict[str, Any] = {kid: [] if made.draft.aliases[kid].many else None for kid in made.draft.aliases["t"].kids}
    return Item(item.columns, kids)


# -- no escape ---------------------------------------------------------------------------------------------------------

ATTRIBUTES = frozenset({"__class__", "strip", "lstrip", "rstrip", "upper", "lower", "append", "isoformat"})


def test_generated_code_can_reach_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no builtins, and names and attributes of the compiler's own making alone, whatever the text."""
    sources: list[tuple[Names, str]] = []
    define = Names.define

    def watched(names: Names, name: str, lines: list[str]) -> Any:
        sources.append((names, "\n".join(lines)))
        return define(names, name, lines)

    monkeypatch.setattr(Names, "define", watched)
    made, dice = bench(typed=True), Random(2)
    for _ in range(300):
        node = made.checked(expression(dice, ROW_WORDS))
        if node is not None and node.type.kind != "list":
            plain_function(made, node)
        rule = looks(expression(dice, RULE_WORDS, "bool"), made, "bool")
        if rule is not None:
            rule_writer(made).when(replace(event(made), when=rule), "when", deleted=True)
    assert len(sources) > 300
    for names, source in sources:
        assert names.space["__builtins__"] == {}
        local = re.compile(r"[a-z]{1,2}[0-9]*|g_[0-9]+|steps|now|old|element|past|when[0-9]*|model|row_of")
        for part in ast.walk(ast.parse(source)):
            assert not isinstance(part, ast.Attribute) or part.attr in ATTRIBUTES, source
            assert not isinstance(part, ast.Name) or local.fullmatch(part.id), source
            assert not isinstance(part, (ast.Import, ast.ImportFrom, ast.Global, ast.Lambda, ast.JoinedStr)), source


# -- the generator itself ----------------------------------------------------------------------------------------------


def test_the_generator_reaches_the_whole_language() -> None:
    """Most texts are well-typed, some are not, and together they use every construct and function."""
    seen: set[str] = set()
    counts = {True: 0, False: 0}

    made, dice = bench(typed=True), Random(1)
    for _ in range(600):
        row, rule = expression(dice, ROW_WORDS), expression(dice, RULE_WORDS, "bool")
        for node in (made.checked(row), looks(rule, made, "bool")):
            counts[node is not None] += 1
            seen.update(names_in(node) if node is not None else ())
    assert {
        "Const", "Column", "Rows", "RowRef", "Pivot", "Root", "Field", "Unary", "Binary", "Compare", "IsNull", "Logic",
        "If", "Call", "Each", "Predicate", *FUNCTIONS, *PREDICATES,
    } <= seen  # fmt: skip
    assert min(counts.values()) > 300


def names_in(node: Expr) -> Iterator[str]:
    """Constructs by their class, functions and predicates by their name."""
    for part in walk(node):
        yield type(part).__name__
        if isinstance(part, (Call, Predicate)):
            yield part.function.name if isinstance(part, Call) else part.name
