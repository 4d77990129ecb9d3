"""One source's settings for its Kafka clients, and which librdkafka properties each client gets.

The layers, the later one wins: what suits the bridge and may be changed · the user's properties · what its promises
rest on. The last layer is closed to the user: ``denied`` says why.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bridge.errors import ConfigInvalid
from bridge.kafka.errors import Notes
from bridge.model import Diagnostic

# librdkafka's own lines come here; what nobody listens to goes nowhere, not raw to stderr.
LOGGER: Final = logging.getLogger("bridge.kafka")
LOGGER.addHandler(logging.NullHandler())

OWN = "the bridge sets it"
EXACTLY_ONCE = "exactly once rests on it"
CODE = "it loads code into the process"
VERIFY = "it switches off the check of the brokers' certificates"
DENIED: Final = {
    "acks": EXACTLY_ONCE,
    "allow.auto.create.topics": "a misspelt topic would come into being",
    "auto.offset.reset": "the start position is never chosen in silence",
    "check.crcs": OWN,
    "client.id": OWN,
    "delivery.report.only.error": OWN,
    "enable.auto.commit": EXACTLY_ONCE,
    "enable.auto.offset.store": EXACTLY_ONCE,
    "enable.gapless.guarantee": EXACTLY_ONCE,
    "enable.idempotence": EXACTLY_ONCE,
    "enable.partition.eof": OWN,
    "group.id": OWN,
    "group.protocol": "other than classic it took ten seconds to find an owner",
    "isolation.level": EXACTLY_ONCE,
    "log.connection.close": "lost connections must be told",
    "log.queue": OWN,
    "logger": OWN,
    "max.poll.interval.ms": "it has a key of its own",
    "message.max.bytes": "it is read from the topics",
    "partition.assignment.strategy": "ownership of a source rests on it",
    "partitioner": "events of one key would move to another partition",
    "plugin.library.paths": CODE,
    "session.timeout.ms": "it has a key of its own",
    "ssl.engine.location": CODE,
    "ssl.providers": CODE,
    "transaction.timeout.ms": "it has a key of its own",
    "transactional.id": EXACTLY_ONCE,
}


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """What the clients of one source are made of.

    ``properties`` are librdkafka's, ``bootstrap.servers`` among them. ``owner_topic`` is the transaction topic, or the
    log in single-log mode; '' for one who reads other topics than a source's. ``output_topics`` are those of events and
    dead letters: their size limits are read by ``Publisher.open``. Times as their names say.
    """

    properties: Mapping[str, str]
    group: str
    transactional_id: str
    owner_topic: str
    changelog_topic: str
    data_topics: tuple[str, ...] = ()
    output_topics: tuple[str, ...] = ()
    client_id: str = "bridge"
    session_timeout_ms: int = 45_000  # how long a killed owner's source has none
    max_poll_interval_ms: int = 300_000  # the longest batch, restore step or open
    transaction_timeout_ms: int = 60_000  # when the broker aborts a Kafka transaction whose process is gone
    request_seconds: float = 10.0  # one question to the brokers
    open_seconds: float = 60.0  # init_transactions, with the brokers' retries
    insecure: bool = field(default=False)

    @property
    def input_topics(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*([self.owner_topic] if self.owner_topic else ()), *self.data_topics)))


def denied(properties: Mapping[str, str], *, insecure: bool = False) -> dict[str, str]:
    """The properties that a user may not set, and why."""
    found = {name: DENIED[name] for name in properties if name in DENIED}
    found |= {name: "it takes a function" for name in properties if name.endswith("_cb")}
    if not insecure:
        if properties.get("ssl.endpoint.identification.algorithm", "https") == "none":
            found["ssl.endpoint.identification.algorithm"] = VERIFY
        if str(properties.get("enable.ssl.certificate.verification", "true")).lower() == "false":
            found["enable.ssl.certificate.verification"] = VERIFY
    return found


def check_properties(settings: ClientSettings) -> None:
    """Raise ConfigInvalid that names every property which is not the user's to set."""
    found = denied(settings.properties, insecure=settings.insecure)
    if found:
        raise ConfigInvalid(
            [
                Diagnostic("B101", f"kafka property {name} may not be set: {reason}", hint="remove it")
                for name, reason in sorted(found.items())
            ]
        )


def common_properties(settings: ClientSettings, role: str, notes: Notes) -> dict[str, Any]:
    """For every client. ``role`` tells the clients of a source apart in the brokers' logs and quotas."""
    ours = {
        # With TLS certificates are checked against the brokers' names (librdkafka's default since 2.0, kept explicit).
        "ssl.endpoint.identification.algorithm": "https",
        # A broker that restarts is found again within seconds; the default waits up to ten.
        "reconnect.backoff.max.ms": 2000,
    }
    fixed = {"client.id": f"{settings.client_id}-{role}", "error_cb": notes}
    return ours | dict(settings.properties) | fixed


def member_properties(settings: ClientSettings, notes: Notes) -> dict[str, Any]:
    """For the consumer that owns the source and reads nothing.

    Classic protocol: the new one took ten seconds to balance two members. Cooperative-sticky: with the default, every
    process that joined moved all sources, and even a single owner was revoked (both measured).
    """
    return common_properties(settings, "member", notes) | {
        "group.id": settings.group,
        "group.protocol": "classic",
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": settings.session_timeout_ms,
        # A stand-by learns with its next heartbeat that the owner left: the default of 3 s would be the gap.
        "heartbeat.interval.ms": min(500, settings.session_timeout_ms // 4),
        "max.poll.interval.ms": max(settings.max_poll_interval_ms, settings.session_timeout_ms),
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",  # never asked for: the partition is paused before its first fetch
        "allow.auto.create.topics": False,
    }


def reader_properties(settings: ClientSettings, role: str, notes: Notes) -> dict[str, Any]:
    """For a consumer that reads assigned partitions.

    Prefetching is librdkafka's default. Shorter queues and back-offs (``queued.min.messages`` 20,000,
    ``fetch.queue.backoff.ms`` 10) let a bare consumer read more than twice as fast, and the bridge not measurably faster:
    67,000 records/s with either, since it computes longer than librdkafka waits. They are the user's to set.
    """
    ours = {
        # How long an empty fetch stays at the broker: a partition that was resumed or sought waits for it to return.
        "fetch.wait.max.ms": 100,
        "fetch.error.backoff.ms": 100,
    }
    fixed = {
        "group.id": settings.group,  # joins nothing and commits nothing; librdkafka wants one
        "isolation.level": "read_committed",
        "auto.offset.reset": "error",  # an offset out of range is loss, and loss stops the bridge
        "enable.partition.eof": True,  # the end of a partition, behind markers and aborted records
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "allow.auto.create.topics": False,
        "check.crcs": True,  # no fewer records/s; a quarter more of librdkafka's own processor time
    }
    properties = ours | common_properties(settings, role, notes) | fixed
    properties.pop("group.instance.id", None)  # the member's
    return properties


def producer_properties(settings: ClientSettings, notes: Notes, limits: Mapping[str, int]) -> dict[str, Any]:
    """For the transactional producer; ``limits`` are the target topics' max.message.bytes.

    A broker measures whole batches against a topic's limit, so that the batch stays below the smallest one.
    """
    ours = {
        # Small records, 200,000 in one Kafka transaction: 327,000/s with lz4, 266,000/s with none (half of it headers).
        "compression.type": "lz4",
        # The producer is filled in bursts and flushed at once by the commit: waiting longer than this gains 2 %.
        "linger.ms": 5,
        # The first request after a commit is told CONCURRENT_TRANSACTIONS while the brokers still write its markers. With
        # the default of 100 ms one small commit in ten took 113 ms, with this 13 ms. It grows up to retry.backoff.max.ms.
        "retry.backoff.ms": 10,
        "batch.num.messages": 100_000,  # batches end by bytes; the default of 10,000 records cost 10 %
        # Bounded memory: 1.2 million small records took 150 MiB and 10.5 s with this, 400 MiB and 10.7 s with 500,000.
        "queue.buffering.max.messages": 100_000,
        "queue.buffering.max.kbytes": 65_536,
    }
    fixed = {
        "transactional.id": settings.transactional_id,
        "transaction.timeout.ms": settings.transaction_timeout_ms,
        "enable.idempotence": True,
        "acks": "all",
        # A lost connection is heard of here, and nowhere else: see Heard.
        "log_level": 6,
        "log.connection.close": True,
        # Java's: the same key goes where every other producer of the company puts it.
        "partitioner": "murmur2",
        "batch.size": max(1, min(1_000_000, *limits.values())),
        "message.max.bytes": min(1_000_000_000, max(1_000, *limits.values())),
    }
    return ours | common_properties(settings, "publisher", notes) | fixed
