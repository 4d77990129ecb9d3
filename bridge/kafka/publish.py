"""Publishes one batch: events, changelog and input offsets in one Kafka transaction.

    1. check     sizes, before anything begins: an oversize record must not be found half-way
    2. begin
    3. produce   events and dead letters, then the changelog; both may be many more than fit into memory
    4. offsets   with the membership's live metadata: one who is no owner any more is refused here
    5. flush     so that only the commit itself is missing
    6. commit

Whatever fails, the producer is dropped: librdkafka has no way to use one again whose commit timed out (no KIP-890), and
an abort right after the first record may kill it. ``open`` makes the next, whose ``init_transactions`` aborts what the
last one left.

A commit that succeeds may leave a request behind: where a connection was lost, librdkafka sent EndTxn again, and the
first one may arrive inside the *next* Kafka transaction and commit a part of it (measured, through a proxy: the brokers
tell them apart only by the producer's epoch). So a producer that had trouble is dropped after its commit too, whenever
that was: librdkafka does not tell of the same trouble twice within 30 seconds. The next ``publish`` says why.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from bridge.errors import BridgeError, RecordTooLarge, Retriable, TooLarge
from bridge.kafka.cluster import DEFAULT_SIZE_LIMIT, Cluster
from bridge.kafka.consume import partition_list
from bridge.kafka.errors import Ambiguous, Heard, Notes, OutOfTime, border, kafka_error, translate
from bridge.kafka.membership import GroupMembership
from bridge.kafka.overdue import call_within
from bridge.kafka.settings import LOGGER, ClientSettings, producer_properties
from bridge.model import ChangelogRecord, InputPartition, OutboundRecord

SLICE_SECONDS: Final = 5.0  # of a blocking call, so that signals are seen in between
GRACE_SECONDS: Final = 2.0  # after which a call that ignores its timeout is given up
ABORT_SECONDS: Final = 2.0  # for the courtesy of an abort
FLUSH_SECONDS: Final = 1.0
FULL_SECONDS: Final = 0.05  # how long to wait for room in the producer's queue
BATCH_BYTES: Final = 61  # header of a record batch
RECORD_BYTES: Final = 30  # length, attributes, timestamp, offset and the lengths of key, value and headers, at most
HEADER_BYTES: Final = 10  # the lengths of a header's name and value, at most

_Report = Callable[[KafkaError | None, Message], None]


class TransactionalPublisher:
    """``Publisher`` of one source. ``crash_point`` is called at each step, for tests that kill the process there.

    Without a ``membership`` it is a decision's (see ``bridge.runtime.decide``): it commits no offsets.
    """

    def __init__(
        self,
        settings: ClientSettings,
        cluster: Cluster,
        membership: GroupMembership | None,
        notes: Notes,
        crash_point: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._cluster = cluster
        self._membership = membership
        self._notes = notes
        self._crash_point = crash_point
        self._seconds = settings.transaction_timeout_ms / 1000
        self._producer: Producer | None = None
        self._heard = Heard(LOGGER)
        self._dropped: Retriable | None = None  # why the producer was, where that is worth telling
        self._limits: dict[str, int] = {}  # max.message.bytes of each topic
        self._careful_bytes = 0  # key and value of at most this many bytes fit anywhere, with headers
        self._changelog_end = -1
        self._until = 0.0  # when to give up the open Kafka transaction, shortly before the broker aborts it
        self._stalled = 0.0  # how long it stood still so far

    def open(self) -> None:
        """See ``Publisher.open``. Reads the topics' size limits anew."""
        self._drop()
        settings = self._settings
        topics = dict.fromkeys((settings.changelog_topic, *settings.output_topics))
        self._limits = self._cluster.size_limits(topics)
        self._careful_bytes = min(self._limits.values(), default=DEFAULT_SIZE_LIMIT) // 2
        changelog = InputPartition(settings.changelog_topic, 0)
        with border(f"starting the producer {settings.transactional_id}", self._notes):
            self._heard, self._dropped = Heard(LOGGER), None
            self._producer = producer = Producer(
                producer_properties(settings, self._notes, self._limits), logger=self._heard
            )
            until = time.monotonic() + settings.open_seconds
            self._persist(producer.init_transactions, until)
        self._changelog_end = self._cluster.ends([changelog])[changelog]

    def publish(
        self,
        records: Iterable[OutboundRecord],
        changelog: Iterable[ChangelogRecord],
        offsets: dict[InputPartition, int],
    ) -> int:
        """See ``Publisher.publish``. Raises RecordTooLarge (Fatal) with all that do not fit; mostly nothing has begun then."""
        producer = self._producer
        if producer is None:
            raise self._dropped or Retriable("the producer is not open")
        if self._membership is not None:
            self._membership.group_metadata()  # a zombie shall not even begin
        self._check_sizes(records, changelog)
        try:
            self._transact(producer, records, changelog, offsets)
        except (KafkaException, SystemError) as error:
            with suppress(KafkaException, SystemError):
                producer.poll(0)  # for the notes: what the client has to say about it waits for a poll
            translated = translate(error, "publishing", self._notes)
            self._give_up(producer, translated)
            raise translated from error
        except BridgeError as error:
            self._give_up(producer, error)
            raise
        except BaseException:  # a signal's exception: whoever catches it must not find a transaction open
            self._drop()
            raise
        return self._changelog_end

    def close(self) -> None:
        self._drop()

    # -- the steps -------------------------------------------------------------------------------------------------

    def _transact(
        self,
        producer: Producer,
        records: Iterable[OutboundRecord],
        changelog: Iterable[ChangelogRecord],
        offsets: dict[InputPartition, int],
    ) -> None:
        until = time.monotonic() + self._seconds
        # a little earlier, since then librdkafka drops what is left, which looks like deliveries
        self._until, self._stalled = until - min(GRACE_SECONDS, self._seconds / 10), 0.0
        producer.begin_transaction()
        self._crash_point("after_begin")
        self._produce(producer, records)
        self._produce_changelog(producer, changelog)
        self._crash_point("after_produce")
        self._send_offsets(producer, offsets, until)
        self._crash_point("after_send_offsets")
        self._flush(producer)
        self._crash_point("before_commit")
        self._commit(producer, until)
        self._crash_point("after_commit")

    def _commit(self, producer: Producer, until: float) -> None:
        """Where EndTxn may have been sent twice, the producer has done its last work."""
        self._persist(producer.commit_transaction, until)
        producer.poll(0)  # what it has to say waits for a poll
        if self._heard.trouble:
            self._dropped = Ambiguous()
            self._drop()

    def _produce(self, producer: Producer, records: Iterable[OutboundRecord]) -> None:
        """The hot path: 2.2 µs a record with ten headers, 0.7 µs without."""
        produce = producer.produce
        for record in records:
            topic, key, value, headers = record
            while True:
                try:
                    produce(topic, value, key, headers=headers)  # type: ignore[arg-type]  # its stub lacks a Sequence
                    break
                except BufferError:
                    self._wait_for_room(producer)
                except KafkaException as error:
                    self._name_large(error, topic, _size(key, value, headers), record)
                    raise

    def _produce_changelog(self, producer: Producer, changelog: Iterable[ChangelogRecord]) -> None:
        """One partition, so that the last record's offset is the highest: it alone needs a delivery report."""
        topic = self._settings.changelog_topic
        for (key, value), report in _marked_last(changelog, self._delivered):
            while True:
                try:
                    producer.produce(topic, value, key, 0, report)
                    break
                except BufferError:
                    self._wait_for_room(producer)
                except KafkaException as error:
                    self._name_large(error, topic, _size(key, value, ()), None)
                    raise

    def _wait_for_room(self, producer: Producer) -> None:
        """The producer's queue is full: wait for deliveries."""
        self._wait(producer, lambda: producer.poll(FULL_SECONDS))

    def _flush(self, producer: Producer) -> None:
        while len(producer):
            self._wait(producer, lambda: producer.flush(FLUSH_SECONDS))

    def _wait(self, producer: Producer, call: Callable[[], int]) -> None:
        """Raises OutOfTime when time is up although the brokers went on taking records: the next try would end as this one."""
        before, started = len(producer), time.monotonic()
        call()
        now, left = time.monotonic(), len(producer)
        if left >= before:
            self._stalled += now - started
        if left and now >= self._until:
            if self._stalled < self._seconds / 2:
                raise OutOfTime(self._seconds, left)
            raise Retriable("the brokers did not take the records in time", self._notes.recent())

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        """Runs inside flush and commit. Must not raise: librdkafka's own error would be lost in a SystemError."""
        offset = message.offset()
        if error is None and offset is not None:
            self._changelog_end = offset + 1

    def _send_offsets(self, producer: Producer, offsets: dict[InputPartition, int], until: float) -> None:
        """Not resumed but sent again, always with the same arguments: a member's place that changed means Fenced."""
        if self._membership is None:
            return
        positions, metadata = partition_list(offsets), self._membership.group_metadata()

        def send(seconds: float) -> None:
            call_within(
                seconds + GRACE_SECONDS,
                lambda: producer.send_offsets_to_transaction(positions, metadata, seconds),
                "sending the group's offsets",
            )

        self._persist(send, until)

    @staticmethod
    def _persist(call: Callable[[float], None], until: float) -> None:
        """Repeat a call with a timeout as long as librdkafka says that it may be repeated, and time is left."""
        while True:
            try:
                return call(min(SLICE_SECONDS, max(0.0, until - time.monotonic())))
            except KafkaException as error:
                found = kafka_error(error)
                if found is None or not found.retriable() or found.txn_requires_abort() or time.monotonic() >= until:
                    raise
                time.sleep(FULL_SECONDS)  # a refusal that may be retried comes back at once

    # -- sizes -----------------------------------------------------------------------------------------------------

    def _check_sizes(self, records: Iterable[OutboundRecord], changelog: Iterable[ChangelogRecord]) -> None:
        """Raise RecordTooLarge for records that do not fit into their topics, uncompressed, in a batch of their own.

        Headers are counted only where key and value fill half of the smallest limit. What slips through, by megabytes
        of headers, librdkafka or the broker refuses: nothing of that Kafka transaction becomes visible.
        """
        careful = self._careful_bytes
        large: list[TooLarge] = []
        for record in records:
            topic, key, value, headers = record
            if len(key) + len(value) > careful:
                size, limit = _size(key, value, headers), self._limit(topic)
                if size > limit:
                    large.append(TooLarge(record, size, limit))
        if large:
            self._check_limits(large)
            first = large[0]
            raise RecordTooLarge(first.record.topic, first.size, first.limit, large)
        topic = self._settings.changelog_topic
        for record_key, record_value in changelog:
            if record_value is not None and len(record_key) + len(record_value) > careful:
                size = _size(record_key, record_value, ())
                if size > self._limit(topic):
                    raise RecordTooLarge(topic, size, self._limit(topic))

    def _limit(self, topic: str) -> int:
        if topic not in self._limits:
            self._limits |= self._cluster.size_limits([topic])
        return self._limits[topic]

    def _check_limits(self, large: Iterable[TooLarge]) -> None:
        """Raises Retriable where a limit is not what it was: the producer has to be opened anew to know it."""
        topics = {one.record.topic for one in large}
        if self._cluster.size_limits(topics) != {topic: self._limits[topic] for topic in topics}:
            raise Retriable(f"max.message.bytes was changed: {', '.join(sorted(topics))}")

    def _name_large(self, error: KafkaException, topic: str, size: int, record: OutboundRecord | None) -> None:
        if error.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE:
            limit = self._limits.get(topic, DEFAULT_SIZE_LIMIT)
            found = [] if record is None else [TooLarge(record, size, limit)]
            raise RecordTooLarge(topic, size, limit, found) from error

    # -- ends ------------------------------------------------------------------------------------------------------

    def _give_up(self, producer: Producer, error: BridgeError) -> None:
        """Drop the producer. Abort where no ``open`` follows at once, so that readers do not wait for the timeout."""
        if not isinstance(error, Retriable):
            with suppress(KafkaException, SystemError):
                producer.flush(ABORT_SECONDS)  # aborting records that never left is fatal (librdkafka#4849)
                producer.abort_transaction(ABORT_SECONDS)
        self._drop()

    def _drop(self) -> None:
        """Without the purge the producer's end would wait for records that nobody wants any more."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(KafkaException, SystemError):
                producer.purge()


def _marked_last(
    changelog: Iterable[ChangelogRecord], mark: _Report
) -> Iterator[tuple[ChangelogRecord, _Report | None]]:
    last: ChangelogRecord | None = None
    for record in changelog:
        if last is not None:
            yield last, None
        last = record
    if last is not None:
        yield last, mark


def _size(key: bytes, value: bytes | None, headers: Sequence[tuple[str, bytes]]) -> int:
    """The bytes of a batch with this one record: what a broker compares with max.message.bytes."""
    named = sum(len(name) + len(content) + HEADER_BYTES for name, content in headers)
    return BATCH_BYTES + RECORD_BYTES + len(key) + len(value or b"") + named
