"""Functions do what their examples say; what the language does not have, the checker refuses."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from decimal import Decimal
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


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.text(alphabet="abst.()[]'\"=<>!,+-*/ \n#0123456789forinandotlineswhqy:é", max_size=60))
def test_no_text_breaks_the_checker(text: str) -> None:
    report = Report(parse_yaml("x: 1", "f"))
    found = check(Source(report, ("x",), text), RowScope({"t": Alias("t", "t", (), "")}, {"t": "t"}, None, bare="t"))
    assert (found is None) == bool(report.found)
