"""Personal data: which columns, model fields and payload fields hold it, and their values masked.

Marked are columns with ``pii`` in the catalog, model fields that are tokens or say ``pii``, and the columns that such
fields are made of; what is computed from any of them is personal too.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from typing import Any, Final

import msgspec

from bridge.mapping.catalog import Catalog
from bridge.mapping.draft import DataItem, Draft, Event, ModelField
from bridge.mapping.nodes import Column, Expr, Field, Pivot, Root, walk
from bridge.mapping.support import moment_text
from bridge.mapping.types import Type
from bridge.model import UNKNOWN

MASKED: Final = "***"
UNKNOWN_TEXT: Final = "<unknown>"

Path = tuple[str, ...]
_WHOLE: Final = ("after", "before")  # what has all of the model


class Personal:
    """What is personal in one source's mappings. With ``show`` nothing is masked."""

    def __init__(self, drafts: Iterable[Draft], catalog: Catalog | None, *, show: bool) -> None:
        self._shows_not = not show
        self._drafts = {draft.aggregate: draft for draft in drafts}
        self._columns: set[tuple[str, str]] = set()
        if not show:
            self._columns.update(() if catalog is None else _marked(catalog))
            for draft in self._drafts.values():
                self._columns.update(_meant(draft, draft.fields))
        self._fields: dict[str, set[Path]] = {}
        for draft in self._drafts.values():
            found = [] if show else self._of_fields(draft, draft.fields, ())
            self._fields[draft.aggregate] = set(found)

    def _of_fields(self, draft: Draft, fields: Iterable[ModelField], above: Path) -> list[Path]:
        found = []
        for field in fields:
            path = (*above, field.name)
            found += self._of_fields(draft, field.fields, path)
            if self._is_personal(draft.aggregate, field):
                found.append(path)
        return found

    def _is_personal(self, aggregate: str, field: ModelField) -> bool:
        if field.fields:
            return bool(field.pii)
        return _says(field) or any(self.reads(aggregate, expression) for expression in field.expressions())

    def reads(self, aggregate: str, expression: Expr) -> bool:
        """Whether an expression over rows or over the model sees personal data."""
        aliases = self._drafts[aggregate].aliases
        for node in walk(expression):
            if isinstance(node, Column) and (aliases[node.row.alias].table, node.name) in self._columns:
                return True
            if isinstance(node, Pivot):
                alias = aliases[node.rows.alias]
                if any((alias.table, column) in self._columns for column in alias.pivot or ()):
                    return True
            if isinstance(node, Field) and self._field(aggregate, node):
                return True
        return False

    def _field(self, aggregate: str, node: Field) -> bool:
        """Of an element of a list only the last names are known: that is enough to mask it."""
        root, path = _path(node)
        marked = self._fields.get(aggregate, set())
        if root in _WHOLE:
            return any(path[: len(one)] == one for one in marked)
        return any(one[-len(path) :] == path for one in marked)

    # -- values --------------------------------------------------------------------------------------------------------

    def column(self, table: str, name: str, value: Any) -> Any:
        return self._masked(value) if (table, name) in self._columns else plain(value)

    def row_key(self, table: str, row_key: bytes) -> Any:
        """The key's columns; a key that is no JSON object as its text."""
        try:
            columns = msgspec.json.decode(row_key, type=dict[str, Any])
        except msgspec.DecodeError:
            return row_key.decode(errors="replace")
        return {name: self.column(table, name, value) for name, value in columns.items()}

    def identity(self, aggregate: str, text: str) -> str:
        """An aggregate id, which may be made of a personal column."""
        draft = self._drafts[aggregate]
        table = draft.aliases[draft.root].table
        return MASKED if any((table, column) in self._columns for column in draft.key) else text

    def model(self, aggregate: str, value: Any, kind: Type, path: Path) -> Any:
        """A model field's value: records as mappings, each part masked where it is personal."""
        if path in self._fields[aggregate]:
            return self._masked(value)
        item = kind if kind.kind == "record" else kind.item
        if value is None or item is None or item.kind != "record":
            return plain(value)
        if kind.kind == "list":
            return [self.model(aggregate, one, item, path) for one in value]
        parts = zip(item.fields, value, strict=True)
        return {name: self.model(aggregate, part, inner, (*path, name)) for (name, inner), part in parts}

    def element(self, aggregate: str, event: Event, text: str) -> str:
        """The key of a list's element, which may be made of a personal field."""
        rule = event.each
        if rule is None or rule.list_field.type.item is None:
            return text
        names = rule.list_field.type.item.field_names()
        paths = {(rule.list_field.name, names[index]) for index, _ in rule.by}
        return MASKED if paths & self._fields[aggregate] else text

    def payload(self, aggregate: str, event: Event, data: dict[str, Any]) -> dict[str, Any]:
        """An event's payload, as it was published."""
        items = {item.name: item for item in event.data}
        return {name: self._item(aggregate, items[name], value) for name, value in data.items()}

    def _item(self, aggregate: str, item: DataItem, value: Any) -> Any:
        marked = item.made is not None and self._shows_not and self._is_personal(aggregate, item.made)
        if marked or any(self.reads(aggregate, expression) for expression in item.expressions()):
            return self._masked(value)
        root, path = _path(item.value) if isinstance(item.value, Field) else ("", ())
        return self._parts(aggregate, value, path) if root in _WHOLE else value

    def _parts(self, aggregate: str, value: Any, path: Path) -> Any:
        if path in self._fields[aggregate]:
            return self._masked(value)
        if isinstance(value, list):
            return [self._parts(aggregate, one, path) for one in value]
        if isinstance(value, dict):
            return {name: self._parts(aggregate, one, (*path, name)) for name, one in value.items()}
        return value

    def operand(self, aggregate: str, expression: Expr | None, value: Any) -> Any:
        """What a condition looked at."""
        if expression is not None and self.reads(aggregate, expression):
            return self._masked(value)
        return f"{len(value)} element(s)" if isinstance(value, list) else plain(value)

    def _masked(self, value: Any) -> Any:
        return None if value is None else MASKED


def _marked(catalog: Catalog) -> Iterable[tuple[str, str]]:
    for table, known in catalog.tables.items():
        for name, column in known.columns.items():
            if column.pii:
                yield table, name


def _says(field: ModelField) -> bool:
    return field.type.kind == "token" or bool(field.pii)


def _meant(draft: Draft, fields: Iterable[ModelField]) -> Iterable[tuple[str, str]]:
    """The columns that fields marked in the mapping are made of."""
    for field in fields:
        yield from _meant(draft, field.fields)
        for node in walk(field.value) if _says(field) and field.value is not None else ():
            if isinstance(node, Column):
                yield draft.aliases[node.row.alias].table, node.name


def _path(node: Field) -> tuple[str, Path]:
    """What a field is a field of, and the names from there."""
    path: Path = (node.name,)
    base = node.base
    while isinstance(base, Field):
        path, base = (base.name, *path), base.base
    return (base.name if isinstance(base, Root) else ""), path


def plain(value: Any) -> Any:
    """A column's or field's value as JSON has it."""
    if value is UNKNOWN:
        return UNKNOWN_TEXT
    if isinstance(value, datetime):
        return moment_text(value)
    if isinstance(value, date):
        return value.isoformat()
    return [plain(one) for one in value] if isinstance(value, (list, tuple)) else value
