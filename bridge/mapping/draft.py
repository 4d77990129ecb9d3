"""A checked mapping file: every expression resolved, nothing compiled yet, because slots depend on all mappings of a
source.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bridge.located_yaml import Path
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
    pick_order: tuple[str, str, bool] | None = None  # first or last, column, is its text a number
    pivot: tuple[str, str] | None = None  # name column, value column
    index: int = 0
    kids: list[str] = field(default_factory=list)


@dataclass(slots=True)
class ModelField:
    """One field of the model, of a record or of a list's elements."""

    name: str
    type: Type
    place: str
    value: Expr | None = None
    codes: dict[str | None, str] | None = None
    cases: list[tuple[str, Expr]] | None = None
    zone: str = ""
    absent: list[Any] = field(default_factory=list)
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
    name: str
    type: Type
    value: Expr
    place: str


@dataclass(slots=True)
class ElementRule:
    """``each: added(lines, by=sku)``: which elements of a list field an event is about."""

    kind: str  # added removed changed
    list_field: Field
    by: list[tuple[int, Type]]


@dataclass(slots=True)
class Event:
    type: str
    version: int
    topic: str
    place: str
    when: Expr | None = None
    each: ElementRule | None = None
    data: list[DataItem] = field(default_factory=list)


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
    fields: list[ModelField] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
