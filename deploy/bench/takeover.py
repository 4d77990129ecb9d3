"""Take-over: how long no event comes after ``kill -9``, with very many aggregates in state.

``python -m deploy.bench.takeover`` starts a Kafka of its own, writes a changelog of so many aggregates, and a stream of source
transactions that goes on all the time. Then it kills the bridge three times, and takes the time from the kill to the
receipt, by a read_committed consumer, of the first event whose END was written after it:

  standby_s   another process stood by, with a local state of its own that is empty
  restart_s   nobody stood by; the process is started again at once, on the local state that it left
  anew_s      nobody stood by; another one is started at once, with an empty local state

All settings are the defaults, so that each includes the time after which the group misses a killed member
(``limits.session_timeout_seconds``). Every event must come, and once. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import yaml

from bridge.cli.common import mapping_set
from bridge.config import load
from bridge.testing.stream import OrderStream
from deploy.bench import bridge_config
from deploy.bench.bridge_config import Setup
from deploy.bench.large import ROWS_PER_ORDER
from deploy.bench.latency import MORE_THAN_ENOUGH, Receipts, Writer, received_and_written
from deploy.bench.measure import Run
from deploy.bench.own import on_own_kafka
from deploy.bench.restore import changelog, fill
from deploy.bench.topics import PARTITIONS, make_topics
from deploy.stack.process import free_ports

RATE: Final = 50.0  # source transactions a second
CUSTOMERS: Final = 1_000
PATIENCE_SECONDS: Final = 600.0


class Takeovers:
    """A Kafka with the state and the stream, and bridges on it."""

    def __init__(self, bootstrap: str, directory: Path, aggregates: int) -> None:
        self._bootstrap = bootstrap
        self._directory = directory
        self.stream = OrderStream("takeover", MORE_THAN_ENOUGH, customers=CUSTOMERS)
        topics = dict.fromkeys(self.stream.topics, PARTITIONS) | {self.stream.transaction_topic: 1}
        make_topics(bootstrap, topics, {"message.timestamp.type": "LogAppendTime"})
        self.first = bridge_config.write(directory / "one", "takeover", bootstrap, self.stream)
        self.first.prepare()
        config = load(self.first.config)
        mappings = mapping_set(config.mappings, bridge_config.SOURCE, None)
        topic = config.sources[bridge_config.SOURCE].changelog_topic
        fill(bootstrap, topic, changelog(mappings, aggregates * ROWS_PER_ORDER))
        self.receipts = Receipts(bootstrap, self.first.output)
        self.kills: list[float] = []
        self._running: list[Run] = []

    def another(self) -> Setup:
        """The same bridge on another machine: it has the config and not the disk."""
        setup = replace(self.first, directory=self._directory / "two", port=free_ports(1)[0])
        config = yaml.safe_load(self.first.config.read_text())
        config["state"]["directory"], config["http"]["port"] = str(setup.state), setup.port
        setup.directory.mkdir()
        setup.config.write_text(yaml.safe_dump(config))
        return setup

    def start(self, setup: Setup) -> Run:
        """One more process."""
        run = Run(setup.command(profile=False), self._directory / f"bridge-{len(self._running)}.log")
        self._running.append(run)
        return run

    def kill(self, run: Run) -> None:
        """``kill -9``, and remember when."""
        self.kills.append(time.time())
        run.kill()

    def await_owner(self, run: Run, setup: Setup) -> None:
        """Until the process owns the source and events come from it."""
        run.wait(setup.owner, PATIENCE_SECONDS)
        count = len(self.receipts.at)
        run.wait(lambda: len(self.receipts.at) > count, PATIENCE_SECONDS)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Source transactions go on, meanwhile."""
        writer, stop = Writer(self._bootstrap, self.stream), threading.Event()
        writer.snapshot()

        def write() -> None:
            while not stop.is_set():
                writer.write(RATE, 1.0)

        with ThreadPoolExecutor(1) as threads:
            written = threads.submit(write)
            try:
                yield
            finally:
                stop.set()
        written.result()

    def gaps(self) -> list[float]:
        """Seconds from each kill to the first event of a transaction after it. Raises BenchError where one is missing."""
        pairs = received_and_written(self._bootstrap, self.stream, self.receipts)
        return [round(min(seen for seen, end in pairs if end > kill) - kill, 2) for kill in self.kills]

    def close(self) -> None:
        """Leave nothing running."""
        for run in self._running:
            run.stop()
        self.receipts.close()


def takeover_figures(bootstrap: str, directory: Path, aggregates: int) -> dict[str, float]:
    """The whole run."""
    bridges = Takeovers(bootstrap, directory, aggregates)
    print(f"{aggregates:,} aggregates in the changelog")
    one, two = bridges.first, bridges.another()
    try:
        with bridges.writing():
            owner = bridges.start(one)
            bridges.await_owner(owner, one)
            standby = bridges.start(two)
            standby.wait(two.standby, PATIENCE_SECONDS)
            bridges.kill(owner)
            bridges.await_owner(standby, two)
            bridges.kill(standby)
            again = bridges.start(two)
            bridges.await_owner(again, two)
            bridges.kill(again)
            shutil.rmtree(two.state)
            anew = bridges.start(two)
            bridges.await_owner(anew, two)
        standby_s, restart_s, anew_s = bridges.gaps()
    finally:
        bridges.close()
    return {"aggregates": aggregates, "standby_s": standby_s, "restart_s": restart_s, "anew_s": anew_s}


def main() -> int:
    """Start Kafka, run, print."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.bench.takeover",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--aggregates", type=int, default=1_000_000, help="in state, of five rows each")
    options = parser.parse_args()
    return on_own_kafka("takeover", lambda bootstrap, place: takeover_figures(bootstrap, place, options.aggregates))


if __name__ == "__main__":
    sys.exit(main())
