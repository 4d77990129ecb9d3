"""Between collapse and aggregate, for mappings with ``collapse: {quiet, at_most, until}``: a window of many source
transactions → one unit.

The law of this step
  - A window is an aggregate's. It opens with the first change and closes ``quiet`` after the last one, ``at_most`` after
    the first, or with the commit after which ``until`` holds. Its position is that of its first change.
  - Time is event time: the running maximum of END times. When a transaction comes whose time is at or beyond a window's
    deadline, the window closes before it is applied; due windows close in the order (deadline, position, root's key).
    Nothing closes because time passes, only because something committed.
  - A change belongs to the window of every aggregate that its row belongs to, before or after it; and to an open window
    that changed the row already, or a row that it joins as that was before the window. So what the window needs of the
    past is complete: its before image is the state with the rows it changed put back.
  - State rows are shared and always current, so a window keeps, per row that it changed, the row as it was before. All of
    it is in the changelog. Deadlines are not: they follow from the times of the first and last change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from typing import Protocol

from bridge.core.aggregate import GONE, Affected, Aggregate, Plan, Touched
from bridge.core.collapse import NetChange, Rows
from bridge.core.joins import Join, join_of, same
from bridge.core.open_window import Held, OpenWindow, Records, Seen, header, held_row, load
from bridge.core.transaction import SourceTransaction
from bridge.core.view import View
from bridge.errors import Untranslatable
from bridge.model import InputPartition, Layout, Mapping, Row, Window


class State(Rows, Protocol):
    """What this step needs of the state: rows, and named values."""

    def put_meta(self, name: bytes, value: bytes | None) -> None: ...
    def metas(self, prefix: bytes) -> list[tuple[bytes, bytes]]: ...
    def as_used(self, table: int, layout: int, row: Row) -> Row: ...
    @property
    def layout(self) -> int: ...


class Windows:
    """The step, for all mappings of one source. ``partitions``: the source's, by number."""

    def __init__(
        self,
        aggregate: Aggregate,
        mappings: tuple[Mapping, ...],
        layouts: list[Layout],
        partitions: list[InputPartition],
        state: State,
    ) -> None:
        self._aggregate = aggregate
        self._mappings = mappings
        self._state = state
        self._layouts = layouts
        self._partitions = partitions
        self._now = Seen("", -1, -1, 0, 0)  # the transaction that is folded
        self._stepped = [any(rule.looks_at_steps for rule in mapping.events) for mapping in mappings]
        self._of = [_OfMapping(aggregate.plans(number), one.window) for number, one in enumerate(mappings)]
        self._open: dict[bytes, OpenWindow] = {}
        self._deadlines: list[tuple[int, int, bytes, bytes]] = []  # deadline, position, root's key, name
        self._ready: list[OpenWindow] = []  # ``until`` holds
        self._load()

    def __len__(self) -> int:
        return len(self._open)

    def latest(self, position: int) -> list[OpenWindow]:
        """Those that the transaction at this position belongs to, if it is the latest."""
        return [one for one in self._open.values() if one.last.position == position]

    # -- in ------------------------------------------------------------------------------------------------------------

    def fold(self, affected: Iterable[Affected], transaction: SourceTransaction, event_time_ms: int) -> None:
        """Take what a transaction did, after it was applied."""
        self._now = Seen.of(transaction, event_time_ms)
        records = Records(transaction, self._partitions)
        for one in affected:
            fold = _Fold(self, self._of[one.mapping], one, records)
            for window in fold.run():
                self._touch(window)
            for window, held in fold.changed():
                name = self._layouts[held.table].table
                self._state.put_meta(window.row_name(held), held_row(held, name, self._state.layout))

    def opened(self, number: int, root_key: bytes, old_key: bytes, at: int) -> OpenWindow:
        """A new window; ``at``: how many the transaction opened before it in this mapping."""
        aggregate, now = self._mappings[number].aggregate, self._now
        name = b"%s/%d.%d" % (aggregate.encode(), now.position, at)
        window = OpenWindow(name, number, aggregate, root_key, old_key, old_key, now, now)
        self._open[name] = window
        return window

    def write(self, window: OpenWindow) -> None:
        """To the changelog, without its rows."""
        self._state.put_meta(window.header_name, header(window))

    def root_table(self, number: int) -> int:
        return self._aggregate.root_table(number)

    def keeps_steps(self, number: int) -> bool:
        """Whether a rule of the mapping says passed()."""
        return self._stepped[number]

    def _touch(self, window: OpenWindow) -> None:
        window.last = self._now
        window.transactions += 1
        self._expect(window)
        self.write(window)
        if self._holds(window):
            self._ready.append(window)

    def _expect(self, window: OpenWindow) -> None:
        heappush(self._deadlines, (self._deadline(window), window.first.position, window.root_key, window.name))

    def _deadline(self, window: OpenWindow) -> int:
        """A mapping that has no window any more lets those close that it left open."""
        rule = self._mappings[window.mapping].window
        if rule is None:
            return window.last.time_ms
        return min(window.last.time_ms + rule.quiet, window.first.time_ms + rule.at_most)

    def _holds(self, window: OpenWindow) -> bool:
        """Whether the window's ``until`` holds now. What cannot be translated yet does not say that it is finished."""
        mapping = self._mappings[window.mapping]
        if mapping.window is None or mapping.window.until is None:
            return False
        try:
            node = self._aggregate.now(window.mapping, window.new_key)
            return node is not None and mapping.window.until(None, mapping.model(node), None, None, ())
        except Untranslatable:
            return False

    # -- out -----------------------------------------------------------------------------------------------------------

    def due(self, event_time_ms: int) -> Iterator[tuple[OpenWindow, Touched | None]]:
        """Close what is due by then, in order."""
        deadlines = self._deadlines
        while deadlines and deadlines[0][0] <= event_time_ms:
            deadline, _, _, name = heappop(deadlines)
            window = self._open.get(name)
            if window is not None and self._deadline(window) == deadline:
                yield window, self._close(window)

    def finished(self) -> Iterator[tuple[OpenWindow, Touched | None]]:
        """Close those whose ``until`` held after the latest transaction, in order."""
        if self._ready:
            ready, self._ready = self._ready, []
            for window in sorted(ready, key=lambda one: (one.first.position, one.root_key, one.name)):
                yield window, self._close(window)

    def _close(self, window: OpenWindow) -> Touched | None:
        """Its unit; None where nothing happened in the end."""
        del self._open[window.name]
        self._of[window.mapping].forget(window)
        self._state.put_meta(window.header_name, None)
        for held in window.rows:
            self._state.put_meta(window.row_name(held), None)
        changes = [change for held in window.rows if (change := self._net(held)) is not None]
        if not changes:
            return None
        return self._aggregate.unit(window.mapping, window.old_key, window.new_key, changes)

    def _net(self, held: Held) -> NetChange | None:
        stored = None if held.row_key == GONE else self._state.get(held.table, held.row_key)
        after = None if stored is None else stored.row
        if held.before == after and (held.row_key == held.old_key or after is None) and not held.steps:
            return None
        return NetChange(
            held.table,
            held.old_key if held.row_key == GONE else held.row_key,
            held.old_key,
            held.before,
            after,
            held.created,
            held.number,
            held.steps,
            held.damaged,
        )

    # -- restart -------------------------------------------------------------------------------------------------------

    def _load(self) -> None:
        """What a predecessor left open. Windows of an aggregate that no mapping makes any more are dropped.

        So are rows of tables that their mapping does not use.
        """
        numbers = {mapping.aggregate: number for number, mapping in enumerate(self._mappings)}
        tables = [{self._layouts[table].table: table for table in of.plans} for of in self._of]
        found, foreign = load(self._state.metas(OpenWindow.PREFIX), numbers, tables, self._state.as_used)
        for name in foreign:
            self._state.put_meta(name, None)
        for window in found:
            self._open[window.name] = window
            self._of[window.mapping].restore(window)
            self._expect(window)


class _OfMapping:
    """The open windows of one mapping, by what leads to them."""

    def __init__(self, plans: list[Plan], window: Window | None) -> None:
        columns = {} if window is None else window.columns
        self.columns = {plan.table: columns.get(plan.use.table, ()) for plan in plans}
        self.plans: dict[int, list[Plan]] = {}  # by table
        self._parents: dict[int, list[Plan]] = {}  # by the parents' table: the aliases that join on it
        for plan in plans:
            if plan.use.lookup:
                continue
            self.plans.setdefault(plan.table, []).append(plan)
            if plan.parent is not None:
                self._parents.setdefault(plan.parent.table, []).append(plan)
        self.at: dict[bytes, OpenWindow] = {}  # root's key as it is now → window
        self.holding: dict[tuple[int, bytes], list[tuple[OpenWindow, Held]]] = {}  # a row's key as it is now → windows
        self.befores: dict[tuple[int, Join], list[OpenWindow]] = {}  # what rows were joined on before → windows

    def hold(self, window: OpenWindow, held: Held) -> None:
        """A window has changed one more row: what joins it as it was before leads to the window."""
        for place in self._joins(held):
            windows = self.befores.setdefault(place, [])
            if window not in windows:
                windows.append(window)

    def _joins(self, held: Held) -> Iterator[tuple[int, Join]]:
        for plan in self._parents.get(held.table, ()):
            if plan.up is not None and (join := plan.up.join(held.before)) is not None:
                yield plan.up.number, join

    def restore(self, window: OpenWindow) -> None:
        if window.new_key != GONE:
            self.at[window.new_key] = window
        for held in window.rows:
            self.hold(window, held)
            if held.row_key != GONE:
                self.holding.setdefault((held.table, held.row_key), []).append((window, held))

    def forget(self, window: OpenWindow) -> None:
        if self.at.get(window.new_key) is window:
            del self.at[window.new_key]
        for held in window.rows:
            self.let_go(held)
            for place in self._joins(held):
                _remove(self.befores, place, window)

    def let_go(self, held: Held) -> None:
        """The row is not at its key any more."""
        place = (held.table, held.row_key)
        kept = [one for one in self.holding.get(place, ()) if one[1] is not held]
        if kept:
            self.holding[place] = kept
        else:
            self.holding.pop(place, None)


def _remove(befores: dict[tuple[int, Join], list[OpenWindow]], place: tuple[int, Join], window: OpenWindow) -> None:
    windows = [one for one in befores.get(place, ()) if one is not window]
    if windows:
        befores[place] = windows
    else:
        befores.pop(place, None)


class _Fold:
    """What one transaction does to the windows of one mapping. Keys are read as before it until ``_settle``."""

    def __init__(self, windows: Windows, of: _OfMapping, affected: Affected, records: Records) -> None:
        self._windows = windows
        self._of = of
        self._affected = affected
        self._records = records
        self._root = windows.root_table(affected.mapping)
        self._taken: set[tuple[bytes, int]] = set()  # window, change of this transaction
        self._touched: dict[bytes, OpenWindow] = {}
        self._moved: list[tuple[OpenWindow, Held, NetChange]] = []
        self._displaced: list[tuple[OpenWindow, Held]] = []

    def run(self) -> list[OpenWindow]:
        """Take every change into the windows that it belongs to."""
        for window, changes in self._of_roots():
            for change in changes:
                self._take(window, change)
        mine = [c for c in self._affected.net if c.table in self._of.plans and self._counts(c)]
        grew = bool(self._of.befores) or bool(self._of.holding)
        while grew:
            grew = False
            for change in mine:
                for window in self._reached(change):
                    grew = self._take(window, change) or grew
        self._settle()
        return list(self._touched.values())

    def changed(self) -> Iterator[tuple[OpenWindow, Held]]:
        """The rows to be written."""
        for window, held, _ in self._moved:
            yield window, held
        yield from self._displaced

    def _counts(self, change: NetChange) -> bool:
        """Of a row that stays, columns that the mapping does not use are nothing; touching it counts for passed()."""
        before, after = change.before, change.after
        if before is None or after is None or change.row_key != change.old_key or change.damaged:
            return True
        if not same(before, after, self._of.columns.get(change.table, ())):
            return True
        return change.table == self._root and self._windows.keeps_steps(self._affected.mapping)

    # -- which windows -------------------------------------------------------------------------------------------------

    def _of_roots(self) -> list[tuple[OpenWindow, list[NetChange]]]:
        """The windows of the aggregates that changes touch, opened where there is none, each at its root's new key."""
        at = self._of.at
        found = []
        opened = 0
        for (old_key, new_key), all_changes in self._affected.roots.items():
            changes = [change for change in all_changes if self._counts(change)]
            if not changes:
                continue
            window = at.pop(old_key, None) if old_key != GONE else None
            if window is None:
                root_key = new_key if old_key == GONE else old_key
                window = self._windows.opened(self._affected.mapping, root_key, old_key, opened)
                opened += 1
            found.append((window, new_key, changes))
        for window, new_key, _ in found:
            window.new_key = new_key
            if new_key != GONE:
                if (other := at.get(new_key)) is not None:
                    other.new_key = GONE  # its root is gone, and another one took the key
                    self._windows.write(other)
                at[new_key] = window
        return [(window, changes) for window, _, changes in found]

    def _reached(self, change: NetChange) -> Iterator[OpenWindow]:
        """Open windows that changed this row already, or a row that it joins as that was before them."""
        for window, _ in self._of.holding.get((change.table, change.old_key), ()):
            yield window
        for plan in self._of.plans[change.table]:
            if plan.parent is not None:
                yield from self._above(plan, change.before, self._affected.then)
                yield from self._above(plan, change.after, self._affected.now)

    def _above(self, plan: Plan, row: Row | None, view: View) -> Iterator[OpenWindow]:
        join = None if row is None else join_of(plan.use, row, plan.use.own_columns)
        if join is None or plan.up is None or plan.parent is None:
            return
        yield from self._of.befores.get((plan.up.number, join), ())
        if plan.parent.parent is not None:
            for key in view.children(plan.up.number, join):
                yield from self._above(plan.parent, view.row(plan.parent.table, key), view)

    # -- rows ----------------------------------------------------------------------------------------------------------

    def _take(self, window: OpenWindow, change: NetChange) -> bool:
        """Fold a change into a window; False if it was."""
        mark = (window.name, id(change))  # an order is shared by what foreign keys do
        if mark in self._taken:
            return False
        self._taken.add(mark)
        self._touched[window.name] = window
        places = self._of.holding.get((change.table, change.old_key), ())
        held = next((one for holder, one in places if holder is window), None)
        first, last = self._records.of(change)
        if held is None:
            held = Held(
                window.next_number, change.table, change.old_key, change.row_key, change.before, change.created,
                change.damaged, [], first, last,
            )  # fmt: skip
            window.rows.append(held)
            self._of.hold(window, held)
        else:
            held.last = last
            held.damaged = held.damaged or change.damaged
            if held.before is None:
                held.created = held.created or change.created
        if change.table == self._root and self._windows.keeps_steps(self._affected.mapping):
            held.steps.extend(change.steps)
        self._moved.append((window, held, change))
        return True

    def _settle(self) -> None:
        """Every row that was taken is at its new key; a row that was there is gone."""
        of = self._of
        for _, held, _ in self._moved:
            of.let_go(held)
        for window, held, change in sorted(self._moved, key=lambda one: one[2].after is not None):
            place = (change.table, change.row_key)
            if change.after is not None and change.row_key != change.old_key:
                for other_window, other in of.holding.get(place, ()):
                    if self._is_other(other, change):
                        other.row_key = GONE
                        self._displaced.append((other_window, other))
            held.row_key = change.row_key
            here = [one for one in of.holding.get(place, ()) if one[1].row_key != GONE]
            of.holding[place] = [*here, (window, held)]

    def _is_other(self, held: Held, change: NetChange) -> bool:
        return not any(one is held and of is change for _, one, of in self._moved)
