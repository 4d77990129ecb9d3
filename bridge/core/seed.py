"""Snapshots: what their rows do to the state, when a table is complete, and what a snapshot shows that was missed.

The law of this part
  - A seed is as of a commit position, and applies there: it loses to a change of that row at a later one.
  - A table is *seeded* when a snapshot of all its rows is in the state: the initial one, or another that a connector began
    with (its rows come in a run of the connector that ended no transaction yet), or one that ``bridge backfill --signal``
    asked for. That one is known to be whole by the row of its own signal, which it reads last of all.
  - Incremental snapshots that a signal asks for otherwise may be of some rows alone: they correct rows, and complete nothing.
  - A blocking snapshot that a signal asks for shows a later moment than its position says (measured: rows with the position
    where the stream stood, and changes in them that the stream brings afterwards). Taken for true they would swallow the
    events of those changes; so they fill in what is not known, and correct nothing.
  - A row that is older than the beginning of a whole snapshot was not in it, and is gone.
  - A seed that is not what the state of a seeded table says shows a change that was missed: ``snapshot_changes`` says
    what becomes of it. What is filled in (a new column, a table that is not seeded yet) is no difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Protocol

import msgspec

from bridge.core.aggregate import Aggregate
from bridge.core.collapse import NetChange, Rows, StoredRow
from bridge.core.decode import ChangeEvent
from bridge.errors import SnapshotDiffers
from bridge.model import UNKNOWN, InputPartition, Row

SEEDED = b"seeded"
SINCE = b"since"
FILL = b"fill"
_DONE = b"snapshots"
_WHOLE = ("last", "last_in_data_collection")


class State(Rows, Protocol):
    """The state as this part uses it."""

    def meta(self, name: bytes) -> bytes | None: ...
    def put_meta(self, name: bytes, value: bytes | None) -> None: ...
    def older(self, table: int, position: int) -> list[bytes]: ...


class Fill(msgspec.Struct):
    """The decision to complete tables by a snapshot that a signal asks for.

    ``id``: of the signal, a row of ``signal_table``. ``position``: where the owner first knew of it; None until then.
    """

    id: str
    signal_table: str
    tables: list[str]
    position: int | None = None

    @staticmethod
    def decode(data: bytes | None) -> Fill | None:
        return None if data is None else msgspec.json.decode(data, type=Fill)


def set_since(state: State, tables: Iterable[str], layout: int) -> None:
    """These tables are read, with all their columns, since this layout: they are not seeded any more."""
    gone = set(tables)
    since = since_of(state) | dict.fromkeys(sorted(gone), layout)
    state.put_meta(SINCE, msgspec.json.encode(since))
    state.put_meta(SEEDED, msgspec.json.encode([one for one in seeded_of(state) if one not in gone]))


def since_of(state: State) -> dict[str, int]:
    return msgspec.json.decode(state.meta(SINCE) or b"{}", type=dict[str, int])


def seeded_of(state: State) -> list[str]:
    return msgspec.json.decode(state.meta(SEEDED) or b"[]", type=list[str])


class _Done(msgspec.Struct):
    """Tables whose snapshot is whole, and the position before which rows were not in it: they leave the state ..."""

    now: dict[str, int] = {}  # ... before the next transaction
    next_run: dict[str, int] = {}  # ... before the first one of the run that began with the snapshot


class Seeding:
    """The part, for one source. ``tables``: numbers by name; ``policy``: report, publish or stop."""

    def __init__(
        self,
        state: State,
        aggregate: Aggregate,
        tables: Mapping[str, int],
        seeded: set[int],
        policy: str,
        partitions: Sequence[InputPartition],
    ) -> None:
        self._state = state
        self._aggregate = aggregate
        self._tables = tables
        self._names = {number: name for name, number in tables.items()}
        self._policy = policy
        self._partitions = partitions
        self.seeded = seeded
        self.differences = 0  # since the pipeline last asked
        self.fill = Fill.decode(state.meta(FILL))
        self.is_new = False  # a decision was found that waits to be acknowledged
        self._done = msgspec.json.decode(state.meta(_DONE) or b"{}", type=_Done)

    def begin(self, position: int) -> None:
        """Where the owner stands; a decision that is new to it counts from here."""
        if self.fill is not None and self.fill.position is None:
            self.is_new = True
            self.fill.position = position
            self._state.put_meta(FILL, msgspec.json.encode(self.fill))

    def apply(self, seed: ChangeEvent, run: str, *, streaming: bool) -> NetChange | None:
        """Put a snapshot row into the state; a difference that is to be published is given back instead."""
        number, row = seed.table.number, seed.after
        stored = self._state.get(number, seed.row_key)
        if row is None or (stored is not None and stored.position > seed.position):
            return None
        if streaming and seed.run == run and seed.source.snapshot != "incremental":
            self._fill_in(number, seed, stored)
            return None
        before = None if stored is None else stored.row
        if before is not None:
            row = tuple([old if new is UNKNOWN else new for new, old in zip(row, before, strict=True)])
        created = 0 if stored is None else stored.created
        if streaming and number in self.seeded and _differs(before, row):
            net = NetChange(number, seed.row_key, seed.row_key, before, row, created, 0, [])
            if self._tell(net, seed.position, f"{self._partitions[seed.partition]}@{seed.offset}: "):
                return net
        moves = self._aggregate.indexes.moves(number, before, row)
        self._state.put(number, seed.row_key, StoredRow(seed.position, created, row), moves)
        return None

    def _fill_in(self, number: int, seed: ChangeEvent, stored: StoredRow | None) -> None:
        """What a blocking snapshot shows and nobody knows: a row of a table that is not seeded, columns that are unknown."""
        row = seed.after or ()
        if stored is None:
            if number not in self.seeded:
                moves = self._aggregate.indexes.moves(number, None, row)
                self._state.put(number, seed.row_key, StoredRow(seed.position, 0, row), moves)
        elif UNKNOWN in stored.row:
            row = tuple([new if old is UNKNOWN else old for new, old in zip(row, stored.row, strict=True)])
            moves = self._aggregate.indexes.moves(number, stored.row, row)
            self._state.put(number, seed.row_key, StoredRow(stored.position, stored.created, row), moves)

    def ended(self, seed: ChangeEvent, run: str, *, streaming: bool) -> None:
        """After a snapshot row: was it the last of its table? ``run``: of the connector, that ended the last transaction."""
        if seed.source.snapshot not in _WHOLE:
            return
        number = seed.table.number
        if not streaming:
            self.mark((number,))
        elif seed.run and seed.run != run:
            self.mark((number,))
            self._done.next_run[self._names[number]] = seed.position
            self._keep()

    def signalled(self, seed: ChangeEvent) -> None:
        """A row of the signal table in an incremental snapshot: the one that was waited for makes its tables complete."""
        fill = self.fill
        if fill is None or seed.after is None or seed.after[0] != fill.id:
            return
        numbers = [self._tables[name] for name in fill.tables if name in self._tables]
        self.mark(numbers)
        self._done.now.update({self._names[number]: (fill.position or 0) + 1 for number in numbers})
        self._keep()
        self.fill = None
        self._state.put_meta(FILL, None)

    def mark(self, numbers: Iterable[int]) -> None:
        """These tables are seeded."""
        before = len(self.seeded)
        self.seeded.update(numbers)
        if len(self.seeded) != before:
            names = sorted(self._names[one] for one in self.seeded)
            self._state.put_meta(SEEDED, msgspec.json.encode(names))

    def ghosts(self, *, is_new_run: bool) -> list[NetChange]:
        """Rows that no whole snapshot contained leave the state; those whose end is to be published are given back instead."""
        done = self._done
        if not done.now and not (is_new_run and done.next_run):
            return []
        finished = done.now | done.next_run if is_new_run else done.now
        self._done = _Done() if is_new_run else _Done({}, done.next_run)
        self._keep()
        told = []
        for table, position in sorted(finished.items()):
            number = self._tables.get(table, -1)
            if number < 0 or number in self._aggregate.appended:
                continue
            for row_key in sorted(self._state.older(number, position)):
                stored = self._state.get(number, row_key)
                if stored is None:
                    continue
                net = NetChange(number, row_key, row_key, stored.row, None, stored.created, 0, [])
                if self._tell(net, position, ""):
                    told.append(net)
                else:
                    self._state.put(number, row_key, None, self._aggregate.indexes.moves(number, stored.row, None))
        return told

    def _keep(self) -> None:
        self._state.put_meta(_DONE, msgspec.json.encode(self._done))

    def _tell(self, net: NetChange, position: int, where: str) -> bool:
        """Whether a difference is to be published. Raises SnapshotDiffers."""
        self.differences += 1
        if self._policy != "stop":
            return self._policy == "publish"
        what = "is not what the state says" if net.after is not None else "is not in the snapshot any more"
        raise SnapshotDiffers(
            f"{where}a row of {self._names[net.table]} (key {hash_of(net.row_key)}, snapshot as of position {position}) {what}",
            "changes of the source were missed: find out why; then set snapshot_changes to report or publish, and start again",
        )


def hash_of(row_key: bytes) -> str:
    """A row key's stand-in where people read: the first 16 hex digits of BLAKE2b-64."""
    return blake2b(row_key, digest_size=8).hexdigest()


def _differs(before: Row | None, row: Row) -> bool:
    if before is None:
        return True
    return any(old != new for old, new in zip(before, row, strict=True) if old is not UNKNOWN and new is not UNKNOWN)
