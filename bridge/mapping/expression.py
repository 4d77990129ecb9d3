"""The checker: walks Python's syntax tree by an allow-list, resolves every name, and infers types.

``check`` gives a tree of ``nodes`` or None, having reported everything it found. What is not a ``_see_…`` method here
does not
exist in the language.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any, Final

from bridge.mapping.calls import check_call
from bridge.mapping.diagnostics import Source, did_you_mean
from bridge.mapping.nodes import (
    NOTHING,
    Binary,
    Compare,
    Const,
    Each,
    Expr,
    Field,
    If,
    IsNull,
    Logic,
    Pivot,
    RowRef,
    Rows,
    Unary,
)
from bridge.mapping.scope import Scope
from bridge.mapping.syntax import MAX_DIGITS, MAX_LITERAL, Parsed, parse
from bridge.mapping.types import BOOL, DECIMAL, INT, NULL, STRING, Type, comparable, join

_WORDS: Final = {"null": None, "true": True, "false": False}
_OPERATORS: Final[dict[type[ast.AST], str]] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%",
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
    ast.In: "in", ast.NotIn: "not in",
}  # fmt: skip
_INSTEAD: Final = {
    "Pow": "there is no '**'; multiply",
    "Lambda": "there are no functions of one's own",
    "JoinedStr": "use concat(…)",
    "NamedExpr": "use '==' to compare",
    "Dict": "a mapping's data is YAML, not an expression",
    "DictComp": "use a list or generator form",
    "SetComp": "use a list or generator form",
    "BitOr": "write or",
    "BitAnd": "write and",
    "Invert": "write not",
}


def check(source: Source, scope: Scope) -> Expr | None:
    """Parse and check one expression. None if anything was reported."""
    parsed = parse(source)
    if parsed is None:
        return None
    checker = Checker(parsed, scope)
    found = checker.see(parsed.tree)
    if not checker.failed and found.type.kind == "row":
        checker.bad(
            "M016", parsed.tree, "this is a whole row, not a value", "name one of its columns, or ask 'is None'"
        )
    return None if checker.failed else found


def check_bool(source: Source, scope: Scope) -> Expr | None:
    """The same for a condition."""
    found = check(source, scope)
    if found is not None and found.type.kind not in {"bool", "any"}:
        source.add("M016", 0, f"a condition is true or false, this is {found.type}", "compare it with something")
        return None
    return found


class Checker:
    """One expression's walk."""

    def __init__(self, parsed: Parsed, scope: Scope) -> None:
        self.parsed = parsed
        self.scope = scope
        self.failed = False

    def bad(self, code: str, node: ast.AST, message: str, hint: str = "") -> Expr:
        self.failed = True
        offset = self.parsed.offset(node)
        if isinstance(node, ast.Attribute):  # what is wrong is the part after the point
            offset += len(self.parsed.segment(node)) - len(node.attr)
        self.parsed.source.add(code, offset, message, hint)
        return NOTHING

    def warn(self, code: str, node: ast.AST, message: str, hint: str) -> None:
        """What is read all the same."""
        self.parsed.source.add(code, self.parsed.offset(node), message, hint)

    def see(self, node: ast.expr) -> Expr:
        method: Callable[[Any], Expr] | None = getattr(self, f"_see_{type(node).__name__.lower()}", None)
        if method is None:
            return self.not_there(node, type(node).__name__)
        return method(node)

    def not_there(self, node: ast.AST, kind: str) -> Expr:
        return self.bad("M011", node, f"expressions have no {kind}", _INSTEAD.get(kind, ""))

    # names

    def _see_name(self, node: ast.Name) -> Expr:
        if node.id in _WORDS:
            return self.constant(node, _WORDS[node.id])
        return self.scope.resolve(self, node, node.id)

    def _see_attribute(self, node: ast.Attribute) -> Expr:
        base = self.see(node.value)
        if base is NOTHING:
            return NOTHING
        if isinstance(base, RowRef):
            return self.scope.column(self, node, base, node.attr)
        if base.type.kind == "record":
            for index, (name, kind) in enumerate(base.type.fields):
                if name == node.attr:
                    return Field(kind, base, index, name)
            hint = did_you_mean(node.attr, base.type.field_names())
            return self.bad("M013", node, f"there is no field '{node.attr}'", hint)
        if base.type.kind == "list":
            hint = "use any(x.… for x in …), sum, first … or each:"
            return self.bad("M024", node, f"this is a list; it has no single '{node.attr}'", hint)
        return self.bad("M011", node, f"a value of type {base.type} has no '.{node.attr}'")

    def _see_subscript(self, node: ast.Subscript) -> Expr:
        base = self.see(node.value)
        if base is NOTHING:
            return NOTHING
        key = node.slice.value if isinstance(node.slice, ast.Constant) else None
        if isinstance(base, Rows) and self.scope.is_pivot(base.alias):
            if not isinstance(key, str):
                return self.bad("M011", node.slice, "a pivot is read with a constant text", "attrs['COLOR']")
            return Pivot(Type("any", optional=True, raw=True), base, key, self.scope.pivot_pii(base.alias))
        return self.bad(
            "M011", node, "only a pivot has [ ]", "use first(…) or last(…) of a list, parse_json(text, 'key') of JSON"
        )

    # literals

    def _see_constant(self, node: ast.Constant) -> Expr:
        return self.constant(node, node.value)

    def constant(self, node: ast.expr, value: Any) -> Expr:
        if value is None:
            return Const(NULL, None)
        if isinstance(value, bool):
            return Const(BOOL, value)
        if isinstance(value, int):
            if abs(value) >= 10**MAX_DIGITS:
                return self.bad("M018", node, f"a number of more than {MAX_DIGITS} digits")
            return Const(INT, value)
        if isinstance(value, float):
            written = self.parsed.segment(node).replace("_", "")
            if not re.fullmatch(r"[0-9]*\.?[0-9]*", written) or len(written) > MAX_DIGITS:
                return self.bad("M011", node, "a number is written like 12 or 12.50")
            return Const(DECIMAL, Decimal(written))
        if isinstance(value, Decimal):
            return Const(DECIMAL, value)
        if isinstance(value, str):
            if len(value) > MAX_LITERAL:
                return self.bad("M018", node, f"a text of more than {MAX_LITERAL} characters")
            return Const(STRING, value)
        return self.not_there(node, f"{type(value).__name__} literal")

    def _see_tuple(self, node: ast.Tuple | ast.List | ast.Set) -> Expr:
        items = [self.see(item) for item in node.elts]
        if self.failed:
            return NOTHING
        if not items or not all(isinstance(item, Const) for item in items):
            return self.bad("M011", node, "a list is written of constants", "compare one by one with or")
        kind = items[0].type
        for item in items[1:]:
            kind = join(kind, item.type)
        return Const(Type("list", item=kind), tuple(item.value for item in items if isinstance(item, Const)))

    _see_list = _see_tuple
    _see_set = _see_tuple

    # operators

    def _see_unaryop(self, node: ast.UnaryOp) -> Expr:
        operand = self.see(node.operand)
        if isinstance(node.op, ast.Not):
            return Unary(BOOL, "not", self.condition(operand, node.operand))
        if isinstance(node.op, ast.USub):
            if isinstance(operand, Const) and operand.type.numeric:
                exact = isinstance(operand.value, Decimal)
                return Const(operand.type, operand.value.copy_negate() if exact else -operand.value)
            return Unary(self.number(operand, node.operand), "-", operand)
        return self.not_there(node, type(node.op).__name__)

    def _see_binop(self, node: ast.BinOp) -> Expr:
        op = _OPERATORS.get(type(node.op))
        left, right = self.see(node.left), self.see(node.right)
        if op is None:
            return self.not_there(node, type(node.op).__name__)
        if op == "+" and {left.type.kind, right.type.kind} & {"string", "enum"}:
            return self.bad("M016", node, "'+' adds numbers", "join texts with concat(…)")
        one, two = self.number(left, node.left), self.number(right, node.right)
        whole = one.kind == two.kind == "int"
        if op in {"//", "%"}:
            return Binary(INT, op, left, right)
        if op == "/" and isinstance(right, Const) and right.value == 0:
            return self.bad("M016", node.right, "a division by zero")
        return Binary(INT if whole and op != "/" else DECIMAL, op, left, right)

    def number(self, value: Expr, node: ast.expr) -> Type:
        """The type of a value that arithmetic needs as a number."""
        if value.type.kind == "double":
            self.bad("M016", node, "arithmetic is exact, a double is not", "round(x, 2) first")
        elif not (value.type.numeric or value.type.kind == "any"):
            self.bad("M016", node, f"a number is needed, this is {value.type}", "int(…) or decimal(…) of text")
        return value.type

    def condition(self, value: Expr, node: ast.expr) -> Expr:
        if value.type.kind not in {"bool", "any"}:
            self.bad("M016", node, f"true or false is needed, this is {value.type}", "compare it with something")
        return value

    def _see_boolop(self, node: ast.BoolOp) -> Expr:
        parts = tuple(self.condition(self.see(part), part) for part in node.values)
        return Logic(BOOL, "and" if isinstance(node.op, ast.And) else "or", parts)

    def _see_ifexp(self, node: ast.IfExp) -> Expr:
        test = self.condition(self.see(node.test), node.test)
        then, other = self.see(node.body), self.see(node.orelse)
        return If(join(then.type, other.type), test, then, other)

    def _see_compare(self, node: ast.Compare) -> Expr:
        nodes = [node.left, *node.comparators]
        values = [NOTHING if isinstance(n, ast.Constant) and n.value is None else self.see(n) for n in nodes]
        parts = [
            self.compare(op, (nodes[i], nodes[i + 1]), (values[i], values[i + 1])) for i, op in enumerate(node.ops)
        ]
        return parts[0] if len(parts) == 1 else Logic(BOOL, "and", tuple(parts))

    def compare(self, op: ast.cmpop, nodes: tuple[ast.expr, ast.expr], values: tuple[Expr, Expr]) -> Expr:
        left, right = values
        null = [isinstance(n, (ast.Constant, ast.Name)) and _is_null(n) for n in nodes]
        if isinstance(op, (ast.Is, ast.IsNot)):
            if not null[1]:
                return self.bad("M011", nodes[1], "'is' only asks for None", "compare with '=='")
            return self.is_null(left, nodes[0], negated=isinstance(op, ast.IsNot))
        if any(null):
            return self.bad(
                "M016", nodes[1 if null[1] else 0], "nothing compares with None", "write 'is None' or 'is not None'"
            )
        for value, node in zip(values, nodes, strict=True):
            if value.type.kind in {"row", "record"}:
                return self.bad(
                    "M016", node, "a row or record cannot be compared", "compare one of its fields, or ask 'is None'"
                )
        name = _OPERATORS[type(op)]
        if name in {"in", "not in"}:
            return self.membership(name, nodes, left, right)
        self.fitting(left, right, nodes)
        if name not in {"==", "!="} and "bool" in {left.type.kind, right.type.kind}:
            return self.bad("M016", nodes[0], "true and false have no order")
        return Compare(BOOL, name, left, right)

    def is_null(self, value: Expr, node: ast.expr, *, negated: bool) -> Expr:
        if value.type.kind == "list":
            return self.bad("M024", node, "a list is never null", "count(…) == 0 asks for an empty one")
        return IsNull(BOOL, value, negated)

    def membership(self, name: str, nodes: tuple[ast.expr, ast.expr], left: Expr, right: Expr) -> Expr:
        if right is NOTHING:
            return NOTHING
        if right.type.kind != "list" or isinstance(right, Rows):
            hint = "write a list of constants; for parts of a text use match(…)"
            return self.bad("M016", nodes[1], f"'in' needs a list, this is {right.type}", hint)
        if isinstance(right, Const):
            for value in right.value:
                self.fitting(left, self.constant(nodes[1], value), nodes)
        elif right.type.item is not None:
            self.fitting(left, Const(right.type.item, None), nodes)
        return Compare(BOOL, name, left, right)

    def fitting(self, left: Expr, right: Expr, nodes: tuple[ast.expr, ast.expr]) -> None:
        """Types that compare, and enum values that exist."""
        if left is NOTHING or right is NOTHING:
            return
        for one, two, node in ((left, right, nodes[1]), (right, left, nodes[0])):
            if one.type.kind == "enum" and one.type.symbols and isinstance(two, Const) and isinstance(two.value, str):
                self.symbol(one.type, two.value, node)
            if one.type.kind == "date" and one.type.raw and isinstance(two, Const) and isinstance(two.value, str):
                self.day(two.value, node)
        if not comparable(left.type, right.type):
            hint = ""
            if {left.type.kind, right.type.kind} & {"date", "timestamp"}:
                hint = "write date('2026-01-31') or instant('2026-01-31T00:00:00Z')"
            if left.type.kind == right.type.kind == "date":
                hint = "a column's day compares as text, '2026-01-31', or made a date: date(column)"
            self.bad("M016", nodes[1], f"{left.type} does not compare with {right.type}", hint)

    def symbol(self, kind: Type, value: str, node: ast.expr) -> None:
        if value not in kind.symbols:
            hint = did_you_mean(value, kind.symbols) or f"it has {', '.join(kind.symbols)}"
            self.bad("M017", node, f"the enum has no '{value}'", hint)

    def day(self, value: str, node: ast.expr) -> None:
        """A column's day is ISO text; any other text would never equal it."""
        try:
            is_day = date.fromisoformat(value).isoformat() == value
        except ValueError:
            is_day = False
        if not is_day:
            self.bad("M019", node, f"'{value[:40]}' is no day", "for example '2026-01-31'")

    # lists and calls

    def _see_generatorexp(self, node: ast.GeneratorExp | ast.ListComp) -> Expr:
        loop = node.generators[0]
        if len(node.generators) > 1 or loop.is_async or not isinstance(loop.target, ast.Name):
            return self.bad("M011", node, "a form has one 'for' with one name", "any(x.qty > 1 for x in lines)")
        over = self.see(loop.iter)
        if over is NOTHING:
            return NOTHING
        inner = self.scope.inside(self, loop.target, loop.target.id, over, loop.iter)
        if inner is None:
            return NOTHING
        outer, self.scope = self.scope, inner
        try:
            tests = tuple(self.condition(self.see(test), test) for test in loop.ifs)
            element = self.see(node.elt)
        finally:
            self.scope = outer
        return Each(Type("list", item=element.type), element, loop.target.id, over, tests)

    _see_listcomp = _see_generatorexp

    def _see_call(self, node: ast.Call) -> Expr:
        return check_call(self, node)


def _is_null(node: ast.Constant | ast.Name) -> bool:
    return node.value is None if isinstance(node, ast.Constant) else node.id == "null"
