"""The runtime's ports on the simulated broker (see bridge.model for what each promises)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

import msgspec

from bridge.errors import Fatal, Fenced, RecordTooLarge, Retriable, TooLarge
from bridge.model import ChangelogRecord, InboundRecord, InputPartition, OutboundRecord, PlainRecord
from bridge.testing.broker import Broker, Log
from bridge.testing.faults import Process


class SourceTopics(msgspec.Struct, frozen=True):
    """The topics of one source. In single-log mode ``transaction`` is the log and ``data`` is empty."""

    transaction: str
    data: tuple[str, ...] = ()
    changelog: str = "changelog"
    group: str = "bridge"
    transactional_id: str = "bridge"

    def inputs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.transaction, *self.data)))


class FakeMembership:
    """A member of the source's group. Being put out of it is noticed at the next poll, which also joins anew."""

    def __init__(self, broker: Broker, topics: SourceTopics, process: Process) -> None:
        self.broker = broker
        self.process = process
        self.group = broker.group(topics.group)
        self.member = ""
        self.generation = -1
        self._join()

    def _join(self) -> None:
        self.process.members += 1
        self.member = f"{self.process.name}/{self.process.members}"
        self.group.join(self.member)

    def poll(self) -> bool:
        self.process.point("membership.poll")
        self.process.fail("poll", self.process.faults.poll_fails)
        if not self.group.poll(self.member):
            self.generation = -1
            self._join()
            return False
        self.generation = self.group.generation
        return self.group.owner == self.member

    def wait(self, seconds: float) -> bool:
        owner = self.poll()
        if owner:
            return True
        self.broker.clock.sleep(seconds)
        return self.poll()

    def close(self) -> None:
        if not self.process.dead:  # a killed process says no good-bye
            self.process.point("membership.close")
            self.group.leave(self.member)


class FakeReader:
    """Reads committed records; in what portions and in which order of partitions, the process's seed decides."""

    def __init__(self, broker: Broker, topics: SourceTopics, process: Process) -> None:
        self.broker = broker
        self.topics = topics
        self.process = process
        self._next: dict[InputPartition, int] = {}
        self._logs: dict[InputPartition, Log] = {}
        self._paused: set[InputPartition] = set()

    def partitions(self) -> list[InputPartition]:
        self.process.point("reader.partitions")
        found: list[InputPartition] = []
        for topic in self.topics.inputs():
            logs = self.broker.topics.get(topic)
            if logs is None:
                msg = f"topic {topic} does not exist"
                raise Fatal(msg)
            if topic == self.topics.transaction and len(logs) != 1:
                msg = f"transaction topic {topic} has {len(logs)} partitions, not one"
                raise Fatal(msg)
            found.extend(log.name for log in logs)
        return found

    def seek(self, offsets: dict[InputPartition, int]) -> dict[InputPartition, int]:
        self.process.point("reader.seek")
        for partition, offset in offsets.items():
            log = self.broker.topics[partition.topic][partition.partition]
            if 0 <= offset < log.start or offset > len(log.records):
                msg = f"{partition}: offset {offset} is out of range ({log.start} to {len(log.records)})"
                raise Fatal(msg)
            self._logs[partition] = log
            self._next[partition] = offset if offset >= 0 else log.start
        return dict(self._next)

    def read(self, limit: int, seconds: float) -> Sequence[InboundRecord]:
        self.process.point("reader.read")
        self.process.fail("read", self.process.faults.read_fails)
        records: list[InboundRecord] = []
        rng = self.process.rng
        partial = self.process.chance(self.process.faults.read_partial)
        names = [name for name in self._next if name not in self._paused]
        if partial:
            rng.shuffle(names)
            limit = min(limit, rng.choice((rng.randint(0, limit), rng.randint(1, 5))))
        for name in names:
            room = limit - len(records)
            if room <= 0:
                break
            self._take(name, rng.randint(0, room) if partial else room, records)
        if not records:
            self.broker.clock.sleep(seconds)
        return records

    def _take(self, name: InputPartition, limit: int, records: list[InboundRecord]) -> None:
        log = self._logs[name]
        offset, end, stored = self._next[name], log.end(), log.records
        while offset < end and limit > 0:
            record: PlainRecord | None = stored[offset]
            offset += 1
            if record is not None:
                records.append(record)
                limit -= 1
        self._next[name] = offset

    def positions(self) -> dict[InputPartition, int]:
        self.process.point("reader.positions")
        for name, offset in self._next.items():
            log = self._logs[name]
            end, stored, position = log.end(), log.records, offset
            while position < end and stored[position] is None:
                position += 1
            self._next[name] = position
        return dict(self._next)

    def ends(self) -> dict[InputPartition, int]:
        self.process.point("reader.ends")
        self.process.fail("ends", self.process.faults.read_fails)
        return {name: log.end() for name, log in self._logs.items()}

    def written(self) -> dict[InputPartition, int]:
        return {name: len(log.records) for name, log in self._logs.items()}

    def pause(self, partitions: Iterable[InputPartition]) -> None:
        self._paused.update(partitions)

    def resume(self, partitions: Iterable[InputPartition]) -> None:
        self._paused.difference_update(partitions)

    def close(self) -> None:
        self._next.clear()


class FakePublisher:
    """The transactional producer. Its named points: publish.begin, .middle, .before_commit, .after_commit."""

    def __init__(
        self, broker: Broker, topics: SourceTopics, process: Process, membership: FakeMembership | None
    ) -> None:
        self.broker = broker
        self.topics = topics
        self.process = process
        self.membership = membership
        self.epoch = -1

    def open(self) -> None:
        self.process.point("publisher.open")
        self.process.fail("open", self.process.faults.open_fails)
        self.epoch = self.broker.init_transactions(self.topics.transactional_id)
        self.process.point("publisher.opened")

    def publish(
        self,
        records: Collection[OutboundRecord],
        changelog: Collection[ChangelogRecord],
        offsets: dict[InputPartition, int],
    ) -> int:
        broker, faults, process = self.broker, self.process.faults, self.process
        records, changelog = list(records), list(changelog)
        self._check_sizes(records)
        name, epoch = self.topics.transactional_id, self.epoch
        process.point("publish.begin")
        process.fail("publish before", faults.publish_before)
        broker.begin(name, epoch, process.name)
        half = len(records) // 2
        broker.produce(name, epoch, records[:half])
        process.point("publish.middle")
        process.fail("publish middle", faults.publish_middle)
        broker.produce(name, epoch, records[half:])
        after = broker.produce_changelog(name, epoch, self.topics.changelog, changelog)
        self._send_offsets(offsets)
        process.point("publish.before_commit")
        if process.chance(faults.publish_unknown):
            broker.prepare(name, epoch)
            process.fail("publish unknown", 1.0)
        broker.commit(name, epoch)
        process.point("publish.after_commit")
        process.fail("publish after", faults.publish_after)
        return after

    def _check_sizes(self, records: Collection[OutboundRecord]) -> None:
        limits = self.broker.limits
        sizes = [(one, len(one.key) + len(one.value), limits.get(one.topic)) for one in records if limits]
        large = [TooLarge(one, size, limit) for one, size, limit in sizes if limit is not None and size > limit]
        if large:
            raise RecordTooLarge(large[0].record.topic, large[0].size, large[0].limit, large)

    def _send_offsets(self, offsets: dict[InputPartition, int]) -> None:
        """The group coordinator checks the member: another owner fences, a newer generation only aborts."""
        if self.membership is None:
            return
        group, member = self.membership.group, self.membership
        group.expire()
        if member.member not in group.members or group.owner != member.member:
            self._abort()
            msg = "this process does not own the source any more"
            raise Fenced(msg)
        if member.generation != group.generation:
            self._abort()
            msg = "the group has rebalanced since the last poll"
            raise Retriable(msg)
        self.broker.send_offsets(self.topics.transactional_id, self.epoch, self.topics.group, offsets)

    def _abort(self) -> None:
        self.broker.abort(self.topics.transactional_id, self.epoch)

    def close(self) -> None:
        """Nothing to end: a failed publish leaves its Kafka transaction to the next open()."""


class FakeChangelog:
    """The compacted topic; a read gives what compaction has left at that moment."""

    def __init__(self, broker: Broker, topics: SourceTopics, process: Process) -> None:
        self.broker = broker
        self.topics = topics
        self.process = process

    def _log(self) -> Log:
        logs = self.broker.topics.get(self.topics.changelog)
        if logs is None:
            msg = f"topic {self.topics.changelog} does not exist"
            raise Fatal(msg)
        return logs[0]

    def identity(self) -> str:
        self.process.point("changelog.identity")
        self._log()
        return self.broker.identities[self.topics.changelog]

    def bounds(self) -> tuple[int, int]:
        self.process.point("changelog.bounds")
        self.process.fail("changelog", self.process.faults.changelog_fails)
        log = self._log()
        return log.start, log.end()

    def settled(self) -> tuple[int, int]:
        log = self._log()
        if log.open:
            msg = "a Kafka transaction is open"
            raise Retriable(msg)
        return self.bounds()

    def read(self, start: int, end: int) -> Iterator[tuple[list[ChangelogRecord], int]]:
        log = self._log()
        offset, end = max(start, log.start), min(end, log.end())
        while offset < end:
            self.process.point("changelog.read")
            self.process.fail("changelog", self.process.faults.changelog_fails)
            stop = min(end, offset + self.process.rng.randint(1, 200))
            found = [
                ChangelogRecord(record.key_bytes or b"", record.value_bytes)
                for record in log.records[offset:stop]
                if record is not None
            ]
            offset = stop
            yield found, offset


class FakeKafka:
    """The ports of one source for one process. Other processes get their own on the same broker."""

    def __init__(self, broker: Broker, topics: SourceTopics, process: Process) -> None:
        self.broker = broker
        self.topics = topics
        self.process = process

    def membership(self) -> FakeMembership:
        self.process.point("kafka.membership")
        return FakeMembership(self.broker, self.topics, self.process)

    def reader(self) -> FakeReader:
        self.process.point("kafka.reader")
        return FakeReader(self.broker, self.topics, self.process)

    def publisher(self, membership: object) -> FakePublisher:
        self.process.point("kafka.publisher")
        if not isinstance(membership, FakeMembership | None):
            msg = "a simulated publisher needs a simulated membership"
            raise TypeError(msg)
        return FakePublisher(self.broker, self.topics, self.process, membership)

    def changelog(self) -> FakeChangelog:
        self.process.point("kafka.changelog")
        return FakeChangelog(self.broker, self.topics, self.process)
