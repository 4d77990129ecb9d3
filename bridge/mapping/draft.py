"""A checked mapping file: every expression resolved, nothing compiled yet, because slots depend on all mappings of a
source.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bridge.located_yaml import Path
from bridge.mapping.cases import Case
from bridge.mapping.diagnostics import Source
from bridge.mapping.nodes import Column, Expr, Field, Rows
from bridge.mapping.types import Type


@dataclass(slots=True)
class Alias:
    """One entry of ``tables:``."""

    name: str
    table: str
    path: Path
    place: str
    many: bool = False
    lookup: bool = False
    parent: str | None = None
    match: list[tuple[str, str]] = field(default_factory=list)  # own column, parent's column
    trims: dict[str, list[str]] = field(default_factory=dict)  # columns:
    when: Expr | None = None
    pick_where: Expr | None = None
    sources: dict[str, Source] = field(default_factory=dict)  # texts of ``when`` and ``pick.where``
    pick_order: tuple[str, str, bool] | None = None  # first or last, column, is its text a number
    pivot: tuple[str, str] | None = None  # name column, value column
    append: bool = False
    may_be_absent: bool = False  # a to-one join that no foreign key of the catalog guarantees
    index: int = 0
    kids: list[str] = field(default_factory=list)
    narrowed: bool = False  # when: or pick: where may leave no row although one is there


@dataclass(slots=True)
class ModelField:
    """One field of the model, of a record or of a list's elements."""

    name: str
    type: Type
    place: str
    path: Path = ()
    sources: dict[str, Source] = field(default_factory=dict)  # texts of ``from``, ``where`` and of each case
    value: Expr | None = None
    codes: dict[str | None, str] | None = None
    cases: list[tuple[str, Expr]] | None = None
    zone: str = ""
    absent: list[Any] = field(default_factory=list)
    pii: str = ""  # the kind of personal data
    each: Rows | None = None
    order_by: list[Column] = field(default_factory=list)
    where: Expr | None = None
    fields: list[ModelField] = field(default_factory=list)

    def expressions(self) -> list[Expr]:
        """Every expression of the field and of the fields below it."""
        found = [self.value, self.where, self.each, *self.order_by, *(test for _, test in self.cases or [])]
        return [e for e in found if e is not None] + [e for inner in self.fields for e in inner.expressions()]


@dataclass(slots=True)
class DataItem:
    """One member of a payload: a model field as it is, or (``made``) a field calculated for this payload alone."""

    name: str
    type: Type
    place: str
    path: Path
    value: Expr | None = None
    made: ModelField | None = None

    def expressions(self) -> list[Expr]:
        return self.made.expressions() if self.made is not None else [self.value] if self.value is not None else []


@dataclass(slots=True)
class ElementRule:
    """``each: added(lines, by=sku)``: which elements of a list field an event is about."""

    kind: str  # added removed changed
    list_field: Field
    by: list[tuple[int, Type]]


@dataclass(slots=True)
class Window:
    """``collapse:`` for autocommit code; times in ms."""

    quiet: int
    at_most: int
    until: Expr | None = None
    source: Source | None = None


@dataclass(slots=True)
class Event:
    type: str
    version: int
    topic: str
    place: str
    path: Path
    triggers: frozenset[str] = frozenset({"change"})
    when: Expr | None = None
    source: Source | None = None  # the text of ``when``
    each: ElementRule | None = None
    data: list[DataItem] = field(default_factory=list)

    def expressions(self) -> list[Expr]:
        """Every expression of the payload."""
        return [expression for item in self.data for expression in item.expressions()]


@dataclass(slots=True)
class Draft:
    """One mapping file."""

    file: str
    aggregate: str = ""
    source: str = ""
    on_error: str = "park"
    aliases: dict[str, Alias] = field(default_factory=dict)
    root: str = ""
    key: list[str] = field(default_factory=list)
    window: Window | None = None
    fields: list[ModelField] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    tests: list[Case] = field(default_factory=list)
