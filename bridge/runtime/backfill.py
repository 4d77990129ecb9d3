"""``bridge backfill``: completes the state of a bridge that goes on meanwhile. How it is handed over: ``bridge.runtime.evolve``.

From the topics: read from their beginning to where the bridge stands, silently, under the columns of the mappings as they
are now, and staged in its changelog under a transactional.id of its own, so that nothing is fenced. Started again, it goes
on where it was; run again later, it catches up. The next `run` with these mappings takes it over.

By a signal: the decision is put into the changelog; when a bridge with these mappings has taken it up, the signal is written
into the source's database, and Debezium sends the tables' rows, then the signal table's. When the bridge read its own
signal there, it has them all, and the decision leaves the changelog: this is what the command waits for.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence

import msgspec

from bridge.core.checkpoint import Checkpoint
from bridge.core.pipeline import CHECKPOINT, Output
from bridge.core.seed import FILL, Fill, seeded_of
from bridge.errors import Fatal
from bridge.model import ChangelogRecord, Clock, Kafka, MappingSet, Reader, SourceSettings
from bridge.runtime.decide import decide
from bridge.runtime.evolve import WHOLE, Forward, Staged, lacking
from bridge.state.rows import RowState, meta_key
from bridge.state.store import MemoryStore

_PART = 10_000
_PASSES = 2  # the second catches up with what the bridge did during the first
_LOOK_SECONDS = 0.5
_INCREMENTAL = b'"snapshot":"incremental"'
Tell = Callable[[int, int], None]


class Known:
    """The named values of a running or stopped bridge's state, read from its changelog and followed there."""

    def __init__(self, kafka: Kafka, mappings: MappingSet) -> None:
        self._changelog = kafka.changelog()
        self._mappings = mappings
        self.state = RowState(MemoryStore(), mappings)
        self._offset = self._changelog.bounds()[0]
        self.look()

    def look(self) -> None:
        """Read what was added since."""
        end = self._changelog.bounds()[1]
        for records, after in self._changelog.read(self._offset, end):
            self.state.restore([record for record in records if record.key.startswith(meta_key(b""))], b"")
            self._offset = after

    @property
    def checkpoint(self) -> Checkpoint:
        return Checkpoint.decode(self.state.meta(CHECKPOINT))

    @property
    def fill(self) -> Fill | None:
        return Fill.decode(self.state.meta(FILL))

    def lacks(self) -> dict[str, list[str]]:
        """Columns that the mappings use and the state does not hold, by table."""
        return lacking(self.state, self._mappings)

    def unseeded(self) -> list[str]:
        """Tables that are not known to be whole."""
        appended = {use.table for mapping in self._mappings.mappings for use in mapping.tables if use.append}
        return sorted({*self._mappings.layouts} - {*seeded_of(self.state)} - appended)


class Done(msgspec.Struct):
    """What a backfill from the topics staged. ``seeded``: those of the tables whose rows are all there."""

    tables: list[str]
    seeded: list[str]
    from_the_start: bool


def from_topics(kafka: Kafka, source: SourceSettings, mappings: MappingSet, tell: Tell) -> Done | None:
    """None: the state lacks nothing. ``kafka``: with a transactional.id of the backfill's own. Raises Fatal, Retriable."""
    known = Known(kafka, mappings)
    tables = known.lacks()
    if not tables or not known.checkpoint.offsets:
        return None
    staged = Staged(mappings, tables)
    publisher = kafka.publisher(None)
    try:
        publisher.open()
        remains = Staged.remains(kafka.changelog(), staged.stamp)
        for start in range(0, len(remains), _PART):
            publisher.publish([], remains[start : start + _PART], {})
        with staged.state(kafka.changelog()) as rows:

            def save(output: Output) -> None:
                publisher.publish([], staged.records(output.changelog), {})
                rows.committed(b"")

            for _ in range(_PASSES):
                known.look()
                Forward(kafka, source, staged.rows, rows, known.checkpoint).run(save, tell)
            publisher.publish([], staged.records([ChangelogRecord(meta_key(WHOLE), b"1")]), {})
            checkpoint = Checkpoint.decode(rows.meta(CHECKPOINT))
            seeded = [table for table in seeded_of(rows) if table in tables]
            return Done(sorted(tables), seeded, checkpoint.from_the_start)
    finally:
        publisher.close()


class Signal:
    """A backfill by Debezium's incremental snapshot. ``owner``: the ports of the bridge's own name, for the decision."""

    def __init__(self, owner: Kafka, source: SourceSettings, mappings: MappingSet, clock: Clock) -> None:
        self._owner = owner
        self._source = source
        self._clock = clock
        self._known = Known(owner, mappings)
        self.id = f"bridge-{uuid.uuid4().hex}"
        name = source.signal_table
        self.table = name if "." in name else f"public.{name}"

    def tables(self, named: Sequence[str]) -> list[str]:
        """Those that are to be read anew: the named ones, else what the state lacks and what is not known to be whole."""
        return sorted(named or {*self._known.lacks(), *self._known.unseeded()})

    def decide(self, tables: Iterable[str]) -> None:
        """Put the decision into the changelog; one that waits already is replaced."""
        fill = Fill(self.id, self.table, sorted(tables))
        decide(self._owner, {FILL: msgspec.json.encode(fill)})

    def wait_for_owner(self) -> None:
        """Until a bridge with these mappings has taken the decision up."""
        while True:
            self._known.look()
            fill = self._known.fill
            if fill is not None and fill.id != self.id:
                raise Fatal("another backfill was started meanwhile", "wait for it, then look again", code="B507")
            if fill is not None and fill.position is not None and not self._known.lacks():
                return
            self._clock.sleep(_LOOK_SECONDS)

    def data(self, tables: Iterable[str]) -> str:
        """What the signal says: its own table is read last, so that its row shows that the others are done."""
        collections = [*sorted(tables), self.table]
        return msgspec.json.encode({"data-collections": collections, "type": "incremental"}).decode()

    def follow(self, reader: Reader, send: Callable[[], None], total: int, tell: Tell, seconds: float) -> None:
        """``send`` the signal, and wait until the bridge has all rows. Raises Fatal where none comes within ``seconds``."""
        reader.seek(dict.fromkeys(reader.partitions(), -1))
        reader.seek(reader.ends())
        send()
        sent, count = self._clock.now(), 0
        while True:
            records = reader.read(_PART, _LOOK_SECONDS)
            count += sum(_INCREMENTAL in (record.value() or b"") for record in records)
            tell(min(count, total), total)
            self._known.look()
            fill = self._known.fill
            if fill is None or fill.id != self.id:
                return
            if not count and self._clock.now() - sent > seconds:
                raise Fatal(
                    f"no row of the snapshot came within {seconds:.0f} s after the signal",
                    f"the connector must have signal.data.collection={self.table}, capture that table "
                    "(table.include.list), and its topic must be among the source's `topics`",
                    code="B508",
                )
