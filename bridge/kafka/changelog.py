"""Reads the changelog: one compacted topic with one partition, the state of a source.

The end is the last stable offset, captured once it reached the high watermark that was captured before it: a Kafka
transaction which a former owner left open hides its records *and all behind them* until it is decided.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

from confluent_kafka import Consumer, TopicPartition

from bridge.errors import Fatal, Retriable, StateLost
from bridge.kafka.cluster import Cluster
from bridge.kafka.consume import drain, has_error
from bridge.kafka.errors import CREATE_TOPICS, OUT_OF_RANGE, PARTITION_EOF, Notes, border, translate
from bridge.kafka.settings import LOGGER, ClientSettings, reader_properties
from bridge.model import ChangelogRecord, InputPartition

BATCH: Final = 10_000  # records
# Nothing but the client stands between the log and the state: 1.4 million small records come at 125,000/s with
# librdkafka's defaults, which look again after a second when the queue was full, and at 1,000,000/s with these.
READ_AHEAD: Final = {"fetch.queue.backoff.ms": 10, "queued.min.messages": 20_000, "queued.max.messages.kbytes": 32_768}
POLL_SECONDS: Final = 0.5
DECIDE_SECONDS: Final = 10.0  # what the brokers take, beyond its timeout, to abort a Kafka transaction
STALL_SECONDS: Final = 30.0  # without a record


class TopicChangelog:
    """``Changelog`` of one source."""

    def __init__(self, settings: ClientSettings, cluster: Cluster, notes: Notes) -> None:
        self._settings = settings
        self._cluster = cluster
        self._notes = notes
        self._partition = InputPartition(settings.changelog_topic, 0)
        self._decide_seconds = settings.transaction_timeout_ms / 1000 + DECIDE_SECONDS

    def identity(self) -> str:
        """The topic's id, which no other topic of that name ever had."""
        topic = self._partition.topic
        found = self._cluster.require([topic], CREATE_TOPICS)[topic]
        if len(found.partitions) != 1:
            raise Fatal(f"changelog {topic} has {len(found.partitions)} partitions, not one", CREATE_TOPICS)
        return str(found.topic_id)

    def bounds(self) -> tuple[int, int]:
        """See ``Changelog.bounds``. Waits for open Kafka transactions, at most as long as one can stay open."""
        name = self._partition
        high = self._cluster.ends([name])[name]
        until = time.monotonic() + self._decide_seconds
        while (stable := self._cluster.stable_ends([name])[name]) < high:
            if time.monotonic() > until:
                raise Retriable(
                    f"a Kafka transaction stays open on {name} at offset {stable}",
                    f"find and abort it: kafka-transactions.sh find-hanging --topic {name.topic} --partition 0",
                )
            time.sleep(0.05)
        return self._cluster.starts([name])[name], stable

    def settled(self) -> tuple[int, int]:
        """See ``Changelog.settled``. Looks for a gap between a busy writer's Kafka transactions: half a millisecond each time."""
        name = self._partition
        until = time.monotonic() + self._decide_seconds
        while True:
            stable = self._cluster.stable_ends([name])[name]  # asked first: what was open then is before the other
            if stable == self._cluster.ends([name])[name]:
                return self._cluster.starts([name])[name], stable
            if time.monotonic() > until:
                raise Retriable(f"there is always a Kafka transaction open on {name}", "try again")
            time.sleep(0.001)

    def read(self, start: int, end: int) -> Iterator[tuple[list[ChangelogRecord], int]]:
        """See ``Changelog.read``. Raises StateLost where the log does not hold ``start`` to ``end``."""
        if start == end:
            return
        self._check(start, end)
        with border("making a consumer", self._notes):
            properties = READ_AHEAD | reader_properties(self._settings, "restore", self._notes)
            consumer = Consumer(properties, logger=LOGGER)
        try:
            with border("assigning the changelog", self._notes):
                consumer.assign([TopicPartition(self._partition.topic, 0, start)])
            yield from self._batches(consumer, start, end)
        finally:
            consumer.close()

    def _check(self, start: int, end: int) -> None:
        name = self._partition
        first, last = self._cluster.starts([name])[name], self._cluster.stable_ends([name])[name]
        if not first <= start < end <= last:
            raise StateLost(f"offsets {start} to {end} are not in {name}, which holds {first} to {last}")

    def _batches(self, consumer: Consumer, position: int, end: int) -> Iterator[tuple[list[ChangelogRecord], int]]:
        until = time.monotonic() + STALL_SECONDS
        while position < end:
            with border("reading the changelog", self._notes):
                messages = drain(consumer, BATCH, POLL_SECONDS)
            reached = position
            if has_error(messages):
                messages, reached = self._without_events(messages, position)
            if messages:
                reached = max(reached, messages[-1].offset() + 1)
                while messages and messages[-1].offset() >= end:  # newer than asked for; compaction leaves gaps
                    messages.pop()
            if reached > position:
                position, until = min(reached, end), time.monotonic() + STALL_SECONDS
                yield [ChangelogRecord(message.key(), message.value()) for message in messages], position
            elif time.monotonic() > until:
                raise Retriable(f"reading {self._partition} stands still at offset {position}", self._notes.recent())

    def _without_events(self, messages: list[Any], position: int) -> tuple[list[Any], int]:
        """The records, and the partition's end where it was reached: behind markers and what compaction removed."""
        for message in messages:
            error = message.error()
            if error is None:
                continue
            if error.code() in OUT_OF_RANGE:
                raise StateLost(f"offset {position} is gone from {self._partition}")
            if error.code() != PARTITION_EOF:
                raise translate(error, f"reading {self._partition}", self._notes)
            position = max(position, message.offset())
        return [message for message in messages if message.error() is None], position
