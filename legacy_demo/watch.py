"""Consumers of the demo's own, which see what any outsider would see: rows going in, events coming out."""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from legacy_demo.verify import PublishedEvent

BATCH = 1_000
WAIT_SECONDS = 0.2


class Watcher(ABC):
    """Reads topics from their beginning in a thread of its own; a context manager."""

    def __init__(self, bootstrap: str, topics: Sequence[str]) -> None:
        self._settings: dict[str, str | int | bool] = {
            "bootstrap.servers": bootstrap,
            "group.id": "demo-watcher",  # required, and not used: partitions are assigned, nothing is committed
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "log_level": 0,
        }
        self._consumer = Consumer(self._settings)
        self._topics = topics
        self._ended = threading.Event()
        self._moved = threading.Condition()
        self._positions: dict[tuple[str, int], int] = {}
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        known = self._consumer.list_topics(timeout=10).topics
        partitions = [(topic, number) for topic in self._topics for number in known[topic].partitions]
        self._positions = dict.fromkeys(partitions, 0)
        self._consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for topic, number in partitions])
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._consumer.close()

    def catch_up(self, timeout: float) -> bool:
        """Wait until everything that is in the topics now was seen; False when that takes over `timeout` seconds."""
        # Asked by another client: asked by the one whose thread is in consume(), this was seen to block for ever.
        asker = Consumer(self._settings)
        ends = {
            partition: asker.get_watermark_offsets(TopicPartition(*partition), timeout=10)[1]
            for partition in self._positions
        }
        asker.close()
        with self._moved:
            return self._moved.wait_for(
                lambda: all(self._positions[partition] >= end for partition, end in ends.items()), timeout
            )

    @abstractmethod
    def seen(self, message: Message) -> None:
        """Called for each record, in the order of its partition."""

    def _read(self) -> None:
        while not self._ended.is_set():
            messages = self._consumer.consume(BATCH, WAIT_SECONDS)
            for message in messages:
                if message.error() is None:
                    self.seen(message)
            # The position, unlike the last offset seen, steps over the markers of Kafka transactions.
            positions = self._consumer.position([TopicPartition(*partition) for partition in self._positions])
            with self._moved:
                for place in positions:
                    if place.offset >= 0:
                        self._positions[place.topic, place.partition] = place.offset
                self._moved.notify_all()


class InputWatcher(Watcher):
    """Counts what Debezium writes: row changes (with seeds), and source transactions by their END."""

    def __init__(self, bootstrap: str, topics: Sequence[str], transaction_topic: str) -> None:
        super().__init__(bootstrap, [*topics, transaction_topic])
        self._transaction_topic = transaction_topic
        self.row_changes = 0
        self.transactions = 0

    def seen(self, message: Message) -> None:
        value = message.value()
        if value is None:  # the tombstone behind a delete
            return
        if message.topic() != self._transaction_topic:
            self.row_changes += 1
        elif b'"status":"END"' in value:
            self.transactions += 1


class EventWatcher(Watcher):
    """Collects the canonical events."""

    def __init__(self, bootstrap: str, topics: Sequence[str]) -> None:
        super().__init__(bootstrap, topics)
        self.events: list[PublishedEvent] = []
        self.keys: set[str] = set()

    def seen(self, message: Message) -> None:
        headers = dict(message.headers() or [])
        event = PublishedEvent(
            id=_text(headers.get("ce_id")),
            type=_text(headers.get("ce_type")).rpartition(".")[2],
            key=_text(message.key()),
            data=json.loads(message.value() or b"null"),
        )
        self.events.append(event)
        self.keys.add(event.key)


def _text(value: str | bytes | None) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""
