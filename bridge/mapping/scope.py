"""What a name means where an expression stands: rows and columns in the model, fields of before and after in a rule."""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from bridge.mapping.catalog import Catalog, CatalogColumn
from bridge.mapping.diagnostics import did_you_mean
from bridge.mapping.draft import Alias
from bridge.mapping.nodes import NOTHING, Column, Expr, Field, Root, RowRef, Rows
from bridge.mapping.streamed import WITHOUT, lost, may_be_nulled
from bridge.mapping.types import RAW, ROW, Type, column_type

if TYPE_CHECKING:
    from bridge.mapping.expression import Checker


def columns_of(catalog: Catalog | None, table: str) -> dict[str, CatalogColumn] | None:
    """A table's columns, or None if nobody knows them."""
    known = None if catalog is None else catalog.tables.get(table)
    return None if known is None else known.columns


class Scope(ABC):
    """The base: knows no names."""

    is_rule = False
    root_only: frozenset[str] | None = None

    def resolve(self, checker: Checker, node: ast.expr, name: str) -> Expr:
        return checker.bad("M013", node, f"there is no '{name}' here")

    def column(self, checker: Checker, node: ast.expr, row: RowRef, name: str) -> Expr:  # noqa: ARG002 - as below
        """A column of a row. A scope without rows gives nobody one to ask for."""
        return checker.bad("M013", node, f"there is no column '{name}' here")

    def is_pivot(self, alias: str) -> bool:
        return alias == ""

    def pivot_pii(self, alias: str) -> str:  # noqa: ARG002 - a scope without rows has no pivots
        return ""

    @abstractmethod
    def inside(self, checker: Checker, node: ast.expr, variable: str, over: Expr, at: ast.expr) -> Scope | None:
        """The scope of a generator form over ``over``, or None with a diagnostic."""


class RowScope(Scope):
    """Names are aliases and generator variables; with ``bare``, also the columns of that anchor's row.

    ``anchors`` maps what is bound to the alias whose row it is: the root, the alias of an ``each:``, generator
    variables.
    """

    def __init__(
        self,
        aliases: dict[str, Alias],
        anchors: dict[str, str],
        catalog: Catalog | None,
        *,
        bare: str = "",
        alone: bool = False,
    ) -> None:
        self.aliases = aliases
        self.anchors = anchors
        self.catalog = catalog
        self.bare = bare
        self.alone = alone  # only the bare row may be named: a table's own when: and pick:

    def each(self, alias: str) -> RowScope:
        """Inside ``each: alias``."""
        return RowScope(self.aliases, {**self.anchors, alias: alias}, self.catalog, bare=alias)

    def is_pivot(self, alias: str) -> bool:
        return alias in self.aliases and self.aliases[alias].pivot is not None

    def pivot_pii(self, alias: str) -> str:
        """The kind of personal data in a pivot's value column."""
        entry = self.aliases[alias]
        column = (columns_of(self.catalog, entry.table) or {}).get(entry.pivot[1] if entry.pivot else "")
        return "" if column is None else column.pii

    def resolve(self, checker: Checker, node: ast.expr, name: str) -> Expr:
        if name in self.anchors:
            return RowRef(ROW, name, (), self.anchors[name])
        if name in self.aliases and not self.alone:
            return self.alias(checker, node, self.aliases[name])
        if self.bare:
            return self.column(checker, node, RowRef(ROW, self.bare, (), self.anchors[self.bare]), name)
        hint = did_you_mean(name, [*self.aliases, *self.anchors])
        owner = next((a.name for a in self.aliases.values() if name in (columns_of(self.catalog, a.table) or {})), "")
        if owner:
            hint = f"write {owner}.{name}"
        return checker.bad("M013", node, f"there is no '{name}' here", hint)

    def alias(self, checker: Checker, node: ast.expr, alias: Alias) -> Expr:
        """An alias that is not bound itself: reached over to-one joins from something that is."""
        if alias.many:
            parent = self.reach(alias.parent or "")
            if parent is not None:
                return Rows(Type("list", item=ROW), parent, alias.name)
        found = self.reach(alias.name)
        if found is not None:
            return found
        hint = "read it inside each: or in a form: any(x.… for x in …)"
        return checker.bad("M024", node, f"'{alias.name}' joins on a list; here it is not one row", hint)

    def reach(self, name: str) -> RowRef | None:
        chain: tuple[str, ...] = ()
        target = name
        for _ in range(len(self.aliases) + 1):
            for anchor, alias in reversed(self.anchors.items()):
                if alias == name:
                    return RowRef(ROW, anchor, chain, target)
            entry = self.aliases.get(name)
            if entry is None or entry.many or entry.parent is None:
                return None
            chain, name = (name, *chain), entry.parent
        return None

    def column(self, checker: Checker, node: ast.expr, row: RowRef, name: str) -> Expr:
        table = self.aliases[row.alias].table
        columns = columns_of(self.catalog, table)
        if columns is None:
            return Column(RAW, row, name)
        if name not in columns:
            hint = did_you_mean(name, columns)
            return checker.bad("M012", node, f"{table} has no column '{name}'", hint)
        known = columns[name]
        if reason := lost(known, self.catalog):
            return checker.bad("M039", node, f"no record has {table}.{name}: {reason}", WITHOUT)
        if may_be_nulled(known, self.catalog, table):
            message = f"an update that leaves {table}.{name} as it is may bring null for it, if the row is big"
            checker.warn("M040", node, message, f"ALTER TABLE {table} REPLICA IDENTITY FULL")
        nullable = known.nullable is True and not self._never_null(self.aliases[row.alias], name)
        return Column(column_type(known.type), row, name, nullable, known.pii)

    def _never_null(self, alias: Alias, name: str) -> bool:
        """Columns of the primary key, and those that a row was joined by."""
        table = None if self.catalog is None else self.catalog.tables.get(alias.table)
        in_key = table is not None and table.key is not None and name in table.key
        return in_key or any(own == name for own, _ in alias.match)

    def inside(self, checker: Checker, node: ast.expr, variable: str, over: Expr, at: ast.expr) -> Scope | None:
        if not isinstance(over, Rows):
            checker.bad("M024", at, "a form goes over the rows of an alias with many: true")
            return None
        if variable in self.aliases or variable in self.anchors:
            checker.bad("M029", node, f"'{variable}' is already a name here", "use another name in the form")
            return None
        return RowScope(self.aliases, {**self.anchors, variable: over.alias}, self.catalog, bare=self.bare)


class RuleScope(Scope):
    """Names are model fields of ``after``; also before, after, item and item_before."""

    is_rule = True

    def __init__(
        self, model: Type, item: Type | None, root_only: frozenset[str] | None, variables: dict[str, Type] | None = None
    ) -> None:
        self.model = model
        self.item = item
        self.root_only = root_only
        self.variables = variables or {}

    def resolve(self, checker: Checker, node: ast.expr, name: str) -> Expr:
        if name in self.variables:
            return Root(self.variables[name], name)
        for index, (field, kind) in enumerate(self.model.fields):
            if field == name:
                return Field(kind, Root(self.model, "after"), index, name)
        if name in {"before", "after"}:
            return Root(self.model, name)
        if name in {"item", "item_before"}:
            if self.item is not None:
                return Root(self.item, name)
            checker.bad("M013", node, f"there is no '{name}' without each:", "each: added(lines, by=…)")
            return NOTHING
        hint = did_you_mean(name, [*self.model.field_names(), "before", "item", *self.variables])
        return checker.bad("M013", node, f"the model has no field '{name}'", hint)

    def inside(self, checker: Checker, node: ast.expr, variable: str, over: Expr, at: ast.expr) -> Scope | None:
        if over.type.kind != "list" or over.type.item is None or not isinstance(over, Field):
            checker.bad("M024", at, "a form goes over a list field of the model")
            return None
        if (
            variable in self.variables
            or variable in self.model.field_names()
            or variable in {"before", "after", "item", "item_before"}
        ):
            checker.bad("M029", node, f"'{variable}' is already a name here", "use another name in the form")
            return None
        return RuleScope(self.model, self.item, self.root_only, {**self.variables, variable: over.type.item})
