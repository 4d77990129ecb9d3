"""Latency: from the moment that the broker has a transaction's END until a read_committed consumer holds its events.

``python -m deploy.bench.latency`` starts a Kafka of its own and a bridge with default settings, writes source transactions
in real time, so many a second, in commit order and with END last, and takes for each event the time of its receipt minus
the LogAppendTime of its END. Both clocks are this machine's. Every event must come, and once. The last line is one JSON
object; its times are milliseconds, ``ready_seconds`` are from the start of the process to its first read.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Consumer, Producer, TopicPartition

from bridge.testing.expected import events_of
from bridge.testing.stream import OrderStream, Record
from deploy.bench import bridge_config
from deploy.bench.measure import BenchError, Run
from deploy.bench.own import on_own_kafka
from deploy.bench.topics import PARTITIONS, TIMEOUT_SECONDS, headers_of, make_topics, read_records

MORE_THAN_ENOUGH: Final = 1 << 40  # row changes; the clock ends the stream
CUSTOMERS: Final = 1_000
WARM_SECONDS: Final = 10.0  # written first and not counted: connections and caches of everyone are cold
PATIENCE_SECONDS: Final = 60.0
# As Connect 4.3 writes: one request at a time, after five milliseconds.
WRITE: Final[dict[str, str | int | bool]] = {
    "enable.idempotence": True,
    "linger.ms": 5,
    "max.in.flight": 1,
    "partitioner": "murmur2_random",
}
READ: Final[dict[str, str | int | bool]] = {
    "group.id": "latency",
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "auto.offset.reset": "error",
}


class Receipts:
    """A read_committed consumer with default settings, in a thread: when each event was received, by its id."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._consumer = Consumer(READ | {"bootstrap.servers": bootstrap})
        known = self._consumer.list_topics(topic, timeout=TIMEOUT_SECONDS).topics[topic].partitions
        self._consumer.assign([TopicPartition(topic, number, 0) for number in known])
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self.at: dict[str, float] = {}  # seconds since the epoch
        self.doubled = 0
        self._thread.start()

    def _read(self) -> None:
        while not self._stop.is_set():
            message = self._consumer.poll(0.2)
            if message is None or message.error() is not None:
                continue
            now = time.time()
            event = (dict(headers_of(message))["ce_id"] or b"").decode()
            self.doubled += event in self.at
            self.at[event] = now

    def await_count(self, count: int) -> None:
        """Until so many different events were received."""
        until = time.monotonic() + PATIENCE_SECONDS
        while len(self.at) < count:
            if time.monotonic() > until:
                raise BenchError(f"{len(self.at)} events were received instead of {count}")
            time.sleep(0.05)

    def close(self) -> None:
        """Let go of the broker."""
        self._stop.set()
        self._thread.join()
        self._consumer.close()


class Writer:
    """Writes a stream as its connector would: each transaction when its time has come, rows first, END last."""

    def __init__(self, bootstrap: str, stream: OrderStream) -> None:
        self._producer = Producer(WRITE | {"bootstrap.servers": bootstrap})
        self._stream = stream
        self._transactions = _transactions(stream.records(), stream.transaction_topic)
        self.late_seconds = 0.0  # at most, behind the time when a transaction was due

    def snapshot(self) -> None:
        """What was there before, and the first transaction."""
        self._write(next(self._transactions))
        if self._producer.flush(TIMEOUT_SECONDS):
            raise TimeoutError("the broker did not take the snapshot in time")

    def write(self, rate: float, seconds: float) -> None:
        """``rate`` transactions a second, for so long."""
        started = time.monotonic()
        for number in range(int(rate * seconds)):
            records = next(self._transactions)
            due = started + number / rate
            while (early := due - time.monotonic()) > 0:
                self._producer.poll(early)
            self.late_seconds = max(self.late_seconds, -early)
            self._write(records)
        if self._producer.flush(TIMEOUT_SECONDS):
            raise TimeoutError("the broker did not take the stream in time")

    def _write(self, records: list[Record]) -> None:
        for record in records:
            self._producer.produce(record.topic, record.value, record.key, headers=list(record.headers))


def _transactions(records: Iterator[Record], markers: str) -> Iterator[list[Record]]:
    """The records up to each END, that of the first transaction with the snapshot before it."""
    found: list[Record] = []
    for record in records:
        found.append(record)
        if record.topic == markers and b'"status":"END"' in record.value:
            yield found
            found = []


def received_and_written(bootstrap: str, stream: OrderStream, receipts: Receipts) -> list[tuple[float, float]]:
    """Of each event: when it was received, and when the broker had appended its END; seconds since the epoch.

    Raises BenchError where one is missing or came twice.
    """
    ends = {}
    for message in read_records(bootstrap, [stream.transaction_topic]):
        marker = json.loads(message.value() or b"{}")
        if marker["status"] == "END":
            ends[int(marker["id"].partition(":")[2])] = message.timestamp()[1] / 1000
    facts = stream.facts
    receipts.await_count(len(facts))
    at = receipts.at
    events = [dict(event.headers)["ce_id"].decode() for event in events_of(facts)]
    if receipts.doubled or set(events) != set(at):
        raise BenchError(f"{len(at)} events, {receipts.doubled} of them twice, instead of {len(events)}")
    return [(at[event], ends[fact.position]) for event, fact in zip(events, facts, strict=True)]


def latency_figures(bootstrap: str, directory: Path, rate: float, seconds: float) -> dict[str, Any]:
    """The whole run."""
    name = "latency"
    stream = OrderStream(name, MORE_THAN_ENOUGH, customers=CUSTOMERS)
    topics = dict.fromkeys(stream.topics, PARTITIONS) | {stream.transaction_topic: 1}
    make_topics(bootstrap, topics, {"message.timestamp.type": "LogAppendTime"})
    setup = bridge_config.write(directory / name, name, bootstrap, stream)
    setup.prepare()
    receipts = Receipts(bootstrap, setup.output)
    writer = Writer(bootstrap, stream)
    started = time.monotonic()
    run = Run(setup.command(profile=False), directory / "bridge.log")
    try:
        run.wait(setup.owner)
        ready = time.monotonic() - started
        writer.snapshot()
        writer.write(rate, WARM_SECONDS)
        since, writer.late_seconds = time.time(), 0.0
        writer.write(rate, seconds)
        pairs = received_and_written(bootstrap, stream, receipts)
        commits = setup.commits()
    finally:
        run.stop()
        receipts.close()
    found = sorted((received - written) * 1000 for received, written in pairs if written > since)
    places = statistics.quantiles(found, n=1000)
    return {
        "p50_ms": round(places[499], 1),
        "p99_ms": round(places[989], 1),
        "p999_ms": round(places[998], 1),
        "max_ms": round(found[-1], 1),
        "events": len(found),
        "transactions_per_s": rate,
        "seconds": seconds,
        "writer_late_ms": round(writer.late_seconds * 1000, 1),
        "kafka_transactions_per_s": round(commits / (seconds + WARM_SECONDS), 1),
        "bridge_cpu_share": round(run.cpu_seconds / (seconds + WARM_SECONDS), 2),
        "ready_seconds": round(ready, 2),
    }


def main() -> int:
    """Start Kafka, run, print."""
    parser = argparse.ArgumentParser(prog="python -m deploy.bench.latency", description=__doc__)
    parser.add_argument("--rate", type=float, default=500.0, help="source transactions a second")
    parser.add_argument("--seconds", type=float, default=120.0, help="how long they are written")
    options = parser.parse_args()
    return on_own_kafka(
        "latency", lambda bootstrap, place: latency_figures(bootstrap, place, options.rate, options.seconds)
    )


if __name__ == "__main__":
    sys.exit(main())
