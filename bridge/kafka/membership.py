"""Ownership of a source: whoever the group gives its owner topic's first partition.

The member reads nothing. It subscribes to the transaction topic (or the log) so that the group elects one owner, and
its metadata goes into every Kafka transaction, so that the broker refuses the commit of one who lost the election.
"""

from __future__ import annotations

import time
from typing import Final, NamedTuple

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from bridge.errors import Fatal, Fenced
from bridge.kafka.cluster import Cluster
from bridge.kafka.errors import MAX_POLL_EXCEEDED, PARTITION_EOF, UNKNOWN_TOPIC, Notes, border, translate
from bridge.kafka.settings import LOGGER, ClientSettings, member_properties

OWNER_PARTITION: Final = 0
SLICE_SECONDS: Final = 0.05  # librdkafka's poll does not return after a rebalance, so that waiting goes in slices
METADATA_MAGIC: Final = b"CGMDv2:"


class GroupPlace(NamedTuple):
    """Where a member stands in its group. Not a member: generation -1 or no member id."""

    generation: int
    member: bytes


def parse_group_metadata(metadata: bytes) -> GroupPlace:
    """Read librdkafka's group metadata: magic, generation (int32, little endian), group NUL, member NUL, instance."""
    if not metadata.startswith(METADATA_MAGIC):
        raise Fatal("this version of confluent-kafka has another form of group metadata", "install the pinned version")
    start = len(METADATA_MAGIC) + 4
    generation = int.from_bytes(metadata[start - 4 : start], "little", signed=True)
    return GroupPlace(generation, metadata[start:].split(b"\0", 2)[1])


class GroupMembership:
    """``Membership`` in a consumer group, for one thread: callbacks run inside ``poll``, ``wait`` and ``close``."""

    def __init__(self, settings: ClientSettings, cluster: Cluster, notes: Notes) -> None:
        self._topic = settings.owner_topic
        self._cluster = cluster
        self._notes = notes
        self._assigned: set[int] = set()
        with border("joining the group", notes):
            self._consumer = Consumer(member_properties(settings, notes), logger=LOGGER)
            self._consumer.subscribe(
                [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
            )

    def poll(self) -> bool:
        """See ``Membership.poll``. 14 µs."""
        self._serve(0.0)
        return self.owns()

    def wait(self, seconds: float) -> bool:
        """Wait up to ``seconds`` to become the owner; an owner does not wait."""
        until = time.monotonic() + seconds
        while not self.poll():
            left = until - time.monotonic()
            if left <= 0:
                return False
            self._serve(min(left, SLICE_SECONDS))
        return True

    def owns(self) -> bool:
        """Whether the last ``poll`` left us the owner and no heartbeat has found otherwise since."""
        if OWNER_PARTITION not in self._assigned:
            return False
        place = parse_group_metadata(self._consumer.consumer_group_metadata())
        return place.generation >= 0 and place.member != b""

    def group_metadata(self) -> bytes:
        """The live metadata for ``send_offsets_to_transaction``. Raises Fenced for one who does not own the source.

        The guard stands here because a broker accepts the offsets of a caller with *no* generation and member id:
        that is how it treats one who manages partitions by hand.
        """
        metadata: bytes = self._consumer.consumer_group_metadata()
        place = parse_group_metadata(metadata)
        if place.generation < 0 or not place.member or OWNER_PARTITION not in self._assigned:
            raise Fenced(f"{self._topic} was given to another process of the group")
        return metadata

    def close(self) -> None:
        """Leave the group at once, so that a stand-by takes over without waiting for the session to end."""
        self._assigned.clear()
        with border("leaving the group", self._notes):
            self._consumer.close()

    def _serve(self, seconds: float) -> None:
        """Heartbeats, rebalances and errors; one that an ``on_`` function raised would come out here."""
        with border("keeping the group", self._notes):
            message = self._consumer.poll(seconds)
            while message is not None:
                self._look_at(message)
                message = self._consumer.poll(0)

    def _look_at(self, message: Message) -> None:
        error = message.error()
        if error is None or error.code() in {PARTITION_EOF, MAX_POLL_EXCEEDED}:
            return  # a record fetched before the pause took hold, or a loss that on_lost has told us already
        if error.code() in UNKNOWN_TOPIC:
            self._cluster.require([self._topic], "Debezium's connector makes it with its first transaction; start it")
            return
        raise translate(error, "keeping the group", self._notes)

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Take the partition and pause it: it stands for ownership. Offset 0 spares a look-up of the committed one."""
        places = [TopicPartition(place.topic, place.partition, 0) for place in partitions]
        consumer.incremental_assign(places)
        consumer.pause(places)
        self._assigned.update(place.partition for place in partitions)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Also for partitions that are lost already: the session ended, or polls came too seldom."""
        self._assigned.difference_update(place.partition for place in partitions)
        try:
            consumer.incremental_unassign(partitions)
        except KafkaException:
            self._assigned.clear()
