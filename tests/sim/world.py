"""The bridge's world: records arrive, processes work, die, freeze and are replaced, all by one seed."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from random import Random

from msgspec import structs

from bridge.core.spool import Storage
from bridge.errors import Fenced, StateLost
from bridge.model import MappingSet, SourceSettings
from bridge.runtime.report import Report
from bridge.runtime.worker import Worker
from bridge.state.store import LmdbStore, MemoryStore, Store, temporary_store
from bridge.testing import Broker, Crash, FakeKafka, Faults, Process, SourceTopics
from tests.sim.chaos import CRASH_POINTS, PAUSE_POINTS, Chaos, Clock, Weather
from tests.sim.debezium import Send
from tests.sim.mappings import DEAD_LETTERS, OUTPUTS
from tests.sim.scenario import PREFIX, Scenario, mapped_tables

CHANGELOG = "bridge.legacy.changelog"
SESSION_TIMEOUT = 3.0
_SHM = "/dev/shm" if Path("/dev/shm").is_dir() else None  # no disk where it can be avoided


class Stuck(AssertionError):
    """The bridge does not get through its input although nothing fails any more."""


class Feeder:
    """Lets the records arrive: each partition in its order, phase after phase, otherwise as the dice fall."""

    def __init__(self, broker: Broker, phases: Iterable[list[Send]], rng: Random) -> None:
        self._broker = broker
        self._phases = deque(phases)
        self._rng = rng
        self._queues: list[deque[Send]] = []
        self.left = sum(len(phase) for phase in self._phases)

    def feed(self, most: int) -> None:
        while most > 0 and self.left:
            if not self._queues:
                self._next_phase()
            queue = self._rng.choice(self._queues)
            number = min(most, len(queue), self._rng.choice((1, 2, 5, 20)))
            for _ in range(number):
                self._append(queue.popleft())
            most -= number
            self.left -= number
            if not queue:
                self._queues.remove(queue)

    def _next_phase(self) -> None:
        queues: dict[tuple[str, int], deque[Send]] = {}
        for send in self._phases.popleft():
            queues.setdefault((send.topic, send.partition), deque()).append(send)
        self._queues = list(queues.values())

    def _append(self, send: Send) -> None:
        log = self._broker.log(send.topic, send.partition)
        if send.gap:
            log.gap(send.gap)
        log.append(send.key, send.value, send.headers)


class PointStore:
    """A store on a machine's disk; its process may die before or after a write, which is atomic as LMDB's is.

    ``good_reads``: after so many reads the disk turns out to be damaged.
    """

    def __init__(self, disk: Store, process: Process, good_reads: int | None, close: Callable[[], None]) -> None:
        self._disk = disk
        self._process = process
        self._good_reads = good_reads
        self.scan = disk.scan
        self.items = disk.items
        self.close = close
        self.get = disk.get if good_reads is None else self._get

    def _get(self, key: bytes) -> bytes | None:
        assert self._good_reads is not None
        self._good_reads -= 1
        if self._good_reads < 0:
            raise StateLost("simulated damage of the local state")
        return self._disk.get(key)

    def write(self, items: Iterable[tuple[bytes, bytes | None]]) -> None:
        self._process.point("store.write")
        self._disk.write(items)
        self._process.point("store.written")

    def wipe(self) -> None:
        self._process.point("store.wipe")
        self._disk.wipe()


class Disk:
    """What outlives a process on its machine: in memory, or for some seeds the real store in a directory."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._store: Store | None = None

    def open(self) -> Store:
        """One process at a time: what a killed one left open is closed first."""
        if self._store is None or self._directory is not None:
            self.close()
            self._store = MemoryStore() if self._directory is None else LmdbStore(self._directory, map_size=1 << 25)
        return self._store

    def close(self) -> None:
        if self._directory is not None and self._store is not None:
            self._store.close()
            self._store = None

    def lose(self) -> None:
        self.close()
        self._store = None
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)


class Errors(Report):
    """Counts what the worker recovered from."""

    def __init__(self) -> None:
        self.recovered: Counter[str] = Counter()
        self.owner = False

    def aborted(self, error: Exception) -> None:
        self.recovered["fenced" if isinstance(error, Fenced) else type(error).__name__] += 1

    def state(self, state: str) -> None:
        self.owner = state == "owner"


class Machine:
    """One place where a bridge process runs; its disk outlives the process, unless it is lost."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.disk = Disk(world.directory / name if world.directory is not None else None)
        self.clock = Clock(world.broker.clock)
        self.boot = 0
        self.starts = 0
        self.busy = False
        self.report = Errors()
        self.start()

    def start(self) -> None:
        world = self.world
        self.starts += 1
        self.process = Process(f"{self.name}.{self.starts}", world.seed, world.faults)
        self.report.owner = False
        self.process.on_pause = self._stand_still
        world.plan(self.process)
        if world.weather.at_start(self.clock):
            self.boot += 1
            world.reached["reboot"] += 1
        kafka = FakeKafka(world.broker, world.topics, self.process)
        self.worker = Worker(
            world.settings,
            world.mappings,
            kafka,
            self._open_store,
            self.clock,
            boot=str(self.boot),
            limits=world.chaos.limits,
            report=self.report,
            open_spool=self._open_spool,
        )

    def _open_store(self, discard: bool) -> Store:  # noqa: FBT001 - the worker's callback
        world = self.world
        if discard:
            self.disk.lose()
            world.reached["local state lost"] += 1
        damaged = not discard and world.rng.random() < world.chaos.damage
        good_reads = world.rng.randint(1, 60) if damaged else None
        return PointStore(self.disk.open(), self.process, good_reads, self.disk.close)

    def _open_spool(self) -> Storage:
        directory = self.world.directory
        self.world.reached["spooled"] += 1
        return MemoryStore() if directory is None else temporary_store(directory / "spools")

    def step(self, *, stop: bool = False) -> None:
        """One round of the worker; or its end by SIGTERM, and a new start."""
        if self.busy:
            return
        self.busy = True
        try:
            if stop:
                self.worker.run(lambda: True)
                self.world.reached["stopped"] += 1
                self.count()
                self.start()
            else:
                self.worker.step()
        except Crash:
            self.world.reached["bridge crash"] += 1
            if self.world.rng.random() < self.world.chaos.lose_disk:
                self.world.reached["local state lost"] += 1
                self.disk.lose()
            self.count()
            self.start()
        finally:
            self.busy = False

    def count(self) -> None:
        """What the process met in its life."""
        failures = self.process.failures
        self.world.reached["ambiguous commit"] += failures["publish unknown"] + failures["publish after"]
        self.world.reached["failing call"] += failures.total()

    def _stand_still(self) -> None:
        """Frozen in the middle of a call, beyond the session timeout; meanwhile another process may take over."""
        world = self.world
        before = self.report.recovered["fenced"]
        for _ in range(world.rng.choice((6, 12, 25))):
            world.broker.clock.sleep(SESSION_TIMEOUT / 4)
            world.feeder.feed(world.rng.randint(0, 5))
            for machine in world.machines:
                machine.step()
        world.frozen.append((self, before))


class World:
    """One run of the bridge over one scenario's topics."""

    def __init__(
        self, scenario: Scenario, mappings: MappingSet, settings: SourceSettings, chaos: Chaos, seed: str
    ) -> None:
        self.scenario = scenario
        self.mappings = mappings
        self.settings = structs.replace(settings, transaction_rows_in_memory_max=chaos.rows_in_memory)
        self.chaos = chaos
        self.seed = seed
        self.rng = Random(f"world/{seed}")
        self.faults = chaos.faults
        self.reached: Counter[str] = Counter()
        self.frozen: list[tuple[Machine, int]] = []
        self.broker = Broker(seed, session_timeout=SESSION_TIMEOUT)
        for topic, partitions in (scenario.layout.topics() | OUTPUTS | {CHANGELOG: 1}).items():
            self.broker.create_topic(topic, partitions)
        self.topics = SourceTopics(
            settings.log or settings.transaction_topic, settings.topics, CHANGELOG, "bridge", f"bridge.{PREFIX}"
        )
        self.directory = Path(tempfile.mkdtemp(prefix="simulated-disks-", dir=_SHM)) if chaos.real_store else None
        self.feeder = Feeder(self.broker, scenario.topics.phases, self.rng)
        self._crashes = chaos.crashes
        self._pauses = chaos.pauses
        self.weather = Weather(self, self.topics.group, seed)
        self.machines: list[Machine] = []
        self.machines.extend(Machine(self, f"m{number}") for number in range(chaos.processes))

    def plan(self, process: Process) -> None:
        """How this process will die, or freeze."""
        rng = self.rng
        if self._crashes > 0 and rng.random() < 0.8:
            self._crashes -= 1
            if rng.random() < 0.3:
                process.crash_at = rng.choice((rng.randint(1, 20), rng.randint(1, 200)))
            else:
                process.crash_at_point = (rng.choice(CRASH_POINTS), rng.choice((1, 1, 2, 3, 7)))
        if self._pauses > 0 and rng.random() < 0.8:
            self._pauses -= 1
            process.pause_at_point = (rng.choice(PAUSE_POINTS), rng.choice((1, 2, 3, 7)))

    def run(self) -> None:
        """Until everything is through. Raises Stuck."""
        try:
            self._run()
        finally:
            for machine in self.machines:
                machine.disk.close()
            if self.directory is not None:
                shutil.rmtree(self.directory, ignore_errors=True)

    def _run(self) -> None:
        rng, feeder = self.rng, self.feeder
        steps = idle = 0
        while idle < 3:
            steps += 1
            if steps == 4000:
                self._make_peace()
            chaos = self.chaos
            feeder.feed(rng.randint(0, chaos.feed))
            if steps > 8000:
                raise Stuck(self._where())
            machine = rng.choice(self.machines) if len(self.machines) > 1 else self.machines[0]
            machine.step(stop=chaos.stops > 0 and rng.random() < chaos.stops)
            if chaos.compact and rng.random() < chaos.compact:
                self.broker.compact(CHANGELOG)
            if chaos.moves and rng.random() < chaos.moves:
                self.broker.group("bridge").move()
            self.weather.turn()
            if not feeder.left and steps % 4 == 0:
                idle = idle + 1 if self._is_through() else 0
        self._count()

    def _make_peace(self) -> None:
        """From here on nothing fails, so the bridge must come through."""
        self.feeder.feed(1_000_000)
        self.chaos = Chaos(limits=self.chaos.limits, real_store=self.chaos.real_store)
        self.weather.clear()
        self.set_faults(Faults())
        self._crashes = self._pauses = 0
        for machine in self.machines:
            machine.process.crash_at = machine.process.crash_at_point = machine.process.pause_at_point = None

    def clocks(self) -> list[Clock]:
        return [machine.clock for machine in self.machines]

    def set_faults(self, faults: Faults) -> None:
        self.faults = faults
        for machine in self.machines:
            machine.process.faults = faults

    def _is_through(self) -> bool:
        """The last END lies before the committed offset; without any, the seeds do."""
        if not any(machine.report.owner for machine in self.machines):
            return False
        offsets = self.broker.group("bridge").offsets
        log = self.broker.log(self.topics.transaction)
        logs = [log] if log.records else [one for topic in self.topics.inputs() for one in self.broker.topics[topic]]
        return all(offsets.get(one.name, 0) >= one.end() for one in logs)

    def _where(self) -> str:
        offsets = self.broker.group("bridge").offsets
        behind = {
            str(log.name): f"{offsets.get(log.name, 0)} of {log.end()}"
            for topic in self.topics.inputs()
            for log in self.broker.topics[topic]
        }
        return f"stuck: committed offsets {behind}"

    def _count(self) -> None:
        reached = self.reached
        for machine in self.machines:
            machine.count()
            reached["damaged local state"] += machine.report.recovered["StateLost"]
            reached["fenced"] += machine.report.recovered["fenced"]
        reached["real store"] += self.directory is not None
        reached["fenced zombie"] += sum(machine.report.recovered["fenced"] > before for machine, before in self.frozen)
        owners = [transaction.process.split(".")[0] for transaction in self.broker.history]
        reached["take-over"] += sum(one != other for one, other in pairwise(owners))


def source_settings(scenario: Scenario) -> SourceSettings:
    """The source as the bridge's config would give it."""
    layout = scenario.layout
    common = SourceSettings(
        "legacy",
        "mariadb" if scenario.features.mariadb else "postgresql",
        dead_letter_topic=DEAD_LETTERS,
        max_share=1.0,
        of_last=10_000,
        found_at_once=1,
    )
    if layout.single_log:
        return structs.replace(common, log=layout.log())
    topics = tuple(layout.topic(table) for table in mapped_tables(scenario.features))
    return structs.replace(common, topics=topics, transaction_topic=layout.transaction_topic())
