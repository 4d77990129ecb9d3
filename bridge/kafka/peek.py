"""One look at a record that may not be committed: when was it written?"""

from __future__ import annotations

import time
from typing import Final

from confluent_kafka import Consumer, TopicPartition

from bridge.kafka.errors import Notes, border
from bridge.kafka.settings import LOGGER, ClientSettings, reader_properties
from bridge.model import InputPartition

_SECONDS: Final = 10.0


def written_at(settings: ClientSettings, notes: Notes, partition: InputPartition, offset: int) -> int | None:
    """The timestamp, in ms, of the first record from an offset on, committed or not; None where it does not come."""
    with border("making a consumer", notes):
        properties = reader_properties(settings, "peek", notes) | {"isolation.level": "read_uncommitted"}
        consumer = Consumer(properties, logger=LOGGER)
    try:
        with border("assigning a partition", notes):
            consumer.assign([TopicPartition(partition.topic, partition.partition, offset)])
        until = time.monotonic() + _SECONDS
        while time.monotonic() < until:
            with border(f"reading {partition}", notes):
                messages = consumer.consume(1, 0.2)
            for message in messages:
                if message.error() is None:
                    return int(message.timestamp()[1])
    finally:
        consumer.close()
    return None
