"""From the config to the parts of one replay: its ports, its topics, its local state."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.core.retold import shadow_of
from bridge.errors import Fatal
from bridge.kafka.client import ConfluentKafka
from bridge.kafka.errors import CREATE_TOPICS
from bridge.kafka.topics import Purpose, Topic, changelog_config, create
from bridge.model import MappingSet
from bridge.runtime.daemon import MonotonicClock, boot_id, local_store
from bridge.runtime.locate import locate
from bridge.runtime.published import event_topics
from bridge.runtime.replay import Ports, Replay, Viewer
from bridge.runtime.stretch import Asked
from bridge.runtime.wiring import checkpoints_of, kafka_for, kafka_under
from bridge.state.store import temporary_store

if TYPE_CHECKING:
    from bridge.config import Config, Source


class Parts:
    """Of one replay of one source."""

    def __init__(self, config: Config, source: Source, mappings: MappingSet, asked: Asked) -> None:
        self._config = config
        self._source = source
        self._mappings = mappings
        self._asked = asked
        self._events = event_topics(asked.wanted(mappings))
        name = source.settings.name
        self._own = shadow_of(source.changelog_topic, asked.name)
        self._shadowed = [] if asked.live else [*self._events, source.settings.dead_letter_topic]
        outputs = self._events if asked.live else [shadow_of(topic, asked.name) for topic in self._shadowed]
        identity = f"{config.application}.{name}" + ("" if asked.live else f".replay.{asked.name}")
        self._kafka = kafka_under(identity, config, source, self._own, tuple(outputs))
        self.topics = [self._own] if asked.live else [self._own, *outputs]
        self._directory = config.state_directory / config.application / f"{name}.replay.{asked.name}"

    def replay(self, rate: float | None, viewer: Viewer) -> Replay:
        """Raises Fatal for what no mapping is of."""
        config, source = self._config, self._source
        ports = Ports(
            self._kafka,
            kafka_for(config, source, self._mappings, f"replay.{self._asked.name}"),
            local_store(self._directory),
            partial(temporary_store, self._spools()),
            checkpoints_of(config, source),
            lambda text: locate(config, source, self._mappings, text, viewer.say),
            MonotonicClock(),
            boot_id(),
            config.limits,
            self._compacted(),
        )
        return Replay(self._asked, ports, source.settings, self._mappings, rate, viewer)

    def _spools(self) -> Path:
        return self._directory.with_name(f"{self._directory.name}.spool")

    def _compacted(self) -> tuple[str, ...]:
        if not self._asked.live:
            return ()
        configs = self._kafka.cluster.configs(self._events)
        return tuple([topic for topic in self._events if "compact" in configs.get(topic, {}).get("cleanup.policy", "")])

    def is_begun(self) -> bool:
        """Whether there is a topic that tells how far it is."""
        return self._own in self._kafka.cluster.describe([self._own], patience=0)

    def make_topics(self) -> None:
        """Shadows with as many partitions, so that keys lie where they lie in the real ones. Raises Fatal."""
        cluster = self._kafka.cluster
        left = sorted(cluster.describe(self.topics, patience=0))
        if left:
            raise Fatal(
                f"{', '.join(left)}: left from an earlier replay of this name, whose own topic {self._own} is gone",
                "delete them, or give this one another --name",
                code="B557",
            )
        create(cluster, self._plan(self._kafka))

    def _plan(self, kafka: ConfluentKafka) -> list[Topic]:
        found = kafka.cluster.require(self._shadowed, CREATE_TOPICS) if self._shadowed else {}
        limits = kafka.cluster.size_limits(self._shadowed)
        replication, name = self._config.replication_factor, self._asked.name
        return [
            Topic(self._own, Purpose.CHANGELOG, 1, replication, changelog_config()),
            *(
                Topic(
                    shadow_of(topic, name),
                    Purpose.EVENTS,
                    len(found[topic].partitions),
                    replication,
                    {"max.message.bytes": str(limits[topic])},
                )
                for topic in self._shadowed
            ),
        ]

    def forget_state(self) -> None:
        """It is finished: nobody goes on with it."""
        for directory in (self._directory, self._spools()):
            shutil.rmtree(directory, ignore_errors=True)
