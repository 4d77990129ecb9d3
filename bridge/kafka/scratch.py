"""Topics and groups that a command makes for itself on somebody's cluster, and takes away again."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from bridge.errors import Retriable
from bridge.kafka.cluster import Cluster
from bridge.kafka.consume import PartitionReader
from bridge.kafka.errors import Notes, border
from bridge.kafka.settings import LOGGER, ClientSettings, check_properties, common_properties
from bridge.model import InboundRecord, InputPartition

FLUSH_SECONDS: Final = 60.0
EMPTY_SECONDS: Final = 20.0  # how long a group may take to notice that its members are gone
# Java's partitioner, as Kafka Connect writes; small batches, so that readers get little at a time.
WRITING: Final = {"partitioner": "murmur2", "batch.num.messages": 20, "enable.idempotence": True, "acks": "all"}


class Scratch:
    """What is made with this object is deleted by ``delete``; nothing else is touched."""

    def __init__(self, properties: Mapping[str, str], name: str) -> None:
        self._settings = ClientSettings(properties, name, name, name, name, client_id=name)
        check_properties(self._settings)
        self._notes = Notes()
        self._cluster = Cluster(self._settings, self._notes)
        with border("making a Kafka client"):
            self._admin = AdminClient(common_properties(self._settings, "scratch", self._notes), logger=LOGGER)

    def broker_config(self) -> dict[str, str]:
        """See ``Cluster.broker_config``."""
        return self._cluster.broker_config()

    def create(self, topics: Mapping[str, int]) -> None:
        """Topics with so many partitions, that keep what they are given."""
        kept = {"retention.ms": "-1", "cleanup.policy": "delete"}
        self._cluster.create([NewTopic(name, count, -1, config=kept) for name, count in topics.items()])

    def write(self, records: Iterable[tuple[str, bytes, bytes, list[tuple[str, bytes]]]]) -> None:
        """In this order within a partition."""
        with border("writing the input", self._notes):
            producer = Producer(common_properties(self._settings, "writer", self._notes) | WRITING, logger=LOGGER)
            for topic, key, value, headers in records:
                while True:
                    try:
                        producer.produce(topic, value, key, headers=headers)  # type: ignore[arg-type]  # its stub lacks a Sequence
                        break
                    except BufferError:
                        producer.poll(0.1)
            if producer.flush(FLUSH_SECONDS):
                raise Retriable("the brokers did not take the input in time", self._notes.recent())

    def partitions(self, topics: Iterable[str]) -> list[InputPartition]:
        """Of topics that exist."""
        found = self._cluster.require(topics, "it was made a moment ago")
        return [InputPartition(name, part.id) for name, topic in found.items() for part in topic.partitions]

    def ends(self, partitions: Iterable[InputPartition]) -> dict[InputPartition, int]:
        """What is in the logs, committed or not."""
        return self._cluster.ends(partitions)

    def stable_ends(self, partitions: Iterable[InputPartition]) -> dict[InputPartition, int]:
        """What is decided."""
        return self._cluster.stable_ends(partitions)

    def committed(self, group: str, partitions: Iterable[InputPartition]) -> dict[InputPartition, int]:
        """The offsets of a group."""
        places = [TopicPartition(name.topic, name.partition) for name in partitions]
        with border("asking for a group's offsets", self._notes):
            asked = [ConsumerGroupTopicPartitions(group, places)]
            answer = self._admin.list_consumer_group_offsets(asked, request_timeout=10)[group].result()
            found = answer.topic_partitions
        return {InputPartition(place.topic, place.partition): place.offset for place in found}

    @contextmanager
    def following(self, topic: str) -> Iterator[PartitionReader]:
        """Reads a topic from its beginning, as a ``read_committed`` consumer sees it."""
        name = self._settings.group
        settings = ClientSettings(self._settings.properties, name, name, topic, name, client_id=name)
        reader = _AnyPartitions(settings, self._cluster, self._notes)
        try:
            reader.seek({})
            yield reader
        finally:
            reader.close()

    def delete(self, topics: Sequence[str], groups: Sequence[str]) -> list[str]:
        """Delete topics, and groups once their members are gone. Returns what could not be deleted."""
        left = []
        answers = self._admin.delete_topics(list(topics), request_timeout=20) if topics else {}
        for name, future in answers.items():
            try:
                future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    left.append(f"topic {name}")
        return left + [f"group {group}" for group in groups if not self._delete_group(group)]

    def _delete_group(self, group: str) -> bool:
        until = time.monotonic() + EMPTY_SECONDS
        while True:
            try:
                self._admin.delete_consumer_groups([group], request_timeout=10)[group].result()
            except KafkaException as error:
                code = error.args[0].code()
                if code == KafkaError.GROUP_ID_NOT_FOUND:
                    return True
                if code != KafkaError.NON_EMPTY_GROUP or time.monotonic() > until:
                    return False
                time.sleep(0.2)
            else:
                return True


class _AnyPartitions(PartitionReader):
    """Reads a topic of events, which may have many partitions."""

    def partitions(self) -> list[InputPartition]:
        found = self._cluster.require(self._topics, "it was made a moment ago")
        return [InputPartition(topic, part.id) for topic in self._topics for part in found[topic].partitions]


def drained(reader: PartitionReader) -> Iterator[InboundRecord]:
    """What can be seen by now and was not read yet."""
    ends = reader.ends()
    while any(reader.positions()[name] < end for name, end in ends.items()):
        yield from reader.read(2000, 0.2)
