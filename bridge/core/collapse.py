"""Step 3, collapse: the many changes of a row inside one source transaction → one ``NetChange``.

c+u=c, u+u=u (first before, last after), u+d=d, c+d=nothing, d+c on one key=u. A primary key change (a delete that names
its new key, and a create on the same position) is one row under a new key. What a record does not know (TOAST, default
replica identity) comes from its own ``before``, else from the state, else stays UNKNOWN.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Protocol

import msgspec

from bridge.core.columns import BROKEN, TableDecoder
from bridge.core.decode import ChangeEvent
from bridge.core.joins import Join, Move
from bridge.model import UNKNOWN, Row


class StoredRow(msgspec.Struct, gc=False):
    """A row in the state. ``position``: commit position of its last change (or what its seed is as of).

    ``created``: the number of the state's layout when the row was created in the stream, so that everything which ever
    joined it, of the tables and columns of that layout, was seen; 0 for a row that was there before.
    """

    position: int
    created: int
    row: Row


class Rows(Protocol):
    """What the core needs of the state: rows by key, and the keys of rows by the values that they join on."""

    def get(self, table: int, row_key: bytes) -> StoredRow | None: ...
    def put(self, table: int, row_key: bytes, stored: StoredRow | None, moves: Sequence[Move]) -> None: ...
    def children(self, index: int, join: Join) -> Collection[bytes]: ...


class NetChange(msgspec.Struct, gc=False):
    """What a transaction did to one row. ``old_key`` differs from ``row_key`` when the primary key changed.

    ``before``/``after`` None: no such row. ``order``: place of the first change in the transaction. ``steps``: the row
    after each change, kept for root tables of mappings that look at steps.
    """

    table: int
    row_key: bytes
    old_key: bytes
    before: Row | None
    after: Row | None
    created: int  # as in StoredRow
    order: int
    steps: list[Row]
    damaged: bool = False  # a record of it could not be decoded


class Collapse:
    """The step. ``stepped``: numbers of the tables whose steps are kept; ``appended``: of those whose rows are facts.

    ``fold``: what folds one transaction's rows.
    """

    def __init__(
        self,
        stepped: frozenset[int] = frozenset(),
        appended: frozenset[int] = frozenset(),
        fold: Callable[..., Fold] | None = None,
    ) -> None:
        self._fold = fold or Fold
        self._stepped = stepped
        self._appended = appended
        self.created = 1  # what is written of a row that is created now; see StoredRow
        self.truncated: list[str] = []  # tables truncated, since last asked

    def transaction(self, changes: list[ChangeEvent], position: int, rows: Rows) -> list[NetChange]:
        """Net changes in the order of each row's first change. Nothing is written to ``rows``."""
        net: list[NetChange] = []
        self.fold(changes, position, rows, net, {}, changes)
        return [  # most rows that were merely touched are told apart without a call
            one for one in net if (one.before != one.after or one.row_key != one.old_key or one.steps) and happened(one)
        ]

    def fold(
        self,
        changes: Iterable[ChangeEvent],
        position: int,
        rows: Rows,
        net: Any,
        current: Any,
        rekeying: Iterable[ChangeEvent],
    ) -> None:
        """The same into ``net``, a list, by way of ``current``, a dict; or into what stands for them (``bridge.core.large``).

        ``rekeying``: those of the changes, or more, that change a key.
        """
        fold = self._fold(rekeying, position, rows, self._stepped, self.created, net, current)
        add = fold.add
        appended = self._appended
        for order, change in enumerate(changes):
            if change.op == "t":
                self.truncated.append(change.table.name)
            elif appended and change.table.number in appended:
                fold.append(change, order)
            else:
                add(change, order)


def happened(net: NetChange) -> bool:
    """Whether the row is other than it was, or was other in between."""
    if net.before is None and net.after is None:
        return False
    return net.before != net.after or net.row_key != net.old_key or bool(net.steps)


class Fold:
    """One transaction's rows, folded one change at a time."""

    def __init__(
        self,
        rekeying: Iterable[ChangeEvent],
        position: int,
        rows: Rows,
        stepped: frozenset[int],
        created: int,
        net: list[NetChange],
        current: dict[tuple[int, bytes], NetChange | None],
    ) -> None:
        self._created = created
        self.net = net
        self._position = position
        self._rows = rows
        self._stepped = stepped
        self._vacated: set[tuple[int, bytes]] = set()  # keys whose row went on under another one
        self._current = current
        self._rekeyed: dict[tuple[int, bytes], list[bytes]] = {}  # new key → old keys, in order
        for change in rekeying:
            if change.new_key is not None:
                self._rekeyed.setdefault((change.table.number, change.new_key), []).append(change.row_key)

    def add(self, change: ChangeEvent, order: int) -> None:
        number = change.table.number
        place = (number, change.row_key)
        op = change.op
        if self._rekeyed:
            if change.new_key is not None:
                return  # its create carries the row on
            old_keys = self._rekeyed.get(place) if op == "c" else None
            if old_keys:
                self._carry(change, old_keys.pop(0), order)
                return
        net = self._current.get(place)
        if net is None:
            if place in self._current:
                return
            net = self._first(change.table, change.row_key, order)
            if net is None:
                return
        self._apply(net, change)

    def append(self, change: ChangeEvent, order: int) -> None:
        """A row that is a fact: its insert counts, whatever becomes of it; a key that changes is no second fact."""
        place = (change.table.number, change.row_key)
        if change.op not in ("c", "?") or place in self._rekeyed:
            return
        net = self._current.get(place)
        if net is None:
            net = NetChange(*place, change.row_key, None, None, created=self._created, order=order, steps=[])
            self._current[place] = net
            self.net.append(net)
        self._apply(net, change)

    def _first(self, table: TableDecoder, row_key: bytes, order: int) -> NetChange | None:
        """Open the row's net change on what the state holds; None when a seed of a later position was applied already."""
        place = (table.number, row_key)
        stored = None if place in self._vacated else self._rows.get(table.number, row_key)
        if stored is not None and stored.position >= self._position:
            self._current[place] = None
            return None
        before = None if stored is None else stored.row
        net = NetChange(
            table.number, row_key, row_key, before, before, 0 if stored is None else stored.created, order, []
        )
        self._current[place] = net
        self.net.append(net)
        return net

    def _carry(self, change: ChangeEvent, old_key: bytes, order: int) -> None:
        """The create half of a primary key change: the row under ``old_key`` goes on under the create's key."""
        number = change.table.number
        net = self._current.pop((number, old_key), None) or self._first(change.table, old_key, order)
        if net is None:
            return
        self._current.pop((number, old_key), None)
        self._vacated.add((number, old_key))
        occupant = self._current.get((number, change.row_key))
        if occupant is not None and occupant.after is None and occupant is not net:
            self._current.pop((number, change.row_key))
        net.row_key = change.row_key
        self._current[number, change.row_key] = net
        self._apply(net, change)

    def _apply(self, net: NetChange, change: ChangeEvent) -> None:
        op = change.op
        if op == "d":
            net.after = None
            return
        after = change.after
        if after is None or change.partial:
            if op == "?":
                net.after = change.table.from_key(change.row_key)
                net.damaged = True
                return
            after = after or change.table.unknown_row
            if UNKNOWN in after:
                after = self._filled(after, net, change)
        if op == "c" and net.before is None:
            net.created = self._created
        net.after = after
        if self._stepped and net.table in self._stepped:
            net.steps.append(after)

    def _filled(self, after: Row, net: NetChange, change: ChangeEvent) -> Row:
        """Unknown columns of an image: from the row as it was, else from the record's own ``before``."""
        previous = net.after if net.after is not None else net.before
        if previous is not None:
            after = _known_from(after, previous)
        if UNKNOWN in after and change.before is not None:
            try:
                image = change.table.row(change.before)
            except BROKEN:
                image = None  # it is read here and nowhere else: what it would have told stays unknown
            if image is not None:
                after = _known_from(after, change.table.without_placeholders(image))
        return after


def _known_from(row: Row, other: Row | None) -> Row:
    if other is None:
        return row
    return tuple(value if value is not UNKNOWN else old for value, old in zip(row, other, strict=True))
