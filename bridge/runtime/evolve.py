"""What a new owner does where its mappings use columns or tables that the state does not hold.

Fewer columns, fewer tables, or a new mapping over what is there: nothing is to be done, rows are read as they are used
(see ``bridge.state.rows``). More than the state holds is taken up in one of two ways, both of them decisions of an
operator that lie in the changelog; without one the owner refuses to start.

Backfilled from the topics (``bridge backfill``)
  The command reads the topics from their beginning under the new columns, while the bridge goes on under the old ones, and
  writes rows, checkpoint and all as a second state beside the first: *staged*, under the prefix ``b`` and a stamp of its
  columns. An owner that finds it
    1. rolls it forward, from its checkpoint to exactly the commit position of its own: by then a staged row is what the
       state would hold if these columns had been used from the start, since rows are a function of the log up to there
    2. takes its rows over, a part per Kafka transaction; a named value (``merge``) says that it is not done
    3. says in the last of them which tables are seeded, puts the staged open windows in place of its own, forgets the named
       value, and deletes what was staged
  A mapping with windows that uses such a table is staged with all its tables: what its windows hold follows from the log too,
  so that after the hand-over events are those that it would have told from the start.
  A crash in the middle finds ``merge`` and begins at 1 again; what is done twice is the same. Nothing is published meanwhile.

Filled by a snapshot (``bridge backfill --signal``)
  The decision (``fill``) names the tables. The owner takes up their columns, unknown in the rows that it has, and calls the
  tables not seeded: their aggregates fire nothing, all others do. The snapshot's rows come through the ordinary stream;
  ``bridge.core.seed`` knows when they are whole.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

import msgspec

from bridge.core.checkpoint import Checkpoint
from bridge.core.collapse import StoredRow
from bridge.core.open_window import take_over
from bridge.core.pipeline import CHECKPOINT, Pipeline
from bridge.core.seed import FILL, SEEDED, Fill, seeded_of, set_since
from bridge.model import (
    UNKNOWN,
    Cascade,
    Changelog,
    ChangelogRecord,
    Kafka,
    MappingSet,
    SourceSettings,
)
from bridge.model import Mapping as SourceMapping
from bridge.runtime.roll import Roll, Save, Tell
from bridge.state.rows import RowState, meta_key, other_columns
from bridge.state.store import LmdbStore

WHOLE = b"whole"
MERGE = b"merge"
_STAGED = b"b"
_PART = 10_000  # rows per Kafka transaction


class Merge(msgspec.Struct):
    """What is being taken over, until it is done."""

    stamp: str
    tables: list[str]


class Forward:
    """Reads the topics silently, rows and open windows, to where another checkpoint stands."""

    def __init__(
        self, kafka: Kafka, source: SourceSettings, rows: MappingSet, state: RowState, goal: Checkpoint
    ) -> None:
        self._reader = kafka.reader()
        self._goal = goal
        then = Checkpoint.decode(state.meta(CHECKPOINT))
        if then.snapshot_position is None:  # which one was the initial, the tables of both states tell together
            then = msgspec.structs.replace(then, snapshot_position=goal.snapshot_position)
            state.put_meta(CHECKPOINT, then.encode())
        self._roll = Roll(self._reader, Pipeline(source, rows, state, self._reader.partitions(), silent=True))

    def run(self, save: Save, tell: Tell) -> None:
        """``save``: one part of the state; ``tell``: records read, of how many."""
        inputs, begins = self._goal.inputs(), self._roll.begins
        goals = {partition: max(inputs.get(partition, 0), begin) for partition, begin in begins.items()}
        try:
            self._roll.run(self._goal.end_offset, goals, save, tell)
        finally:
            self._reader.close()


class Staged:
    """A backfilled state beside the first, in the same changelog.

    ``tables``: those whose rows are to be taken over; others are there for windows, and for rows that cascades change.
    """

    def __init__(self, mappings: MappingSet, tables: Iterable[str]) -> None:
        self.tables = sorted(tables)
        windowed = tuple([one for one in mappings.mappings if one.window is not None and _uses(one, self.tables)])
        needed = {*self.tables, *[use.table for one in windowed for use in one.tables]}
        cascades = _cascades(mappings, needed)
        needed.update([one.parent for one in cascades])
        layouts = {table: mappings.layouts[table] for table in sorted(needed)}
        self.rows = MappingSet(mappings.source, windowed, layouts, "", cascades)
        self.windowed = [one.aggregate for one in windowed]
        columns = repr((self.windowed, [(table, layout.columns) for table, layout in layouts.items()]))
        self.stamp = blake2b(columns.encode(), digest_size=8).hexdigest()
        self._prefix = _STAGED + self.stamp.encode()

    @contextmanager
    def state(self, changelog: Changelog) -> Iterator[RowState]:
        """Its rows, as the changelog has them now, on a disk of their own."""
        with tempfile.TemporaryDirectory(prefix="bridge-backfill-") as directory:
            state = RowState(LmdbStore(Path(directory)), self.rows)
            try:
                for records, _ in changelog.read(*changelog.bounds()):
                    state.restore(self._ours(records), b"")
                state.adopt()
                yield state
            finally:
                state.close()

    def is_whole(self, changelog: Changelog) -> bool:
        """Whether a backfill with these columns was completed."""
        whole = False
        name = self._prefix + meta_key(WHOLE)
        for records, _ in changelog.read(*changelog.bounds()):
            for key, value in records:
                if key == name:
                    whole = value is not None
        return whole

    def _ours(self, records: Sequence[ChangelogRecord]) -> list[ChangelogRecord]:
        size = len(self._prefix)
        return [ChangelogRecord(key[size:], value) for key, value in records if key.startswith(self._prefix)]

    def records(self, changes: Iterable[ChangelogRecord]) -> list[ChangelogRecord]:
        """Its changes, as the changelog takes them."""
        return [ChangelogRecord(self._prefix + key, value) for key, value in changes]

    @staticmethod
    def remains(changelog: Changelog, but: str = "") -> list[ChangelogRecord]:
        """What deletes everything that is staged, ``but`` what has this stamp."""
        keys: dict[bytes, None] = {}
        kept = _STAGED + but.encode()
        for records, _ in changelog.read(*changelog.bounds()):
            for key, value in records:
                if not key.startswith(_STAGED) or (but and key.startswith(kept)):
                    continue
                if value is None:
                    keys.pop(key, None)
                else:
                    keys[key] = None
        return [ChangelogRecord(key, None) for key in keys]


class Evolve:
    """``save``: publishes the state's changes and some more changelog records in one Kafka transaction.

    ``alive``: says that this process still is the owner; to be called now and then. Raises Fenced.
    """

    def __init__(
        self,
        kafka: Kafka,
        source: SourceSettings,
        mappings: MappingSet,
        state: RowState,
        save: Callable[[Sequence[ChangelogRecord]], None],
        alive: Callable[[], None],
    ) -> None:
        self._alive = alive
        self._kafka = kafka
        self._source = source
        self._mappings = mappings
        self._state = state
        self._save = save

    def run(self) -> None:
        """Raises Fatal where the state lacks what the mappings use and nobody decided anything."""
        state = self._state
        lacks = lacking(state, self._mappings)
        merge = msgspec.json.decode(state.meta(MERGE) or b"null", type=Merge | None)
        if merge is not None and not lacks:
            lacks = {t: [] for t in merge.tables if t in self._mappings.layouts}
            if Staged(self._mappings, lacks).stamp != merge.stamp:
                lacks = {}
        if not lacks:
            state.adopt()
            return
        staged = Staged(self._mappings, lacks)
        if staged.is_whole(self._kafka.changelog()):
            self._take_over(staged)
        else:
            self._fill(lacks)

    def _fill(self, lacks: Mapping[str, list[str]]) -> None:
        state = self._state
        fill = Fill.decode(state.meta(FILL))
        if fill is None or not set(lacks) <= set(fill.tables):
            self._alive()  # who stood still while another took over has an old state
            raise other_columns("; ".join(f"{table}: {', '.join(names)}" for table, names in sorted(lacks.items())))
        state.adopt()
        set_since(state, lacks, state.layout)

    def _take_over(self, staged: Staged) -> None:
        state = self._state
        live = Checkpoint.decode(state.meta(CHECKPOINT))
        with staged.state(self._kafka.changelog()) as rows:
            forward = Forward(self._kafka, self._source, staged.rows, rows, live)
            forward.run(lambda _output: rows.committed(b""), lambda _done, _total: self._alive())
            state.adopt()
            state.put_meta(MERGE, msgspec.json.encode(Merge(staged.stamp, staged.tables)))
            for number, table in enumerate(staged.rows.layouts):
                if table in staged.tables:
                    self._take_rows(rows, number, table)
            take_over(state, rows, staged.windowed)
            self._complete(rows, staged.tables, live)
        remains = Staged.remains(self._kafka.changelog())
        for start in range(0, len(remains), _PART):
            self._save(remains[start : start + _PART])

    def _take_rows(self, rows: RowState, number: int, table: str) -> None:
        place = b""
        while entries := rows.entries(number, place, _PART):
            for row_key, stored in entries:
                known = self._state.row(table, row_key)
                self._state.replace(table, row_key, stored if known is None else _joined(stored, known))
            place = entries[-1][0]
            self._save(())

    def _complete(self, rows: RowState, tables: list[str], live: Checkpoint) -> None:
        """What is known of these tables now, and where their topics were read to if the bridge had not read them before."""
        state = self._state
        then = Checkpoint.decode(rows.meta(CHECKPOINT))
        if not then.from_the_start:
            set_since(state, tables, state.layout)
        seeded = {*seeded_of(state)} - {*tables} | {*seeded_of(rows)} & {*tables}
        state.put_meta(SEEDED, msgspec.json.encode(sorted(seeded)))
        state.put_meta(CHECKPOINT, msgspec.structs.replace(live, offsets=then.offsets | live.offsets).encode())
        state.put_meta(MERGE, None)
        self._save(())


def _uses(mapping: SourceMapping, tables: Collection[str]) -> bool:
    return any(use.table in tables for use in mapping.tables)


def _cascades(mappings: MappingSet, tables: Collection[str]) -> tuple[Cascade, ...]:
    """The foreign keys whose actions change rows of these tables, or of one that they refer to."""
    reached = {*tables}
    found: list[Cascade] = []
    while more := [one for one in mappings.cascades if one.table in reached and one not in found]:
        found += more
        reached.update([one.parent for one in more])
    return tuple([one for one in mappings.cascades if one in found])


def lacking(state: RowState, mappings: MappingSet) -> dict[str, list[str]]:
    """Columns that the mappings use and the state lacks, by table; of tables whose rows are kept."""
    appended = {use.table for mapping in mappings.mappings for use in mapping.tables if use.append}
    return {table: columns for table, columns in state.lacks().items() if table not in appended}


def _joined(stored: StoredRow, known: StoredRow) -> StoredRow:
    """A row with the columns that it had, and those it lacked."""
    row = tuple([old if new is UNKNOWN else new for new, old in zip(stored.row, known.row, strict=True)])
    return StoredRow(max(stored.position, known.position), max(stored.created, known.created), row)
