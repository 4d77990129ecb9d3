"""Kafka's errors, translated at one border into what the bridge does next. By code and flags, never by text.

There is one recovery path: after ``Retriable`` or ``Fenced`` the runtime makes new clients, calls ``open`` and restores
from the checkpoint. So it does not matter here whether the fate of a Kafka transaction is known, and a producer that
librdkafka calls *fatally* broken is ``Retriable``: the next one is not broken. ``Fatal`` is what no other try mends.

The order of the rules: 1. the code is in ``FENCED``; 2. the code is in ``FATAL``; 3. the code is in ``RETRIABLE`` or a
flag says so; 4. anything else is ``Fatal``: librdkafka leaves errors without a flag that must not be tried again.
"""
# ruff: noqa: SLF001 - librdkafka's own codes begin with an underscore, and this is the module that names them

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from confluent_kafka import KafkaError, KafkaException

from bridge.errors import BridgeError, Fatal, Fenced, Retriable

CREATE_TOPICS: Final = "`bridge topics --config FILE --create` makes the topics that the bridge writes"
PARTITION_EOF: Final = KafkaError._PARTITION_EOF  # an event, no error
MAX_POLL_EXCEEDED: Final = KafkaError._MAX_POLL_EXCEEDED
OUT_OF_RANGE: Final = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})
UNKNOWN_TOPIC: Final = frozenset(
    {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}
)
FORBIDDEN: Final = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED})
NOTE_SECONDS: Final = 60.0  # an older error of the client is no explanation of a new failure

# Another process has the source's transactional.id, or this one is no member of the group any more.
FENCED: Final = frozenset(
    {
        KafkaError._FENCED,
        KafkaError.PRODUCER_FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.FENCED_MEMBER_EPOCH,
        KafkaError.STALE_MEMBER_EPOCH,
        KafkaError._ASSIGNMENT_LOST,
        KafkaError._MAX_POLL_EXCEEDED,
    }
)

_RIGHTS = "grant the bridge's principal the missing rights"
_SETTING = "correct the setting"
_TIMEOUT = (
    "limits.transaction_timeout_seconds (transaction.timeout.ms) is above the brokers' transaction.max.timeout.ms, "
    "900 seconds by default: lower the one, or raise the other on every broker"
)
_SESSION = "keep the session timeout between the broker's group.min. and group.max.session.timeout.ms"
_SIZE = "raise max.message.bytes of the topic that is written"
_BROKER = "the brokers are too old or do not allow it"
_TOPIC = "input topics are made by Debezium's connector; " + CREATE_TOPICS

# What stays wrong however often it is tried, and what helps.
FATAL: Final = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: _RIGHTS,
    KafkaError.GROUP_AUTHORIZATION_FAILED: _RIGHTS,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: _RIGHTS,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: _RIGHTS,
    KafkaError.INVALID_TRANSACTION_TIMEOUT: _TIMEOUT,
    KafkaError.INVALID_SESSION_TIMEOUT: _SESSION,
    KafkaError.INCONSISTENT_GROUP_PROTOCOL: "the group is used by other software; give the bridge a group of its own",
    KafkaError.INVALID_GROUP_ID: _SETTING,
    KafkaError.GROUP_MAX_SIZE_REACHED: "run fewer processes or raise the broker's group.max.size",
    KafkaError.INVALID_CONFIG: _SETTING,
    KafkaError.INVALID_PARTITIONS: _SETTING,
    KafkaError.INVALID_REPLICATION_FACTOR: "there are fewer brokers than replicas; lower the replication factor",
    KafkaError.POLICY_VIOLATION: "a policy of the brokers refuses it",
    KafkaError.INVALID_RECORD: "the topic's settings refuse the record",
    KafkaError.MSG_SIZE_TOO_LARGE: _SIZE,
    KafkaError.RECORD_LIST_TOO_LARGE: _SIZE,
    KafkaError.OFFSET_METADATA_TOO_LARGE: _SETTING,
    KafkaError.OFFSET_OUT_OF_RANGE: "the log does not reach to the offset that is read",
    KafkaError._AUTO_OFFSET_RESET: "the log does not reach to the offset that is read",
    KafkaError._LOG_TRUNCATION: "a broker lost records that it had given out; compare its log with the checkpoint",
    KafkaError.TOPIC_EXCEPTION: "the topic's name is not valid",
    KafkaError.UNKNOWN_TOPIC_OR_PART: _TOPIC,
    KafkaError._UNKNOWN_TOPIC: _TOPIC,
    KafkaError._UNKNOWN_PARTITION: _TOPIC,
    KafkaError.UNSUPPORTED_VERSION: _BROKER,
    KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT: _BROKER,
    KafkaError.UNSUPPORTED_COMPRESSION_TYPE: _BROKER,
    KafkaError.UNSUPPORTED_SASL_MECHANISM: "choose a SASL mechanism that the brokers have",
    KafkaError.SECURITY_DISABLED: _BROKER,
    KafkaError._UNSUPPORTED_FEATURE: _BROKER,
    KafkaError._NOT_IMPLEMENTED: _BROKER,
    KafkaError._INVALID_ARG: _SETTING,
    KafkaError._NOT_CONFIGURED: _SETTING,
}

# What heals by itself or by a new client, also where the API that reports it sets no flag.
RETRIABLE: Final = frozenset(
    {
        # the network, and brokers that come and go
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._MSG_TIMED_OUT,
        KafkaError._RESOLVE,
        KafkaError._WAIT_COORD,
        KafkaError._WAIT_CACHE,
        KafkaError._UNKNOWN_BROKER,
        KafkaError._NODE_UPDATE,
        KafkaError._DESTROY_BROKER,
        KafkaError._NOENT,  # list_offsets: "no leaders found", while all brokers of a partition are down
        KafkaError._RETRY,
        KafkaError._OUTDATED,
        KafkaError._INTR,
        KafkaError._CRIT_SYS_RESOURCE,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.PREFERRED_LEADER_NOT_AVAILABLE,
        KafkaError.ELIGIBLE_LEADERS_NOT_AVAILABLE,
        KafkaError.LISTENER_NOT_FOUND,
        KafkaError.LOG_DIR_NOT_FOUND,
        KafkaError.FETCH_SESSION_ID_NOT_FOUND,
        KafkaError.INVALID_FETCH_SESSION_EPOCH,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.NOT_CONTROLLER,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.NOT_ENOUGH_REPLICAS,
        KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        KafkaError.KAFKA_STORAGE_ERROR,
        KafkaError.THROTTLING_QUOTA_EXCEEDED,
        KafkaError.STALE_BROKER_EPOCH,
        KafkaError.REBOOTSTRAP_REQUIRED,
        KafkaError.UNKNOWN,
        # the topic was deleted and made again: what that means is found when the checkpoint is restored
        KafkaError.UNKNOWN_TOPIC_ID,
        KafkaError.INCONSISTENT_TOPIC_ID,
        # certificates and passwords are rotated while the bridge runs
        KafkaError._AUTHENTICATION,
        KafkaError._SSL,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.DELEGATION_TOKEN_EXPIRED,
        # a producer or its Kafka transaction that is spent
        KafkaError._FATAL,
        KafkaError._STATE,
        KafkaError._PURGE_QUEUE,
        KafkaError._PURGE_INFLIGHT,
        KafkaError._GAPLESS_GUARANTEE,
        KafkaError._INCONSISTENT,
        KafkaError._DESTROY,
        KafkaError.INVALID_TXN_STATE,
        KafkaError.CONCURRENT_TRANSACTIONS,
        KafkaError.TRANSACTION_ABORTABLE,
        KafkaError.TRANSACTION_COORDINATOR_FENCED,
        KafkaError.INVALID_PRODUCER_ID_MAPPING,
        KafkaError.UNKNOWN_PRODUCER_ID,
        KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER,
        KafkaError.DUPLICATE_SEQUENCE_NUMBER,
        KafkaError.UNSTABLE_OFFSET_COMMIT,
        # bytes damaged on their way (check.crcs); damaged on disk they stop the log here, and the log line says where
        KafkaError._BAD_MSG,
        KafkaError._BAD_COMPRESSION,
        KafkaError._UNDERFLOW,
        KafkaError.INVALID_MSG,
    }
)


class OutOfTime(Fatal):
    """A Kafka transaction that the brokers take, but not within its timeout: another try would end in the same way."""

    code = "B509"

    def __init__(self, seconds: float, left: int) -> None:
        super().__init__(
            f"the Kafka transaction of a large source transaction could not be written within {seconds:.0f} seconds: "
            f"{left} records or more were left, and nothing of it was published",
            "a source transaction is published whole or not at all: raise limits.transaction_timeout_seconds "
            "(transaction.timeout.ms), at most to the brokers' transaction.max.timeout.ms, 900 seconds by default; "
            "or raise that too, on every broker",
        )


class Ambiguous(Retriable):
    """A commit that went through although connections were lost: what was sent first may still be on its way."""

    code = "B565"

    def __init__(self) -> None:
        super().__init__(
            "the last Kafka transaction was committed, and the producer lost a connection to the brokers",
            "nothing is lost; the producer is replaced, so that a late request cannot end a later Kafka transaction",
        )


# How librdkafka names its lines about a connection that failed, and about requests that nobody answered.
LOST: Final = frozenset({"FAIL", "REQTMOUT"})


class Heard(logging.Logger):
    """What a client says in its log; ``trouble`` once it told that requests were left without an answer."""

    def __init__(self, to: logging.Logger) -> None:
        super().__init__(to.name)
        self._to = to
        self.trouble = False

    def handle(self, record: logging.LogRecord) -> None:
        named = record.args[0] if isinstance(record.args, tuple) and record.args else None
        self.trouble = self.trouble or named in LOST
        if self._to.isEnabledFor(record.levelno):
            self._to.handle(record)


class Notes:
    """The last error that a client reported in the background (its ``error_cb``): the cause of a later timeout.

    librdkafka says "timed out" to the caller and "connection refused" or "certificate expired" only here.
    """

    def __init__(self) -> None:
        self._text = ""
        self._at = 0.0

    def __call__(self, error: KafkaError) -> None:
        self._text = f"{error.name()}: {error.str()}"
        self._at = time.monotonic()

    def recent(self) -> str:
        return self._text if self._text and time.monotonic() - self._at < NOTE_SECONDS else ""


def kafka_error(error: BaseException) -> KafkaError | None:
    """The ``KafkaError`` in an exception, or in its causes: one raised while a callback runs comes as SystemError."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, KafkaException) and seen.args and isinstance(seen.args[0], KafkaError):
            return seen.args[0]
        seen = seen.__cause__ or seen.__context__
    return None


def translate(error: KafkaError | BaseException, doing: str, notes: Notes | None = None) -> BridgeError:
    """What the runtime raises for ``error``. ``doing`` completes "… failed": "reading shop.orders-0"."""
    found = kafka_error(error) if isinstance(error, BaseException) else error
    if found is None:
        return Fatal(f"{doing} failed: {error!r}", "this is a defect; please report it")
    code = found.code()
    message = f"{doing} failed: {found.name()}: {found.str()}"
    if code in FENCED:
        return Fenced(message, "another process owns the source now, or this one was too slow to keep it")
    if code in FATAL:
        return Fatal(message, FATAL[code])
    if code in RETRIABLE or found.retriable() or found.txn_requires_abort() or found.fatal():
        cause = notes.recent() if notes else ""
        return Retriable(message, f"the client's last error was {cause}" if cause else "")
    return Fatal(message)


@contextmanager
def border(doing: str, notes: Notes | None = None) -> Iterator[None]:
    """Foreign errors of the block leave it translated."""
    try:
        yield
    except (KafkaException, SystemError) as error:
        raise translate(error, doing, notes) from error
