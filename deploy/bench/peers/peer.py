"""A peer: a program in another framework that does as much of the bridge's job as that lets it do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from deploy.bench.measure import Group
from deploy.bench.topics import TIMEOUT_SECONDS

READING = "reading"  # what a peer prints when it begins to read
READ = ("t_ord", "t_ord_line", "t_pay")


@dataclass(frozen=True, slots=True)
class Peer:
    """How it is called, and started."""

    name: str
    program: Sequence[str]

    @property
    def group(self) -> str:
        """Its name, as groups and topics may have it."""
        return self.name.lower().replace(" ", "-")

    def topics(self, prefix: str) -> set[str]:
        """What it reads through its group; customers it looks up by other ways."""
        return {f"{prefix}.public.{table}" for table in READ}

    def command(self, bootstrap: str, group: str, prefix: str, output: str, state: Path) -> list[str]:
        """A run of it; the group names its internal topics too."""
        return [*self.program, bootstrap, group, prefix, output, str(state)]


class PeerGroup(Group):
    """The group of a peer, which sends itself records through repartition topics: those are to be consumed as well."""

    def __init__(self, bootstrap: str, name: str) -> None:
        super().__init__(bootstrap, name)
        self._name = name
        self._client = AdminClient({"bootstrap.servers": bootstrap})
        self._reader = Consumer({"bootstrap.servers": bootstrap, "group.id": "ends"})

    def drained(self, committed: Mapping[tuple[str, int], int]) -> bool:
        """Whether nothing is left in them but the marker of the Kafka transaction that wrote the last record."""
        topics = self._client.list_topics(timeout=TIMEOUT_SECONDS).topics
        own = [topic for topic in topics if self._name in topic and "repartition" in topic and "changelog" not in topic]
        places = [(topic, partition) for topic in own for partition in topics[topic].partitions]
        return all(committed.get(place, 0) >= self._end(*place) - 1 for place in places)

    def _end(self, topic: str, partition: int) -> int:
        return int(self._reader.get_watermark_offsets(TopicPartition(topic, partition), timeout=TIMEOUT_SECONDS)[1])
