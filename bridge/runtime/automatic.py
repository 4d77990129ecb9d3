"""Checkpoints by schedule: a thread beside the worker of each source, which only reads Kafka and writes its directory.

It works while this process owns the source, and rests three times as long as it works, so that the worker has the
processor. What goes wrong is a warning and a metric; the next attempt comes by itself.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Protocol

from bridge.errors import BridgeError, Fatal
from bridge.model import Changelog
from bridge.observe.logs import get_logger
from bridge.runtime.stored import AUTOMATIC, NOT_NOW, Checkpoints, Stored

_NAME: Final = re.compile(re.escape(AUTOMATIC) + r"[0-9]{8}T[0-9]{6}Z", re.ASCII)
_HOUR_MS: Final = 3_600_000
_LOOK_SECONDS: Final = 5.0
_AGAIN_SECONDS: Final = 600.0  # after a failure
_REST: Final = 3.0  # seconds of rest for each second of work


class Told(Protocol):
    """The metrics that it feeds."""

    def checkpoint_age(self, source: str, seconds: float) -> None: ...
    def checkpoint_failed(self, source: str) -> None: ...


class Schedule:
    """Which automatic checkpoints are due, and which are too many. ``now_ms``: the wall clock, which may jump."""

    def __init__(self, checkpoints: Checkpoints, every_hours: float, keep: int) -> None:
        self.checkpoints = checkpoints
        self._every_ms = every_hours * _HOUR_MS
        self._keep = keep

    def automatic(self) -> list[Stored]:
        """Those made by schedule, the oldest first."""
        found = [one for one in self.checkpoints.all() if _NAME.fullmatch(one.manifest.name)]
        return sorted(found, key=lambda one: one.manifest.made_at_ms)

    def age_ms(self, now_ms: int) -> int | None:
        """Of the newest one; None: there is none. What is said to be made in the future was not."""
        made = [one.manifest.made_at_ms for one in self.automatic() if one.manifest.made_at_ms <= now_ms]
        return now_ms - max(made) if made else None

    def is_due(self, now_ms: int) -> bool:
        age = self.age_ms(now_ms)
        return age is None or age >= self._every_ms

    def make(self, changelog: Changelog, now_ms: int, tell: Callable[[int, int], None]) -> Stored:
        """One more, and the oldest ones beyond ``keep`` go. Raises Fatal, Retriable."""
        name = AUTOMATIC + datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y%m%dT%H%M%SZ")
        made = self.checkpoints.create(name, changelog, now_ms, tell)
        for old in self.automatic()[: -self._keep]:
            self.checkpoints.delete(old.manifest.name)
        return made


class _Stopped(Exception):
    """The process ends."""


class Automatic:
    """Makes them. ``is_owner`` says whether this process owns the source now; ``changelog`` makes a reader of its own."""

    def __init__(
        self,
        source: str,
        schedule: Schedule,
        changelog: Callable[[], Changelog],
        is_owner: Callable[[], bool],
        told: Told,
        stop: threading.Event,
    ) -> None:
        self._source = source
        self._schedule = schedule
        self._changelog = changelog
        self._is_owner = is_owner
        self._told = told
        self._stop = stop
        self._worked_since = 0.0
        self._log = get_logger().bind(source=source)

    def run(self) -> None:
        """Until the process ends."""
        wait = 0.0
        while not self._stop.wait(wait):
            wait = self.round()

    def round(self) -> float:
        """Make one if it is due; gives the seconds until the next look. Raises nothing."""
        try:
            now_ms = int(time.time() * 1000)
            if self._is_owner() and self._schedule.is_due(now_ms):
                self._make(now_ms)
            self._told.checkpoint_age(self._source, (self._schedule.age_ms(now_ms) or 0) / 1000)
        except _Stopped:
            return 0.0
        except Exception as error:  # noqa: BLE001 - whatever it is, the worker goes on
            return self._failed(error)
        return _LOOK_SECONDS

    def _make(self, now_ms: int) -> None:
        self._worked_since = began = time.monotonic()
        made = self._schedule.make(self._changelog(), now_ms, self._rest)
        self._log.info(
            "checkpoint",
            name=made.manifest.name,
            records=made.manifest.records,
            bytes=made.manifest.size,
            seconds=round(time.monotonic() - began, 1),
        )

    def _rest(self, _done: int, _total: int) -> None:
        worked = time.monotonic() - self._worked_since
        if self._stop.wait(worked * _REST):
            raise _Stopped
        self._worked_since = time.monotonic()

    def _failed(self, error: Exception) -> float:
        if isinstance(error, Fatal) and error.code == NOT_NOW:
            return _LOOK_SECONDS
        self._told.checkpoint_failed(self._source)
        code = error.code if isinstance(error, BridgeError) else ""
        reason = error.message if isinstance(error, BridgeError) else type(error).__name__
        self._log.warning("checkpoint_failed", code=code, reason=reason, hint="the bridge goes on without it")
        return _AGAIN_SECONDS
