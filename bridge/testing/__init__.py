"""A Kafka with seeded faults and a clock that tests move: the runtime's ports in one process, without a broker.

It ships with the bridge, so that users can test their own set-up against the faults that it must survive::

    broker = Broker(seed=7)
    for topic, partitions in {"legacy.transaction": 1, "legacy.public.t_ord": 3, "bridge.legacy.state": 1}.items():
        broker.create_topic(topic, partitions)
    topics = SourceTopics("legacy.transaction", ("legacy.public.t_ord",), changelog="bridge.legacy.state")
    kafka = FakeKafka(broker, topics, Process("one", seed=7, faults=Faults(publish_unknown=0.1)))

What is simulated, and how true it is to Kafka, stands at ``Broker`` (logs, Kafka transactions, the group) and
``Process`` (crashes, pauses, failing calls).
"""

from bridge.testing.broker import Broker, CommittedTransaction, Group, Log
from bridge.testing.faults import Crash, FakeClock, Faults, Process
from bridge.testing.ports import (
    FakeChangelog,
    FakeKafka,
    FakeMembership,
    FakePublisher,
    FakeReader,
    SourceTopics,
)

__all__ = [
    "Broker",
    "CommittedTransaction",
    "Crash",
    "FakeChangelog",
    "FakeClock",
    "FakeKafka",
    "FakeMembership",
    "FakePublisher",
    "FakeReader",
    "Faults",
    "Group",
    "Log",
    "Process",
    "SourceTopics",
]
