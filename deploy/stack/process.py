"""Server processes: started so that none outlives its owner, awaited, and ended by process id, never by name.

A process id alone may name a stranger after a reboot or a wrap-around, therefore it is always kept together with the
start time that the kernel gives to the process.
"""

from __future__ import annotations

import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

POLL_SECONDS = 0.05
LOG_TAIL_LINES = 25
PR_SET_PDEATHSIG = 1


class StackError(RuntimeError):
    """The stack cannot do what was asked; the message says why and what helps."""


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process that cannot be mistaken for another: its id and its start time, in clock ticks since boot."""

    pid: int
    started: int

    def alive(self) -> bool:
        """Whether it runs; a zombie does not."""
        return _start_time(self.pid) == self.started

    @classmethod
    def of(cls, pid: int) -> ProcessId:
        """The process that has this id now."""
        return cls(pid, _start_time(pid) or 0)


def _start_time(pid: int) -> int | None:
    """Start time in clock ticks from /proc; None when there is no such process or only its zombie."""
    try:
        # The command name is in parentheses and may contain spaces: count fields after the last one.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def _descendants(pid: int) -> list[int]:
    """Process ids of all children of `pid`, and of theirs."""
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return children + [grandchild for child in children for grandchild in _descendants(child)]


@dataclass(frozen=True, slots=True)
class Account:
    """The operating-system account that the database servers run as: they refuse root."""

    user: int
    group: int


@dataclass(frozen=True, slots=True)
class Command:
    """How to start one server."""

    name: str
    arguments: Sequence[str]
    log: Path
    directory: Path
    account: Account | None = None  # to run as; None: ours
    environment: Mapping[str, str] = field(default_factory=dict)
    death_signal: signal.Signals = signal.SIGKILL  # what it gets when its owner dies
    stop_signal: signal.Signals = signal.SIGTERM


@dataclass(slots=True)
class Server:
    """A started server. `child` is None when another process started it."""

    name: str
    process: ProcessId
    log: Path
    stop_signal: signal.Signals
    child: subprocess.Popen[bytes] | None = None

    def alive(self) -> bool:
        """Whether it runs; reaps it when it is our child and ended."""
        if self.child is not None:
            return self.child.poll() is None
        return self.process.alive()

    def send(self, number: signal.Signals) -> None:
        """Send a signal if it still runs."""
        if self.alive():
            os.kill(self.process.pid, number)

    def stop(self, timeout: float) -> None:
        """Ask it to end; after `timeout` seconds make it."""
        self.send(self.stop_signal)
        if not wait_until(lambda: not self.alive(), timeout):
            self.kill()

    def kill(self) -> None:
        """SIGKILL to it and to all its descendants (PostgreSQL's would outlive it for a moment, holding the data)."""
        family = [ProcessId.of(pid) for pid in _descendants(self.process.pid)]
        self.send(signal.SIGKILL)
        for relative in family:
            if relative.alive():
                os.kill(relative.pid, signal.SIGKILL)
        wait_until(lambda: not self.alive() and not any(relative.alive() for relative in family), 10)

    def log_tail(self) -> str:
        """The last lines of its log."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return "(no log)"
        return "\n".join(lines[-LOG_TAIL_LINES:])


def start(command: Command, *, detached: bool) -> Server:
    """Start a server with closed input and its output in its log.

    Unless detached it dies with the *thread* that calls this (so the kernel defines it): start servers from a thread
    that lives as long as they should. A session of its own keeps the terminal's Ctrl-C from reaching it before us.
    """
    # Bound before the fork: between fork and exec nothing may take a lock, as an import would.
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" and not detached else None
    owner = os.getpid()
    death_signal = int(command.death_signal)

    def die_with_owner() -> None:
        if prctl is not None:
            prctl(PR_SET_PDEATHSIG, death_signal)
            if os.getppid() != owner:  # the owner died before the line above
                os._exit(1)

    with command.log.open("ab") as log:
        child = subprocess.Popen(
            list(command.arguments),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=command.directory,
            env={**os.environ, **command.environment},
            user=None if command.account is None else command.account.user,
            group=None if command.account is None else command.account.group,
            extra_groups=None if command.account is None else [],
            start_new_session=True,
            preexec_fn=die_with_owner,  # noqa: PLW1509 - takes no lock, see above
        )
    return Server(command.name, ProcessId.of(child.pid), command.log, command.stop_signal, child)


def run(command: Command, *, timeout: float = 120) -> None:
    """Run a helper program to its end; it must succeed."""
    server = start(command, detached=False)
    finish(server, timeout=timeout)


def finish(server: Server, *, timeout: float = 120) -> None:
    """Wait for a helper program that was started before; it must succeed."""
    try:
        ended = wait_until(lambda: not server.alive(), timeout)
    finally:
        server.kill()
    if not ended:
        raise StackError(f"{server.name} did not end within {timeout:.0f} s; see {server.log}")
    code = server.child.returncode if server.child is not None else None
    if code != 0:
        raise StackError(f"{server.name} failed with exit code {code}; the end of {server.log}:\n{server.log_tail()}")


def wait_until(condition: Callable[[], bool], timeout: float) -> bool:
    """Poll until the condition holds; False when it does not within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def wait_for_answer(server: Server, answers: Callable[[], bool], timeout: float) -> None:
    """Poll until a server answers; raise with the end of its log when it died or took longer than `timeout` seconds."""

    def answers_or_dead() -> bool:
        return answers() or not server.alive()

    in_time = wait_until(answers_or_dead, timeout)
    if not server.alive():
        raise StackError(f"{server.name} died while starting; the end of {server.log}:\n{server.log_tail()}")
    if not in_time:
        raise StackError(
            f"{server.name} did not answer within {timeout:.0f} s; the end of {server.log}:\n{server.log_tail()}"
        )


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, below the kernel's ephemeral range.

    An ephemeral port could be taken by any outgoing connection while a killed server is about to be restarted on it.
    """
    chooser = random.SystemRandom()
    ports: list[int] = []
    while len(ports) < count:
        port = chooser.randrange(15_000, 32_000)
        if port not in ports and port_free(port):
            ports.append(port)
    return ports


def port_free(port: int) -> bool:
    """Whether a server could listen on this local port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@contextmanager
def running(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process that does not outlive the block: ``Popen``'s own waits for ever for one that never ends.

    ``options``: those of ``Popen``.
    """
    with subprocess.Popen(command, text=True, **options) as process:
        try:
            yield process
        finally:
            process.kill()
