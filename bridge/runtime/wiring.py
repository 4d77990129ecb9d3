"""From the config to the parts of one source: its Kafka clients' settings, and the topics that it needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bridge.kafka.client import ConfluentKafka
from bridge.kafka.settings import ClientSettings
from bridge.kafka.topics import Topic, check, create, plan, require
from bridge.model import MappingSet, Reader
from bridge.runtime.crash import crash_point
from bridge.runtime.published import event_topics
from bridge.runtime.stored import Checkpoints

if TYPE_CHECKING:
    from bridge.config import Config, Source


def kafka_for(config: Config, source: Source, mappings: MappingSet, purpose: str = "") -> ConfluentKafka:
    """The Kafka port of one source; for a ``purpose``, under a name of its own that fences nobody. Raises ConfigInvalid."""
    name = source.settings.name
    identity = f"{config.application}.{name}{purpose and '.'}{purpose}"
    outputs = (*event_topics(mappings), source.settings.dead_letter_topic)
    return kafka_under(identity, config, source, source.changelog_topic, outputs)


def kafka_under(
    identity: str, config: Config, source: Source, changelog: str, outputs: tuple[str, ...]
) -> ConfluentKafka:
    """The Kafka port of one source under a name, with a changelog and output topics that may be others than its own."""
    return ConfluentKafka(
        ClientSettings(
            properties=config.kafka,
            group=identity,
            transactional_id=identity,
            owner_topic=source.owner_topic,
            changelog_topic=changelog,
            data_topics=source.settings.topics,
            output_topics=outputs,
            client_id=identity,
            session_timeout_ms=int(config.session_timeout_seconds * 1000),
            transaction_timeout_ms=int(config.transaction_timeout_seconds * 1000),
            # the group is not polled while a large transaction is written
            max_poll_interval_ms=int((config.transaction_timeout_seconds + 240) * 1000),
        ),
        crash_point,
        translating(config),
    )


def translating(config: Config) -> Callable[[Reader], Reader]:
    """What reads records of the config's Schema Registry; without one, records are read as they are."""
    if config.registry is None:
        return lambda reader: reader
    from bridge.formats.registry import HttpRegistry  # noqa: PLC0415 - brings Avro's and Protobuf's libraries
    from bridge.formats.translate import Formats, TranslatingReader  # noqa: PLC0415

    formats = Formats(HttpRegistry(config.registry))
    return lambda reader: TranslatingReader(reader, formats)


def throwaway_reader(config: Config, source: Source, purpose: str) -> Reader:
    """A reader of one source's topics for a command: it joins no group, commits nothing, and disturbs no bridge."""
    return translating(config)(topics_reader(config, source, source.settings.topics, purpose))


def topics_reader(config: Config, source: Source, topics: tuple[str, ...], purpose: str) -> Reader:
    """The same of other topics, beside the source's transaction topic or log; their records as they stand there."""
    name = f"{config.application}.{source.settings.name}.{purpose}"
    return ConfluentKafka(
        ClientSettings(
            properties=config.kafka,
            group=name,
            transactional_id=name,
            owner_topic=source.owner_topic,
            changelog_topic=source.changelog_topic,
            data_topics=topics,
            client_id=name,
        ),
    ).reader()


def letters_reader(config: Config, source: Source) -> Reader:
    """A reader of one source's dead letters, in nobody's name."""
    name = f"{config.application}.{source.settings.name}.dlt"
    return ConfluentKafka(
        ClientSettings(
            properties=config.kafka,
            group=name,
            transactional_id=name,
            owner_topic="",
            changelog_topic=source.changelog_topic,
            data_topics=(source.settings.dead_letter_topic,),
            client_id=name,
        )
    ).reader()


def checkpoints_of(config: Config, source: Source) -> Checkpoints:
    """The stored checkpoints of one source."""
    name = source.settings.name
    return Checkpoints(config.checkpoints_directory / config.application / name, name)


def topic_plan(config: Config, source: Source, mappings: MappingSet) -> list[Topic]:
    """The topics that one source writes."""
    return plan(
        source.changelog_topic,
        source.settings.dead_letter_topic,
        dict.fromkeys(event_topics(mappings), config.partitions),
        replication=config.replication_factor,
    )


def require_topics(config: Config, source: Source, mappings: MappingSet) -> None:
    """Raises Fatal that names every missing or wrong topic, and the command that makes them."""
    kafka = kafka_for(config, source, mappings)
    require(kafka.cluster, topic_plan(config, source, mappings), (source.owner_topic, *source.settings.topics))


def create_topics(config: Config, source: Source, mappings: MappingSet) -> list[str]:
    """Make what is missing of the topics that one source writes. Returns their names."""
    return create(kafka_for(config, source, mappings).cluster, topic_plan(config, source, mappings))


def topic_problems(config: Config, source: Source, mappings: MappingSet) -> list[str]:
    """What is wrong with the topics of one source, in words."""
    return check(kafka_for(config, source, mappings).cluster, topic_plan(config, source, mappings))
