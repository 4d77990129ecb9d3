"""One source transaction of very many rows: all of its events or none, in bounded memory, whatever is killed."""

from __future__ import annotations

from os import EX_SOFTWARE
from pathlib import Path

import pytest
import yaml
from confluent_kafka import Producer

from deploy.bench.size import LargeTransaction
from deploy.bench.topics import make_topics, read_records
from deploy.stack import Stack

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(600)]

ROWS = 100_000  # `python -m deploy.bench.size transaction` does the same with 1,000,000
ANONYMOUS_MIB = 400  # librdkafka's queues and the state's cache are most of it, and do not grow with the transaction


def test_a_large_transaction_comes_whole_and_once(kafka_stack: Stack, tmp_path: Path) -> None:
    large = LargeTransaction(kafka_stack.bootstrap, tmp_path, ROWS, "test-large")
    large.killed_in_the_middle()
    assert large.seen() == 0, "events of a transaction that is not whole"
    took = large.ends()
    large.check()
    assert took["anonymous_mib"] < ANONYMOUS_MIB


def test_a_transaction_too_long_for_its_timeout_says_so_and_shows_nothing(kafka_stack: Stack, tmp_path: Path) -> None:
    large = LargeTransaction(kafka_stack.bootstrap, tmp_path, ROWS, "test-timeout")
    long_enough = large.setup.config.read_text()
    config = yaml.safe_load(long_enough)
    config["limits"]["transaction_timeout_seconds"] = 1
    config["kafka"]["batch.num.messages"] = 1  # one request for each of the 120,000 records: no machine is fast enough
    large.setup.config.write_text(yaml.safe_dump(config))
    with large.start() as bridge:
        assert bridge.wait(300) == EX_SOFTWARE
    said = (tmp_path / "bridge.log").read_text()
    assert "B509" in said
    assert "transaction.timeout.ms" in said
    assert "transaction.max.timeout.ms" in said
    assert large.seen() == 0
    large.setup.config.write_text(long_enough)
    large.ends()
    large.check()


def test_who_reads_to_the_end_does_not_count_an_end_twice(kafka_stack: Stack) -> None:
    """A partition whose end comes again, because more was written meanwhile, is one partition."""
    bootstrap, count = kafka_stack.bootstrap, 50_000  # takes several reads
    make_topics(bootstrap, {"moving": 1, "long": 1})
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 50})
    for _ in range(count):
        producer.produce("long", bytes(2_000))
        while len(producer) > 10_000:
            producer.poll(0.1)
    producer.produce("moving", "one")
    producer.flush()
    read = 0
    for message in read_records(bootstrap, ["moving", "long"]):
        if message.topic() == "long":
            read += 1
        elif read < count:
            producer.produce("moving", "one more")
            producer.flush()
    assert read == count
