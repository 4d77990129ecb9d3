"""The topics that the bridge writes: which, with what settings, whether they are there, and making them.

Nothing is made in passing: the bridge itself needs no right to create topics. `bridge topics` prints the plan, makes it
with --create, and ``require`` lets nothing start on topics that would lose data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from confluent_kafka.cimpl import NewTopic

from bridge.errors import Fatal
from bridge.kafka.cluster import Cluster
from bridge.kafka.errors import CREATE_TOPICS

DAY_MS: Final = 24 * 60 * 60 * 1000
FOREVER: Final = "-1"
LARGE_RECORD_BYTES: Final = 10 * 1024 * 1024  # a row, or the rows of a unit in a dead letter
BROKER_DEFAULT: Final = -1


class Purpose(StrEnum):
    CHANGELOG = "changelog"
    DEAD_LETTERS = "dead letters"
    EVENTS = "events"


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic of the plan. ``replication`` -1: the brokers' default."""

    name: str
    purpose: Purpose
    partitions: int
    replication: int = BROKER_DEFAULT
    config: Mapping[str, str] = field(default_factory=dict)


def plan(
    changelog: str,
    dead_letters: str,
    events: Mapping[str, int],
    *,
    replication: int = BROKER_DEFAULT,
    retention_ms: int | None = None,
) -> list[Topic]:
    """The topics of one source. ``events``: each topic that a mapping names, and its number of partitions.

    ``retention_ms`` is that of the events' topics; None: the brokers' default.
    """
    kept = {} if retention_ms is None else {"retention.ms": str(retention_ms)}
    return [
        Topic(changelog, Purpose.CHANGELOG, 1, replication, changelog_config()),
        Topic(dead_letters, Purpose.DEAD_LETTERS, 1, replication, dead_letter_config()),
        *(Topic(name, Purpose.EVENTS, count, replication, kept) for name, count in sorted(events.items())),
    ]


def changelog_config() -> dict[str, str]:
    """A restore reads the live keys, what is not compacted yet, and the open segment: keep the last two small."""
    return {
        "cleanup.policy": "compact",
        "min.cleanable.dirty.ratio": "0.2",
        "min.compaction.lag.ms": "0",
        "max.compaction.lag.ms": str(DAY_MS),  # a deleted row is gone from the disks after two days at most
        "segment.bytes": str(64 * 1024 * 1024),
        "segment.ms": str(DAY_MS // 4),
        # How long a deletion stays readable, so how old a local store may be and still roll forward.
        "delete.retention.ms": str(7 * DAY_MS),
        "max.message.bytes": str(LARGE_RECORD_BYTES),
    }


def dead_letter_config() -> dict[str, str]:
    """Kept until somebody replays them: retention would be a loss in silence."""
    return {
        "cleanup.policy": "delete",
        "retention.ms": FOREVER,
        "retention.bytes": FOREVER,
        "max.message.bytes": str(LARGE_RECORD_BYTES),
    }


def create(cluster: Cluster, topics: Sequence[Topic]) -> list[str]:
    """Make what is missing; leave what is there as it is. Returns the names made."""
    present = cluster.describe((topic.name for topic in topics), patience=0)
    missing = [topic for topic in topics if topic.name not in present]
    if not missing:
        return []
    return cluster.create(
        [NewTopic(topic.name, topic.partitions, topic.replication, config=dict(topic.config)) for topic in missing]
    )


def check(cluster: Cluster, topics: Sequence[Topic], inputs: Iterable[str] = ()) -> list[str]:
    """What is wrong, in words; empty when the bridge may start. ``inputs`` are Debezium's topics."""
    sources = list(inputs)
    present = cluster.describe([*(topic.name for topic in topics), *sources])
    configs = cluster.configs(present)
    problems = [f"{topic.name} ({topic.purpose}) is missing" for topic in topics if topic.name not in present]
    for topic in topics:
        if topic.name in present:
            problems += _wrong(topic, len(present[topic.name].partitions), configs.get(topic.name, {}))
    problems += [f"{name} (input) is missing: Debezium's connector makes it" for name in sources if name not in present]
    problems += [
        f"{name} (input) is compacted, which removes changes before the bridge reads them"
        for name in sources
        if _compacted(configs.get(name, {}))
    ]
    return problems


def require(cluster: Cluster, topics: Sequence[Topic], inputs: Iterable[str] = ()) -> None:
    """Raise Fatal that lists every problem."""
    problems = check(cluster, topics, inputs)
    if problems:
        raise Fatal("Kafka's topics are not as the bridge needs them: " + "; ".join(problems), CREATE_TOPICS)


def _wrong(topic: Topic, partitions: int, config: Mapping[str, str]) -> list[str]:
    """Only what loses data or breaks the order. Partitions and retention of events are their owners' to change."""
    problems = []
    if topic.purpose is Purpose.CHANGELOG and partitions != 1:
        problems.append(f"{topic.name} (changelog) has {partitions} partitions, not one")
    if not config:  # no right to ask
        return problems
    if topic.purpose is Purpose.CHANGELOG and config.get("cleanup.policy") != "compact":
        problems.append(f"{topic.name} (changelog) has cleanup.policy={config.get('cleanup.policy')}, not compact")
    if topic.purpose is Purpose.DEAD_LETTERS and _compacted(config):
        problems.append(f"{topic.name} (dead letters) is compacted, which removes letters of one key")
    return problems


def _compacted(config: Mapping[str, str]) -> bool:
    return "compact" in config.get("cleanup.policy", "")
