"""What the brokers say about topics, partitions and offsets. One client of its own for all questions.

The client lives as long as this object: futures of an AdminClient that was dropped are never answered.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its names are public, but not re-exported
    AdminClient,
    ConfigResource,
    OffsetSpec,
    ResourceType,
    TopicDescription,
)
from confluent_kafka.cimpl import NewTopic

from bridge.errors import BridgeError, Fatal
from bridge.kafka.errors import CREATE_TOPICS, FORBIDDEN, UNKNOWN_TOPIC, Notes, border, translate
from bridge.kafka.settings import LOGGER, ClientSettings, common_properties
from bridge.model import InputPartition

PATIENCE_SECONDS: Final = 3.0  # a broker that just started, or a topic just made, may be unknown for a moment
RETRY_SECONDS: Final = 0.1
# What the client remembers of a partition's leader is older than the leader: a broker was restarted.
STALE_LEADER: Final = frozenset({KafkaError.FENCED_LEADER_EPOCH, KafkaError.UNKNOWN_LEADER_EPOCH})
# A topic that was just made, or a broker that just started: what they say soon changes.
SETTLING: Final = UNKNOWN_TOPIC | STALE_LEADER | {KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE}
# The coordinator of a group moves, or reads what it knows.
NO_COORDINATOR: Final = frozenset(
    {
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    }
)
EARLIEST: Final = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
LATEST: Final = OffsetSpec.latest()  # type: ignore[no-untyped-call]
DEFAULT_SIZE_LIMIT: Final = 1_048_588  # a broker's default of max.message.bytes


class Cluster:
    """Questions to the brokers. Each raises Retriable when they do not answer within ``request_seconds``."""

    def __init__(self, settings: ClientSettings, notes: Notes) -> None:
        self._seconds = settings.request_seconds
        self._timeout: dict[str, Any] = {"request_timeout": self._seconds}
        self._notes = notes
        with border("making a Kafka client"):
            self._admin = AdminClient(common_properties(settings, "admin", notes), logger=LOGGER)

    # -- topics ----------------------------------------------------------------------------------------------------

    def describe(self, topics: Iterable[str], patience: float = PATIENCE_SECONDS) -> dict[str, TopicDescription]:
        """The topics that exist. Asks again for ``patience`` seconds while one is missing."""
        names = list(dict.fromkeys(topics))
        until = time.monotonic() + patience
        found = self._describe(names)
        while len(found) < len(names) and time.monotonic() < until:
            time.sleep(RETRY_SECONDS)
            found = self._describe(names)
        return found

    def _describe(self, names: list[str]) -> dict[str, TopicDescription]:
        found: dict[str, TopicDescription] = {}
        answers = self._client().describe_topics(TopicCollection(names), request_timeout=self._seconds)
        for name, future in answers.items():
            try:
                found[name] = future.result()
            except KafkaException as error:
                if error.args[0].code() not in UNKNOWN_TOPIC:
                    raise self._failed(error, f"describing topic {name}") from error
        return found

    def require(self, topics: Iterable[str], hint: str) -> dict[str, TopicDescription]:
        """The topics' descriptions. Raises Fatal that names the missing ones."""
        names = list(dict.fromkeys(topics))
        found = self.describe(names)
        missing = [name for name in names if name not in found]
        if missing:
            raise Fatal(f"missing in Kafka: {', '.join(missing)}", hint)
        return found

    def create(self, topics: Sequence[NewTopic]) -> list[str]:
        """Make the topics that do not exist, and wait until they do. Returns the names of those made."""
        made: list[str] = []
        answers = self._client().create_topics(list(topics), request_timeout=self._seconds)
        for name, future in answers.items():
            try:
                future.result()
                made.append(name)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise self._failed(error, f"creating topic {name}") from error
        self.require(made, "it was made just now; try again")
        return made

    def configs(self, topics: Iterable[str]) -> dict[str, dict[str, str]]:
        """The settings of topics. One that this process may not ask about is left out; a missing one raises Fatal."""
        until = time.monotonic() + PATIENCE_SECONDS
        names = list(dict.fromkeys(topics))
        while True:
            found, missing = self._configs(names)
            if not missing:
                return found
            if time.monotonic() > until:
                raise Fatal(f"missing in Kafka: {', '.join(missing)}", CREATE_TOPICS)
            time.sleep(RETRY_SECONDS)

    def _configs(self, names: list[str]) -> tuple[dict[str, dict[str, str]], list[str]]:
        """The settings of topics, and the topics that are missing."""
        found: dict[str, dict[str, str]] = {}
        missing: list[str] = []
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        answers = self._client().describe_configs(resources, request_timeout=self._seconds) if resources else {}
        for resource, future in answers.items():
            try:
                entries = future.result()
            except KafkaException as error:
                code = error.args[0].code()
                if code in UNKNOWN_TOPIC:
                    missing.append(resource.name)
                elif code not in FORBIDDEN:
                    raise self._failed(error, f"describing topic {resource.name}") from error
            else:
                found[resource.name] = {name: entry.value for name, entry in entries.items() if entry.value is not None}
        return found, missing

    def size_limits(self, topics: Iterable[str]) -> dict[str, int]:
        """max.message.bytes per topic; the brokers' default where this process may not ask."""
        names = list(topics)
        configs = self.configs(names)
        default = str(DEFAULT_SIZE_LIMIT)
        return {name: int(configs.get(name, {}).get("max.message.bytes", default)) for name in names}

    def broker_config(self) -> dict[str, str]:
        """The settings of one broker; empty where this process may not ask."""
        try:
            brokers = self._client().list_topics(timeout=self._seconds).brokers
            resource = ConfigResource(ResourceType.BROKER, str(min(brokers)))
            (answer,) = self._client().describe_configs([resource], request_timeout=self._seconds).values()
            entries = answer.result()
        except KafkaException as error:
            if error.args[0].code() in FORBIDDEN:
                return {}
            raise self._failed(error, "describing a broker") from error
        return {name: entry.value for name, entry in entries.items() if entry.value is not None}

    # -- groups ----------------------------------------------------------------------------------------------------

    def members(self, group: str) -> int:
        """How many processes are in a consumer group; 0 where there is none of this name."""
        found = self._of_group(lambda: self._client().describe_consumer_groups([group], **self._timeout), group)
        return 0 if found is None else len(found.members)

    def group_offsets(self, group: str) -> dict[InputPartition, int]:
        """What a consumer group committed."""
        asked = [ConsumerGroupTopicPartitions(group)]
        found = self._of_group(lambda: self._client().list_consumer_group_offsets(asked, **self._timeout), group)
        places = () if found is None else found.topic_partitions or ()
        return {InputPartition(one.topic, one.partition): one.offset for one in places if one.offset >= 0}

    def _of_group(self, ask: Callable[[], Mapping[str, Any]], group: str) -> Any:
        """What the group's coordinator says, which may be loading or moving; None: there is no such group."""
        until = time.monotonic() + self._seconds
        while True:
            try:
                (answer,) = ask().values()
                return answer.result()
            except KafkaException as error:
                code = error.args[0].code()
                if code == KafkaError.GROUP_ID_NOT_FOUND:
                    return None
                if code not in NO_COORDINATOR or time.monotonic() > until:
                    raise self._failed(error, f"asking about group {group}") from error
            time.sleep(RETRY_SECONDS)

    # -- offsets ---------------------------------------------------------------------------------------------------

    def starts(self, partitions: Iterable[InputPartition]) -> dict[InputPartition, int]:
        """The first offset of each log."""
        return self._offsets(partitions, EARLIEST, IsolationLevel.READ_UNCOMMITTED)

    def ends(self, partitions: Iterable[InputPartition]) -> dict[InputPartition, int]:
        """The high watermark of each log: what is replicated, committed or not."""
        return self._offsets(partitions, LATEST, IsolationLevel.READ_UNCOMMITTED)

    def stable_ends(self, partitions: Iterable[InputPartition]) -> dict[InputPartition, int]:
        """The last stable offset of each log: no Kafka transaction is open before it. One request per broker."""
        return self._offsets(partitions, LATEST, IsolationLevel.READ_COMMITTED)

    def _offsets(
        self, partitions: Iterable[InputPartition], spec: OffsetSpec, isolation: IsolationLevel
    ) -> dict[InputPartition, int]:
        wanted = {TopicPartition(name.topic, name.partition): spec for name in partitions}
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return self._ask_offsets(wanted, isolation)
            except KafkaException as error:
                code = error.args[0].code()
                if code not in SETTLING or time.monotonic() > until:
                    raise self._failed(error, "asking for offsets") from error
            if code in STALE_LEADER:
                self._ask_leaders({name.topic for name in wanted})
            time.sleep(RETRY_SECONDS)

    def _ask_leaders(self, topics: Iterable[str]) -> None:
        """An AdminClient never does so by itself: without this it is refused for ever once a broker was restarted."""
        for topic in topics:
            with suppress(KafkaException):
                self._admin.list_topics(topic, timeout=self._seconds)

    def _ask_offsets(
        self, wanted: dict[TopicPartition, OffsetSpec], isolation: IsolationLevel
    ) -> dict[InputPartition, int]:
        if not wanted:  # which the client refuses
            return {}
        answers = self._client().list_offsets(wanted, isolation_level=isolation, request_timeout=self._seconds)
        return {
            InputPartition(place.topic, place.partition): answer.result().offset for place, answer in answers.items()
        }

    def _client(self) -> AdminClient:
        self._admin.poll(0)  # librdkafka's log lines pile up until somebody polls
        return self._admin

    def _failed(self, error: KafkaException, doing: str) -> BridgeError:
        """Translated, after what the client has to say about it: its ``error_cb`` waits for a poll."""
        self._admin.poll(0)
        return translate(error, doing, self._notes)
