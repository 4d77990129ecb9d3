"""The loop: own a source, restore its state, then read → core → one Kafka transaction → local store, until told to stop.

There is one way to recover from everything: drop the session (reader, producer, what is in memory), own the source
again, restore from the changelog, and go on from the checkpoint. A crash, a take-over and an aborted Kafka transaction
are the same thing.

The order that makes it exactly once
  1. own the source (group membership of its transaction topic)
  2. ``init_transactions``: abort the predecessor's open Kafka transaction, fence it
  3. restore the state to the changelog's end; the checkpoint in it says where to read on
  4. read, and let the core make events, changelog and checkpoint of whole source transactions
  5. publish all of it and the group offsets in one Kafka transaction
  6. only then write the local store
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from weakref import WeakSet

import msgspec

from bridge.core.oversize import decisions
from bridge.core.pipeline import Pipeline
from bridge.core.spool import Spool, Storage
from bridge.errors import Fenced, RecordTooLarge, Retriable, StateLost
from bridge.model import (
    ChangelogRecord,
    Clock,
    InputPartition,
    Kafka,
    MappingSet,
    Membership,
    Publisher,
    Reader,
    SourceSettings,
)
from bridge.runtime.crash import crash_point
from bridge.runtime.decide import decide
from bridge.runtime.evolve import Evolve
from bridge.runtime.hidden import Hidden
from bridge.runtime.report import Report
from bridge.runtime.restore import Restore
from bridge.state.rows import RowState
from bridge.state.store import Store


class Limits(msgspec.Struct, frozen=True):
    """The named limits of the loop; the config documents them. Seconds and counts."""

    read_records_max: int = 10_000
    commit_rows: int = 20_000
    commit_seconds: float = 0.1
    idle_commit_seconds: float = 5.0
    refresh_offsets_seconds: float = 1800.0
    read_ahead_rows_max: int = 200_000
    incomplete_after_seconds: float = 60.0
    state_cache_rows: int = 200_000
    back_off_seconds_max: float = 5.0


class _Short(msgspec.Struct):
    """The transaction that waits for rows: ``since`` when nothing more was to be read before ``ends``."""

    position: int
    since: float
    ends: dict[InputPartition, int] | None = None

    def is_read(self, positions: dict[InputPartition, int]) -> bool:
        """Whether everything was read that was there when the ends were asked for."""
        return all(positions.get(partition, 0) >= end for partition, end in (self.ends or {}).items())


_BETWEEN_POLLS = 1.0  # seconds, while a large transaction is worked on
_BEFORE_ENDS_ARE_ASKED = 1.0  # seconds; most rows come a moment after their END


class Session:
    """One spell of owning a source. Everything in it is dropped as soon as anything goes wrong."""

    def __init__(self, worker: Worker, membership: Membership) -> None:
        self._limits = worker.limits
        self._clock = worker.clock
        self._report = worker.report
        self._membership = membership
        self._now = self._clock.now
        self._lapped = self._now()
        self._spent: dict[str, float] = {}
        kafka = worker.kafka
        self._publisher: Publisher = kafka.publisher(membership)
        self._reader: Reader = kafka.reader()
        self._spools: WeakSet[Storage] = WeakSet()
        self._polled_at = self._now()
        limits = self._limits
        self._new_spool = None if worker.open_spool is None else partial(self._make_spool, worker.open_spool)
        self._state = RowState(
            worker.open_store(worker.discard),
            worker.mappings,
            limits.state_cache_rows,
            self._new_spool,
            # what is more than an ordinary Kafka transaction holds
            max(worker.source.transaction_rows_in_memory_max, limits.commit_rows + limits.read_records_max),
        )
        try:
            self._publisher.open()
            self._restore = Restore(kafka.changelog(), self._state, self._clock, worker.boot, self._report)
            self._restore.run()
            Evolve(kafka, worker.source, worker.mappings, self._state, self._save, self._alive).run()
            crash_point("after_restore")
            self._pipeline = self._new_pipeline(worker)
        except BaseException:
            self.close()
            raise
        self._paused: set[InputPartition] = set()
        self._first_read: float | None = None
        self._last_commit = self._clock.now()
        self._last_refresh = self._clock.now()
        self._short: _Short | None = None
        self._hidden = Hidden()

    def _new_pipeline(self, worker: Worker) -> Pipeline:
        reader = self._reader
        partitions = self._partitions = reader.partitions()
        pipeline = Pipeline(
            worker.source, worker.mappings, self._state, partitions, self._lap, new_spool=self._new_spool
        )
        known = pipeline.inputs()
        begins = reader.seek({partition: known.get(partition, -1) for partition in partitions})
        pipeline.start_at(begins, reader.ends())
        if known or any(begins.values()):
            self._report.unseeded(pipeline.unseeded())
        return pipeline

    def _alive(self) -> None:
        if not self._membership.poll():
            raise Fenced("the consumer group gave the source to another process")
        self._report.tick()

    def _save(self, more: Sequence[ChangelogRecord]) -> None:
        """A part of the state, which nothing is published with."""
        self._alive()
        offset = self._publisher.publish([], [*self._state.take_changes(), *more], {})
        self._state.committed(self._restore.stamp(offset))

    def knows_large(self, name: bytes) -> bool:
        """Whether the record that a named value speaks of was known to be too large when the session began."""
        return self._state.meta(name) is not None

    def close(self) -> None:
        """Let go of everything; what was not committed is gone."""
        self._reader.close()
        self._publisher.close()
        self._state.close()
        for storage in list(self._spools):
            storage.close()

    def _make_spool(self, open_spool: Callable[[], Storage]) -> Spool:
        """Room for a source transaction that is too large for memory; each part that is written shows that all is well."""
        storage = open_spool()
        self._spools.add(storage)
        return Spool(storage, written=self._keep_alive)

    def _keep_alive(self) -> None:
        """In the middle of a large transaction: the group wants to be polled, and health to be told. Raises Fenced."""
        now = self._now()
        if now - self._polled_at >= _BETWEEN_POLLS:
            self._polled_at = now
            self._alive()

    # -- the loop's body -----------------------------------------------------------------------------------------------

    def cycle(self) -> None:
        """One round: read, receive, and commit when it is due. Raises Fenced, Retriable, StateLost and what stops."""
        self._alive()
        reader, pipeline, limits = self._reader, self._pipeline, self._limits
        self._lapped = self._clock.now()
        records = reader.read(limits.read_records_max, 0.02 if pipeline.pending else 0.1)
        if records:
            if self._first_read is None:
                self._first_read = self._clock.now()
            crash_point("after_read")
        self._lap("read")
        pipeline.receive(records, reader.positions())
        while pipeline.wants_ends:
            pipeline.ends_are(self._all_ends())
        crash_point("after_receive")
        self._pace()
        if self._is_due(len(records)):
            self.commit()
        self._check_short()

    def _is_due(self, read: int) -> bool:
        """A short read: all that had come is in, so that what is whole need not wait. With more behind it, in large batches."""
        pending = self._pipeline.pending
        now = self._clock.now()
        if not pending:
            return now - self._last_commit >= self._limits.idle_commit_seconds
        limits = self._limits
        waited = now - (self._first_read or now)
        return read < limits.read_records_max or pending >= limits.commit_rows or waited >= limits.commit_seconds

    def commit(self) -> None:
        """Publish all that is whole, in one Kafka transaction; nothing, where nothing moved."""
        self._last_commit = self._clock.now()
        if not self._has_moved():
            return
        output = self._pipeline.take()
        self._lap("encode")
        offset = self._publisher.publish(output.records, output.changelog, output.offsets)
        self._lap("publish")
        crash_point("before_store")
        self._state.committed(self._restore.stamp(offset))
        now = self._clock.now()
        self._last_refresh = now
        self._report.steps(self._spent)
        self._spent = {}
        self._report.committed(output, now - (self._first_read or now))
        self._first_read = None

    def _has_moved(self) -> bool:
        pipeline = self._pipeline
        if pipeline.pending or pipeline.resume_offsets() != pipeline.checkpoint.offsets:
            return True
        if pipeline.mappings_changed:  # whoever asks shall see by which mappings the bridge works
            return True
        return self._clock.now() - self._last_refresh >= self._limits.refresh_offsets_seconds

    def _pace(self) -> None:
        """Pause partitions that are read too far ahead of the others; hysteresis keeps fetched data from being thrown away."""
        pause, resume = self._pipeline.crowded(self._limits.read_ahead_rows_max)
        pause -= self._paused
        resume &= self._paused
        if pause:
            self._reader.pause(pause)
            self._paused |= pause
        if resume:
            self._reader.resume(resume)
            self._paused -= resume

    def _check_short(self) -> None:
        """A transaction that misses rows although everything was read for ``incomplete_after`` stops the bridge."""
        waiting = self._pipeline.waiting()
        if waiting is None:
            self._short = None
            return
        now = self._clock.now()
        short = self._short
        if short is None or short.position != waiting.position:
            self._short = _Short(waiting.position, now)
        elif short.ends is None:
            if now - short.since >= _BEFORE_ENDS_ARE_ASKED:
                short.ends = self._all_ends()
        elif not short.is_read(self._reader.positions()):
            short.since = now
        elif now - short.since >= self._limits.incomplete_after_seconds:
            raise self._pipeline.incomplete(waiting)

    def _all_ends(self) -> dict[InputPartition, int]:
        """The ends of the input. Raises Retriable where a topic grew: the next session reads the new partitions too."""
        new = set(self._reader.partitions()) - set(self._partitions)
        if new:
            raise Retriable(
                f"there are new partitions: {', '.join(sorted(map(str, new)))}",
                "they are read from now on; consumers that rely on the order of a key across partitions should look twice",
            )
        return self._reader.ends()

    def report_lag(self) -> None:
        """Tell how far behind the source's end this process is."""
        ends = self._reader.ends()
        offsets = self._pipeline.checkpoint.inputs()
        behind = sum(max(0, end - offsets.get(partition, 0)) for partition, end in ends.items())
        self._report.behind(behind, self._pipeline.oldest_open_ms())
        self._report.blocked(self._hidden.look(ends, self._reader.written(), self._now()))

    def _lap(self, step: str) -> None:
        now = self._now()
        self._spent[step] = self._spent.get(step, 0.0) + now - self._lapped
        self._lapped = now


class Worker:
    """One source in one process: stands by, owns, works, and recovers. ``step`` never blocks for long.

    ``open_store(discard)`` opens the local store, empty if ``discard`` says that its files are not to be trusted.
    ``open_spool`` gives temporary storage for large transactions; without it they are held in memory.
    """

    def __init__(  # noqa: PLR0913 - the ports of one source
        self,
        source: SourceSettings,
        mappings: MappingSet,
        kafka: Kafka,
        open_store: Callable[[bool], Store],
        clock: Clock,
        *,
        limits: Limits | None = None,
        report: Report | None = None,
        boot: str = "",
        open_spool: Callable[[], Storage] | None = None,
    ) -> None:
        self.source = source
        self.mappings = mappings
        self.kafka = kafka
        self.open_store = open_store
        self.clock = clock
        self.limits = limits or Limits()
        self.report = report or Report()
        self.boot = boot
        self.open_spool = open_spool
        self._membership: Membership | None = None
        self._session: Session | None = None
        self._failures = 0
        self.discard = False
        self._last_lag = clock.now()

    def run(self, should_stop: Callable[[], bool]) -> None:
        """Work until told to stop, then finish what is whole and let go. Raises what only an operator can mend."""
        try:
            while not should_stop():
                self.step()
            self._finish()
        finally:
            self.close()

    def _finish(self) -> None:
        """Commit what is whole; what cannot be is done again after the next start."""
        try:
            if self._session is not None:
                self._session.commit()
        except (Fenced, Retriable, StateLost, RecordTooLarge) as error:
            self.report.aborted(error)

    def step(self) -> None:
        """One round of whatever is to be done now."""
        self.report.tick()
        try:
            self._round()
            self._failures = 0
        except (Fenced, Retriable, StateLost) as error:
            self.report.aborted(error)
            self._drop_session()
            self.discard = isinstance(error, StateLost)
            if isinstance(error, Retriable):
                self._drop_membership()
                self._back_off()

    def _round(self) -> None:
        if self._membership is None:
            self._membership = self.kafka.membership()
        if self._session is None:
            if not self._membership.wait(0.2):
                self.report.state("standby")
                return
            self.report.state("restoring")
            self._session = Session(self, self._membership)
            self.report.state("owner")
        try:
            self._session.cycle()
        except RecordTooLarge as error:
            self._decide(error)
            return
        if self.clock.now() - self._last_lag >= 1.0:
            self._last_lag = self.clock.now()
            self._session.report_lag()

    def _decide(self, error: RecordTooLarge) -> None:
        """Record what does not fit, so that its units become dead letters, and start over. Raises what that does not help."""
        session, membership = self._session, self._membership
        if session is None or membership is None:
            raise error
        names = {name: value for name, value in decisions(error.records).items() if not session.knows_large(name)}
        if not names:
            raise error
        self.report.aborted(error)
        self._drop_session()
        if membership.poll():  # one who owns the source no more fences nobody
            decide(self.kafka, names)

    def close(self) -> None:
        """Let go of the source and leave the group; what was not committed is dropped."""
        self._drop_session()
        self._drop_membership()
        self.report.state("stopped")

    def _drop_session(self) -> None:
        if self._session is not None:
            session, self._session = self._session, None
            session.close()

    def _drop_membership(self) -> None:
        if self._membership is not None:
            membership, self._membership = self._membership, None
            membership.close()

    def _back_off(self) -> None:
        self._failures += 1
        self.clock.sleep(min(0.1 * 2**self._failures, self.limits.back_off_seconds_max))
