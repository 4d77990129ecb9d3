"""The broker: partitions with Kafka transactions, one group per source, transactional ids with epochs.

True to Kafka in what a client can observe:

- A Kafka transaction's records take offsets at once and become visible at its end. Its end writes a marker into every
  partition that it touched, so offsets have gaps; aborted records are never seen.
- A ``read_committed`` reader sees nothing at or beyond the first open Kafka transaction of a partition (the last stable
  offset), not even records that were committed later.
- ``init_transactions`` of a transactional id ends what its predecessor left: a commit that was sent takes effect or
  does not, anything else is aborted. From then on the predecessor is fenced.
- The group gives its one partition to one member; a member that does not poll within the session timeout is out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random
from zlib import crc32

import msgspec

from bridge.errors import Fatal, Fenced
from bridge.model import ChangelogRecord, InputPartition, OutboundRecord, PlainRecord
from bridge.testing.faults import FakeClock

Headers = list[tuple[str, bytes | None]]


class Log:
    """One partition. ``records[i]`` is the record of offset i, or None: a marker, aborted, or compacted away."""

    __slots__ = ("held", "name", "open", "partition", "records", "start", "topic")

    def __init__(self, topic: str, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.name = InputPartition(topic, partition)
        self.records: list[PlainRecord | None] = []
        self.start = 0
        self.open: dict[int, int] = {}  # Kafka transaction -> offset of its first record here
        self.held: int | None = None  # an open Kafka transaction of somebody else's producer starts here

    def append(self, key: bytes | None, value: bytes | None, headers: Headers | None = None, timestamp: int = 0) -> int:
        offset = len(self.records)
        self.records.append(PlainRecord(self.topic, self.partition, offset, key, value, headers, timestamp))
        return offset

    def gap(self, size: int = 1) -> None:
        """Offsets that no reader ever sees, as markers and aborted records leave them."""
        self.records.extend([None] * size)

    def end(self) -> int:
        """The last stable offset."""
        end = min(self.open.values()) if self.open else len(self.records)
        return end if self.held is None else min(end, self.held)

    def visible(self) -> list[PlainRecord]:
        return [record for record in self.records[self.start : self.end()] if record is not None]

    def trim(self, start: int) -> None:
        """Retention: everything below ``start`` is gone."""
        self.start = max(self.start, min(start, len(self.records)))


class CommittedTransaction(msgspec.Struct):
    """One Kafka transaction that took effect."""

    number: int
    process: str
    records: list[OutboundRecord]
    changelog: list[ChangelogRecord]
    offsets: dict[InputPartition, int]
    at: float


class _Transaction:
    """One Kafka transaction that has not ended. ``prepared``: its commit was sent; whether it arrived, nobody knows."""

    def __init__(self, content: CommittedTransaction) -> None:
        self.content = content
        self.entries: list[tuple[Log, int]] = []
        self.prepared = False
        self.group: Group | None = None

    def append(self, log: Log, key: bytes | None, value: bytes | None, headers: Headers | None = None) -> int:
        offset = log.append(key, value, headers)
        log.open.setdefault(self.content.number, offset)
        self.entries.append((log, offset))
        return offset

    def end(self, *, commit: bool) -> None:
        logs = dict.fromkeys(log for log, _ in self.entries)
        if not commit:
            for log, offset in self.entries:
                log.records[offset] = None
        for log in logs:
            log.gap()
            del log.open[self.content.number]


class Group:
    """The consumer group of one source: at most one member owns it."""

    def __init__(self, clock: FakeClock, session_timeout: float) -> None:
        self.clock = clock
        self.session_timeout = session_timeout
        self.generation = 0
        self.members: dict[str, float] = {}  # in the order of joining; the time of the last poll
        self.owner: str | None = None
        self.offsets: dict[InputPartition, int] = {}
        self.take_overs = 0
        self._last_owner: str | None = None

    def join(self, member: str) -> None:
        self.members[member] = self.clock.now()
        self.generation += 1
        self._assign()

    def poll(self, member: str) -> bool:
        """A heartbeat. False: this member is not (or no longer) in the group."""
        self.expire()
        if member not in self.members:
            return False
        self.members[member] = self.clock.now()
        return True

    def leave(self, member: str) -> None:
        if self.members.pop(member, None) is not None:
            self._changed()

    def expire(self) -> None:
        """Members that were silent for the session timeout are out."""
        limit = self.clock.now() - self.session_timeout
        silent = [member for member, seen in self.members.items() if seen < limit]
        for member in silent:
            del self.members[member]
        if silent:
            self._changed()

    def move(self) -> None:
        """Give the partition to another member while the owner lives, as a rebalance may."""
        others = [member for member in self.members if member != self.owner]
        if others:
            self.generation += 1
            self._own(others[0])

    def _changed(self) -> None:
        self.generation += 1
        if self.owner not in self.members:
            self.owner = None
        self._assign()

    def _assign(self) -> None:
        if self.owner is None and self.members:
            self._own(next(iter(self.members)))

    def _own(self, member: str) -> None:
        self.take_overs += self._last_owner is not None
        self.owner = self._last_owner = member


class _TransactionalId:
    def __init__(self) -> None:
        self.epoch = 0
        self.transaction: _Transaction | None = None


class Broker:
    """Topics, Kafka transactions and groups of a simulated Kafka.

    ``history`` holds every Kafka transaction that took effect, in that order.
    """

    def __init__(self, seed: int | str = 0, clock: FakeClock | None = None, session_timeout: float = 45.0) -> None:
        self.rng = Random(f"{seed}/broker")  # noqa: S311 - a seed must replay
        self.clock = clock or FakeClock()
        self.session_timeout = session_timeout
        self.topics: dict[str, list[Log]] = {}
        self.identities: dict[str, str] = {}
        self.limits: dict[str, int] = {}  # max.message.bytes of the topics that have one
        self.history: list[CommittedTransaction] = []
        self.groups: dict[str, Group] = {}
        self._transactional_ids: dict[str, _TransactionalId] = {}
        self._transactions = 0
        self._made = 0
        self.aborted = 0
        self.in_flight: list[tuple[str, int]] = []  # commits that were sent, and may still arrive

    # Topics

    def create_topic(self, topic: str, partitions: int = 1) -> list[Log]:
        """Make a topic, or make it anew: empty, and with another identity."""
        self._made += 1
        self.identities[topic] = f"{topic}#{self._made}"
        self.topics[topic] = [Log(topic, partition) for partition in range(partitions)]
        return self.topics[topic]

    def log(self, topic: str, partition: int = 0) -> Log:
        return self.topics[topic][partition]

    def append(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Headers | None = None,
        timestamp: int = 0,
    ) -> int:
        """A record of a producer without transactions: visible at once."""
        return self.topics[topic][partition].append(key, value, headers, timestamp)

    def committed(self, topic: str) -> list[PlainRecord]:
        """What a ``read_committed`` consumer sees of a topic, partition by partition."""
        return [record for log in self.topics.get(topic, ()) for record in log.visible()]

    def compact(self, topic: str, head: int | None = None) -> None:
        """Drop records that a later one of the same key supersedes, below ``head`` (default: a random offset)."""
        for log in self.topics[topic]:
            end = log.end()
            head_here = self.rng.randint(log.start, end) if head is None else min(head, end)
            seen: set[bytes | None] = set()
            for offset in range(head_here - 1, log.start - 1, -1):
                record = log.records[offset]
                if record is None:
                    continue
                if record.key_bytes in seen:
                    log.records[offset] = None
                seen.add(record.key_bytes)

    # Groups

    def group(self, name: str) -> Group:
        if name not in self.groups:
            self.groups[name] = Group(self.clock, self.session_timeout)
        return self.groups[name]

    # Kafka transactions

    def init_transactions(self, transactional_id: str) -> int:
        """End the predecessor's Kafka transaction and fence it; returns the new epoch."""
        state = self._transactional_ids.setdefault(transactional_id, _TransactionalId())
        if state.transaction is not None:
            self._end(state, commit=state.transaction.prepared and self.rng.choice((True, False)))
        state.epoch += 1
        return state.epoch

    def begin(self, transactional_id: str, epoch: int, process: str) -> None:
        state = self._checked(transactional_id, epoch)
        if state.transaction is not None:
            msg = "begin_transaction while another is open: a failed publish needs open() first"
            raise Fatal(msg)
        self._transactions += 1
        content = CommittedTransaction(self._transactions, process, [], [], {}, self.clock.now())
        state.transaction = _Transaction(content)

    def produce(self, transactional_id: str, epoch: int, records: Sequence[OutboundRecord]) -> None:
        transaction = self._current(transactional_id, epoch)
        for record in records:
            logs = self.topics.get(record.topic)
            if logs is None:
                msg = f"no topic {record.topic}"
                raise Fatal(msg)
            headers: Headers = list(record.headers)
            transaction.append(logs[crc32(record.key) % len(logs)], record.key, record.value, headers)
            transaction.content.records.append(record)

    def produce_changelog(
        self, transactional_id: str, epoch: int, topic: str, changelog: Iterable[ChangelogRecord]
    ) -> int:
        """Returns the offset after the last record; the topic's end where there is none."""
        transaction = self._current(transactional_id, epoch)
        log = self.topics[topic][0]
        after = len(log.records)
        for record in changelog:
            after = transaction.append(log, record.key, record.value) + 1
            transaction.content.changelog.append(record)
        return after

    def send_offsets(self, transactional_id: str, epoch: int, group: str, offsets: dict[InputPartition, int]) -> None:
        transaction = self._current(transactional_id, epoch)
        transaction.group = self.group(group)
        transaction.content.offsets.update(offsets)

    def prepare(self, transactional_id: str, epoch: int) -> None:
        """The commit is under way, and its answer will never come."""
        self._current(transactional_id, epoch).prepared = True
        self.in_flight.append((transactional_id, epoch))

    def deliver(self) -> bool:
        """The oldest commit that is under way arrives; True where it is refused: its producer was replaced since."""
        transactional_id, epoch = self.in_flight.pop(0)
        state = self._transactional_ids[transactional_id]
        if state.epoch != epoch:
            return True
        if state.transaction is not None:
            self._end(state, commit=True)
        return False

    def commit(self, transactional_id: str, epoch: int) -> None:
        self._current(transactional_id, epoch)
        self._end(self._transactional_ids[transactional_id], commit=True)

    def abort(self, transactional_id: str, epoch: int) -> None:
        self._current(transactional_id, epoch)
        self._end(self._transactional_ids[transactional_id], commit=False)

    def _checked(self, transactional_id: str, epoch: int) -> _TransactionalId:
        state = self._transactional_ids.get(transactional_id)
        if state is None or state.epoch != epoch:
            msg = f"another producer uses the transactional.id {transactional_id}"
            raise Fenced(msg)
        return state

    def _current(self, transactional_id: str, epoch: int) -> _Transaction:
        transaction = self._checked(transactional_id, epoch).transaction
        if transaction is None:
            msg = "no Kafka transaction is open"
            raise Fatal(msg)
        return transaction

    def _end(self, state: _TransactionalId, *, commit: bool) -> None:
        transaction = state.transaction
        assert transaction is not None  # noqa: S101 - for the type checker
        state.transaction = None
        transaction.end(commit=commit)
        if commit:
            transaction.content.at = self.clock.now()
            if transaction.group is not None:
                transaction.group.offsets.update(transaction.content.offsets)
            self.history.append(transaction.content)
        else:
            self.aborted += 1
