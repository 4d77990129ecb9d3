"""The topics: what the bridge reads, what it writes, and the brokers' limits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bridge.doctor.facts import Facts, TopicFacts
from bridge.doctor.finding import Found, Severity
from bridge.kafka.topics import DAY_MS, Purpose

WEEK_MS: Final = 7 * DAY_MS
DEFAULT_TRANSACTION_MAX_MS: Final = 900_000
DEFAULT_REQUEST_SIZE: Final = 1_048_576  # a Java producer's max.request.size
DEFAULT_RECEIVE: Final = 100_000_000  # librdkafka's receive.message.max.bytes


def partitions(facts: Facts) -> Iterator[Found]:
    owner = _found(facts).get(facts.owner_topic)
    if owner is not None and owner.partitions != 1:
        mend = f"delete it, then kafka-topics.sh --create --topic {facts.owner_topic} --partitions 1; {_CREATION}"
        yield Found(Severity.STOPS, facts.owner_topic, f"it has {owner.partitions} partitions", mend)


_CREATION: Final = "topic.creation.… of the connector gives one partition"


def input_missing(facts: Facts) -> Iterator[Found]:
    for name in facts.inputs if facts.topics is not None else ():
        if name not in _found(facts):
            mend = "start the connector: it makes a topic with its first record, where topic.creation.… is set"
            yield Found(Severity.STOPS, name, "there is no such topic", mend)


def compacted(facts: Facts) -> Iterator[Found]:
    for name, about in _inputs(facts):
        if "compact" in about.config.get("cleanup.policy", ""):
            what = f"cleanup.policy={about.config['cleanup.policy']}"
            yield Found(Severity.LOSES, name, what, _alter(name, "cleanup.policy=delete"))


def retention(facts: Facts) -> Iterator[Found]:
    for name, about in _inputs(facts):
        if "delete" not in about.config.get("cleanup.policy", "delete"):
            continue
        kept = int(about.config.get("retention.ms", "-1"))
        if 0 <= kept < WEEK_MS:
            what = f"retention.ms={kept}, which is {kept / DAY_MS:.1f} days"
            yield Found(Severity.HURTS, name, what, _alter(name, f"retention.ms={WEEK_MS}"))
        if int(about.config.get("retention.bytes", "-1")) >= 0:
            what = f"retention.bytes={about.config['retention.bytes']}: a busy hour shortens the time that is left"
            yield Found(Severity.HURTS, name, what, _alter(name, "retention.bytes=-1"))


def beginning_gone(facts: Facts) -> Iterator[Found]:
    if facts.topics is None or facts.topics.has_checkpoint:
        return
    for name, about in _inputs(facts):
        if any(about.starts):
            what = f"its first offset is {max(about.starts)}, and the bridge has not started yet"
            mend = "let the connector snapshot again into new topics, before the bridge starts"
            yield Found(Severity.LOSES, name, what, mend)


def output_missing(facts: Facts) -> Iterator[Found]:
    for topic in () if facts.topics is None else facts.topics.plan:
        if topic.name not in _found(facts):
            what = f"there is no such topic ({topic.purpose})"
            yield Found(Severity.STOPS, topic.name, what, "bridge topics --create --config FILE")


def changelog(facts: Facts) -> Iterator[Found]:
    for name, about in _outputs(facts, Purpose.CHANGELOG):
        policy, kept = (
            about.config.get("cleanup.policy", "compact"),
            int(about.config.get("delete.retention.ms", WEEK_MS)),
        )
        if about.partitions != 1:
            mend = "a new application, or delete it; then bridge topics --create --config FILE"
            yield Found(Severity.STOPS, name, f"the changelog has {about.partitions} partitions", mend)
        if policy != "compact":
            yield Found(Severity.LOSES, name, f"cleanup.policy={policy}", _alter(name, "cleanup.policy=compact"))
        if kept < WEEK_MS:
            what = f"delete.retention.ms={kept}: an older local state is built anew"
            yield Found(Severity.HURTS, name, what, _alter(name, f"delete.retention.ms={WEEK_MS}"))


def dead_letters(facts: Facts) -> Iterator[Found]:
    for name, about in _outputs(facts, Purpose.DEAD_LETTERS):
        if "compact" in about.config.get("cleanup.policy", ""):
            what = f"cleanup.policy={about.config['cleanup.policy']}"
            yield Found(Severity.LOSES, name, what, _alter(name, "cleanup.policy=delete"))
        for key in ("retention.ms", "retention.bytes"):
            if int(about.config.get(key, "-1")) >= 0:
                what = f"{key}={about.config[key]}: dead letters go before somebody replays them"
                yield Found(Severity.HURTS, name, what, _alter(name, f"{key}=-1"))


def sizes(facts: Facts) -> Iterator[Found]:
    """A row on its way: the connector's producer, its topic, the bridge's consumer, the changelog and dead letters."""
    limits = {name: int(about.config.get("max.message.bytes", 0)) for name, about in _inputs(facts)}
    for one in facts.ours:
        sent = _bytes(one["producer.override.max.request.size"], DEFAULT_REQUEST_SIZE)
        for name, size in limits.items():
            if 0 < size < sent and sent > DEFAULT_REQUEST_SIZE:
                what = f"max.message.bytes={size} is less than what connector {one.name} may send ({sent})"
                yield Found(Severity.HURTS, name, what, _alter(name, f"max.message.bytes={sent}"))
    receives = _bytes(facts.kafka.get("receive.message.max.bytes", ""), DEFAULT_RECEIVE)
    for name, size in limits.items():
        if size > receives:
            what = f"max.message.bytes={size} is more than the bridge's receive.message.max.bytes ({receives})"
            yield Found(Severity.HURTS, name, what, f"kafka: receive.message.max.bytes: {size + 1024}")
    most, largest = max(((size, name) for name, size in limits.items()), default=(0, ""))
    for name, about in (*_outputs(facts, Purpose.CHANGELOG), *_outputs(facts, Purpose.DEAD_LETTERS)):
        if int(about.config.get("max.message.bytes", most)) < most:
            what = f"max.message.bytes={about.config['max.message.bytes']} is less than that of {largest} ({most})"
            yield Found(Severity.HURTS, name, what, _alter(name, f"max.message.bytes={most}"))


def _bytes(text: str, default: int) -> int:
    """A setting that a connector may leave to a config provider (``${…}``)."""
    return int(text) if text.isdecimal() else default


def transaction_timeout(facts: Facts) -> Iterator[Found]:
    broker = {} if facts.topics is None else facts.topics.broker
    longest = int(broker.get("transaction.max.timeout.ms", DEFAULT_TRANSACTION_MAX_MS))
    if longest < facts.transaction_timeout_ms:
        what = f"it is {longest}, limits.transaction_timeout_seconds asks for {facts.transaction_timeout_ms} ms"
        mend = f"limits.transaction_timeout_seconds: {longest // 1000}, or transaction.max.timeout.ms of the brokers"
        yield Found(Severity.STOPS, "brokers: transaction.max.timeout.ms", what, mend)


def _found(facts: Facts) -> dict[str, TopicFacts]:
    return {} if facts.topics is None else facts.topics.found


def _inputs(facts: Facts) -> list[tuple[str, TopicFacts]]:
    return [(name, _found(facts)[name]) for name in facts.inputs if name in _found(facts)]


def _outputs(facts: Facts, purpose: Purpose) -> list[tuple[str, TopicFacts]]:
    planned = () if facts.topics is None else facts.topics.plan
    return [
        (one.name, _found(facts)[one.name]) for one in planned if one.purpose is purpose and one.name in _found(facts)
    ]


def _alter(topic: str, setting: str) -> str:
    return f"kafka-configs.sh --alter --entity-type topics --entity-name {topic} --add-config {setting}"
