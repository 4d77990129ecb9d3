"""What a checked expression is made of. Each node has its static ``type``; names are resolved, nothing is unknown."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final

from bridge.mapping.functions import Function
from bridge.mapping.types import ANY, Type


@dataclass(frozen=True, slots=True)
class Expr:
    type: Type


@dataclass(frozen=True, slots=True)
class Const(Expr):
    """A literal: None, bool, int, Decimal or str; with ``items`` of a tuple, a tuple of those."""

    value: Any


NOTHING: Final = Const(ANY, None)  # stands for what could not be checked; an error was reported


@dataclass(frozen=True, slots=True)
class RowRef(Expr):
    """A row: ``anchor`` names what is bound (an alias, or a generator's variable), ``chain`` the to-one aliases from
    there.
    """

    anchor: str
    chain: tuple[str, ...]
    alias: str  # whose row it is


@dataclass(frozen=True, slots=True)
class Column(Expr):
    """``nullable``: the catalog says that it takes null. ``pii``: the kind of personal data that it holds."""

    row: RowRef
    name: str
    nullable: bool = False
    pii: str = ""


@dataclass(frozen=True, slots=True)
class Rows(Expr):
    """The list of rows of a many alias that joins on ``parent``."""

    parent: RowRef
    alias: str


@dataclass(frozen=True, slots=True)
class Pivot(Expr):
    """``attrs['COLOR']``. ``pii``: the kind of personal data that the value's column holds."""

    rows: Rows
    name: str
    pii: str = ""


@dataclass(frozen=True, slots=True)
class Root(Expr):
    """A rule's ``after``, ``before``, ``item``, ``item_before`` or a generator's variable over a list field."""

    name: str


@dataclass(frozen=True, slots=True)
class Field(Expr):
    """A model field of a ``Root`` or of a record."""

    base: Expr
    index: int
    name: str

    @property
    def root(self) -> str:
        base = self.base
        while isinstance(base, Field):
            base = base.base
        return base.name if isinstance(base, Root) else ""


@dataclass(frozen=True, slots=True)
class Unary(Expr):
    op: str  # - not
    operand: Expr


@dataclass(frozen=True, slots=True)
class Binary(Expr):
    op: str  # + - * / // %
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Compare(Expr):
    op: str  # == != < <= > >= in not in
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class IsNull(Expr):
    operand: Expr
    negated: bool


@dataclass(frozen=True, slots=True)
class Logic(Expr):
    op: str  # and or
    parts: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class If(Expr):
    test: Expr
    then: Expr
    other: Expr


@dataclass(frozen=True, slots=True)
class Call(Expr):
    function: Function
    args: tuple[Expr, ...]
    constants: tuple[Any, ...] = ()  # the value of constant arguments, bound at load


@dataclass(frozen=True, slots=True)
class Each(Expr):
    """``element for variable in rows if test``."""

    element: Expr
    variable: str
    over: Expr  # Rows, or a list field
    tests: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Predicate(Expr):
    """A sentence about before and after: created, deleted, became, changed, passed."""

    name: str
    fields: tuple[Field, ...] = ()
    value: Expr | None = None


_PARTS: Final[dict[type, tuple[str, ...]]] = {}  # by class: the members that are expressions, or tuples of them


def _parts(kind: type) -> tuple[str, ...]:
    found = _PARTS.get(kind)
    if found is None:
        names = ("Expr", "Field", "RowRef", "Rows")
        found = tuple(one.name for one in fields(kind) if any(name in str(one.type) for name in names))
        _PARTS[kind] = found
    return found


def children(node: Any) -> list[Expr]:
    """The direct sub-expressions of a node."""
    found: list[Expr] = []
    for name in _parts(node.__class__):
        value = getattr(node, name)
        if value.__class__ is tuple:
            found.extend(value)
        elif value is not None:
            found.append(value)
    return found


def walk(node: Expr) -> list[Expr]:
    """The node and everything below it, each before what is in it."""
    found: list[Expr] = []
    waiting = [node]
    while waiting:
        found.append(waiting.pop())
        waiting.extend(reversed(children(found[-1])))
    return found
