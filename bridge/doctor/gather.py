"""All facts of one source. A realm that cannot be read becomes an ``Unread`` and hides no other."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from bridge.doctor import connect, databases
from bridge.doctor.facts import Connector, Facts, MariaDb, PostgreSql, TopicFacts, Topics, Unread
from bridge.errors import BridgeError, Fatal
from bridge.kafka.cluster import Cluster
from bridge.model import InputPartition, MappingSet
from bridge.runtime.wiring import kafka_for, topic_plan

if TYPE_CHECKING:
    from bridge.config import Config, Source

T = TypeVar("T")


def gather(config: Config, source: Source, mappings: Callable[[], MappingSet]) -> Facts:
    """Read everything that can be read. Changes nothing anywhere."""
    unread: list[Unread] = []

    def attempt(code: str, place: str, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except BridgeError as error:
            unread.append(Unread(code, place, error.message, error.hint or MENDS[code]))
            return None

    known = attempt("D004", str(config.mappings), mappings) or MappingSet(source.settings.name, (), {}, "")
    return Facts(
        source.settings,
        {name: layout.columns for name, layout in known.layouts.items()},
        int(config.transaction_timeout_seconds * 1000),
        config.kafka,
        source.catalog,
        attempt("D001", "Kafka Connect", lambda: _connectors(source, tuple(known.layouts))),
        attempt("D002", "Kafka", lambda: _topics(config, source, known)),
        attempt("D003", "the source's database", lambda: _database(source)),
        tuple(unread),
    )


MENDS = {
    "D001": "sources.*.connect",
    "D002": "kafka: bootstrap.servers and the rights of the user",
    "D003": "sources.*.database",
    "D004": "bridge check --config FILE",
}


# -- Kafka Connect -----------------------------------------------------------------------------------------------------


def _connectors(source: Source, tables: tuple[str, ...]) -> tuple[Connector, ...]:
    if source.connect is None:
        raise Fatal("the config does not say where it is", "sources.*.connect: {url: http://connect.example:8083}")
    inputs = {source.owner_topic, *source.settings.topics}
    return tuple(one for one in connect.read(source.connect) if _writes(one, inputs, tables))


def _writes(connector: Connector, inputs: set[str], tables: tuple[str, ...]) -> bool:
    """Does it write the source's topics, or would it but for a mistake?"""
    written = {connector.transaction_topic, *(connector.topic(table) for table in tables)}
    return bool(written & inputs) or any(name.startswith(f"{connector.prefix}.") for name in inputs)


# -- Kafka -------------------------------------------------------------------------------------------------------------


def _topics(config: Config, source: Source, mappings: MappingSet) -> Topics:
    cluster = kafka_for(config, source, mappings).cluster
    planned = topic_plan(config, source, mappings)
    inputs = (source.owner_topic, *source.settings.topics)
    present = cluster.describe([*inputs, *(topic.name for topic in planned)], patience=0)
    configs = cluster.configs(present)
    partitions = {name: [InputPartition(name, part.id) for part in about.partitions] for name, about in present.items()}
    starts = cluster.starts(part for name in present if name in inputs for part in partitions[name])
    found = {
        name: TopicFacts(len(parts), configs.get(name, {}), tuple(starts[part] for part in parts if part in starts))
        for name, parts in partitions.items()
    }
    return Topics(found, tuple(planned), cluster.broker_config(), _written(cluster, partitions, source.changelog_topic))


def _written(cluster: Cluster, partitions: dict[str, list[InputPartition]], changelog: str) -> bool:
    """The changelog's first record comes with the first checkpoint."""
    return any(end > 0 for end in cluster.ends(partitions.get(changelog, ())).values())


# -- the database ------------------------------------------------------------------------------------------------------


def _database(source: Source) -> PostgreSql | MariaDb:
    if source.database is None:
        raise Fatal("the config does not say where it is", "sources.*.database: {host: …, user: …, database: …}")
    return databases.read(source.database)
