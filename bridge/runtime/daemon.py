"""The process: one worker thread per source, the HTTP side, signals, and one exit code.

SIGTERM and SIGINT finish or drop the open Kafka transaction and exit 0; a second one ends the process at once, which is
as safe as a crash. A source that only an operator can mend stops the whole process: a half-dead daemon helps nobody.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from bridge.errors import BridgeError, Retriable, StateLost
from bridge.model import MappingSet
from bridge.observe.http import STARTING, Health, Server
from bridge.observe.logs import configure, get_logger
from bridge.observe.metrics import Metrics
from bridge.runtime.automatic import Automatic, Schedule
from bridge.runtime.watch import Watch
from bridge.runtime.wiring import checkpoints_of, kafka_for, require_topics
from bridge.runtime.worker import Worker
from bridge.state.store import LmdbStore, Store, temporary_store

if TYPE_CHECKING:
    from bridge.config import Config, Source

TICK_LIMIT_SECONDS = 120.0
WAIT_SECONDS = 1.0  # between two questions to brokers that do not answer
JOIN_SECONDS = 8.0  # of the ten that SIGTERM allows


class MonotonicClock:
    """The clock of a real process."""

    now = staticmethod(time.monotonic)
    sleep = staticmethod(time.sleep)


class Daemon:
    """Runs every source of a config until told to stop."""

    def __init__(self, config: Config, mappings: dict[str, MappingSet]) -> None:
        self._config = config
        self._mappings = mappings
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._metrics = Metrics()
        self._health = Health(TICK_LIMIT_SECONDS)

    def run(self) -> int:
        """Returns the exit code."""
        config = self._config
        configure(config.log_format, config.log_level, secrets=config.secrets)
        log = get_logger()
        server = Server(config.http_host, config.http_port, self._metrics, self._health).start()
        log.info("start", pid=os.getpid(), address=config.http_host, port=server.port)
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        threads = [self._thread(name, source) for name, source in config.sources.items()]
        spare_collections()
        for thread in threads:
            thread.start()
        while not self._stop.wait(0.5):
            pass
        for thread in threads:
            thread.join(JOIN_SECONDS)
        server.close()
        return self._finish()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self._stop.is_set():
            os._exit(1)
        self._stop.set()

    def _finish(self) -> int:
        error = self._error
        if error is None:
            get_logger().info("stop", exit_code=0)
            return 0
        code = error.exit_code if isinstance(error, BridgeError) else 70
        get_logger().error("stop", exit_code=code, exc_info=error)
        return code

    def _thread(self, name: str, source: Source) -> threading.Thread:
        return threading.Thread(target=self._serve, args=(name, source), name=name, daemon=True)

    def _serve(self, name: str, source: Source) -> None:
        try:
            self._metrics.declare(name, _event_types(self._mappings[name]))
            watch = Watch(name, self._metrics, self._health)
            self._wait_for_topics(name, source, watch)
            if not self._stop.is_set():
                self._start_schedule(name, source)
                self._worker(name, source, watch).run(self._stop.is_set)
        except BaseException as error:  # noqa: BLE001 - the process ends with it, see run
            self._error = error
        finally:
            self._stop.set()

    def _wait_for_topics(self, name: str, source: Source, watch: Watch) -> None:
        """Brokers that do not answer yet are waited for, as later on; topics that are not as they must be stop it."""
        watch.state(STARTING)
        while not self._stop.is_set():
            watch.tick()
            try:
                require_topics(self._config, source, self._mappings[name])
                break
            except Retriable as error:
                hint = "the bridge waits, and is not ready until Kafka answers"
                get_logger().warning("waiting", source=name, code=error.code, reason=error.message, hint=hint)
                self._stop.wait(WAIT_SECONDS)

    def _start_schedule(self, name: str, source: Source) -> None:
        """Checkpoints by themselves, where the config wants them."""
        wanted = self._config.schedule
        if wanted is None:
            return
        schedule = Schedule(checkpoints_of(self._config, source), wanted.every_hours, wanted.keep)
        kafka = partial(kafka_for, self._config, source, self._mappings[name], "checkpoint")
        automatic = Automatic(
            name, schedule, lambda: kafka().changelog(), lambda: self._health.owns(name), self._metrics, self._stop
        )
        threading.Thread(target=automatic.run, name=f"{name}.checkpoint", daemon=True).start()

    def _worker(self, name: str, source: Source, watch: Watch) -> Worker:
        config = self._config
        mappings = self._mappings[name]
        return Worker(
            source.settings,
            mappings,
            kafka_for(config, source, mappings),
            local_store(config.state_directory / config.application / name),
            MonotonicClock(),
            limits=config.limits,
            report=watch,
            boot=boot_id(),
            open_spool=partial(temporary_store, config.state_directory / config.application / f"{name}.spool"),
        )


def local_store(directory: Path) -> Callable[[bool], Store]:
    """Opens the store in a directory; one that cannot be opened is a lost cache, and made anew."""

    def open_store(discard: bool) -> Store:  # noqa: FBT001 - Worker's signature
        if discard:
            shutil.rmtree(directory, ignore_errors=True)
        try:
            return LmdbStore(directory)
        except StateLost:
            shutil.rmtree(directory, ignore_errors=True)
            return LmdbStore(directory)

    return open_store


def boot_id() -> str:
    """Names the machine's last start; the process's own where the kernel does not tell, so that no store is trusted."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"pid {os.getpid()} {time.time_ns()}"


def _event_types(mappings: MappingSet) -> list[str]:
    return [rule.type for mapping in mappings.mappings for rule in mapping.events]


def spare_collections() -> None:
    """What lives by now lives on, and rows are not tracked: the cyclic collector has little to find (it took 40% of the time)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
