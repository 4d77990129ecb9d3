"""The images of a unit that became a dead letter, kept so faithfully that an edited mapping can translate it as if it came now.

What is kept are raw rows with their columns' names, not models: the rows that the aggregate was made of as of the commit,
and the net changes that led there. An edited mapping trims, filters, picks and joins them anew. What it may not ask for is
what was never looked at: ``joins`` says by which joins rows were found, a column that is not there is UNKNOWN.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import msgspec

from bridge.core import packed
from bridge.core.aggregate import Aggregate, Plan, Touched
from bridge.core.collapse import NetChange, StoredRow
from bridge.core.joins import Join, Move, values_of
from bridge.core.view import View
from bridge.errors import Untranslatable
from bridge.model import UNKNOWN, Layout, MappingSet, Row

_VERSION = 1
_REPLAY = (
    "`bridge replay` tells it from the source's history, if the topics still hold it; or --give-up goes on without it"
)


class Told(msgspec.Struct, frozen=True):
    """With what a unit's events are told, beside its images.

    ``position``: its commit position with its history; ``part``: which of several units there; ``snapshot``: it is an
    aggregate that the initial snapshot found.
    """

    position: int
    event_time_ms: int
    commit_time_ms: int
    part: str = ""
    snapshot: bool = False


class Images(msgspec.Struct, frozen=True):
    """``columns``: by table. A row is named by its table (a place in ``columns``) and its key."""

    told: Told
    columns: list[tuple[str, list[str]]]
    joins: list[str]
    old_key: bytes
    new_key: bytes
    found: Row | None  # the root that the initial snapshot found
    rows: list[tuple[int, bytes, Row]]  # that did not change
    changes: list[tuple[Any, ...]]


def pack(touched: Touched, told: Told, layouts: Sequence[Layout]) -> str:
    """The images of a unit as a letter has them. ``layouts``: by table number."""
    plans, then, now, old_key, new_key = touched.sight
    found: dict[tuple[int, bytes], Row] = {}
    root = plans[0]
    if told.snapshot:
        for kid in root.kids:
            _gather(kid, touched.root_after, now, now, found)
    else:
        _gather_row(root, old_key, then.row(root.table, old_key), then, now, found)
        _gather_row(root, new_key, now.row(root.table, new_key), now, now, found)
    for change in touched.changes:
        found.pop((change.table, change.row_key), None)
        found.pop((change.table, change.old_key), None)
    tables = sorted({root.table, *[table for table, _ in found], *[change.table for change in touched.changes]})
    places = {table: place for place, table in enumerate(tables)}
    return b64encode(
        packed.encode(
            (
                _VERSION,
                # a binary log's positions take more than 64 bits
                (str(told.position), told.event_time_ms, told.commit_time_ms, told.part, told.snapshot),
                [(layouts[table].table, layouts[table].columns) for table in tables],
                [_join(plan, layouts) for plan in plans],
                old_key,
                new_key,
                touched.root_after if told.snapshot else None,
                [(places[table], key, row) for (table, key), row in sorted(found.items(), key=lambda one: one[0])],
                [
                    (places[one.table], one.row_key, one.old_key, one.before, one.after, one.steps, one.damaged)
                    for one in touched.changes
                ],
            )
        )
    ).decode()


def unpack(text: str) -> Images:
    """Raises ValueError for what ``pack`` did not write."""
    version, told, columns, joins, old_key, new_key, found, rows, changes = packed.decode(b64decode(text))
    if version != _VERSION:
        raise ValueError(version)
    return Images(
        Told(int(told[0]), *told[1:]),
        [(name, list(names)) for name, names in columns],
        list(joins),
        old_key,
        new_key,
        None if found is None else tuple(found),
        [(table, key, tuple(row)) for table, key, row in rows],
        [tuple(change) for change in changes],
    )


def _gather_row(
    plan: Plan, key: bytes, row: Row | None, view: View, now: View, found: dict[tuple[int, bytes], Row]
) -> None:
    if row is None:
        return
    found[plan.table, key] = row
    for kid in plan.kids:
        _gather(kid, row, view, now, found)


def _gather(plan: Plan, parent: Row | None, view: View, now: View, found: dict[tuple[int, bytes], Row]) -> None:
    """All rows that join: those too that the mapping filters out or does not pick."""
    above = plan.parent
    if parent is None or above is None or plan.down is None:
        return
    use = plan.use
    view = now if use.lookup else view
    clean = parent if above.use.normalise is None else above.use.normalise(parent)
    join = values_of(clean, use.parent_columns)
    for key in () if join is None else view.children(plan.down.number, join):
        _gather_row(plan, key, view.row(plan.table, key), view, now, found)


def _join(plan: Plan, layouts: Sequence[Layout]) -> str:
    """By what its rows were found, from the root on: the same for an alias of another name."""
    above = plan.parent
    if above is None:
        return plan.use.table
    ours, theirs = layouts[plan.table].columns, layouts[above.table].columns
    pairs = [f"{ours[a]}={theirs[b]}" for a, b in zip(plan.use.own_columns, plan.use.parent_columns, strict=True)]
    kind = "?" if plan.use.lookup else ""
    return f"{_join(above, layouts)}>{plan.use.table}{kind}({','.join(sorted(pairs))})"


class Kept:
    """``Rows`` of one letter."""

    def __init__(self) -> None:
        self._rows: dict[tuple[int, bytes], StoredRow] = {}
        self._keys: dict[tuple[int, Join], set[bytes]] = {}

    def get(self, table: int, row_key: bytes) -> StoredRow | None:
        return self._rows.get((table, row_key))

    def put(self, table: int, row_key: bytes, stored: StoredRow | None, moves: Sequence[Move]) -> None:
        if stored is not None:
            self._rows[table, row_key] = stored
        for index, _, join in moves:
            if join is not None:
                self._keys.setdefault((index, join), set()).add(row_key)

    def children(self, index: int, join: Join) -> Collection[bytes]:
        return self._keys.get((index, join), ())


class Rebuild:
    """Makes units of images again, by mappings that may have been edited since."""

    def __init__(self, mappings: MappingSet) -> None:
        self._mappings = mappings
        self._layouts = list(mappings.layouts.values())
        self._tables = {layout.table: number for number, layout in enumerate(self._layouts)}
        self._numbers = {mapping.aggregate: number for number, mapping in enumerate(mappings.mappings)}

    def touched(self, aggregate: str, images: Images) -> Touched:
        """Raises Untranslatable where the images lack what the mapping uses."""
        number = self._numbers.get(aggregate)
        if number is None:
            raise _lacking(f"no mapping file of this source has the aggregate {aggregate}", "")
        rows = Kept()
        made = Aggregate(self._mappings, self._tables, rows, set())
        plans = made.plans(number)
        for plan in plans:
            if _join(plan, self._layouts) not in images.joins:
                raise _lacking(f"it was kept without the rows of {plan.use.alias!r}", plan.use.place)
        kept = _Rows(images, self._tables, self._layouts)
        for table, key, row in kept.now():
            rows.put(table, key, StoredRow(0, 0, row), made.indexes.moves(table, None, row))
        if images.told.snapshot:
            return made.found(number, kept.found(plans[0].use.table))
        changes = kept.changes()
        mapping = self._mappings.mappings[number]
        if any(rule.looks_at_steps for rule in mapping.events) and any(
            not change.steps
            for change in changes
            if change.table == plans[0].table and change.after is not None and not change.damaged
        ):
            raise _lacking("it was kept without the steps that passed() looks at", mapping.tables[0].place)
        return made.unit(number, images.old_key, images.new_key, changes)


class _Rows:
    """A letter's rows in the columns of the mappings as they are now."""

    def __init__(self, images: Images, tables: dict[str, int], layouts: Sequence[Layout]) -> None:
        self._images = images
        self._tables = [tables.get(name, -1) for name, _ in images.columns]  # -1: nobody uses it any more
        self._picks = [
            ()
            if table < 0
            else tuple([names.index(column) if column in names else -1 for column in layouts[table].columns])
            for table, (_, names) in zip(self._tables, images.columns, strict=True)
        ]

    def found(self, table: str) -> Row:
        """The root that the initial snapshot found."""
        names = [name for name, _ in self._images.columns]
        return self.row(names.index(table), self._images.found) or ()

    def row(self, place: int, row: Sequence[Any] | None) -> Row | None:
        if row is None:
            return None
        return tuple([UNKNOWN if slot < 0 else row[slot] for slot in self._picks[place]])

    def now(self) -> Iterator[tuple[int, bytes, Row]]:
        """The rows as of the commit."""
        for place, key, row in self._images.rows:
            if self._tables[place] >= 0:
                yield self._tables[place], key, self.row(place, row) or ()
        for place, key, _, _, after, *_ in self._images.changes:
            if self._tables[place] >= 0 and after is not None:
                yield self._tables[place], key, self.row(place, after) or ()

    def changes(self) -> list[NetChange]:
        return [
            NetChange(
                self._tables[place],
                key,
                old_key,
                self.row(place, before),
                self.row(place, after),
                0,
                order,
                [self.row(place, step) or () for step in steps],
                damaged,
            )
            for order, (place, key, old_key, before, after, steps, damaged) in enumerate(self._images.changes)
            if self._tables[place] >= 0
        ]


def _lacking(what: str, place: str) -> Untranslatable:
    return Untranslatable(f"this dead letter cannot be translated again: {what}", _REPLAY, code="B520", place=place)
