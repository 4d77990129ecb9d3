"""The yardstick: reads the bridge's input and writes every tenth record on, in Kafka transactions, unseen.

One process, the very client settings and commit limits of the bridge, Python's collector as the bridge has it. It
decodes nothing, keeps no state and asks nothing of the records but their bytes, so that no Python process with this
client does the bridge's job faster. It is never tuned down: a better ratio has to come from the bridge.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from bridge.kafka.errors import Notes
from bridge.kafka.settings import ClientSettings, member_properties, producer_properties, reader_properties
from bridge.runtime.worker import Limits

READ_SECONDS = 0.02
JOIN_SECONDS = 0.01
TIMEOUT_SECONDS = 30.0
MESSAGE_BYTES_MAX = 1_048_588  # the broker's default for a topic
EVERY = 10
READING = "reading"  # the line that starts the bench's clock


class PassThrough:
    """A reader by assignment, a member of the group, and a producer with a transactional.id, as the bridge has them."""

    def __init__(self, settings: ClientSettings) -> None:
        notes = Notes()
        limits = dict.fromkeys(settings.output_topics, MESSAGE_BYTES_MAX)
        self._settings = settings
        self._limits = Limits()
        self._output = settings.output_topics[0]
        self._count = 0
        self._member = Consumer(member_properties(settings, notes))
        self._reader = Consumer(reader_properties(settings, "reader", notes))
        self._producer = Producer(producer_properties(settings, notes, limits))
        self._producer.init_transactions(TIMEOUT_SECONDS)
        topics = self._member.list_topics(timeout=TIMEOUT_SECONDS).topics
        self._partitions = [
            TopicPartition(topic, number, 0) for topic in settings.input_topics for number in topics[topic].partitions
        ]

    def run(self) -> None:
        """Move everything up to the ends as they are now. The bench's clock starts at ``READING``."""
        ends = [self._reader.get_watermark_offsets(place, timeout=TIMEOUT_SECONDS)[1] for place in self._partitions]
        left = sum(ends)
        self._join()
        self._reader.assign(self._partitions)
        print(READING, flush=True)
        limits = self._limits
        while left:
            self._member.poll(0)
            self._producer.begin_transaction()
            pending, deadline = 0, None
            while True:
                messages = self._read(min(limits.read_records_max, left))
                now = time.monotonic()
                deadline = deadline or (now + limits.commit_seconds if messages else None)
                pending += len(messages)
                left -= len(messages)
                self._move(messages)
                idle = not messages and pending > 0
                late = deadline is not None and now >= deadline
                if pending >= limits.commit_rows or late or idle or not left:
                    break
            self._commit()
        self._reader.close()
        self._member.close()

    def _join(self) -> None:
        """Get the partition that makes the owner, and read nothing through it."""
        self._member.subscribe([self._settings.owner_topic])
        while not self._member.assignment():
            self._member.poll(JOIN_SECONDS)
        self._member.pause(self._member.assignment())

    def _read(self, limit: int) -> list[Any]:
        """What has been fetched already; where that is nothing, a short wait for the first."""
        messages = self._reader.consume(limit, 0) or self._reader.consume(1, READ_SECONDS)
        if not any(map(Message.error, messages)):
            return messages
        for message in messages:
            error = message.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - it has no other name
                raise KafkaException(error)
        return [message for message in messages if message.error() is None]

    def _move(self, messages: Sequence[Any]) -> None:
        """Produce every tenth record, counted over the whole run."""
        first = EVERY - 1 - self._count % EVERY
        self._count += len(messages)
        produce, output = self._producer.produce, self._output
        for message in messages[first::EVERY]:
            produce(output, message.value(), message.key(), headers=message.headers())

    def _commit(self) -> None:
        """The Kafka transaction: what was produced, and the offsets of all partitions."""
        offsets = [place for place in self._reader.position(self._partitions) if place.offset >= 0]
        group = self._member.consumer_group_metadata()
        self._producer.send_offsets_to_transaction(offsets, group, TIMEOUT_SECONDS)
        self._producer.commit_transaction(TIMEOUT_SECONDS)


def main() -> int:
    """Read the command line and run once."""
    parser = argparse.ArgumentParser(prog="python -m deploy.bench.passthrough", description=__doc__)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--name", required=True, help="consumer group and transactional.id")
    parser.add_argument("--owner-topic", required=True)
    parser.add_argument("--topics", required=True, nargs="+")
    parser.add_argument("--output", required=True)
    options = parser.parse_args()
    settings = ClientSettings(
        properties={"bootstrap.servers": options.bootstrap},
        group=options.name,
        transactional_id=options.name,
        owner_topic=options.owner_topic,
        changelog_topic="",
        data_topics=tuple(options.topics),
        output_topics=(options.output,),
    )
    passthrough = PassThrough(settings)
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)  # as bridge.runtime.daemon
    passthrough.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
