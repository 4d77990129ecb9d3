"""Walks a checked expression and gives its value, over rows or over the images of a rule.

Rows are ``Item``s, images are dicts of model fields (records as dicts, lists as lists of dicts), None where there is
none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

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
    walk,
)
from bridge.model import UNKNOWN
from tests.interpreter import functions
from tests.interpreter.values import (
    EXACT,
    ROUGH,
    RefusedError,
    arithmetic,
    before,
    comparable,
    equal,
    known,
    number,
    truth,
)

Image = dict[str, Any]


@dataclass
class Item:
    """A row: its columns by name, and what joins it by alias: None, an Item, or a list of them."""

    columns: dict[str, Any]
    joined: dict[str, Any] = field(default_factory=dict)


@dataclass
class World:
    """What names mean. ``rows``: bound rows by anchor. ``images``: before, after, item, item_before, and the elements
    of forms. ``pivots``: an alias's name and value column. ``passed``: the values that fields had in between.
    """

    rows: dict[str, Item | None] = field(default_factory=dict)
    images: dict[str, Image | None] = field(default_factory=dict)
    pivots: dict[str, tuple[str, str]] = field(default_factory=dict)
    passed: dict[str, list[Any]] = field(default_factory=dict)
    rough: bool = False

    def also(self, **changes: Any) -> World:
        return World(**{**self.__dict__, **changes})


def evaluate(node: Expr, world: World) -> Any:
    """The value; never unknown. Raises RefusedError."""
    return known(_raw(node, world))


def condition(node: Expr, world: World) -> bool:
    """True or false; a field of an image that is absent is false."""
    if isinstance(node, Field) and node.root in world.images and world.images[node.root] is None:
        return node.root not in {"before", "item_before"} and truth(evaluate(node, world))
    return truth(evaluate(node, world))


def _raw(node: Expr, world: World) -> Any:  # noqa: C901, PLR0912 - one case per construct
    """The value; a column's may be unknown, for whoever uses it to refuse."""
    match node:
        case Const():
            return node.value
        case Column():
            row = _row(node.row, world)
            return None if row is None else row.columns[node.name]
        case RowRef():
            return _row(node, world)
        case Rows():
            parent = _row(node.parent, world)
            return [] if parent is None else parent.joined[node.alias]
        case Pivot():
            return _pivot(node, world)
        case Root():
            return _image(node.name, world)
        case Field():
            return _field(node, world)
        case Unary(op="not"):
            return not condition(node.operand, world)
        case Unary():
            return _negative(_raw(node.operand, world))
        case Binary():
            left, right = _raw(node.left, world), _raw(node.right, world)
            return arithmetic(node.op, left, right, ROUGH if world.rough else EXACT)
        case Logic(op="and"):
            return all(condition(part, world) for part in node.parts)
        case Logic():
            return any(condition(part, world) for part in node.parts)
        case If():
            return evaluate(node.then if condition(node.test, world) else node.other, world)
        case IsNull():
            return _is_null(node, world)
        case Compare():
            return _compare(node, world)
        case Each():
            return _each(node, world)
        case Call():
            return _call(node, world)
        case Predicate():
            return _predicate(node, world)
    raise AssertionError(node)


# -- rows --------------------------------------------------------------------------------------------------------------


def _row(ref: RowRef, world: World) -> Item | None:
    row = world.rows[ref.anchor]
    for alias in ref.chain:
        row = None if row is None else row.joined[alias]
    return row


def _pivot(node: Pivot, world: World) -> Any:
    name, value = world.pivots[node.rows.alias]
    found = [row for row in _raw(node.rows, world) if known(row.columns[name]) == node.name]
    if len(found) > 1:
        raise RefusedError("T105")
    return known(found[0].columns[value]) if found else None


# -- images ------------------------------------------------------------------------------------------------------------


def _image(name: str, world: World) -> Image | None:
    """Bare names are after; of an aggregate or element that is gone, what it was."""
    other = {"after": "before", "item": "item_before"}.get(name)
    found = world.images[name]
    return world.images[other] if found is None and other else found


def _field(node: Field, world: World) -> Any:
    base = _raw(node.base, world)
    if base is None:
        return [] if node.type.kind == "list" else None
    return base[node.name]


def _predicate(node: Predicate, world: World) -> bool:
    then, now = world.images["before"], world.images["after"]
    if node.name == "created":
        return then is None and now is not None
    if node.name == "deleted":
        return now is None
    if node.name == "passed":
        assert isinstance(node.value, Const)
        return node.value.value in world.passed[node.fields[0].name]
    if now is None:
        return False
    sides = [(evaluate(f, world), _field(f, world.also(images={**world.images, "after": then}))) for f in node.fields]
    if node.name == "changed":
        return then is not None and any(new != old for new, old in sides)
    value = evaluate(node.value, world) if node.value is not None else None
    return bool(sides[0][0] == value and (then is None or sides[0][1] != value))


# -- operators ---------------------------------------------------------------------------------------------------------


def _negative(value: Any) -> Any:
    found = number(value)
    if isinstance(found, int):
        return -found
    try:
        return EXACT.minus(found)
    except ArithmeticError:
        raise RefusedError("T103") from None


def _is_null(node: IsNull, world: World) -> bool:
    operand = node.operand
    value = world.images[operand.name] if isinstance(operand, Root) else evaluate(operand, world)
    return (value is None) != node.negated


def _compare(node: Compare, world: World) -> bool:
    """Whatever compares with a field of an image that is absent is false."""
    roots = {part.root for part in walk(node) if isinstance(part, Field)}
    if any(world.images[name] is None for name in roots & {"before", "item_before"}):
        return False
    left, right = _comparand(node.left, world), _comparand(node.right, world)
    match node.op:
        case "==":
            return equal(left, right)
        case "!=":
            return not equal(left, right)
        case "<":
            return before(left, right)
        case ">":
            left, right = comparable(left, right)
            return before(right, left)
        case "<=":
            left, right = comparable(left, right)
            return not before(right, left)
        case ">=":
            return not before(left, right)
    known(left)
    return any(equal(left, item) for item in right) == (node.op == "in")


def _comparand(node: Expr, world: World) -> Any:
    """A column that the catalog calls decimal is a number, even where it came as text."""
    value = _raw(node, world)
    decimal = node.type.kind == "decimal" and node.type.raw
    return number(value) if decimal and value is not None and value is not UNKNOWN else value


# -- forms and calls ---------------------------------------------------------------------------------------------------


def _each(node: Each, world: World) -> Iterator[Any]:
    for element in _raw(node.over, world):
        if isinstance(node.over, Rows):
            inner = world.also(rows={**world.rows, node.variable: element})
        else:
            inner = world.also(images={**world.images, node.variable: element})
        if all(condition(test, inner) for test in node.tests):
            yield evaluate(node.element, inner)


def _call(node: Call, world: World) -> Any:
    name = node.function.name
    if name == "coalesce":
        return next((value for value in (evaluate(one, world) for one in node.args) if value is not None), None)
    inner = world.also(rough=True) if name == "round" else world
    arguments = [evaluate(argument, inner) for argument in node.args]
    return functions.apply(name, arguments, list(node.constants), ROUGH if world.rough else EXACT)
