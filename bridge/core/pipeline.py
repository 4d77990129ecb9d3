"""READ FIRST. The data's way: decode → assemble → collapse → aggregate → translate → encode, in batches, without IO.

``receive`` takes records in any interleaving of partitions and any batch size; ``take`` gives what one Kafka transaction
must hold. What is published is a function of the committed source transactions in commit order, the mapping files and
recorded decisions; of nothing else. The only thing read from outside is the state (rows by key), which is itself a
function of the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Protocol

import msgspec

from bridge.core.aggregate import Affected, Aggregate, Touched
from bridge.core.assemble import Assemble
from bridge.core.cascade import Cascades, CascadingFold
from bridge.core.checkpoint import Checkpoint
from bridge.core.collapse import Collapse, NetChange, Rows, StoredRow
from bridge.core.columns import TableDecoder
from bridge.core.connectors import CONNECTORS, Connector
from bridge.core.decode import Decode
from bridge.core.encode import Encode
from bridge.core.history import ACCEPT, RELEASE, Histories, decisions, history_of, incarnation_of, own
from bridge.core.images import Told
from bridge.core.large import Changes, SpooledNets, SpooledRows
from bridge.core.open_window import OpenWindow
from bridge.core.reject import Breaker, Reject
from bridge.core.released import Released
from bridge.core.seed import Seeding, hash_of, seeded_of, since_of
from bridge.core.seen import Seen
from bridge.core.spool import NewSpool, SpooledRecords
from bridge.core.transaction import Item, Seeds, SourceTransaction, Waiting
from bridge.core.translate import CanonicalEvent
from bridge.core.truncate import Truncate
from bridge.core.units import Units
from bridge.core.window import Windows
from bridge.errors import MappingInvalid, TransactionIncomplete
from bridge.model import (
    BINLOG,
    LEAST_QUIET_MS,
    ChangelogRecord,
    Diagnostic,
    InboundRecord,
    InputPartition,
    Layout,
    MappingSet,
    OutboundRecord,
    Row,
    SourceSettings,
)


class State(Rows, Protocol):
    """The state as the pipeline uses it: rows, and a few named values. All of it is in the changelog."""

    def meta(self, name: bytes) -> bytes | None: ...
    def put_meta(self, name: bytes, value: bytes | None) -> None: ...
    def metas(self, prefix: bytes) -> list[tuple[bytes, bytes]]: ...
    def as_used(self, table: int, layout: int, row: Row) -> Row: ...
    def take_changes(self) -> Collection[ChangelogRecord]: ...
    def rows_after(self, table: int, place: bytes, limit: int) -> list[tuple[bytes, StoredRow]]: ...
    def row_keys(self, table: int) -> list[bytes]: ...
    def older(self, table: int, position: int) -> list[bytes]: ...
    @property
    def layout(self) -> int: ...


class Counts(msgspec.Struct):
    """What one batch did, for logs and metrics."""

    row_changes: int = 0
    transactions: int = 0
    seeds: int = 0
    seed_differences: int = 0
    duplicates: int = 0
    incomplete: int = 0
    found: int = 0  # aggregates of the initial snapshot that events were asked about
    open_windows: int = 0  # at its end
    events: dict[str, int] = msgspec.field(default_factory=dict)
    dead_letters: dict[str, int] = msgspec.field(default_factory=dict)
    truncated: list[str] = msgspec.field(default_factory=list)
    released_short: list[Waiting] = msgspec.field(default_factory=list)  # by an operator's decision


class Observed(msgspec.Struct):
    """One source transaction on its way, for a shell that wants to see more than its output (``bridge explain``)."""

    transaction: SourceTransaction
    net: list[NetChange]
    touched: list[Touched]
    records: list[OutboundRecord]  # its events and dead letters
    windows: list[OpenWindow] = []  # that it belongs to, and is told with
    snapshot: bool = False  # no transaction, but aggregates that the initial snapshot found
    window: OpenWindow | None = None  # no transaction, but a window that closed
    difference: bool = False  # no transaction, but a row that a snapshot shows otherwise than it was known


class Output(msgspec.Struct):
    """The content of one Kafka transaction: whole source transactions, their state, and where they end in the input."""

    records: Collection[OutboundRecord]
    changelog: Collection[ChangelogRecord]
    offsets: dict[InputPartition, int]
    counts: Counts
    commit_position: int


CHECKPOINT = b"checkpoint"
_RELEASED = b"released\x00"
_FOUND = b"found\x00"


def _no_lap(_step: str) -> None:
    """Nobody measures."""


class Pipeline:
    """One source's core. ``partitions``: all its input partitions, in any order; ``state`` as restored.

    ``lap`` is told the name of each step that was just done, so that a shell with a clock can measure them;
    ``observe``, if there is one, each transaction with what it did. ``until``: the offset of an END; nothing beyond it is
    released before ``go_on``. ``silent``: for the state alone, nothing is translated. ``new_spool`` gives room for a
    transaction of more than ``source.transaction_rows_in_memory_max`` rows; without it everything is done in memory.
    """

    def __init__(  # noqa: PLR0913 - what a source is made of, and who listens
        self,
        source: SourceSettings,
        mappings: MappingSet,
        state: State,
        partitions: Sequence[InputPartition],
        lap: Callable[[str], None] = _no_lap,
        observe: Callable[[Observed], None] | None = None,
        until: int | None = None,
        *,
        silent: bool = False,
        new_spool: NewSpool | None = None,
    ) -> None:
        self._lap = lap
        self._new_spool = new_spool
        self._observe, self._silent = observe, silent
        self._state = state
        self.source = source
        self.checkpoint = Checkpoint.decode(state.meta(CHECKPOINT))
        self.partitions = sorted(partitions)
        self._numbers = {partition: number for number, partition in enumerate(self.partitions)}
        self.markers = InputPartition(source.log or source.transaction_topic, 0)
        markers = self._numbers[self.markers]
        connector = CONNECTORS[source.connector]
        self._decode = Decode(mappings.layouts, connector, source.modes)
        tables = {name: decoder.number for name, decoder in self._decode.tables.items()}
        self._table_names = sorted(tables, key=tables.__getitem__)
        self._released = _load_released(state, source.released_positions_max)
        self._histories = Histories(decisions(state.metas(ACCEPT), ACCEPT), self.partitions)
        self._assemble = self._make_assemble(connector, tables, markers, until)
        seeded = {tables[name] for name in seeded_of(state) if name in tables}
        self._aggregate = Aggregate(mappings, tables, state, seeded)
        self._aggregate.since = {tables[name]: one for name, one in since_of(state).items() if name in tables}
        self._seeding = Seeding(state, self._aggregate, tables, seeded, source.snapshot_changes, self.partitions)
        self._seeding.begin(self.checkpoint.commit_position)
        if self._seeding.fill is not None:
            self._decode.signals = TableDecoder(Layout(self._seeding.fill.signal_table, ("id",)), -1)
        self._collapse = self._make_collapse(mappings, connector)
        columns = {name: layout.columns for name, layout in mappings.layouts.items()}
        self._seen = Seen(state, tables, columns, self.partitions)
        policies = {tables[name]: policy for name, policy in source.truncate.items() if name in tables}
        self._truncate = Truncate(policies, state, self._aggregate.indexes) if policies else None
        self._windows = self._make_windows(mappings)
        if self._takes_parts(mappings, connector):
            self._assemble.new_spool = new_spool
        self._encode = Encode(source.name)
        layouts = [mappings.layouts[name] for name in self._table_names]
        reject = Reject(source.name, source.dead_letter_topic, layouts, self.partitions, markers)
        self._units = Units(state, self._encode, reject, Breaker(source.max_share, source.of_last), self._emit)
        self._mappings_digest = mappings.digest
        self._event_time_ms = self.checkpoint.event_time_ms
        self._from_the_start = self.checkpoint.from_the_start
        self._run = self.checkpoint.run
        self._end_offset = self.checkpoint.end_offset
        self._commit_position = self.checkpoint.commit_position
        self._queue: deque[Item] = deque()  # released, and not applied yet
        # mappings whose snapshot is to be told, before any transaction
        asking = () if silent or self._end_offset >= 0 else mappings.mappings
        self._to_ask = [number for number, one in enumerate(asking) if one.on_snapshot]
        self._before: dict[InputPartition, int] = {}  # where reading stood before the latest records
        self._held: dict[InputPartition, int] | None = None  # where to start again while it is being told
        self._records: list[OutboundRecord] | SpooledRecords = []
        self._counts = Counts()

    def _make_assemble(
        self, connector: Connector, tables: Mapping[str, int], markers: int, until: int | None
    ) -> Assemble:
        assemble = Assemble(
            connector,
            tables,
            self.partitions,
            markers,
            source=self.source,
            released=self._released,
            snapshot_position=self.checkpoint.snapshot_position,
            conceded=decisions(self._state.metas(RELEASE), RELEASE),
        )
        assemble.domain = self.checkpoint.domain
        assemble.run = self.checkpoint.run
        assemble.cut_until = self.checkpoint.cut_until
        assemble.until = until
        return assemble

    def _make_collapse(self, mappings: MappingSet, connector: Connector) -> Collapse:
        tables = self._decode.tables
        stepped = frozenset(
            tables[m.tables[0].table].number for m in mappings.mappings if any(rule.looks_at_steps for rule in m.events)
        )
        fold = None
        if _applies_cascades(mappings, connector):
            fold = partial(CascadingFold, Cascades(mappings.cascades, tables, self._aggregate.indexes))
            self._decode.keeps_before = True
        return Collapse(stepped, self._aggregate.appended, fold)

    def _takes_parts(self, mappings: MappingSet, connector: Connector) -> bool:
        """Whether nothing looks at a transaction as a whole, so that it need not be in memory."""
        return not _applies_cascades(mappings, connector) and self._truncate is None and self._windows is None

    def _make_windows(self, mappings: MappingSet) -> Windows | None:
        """None where no mapping has any, and none was left open by one that had."""
        state = self._state
        if not any(one.window is not None for one in mappings.mappings) and not state.metas(OpenWindow.PREFIX):
            return None
        coarse = self.source.connector in BINLOG
        for one in mappings.mappings:
            if coarse and one.window is not None and one.window.quiet < LEAST_QUIET_MS:
                text = (
                    f"commit times of {self.source.connector} are whole seconds: {one.aggregate} needs a longer quiet"
                )
                raise MappingInvalid([Diagnostic("M004", text, one.file, hint="quiet: 2s or more")])
        layouts = [mappings.layouts[name] for name in self._table_names]
        return Windows(self._aggregate, mappings.mappings, layouts, self.partitions, state)

    # -- in ----------------------------------------------------------------------------------------------------------

    def start_at(self, offsets: Mapping[InputPartition, int], ends: Mapping[InputPartition, int]) -> None:
        """Where reading starts, and where the partitions end now.

        A first start behind offset 0 means that retention took something, seeds or rows of transactions whose END is
        there: what ended before now only fills the state.
        """
        if not self.checkpoint.offsets:
            self._from_the_start = not any(offsets.values())
            if not self._from_the_start:
                self._assemble.cut_until = ends[self.markers]

    def inputs(self) -> dict[InputPartition, int]:
        """Where reading goes on: at the checkpoint, or where an accepted history begins that lies before it."""
        known = self.checkpoint.inputs()
        starts = self._histories.starts_after(max(history_of(self._commit_position), 0)) if known else None
        if starts is not None:
            known |= {
                one: min(known.get(one, start), start) for one, start in zip(self.partitions, starts, strict=True)
            }
        return known

    def receive(self, records: Sequence[InboundRecord], positions: Mapping[InputPartition, int]) -> None:
        """Take records, each partition's in offset order; ``positions``: how far each partition was read by now.

        Raises Undecodable (a key or a marker that cannot be read), HistoryWentBack, TransactionIncomplete (single log),
        Untranslatable (policy ``stop``, or too many failures). After an error the pipeline is of no more use: what it
        had not given to ``take`` is dropped with it.
        """
        self._remember_place()
        runs = [(number, self._decode.records(run, number)) for number, run in self._by_partition(records)]
        self._lap("decode")
        for number, decoded in runs:
            if self._histories.count:
                self._histories.place(decoded, number)
            self._assemble.add(decoded, number)
        numbers = self._numbers
        self._assemble.read_to({numbers[p]: offset for p, offset in positions.items() if p in numbers})
        self._proceed()

    def _by_partition(self, records: Sequence[InboundRecord]) -> list[tuple[int, list[InboundRecord]]]:
        runs: list[tuple[int, list[InboundRecord]]] = []
        topic, partition = "", -1
        run: list[InboundRecord] = []
        for record in records:
            if record.partition() != partition or record.topic() != topic:
                topic, partition, run = record.topic(), record.partition(), []
                runs.append((self._numbers[InputPartition(topic, partition)], run))
            run.append(record)
        return runs

    @property
    def wants_ends(self) -> bool:
        """Whether ``ends_are`` must be told where the partitions end now, before more can be released."""
        return self._assemble.wants_ends

    def ends_are(self, ends: Mapping[InputPartition, int]) -> None:
        """The partitions' ends, captured after everything received so far."""
        self._remember_place()
        self._assemble.ends_are({self._numbers[p]: end for p, end in ends.items() if p in self._numbers})
        self._proceed()

    def _remember_place(self) -> None:
        if self._to_ask and self._held is None:
            self._before = self._resume()

    def _proceed(self) -> None:
        self._queue.extend(self._assemble.release())
        self._lap("assemble")
        while self._queue:
            item = self._queue[0]
            if isinstance(item, Seeds):
                self._seeds(item)
            elif self._to_ask and not self._tell_snapshot(item):
                self._held = self._held or self._before
                return
            elif self._windows is None and self._observe is None:
                self._transaction(item)
            else:
                self._apply(item)
            self._queue.popleft()
        self._held = None

    # -- out ---------------------------------------------------------------------------------------------------------

    def take(self) -> Output:
        """All that was released since the last call, as the content of one Kafka transaction."""
        state = self._state
        if self._held is None:
            for number, block in self._released.take_changes():
                state.put_meta(_RELEASED + b"%d" % number, block)
        offsets = self._resume()
        checkpoint = Checkpoint(
            {str(partition): offset for partition, offset in offsets.items()},
            self._end_offset,
            self._commit_position,
            self._event_time_ms,
            incarnation_of(self._commit_position),
            self._mappings_digest,
            self._assemble.snapshot_position,
            self._from_the_start,
            self._assemble.domain,
            self._run,
            self._assemble.cut_until,
        )
        state.put_meta(CHECKPOINT, checkpoint.encode())
        self.checkpoint = checkpoint
        counts, self._counts = self._counts, Counts()
        counts.duplicates, self._assemble.duplicates = self._assemble.duplicates, 0
        counts.truncated, self._collapse.truncated = self._collapse.truncated, []
        counts.released_short, self._assemble.released_short = self._assemble.released_short, []
        counts.open_windows = self.open_windows
        counts.incomplete, self._units.incomplete = self._units.incomplete, 0
        counts.dead_letters, self._units.dead_letters = self._units.dead_letters, {}
        counts.truncated += self._assemble.truncated
        self._assemble.truncated = []
        self._seeding.is_new = False
        counts.seed_differences, self._seeding.differences = self._seeding.differences, 0
        records, self._records = self._records, []
        return Output(records, state.take_changes(), offsets, counts, own(self._commit_position))

    def _resume(self) -> dict[InputPartition, int]:
        if self._held is not None:
            return self._held
        resume = self._assemble.resume_offsets()
        return {self.partitions[number]: offset for number, offset in sorted(resume.items())}

    def resume_offsets(self) -> dict[str, int]:
        """Where a successor would start to read, as a checkpoint says it."""
        return {str(partition): offset for partition, offset in self._resume().items()}

    @property
    def pending(self) -> int:
        """How much ``take`` would give: row changes and events since the last call."""
        counts = self._counts
        return counts.row_changes + counts.seeds + counts.transactions + counts.found + self._seeding.is_new

    @property
    def is_held(self) -> bool:
        """Whether ``receive`` has more to do although nothing new came: the snapshot is being told, in parts."""
        return self._held is not None

    @property
    def open_windows(self) -> int:
        return 0 if self._windows is None else len(self._windows)

    def is_short_of(self, end: int) -> bool:
        """Whether a transaction whose END lies up to this offset waits to be released."""
        return self._assemble.is_short_of(end)

    def go_on(self, until: int | None) -> None:
        """Release up to another END from here on; None: whatever comes."""
        self._assemble.until = until

    @property
    def mappings_changed(self) -> bool:
        """Whether the last checkpoint was written by other mapping files."""
        return self.checkpoint.mappings != self._mappings_digest

    def unseeded(self) -> list[str]:
        """Tables whose rows are not all known: their aggregates fire nothing unless they were created since."""
        return [name for number, name in enumerate(self._table_names) if number not in self._seeding.seeded]

    def waiting(self) -> Waiting | None:
        """What the next transaction misses, if it waits for rows."""
        return self._assemble.waiting()

    def incomplete(self, waiting: Waiting) -> TransactionIncomplete:
        """The error for a transaction whose rows do not come."""
        return waiting.error(self.markers)

    def oldest_open_ms(self) -> int | None:
        return self._assemble.oldest_open_ms()

    @property
    def read_ahead(self) -> int:
        """Rows that were read and not taken for a transaction yet."""
        return sum(self._assemble.backlog().values())

    def crowded(self, limit: int) -> tuple[set[InputPartition], set[InputPartition]]:
        """Partitions read too far ahead (all together hold more than ``limit`` rows), and those that may go on."""
        pause, resume = self._assemble.crowded(limit)
        return {self.partitions[number] for number in pause}, {self.partitions[number] for number in resume}

    # -- seeds ---------------------------------------------------------------------------------------------------------

    def _seeds(self, seeds: Seeds) -> None:
        seeding, streaming = self._seeding, self._end_offset >= 0
        if self._seen.missing:
            self._seen.see(seeds.rows)
        for seed in seeds.rows:
            number = seed.table.number
            if number in self._aggregate.appended:
                continue
            if number < 0:
                seeding.signalled(seed)
                continue
            net = seeding.apply(seed, self._run, streaming=streaming)
            if net is not None:
                start = len(self._records)
                unit, touched = self._publish_difference(net, seed.position)
                if self._observe is not None:
                    self._observe(Observed(unit, [net], touched, self._records_since(start), difference=True))
            if self._from_the_start or streaming:
                seeding.ended(seed, self._run, streaming=streaming)
        self._counts.seeds += len(seeds.rows)
        self._lap("aggregate")

    def _publish_difference(self, net: NetChange, position: int) -> tuple[SourceTransaction, list[Touched]]:
        """What a snapshot shows that was missed is a unit of its own, at the snapshot's place and under its row's name."""
        unit = SourceTransaction("snapshot", position, [], self._event_time_ms, self._end_offset, [])
        part = f"/{self._table_names[net.table]}/{hash_of(net.row_key)}"
        told = Told(position, self._event_time_ms, self._event_time_ms, part)
        windowed: list[Affected] = []
        touched = self._aggregate.transaction([net], position, windowed)
        for mine in windowed:  # a window waits for changes, and this is none: nobody knows when it happened
            touched += [self._aggregate.unit(mine.mapping, *root, changes) for root, changes in mine.roots.items()]
        for one in touched:
            self._publish(self._events(one, unit, told), told)
        return unit, touched

    def _snapshot_done(self) -> None:
        """Streaming begins when the initial snapshot is whole: then a table without seeds was empty."""
        if self._end_offset < 0 and (self._assemble.snapshot_position or -1) >= 0 and self._from_the_start:
            self._seeding.mark(range(len(self._table_names)))

    def _tell_snapshot(self, first: SourceTransaction) -> bool:
        """Ask ``trigger: snapshot`` events of what the snapshot found; False while there is more for the next Kafka transaction.

        ``first``: the transaction that follows it. The rows are read from the store, so they must be committed first.
        """
        self._snapshot_done()
        while self._to_ask:
            number = self._to_ask[0]
            room = self.source.found_at_once - self._counts.found
            if self._counts.seeds or room <= 0:
                return False
            if self._aggregate.is_seeded(number) and self._tell_some(number, room, first):
                return False
            self._to_ask.pop(0)
        return True

    def _tell_some(self, number: int, room: int, first: SourceTransaction) -> bool:
        """Up to ``room`` aggregates of one mapping; True if there may be more."""
        state, name = self._state, _FOUND + self._aggregate.name(number).encode()
        rows = state.rows_after(self._aggregate.root_table(number), state.meta(name) or b"", room)
        position = self._assemble.snapshot_position or 0
        snapshot = SourceTransaction("snapshot", position, [], first.ts_ms, first.offset, [])
        told = Told(position, max(self._event_time_ms, first.ts_ms), first.ts_ms, snapshot=True)
        events: list[CanonicalEvent] = []
        touched = [self._aggregate.found(number, stored.row) for _, stored in rows]
        start = len(self._records)
        for one in touched:
            events.extend(self._units.events(one, snapshot, told))
        if rows:
            state.put_meta(name, rows[-1][0])
        self._counts.found += len(rows)
        self._publish(events, told)
        if self._observe is not None:
            self._observe(Observed(snapshot, [], touched, self._records_since(start), snapshot=True))
        return len(rows) == room

    # -- transactions --------------------------------------------------------------------------------------------------

    def _apply(self, transaction: SourceTransaction) -> None:
        """A transaction, and the windows that are due before it, or finished with it."""
        if self._windows is not None:
            self._close(self._windows.due(max(self._event_time_ms, transaction.ts_ms)))
        start = len(self._records)
        net, touched = self._transaction(transaction)
        if self._observe is not None:
            windows = [] if self._windows is None else self._windows.latest(transaction.position)
            self._observe(Observed(transaction, net, touched, self._records_since(start), windows))
        if self._windows is not None:
            self._close(self._windows.finished())

    def _close(self, closed: Iterable[tuple[OpenWindow, Touched | None]]) -> None:
        for window, touched in closed:
            if touched is None:
                continue
            unit, start = window.as_transaction(), len(self._records)
            told = Told(unit.position, window.last.time_ms, unit.ts_ms)
            events = self._events(touched, unit, told, window)
            if events:
                self._publish(events, told)
            if self._observe is not None:
                self._observe(Observed(unit, touched.changes, [touched], self._records_since(start), window=window))
            self._lap("window")

    def _transaction(self, transaction: SourceTransaction) -> tuple[list[NetChange], list[Touched]]:
        lap = self._lap
        self._begin(transaction)
        changes = transaction.changes
        if not changes:
            return [], []
        if isinstance(changes, SpooledRows):
            self._look(changes, transaction)
            self._large(transaction, changes)
            return [], []
        if self._truncate is not None:
            changes = transaction.changes = self._truncate.before(changes, self.partitions)
        self._look(changes, transaction)
        net = self._collapse.transaction(changes, transaction.position, self._state)
        lap("collapse")
        if not net:
            return [], []
        windowed: list[Affected] = []
        touched = self._aggregate.transaction(net, transaction.position, windowed)
        lap("aggregate")
        if transaction.cut:
            self._units.incomplete += len(touched)
            return net, touched
        if windowed and self._windows is not None:
            self._windows.fold(windowed, transaction, self._event_time_ms)
            lap("window")
        told = Told(transaction.position, self._event_time_ms, transaction.ts_ms)
        events: list[CanonicalEvent] = []
        for one in touched:
            events.extend(self._events(one, transaction, told))
        lap("translate")
        if events:
            self._publish(events, told)
            lap("encode")
        return net, touched

    def _begin(self, transaction: SourceTransaction) -> None:
        """What is to be done before its rows are looked at."""
        if self._end_offset < 0:
            self._snapshot_done()
        is_new_run = transaction.run not in ("", self._run)
        for ghost in self._seeding.ghosts(is_new_run=is_new_run):
            self._publish_difference(ghost, self._commit_position)
        self._run = transaction.run or self._run
        self._event_time_ms = max(self._event_time_ms, transaction.ts_ms)
        self._end_offset = transaction.offset
        self._commit_position = transaction.position
        counts = self._counts
        counts.transactions += 1
        counts.row_changes += len(transaction.changes)
        for garbage in transaction.rejected:
            self._units.garbage(garbage)

    def _look(self, changes: Changes, transaction: SourceTransaction) -> None:
        """Before the rows are folded: are there columns that came or went?"""
        if self._seen.missing:
            self._seen.see(changes)
        if self._decode.has_sparse:
            self._seen.check(changes)
        self._collapse.created = 0 if transaction.cut else self._state.layout

    def _large(self, transaction: SourceTransaction, changes: SpooledRows) -> None:
        """The same steps, with everything that grows with the transaction in temporary storage."""
        if self._new_spool is None:
            raise TypeError("a spooled transaction without a spool")
        if not isinstance(self._records, SpooledRecords):
            self._records = SpooledRecords(self._new_spool(), self._records)
        nets = SpooledNets(self._new_spool())
        self._collapse.fold(changes, transaction.position, self._state, nets, nets, changes.rekeying())
        self._lap("collapse")
        told = Told(transaction.position, self._event_time_ms, transaction.ts_ms)
        for touched in self._aggregate.large(nets, transaction.position, self._new_spool):
            if transaction.cut:
                self._units.incomplete += 1
                continue
            events = self._events(touched, transaction, told)
            if events:
                self._publish(events, told)
        self._lap("aggregate")

    def _records_since(self, start: int) -> list[OutboundRecord]:
        return list(islice(self._records, start, None))

    def _events(
        self, touched: Touched, transaction: SourceTransaction, told: Told, window: OpenWindow | None = None
    ) -> list[CanonicalEvent]:
        return [] if self._silent else self._units.events(touched, transaction, told, window)

    def _emit(self, record: OutboundRecord) -> None:
        self._records.append(record)

    def _publish(self, events: list[CanonicalEvent], told: Told) -> None:
        self._records.extend(self._encode.unit(events, told))
        counts = self._counts.events
        for event in events:
            counts[event.rule.type] = counts.get(event.rule.type, 0) + 1


def _applies_cascades(mappings: MappingSet, connector: Connector) -> bool:
    return bool(mappings.cascades) and not connector.logs_cascades


def _load_released(state: State, limit: int) -> Released:
    released = Released(limit)
    released.load({int(name[len(_RELEASED) :]): value for name, value in state.metas(_RELEASED)})
    return released
