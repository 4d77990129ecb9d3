"""One ``bridge run`` as a process: started, looked at from outside, and ended in every way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

PATIENCE_SECONDS: Final = 90.0  # for anything that has to happen; brokers far away and small machines are slow
STOP_SECONDS: Final = 10.0  # what SIGTERM may take
LOOK_SECONDS: Final = 0.03


class Stuck(Exception):
    """Something that had to happen did not."""


def wait_until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Raises Stuck."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise Stuck(f"within {seconds:.0f} s it did not happen that {what}")
        time.sleep(LOOK_SECONDS)


class BridgeProcess:
    """A process of a config. Its log goes to a file; where it listens stands in there."""

    def __init__(
        self, config: Path, log: Path, source: str, environment: Mapping[str, str], out: int | None = None
    ) -> None:
        self._log = log
        self._source = source
        self._seen_from = log.stat().st_size if log.exists() else 0
        self._port = 0
        with log.open("ab") as file:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", "bridge", "run", "--config", str(config)],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=file if out is None else out,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for torture, which ends its processes itself
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def alive(self) -> bool:
        return self._process.poll() is None

    def state(self) -> str:
        """starting, standby, restoring, owner, stopped; "" while it does not say."""
        port = self._port = self._port or self._listening()
        if not port:
            return ""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://127.0.0.1:{port}/health/ready", timeout=2) as answer:
                body = answer.read()
        except urllib.error.HTTPError as error:
            body = error.read()
        except OSError:
            return ""
        return str(json.loads(body)["sources"].get(self._source, ""))

    def _listening(self) -> int:
        return next((int(line["port"]) for line in self.log() if line.get("event") == "start"), 0)

    def log(self) -> list[dict[str, Any]]:
        """What this process logged, as far as it is JSON."""
        with self._log.open("rb") as lines:
            lines.seek(self._seen_from)
            return [json.loads(line) for line in lines if line.startswith(b"{") and line.endswith(b"}\n")]

    def wait_for(self, state: str) -> None:
        """Raises Stuck, also where the process ends instead."""
        wait_until(lambda: self._living() and self.state() == state, f"a bridge became {state}")

    def wait_stopped(self) -> None:
        """Until it stands still where SIGSTOP was asked for."""
        wait_until(lambda: self._living() and self._is_stopped(), "a bridge reached the place where it shall stop")

    def _is_stopped(self) -> bool:
        status = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8", errors="replace")
        return status.rpartition(")")[2].split()[0] == "T"

    def wait_dead(self) -> None:
        """Until it killed itself where that was asked for."""
        wait_until(lambda: not self.alive(), "a bridge reached the place where it shall die")
        if self._process.returncode != -signal.SIGKILL:
            raise Stuck(self.last_words())

    def _living(self) -> bool:
        if not self.alive():
            raise Stuck(self.last_words())
        return True

    def last_words(self) -> str:
        """Why it ended."""
        said = [line for line in self.log() if line.get("event") == "stop"]
        reason = {name: said[-1].get(name) for name in ("code", "error", "error_type")} if said else {}
        return f"a bridge ended with exit code {self._process.returncode} {reason or ''}".rstrip()

    def send(self, number: signal.Signals) -> None:
        if self.alive():
            self._process.send_signal(number)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """SIGTERM, once, which has to work in time; one that stands still goes on with it. Raises Stuck."""
        self.send(signal.SIGTERM)
        self.send(signal.SIGCONT)
        try:
            code = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise Stuck(f"a bridge did not end within {STOP_SECONDS:.0f} s of SIGTERM") from None
        if code != 0:
            raise Stuck(self.last_words())
