"""Compiled expressions agree with a naive interpreter of the same syntax tree; functions do what their examples say."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Context, Decimal, DivisionByZero, Inexact, InvalidOperation
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.errors import Untranslatable
from bridge.located_yaml import parse as parse_yaml
from bridge.mapping.diagnostics import Report, Source
from bridge.mapping.draft import Alias
from bridge.mapping.emit import Anchor, Emitter, Names
from bridge.mapping.expression import check
from bridge.mapping.functions import FUNCTIONS
from bridge.mapping.scope import RowScope
from bridge.model import UNKNOWN

COLUMNS = ("a", "b", "c", "s")


def compiled(expression: str) -> Callable[..., Any]:
    """A function of one row (a, b, c, s) and the kid nodes of ``lines`` (each a one-column row, qty)."""
    report = Report(parse_yaml("x: 1", "f"))
    alias = Alias("t", "t", (), "", kids=["lines"])
    lines = Alias("lines", "lines", (), "", many=True, parent="t")
    aliases = {"t": alias, "lines": lines}
    node = check(Source(report, ("x",), expression), RowScope(aliases, {"t": "t"}, None, bare="t"))
    assert node is not None, [str(d) for d in report.found]
    emitter = Emitter(Names(), aliases, lambda table, name: COLUMNS.index(name) if table == "t" else 0, (None,) * 4)
    emitter.anchors = {"t": Anchor("n", "r")}
    made: Callable[..., Any] = emitter.names.define(
        "made", ["def made(n):", " r = n[0]", f" return {emitter.see(node)}"]
    )
    return lambda row, lines=(): made((row, [((quantity,),) for quantity in lines]))


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_examples(name: str) -> None:
    function = FUNCTIONS[name]
    found = compiled(function.example)((None, None, None, None), [1, 2, 3])
    expected = ast.literal_eval({"true": "True", "false": "False"}.get(function.gives, function.gives))
    assert found == (
        Decimal(function.gives) if isinstance(expected, float) and not isinstance(found, float) else expected
    )
    assert function.meaning
    assert f"{name}(" in function.example


@pytest.mark.parametrize(
    "name", sorted(set(FUNCTIONS) - {"coalesce", "count", "any", "all", "sum", "first", "last", "match"})
)
def test_null_goes_through(name: str) -> None:
    call = FUNCTIONS[name].example.removeprefix("string(") if name != "string" else FUNCTIONS[name].example
    if name in {"min", "max"}:
        return
    nulled = re.sub(rf"^{name}\((?:'[^']*'|[^,)]+)", f"{name}(c", call)
    depth = nulled.count("(") - nulled.count(")")
    assert compiled(nulled[: len(nulled) + depth])((None, None, None, None)) is None


@pytest.mark.parametrize(
    "name",
    [
        "trim(s)",
        "s + 1",
        "s == 1",
        "s < 1",
        "s in (1, 2)",
        "coalesce(s, 1)",
        "s is None",
        "not s",
        "-s",
        "1 if s else 2",
    ],
)
def test_unknown_is_always_refused(name: str) -> None:
    with pytest.raises(Untranslatable) as caught:
        compiled(name)((1, 1, 1, UNKNOWN))
    assert caught.value.code == "T104"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("__import__('os')", "M014"), ("a.__class__", "M011"), ("s.upper()", "M011"), ("a ** 9", "M011"),
        ("lambda: 1", "M011"),
        ("f'{a}'", "M011"), ("a if b", "M010"), ("(a := 1)", "M011"), ("{}", "M011"), ("b'x'", "M011"),
        ("1j", "M011"),
        ("a[0]", "M011"), ("a # b", "M010"), ("[x for x in s]", "M024"), ("trim(*s)", "M011"),
        ("trim(s, x=1)", "M015"),
        ("a & b", "M011"), ("1e9", "M011"), ("...", "M011"), ("a is b", "M011"), ("a == None", "M016"),
        ("'a' + s", "M016"),
        ("s in 'abc'", "M016"), ("(" * 300 + "a" + ")" * 300, "M018"), ("a" * 2001, "M018"),
        ("'" + "x" * 1001 + "'", "M018"),
        ("\0", "M010"), ("é.x", "M011"), ("await a", "M011"), ("print(a)", "M014"), ("yield", "M010"),
        ("'\\d'", "M010"),
        ("1 / 0", "M016"), ("match(s, '(?=x)')", "M019"), ("match(s, s)", "M015"), ("any(x for x in lines)", "M024"),
        ("[x.qty for x in lines for y in lines]", "M011"), ("t", "M016"), ("lines.qty", "M024"), ("9" * 5000, "M018"),
    ],
)  # fmt: skip
def test_what_does_not_exist(text: str, code: str) -> None:
    report = Report(parse_yaml("x: 1", "f"))
    aliases = {
        "t": Alias("t", "t", (), "", kids=["lines"]),
        "lines": Alias("lines", "l", (), "", many=True, parent="t"),
    }
    assert check(Source(report, ("x",), text), RowScope(aliases, {"t": "t"}, None, bare="t")) is None
    assert [d.code for d in report.found][:1] == [code]


# A naive interpreter, written from the language's page and not from the compiler.

_EXACT = Context(prec=40, rounding=ROUND_HALF_EVEN, traps=[Inexact, InvalidOperation, DivisionByZero])
_COMPARE = {ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.GtE: operator.ge}


class RefusedError(Exception):
    pass


def number(value: Any) -> int | Decimal:
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise RefusedError
    return value


def naive(node: Any, names: dict[str, Any]) -> Any:  # noqa: C901, PLR0912 - one case per construct
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return names[name]
        case ast.UnaryOp(op=ast.USub()):
            return -number(naive(node.operand, names))
        case ast.UnaryOp(op=ast.Not()):
            return not naive(node.operand, names)
        case ast.BinOp():
            left, right = number(naive(node.left, names)), number(naive(node.right, names))
            try:
                match node.op:
                    case ast.Add():
                        found = left + right if int is type(left) is type(right) else _EXACT.add(left, right)
                    case ast.Mult():
                        found = left * right if int is type(left) is type(right) else _EXACT.multiply(left, right)
                    case _:
                        found = _EXACT.divide(left, right)
            except ArithmeticError:
                raise RefusedError from None
            return found
        case ast.BoolOp(op=ast.And()):
            return all(naive(part, names) for part in node.values)
        case ast.BoolOp():
            return any(naive(part, names) for part in node.values)
        case ast.IfExp():
            return naive(node.body if naive(node.test, names) else node.orelse, names)
        case ast.Compare(ops=[ast.Is()]):
            return naive(node.left, names) is None
        case ast.Compare():
            left, right = naive(node.left, names), naive(node.comparators[0], names)
            if not isinstance(node.ops[0], (ast.Eq, ast.NotEq)):
                return _COMPARE[type(node.ops[0])](number(left), number(right))
            return _COMPARE[type(node.ops[0])](left, right)
        case ast.Call(func=ast.Name(id="coalesce")):
            return next((v for v in (naive(a, names) for a in node.args) if v is not None), None)
        case ast.Call(func=ast.Name(id="sum")):
            generator: Any = node.args[0]
            found = 0
            for quantity in names["lines"]:
                found += number(naive(generator.elt, {**names, "x": quantity}))
            return found
        case ast.Attribute():
            return names["x"]
    raise AssertionError(ast.dump(node))


def _numbers(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    tests = st.one_of(
        st.tuples(inner, st.sampled_from(["==", "!=", "<", ">="]), inner).map(lambda p: f"({p[0]} {p[1]} {p[2]})"),
        inner.map(lambda p: f"({p} is None)"),
    )
    conditions = st.one_of(
        tests,
        tests.map(lambda p: f"(not {p})"),
        st.tuples(tests, st.sampled_from(["and", "or"]), tests).map(lambda p: f"({p[0]} {p[1]} {p[2]})"),
    )
    return st.one_of(
        st.tuples(inner, st.sampled_from("+*/"), inner).map(lambda p: f"({p[0]} {p[1]} {p[2]})"),
        inner.map(lambda p: f"(-{p})"),
        st.tuples(inner, conditions, inner).map(lambda p: f"({p[0]} if {p[1]} else {p[2]})"),
        st.tuples(inner, inner).map(lambda p: f"coalesce({p[0]}, {p[1]})"),
        inner.map(lambda p: f"sum(x.qty * {p} for x in lines)"),
    )


EXPRESSIONS = st.recursive(st.sampled_from(["a", "b", "c", "2", "7", "100"]), _numbers, max_leaves=8)
VALUES = st.one_of(st.integers(-50, 50), st.decimals(-9, 9, places=2), st.none())


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(EXPRESSIONS, VALUES, VALUES, VALUES, st.lists(st.integers(0, 9), max_size=3))
def test_compiled_agrees_with_naive(expression: str, a: Any, b: Any, c: Any, lines: list[int]) -> None:
    if expression.count("sum(") > 1:  # a form inside a form would name its variable twice
        return
    tree = ast.parse(expression, mode="eval").body
    try:
        expected = naive(tree, {"a": a, "b": b, "c": c, "lines": lines})
    except RefusedError:
        expected = RefusedError
    try:
        found = compiled(expression)((a, b, c, None), lines)
    except (Untranslatable, ArithmeticError):
        found = RefusedError
    assert found == expected
    if expected is not RefusedError:
        assert type(found) is type(expected)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.text(alphabet="abst.()[]'\"=<>!,+-*/ \n#0123456789forinandotlineswhqy:é", max_size=60))
def test_no_text_breaks_the_checker(text: str) -> None:
    report = Report(parse_yaml("x: 1", "f"))
    found = check(Source(report, ("x",), text), RowScope({"t": Alias("t", "t", (), "")}, {"t": "t"}, None, bare="t"))
    assert (found is None) == bool(report.found)
