"""Step 2, assemble: change events and BEGIN/END of many partitions → whole source transactions, in commit order.

The law of this step
  - ENDs give the order. The transaction whose END is next takes its rows from the heads of the partitions' queues until
    the *distinct* rows of the tables that we read meet END's counts; then it is released.
  - A row at a head that is not of that transaction, and whose predecessor committed before it, belongs to a transaction
    that was released before: a repeat, dropped on sight. Every later transaction has a later predecessor.
  - An END whose commit position was released before is a repeat. Positions that go back otherwise are another history.
  - A transaction that the connector began more than once (BEGIN, no END, another BEGIN) is the union of its runs. Its END
    counts the last run alone, so it is complete when every partition was read past it and the last run is seen to be
    whole: per table its rows 1..n, the n-th being the table's last.
  - BEGIN beyond an open one that never got its END: on MariaDB that was DDL or a TRUNCATE, elsewhere it died.
  - Seeds have a place too (see seed_places). So that none is overtaken, the first transaction of all, and each that counts
    the signal table, waits until every partition was read past it.
  - A partition was *read past* a transaction when it was read to its end as captured after END, or shows a row of a later one.
  - Need more is a value: ``wants_ends`` asks for the partitions' captured ends, ``waiting()`` says what the head misses.

With one log for rows and markers (single-log mode) everything before an END in the log is all there will be: END alone
proves completeness and the counts are an assertion.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from bridge.core.connectors import Connector
from bridge.core.decode import ChangeEvent, CollectionCount, TransactionMarker
from bridge.core.history import BITS, Decisions, history_of, own, start_of
from bridge.core.large import BEYOND_ALL
from bridge.core.released import Released
from bridge.core.seed_places import SeedPlaces
from bridge.core.spool import NewSpool
from bridge.core.transaction import Item, Pending, Queue, Seeds, SourceTransaction, Waiting
from bridge.errors import HistoryWentBack
from bridge.model import InputPartition, SourceSettings


class Assemble:
    """The step. ``partitions``: the source's input partitions; ``markers``: the index of the one with BEGIN and END."""

    def __init__(
        self,
        connector: Connector,
        table_numbers: Mapping[str, int],
        partitions: Sequence[InputPartition],
        markers: int,
        *,
        source: SourceSettings,
        released: Released,
        snapshot_position: int | None = None,
        conceded: Decisions | None = None,
    ) -> None:
        self.connector = connector
        self.partitions = list(partitions)
        self.single_log = bool(source.log)
        self.duplicates = 0  # repeats dropped since the pipeline last asked
        self.released_short: list[Waiting] = []  # by decision, since the pipeline last asked
        self._source = source.name
        self._filtered = source.filtered
        self._table_numbers = table_numbers
        self._conceded = conceded or {}
        self._history = 0
        self._markers = markers
        self._signal_table = source.signal_table
        self._released = released
        self._queues = [Queue() for _ in partitions]
        self._of_table: dict[int, set[int]] = {}
        self._pending: deque[Pending] = deque()
        self._waiting: dict[int, Pending] = {}  # the same, by commit position
        self._groups: dict[str, int] = {}  # groups of the pending, counted
        self._open: TransactionMarker | None = None
        self._restarted: dict[str, int] = {}  # group → offset of its first BEGIN
        self.domain = ""  # which one the commit positions are of, once known
        self._seeds = SeedPlaces(
            connector,
            released,
            self._emit_seed,
            self._first_row,
            single_log=self.single_log,
            snapshot_position=snapshot_position,
        )
        self.truncated: list[str] = []  # tables truncated in transactions without END, since the pipeline last asked
        self._truncated: dict[int, int] = {}  # table → position of its last truncate
        self.run = ""  # the connector's, that sent the rows released last
        self.cut_until = -1  # ENDs before this offset may count rows that retention took
        self.until: int | None = None  # nothing whose END lies beyond this offset is released
        self._start_ends: Mapping[int, int] | None = None
        self._has_garbage = False
        self._out: list[Item] = []
        self.new_spool: NewSpool | None = None  # gives room for rows of a transaction beyond so many:
        self._rows_max = source.transaction_rows_in_memory_max
        self._early: dict[str, Pending] = {}  # single log: rows of transactions that were begun, too many to be queued

    # -- in ----------------------------------------------------------------------------------------------------------

    def add(self, decoded: Iterable[ChangeEvent | TransactionMarker], partition: int) -> None:
        """One partition's decoded records, in offset order. Raises HistoryWentBack, TransactionIncomplete."""
        queue = self._queues[partition]
        append = queue.rows.append
        table = None
        for item in decoded:
            if isinstance(item, ChangeEvent):
                if item.op == "r":
                    self._seeds.add(item)
                    continue
                append(item)
                if item.table is not table:
                    table = item.table
                    self._of_table.setdefault(table.number, set()).add(partition)
            else:
                self._marker(item)
                if self.single_log and not item.begin:
                    self._release()
        queue.seen = queue.seen or bool(decoded)
        if self.new_spool is not None and len(queue.rows) > self._rows_max // len(self._queues):
            self._relieve(partition)

    def read_to(self, positions: Mapping[int, int]) -> None:
        """How far each partition was read: the offset after the last visible record (partition index → offset)."""
        for partition, position in positions.items():
            self._queues[partition].position = position

    @property
    def snapshot_position(self) -> int | None:
        """Of the initial snapshot, once known."""
        return self._seeds.snapshot_position

    @property
    def wants_ends(self) -> bool:
        """Whether the next step needs the partitions' ends as they are now: call ``ends_are`` with them."""
        if self._wants_start_ends():
            return True
        return bool(self._pending) and self._pending[0].barrier and self._pending[0].ends is None

    def ends_are(self, ends: Mapping[int, int]) -> None:
        """The partitions' ends, captured after everything received so far was read."""
        if self._wants_start_ends():
            self._start_ends = dict(ends)
        if self._pending:
            head = self._pending[0]
            if head.barrier and head.ends is None:
                head.ends = dict(ends)

    def _wants_start_ends(self) -> bool:
        unknown = self._start_ends is None and self._seeds.snapshot_position is None
        return unknown and not self._seeds.is_begun and bool(self._seeds)

    # -- out ---------------------------------------------------------------------------------------------------------

    def release(self) -> list[Item]:
        """What is whole by now, in order."""
        if not self.single_log:
            self._initial_seeds()
            self._release()
        out, self._out = self._out, []
        return out

    def waiting(self) -> Waiting | None:
        """What the next transaction misses, if it waits for rows."""
        return self._missing(self._pending[0]) if self._pending else None

    def _missing(self, head: Pending) -> Waiting:
        names = {number: name for name, number in self._table_numbers.items()}
        missing = {
            names[number]: (head.have.get(number, 0), count)
            for number, count in head.counts.items()
            if head.restarted or head.have.get(number, 0) < count
        }
        return Waiting(head.group, own(head.position), head.offset, missing, self._source)

    def is_short_of(self, end: int) -> bool:
        """Whether a transaction whose END lies up to this offset waits to be released."""
        return bool(self._pending) and self._pending[0].offset <= end

    def resume_offsets(self) -> dict[int, int]:
        """Per partition the first record that is still needed: where a successor starts to read."""
        offsets = {}
        for partition, queue in enumerate(self._queues):
            self._drop_repeats(queue)
            offsets[partition] = queue.rows[0].offset if queue.rows else queue.position
            for garbage in queue.garbage:
                offsets[partition] = min(offsets[partition], garbage.offset)
        for seed in self._seeds:
            offsets[seed.partition] = min(offsets[seed.partition], seed.offset)
        for pending in self._pending:
            for partition, offset in pending.first_taken.items():
                offsets[partition] = min(offsets[partition], offset)
        offsets[self._markers] = min([offsets[self._markers], *self._marker_offsets()])
        return offsets

    def oldest_open_ms(self) -> int | None:
        """The time of the oldest BEGIN or END that is not released, in ms since the epoch."""
        times = [self._open.ts_ms or 0] if self._open is not None and self.connector.ends_all else []
        if self._pending:
            times.append(self._pending[0].ts_ms)
        return min(times) if times else None

    def backlog(self) -> dict[int, int]:
        """Rows (for the transaction topic: transactions) that are read ahead, per partition."""
        if self.single_log:
            return {}
        sizes = {partition: len(queue.rows) for partition, queue in enumerate(self._queues)}
        sizes[self._markers] = len(self._pending)
        return sizes

    def crowded(self, limit: int) -> tuple[set[int], set[int]]:
        """Partitions read too far ahead of the others, and those that may go on.

        Where all together hold more than ``limit`` rows, those pause that hold more than their share, until half of it is
        left; the others add at most their shares. A partition that something waits for never pauses, so that there is
        always a way on.
        """
        sizes = self.backlog()
        total, needed = sum(sizes.values()), self.needed()
        share = limit // max(len(sizes), 1)
        pause, resume = set(), set()
        for number, size in sizes.items():
            if number in needed or total < limit // 2 or size < share // 2:
                resume.add(number)
            elif total > limit and size > share:
                pause.add(number)
        return pause, resume

    def needed(self) -> set[int]:
        """The partitions that must not be paused: nothing is queued there, or something waits until they are read past."""
        everything = range(len(self._queues))
        needed = {partition for partition in everything if not self._queues[partition].rows}
        needed.discard(self._markers)
        if len(self._pending) <= 1:
            needed.add(self._markers)
        if self._pending and self._pending[0].barrier:
            head = self._pending[0]
            everywhere = head.restarted or head.conceded
            needed.update(p for p in self._to_pass(head) if everywhere or not self._is_past(head, p))
        return needed

    # -- markers -----------------------------------------------------------------------------------------------------

    def _marker(self, marker: TransactionMarker) -> None:
        if marker.position >> BITS != self._history:  # what the one before left open never ends
            self._history = history_of(marker.position)
            self._open = None
            self._early.clear()
            self._restarted.clear()
        if self.connector.domain is not None:
            self._same_domain(marker, self.connector.domain(marker.id))
        if marker.begin:
            self._begin(marker)
            return
        if self._open is not None and self._open.group == marker.group:
            self._open = None
        first_offset = self._restarted.pop(marker.group, None)
        last = self._pending[-1].position if self._pending else self._released.last
        if marker.position <= last:
            if not self._is_known_end(marker):
                raise self._went_back(marker, last)
            self.duplicates += 1
            self._early.pop(marker.group, None)
            return
        counts, signals = self._counts(marker.data_collections or [])
        restarted = first_offset is not None
        first_end = last >> BITS != self._history
        ends = self._conceded.get(marker.offset)
        pending = Pending(
            marker.group,
            marker.position,
            counts,
            marker.ts_ms or 0,
            marker.offset,
            marker.offset if first_offset is None else first_offset,
            restarted,
            barrier=not self.single_log and (restarted or first_end or signals or ends is not None),
            ends=None if ends is None else {n: ends.get(str(one), 0) for n, one in enumerate(self.partitions)},
            conceded=ends is not None,
        )
        early = self._early.pop(marker.group, None)
        if early is not None:
            pending.go_on_from(early)
        self._pending.append(pending)
        self._waiting[marker.position] = pending
        self._groups[marker.group] = self._groups.get(marker.group, 0) + 1

    def _counts(self, collections: list[CollectionCount]) -> tuple[dict[int, int], bool]:
        numbers = self._table_numbers
        counts = {}
        signals = False
        for collection in collections:
            name = collection.data_collection
            number = numbers.get(name)
            if number is not None and name not in self._filtered:
                counts[number] = collection.event_count
            if name == self._signal_table or name.endswith("." + self._signal_table):
                signals = True
        return counts, signals

    def _begin(self, marker: TransactionMarker) -> None:
        before = self._open
        if before is not None:
            if self.connector.ends_all or marker.position <= before.position:
                # the connector died inside the open transaction and will begin it again
                self._restarted.setdefault(before.group, before.offset)
            else:
                self._restarted.pop(before.group, None)
                early = self._early.pop(before.group, None)
                for change in () if early is None else early.changes():
                    self._dropped(change)
        self._open = marker

    def _same_domain(self, marker: TransactionMarker, domain: str) -> None:
        if domain != self.domain:
            if self.domain:
                topic = self.partitions[self._markers]
                raise HistoryWentBack(
                    f"{topic}@{marker.offset}: transaction {marker.id} is of {domain}, those before it of {self.domain}: "
                    "commits of several domains have no common order",
                    "the bridge reads one; let the connector read a server that writes one "
                    "(gtid_domain_id is set by a session, or by replication from several sources)",
                    code="B305",
                )
            self.domain = domain

    def _is_known_end(self, marker: TransactionMarker) -> bool:
        """A repeat; of a transaction that still waits for its rows, it may be the one that says when they are there."""
        if marker.position in self._released:
            return True
        pending = self._waiting.get(marker.position)
        if pending is None:
            return False
        pending.later_counts.append(self._counts(marker.data_collections or [])[0])
        if not pending.conceded:
            pending.ends = None
        return True

    def _went_back(self, marker: TransactionMarker, last: int) -> HistoryWentBack:
        topic = self.partitions[self._markers]
        accept = (
            "let the connector snapshot again, and then, to go on with the new history under ids of its own: "
            f"bridge accept --config FILE --source {self._source} --position {marker.offset}"
            if self.connector.one_scale
            else "give this source a new name (its events then have ids of their own) and let the connector snapshot again"
        )
        return HistoryWentBack(
            f"{topic}@{marker.offset}: END of transaction {marker.group} is at commit position {own(marker.position)}, "
            f"behind {own(last)}, and was never released: the source's history is another one than before",
            f"the database was restored, its replication slot made anew, or a lagging replica took over; {accept}",
        )

    def _marker_offsets(self) -> list[int]:
        offsets = [pending.first_offset for pending in self._pending]
        offsets.extend(self._restarted.values())
        if self._open is not None:
            offsets.append(self._open.offset)
        return offsets

    # -- rows --------------------------------------------------------------------------------------------------------

    def _release(self) -> None:
        while self._pending:
            head = self._pending[0]
            if self.until is not None and head.offset > self.until:
                return
            cut = head.offset < self.cut_until
            if not self._is_complete(head) and not (cut and self._is_read(head)):
                return
            run = head.run
            if run and run != self.run and not self.single_log and not self._is_read(head):
                return  # a run may begin with a snapshot, which is to be read first
            self.run = run or self.run
            if not self._seeds.settle():
                return
            if self._seeds:
                self._seeds.before(head.position, head.last_position)
            self._pending.popleft()
            del self._waiting[head.position]
            self._groups[head.group] -= 1
            if not self._groups[head.group]:
                del self._groups[head.group]
            self._released.add(head.position)
            if head.conceded and head.is_short():
                self.released_short.append(self._missing(head))
            self._out.append(
                SourceTransaction(
                    head.group, head.position, head.changes(), head.ts_ms, head.offset, head.rejected, run, cut
                )
            )
        self._seeds.up_to(self._released.last + 1)

    def _is_complete(self, head: Pending) -> bool:
        if self.single_log:
            return self._is_complete_in_log(head)
        if head.barrier and not self._all_past(head):
            return False
        self._forget_histories_before(head)
        if head.conceded:
            return self._is_conceded(head)
        if not head.restarted:
            self._take(head)
            if head.exceeds() and not head.barrier:
                head.needs_barrier()  # END counts one run of several: the first BEGIN lies before our start
                return False
            if head.is_short() and not self._filled_with_garbage(head):
                return False
            self._reject_garbage(head)
            return True
        self._sweep(head)
        return head.last_run_is_whole()

    def _is_conceded(self, head: Pending) -> bool:
        """An operator released it with the rows that lie before the ends which the decision names, and no others."""
        if not self._reached(head.ends):
            return False
        self._sweep(head)
        self._filled_with_garbage(head)
        self._reject_garbage(head)
        return True

    def _forget_histories_before(self, head: Pending) -> None:
        """Every partition was read past the first transaction of its history: rows of an earlier one have no END any more."""
        if not self._history or not self._is_first_of_later_history(head):
            return
        start = start_of(head.position)
        for queue in self._queues:
            while queue.rows and queue.rows[0].position < start:
                queue.garbage += [row for row in (queue.rows.popleft(),) if row.op == "?"]
                self.duplicates += 1
            head.rejected += [garbage for garbage in queue.garbage if garbage.position < start]
            queue.garbage = [garbage for garbage in queue.garbage if garbage.position >= start]

    def _is_first_of_later_history(self, head: Pending) -> bool:
        start = start_of(head.position)
        return start > 0 and start_of(self._released.last) != start

    def _predecessor(self, change: ChangeEvent) -> int:
        """The commit position of the transaction before this row's."""
        before = self.connector.predecessor(change.source)
        return before + start_of(change.position) if self.connector.one_scale else before

    def _is_read(self, head: Pending) -> bool:
        """Whether every partition was read past it, so that all of it which is left is here."""
        head.needs_barrier()
        return self._all_past(head)

    def _is_complete_in_log(self, head: Pending) -> bool:
        self._forget_histories_before(head)
        if head.restarted:
            self._sweep(head)
        else:
            self._take_heads(head, self._markers)
        short = head.is_short() and not self._filled_with_garbage(head)
        if short and not head.conceded and head.offset >= self.cut_until:
            raise self._missing(head).error(self.partitions[self._markers])
        self._reject_garbage(head)
        return True

    def _take(self, head: Pending) -> None:
        """The rows at the heads; where some are missing, repeats may lie before them."""
        group, queues = head.group, self._queues
        for number in head.counts:
            for partition in self._of_table.get(number, ()):
                rows = queues[partition].rows
                if rows and rows[0].group == group:
                    self._take_heads(head, partition)
        if head.is_short():
            for number in head.counts:
                for partition in self._of_table.get(number, ()):
                    self._take_heads(head, partition)

    def _take_heads(self, head: Pending, partition: int) -> None:
        queue = self._queues[partition]
        rows = queue.rows
        if not rows:
            return
        group, position, taken, have, spooled = head.group, head.position, head.rows, head.have, head.spooled
        last = position if self.connector.one_scale else BEYOND_ALL  # a PostgreSQL xid comes again after a wrap-around
        popleft = rows.popleft
        first = rows[0].offset
        while rows:
            change = rows[0]
            if change.group == group and change.position <= last:
                number = change.table.number
                identity = (change.position, number, change.row_key, change.op)
                if identity in taken or (spooled is not None and identity in spooled):
                    self.duplicates += 1
                else:
                    taken[identity] = change
                    have[number] = have.get(number, 0) + 1
            elif change.op == "?":
                queue.garbage.append(change)
                self._has_garbage = True
            elif change.group in self._groups or self._predecessor(change) >= position:
                break
            else:
                self._dropped(change)
            popleft()
        head.first_taken.setdefault(partition, first)
        self._bound(head)

    def _bound(self, head: Pending) -> None:
        if self.new_spool is not None and len(head.rows) > self._rows_max:
            head.spill(self.new_spool)

    def _relieve(self, partition: int) -> None:
        """A queue is long: take rows for a transaction that is not complete for a while yet.

        Elsewhere a long queue only pauses its partition: what the next transaction misses lies in another one.
        """
        if self.single_log:
            if self._open is not None:
                group = self._open.group
                self._sweep(self._early.setdefault(group, Pending.early(group)))
        elif self._pending and self._pending[0].barrier:
            head = self._pending[0]
            if head.restarted or head.conceded:
                if len(self._queues[partition].rows) > self._rows_max:  # it looks at every queue
                    self._sweep(head)
            elif not self._is_first_of_later_history(head):  # rows of an earlier one lie before it
                self._take_heads(head, partition)

    def _sweep(self, head: Pending) -> None:
        """Take a restarted transaction's rows from anywhere in the queues: its runs may lie behind rows of later ones."""
        limits = head.ends if head.conceded else None
        for partition, queue in enumerate(self._queues):
            limit = None if limits is None or self.single_log else limits[partition]
            if not any(change.group == head.group for change in queue.rows):
                continue
            rows = list(queue.rows)
            queue.rows.clear()
            last = head.position if self.connector.one_scale else BEYOND_ALL
            for change in rows:
                is_of = change.group == head.group and change.position <= last
                if is_of and (limit is None or change.offset < limit):
                    head.first_taken[partition] = min(head.first_taken.get(partition, change.offset), change.offset)
                    if not head.take(change):
                        self.duplicates += 1
                else:
                    queue.rows.append(change)
            self._bound(head)

    def _filled_with_garbage(self, head: Pending) -> bool:
        """Whether undecodable records fill every missing place, once it is known that no row comes to fill it.

        Those first behind which the earliest row lies: they cannot be of a later transaction than that row.
        """
        if not self._has_garbage:
            return False
        for queue in sorted(self._queues, key=self._next_predecessor):
            for garbage in list(queue.garbage):
                if head.short_of(garbage.table.number) > 0 and self._nothing_more(head):
                    head.fill(garbage)
                    head.first_taken[garbage.partition] = min(
                        head.first_taken.get(garbage.partition, garbage.offset), garbage.offset
                    )
                    queue.garbage.remove(garbage)
        return not head.is_short()

    def _next_predecessor(self, queue: Queue) -> int:
        row = next(queue.readable(), None)
        return BEYOND_ALL if row is None else self._predecessor(row)

    def _nothing_more(self, head: Pending) -> bool:
        return self.single_log or self._is_read(head)

    def _reject_garbage(self, head: Pending) -> None:
        """Undecodable records that lie before rows of a complete transaction fill no place: foreign records, or torn repeats."""
        if not self._has_garbage:
            return
        for partition, queue in enumerate(self._queues):
            taken = head.last_offset(partition)
            head.rejected.extend(garbage for garbage in queue.garbage if garbage.offset < taken)
            queue.garbage = [garbage for garbage in queue.garbage if garbage.offset > taken]
        self._has_garbage = any(queue.garbage for queue in self._queues)

    def _drop_repeats(self, queue: Queue) -> None:
        rows = queue.rows
        last = self._released.last
        while rows and rows[0].op != "?" and rows[0].group not in self._groups:
            if self._predecessor(rows[0]) >= last or self._is_open(rows[0].group):
                return
            self._dropped(rows.popleft())

    def _dropped(self, change: ChangeEvent) -> None:
        """A repeat; but where a truncate's transaction has no END, no transaction ever takes it."""
        known = self._truncated.get(change.table.number, -1)
        if change.op != "t" or self.connector.ends_all or change.position <= known:
            self.duplicates += 1
            return
        self._truncated[change.table.number] = change.position
        self.truncated.append(change.table.name)

    def _is_open(self, group: str) -> bool:
        return group in self._restarted or (self._open is not None and self._open.group == group)

    # -- seeds -------------------------------------------------------------------------------------------------------

    def _first_row(self) -> int:
        """The earliest position of a row that waits."""
        queued = (row.position for queue in self._queues for row in islice(queue.readable(), 1))
        taken = self._pending[0].first_position() if self._pending else BEYOND_ALL
        return min((taken, *queued))

    def _initial_seeds(self) -> None:
        if self._start_ends is None or self._seeds.snapshot_position is not None or self._seeds.is_begun:
            return
        if all(queue.seen or queue.position >= self._start_ends.get(p, 0) for p, queue in enumerate(self._queues)):
            self._seeds.begin()

    def _emit_seed(self, seed: ChangeEvent) -> None:
        last = self._out[-1] if self._out else None
        if isinstance(last, Seeds):
            last.rows.append(seed)
        else:
            self._out.append(Seeds([seed]))

    # -- read past ---------------------------------------------------------------------------------------------------

    def _all_past(self, head: Pending) -> bool:
        return head.ends is not None and all(self._is_past(head, partition) for partition in self._to_pass(head))

    def _to_pass(self, head: Pending) -> list[int]:
        """What must be read past a transaction with a barrier. Among the markers, maybe millions, lie no seeds."""
        everything = range(len(self._queues))
        if head.restarted or head.conceded or head.exceeds():
            return list(everything)
        return [partition for partition in everything if partition != self._markers]

    def _is_past(self, head: Pending, partition: int) -> bool:
        queue = self._queues[partition]
        if head.ends is not None and queue.position >= head.ends.get(partition, 0):
            return True
        rows = queue.rows
        return bool(rows) and rows[-1].op != "?" and self._predecessor(rows[-1]) >= head.position

    def _reached(self, ends: Mapping[int, int] | None) -> bool:
        return ends is not None and all(self._queues[partition].position >= end for partition, end in ends.items())
