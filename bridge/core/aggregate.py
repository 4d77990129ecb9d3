"""Step 4, aggregate: net changes → the aggregates that they touch, each with its image before and after.

An aggregate is its root row with the rows that join it, directly or through another row, and lookups. The before image
is the state as of before the transaction, the after image as of its commit; lookups are read as of the commit in both,
so that a changed customer never makes an untouched order look changed. A root whose key changed is one aggregate.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from typing import Any, TypeAlias

import msgspec

from bridge.core.collapse import NetChange, Rows, StoredRow
from bridge.core.joins import Index, Indexes, join_of, same, values_of
from bridge.core.large import SpooledImages, SpooledMoves, SpooledNets, SpooledRoots
from bridge.core.spool import NewSpool
from bridge.core.view import SpooledView, View
from bridge.errors import Untranslatable
from bridge.model import Mapping, MappingSet, Node, Row, TableUse

_SOME = 2_000  # net changes of a large transaction whose aggregates are looked up at once
GONE = b""  # in place of a row key: no such row


# An aggregate's aliases, the rows as of before and after it, the root's key before and after.
Sight: TypeAlias = "tuple[list[Plan], View, View, bytes, bytes]"


class Touched(msgspec.Struct):
    """One aggregate in one unit of work. A node is None where the aggregate did not, or does no longer, exist.

    ``sight``: how its rows can be looked at again, as long as the next transaction is not applied; a dead letter does.
    """

    mapping: Mapping
    before: Node | None
    after: Node | None
    root_before: Row | None
    root_after: Row | None
    complete: bool
    error: Untranslatable | None  # a record or a join of it is bad: the unit cannot be translated
    steps: list[Row]
    changes: list[NetChange]
    sight: Sight


class Affected(msgspec.Struct):
    """What one transaction means to a mapping with windows: (root's key before, its key after) → the changes that touch it.

    ``net``: all changes of the transaction; the views are the rows as of before and after it.
    """

    mapping: int
    roots: dict[tuple[bytes, bytes], list[NetChange]]
    net: list[NetChange]
    then: View
    now: View


class Plan:
    """One alias of a mapping with its indexes resolved."""

    __slots__ = ("below", "down", "kids", "number", "parent", "table", "up", "use")

    def __init__(self, use: TableUse, number: int, table: int, down: Index | None, up: Index | None) -> None:
        self.use = use
        self.number = number
        self.table = table
        self.down = down
        self.up = up
        self.parent: Plan | None = None
        self.kids: list[Plan] = []
        self.below: set[int] = set()  # tables joined below this alias, but lookups, which both images share


class Aggregate:
    """The step, for all mappings of one source. ``seeded``: numbers of the tables whose snapshot is complete."""

    def __init__(self, mapping_set: MappingSet, table_numbers: dict[str, int], rows: Rows, seeded: set[int]) -> None:
        self.indexes = Indexes(mapping_set, table_numbers)
        self._rows = rows
        self._seeded = seeded
        self.since: dict[int, int] = {}  # table → the layout since which it is read; the first, where it is not here
        self._plans = [(mapping, self._plan(mapping, table_numbers)) for mapping in mapping_set.mappings]
        self.appended = frozenset(
            table_numbers[use.table] for mapping in mapping_set.mappings for use in mapping.tables if use.append
        )
        self._users: dict[int, list[tuple[int, Plan]]] = {}
        for number, (_, plans) in enumerate(self._plans):
            for plan in plans:
                if not plan.use.lookup:
                    self._users.setdefault(plan.table, []).append((number, plan))

    def _plan(self, mapping: Mapping, table_numbers: dict[str, int]) -> list[Plan]:
        plans = []
        for number, use in enumerate(mapping.tables):
            joined = use.parent is not None
            down = self.indexes.down(mapping, use) if joined else None
            up = self.indexes.up(mapping, use) if joined and not use.lookup else None
            plans.append(Plan(use, number, table_numbers[use.table], down, up))
        for plan in plans:
            plan.kids = [plans[kid] for kid in plan.use.kids]
            plan.parent = None if plan.use.parent is None else plans[plan.use.parent]
        for plan in plans:
            above = plan.parent
            while above is not None and not plan.use.lookup:
                above.below.add(plan.table)
                above = above.parent
        return plans

    def transaction(self, net: list[NetChange], position: int, windowed: list[Affected]) -> list[Touched]:
        """Apply the net changes to the state and say what they did, in the order of each aggregate's first change.

        ``windowed`` takes what mappings with windows make of it instead: their images are not wanted yet.
        """
        old: dict[tuple[int, bytes], Row | None] = {}
        for change in net:
            old.setdefault((change.table, change.row_key), None)
            if change.before is not None:  # of several changes that speak of one key, one had it before
                old[change.table, change.old_key] = change.before
        facts = [change for change in net if change.table in self.appended] if self.appended else ()
        now = View(self._rows, {(change.table, change.row_key): change.after for change in facts})
        then = View(self._rows, old)
        self._apply(net, position, then)
        changed = {change.table for change in net}
        touched = []
        for mapping_number, roots in self._roots(net, then, now, _rekeyed(net)).items():
            mapping, plans = self._plans[mapping_number]
            if mapping.window is not None:
                windowed.append(Affected(mapping_number, roots, net, then, now))
                continue
            for (old_key, new_key), changes in roots.items():
                touched.append(self._touched(mapping, plans, old_key, new_key, changes, then, now, changed))
        if len(touched) > 1:
            touched.sort(key=lambda one: one.changes[0].order)
        return touched

    def large(self, nets: SpooledNets, position: int, new_spool: NewSpool) -> Iterator[Touched]:
        """The same for a transaction whose net changes do not fit into memory: one aggregate after the other."""
        old, facts, roots = SpooledImages(new_spool()), SpooledImages(new_spool()), SpooledRoots(new_spool())
        changed: set[int] = set()
        rekeyed: dict[tuple[int, bytes], bytes] = {}
        for change in nets:
            changed.add(change.table)
            rekeyed |= _rekeyed((change,))
            if (change.table, change.row_key) not in old:
                old[change.table, change.row_key] = None
            if change.before is not None:
                old[change.table, change.old_key] = change.before
            if change.table in self.appended:
                facts[change.table, change.row_key] = change.after
        now = SpooledView(self._rows, facts, SpooledMoves(new_spool()))
        then = SpooledView(self._rows, old, SpooledMoves(new_spool()))
        self._apply(nets, position, then)
        left = iter(nets)
        while some := list(islice(left, _SOME)):
            roots.add(self._roots(some, then, now, rekeyed))
        for mapping_number, (old_key, new_key), orders in roots:
            mapping, plans = self._plans[mapping_number]
            changes = [nets.at(order) for order in orders]
            yield self._touched(mapping, plans, old_key, new_key, changes, then, now, changed)

    def _apply(self, net: Iterable[NetChange], position: int, then: View) -> None:
        """Write the rows; deletes first, so that a key may be given up and taken in one transaction."""
        rows, indexes, appended = self._rows, self.indexes, self.appended
        for change in net:
            if appended and change.table in appended:
                continue
            if change.before is not None and (change.after is None or change.old_key != change.row_key):
                rows.put(change.table, change.old_key, None, indexes.moves(change.table, change.before, None))
        for change in net:
            if appended and change.table in appended:
                continue
            rekeyed = change.old_key != change.row_key
            moves = indexes.moves(change.table, change.before, change.after, rekeyed=rekeyed)
            then.moved(change, moves)
            if change.after is not None:
                stored = StoredRow(position, change.created, change.after)
                if rekeyed:
                    moves = indexes.moves(change.table, None, change.after)
                rows.put(change.table, change.row_key, stored, moves)

    def unit(self, number: int, old_key: bytes, new_key: bytes, changes: list[NetChange]) -> Touched:
        """One aggregate over several transactions, which ``changes`` fold: as of before them, and as of now."""
        mapping, plans = self._plans[number]
        old: dict[tuple[int, bytes], Row | None] = {}
        for change in changes:
            old.setdefault((change.table, change.row_key), None)
            if change.before is not None:
                old[change.table, change.old_key] = change.before
        then = View(self._rows, old)
        for change in changes:
            rekeyed = change.old_key != change.row_key
            then.moved(change, self.indexes.moves(change.table, change.before, change.after, rekeyed=rekeyed))
        tables = {change.table for change in changes}
        return self._touched(mapping, plans, old_key, new_key, changes, then, View(self._rows, {}), tables)

    def now(self, number: int, root_key: bytes) -> Node | None:
        """An aggregate as it is now. Raises Untranslatable."""
        _, plans = self._plans[number]
        now = View(self._rows, {})
        return self._node(plans[0], now.row(plans[0].table, root_key), now, now)

    def plans(self, number: int) -> list[Plan]:
        """The aliases of mapping ``number``, the root first."""
        return self._plans[number][1]

    def found(self, number: int, row: Row) -> Touched:
        """An aggregate of mapping ``number`` that a snapshot found, by its root row: new, as far as the bridge knows."""
        mapping, plans = self._plans[number]
        now = View(self._rows, {})
        sight = (self._plans[number][1], now, now, GONE, GONE)
        touched = Touched(mapping, None, None, None, row, self.is_seeded(number), None, [], [], sight)
        try:
            touched.after = self._node(plans[0], row, now, now)
        except Untranslatable as error:
            touched.error = error
        return touched

    def is_seeded(self, number: int) -> bool:
        """Whether a snapshot of all tables of mapping ``number`` is complete."""
        return all(plan.table in self._seeded for plan in self._plans[number][1])

    def name(self, number: int) -> str:
        return self._plans[number][0].aggregate

    def root_table(self, number: int) -> int:
        return self._plans[number][1][0].table

    # -- which aggregates ----------------------------------------------------------------------------------------------

    def _roots(
        self, net: list[NetChange], then: View, now: View, rekeyed: dict[tuple[int, bytes], bytes]
    ) -> dict[int, dict[tuple[bytes, bytes], list[NetChange]]]:
        """Per mapping: (root's key before, root's key after) → the changes that touch it."""
        found: dict[int, dict[tuple[bytes, bytes], list[NetChange]]] = {}
        back = {(table, new): old for (table, old), new in rekeyed.items()}
        for change in net:
            for mapping_number, plan in self._users.get(change.table, ()):
                roots = found.setdefault(mapping_number, {})
                table = self._plans[mapping_number][1][0].table
                if not rekeyed and self._stays(plan, change):
                    for key in self._ancestors(plan, change.row_key, change.after, now):
                        _note(roots, (key, key), change)
                    continue
                for key in self._ancestors(plan, change.old_key, change.before, then):
                    pair = (key, rekeyed.get((table, key)) or (key if (table, key) not in back else GONE))
                    _note(roots, pair, change)
                for key in self._ancestors(plan, change.row_key, change.after, now):
                    pair = (back.get((table, key)) or (key if (table, key) not in rekeyed else GONE), key)
                    _note(roots, pair, change)
        return found

    def _stays(self, plan: Plan, change: NetChange) -> bool:
        """Whether a row that is in both images is a root, or belongs to the same root that did not move itself."""
        before, after = change.before, change.after
        if before is None or after is None:
            return False
        if plan.parent is None:
            return True
        return plan.parent.parent is None and same(before, after, plan.use.own_columns)

    def _ancestors(self, plan: Plan, row_key: bytes, row: Row | None, view: View) -> Iterable[bytes]:
        """Keys of the root rows that a row belongs to, in one view."""
        if row is None:
            return ()
        if plan.parent is None or plan.up is None:
            return (row_key,)
        join = join_of(plan.use, row, plan.use.own_columns)
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
        plans: list[Plan],
        old_key: bytes,
        new_key: bytes,
        changes: list[NetChange],
        then: View,
        now: View,
        changed: set[int],
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
            (plans, then, now, old_key, new_key),
        )
        if any(change.damaged for change in changes):
            touched.error = Untranslatable(
                "a record of this aggregate could not be decoded", "see the dead letter of that record", code="T120"
            )
            return touched
        try:
            touched.after = self._node(root, after, now, now)
            touched.before = self._node(root, before, then, now, touched.after, after, changed)
        except Untranslatable as error:
            touched.error = error
        return touched

    def _is_complete(self, plans: list[Plan], old_key: bytes, new_key: bytes, changes: list[NetChange]) -> bool:
        root = plans[0]
        since = self._since(plans)
        of_root = [change for change in changes if change.table == root.table]
        mine = [change for change in of_root if change.row_key == new_key or change.old_key == old_key]
        if mine:
            created = any(c.created >= since and (c.row_key == new_key or c.after is None) for c in mine)
        else:
            stored = self._rows.get(root.table, new_key)
            created = stored is not None and stored.created >= since
        if created:
            return True
        return all(plan.table in self._seeded for plan in plans)

    def _since(self, plans: list[Plan]) -> int:
        """The layout since which all tables of a mapping are read with all columns: what was created then is whole."""
        if not self.since:
            return 1
        return max(self.since.get(plan.table, 1) for plan in plans)

    def _node(
        self,
        plan: Plan,
        row: Row | None,
        view: View,
        now: View,
        other: Node | None = None,
        other_row: Row | None = None,
        changed: Collection[int] = (),
    ) -> Node | None:
        """One row with its kids. ``other`` is the same row's node in the after image: kids that nothing touched are shared."""
        if row is None:
            return None
        if other is not None and row is other_row and plan.below.isdisjoint(changed):
            return other
        use = plan.use
        if use.normalise is not None:
            row = use.normalise(row)
        if use.when is not None and not use.when(row):
            return None
        if not plan.kids:
            return (row,)
        if other is None:
            return (row, *[self._kid(kid, row, view, now) for kid in plan.kids])
        kids = []
        for number, kid in enumerate(plan.kids, 1):
            untouched = kid.use.lookup or (kid.table not in changed and kid.below.isdisjoint(changed))
            if untouched and same(row, other[0], kid.use.parent_columns):
                kids.append(other[number])
            else:
                kids.append(self._kid(kid, row, view, now))
        return (row, *kids)

    def _kid(self, plan: Plan, parent: Row, view: View, now: View) -> Any:
        use = plan.use
        if use.lookup:
            view = now
        join = values_of(parent, use.parent_columns)
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


def _rekeyed(net: Iterable[NetChange]) -> dict[tuple[int, bytes], bytes]:
    """Rows that went on under another key: (table, key before) → key after."""
    return {(c.table, c.old_key): c.row_key for c in net if c.old_key != c.row_key and c.before is not None}


def _note(roots: dict[tuple[bytes, bytes], list[NetChange]], pair: tuple[bytes, bytes], change: NetChange) -> None:
    changes = roots.setdefault(pair, [])
    if not changes or changes[-1] is not change:
        changes.append(change)
