"""Step 3 on MariaDB: what a foreign key's action does to rows of another table, of which the source's log says nothing.

InnoDB carries out ON DELETE and ON UPDATE below the binary log (measured on 10.11: CASCADE and SET NULL alike, also where
REPLACE deletes first). The catalog's foreign keys say what happened. It is done where it happened, in the order of the
transaction's changes, so that a row that the transaction wrote later is not taken for one that was there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from bridge.core.collapse import Fold, NetChange
from bridge.core.columns import BROKEN, TableDecoder
from bridge.core.decode import ChangeEvent
from bridge.core.joins import Indexes, Join, values_of
from bridge.model import UNKNOWN, Cascade, Row


class _ForeignKey(msgspec.Struct, frozen=True):
    """A cascade with its tables' numbers resolved; ``index`` finds the child rows."""

    rule: Cascade
    child: TableDecoder
    index: int


class Cascades:
    """The foreign keys whose actions change rows, by either of their tables' numbers."""

    def __init__(self, rules: Iterable[Cascade], tables: Mapping[str, TableDecoder], indexes: Indexes) -> None:
        self.of_parent: dict[int, list[_ForeignKey]] = {}
        self.of_child: dict[int, list[_ForeignKey]] = {}
        for rule in rules:
            child = tables[rule.table]
            one = _ForeignKey(rule, child, indexes.cascade(rule).number)
            self.of_parent.setdefault(tables[rule.parent].number, []).append(one)
            self.of_child.setdefault(child.number, []).append(one)


class CascadingFold(Fold):
    """One transaction's rows with those that foreign keys change."""

    def __init__(
        self,
        cascades: Cascades,
        *transaction: Any,
    ) -> None:
        super().__init__(*transaction)
        self._cascades = cascades
        self._order = 0
        self._moved: dict[tuple[int, Join], set[bytes]] = {}  # rows that join on a value since this transaction

    def add(self, change: ChangeEvent, order: int) -> None:
        self._order = order
        super().add(change, order)

    def _apply(self, net: NetChange, change: ChangeEvent) -> None:
        before = net.after
        super()._apply(net, change)
        if before is None and change.op in ("u", "d") and net.table in self._cascades.of_parent:
            before = _image(change)
        self._follow(net, before)

    def _follow(self, net: NetChange, before: Row | None) -> None:
        """Note where the changed row is to be found, and do what its change does to the rows that refer to it."""
        after = net.after
        for one in self._cascades.of_child.get(net.table, ()):
            join = None if after is None else values_of(after, one.rule.columns)
            if join is not None:
                self._moved.setdefault((one.index, join), set()).add(net.row_key)
        for one in self._cascades.of_parent.get(net.table, ()):
            old = None if before is None else values_of(before, one.rule.to)
            if old is None:
                continue
            new = None if after is None else values_of(after, one.rule.to)
            action = one.rule.on_delete if after is None else one.rule.on_update
            if new != old and action and (new is not None or after is None):
                for key in self._children(one, old):
                    self._act(one, key, action, net, new)

    def _children(self, one: _ForeignKey, join: Join) -> list[bytes]:
        """Keys of the rows that refer to a value by now, in a stable order."""
        keys = {*self._rows.children(one.index, join), *self._moved.get((one.index, join), ())}
        return [key for key in sorted(keys) if self._refers(one, key, join)]

    def _refers(self, one: _ForeignKey, key: bytes, join: Join) -> bool:
        place = (one.child.number, key)
        if place in self._current:
            net = self._current[place]
            row = None if net is None else net.after
        elif place in self._vacated:
            return False
        else:
            stored = self._rows.get(*place)
            row = None if stored is None else stored.row
        return row is not None and values_of(row, one.rule.columns) == join

    def _act(self, one: _ForeignKey, key: bytes, action: str, parent: NetChange, new: Join | None) -> None:
        net = self._current.get((one.child.number, key)) or self._first(one.child, key, self._order)
        if net is None or net.after is None:
            return
        before = net.after
        if action == "cascade" and new is None:
            net.after = None
        else:
            values = new if action == "cascade" and new is not None else (None,) * len(one.rule.columns)
            row = list(before)
            for column, value in zip(one.rule.columns, values, strict=True):
                row[column] = value
            net.after = tuple(row)
            if action == "cascade":
                self._rekey(net, _new_key(one.rule, key, parent.row_key, values))
            if net.table in self._stepped:
                net.steps.append(net.after)
        self._follow(net, before)

    def _rekey(self, net: NetChange, key: bytes) -> None:
        if key != net.row_key:
            self._current.pop((net.table, net.row_key), None)
            self._vacated.add((net.table, net.row_key))
            net.row_key = key
            self._current[net.table, key] = net


def _image(change: ChangeEvent) -> Row | None:
    """The row before a change as its record has it, for one that the state does not know."""
    try:
        row = None if change.before is None else change.table.row(change.before)
    except BROKEN:
        return None
    return None if row is None else tuple(None if value is UNKNOWN else value for value in row)


def _new_key(rule: Cascade, key: bytes, parent_key: bytes, values: Join) -> bytes:
    """The key of a row whose foreign key is part of it; wire values come from the parent's key where that has them."""
    try:
        found: dict[str, Any] = msgspec.json.decode(key, type=dict[str, Any])
        parent: dict[str, Any] = msgspec.json.decode(parent_key, type=dict[str, Any])
    except msgspec.DecodeError:
        return key
    for name, to, value in zip(rule.names, rule.to_names, values, strict=True):
        if name in found:
            found[name] = parent.get(to, value)
    return msgspec.json.encode(found)
