"""One run of one process, measured from outside, the same way for the bridge, the pass-through and the peers.

The clock starts when the process says that it begins to read, and stops when the group's committed offsets have
reached the end of every partition. CPU time is the kernel's account of the whole process, start included; peak memory
is the high-water mark of its resident set.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

POLL_SECONDS = 0.02
STALL_SECONDS = 120.0  # without progress: something is broken
STOP_SECONDS = 20.0
ANSWER_SECONDS = 10.0
LOG_TAIL = 3000  # characters


class BenchError(Exception):
    """A run that gives no figure."""


@dataclass(frozen=True, slots=True)
class Result:
    """The figures of one run."""

    wall_seconds: float
    cpu_seconds: float
    peak_anonymous_mib: float
    start_seconds: float  # from the start of the process to the start of the clock; not in wall_seconds


class Group:
    """A consumer group, seen by an outsider."""

    def __init__(self, bootstrap: str, name: str) -> None:
        self._admin = AdminClient({"bootstrap.servers": bootstrap})
        self._name = name

    def committed(self) -> dict[tuple[str, int], int]:
        """The committed offset of each partition."""
        futures: Mapping[str, Future[Any]] = self._admin.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(self._name)]
        )
        try:
            places: Sequence[TopicPartition] = futures[self._name].result(ANSWER_SECONDS).topic_partitions or []
        except KafkaException:
            return {}
        return {(place.topic, place.partition): place.offset for place in places}

    def drained(self, committed: Mapping[tuple[str, int], int]) -> bool:  # noqa: ARG002 - for groups that have some
        """Whether topics of its own, through which it sends records to itself, are consumed too."""
        return True


class Run:
    """A process under measurement."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        self._log = log
        self._started = time.monotonic()
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(environment or {})},
            )
        self._peak_kib = 0
        self._gone = False
        self.cpu_seconds = 0.0  # known once it is gone

    def measure(
        self,
        reading: Callable[[], bool],
        group: Group,
        ends: Mapping[TopicPartition, int],
        *,
        ends_itself: bool = False,
    ) -> Result:
        """Wait until everything is consumed, end the process and give its figures.

        ``reading`` says whether the process began to read.
        """
        try:
            self.wait(reading)
            started = time.monotonic()
            wanted = {(place.topic, place.partition): end for place, end in ends.items()}
            self._wait_for_offsets(group, wanted)
            wall = time.monotonic() - started
        except BaseException:
            self.stop(ask=True)
            raise
        self.stop(ask=not ends_itself)
        if self._process.returncode != 0:
            raise BenchError(f"exit status {self._process.returncode}\n{self._tail()}")
        return Result(wall, self.cpu_seconds, self._peak_kib / 1024, started - self._started)

    def kill(self) -> None:
        """As a crash does it."""
        self._process.kill()
        self._ended(wait=True)

    def wait(self, condition: Callable[[], bool], seconds: float = STALL_SECONDS) -> None:
        """Until the condition holds. Raises BenchError."""
        deadline = time.monotonic() + seconds
        while not condition():
            self._look(deadline)

    def _wait_for_offsets(self, group: Group, wanted: Mapping[tuple[str, int], int]) -> None:
        """Until each partition is committed to its end; progress moves the deadline."""
        deadline, before = time.monotonic() + STALL_SECONDS, -1
        while True:
            committed = group.committed()
            if all(committed.get(place, -1) >= end for place, end in wanted.items()) and group.drained(committed):
                return
            now = sum(committed.values())
            if now != before:
                deadline, before = time.monotonic() + STALL_SECONDS, now
            self._look(deadline)

    def _look(self, deadline: float) -> None:
        """Note the memory; fail when the process is gone or time is up."""
        self._note_memory()
        if time.monotonic() > deadline:
            raise BenchError(f"no progress in time\n{self._tail()}")
        if self._ended() and self._process.returncode != 0:
            raise BenchError(f"it ended with exit status {self._process.returncode}\n{self._tail()}")
        time.sleep(POLL_SECONDS)

    def _note_memory(self) -> None:
        # Anonymous: mapped files, the local store above all, are the page cache's, which gives them up when others need room.
        with contextlib.suppress(OSError, IndexError):
            status = Path(f"/proc/{self._process.pid}/status").read_text()
            line = next((line for line in status.splitlines() if line.startswith("RssAnon")), "RssAnon: 0 kB")
            self._peak_kib = max(self._peak_kib, int(line.split()[1]))

    def _ended(self, *, wait: bool = False) -> bool:
        if not self._gone:
            pid, status, usage = os.wait4(self._process.pid, 0 if wait else os.WNOHANG)
            if pid:
                self._process.returncode = os.waitstatus_to_exitcode(status)
                self.cpu_seconds = usage.ru_utime + usage.ru_stime
                self._gone = True
        return self._gone

    def stop(self, *, ask: bool = True) -> None:
        """Wait for the end, after SIGTERM if asked to; SIGKILL if that is not enough."""
        deadline = time.monotonic() + STOP_SECONDS
        self._note_memory()
        if ask and not self._ended():
            self._process.send_signal(signal.SIGTERM)
        while not self._ended() and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        if not self._ended():
            self._process.kill()
            self._ended(wait=True)

    def said(self, line: str) -> bool:
        """Whether the process wrote this line."""
        return line in self._log.read_text(errors="replace").splitlines()

    def _tail(self) -> str:
        return self._log.read_text(errors="replace")[-LOG_TAIL:]
