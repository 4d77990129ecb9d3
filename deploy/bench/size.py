"""Size: what the bridge does with one source transaction of very many rows, and with very many aggregates in state.

``python -m deploy.bench.size transaction``: one transaction is written to a Kafka of its own, the bridge works on it and is
killed when the first of its events are in the topics, then another one ends the work. Its events must be all or none.
``python -m deploy.bench.size state``: a changelog of so many rows is restored, and merely consumed. The last line is one
JSON object.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from confluent_kafka import Consumer, TopicPartition

from deploy.bench import bridge_config
from deploy.bench.large import ImportStream, Memory
from deploy.bench.measure import BenchError
from deploy.bench.own import on_own_kafka
from deploy.bench.restore import restore_figures
from deploy.bench.topics import TIMEOUT_SECONDS, count_records, event_type, fill
from deploy.stack.process import running

SESSION_SECONDS = 6  # how long a killed bridge is missed
PATIENCE_SECONDS = 1800.0


class LargeTransaction:
    """The transaction in a Kafka, and bridges on it."""

    def __init__(self, bootstrap: str, directory: Path, rows: int, name: str = "large") -> None:
        self.stream = ImportStream(name, rows)
        self._bootstrap = bootstrap
        self._directory = directory
        fill(bootstrap, self.stream, lambda _: None)
        self.setup = bridge_config.write(directory / name, name, bootstrap, self.stream)
        config = yaml.safe_load(self.setup.config.read_text())
        config["limits"] = {"session_timeout_seconds": SESSION_SECONDS}
        self.setup.config.write_text(yaml.safe_dump(config))
        self.setup.prepare()
        self._watcher = Consumer(
            {"bootstrap.servers": bootstrap, "group.id": "watch", "isolation.level": "read_uncommitted"}
        )

    @contextmanager
    def start(self) -> Iterator[subprocess.Popen[str]]:
        """One more bridge, until the block's end."""
        command = self.setup.command(profile=False)
        with (self._directory / "bridge.log").open("ab") as log, running(command, stdout=log, stderr=log) as process:
            yield process

    def killed_in_the_middle(self) -> float:
        """A bridge that dies when its events begin to be written. Returns how long it lived, in seconds."""
        started = time.monotonic()
        with self.start() as process:
            self._await(process, lambda: self._written() > 0, 0.005)
        return time.monotonic() - started

    def ends(self) -> dict[str, float]:
        """A bridge that comes to the end; what it took."""
        started = time.monotonic()
        with self.start() as process:
            with Memory(process.pid) as memory:
                self._await(process, lambda: self.seen() > 0, 0.5)
                seconds = time.monotonic() - started
            process.terminate()
            process.wait(PATIENCE_SECONDS)
        return {
            "seconds": round(seconds, 1),
            "anonymous_mib": round(memory.anonymous),
            "mapped_mib": round(memory.mapped),
        }

    def seen(self) -> int:
        """How many events a read_committed consumer sees."""
        return count_records(self._bootstrap, [self.setup.output], event_type).total()

    def check(self) -> None:
        """All of them, and once."""
        events = count_records(self._bootstrap, [self.setup.output], lambda message: str(message.key()))
        expected = self.stream.expected.total()
        if len(events) != expected or events.total() != expected:
            raise BenchError(f"{events.total()} events of {len(events)} orders instead of {expected}")

    def _written(self) -> int:
        """Records in the events' topic, committed or not."""
        known = self._watcher.list_topics(self.setup.output, timeout=TIMEOUT_SECONDS).topics[self.setup.output]
        places = [TopicPartition(self.setup.output, number) for number in known.partitions]
        return sum(self._watcher.get_watermark_offsets(place, timeout=TIMEOUT_SECONDS)[1] for place in places)

    def _await(self, process: subprocess.Popen[str], condition: Callable[[], bool], pause: float) -> None:
        until = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            if process.poll() is not None or time.monotonic() > until:
                raise BenchError((self._directory / "bridge.log").read_text()[-3000:])
            time.sleep(pause)


def transaction_figures(bootstrap: str, directory: Path, rows: int) -> dict[str, float]:
    """The whole run."""
    large = LargeTransaction(bootstrap, directory, rows)
    print(f"{large.stream.row_changes:,} rows in one transaction, written")
    print(f"killed after {large.killed_in_the_middle():.1f} s, {large.seen()} events visible")
    if large.seen():
        raise BenchError("events of a transaction that is not committed are visible")
    figures = large.ends()
    large.check()
    return {"rows": large.stream.row_changes, "events": large.stream.expected.total(), **figures}


def main() -> int:
    """Start Kafka, run, print."""
    parser = argparse.ArgumentParser(prog="python -m deploy.bench.size", description=__doc__)
    parser.add_argument("what", choices=("transaction", "state"))
    parser.add_argument(
        "--rows", type=int, default=0, help="default: 1,000,000 of a transaction, 10,000,000 of a state"
    )
    options = parser.parse_args()
    if options.what == "state":
        return on_own_kafka("size", lambda kafka, place: restore_figures(kafka, place, options.rows or 10_000_000))
    return on_own_kafka("size", lambda kafka, place: transaction_figures(kafka, place, options.rows or 1_000_000))


if __name__ == "__main__":
    sys.exit(main())
