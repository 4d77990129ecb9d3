"""What the tests of faults share: a stream in topics of its own, a proxy, and a run that is judged byte by byte."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka.admin import AdminClient

from bridge.kafka.scratch import Scratch
from bridge.testing.expected import events_of
from bridge.testing.proxy import Proxy
from bridge.testing.stream import OrderStream
from bridge.torture.run import Input, Run, Seconds
from deploy.stack import Stack

ROW_CHANGES = 900


class Corner:
    """One test's topics. The stream is written in parts, so that something is left to come while a fault happens."""

    def __init__(self, stack: Stack, home: Path, name: str, partitions: int = 2) -> None:
        self.name = f"{name}-{random.randrange(10**6)}"
        self.home = home
        self.bootstrap = stack.bootstrap
        self.properties = {"bootstrap.servers": stack.bootstrap}
        self.scratch = Scratch(self.properties, self.name)
        self.stream = OrderStream(f"{self.name}.in", ROW_CHANGES, 7, customers=10, orders_at_a_time=10)
        self.admin = AdminClient({**self.properties, "log_level": 0})  # kept: one that is dropped answers nothing
        self._records = list(self.stream.records())
        self._written = 0
        self._topics = {**dict.fromkeys(self.stream.topics, partitions), self.stream.transaction_topic: 1}
        self.scratch.create(self._topics)
        topics = tuple(self.stream.topics)
        self.input = Input(topics, self.stream.transaction_topic, events_of(self.stream.facts), {})

    def write(self, share: float = 1.0) -> None:
        """As much of the stream as is missing to this share."""
        until = int(len(self._records) * share)
        self.scratch.write(self._records[self._written : until])
        self._written = until
        self.input.ends.update(self.scratch.ends(self.scratch.partitions(self._topics)))

    @contextmanager
    def run(self, name: str = "run", *, session: float = 2.0, transaction: float = 10.0) -> Iterator[Run]:
        """Bridges behind a proxy."""
        seconds = Seconds(session, transaction)
        with (
            Proxy(self.bootstrap) as proxy,
            Run(
                self.scratch,
                f"{self.name}-{name}",
                self.home / name,
                self.input,
                self.properties,
                seconds,
                random.Random(7),
                proxy,
            ) as run,
        ):
            yield run


def judge(run: Run) -> None:
    """Finish, and the verdict: nothing lost, nothing twice, in order, byte by byte; offsets at the input's end."""
    run.finish()
    verdict = run.verdict()
    assert verdict.good, verdict
    assert verdict.expected == verdict.seen > 0
