"""Checked expressions as their writer would write them: ``became(status, 'PLACED')``, ``before.total > 10``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from bridge.mapping.nodes import (
    Binary,
    Call,
    Column,
    Compare,
    Const,
    Each,
    Expr,
    Field,
    If,
    IsNull,
    Logic,
    Pivot,
    Predicate,
    Root,
    RowRef,
    Rows,
    Unary,
)

# How tightly an expression holds together: a looser one inside a tighter one needs parentheses.
_IF, _OR, _AND, _NOT, _COMPARE, _SUM, _PRODUCT, _SIGN, _ATOM = range(9)
_STRENGTH: Final = {"or": _OR, "and": _AND, "not": _NOT, "+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT,
                    "//": _PRODUCT, "%": _PRODUCT}  # fmt: skip


def text(node: Expr) -> str:
    """One line in the expression language; columns with their alias, fields of ``after`` by their bare name."""
    return _write(node)[0]


def _write(node: Expr) -> tuple[str, int]:
    method = _WRITERS[type(node)]
    return method(node)


def _inside(node: Expr, strength: int) -> str:
    found, own = _write(node)
    return found if own >= strength else f"({found})"


def _const(node: Const) -> tuple[str, int]:
    return literal(node.value), _ATOM


def literal(value: Any) -> str:
    """A constant as the language writes it."""
    if value is None or isinstance(value, (bool, int, str)):
        return repr(value)
    if isinstance(value, tuple):
        return f"({', '.join(literal(item) for item in value)}{',' if len(value) == 1 else ''})"
    return f"{value:f}"


def _row(node: RowRef) -> tuple[str, int]:
    return (node.anchor if not node.chain else node.alias), _ATOM


def _field(node: Field) -> tuple[str, int]:
    base = node.base
    bare = isinstance(base, Root) and base.name == "after"
    return (node.name if bare else f"{_inside(base, _ATOM)}.{node.name}"), _ATOM


def _unary(node: Unary) -> tuple[str, int]:
    if node.op == "not":
        return f"not {_inside(node.operand, _NOT)}", _NOT
    return f"-{_inside(node.operand, _SIGN)}", _SIGN


def _binary(node: Binary) -> tuple[str, int]:
    strength = _STRENGTH[node.op]
    return f"{_inside(node.left, strength)} {node.op} {_inside(node.right, strength + 1)}", strength


def _compare(node: Compare) -> tuple[str, int]:
    return f"{_inside(node.left, _SUM)} {node.op} {_inside(node.right, _SUM)}", _COMPARE


def _is_null(node: IsNull) -> tuple[str, int]:
    return f"{_inside(node.operand, _SUM)} is {'not ' if node.negated else ''}None", _COMPARE


def _logic(node: Logic) -> tuple[str, int]:
    strength = _STRENGTH[node.op]
    return f" {node.op} ".join(_inside(part, strength + 1) for part in node.parts), strength


def _if(node: If) -> tuple[str, int]:
    return f"{_inside(node.then, _OR)} if {_inside(node.test, _OR)} else {_inside(node.other, _IF)}", _IF


def _call(node: Call) -> tuple[str, int]:
    arguments = [text(argument) for argument in node.args] + [literal(value) for value in node.constants]
    return f"{node.function.name}({', '.join(arguments)})", _ATOM


def _each(node: Each) -> tuple[str, int]:
    tests = "".join(f" if {_inside(test, _OR)}" for test in node.tests)
    return f"{text(node.element)} for {node.variable} in {text(node.over)}{tests}", _ATOM


def _predicate(node: Predicate) -> tuple[str, int]:
    arguments = [text(field) for field in node.fields] + ([text(node.value)] if node.value is not None else [])
    return f"{node.name}({', '.join(arguments)})", _ATOM


_WRITERS: Final[dict[type[Expr], Callable[[Any], tuple[str, int]]]] = {
    Const: _const,
    RowRef: _row,
    Column: lambda node: (f"{text(node.row)}.{node.name}", _ATOM),
    Rows: lambda node: (node.alias, _ATOM),
    Pivot: lambda node: (f"{text(node.rows)}[{node.name!r}]", _ATOM),
    Root: lambda node: (node.name, _ATOM),
    Field: _field,
    Unary: _unary,
    Binary: _binary,
    Compare: _compare,
    IsNull: _is_null,
    Logic: _logic,
    If: _if,
    Call: _call,
    Each: _each,
    Predicate: _predicate,
}
