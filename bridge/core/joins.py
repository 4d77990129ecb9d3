"""Joins: which rows belong together, by the values that their mappings match on."""

from __future__ import annotations

import msgspec

from bridge.errors import Untranslatable
from bridge.model import UNKNOWN, Cascade, Mapping, MappingSet, Row, TableUse

Join = tuple[object, ...]
Move = tuple[int, Join | None, Join | None]  # index, what the row joined on before, what it joins on now


class Index(msgspec.Struct, frozen=True):
    """Rows of a table by the values they join on. ``number`` is its place in ``Indexes``; ``name`` is stable."""

    number: int
    name: str
    table: int
    columns: tuple[int, ...]
    use: TableUse

    def join(self, row: Row | None) -> Join | None:
        """The values a row joins on; None when it joins nothing (a NULL or unknown column, or no such row)."""
        return None if row is None else join_of(self.use, row, self.columns)


def join_of(use: TableUse, row: Row, columns: tuple[int, ...]) -> Join | None:
    """A row that its mapping cannot normalise joins nothing; the aggregates that need it find out when translated."""
    if use.normalise is not None:
        try:
            row = use.normalise(row)
        except Untranslatable:
            return None
    return values_of(row, columns)


def values_of(row: Row, columns: tuple[int, ...]) -> Join | None:
    """The values of some columns; None where one of them is NULL or unknown, and so joins nothing."""
    if len(columns) == 1:
        value = row[columns[0]]
        return None if value is None or value is UNKNOWN else (value,)
    values = tuple([row[column] for column in columns])
    for value in values:
        if value is None or value is UNKNOWN:
            return None
    return values


class Indexes:
    """Which indexes the mappings need; mappings that join in the same way share them."""

    def __init__(self, mapping_set: MappingSet, table_numbers: dict[str, int]) -> None:
        self.all: list[Index] = []
        self.of_table: dict[int, list[Index]] = {}
        self._by_name: dict[str, Index] = {}
        self._columns = {name: layout.columns for name, layout in mapping_set.layouts.items()}
        self._numbers = table_numbers
        for mapping in mapping_set.mappings:
            for use in mapping.tables:
                if use.parent is not None:
                    self.down(mapping, use)
                    if not use.lookup:
                        self.up(mapping, use)
        for rule in mapping_set.cascades:
            self.cascade(rule)

    def down(self, mapping: Mapping, use: TableUse) -> Index:
        """Finds a parent's rows of ``use``."""
        return self._index(mapping.aggregate, use, use.own_columns)

    def up(self, mapping: Mapping, use: TableUse) -> Index:
        """Finds the parent rows of a row of ``use``."""
        return self._index(mapping.aggregate, mapping.tables[use.parent or 0], use.parent_columns)

    def cascade(self, rule: Cascade) -> Index:
        """Finds the rows whose foreign key refers to a value."""
        return self._index("", TableUse("", rule.table), rule.columns)

    def moves(self, table: int, before: Row | None, after: Row | None, *, rekeyed: bool = False) -> list[Move]:
        """How a changed row moves in its table's indexes. A row under a new key moves even where its values stay."""
        found: list[Move] = []
        for index in self.of_table.get(table, ()):
            if before is not None and after is not None and not rekeyed and same(before, after, index.columns):
                continue
            old, new = index.join(before), index.join(after)
            if old != new or rekeyed:
                found.append((index.number, old, new))
        return found

    def _index(self, aggregate: str, use: TableUse, columns: tuple[int, ...]) -> Index:
        names = self._columns[use.table]
        owner = f"@{aggregate}.{use.alias}" if use.normalise is not None else ""
        name = f"{use.table}({','.join(names[column] for column in columns)}){owner}"
        index = self._by_name.get(name)
        if index is None:
            table = self._numbers[use.table]
            index = Index(len(self.all), name, table, columns, use)
            self._by_name[name] = index
            self.all.append(index)
            self.of_table.setdefault(table, []).append(index)
        return index


def same(before: Row, after: Row, columns: tuple[int, ...]) -> bool:
    """Whether two images of a row agree in some columns."""
    for column in columns:  # noqa: SIM110 - called per row: a generator costs three times as much
        if before[column] != after[column]:
            return False
    return True
