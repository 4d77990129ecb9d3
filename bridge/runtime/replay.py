"""``bridge replay``: what a stretch of a source's history was translated to, published once more.

The law of this part
  - What the pipeline makes of the log from a place on is one sequence of records, the same each time. How much of it is
    published or left out is one number. It stands in a topic of the replay's own and is written in the Kafka transaction
    of the records that it counts; so what a crash leaves behind is counted off, and each record is published once.
  - Before the place everything is worked on as it was the first time (aggregates park, windows open), and nothing told.
  - The local state is a cache, as the bridge's is: written after the commit, stamped with the number that it stands at,
    and made anew from where history begins when it is lost.
  - Beside the bridge: shadow topics, a group, a transactional.id and a state of its own. ``live``: in the place of the
    bridge, as a member of its group and under its transactional.id, so that both are never at work; the bridge's
    changelog and offsets stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import ExitStack
from typing import Final, Self
from weakref import WeakSet

import msgspec

from bridge.core.pipeline import Output, Pipeline
from bridge.core.retold import Retold, Selection
from bridge.core.spool import Spool, Storage
from bridge.errors import Fatal, Fenced, Retriable, StateLost
from bridge.model import (
    ChangelogRecord,
    Clock,
    InputPartition,
    Kafka,
    MappingSet,
    Membership,
    OutboundRecord,
    Publisher,
    Reader,
    SourceSettings,
)
from bridge.runtime.as_of import Beginnings, decided
from bridge.runtime.backfill import Known
from bridge.runtime.position import NOW, Place
from bridge.runtime.roll import Roll
from bridge.runtime.stored import Checkpoints
from bridge.runtime.stretch import Asked, Told, refuse_live, stretch_of
from bridge.runtime.worker import Limits
from bridge.state.rows import RowState
from bridge.state.store import Store

_KEY: Final = b"replay"
_BETWEEN_POLLS: Final = 1.0  # seconds, while a large transaction is worked on
_TRIES: Final = 10  # without anything published in between
_WAIT_SECONDS: Final = 0.2
_TELL_AFTER: Final = 25  # waits: joining a group takes a moment
_SLICES: Final = 4  # Kafka transactions per second, where there is a rate
FORWARD: Final = "rolling forward"
PUBLISHING: Final = "publishing"


class Stamp(msgspec.Struct, frozen=True):
    """What the local state belongs to. ``count``: where it stands in the sequence; None before that begins."""

    topic: str
    asked: str
    boot: str
    shape: str
    count: int | None = None


class Viewer:
    """Sees nothing: the base for those that show what a replay does."""

    def say(self, text: str) -> None:
        """One line for the operator."""

    def progress(self, phase: str, done: int, total: int) -> None:
        """``phase``: FORWARD or PUBLISHING; counted in offsets of the transaction topic."""


class Ports(msgspec.Struct, frozen=True):
    """``kafka``: the replay's own; ``live``: the source's, whose changelog is read. ``locate``: finds a position.

    ``compacted``: topics of events that are.
    """

    kafka: Kafka
    live: Kafka
    open_store: Callable[[bool], Store]
    open_spool: Callable[[], Storage]
    checkpoints: Checkpoints
    locate: Callable[[str], Place]
    clock: Clock
    boot: str
    limits: Limits = Limits()
    compacted: tuple[str, ...] = ()


class Replay:
    """One replay in one process. ``rate``: events per second at most; None: as fast as it goes."""

    def __init__(
        self,
        asked: Asked,
        ports: Ports,
        source: SourceSettings,
        mappings: MappingSet,
        rate: float | None = None,
        viewer: Viewer | None = None,
    ) -> None:
        self.asked = asked
        self.ports = ports
        # what snapshots showed, and too large a share of failures, are no business of a second time
        self.source = msgspec.structs.replace(source, snapshot_changes="report", max_share=1.0)
        self.mappings = asked.wanted(mappings)
        self.digest = asked.digest(mappings)
        self.rate = rate
        self.viewer = viewer or Viewer()
        self.should_stop: Callable[[], bool] = lambda: False
        self.discard = False
        self.began = False  # by this process

    def check(self) -> None:
        """Before anything is made for it: can it be done? Raises Fatal."""
        told = self.stretch(Known(self.ports.live, self.mappings))
        reader = self.ports.kafka.reader()
        try:
            starts = reader.seek(dict.fromkeys(reader.partitions(), -1))
        finally:
            reader.close()
        Beginnings(self.ports.checkpoints, self.ports.live.changelog().identity(), starts).require(told.since)

    def stretch(self, known: Known) -> Told:
        """What is asked for as offsets of ENDs. Raises Fatal."""
        found = stretch_of(self.asked, self.ports.locate, known.checkpoint)
        if self.asked.live:
            refuse_live(self.asked, found, known.checkpoint, self.mappings.digest, self.ports.compacted)
        return Told(self.digest, found.since, found.until)

    def run(self, should_stop: Callable[[], bool]) -> Told:
        """Until all is published, or until told to stop: then it is not ``done``. Raises Fatal, Fenced, what the core raises."""
        self.should_stop = should_stop
        failures, best = 0, -1
        while True:
            with Attempt(self) as attempt:
                try:
                    attempt.run()
                except _Stopped:
                    return attempt.told
                except (Retriable, StateLost) as error:
                    failures = 1 if attempt.told.count > best else failures + 1
                    if failures >= _TRIES:
                        raise
                    best = max(best, attempt.told.count)
                    self.discard = isinstance(error, StateLost)
                    self.viewer.say(f"{error.code}: {error.message}; trying again")
                else:
                    return attempt.told
            self.ports.clock.sleep(min(0.1 * 2**failures, self.ports.limits.back_off_seconds_max))


class _Stopped(Exception):
    """An operator wants a pause."""


class Attempt:
    """One way from taking ownership to the end, a pause or a failure."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._ports = replay.ports
        self.told = Told(replay.digest, -1, -1)
        self._count = 0  # of the sequence, as the local state stands
        self._polled_at = self._due = replay.ports.clock.now()
        asked, letters = replay.asked, replay.source.dead_letter_topic
        self._retold = Retold(asked.name, letters, asked.ids, live=asked.live, reissue=asked.reissue)
        self._resources = ExitStack()
        self._storages: WeakSet[Storage] = WeakSet()
        self._membership: Membership
        self._publisher: Publisher
        self._reader: Reader
        self._state: RowState
        self._pipeline: Pipeline

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()
        for storage in list(self._storages):
            storage.close()

    def run(self) -> None:
        """Raises _Stopped, Fenced, Retriable, StateLost, Fatal, and what the core raises."""
        replay, kafka = self._replay, self._ports.kafka
        self._membership = kafka.membership()
        self._resources.callback(self._membership.close)
        self._own()
        self._publisher = kafka.publisher(self._membership)
        self._resources.callback(self._publisher.close)
        self._publisher.open()
        known = Known(self._ports.live, replay.mappings)
        self._take_up(known)
        if self.told.done:  # the last answer was lost
            return
        self._reader = kafka.reader()
        self._resources.callback(self._reader.close)
        begun = self._make_state()
        decided(known, self._state)
        partitions = self._reader.partitions()
        self._pipeline = Pipeline(
            replay.source, replay.mappings, self._state, partitions, until=-1, new_spool=self._new_spool
        )
        roll = Roll(self._reader, self._pipeline)
        if begun is None:
            place = self.told.since - 1
            roll.run(place, self._goals(place), self._keep, self._forward)
            begun = 0
        self._count = begun
        self._publish_all(roll)
        self._publish([], msgspec.structs.replace(self.told, done=True))

    # -- before it begins ----------------------------------------------------------------------------------------------

    def _own(self) -> None:
        waits = 0
        while not self._membership.wait(_WAIT_SECONDS):
            waits += 1
            if waits == _TELL_AFTER:
                self._replay.viewer.say(
                    f"waiting for source {self._replay.source.name}: stop the bridge that owns it (bridges that stand by too)"
                    if self._replay.asked.live
                    else f"waiting: another process runs the replay {self._replay.asked.name}"
                )
            if self._replay.should_stop():
                raise _Stopped

    def _take_up(self, known: Known) -> None:
        """What was told so far, or the beginning of it. Raises Fatal."""
        replay = self._replay
        changelog = self._ports.kafka.changelog()
        self._topic = changelog.identity()
        told: Told | None = None
        for records, _ in changelog.read(*changelog.bounds()):
            for key, value in records:
                if key == _KEY and value is not None:
                    told = msgspec.json.decode(value, type=Told)
        if told is not None and told.asked != replay.digest:
            raise Fatal(
                f"a replay {replay.asked.name} was begun with other arguments or other mapping files",
                "go on with those it was begun with, or give this one another --name",
                code="B552",
            )
        if told is not None and told.done and not replay.began:
            raise Fatal(
                f"the replay {replay.asked.name} is finished: {told.events:,} events of ENDs {told.since} to {told.until}",
                "delete its topics to run it again, or give this one another --name",
                code="B553",
            )
        if told is None:
            self._publish([], replay.stretch(known))
        elif replay.asked.live and replay.asked.until == NOW:
            self.told = msgspec.structs.replace(told, until=max(told.until, known.checkpoint.end_offset))
        else:
            self.told = told
        replay.began = True

    def _make_state(self) -> int | None:
        """Where the local state stands in the sequence; None: before it, or made anew."""
        replay, ports = self._replay, self._ports
        limits = ports.limits
        self._state = state = RowState(
            ports.open_store(replay.discard),
            replay.mappings,
            limits.state_cache_rows,
            self._new_spool,
            max(replay.source.transaction_rows_in_memory_max, limits.commit_rows + limits.read_records_max),
        )
        self._resources.callback(state.close)
        stamp = self._stamp_found()
        if stamp is not None:
            return stamp.count
        state.wipe()
        starts = self._reader.seek(dict.fromkeys(self._reader.partitions(), -1))
        changelog = ports.live.changelog().identity()
        begun = Beginnings(ports.checkpoints, changelog, starts).bring(state, replay.mappings, self.told.since)
        state.take_changes()
        state.committed(self._stamp(None))
        replay.viewer.say(f"rolling forward from {begun}")
        return None

    def _stamp(self, count: int | None) -> bytes:
        return msgspec.json.encode(
            Stamp(self._topic, self._replay.digest, self._ports.boot, self._state.shape(), count)
        )

    def _stamp_found(self) -> Stamp | None:
        try:
            stamp = msgspec.json.decode(self._state.stamp() or b"null", type=Stamp | None)
        except msgspec.DecodeError:
            return None
        if stamp is None:
            return None
        mine = Stamp(self._topic, self._replay.digest, self._ports.boot, self._state.shape(), stamp.count)
        return stamp if stamp == mine else None

    # -- on the way ----------------------------------------------------------------------------------------------------

    def _goals(self, place: int) -> dict[InputPartition, int]:
        return {self._pipeline.markers: place + 1}

    def _keep(self, _output: Output) -> None:
        self._state.committed(self._stamp(None))

    def _publish_all(self, roll: Roll) -> None:
        """To the end at once; with a rate in steps, each of whole source transactions, as many as the rate allows."""
        place, until, rate = self.told.since - 1, self.told.until, self._replay.rate
        place = max(place, self._pipeline.checkpoint.end_offset)
        step = until if rate is None else 2
        while True:
            place = min(place + step, until)
            before = self.told.events
            roll.run(place, self._goals(place), self._tell_part, self._publishing)
            if place >= until:
                return
            if rate is not None:
                told = self.told.events - before
                step = max(1, step // 2) if told > rate / _SLICES else min(step * 2, max(2, int(rate)))
                self._slow_down(told / rate)

    def _slow_down(self, seconds: float) -> None:
        """What was told takes so long at the rate asked for."""
        clock = self._ports.clock
        self._due = max(self._due, clock.now()) + seconds
        while (left := self._due - clock.now()) > 0:
            clock.sleep(min(left, _WAIT_SECONDS))
            self._publishing(0, 0)

    def _tell_part(self, output: Output) -> None:
        """Publish what was not told before, then keep the state. A crash in between is counted off the next time."""
        told, before = self.told, self._count
        self._count += len(output.records)
        if self._count > told.count:
            selection = Selection(output.records, max(told.count - before, 0), self._retold)
            letters = selection.letters()
            written = len(selection)
            self._publish(
                selection,
                msgspec.structs.replace(
                    told,
                    count=self._count,
                    events=told.events + written - (0 if self._replay.asked.live else letters),
                    letters=told.letters + letters,
                ),
            )
        self._state.committed(self._stamp(self._count))
        self._show()

    def _publish(self, records: Collection[OutboundRecord], told: Told) -> None:
        self._alive()
        self._publisher.publish(records, [ChangelogRecord(_KEY, msgspec.json.encode(told))], {})
        self.told = told

    def _forward(self, done: int, total: int) -> None:
        self._round()
        self._replay.viewer.progress(FORWARD, done, total)

    def _publishing(self, _done: int, _total: int) -> None:
        self._round()
        self._show()

    def _show(self) -> None:
        first = self.told.since
        done = max(0, self._pipeline.checkpoint.end_offset - first + 1)
        self._replay.viewer.progress(PUBLISHING, done, self.told.until - first + 1)

    def _round(self) -> None:
        self._alive()
        if self._replay.should_stop():
            raise _Stopped

    def _alive(self) -> None:
        self._polled_at = self._ports.clock.now()
        if not self._membership.poll():
            raise Fenced("another process took the place of this one", "the same command goes on where this one was")

    def _new_spool(self) -> Spool:
        """Room for a source transaction that is too large for memory; each part that is written shows that all is well."""
        storage = self._ports.open_spool()
        self._storages.add(storage)
        return Spool(storage, written=self._keep_alive)

    def _keep_alive(self) -> None:
        if self._ports.clock.now() - self._polled_at >= _BETWEEN_POLLS:
            self._alive()
