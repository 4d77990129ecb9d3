"""Step 4, aggregate: net changes → the aggregates that they touch, each with its image before and after.

An aggregate is its root row with the rows that join it, directly or through another row, and lookups. The before image
is the state as of before the transaction, the after image as of its commit; lookups are read as of the commit in both,
so that a changed customer never makes an untouched order look changed. A root whose key changed is one aggregate.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from bridge.core.collapse import CREATED, NetChange, Rows, StoredRow
from bridge.errors import Untranslatable
from bridge.model import UNKNOWN, Mapping, MappingSet, Node, Row, TableUse

Join = tuple[object, ...]
GONE = b""  # in place of a row key: no such row


class Index(msgspec.Struct, frozen=True):
    """Rows of a table by the values they join on. ``number`` is its place in ``Indexes``; ``name`` is stable."""

    number: int
    name: str
    table: int
    columns: tuple[int, ...]
    use: TableUse

    def join(self, row: Row | None) -> Join | None:
        """The values a row joins on; None when it joins nothing (a NULL or unknown column, or no such row)."""
        return None if row is None else _join_of(self.use, row, self.columns)


def _join_of(use: TableUse, row: Row, columns: tuple[int, ...]) -> Join | None:
    """A row that its mapping cannot normalise joins nothing; the aggregates that need it find out when translated."""
    if use.normalise is not None:
        try:
            row = use.normalise(row)
        except Untranslatable:
            return None
    return _values(row, columns)


def _values(row: Row, columns: tuple[int, ...]) -> Join | None:
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

    def down(self, mapping: Mapping, use: TableUse) -> Index:
        """Finds a parent's rows of ``use``."""
        return self._index(mapping, use, use.own_columns)

    def up(self, mapping: Mapping, use: TableUse) -> Index:
        """Finds the parent rows of a row of ``use``."""
        return self._index(mapping, mapping.tables[use.parent or 0], use.parent_columns)

    def _index(self, mapping: Mapping, use: TableUse, columns: tuple[int, ...]) -> Index:
        names = self._columns[use.table]
        owner = f"@{mapping.aggregate}.{use.alias}" if use.normalise is not None else ""
        name = f"{use.table}({','.join(names[column] for column in columns)}){owner}"
        index = self._by_name.get(name)
        if index is None:
            table = self._numbers[use.table]
            index = Index(len(self.all), name, table, columns, use)
            self._by_name[name] = index
            self.all.append(index)
            self.of_table.setdefault(table, []).append(index)
        return index


class Touched(msgspec.Struct):
    """One aggregate in one unit of work. A node is None where the aggregate did not, or does no longer, exist."""

    mapping: Mapping
    before: Node | None
    after: Node | None
    root_before: Row | None
    root_after: Row | None
    complete: bool
    error: Untranslatable | None  # a record or a join of it is bad: the unit cannot be translated
    steps: list[Row]
    changes: list[NetChange]


class _View:
    """The rows as of after the transaction, or of before it for those that it changed."""

    def __init__(
        self, rows: Rows, old: dict[tuple[int, bytes], Row | None], net: Sequence[NetChange], indexes: Indexes
    ) -> None:
        self._rows = rows
        self._old = old
        self._moved: dict[tuple[int, Join], tuple[set[bytes], set[bytes]]] = {}
        if old:
            self._compare(net, indexes)

    def _compare(self, net: Sequence[NetChange], indexes: Indexes) -> None:
        """Per join value: the keys that only the before image has, and those that only the after image has."""
        for change in net:
            for index in indexes.of_table.get(change.table, ()):
                before = index.join(change.before)
                after = index.join(change.after)
                if before == after and change.old_key == change.row_key:
                    continue
                if before is not None:
                    self._sides(index.number, before)[0].add(change.old_key)
                if after is not None:
                    self._sides(index.number, after)[1].add(change.row_key)

    def _sides(self, index: int, join: Join) -> tuple[set[bytes], set[bytes]]:
        return self._moved.setdefault((index, join), (set(), set()))

    def row(self, table: int, row_key: bytes) -> Row | None:
        if self._old:
            place = (table, row_key)
            if place in self._old:
                return self._old[place]
        stored = self._rows.get(table, row_key)
        return None if stored is None else stored.row

    def children(self, index: int, join: Join) -> list[bytes]:
        keys: Iterable[bytes] = self._rows.children(index, join)
        moved = self._moved.get((index, join)) if self._moved else None
        if moved is not None:
            keys = (set(keys) - moved[1]) | moved[0]
        return sorted(keys)


class _Plan:
    """One alias of a mapping with its indexes resolved."""

    __slots__ = ("down", "kids", "number", "parent", "table", "up", "use")

    def __init__(self, use: TableUse, number: int, table: int, down: Index | None, up: Index | None) -> None:
        self.use = use
        self.number = number
        self.table = table
        self.down = down
        self.up = up
        self.parent: _Plan | None = None
        self.kids: list[_Plan] = []


class Aggregate:
    """The step, for all mappings of one source. ``seeded``: numbers of the tables whose snapshot is complete."""

    def __init__(self, mapping_set: MappingSet, table_numbers: dict[str, int], rows: Rows, seeded: set[int]) -> None:
        self.indexes = Indexes(mapping_set, table_numbers)
        self._rows = rows
        self._seeded = seeded
        self._plans = [(mapping, self._plan(mapping, table_numbers)) for mapping in mapping_set.mappings]
        self._users: dict[int, list[tuple[int, _Plan]]] = {}
        for number, (_, plans) in enumerate(self._plans):
            for plan in plans:
                if not plan.use.lookup:
                    self._users.setdefault(plan.table, []).append((number, plan))

    def _plan(self, mapping: Mapping, table_numbers: dict[str, int]) -> list[_Plan]:
        plans = []
        for number, use in enumerate(mapping.tables):
            joined = use.parent is not None
            down = self.indexes.down(mapping, use) if joined else None
            up = self.indexes.up(mapping, use) if joined and not use.lookup else None
            plans.append(_Plan(use, number, table_numbers[use.table], down, up))
        for plan in plans:
            plan.kids = [plans[kid] for kid in plan.use.kids]
            plan.parent = None if plan.use.parent is None else plans[plan.use.parent]
        return plans

    def transaction(self, net: list[NetChange], position: int) -> list[Touched]:
        """Apply the net changes to the state and say what they did, in the order of each aggregate's first change."""
        old: dict[tuple[int, bytes], Row | None] = {}
        for change in net:
            if change.old_key != change.row_key:
                old.setdefault((change.table, change.row_key), None)
        for change in net:
            old[change.table, change.old_key] = change.before
        self._apply(net, position)
        now = _View(self._rows, {}, (), self.indexes)
        then = _View(self._rows, old, net, self.indexes)
        touched = []
        for mapping_number, roots in self._roots(net, then, now).items():
            mapping, plans = self._plans[mapping_number]
            for (old_key, new_key), changes in roots.items():
                touched.append(self._touched(mapping, plans, old_key, new_key, changes, then, now))
        touched.sort(key=lambda one: one.changes[0].order)
        return touched

    def _apply(self, net: list[NetChange], position: int) -> None:
        rows = self._rows
        for change in net:
            if change.before is not None and (change.after is None or change.old_key != change.row_key):
                rows.put(change.table, change.old_key, None)
        for change in net:
            if change.after is not None:
                rows.put(
                    change.table, change.row_key, StoredRow(position, CREATED if change.created else 0, change.after)
                )

    # -- which aggregates ----------------------------------------------------------------------------------------------

    def _roots(
        self, net: list[NetChange], then: _View, now: _View
    ) -> dict[int, dict[tuple[bytes, bytes], list[NetChange]]]:
        """Per mapping: (root's key before, root's key after) → the changes that touch it."""
        found: dict[int, dict[tuple[bytes, bytes], list[NetChange]]] = {}
        rekeyed = {(c.table, c.old_key): c.row_key for c in net if c.old_key != c.row_key and c.before is not None}
        back = {(table, new): old for (table, old), new in rekeyed.items()}
        for change in net:
            for mapping_number, plan in self._users.get(change.table, ()):
                roots = found.setdefault(mapping_number, {})
                table = self._plans[mapping_number][1][0].table
                for key in self._ancestors(plan, change.old_key, change.before, then):
                    pair = (key, rekeyed.get((table, key)) or (key if (table, key) not in back else GONE))
                    _note(roots, pair, change)
                for key in self._ancestors(plan, change.row_key, change.after, now):
                    pair = (back.get((table, key)) or (key if (table, key) not in rekeyed else GONE), key)
                    _note(roots, pair, change)
        return found

    def _ancestors(self, plan: _Plan, row_key: bytes, row: Row | None, view: _View) -> Iterable[bytes]:
        """Keys of the root rows that a row belongs to, in one view."""
        if row is None:
            return ()
        if plan.parent is None or plan.up is None:
            return (row_key,)
        join = _join_of(plan.use, row, plan.use.own_columns)
        if join is None:
            return ()
        parent = plan.parent
        parents = view.children(plan.up.number, join)
        if parent.parent is None:
            return parents
        keys: list[bytes] = []
        for key in parents:
            keys.extend(self._ancestors(parent, key, view.row(parent.table, key), view))
        return keys

    # -- images --------------------------------------------------------------------------------------------------------

    def _touched(
        self,
        mapping: Mapping,
        plans: list[_Plan],
        old_key: bytes,
        new_key: bytes,
        changes: list[NetChange],
        then: _View,
        now: _View,
    ) -> Touched:
        root = plans[0]
        before = then.row(root.table, old_key)
        after = now.row(root.table, new_key)
        steps = next((c.steps for c in changes if c.table == root.table and c.row_key == new_key), [])
        touched = Touched(
            mapping,
            None,
            None,
            before,
            after,
            self._is_complete(plans, old_key, new_key, changes),
            None,
            steps,
            changes,
        )
        if any(change.damaged for change in changes):
            touched.error = Untranslatable(
                "a record of this aggregate could not be decoded", "see the dead letter of that record", code="T108"
            )
            return touched
        try:
            touched.before = self._node(root, before, then, now)
            touched.after = self._node(root, after, now, now)
        except Untranslatable as error:
            touched.error = error
        return touched

    def _is_complete(self, plans: list[_Plan], old_key: bytes, new_key: bytes, changes: list[NetChange]) -> bool:
        root = plans[0]
        for change in changes:
            if change.table == root.table and new_key == change.row_key and change.created:
                return True
            if change.table == root.table and old_key == change.old_key and change.after is None and change.created:
                return True
        stored = self._rows.get(root.table, new_key)
        if stored is not None and stored.flags & CREATED:
            return True
        return all(plan.table in self._seeded for plan in plans)

    def _node(self, plan: _Plan, row: Row | None, view: _View, now: _View) -> Node | None:
        if row is None:
            return None
        use = plan.use
        if use.normalise is not None:
            row = use.normalise(row)
        if use.when is not None and not use.when(row):
            return None
        if not plan.kids:
            return (row,)
        return (row, *[self._kid(kid, row, view, now) for kid in plan.kids])

    def _kid(self, plan: _Plan, parent: Row, view: _View, now: _View) -> Any:
        use = plan.use
        if use.lookup:
            view = now
        join = _values(parent, use.parent_columns)
        if join is None or plan.down is None:
            return [] if use.many else None
        nodes: list[tuple[bytes, Node]] = []
        for key in view.children(plan.down.number, join):
            node = self._node(plan, view.row(plan.table, key), view, now)
            if node is not None:
                nodes.append((key, node))
        if use.many:
            return [node for _, node in nodes]
        return _pick(use, nodes)


def _pick(use: TableUse, nodes: list[tuple[bytes, Node]]) -> Node | None:
    if not nodes:
        return None
    if use.pick is None:
        return nodes[0][1]
    row = use.pick([(key, node[0]) for key, node in nodes])
    if row is None:
        return None
    return next(node for _, node in nodes if node[0] is row)


def _note(roots: dict[tuple[bytes, bytes], list[NetChange]], pair: tuple[bytes, bytes], change: NetChange) -> None:
    changes = roots.setdefault(pair, [])
    if not changes or changes[-1] is not change:
        changes.append(change)
