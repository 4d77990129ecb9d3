"""One run: an application of its own reads the whole input through a proxy of its own while a fault happens."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Final, Self

import msgspec
import yaml

from bridge.config import load
from bridge.kafka.scratch import Scratch, drained
from bridge.mapping import load as load_mappings
from bridge.model import InputPartition
from bridge.runtime.wiring import create_topics
from bridge.testing.expected import SOURCE, Event
from bridge.testing.proxy import Proxy
from bridge.testing.stream import MAPPING
from bridge.torture.process import BridgeProcess, Stuck, wait_until
from bridge.torture.verdict import Verdict, judge

MAPPING_TOPIC: Final = "sales.orders"
# Small, so that the input takes many Kafka transactions: faults shall find one open.
LIMITS: Final = {"read_records_max": 60, "commit_rows": 40, "commit_seconds": 0.05, "back_off_seconds_max": 1.0}
PROPERTIES: Final = {"socket.timeout.ms": "3000", "max.partition.fetch.bytes": "4096"}  # a lost answer is missed soon


class Input(msgspec.Struct, frozen=True):
    """Topics that hold a stream, and the events that it means."""

    topics: tuple[str, ...]
    transaction_topic: str
    events: list[Event]
    ends: dict[InputPartition, int]


class Seconds(msgspec.Struct, frozen=True):
    """How soon the brokers miss a process: as soon as they allow it."""

    session: float
    transaction: float = 10.0


class Run:
    """Everything that a fault needs. Bridges are called by the name of their replica, which has a disk of its own."""

    def __init__(
        self,
        scratch: Scratch,
        name: str,
        directory: Path,
        given: Input,
        properties: Mapping[str, str],
        seconds: Seconds,
        dice: Random,
        proxy: Proxy,
    ) -> None:
        self.scratch = scratch
        self.name = name
        self.dice = dice
        self.proxy = proxy
        self.seconds = seconds
        self.problems: list[str] = []
        self.seen: list[Event] = []
        self._directory = directory
        self._input = given
        self._properties = dict(properties)
        self._bridges: list[BridgeProcess] = []
        self._group = f"{name}.{SOURCE}"
        self._events = f"{name}.events"

    # -- set up and clean up -------------------------------------------------------------------------------------------

    @property
    def topics(self) -> list[str]:
        """Those that the run makes."""
        return [self._events, self.dead_letters, self.changelog]

    @property
    def changelog(self) -> str:
        return f"{self._group}.changelog"

    @property
    def dead_letters(self) -> str:
        return f"{self._group}.DLT"

    def __enter__(self) -> Self:
        self._mappings.mkdir(parents=True)
        text = MAPPING.read_text(encoding="utf-8").replace(f"topic: {MAPPING_TOPIC}\n", f"topic: {self._events}\n")
        (self._mappings / MAPPING.name).write_text(text, encoding="utf-8")
        os.environ.update(self._environment)
        config = load(self._config("a"))
        create_topics(config, config.sources[SOURCE], load_mappings([(str(MAPPING), text)], SOURCE, None))
        self._following = self.scratch.following(self._events)
        self._reader = self._following.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for bridge in self._bridges:
            bridge.kill()
        if hasattr(self, "_following"):
            self._following.__exit__(None, None, None)
        for name in self._environment:
            os.environ.pop(name, None)
        self.problems += [f"{left} could not be deleted" for left in self.scratch.delete(self.topics, [self._group])]
        if error is None and not self.problems:
            shutil.rmtree(self._directory, ignore_errors=True)

    @property
    def _mappings(self) -> Path:
        return self._directory / "mappings"

    @property
    def _environment(self) -> dict[str, str]:
        """Properties may be secrets, and secrets do not go into files."""
        return {f"BRIDGE_TORTURE_{index}": value for index, value in enumerate(self._kafka().values())}

    def _kafka(self) -> dict[str, str]:
        return {**PROPERTIES, **self._properties, "bootstrap.servers": self.proxy.bootstrap}

    def _config(self, replica: str, *, static: bool = False, **changes: Any) -> Path:
        kafka = {name: f"${{env:BRIDGE_TORTURE_{index}}}" for index, name in enumerate(self._kafka())}
        if static:
            kafka["group.instance.id"] = f"{self.name}-{replica}"
        timeouts = {
            "session_timeout_seconds": self.seconds.session,
            "transaction_timeout_seconds": self.seconds.transaction,
        }
        given = self._input
        config = {
            "application": self.name,
            "kafka": kafka,
            "sources": {
                SOURCE: {
                    "connector": "postgresql",
                    "topics": list(given.topics),
                    "transaction_topic": given.transaction_topic,
                    "dead_letter_topic": self.dead_letters,
                }
            },
            "mappings": str(self._mappings),
            "state": {"directory": str(self.state_directory(replica))},
            "http": {"port": 0},
            "limits": {**LIMITS, **timeouts, **changes},
        }
        path = self._directory / f"{replica}.yaml"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        return path

    # -- what faults do ------------------------------------------------------------------------------------------------

    def start(
        self,
        replica: str = "a",
        crash_at: str = "",
        crash_signal: str = "KILL",
        *,
        static: bool = False,
        out: int | None = None,
        **limits: Any,
    ) -> BridgeProcess:
        """Start a bridge. ``crash_…``: see ``bridge.runtime.crash``. ``out``: where its log goes instead of a file.

        ``static``: once it is killed, the next one comes back into its place in the group at once.
        """
        environment = {"BRIDGE_CRASH_AT": crash_at, "BRIDGE_CRASH_SIGNAL": crash_signal}
        path = self._config(replica, static=static, **limits)
        bridge = BridgeProcess(path, self._directory / f"{replica}.log", SOURCE, environment, out)
        self._bridges.append(bridge)
        return bridge

    def state_directory(self, replica: str) -> Path:
        """The disk of a replica."""
        return self._directory / f"state-{replica}"

    def stop_all(self) -> None:
        """End the bridges that run, as an operator does. Raises Stuck."""
        for bridge in self._bridges:
            if bridge.alive():
                bridge.stop()

    def look(self) -> int:
        """How many events a consumer can see by now."""
        for record in drained(self._reader):
            headers = tuple((name, bytes(value or b"")) for name, value in record.headers() or ())
            self.seen.append(Event(bytes(record.key() or b""), bytes(record.value() or b""), headers))
        return len(self.seen)

    def wait_share(self, share: float) -> None:
        """Until a consumer sees this share of the events. Raises Stuck."""
        wanted = int(len(self._input.events) * share)
        wait_until(lambda: self.look() >= wanted, f"{share:.0%} of the events became visible")

    def wait_progress(self) -> None:
        """Until a consumer sees more events than now, or all of them. Raises Stuck."""
        wanted = min(self.look() + 1, len(self._input.events))
        wait_until(lambda: self.look() >= wanted, "another event became visible")

    def wait_decided(self) -> None:
        """Until no Kafka transaction is open on what the run writes: the brokers aborted what was left behind."""
        places = self.scratch.partitions(self.topics)
        wait_until(
            lambda: self.scratch.stable_ends(places) == self.scratch.ends(places), "the brokers aborted a transaction"
        )

    # -- the end -------------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Until everything is out and committed; then the bridges end. Raises Stuck."""
        self.wait_share(1.0)
        wait_until(self._is_committed, "the group's offsets reached the input's ends")
        self.stop_all()

    def _is_committed(self) -> bool:
        return self.scratch.committed(self._group, self._input.ends) == self._input.ends

    def verdict(self) -> Verdict:
        """Of what can be seen now."""
        self.look()
        problems = list(self.problems)
        letters = [name for name, end in self.scratch.ends(self.scratch.partitions([self.dead_letters])).items() if end]
        if letters:
            problems.append("there are dead letters")
        return judge(self._input.events, self.seen, "; ".join(problems))


def faulty(run: Run, faults: Sequence[Any]) -> Verdict:
    """Let faults happen to a run that was entered, and judge it."""
    try:
        for fault in faults:
            fault(run)
        run.finish()
    except Stuck as error:
        run.problems.append(str(error))
    return run.verdict()
