"""Kafka's side of the bench: topics made, filled with the stream, and read back to check what came out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from bridge.testing.stream import OrderStream

PARTITIONS = 3
TIMEOUT_SECONDS = 60.0
READ_SECONDS = 0.5
PROGRESS_RECORDS = 100_000
FILL: dict[str, str | int | bool] = {
    "enable.idempotence": True,
    "linger.ms": 50,
    "partitioner": "murmur2_random",  # as Kafka Connect: rows by the hash of their key
    "queue.buffering.max.messages": 200_000,
}
COUNT: dict[str, str | int | bool] = {
    "group.id": "count",
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
}


def make_topics(bootstrap: str, topics: Mapping[str, int], config: Mapping[str, str] | None = None) -> None:
    """Make topics with so many partitions each."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    wanted = [NewTopic(name, count, 1, config=dict(config or {})) for name, count in topics.items()]
    for future in admin.create_topics(wanted).values():
        future.result(TIMEOUT_SECONDS)


def fill(bootstrap: str, stream: OrderStream, progress: Callable[[str], None]) -> dict[TopicPartition, int]:
    """Write the stream into its topics; the end offset of each partition that holds something."""
    make_topics(bootstrap, dict.fromkeys(stream.topics, PARTITIONS) | {stream.transaction_topic: 1})
    ends: dict[tuple[str, int], int] = {}

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            raise KafkaException(error)
        ends[message.topic() or "", message.partition() or 0] = (message.offset() or 0) + 1

    producer = Producer({**FILL, "bootstrap.servers": bootstrap})
    for number, record in enumerate(stream.records(), 1):
        while True:
            try:
                producer.produce(
                    record.topic, record.value, record.key, headers=list(record.headers), on_delivery=delivered
                )
                break
            except BufferError:
                producer.poll(0.05)
        if number % 1000 == 0:
            producer.poll(0)
        if number % PROGRESS_RECORDS == 0:
            progress(f"  {number:,} records written")
    if producer.flush(TIMEOUT_SECONDS):
        raise TimeoutError("the broker did not take the stream in time")
    return {TopicPartition(topic, partition): end for (topic, partition), end in ends.items()}


def read_records(bootstrap: str, topics: Iterable[str]) -> Iterator[Message]:
    """What a read_committed consumer sees in whole topics."""
    consumer = Consumer(COUNT | {"bootstrap.servers": bootstrap})
    known = consumer.list_topics(timeout=TIMEOUT_SECONDS).topics
    places = [TopicPartition(topic, number, 0) for topic in topics for number in known[topic].partitions]
    consumer.assign(places)
    unfinished = {(place.topic, place.partition) for place in places}
    while unfinished:
        for message in consumer.consume(10_000, READ_SECONDS):
            error = message.error()
            if error is None:
                yield message
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client has no other name for it
                # again, where more became visible in the meantime
                unfinished.discard((message.topic() or "", message.partition() or 0))
            else:
                raise KafkaException(error)
    consumer.close()


def count_records(bootstrap: str, topics: Iterable[str], name: Callable[[Message], str]) -> Counter[str]:
    """What a read_committed consumer sees in whole topics, counted by name."""
    return Counter(map(name, read_records(bootstrap, topics)))


def event_type(message: Message) -> str:
    """The CloudEvents type of an event, without a prefix of domains."""
    for name, value in headers_of(message):
        if name == "ce_type":
            return (value or b"").decode().rsplit(".", 1)[-1]
    return "no ce_type"


def headers_of(message: Message) -> list[tuple[str, bytes | None]]:
    """The headers; the client's own annotation allows forms that it never gives."""
    return cast("list[tuple[str, bytes | None]]", message.headers() or [])
