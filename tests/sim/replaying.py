"""A replay beside a finished run: any stretch, with crashes and failing calls, must tell what the first run told there.

What was told where comes from the log alone: a pipeline that goes from END to END. All its slices together are what the
rough run published, and those of the stretch are what the shadow topics must hold, in that order.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from random import Random

from msgspec import structs

from bridge.core.pipeline import Pipeline
from bridge.errors import Fatal, Retriable
from bridge.model import InboundRecord, InputPartition, OutboundRecord
from bridge.runtime.position import Ends, Place, resolve
from bridge.runtime.replay import Ports, Replay
from bridge.runtime.stored import Checkpoints
from bridge.runtime.stretch import Asked, Told
from bridge.state.rows import RowState
from bridge.state.store import MemoryStore
from bridge.testing import Crash, FakeKafka, Faults, Process, SourceTopics
from tests.sim.chaos import Chaos
from tests.sim.mappings import DEAD_LETTERS, OUTPUTS
from tests.sim.verdict import Wrong
from tests.sim.world import CHANGELOG, Disk, PointStore, World

OTHERS = "rehearsal"
FOUND = b"OrderListed"  # what the initial snapshot found
_CRASH_POINTS = (
    "publish.begin",
    "publish.middle",
    "publish.before_commit",
    "publish.after_commit",
    "publish.after_commit",
    "store.write",
    "store.written",
    "reader.read",
    "changelog.read",
    "membership.poll",
)


class Slices:
    """What the log means, END by END."""

    def __init__(self, world: World) -> None:
        logs = [log for topic in world.topics.inputs() for log in world.broker.topics[topic]]
        self._ends: dict[InputPartition, int] = {log.name: log.end() for log in logs}
        state = RowState(MemoryStore(), world.mappings)
        settings = structs.replace(world.settings, max_share=1.0)
        self._pipeline = Pipeline(settings, world.mappings, state, list(self._ends), until=-1)
        self._state = state
        self._pipeline.start_at(dict.fromkeys(self._ends, 0), self._ends)
        self.of: dict[int, list[OutboundRecord]] = {}  # offset of END → its records
        if not settings.log:
            self._receive([one for some in logs for one in some.visible()], self._ends)
        for record in world.broker.log(world.topics.transaction).visible():
            here: list[InboundRecord] = [record] if settings.log else []
            positions = {self._pipeline.markers: record.offset() + 1} if settings.log else self._ends
            if _is_end(record.value_bytes):
                self.of[record.offset()] = self._told(record.offset(), here, positions)
            else:
                self._receive(here, positions)

    def _receive(self, records: Sequence[InboundRecord], positions: dict[InputPartition, int]) -> None:
        self._pipeline.receive(records, positions)
        while self._pipeline.wants_ends:
            self._pipeline.ends_are(self._ends)

    def _told(
        self, end: int, records: Sequence[InboundRecord], positions: dict[InputPartition, int]
    ) -> list[OutboundRecord]:
        self._pipeline.go_on(end)
        self._receive(records, positions)
        told: list[OutboundRecord] = []
        while True:
            told += self._pipeline.take().records
            self._state.committed(b"")
            if not self._pipeline.is_held:
                return told
            self._receive((), positions)

    def between(self, since: int, until: int) -> list[list[OutboundRecord]]:
        return [records for end, records in sorted(self.of.items()) if since <= end <= until]


def _is_end(value: bytes | None) -> bool:
    if b'"status"' not in (value or b""):  # a row may be one that nobody can read
        return False
    found = json.loads(value or b"{}")
    return bool(found.get("payload", found).get("status") == "END")


class Machine:
    """Where replays of one name run; its disk outlives them."""

    def __init__(self, world: World, checkpoints: Checkpoints, rng: Random) -> None:
        self.world = world
        self.checkpoints = checkpoints
        self.rng = rng
        self.disk = Disk(None)
        self.starts = 0
        self.compacted: tuple[str, ...] = ()
        self.stop_after: int | None = None  # Kafka transactions
        self.reached: Counter[str] = Counter()

    def kafka(self, process: Process, asked: Asked) -> tuple[FakeKafka, FakeKafka]:
        """The replay's own ports, and the source's."""
        source = self.world.topics
        own = "" if asked.live else f".replay.{asked.name}"
        mine = SourceTopics(
            source.transaction,
            source.data,
            f"{CHANGELOG}.{asked.name}",
            f"{source.group}{own}",
            f"{source.transactional_id}{own}",
        )
        return FakeKafka(self.world.broker, mine, process), FakeKafka(self.world.broker, source, process)

    def make_topics(self, asked: Asked) -> None:
        made = {f"{CHANGELOG}.{asked.name}": 1}
        if not asked.live:
            made |= {f"{topic}.{asked.name}": count for topic, count in OUTPUTS.items()}
        for topic, count in made.items():
            self.world.broker.create_topic(topic, count)

    def start(
        self, asked: Asked, *, crash: bool = False, faults: Faults | None = None, rate: float | None = None
    ) -> Told:
        """One process, to its end. Raises Crash."""
        self.starts += 1
        process = Process(f"replay.{self.starts}", self.world.seed, faults)
        if crash and self.rng.random() < 0.3:
            process.crash_at = self.rng.choice((self.rng.randint(1, 30), self.rng.randint(1, 300)))
        elif crash:
            process.crash_at_point = (self.rng.choice(_CRASH_POINTS), self.rng.choice((1, 1, 2, 3, 7)))
        stops = crash and self.rng.random() < 0.2
        kafka, live = self.kafka(process, asked)
        ports = Ports(
            kafka,
            live,
            partial(self._open, process),
            MemoryStore,
            self.checkpoints,
            partial(self._locate, kafka),
            self.world.broker.clock,
            "boot",
            compacted=self.compacted,
        )

        def should_stop() -> bool:
            enough = self.stop_after is not None and process.passed["publish.after_commit"] > self.stop_after
            return enough or (stops and self.rng.random() < 0.05)

        told = Replay(asked, ports, self.world.settings, self.world.mappings, rate).run(should_stop)
        self.reached["replay paused"] += not told.done
        return told

    def _locate(self, kafka: FakeKafka, text: str) -> Place:
        reader = kafka.reader()
        try:
            return resolve(text, Ends(self.world.settings, reader), lambda name: self.checkpoints.get(name).end_offset)
        finally:
            reader.close()

    def _open(self, process: Process, discard: bool) -> PointStore:  # noqa: FBT001 - the port's signature
        if discard:
            self.disk.lose()
        damaged = None if process.crash_at is None else self.rng.randint(1, 200)
        return PointStore(self.disk.open(), process, damaged, self.disk.close)

    def through(self, asked: Asked, chaos: Chaos) -> None:
        """However often it is killed."""
        for attempt in range(60):
            rough = attempt < 8
            rate = self.rng.choice((None, None, 5.0, 50.0))
            try:
                told = self.start(asked, crash=rough, faults=chaos.faults if rough else None, rate=rate)
            except Crash:
                self.reached["replay crash"] += 1
                if self.rng.random() < 0.3:
                    self.disk.lose()
                    self.reached["replay state lost"] += 1
                continue
            except Retriable:
                self.reached["replay gave up"] += 1  # after as many tries as it makes; somebody starts it again
                continue
            except Fatal as error:
                if error.code != "B553":
                    raise
                return  # killed when nothing was left to do
            if told.done:
                return
        raise Wrong("the replay does not get through")


def rehearse(world: World, slices: Slices, directory: Path, rng: Random, chaos: Chaos) -> Counter[str]:
    """Replay a stretch of what a world went through. Raises Wrong."""
    ends = sorted(slices.of)
    since, until = sorted((rng.choice(ends), rng.choice(ends)))
    keys = sorted({record.key.decode(errors="replace") for records in slices.of.values() for record in records})
    ids = tuple(rng.sample(keys, min(len(keys), 2))) if rng.random() < 0.3 else ()
    asked = Asked(OTHERS, str(since), str(until), ids=ids)
    machine = Machine(world, Checkpoints(directory, "legacy"), rng)
    machine.make_topics(asked)
    machine.through(asked, chaos)
    compare(world, asked, slices.between(since, until))
    return machine.reached


def compare(world: World, asked: Asked, slices: Iterable[list[OutboundRecord]]) -> None:
    """The shadow topics hold these slices, each in order, and no Kafka transaction ends within one. Raises Wrong.

    Between topics a transaction's order depends on its size; and what the snapshot found may be told in parts.
    """
    wanted = [[one for one in some if not asked.ids or one.key.decode() in asked.ids] for some in slices]
    flat = [one._replace(topic=f"{one.topic}.{asked.name}") for some in wanted for one in some]
    mine = [one.records for one in world.broker.history if one.process.startswith("replay.")]
    got = [record for records in mine for record in records]
    if sorted(got, key=_topic) != sorted(flat, key=_topic):
        raise Wrong(f"the replay of {asked} told {len(got)} records instead of {len(flat)}, or others")
    whole = set(accumulate(map(len, wanted), initial=0))
    whole |= {number + 1 for number, one in enumerate(flat) if dict(one.headers).get("ce_type") == b"OrderListed"}
    whole |= {place for place, one in enumerate(flat, 1) if ("ce_type", FOUND) in one.headers}  # told in parts
    if not whole.issuperset(accumulate(map(len, mine))):
        raise Wrong("a Kafka transaction of the replay ends inside a source transaction")
    for topic in OUTPUTS:
        count = len(world.broker.committed(f"{topic}.{asked.name}"))
        if count != sum(one.topic == f"{topic}.{asked.name}" for one in flat):
            raise Wrong(f"the shadow of {topic} does not hold what was committed")


def _topic(record: OutboundRecord) -> str:
    return record.topic


def everything(slices: Slices) -> dict[tuple[bool, bytes], list[OutboundRecord]]:
    """All slices, by key, as ``tests.sim.verdict`` compares runs."""
    found: dict[tuple[bool, bytes], list[OutboundRecord]] = {}
    for records in slices.of.values():
        for record in records:
            found.setdefault((record.topic == DEAD_LETTERS, record.key), []).append(record)
    return found


def temporary() -> tempfile.TemporaryDirectory[str]:
    """Room for stored checkpoints, not on a disk where that can be avoided."""
    return tempfile.TemporaryDirectory(
        prefix="simulated-checkpoints-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None
    )
