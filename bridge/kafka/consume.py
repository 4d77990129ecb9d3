"""Reads the source's partitions by manual assignment: which process may, the membership says.

Positions are true in the middle of a batch: librdkafka's position follows what ``read`` returned and steps over
transaction markers; the end of a partition is reported to us as an event and steps over what compaction removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NoReturn

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from bridge.errors import BridgeError, Fatal, Retriable
from bridge.kafka.cluster import Cluster
from bridge.kafka.errors import CREATE_TOPICS, OUT_OF_RANGE, PARTITION_EOF, UNKNOWN_TOPIC, Notes, border, translate
from bridge.kafka.settings import LOGGER, ClientSettings, reader_properties
from bridge.model import InboundRecord, InputPartition

MISSING_INPUT: Final = "Debezium's connector makes its topics with their first record; start it, or correct the config"
LOSS: Final = (
    "records were deleted before the bridge read them, so that events are lost: raise the topic's retention; "
    "then give the source a new `application`, which starts from what is there"
)
FOREIGN: Final = (
    "the topic was deleted and made again, or a broker lost records: the checkpoint belongs to another log; "
    "compare both before you let the bridge start anew"
)


def drain(consumer: Consumer, limit: int, seconds: float) -> list[Any]:
    """What has been fetched already, at most ``limit``; where that is nothing, wait up to ``seconds`` for the first.

    ``consume`` alone waits the whole time for a full batch, and a quiet source's record would wait with it.
    """
    messages = consumer.consume(limit, 0)
    if not messages and seconds > 0:
        messages = consumer.consume(1, seconds)
        if messages and limit > 1:
            messages += consumer.consume(limit - 1, 0)
    return messages


def has_error(messages: Sequence[Any]) -> bool:
    """Whether one of the messages is an event or an error. One loop in C: 17 ns a message."""
    return any(map(Message.error, messages))


class PartitionReader:
    """``Reader`` of one source's topics."""

    def __init__(self, settings: ClientSettings, cluster: Cluster, notes: Notes) -> None:
        self._topics = settings.input_topics
        self._owner_topic = settings.owner_topic
        self._missing = MISSING_INPUT if settings.owner_topic else CREATE_TOPICS
        self._cluster = cluster
        self._notes = notes
        self._settings = settings
        self._floor: dict[InputPartition, int] = {}  # assigned: where reading began, or the end last seen
        self._has_read = False  # since the consumer was made
        self._consumer = self._new_consumer()

    def _new_consumer(self) -> Consumer:
        with border("making a consumer", self._notes):
            return Consumer(reader_properties(self._settings, "reader", self._notes), logger=LOGGER)

    def partitions(self) -> list[InputPartition]:
        """See ``Reader.partitions``: asked anew each time, so that a topic that grew is noticed."""
        found = self._cluster.require(self._topics, self._missing)
        count = len(found[self._owner_topic].partitions) if self._owner_topic else 1
        if count != 1:
            raise Fatal(
                f"topic {self._owner_topic} has {count} partitions",
                "the order of commits rests on one partition; make it with one and let Debezium write it anew",
            )
        return [InputPartition(topic, part.id) for topic in self._topics for part in found[topic].partitions]

    def seek(self, offsets: dict[InputPartition, int]) -> dict[InputPartition, int]:
        """See ``Reader.seek``. What ``offsets`` does not name goes on where it is, or begins at its log's start."""
        targets = dict.fromkeys(self.partitions(), -1) | self.positions() | offsets
        starts, ends = self._cluster.starts(targets), self._cluster.ends(targets)
        for name, offset in targets.items():
            targets[name] = checked_start(name, offset, starts[name], ends[name])
        if (
            self._has_read
        ):  # an old position shows for a while after a new assignment, and looks like an end that was reached
            with border("closing a consumer", self._notes):
                self._consumer.close()
            self._consumer, self._has_read = self._new_consumer(), False
        with border("assigning partitions", self._notes):
            self._consumer.assign([TopicPartition(name.topic, name.partition, at) for name, at in targets.items()])
        self._floor = targets
        return dict(targets)

    def read(self, limit: int, seconds: float) -> Sequence[InboundRecord]:
        """See ``Reader.read``. Returns as soon as there is something, and with nothing at a partition's end."""
        self._has_read = True
        with border("reading", self._notes):
            messages = drain(self._consumer, limit, seconds)
        return self._without_events(messages) if has_error(messages) else messages

    def _without_events(self, messages: list[Any]) -> list[Any]:
        records = []
        for message in messages:
            error = message.error()
            if error is None:
                records.append(message)
            elif error.code() == PARTITION_EOF:
                self._floor[InputPartition(message.topic(), message.partition())] = message.offset()
            else:
                self._raise(error, message)
        return records

    def _raise(self, error: KafkaError, message: Any) -> NoReturn:
        name = InputPartition(message.topic() or "", message.partition())
        if error.code() in OUT_OF_RANGE:
            raise self._out_of_range(name, error)
        if error.code() in UNKNOWN_TOPIC:
            self._cluster.require(self._topics, self._missing)
            raise Retriable(f"{name} was unknown to the brokers for a moment")
        raise translate(error, f"reading {name}", self._notes)

    def _out_of_range(self, name: InputPartition, error: KafkaError) -> BridgeError:
        """The log was cut while we read it; or the brokers' reset has another reason, such as missing rights."""
        position = self.positions()[name]
        checked_start(name, position, self._cluster.starts([name])[name], self._cluster.ends([name])[name])
        return Retriable(f"reading {name} at {position} failed: {error.name()}: {error.str()}")

    def positions(self) -> dict[InputPartition, int]:
        """See ``Reader.positions``. 1 µs a partition."""
        if not self._floor:
            return {}
        with border("asking for positions", self._notes):
            places = self._consumer.position([TopicPartition(name.topic, name.partition) for name in self._floor])
        for place in places:
            name = InputPartition(place.topic, place.partition)
            self._floor[name] = max(self._floor[name], place.offset)  # negative before the first record
        return dict(self._floor)

    def ends(self) -> dict[InputPartition, int]:
        """See ``Reader.ends``. 0.3 ms."""
        return self._cluster.stable_ends(self._floor)

    def written(self) -> dict[InputPartition, int]:
        """See ``Reader.written``. 0.3 ms."""
        return self._cluster.ends(self._floor)

    def pause(self, partitions: Iterable[InputPartition]) -> None:
        """Drops what was fetched and not read, to be fetched again: pause seldom."""
        with border("pausing", self._notes):
            self._consumer.pause([TopicPartition(name.topic, name.partition) for name in partitions])

    def resume(self, partitions: Iterable[InputPartition]) -> None:
        with border("resuming", self._notes):
            self._consumer.resume([TopicPartition(name.topic, name.partition) for name in partitions])

    def close(self) -> None:
        self._floor = {}
        with border("closing a consumer", self._notes):
            self._consumer.close()


def checked_start(name: InputPartition, offset: int, start: int, end: int) -> int:
    """The offset to read from. Raises Fatal where the log does not reach it: never skip."""
    if offset < 0:
        return start
    if offset < start:
        raise Fatal(f"loss in {name}: it begins at offset {start}, and the bridge has read up to {offset}", LOSS)
    if offset > end:
        raise Fatal(f"{name} ends at offset {end}, and the bridge has read up to {offset}", FOREIGN)
    return offset


def partition_list(offsets: Mapping[InputPartition, int]) -> list[TopicPartition]:
    """Offsets in the form that librdkafka takes."""
    return [TopicPartition(name.topic, name.partition, offset) for name, offset in offsets.items()]
