"""Which part of a history makes a test that stands on its own: whole transactions, and the rows that they need.

Rows belong together where they join as the mapping says. A transaction that touches a chosen row is chosen, and what
else it changes with it, until nothing is added: so nothing that was left out could have changed what comes out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from bridge.core.translate import aggregate_id
from bridge.errors import Untranslatable
from bridge.mapping.cases import Row
from bridge.mapping.draft import Alias, Draft
from bridge.model import Layout, Mapping
from bridge.trial.captured import History, Move, RowName


def chosen(
    history: History, draft: Draft, names: set[RowName] | None, most: int
) -> tuple[list[Move], list[list[Move]]]:
    """Seeds and transactions: the first ``most`` that touch the aggregates whose root rows are ``names`` (None: any)."""
    joins = _Joins(history, draft)
    if names is None:
        transactions = history.transactions[:most]
        needed = joins.around(_names(transactions))
    else:
        transactions, needed = _closed(history, joins, joins.around(names))
        transactions = transactions[:most]
    return [move for move in history.seeds if move.name in needed], transactions


def _closed(history: History, joins: _Joins, needed: set[RowName]) -> tuple[list[list[Move]], set[RowName]]:
    while True:
        transactions = [moves for moves in history.transactions if needed & _names([moves])]
        more = joins.around(needed | _names(transactions))
        if more == needed:
            return transactions, needed
        needed = more


def _names(transactions: Iterable[list[Move]]) -> set[RowName]:
    return {name for moves in transactions for move in moves for name in move.names}


def roots(history: History, draft: Draft, mapping: Mapping, layout: Layout, identity: str) -> set[RowName]:
    """The root rows that ever had this aggregate id."""
    table = draft.aliases[draft.root].table
    found = set()
    for move in _moves(history):
        if move.name[0] == table:
            row = tuple(move.row.get(column) for column in layout.columns)
            try:
                if aggregate_id(mapping, row) == identity:
                    found.add(move.name)
            except Untranslatable:
                continue
    return found


def _moves(history: History) -> Iterator[Move]:
    yield from history.seeds
    for moves in history.transactions:
        yield from moves


class _Joins:
    """Who joins whom at any time, by the values of the columns that ``match:`` names; blanks around text do not count."""

    def __init__(self, history: History, draft: Draft) -> None:
        self._aliases = draft.aliases
        self._of_table: dict[str, list[Alias]] = {}
        for alias in draft.aliases.values():
            self._of_table.setdefault(alias.table, []).append(alias)
        self._images: dict[RowName, list[Row]] = {}
        for move in _moves(history):
            self._images.setdefault(move.name, []).append(move.row)
        self._index: dict[tuple[str, tuple[str, ...], tuple[Any, ...]], set[RowName]] = {}
        for alias in draft.aliases.values():
            own, theirs = [one for one, _ in alias.match], [other for _, other in alias.match]
            self._add(alias.table, own)
            if alias.parent is not None:
                self._add(draft.aliases[alias.parent].table, theirs)

    def _add(self, table: str, columns: list[str]) -> None:
        for name, images in self._images.items():
            if name[0] == table:
                for row in images:
                    self._index.setdefault((table, tuple(columns), _values(row, columns)), set()).add(name)

    def around(self, names: Iterable[RowName]) -> set[RowName]:
        """These rows, what they belong to, and all that belongs to that. Lookups lead nowhere: everybody reads them."""
        ahead = list(names)
        found = set(ahead)
        while ahead:
            for near in self._near(ahead.pop()):
                if near not in found:
                    found.add(near)
                    ahead.append(near)
        return found

    def _near(self, name: RowName) -> Iterator[RowName]:
        for alias in self._of_table.get(name[0], ()):
            for row in self._images.get(name, ()):
                if alias.parent is not None and not alias.lookup:
                    own, theirs = [one for one, _ in alias.match], [other for _, other in alias.match]
                    yield from self._joined(row, own, self._aliases[alias.parent].table, theirs)
                for kid in (self._aliases[one] for one in alias.kids):
                    theirs, own = [other for _, other in kid.match], [one for one, _ in kid.match]
                    yield from self._joined(row, theirs, kid.table, own)

    def _joined(self, row: Row, columns: list[str], table: str, others: list[str]) -> set[RowName]:
        return self._index.get((table, tuple(others), _values(row, columns)), set())


def _values(row: Row, columns: list[str]) -> tuple[Any, ...]:
    return tuple(value.strip() if isinstance(value := row.get(column), str) else value for column in columns)
