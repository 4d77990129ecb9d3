"""The Kafka ports on a real broker: what a read_committed consumer sees when things go wrong."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions, NewTopic

from bridge.errors import ConfigInvalid, Fatal, Fenced, RecordTooLarge, Retriable, StateLost
from bridge.kafka import topics
from bridge.kafka.client import ConfluentKafka
from bridge.kafka.errors import Notes, translate
from bridge.kafka.membership import GroupMembership, parse_group_metadata
from bridge.kafka.publish import TransactionalPublisher
from bridge.kafka.settings import ClientSettings, denied
from bridge.model import ChangelogRecord, InputPartition, OutboundRecord, Reader
from bridge.runtime.crash import crash_at
from deploy.stack import Stack

pytestmark = pytest.mark.stack

ROOT = Path(__file__).resolve().parents[2]
HEADERS = [("ce_type", b"OrderPlaced")]
SESSION_MS = 6000

# Publishes one record as the owner, and says how that ended. BRIDGE_CRASH_AT stops it on the way.
CHILD = """
import sys
from bridge.errors import BridgeError
from bridge.kafka.client import ConfluentKafka
from bridge.kafka.settings import ClientSettings
from bridge.model import ChangelogRecord, InputPartition, OutboundRecord
from bridge.runtime.crash import crash_point

bootstrap, name, transaction_ms = sys.argv[1:]
kafka = ConfluentKafka(
    ClientSettings(
        {"bootstrap.servers": bootstrap},
        group=name,
        transactional_id=name,
        owner_topic=f"{name}.transaction",
        changelog_topic=f"{name}.changelog",
        output_topics=(f"{name}.events",),
        session_timeout_ms=6000,
        transaction_timeout_ms=int(transaction_ms),
    ),
    crash_point,
)
member = kafka.membership()
assert member.wait(20), "no owner"
publisher = kafka.publisher(member)
publisher.open()
print("open", flush=True)
try:
    publisher.publish(
        [OutboundRecord(f"{name}.events", b"child", b"child", [])],
        [ChangelogRecord(b"child", b"child")],
        {InputPartition(f"{name}.transaction", 0): 7},
    )
    print("published", flush=True)
except BridgeError as error:
    print(type(error).__name__, flush=True)
"""


class Place:
    """One test's corner of the cluster."""

    def __init__(self, stack: Stack, name: str) -> None:
        self.stack = stack
        self.name = name
        self.transaction = InputPartition(f"{name}.transaction", 0)
        self.orders = [InputPartition(f"{name}.orders", number) for number in range(2)]
        self.changelog = f"{name}.changelog"
        self.events = f"{name}.events"
        self.admin = AdminClient({"bootstrap.servers": stack.bootstrap, "log_level": 0})
        self._open: list[Any] = []

    def make(self, **counts: int) -> None:
        self.make_with({}, **counts)

    def make_with(self, config: dict[str, str], **counts: int) -> None:
        wanted = [NewTopic(f"{self.name}.{topic}", count, 1, config=config) for topic, count in counts.items()]
        for future in self.admin.create_topics(wanted).values():
            future.result(20)

    def make_all(self) -> None:
        self.make(transaction=1, orders=2, events=2)
        self.make_with({"cleanup.policy": "compact"}, changelog=1)

    def settings(self, **changes: Any) -> ClientSettings:
        values: dict[str, Any] = {
            "properties": {"bootstrap.servers": self.stack.bootstrap},
            "group": self.name,
            "transactional_id": self.name,
            "owner_topic": self.transaction.topic,
            "changelog_topic": self.changelog,
            "data_topics": (self.orders[0].topic,),
            "output_topics": (self.events,),
            "session_timeout_ms": SESSION_MS,
            "transaction_timeout_ms": 10_000,
        }
        return ClientSettings(**(values | changes))

    def kafka(self, crash_point: Callable[[str], None] = lambda _: None, **changes: Any) -> ConfluentKafka:
        return ConfluentKafka(self.settings(**changes), crash_point)

    def member(self, kafka: ConfluentKafka) -> GroupMembership:
        member = kafka.membership()
        self._open.append(member)
        return member

    def owner(self, kafka: ConfluentKafka) -> GroupMembership:
        member = self.member(kafka)
        assert member.wait(20)
        return member

    def publisher(self, kafka: ConfluentKafka) -> TransactionalPublisher:
        publisher = kafka.publisher(self.owner(kafka))
        self._open.append(publisher)
        publisher.open()
        return publisher

    def reader(self, kafka: ConfluentKafka) -> Reader:
        reader = kafka.reader()
        self._open.append(reader)
        return reader

    def close(self) -> None:
        for port in reversed(self._open):
            port.close()

    def writer(self, name: str = "writer") -> Producer:
        """A producer with a transactional.id of its own: Debezium in exactly-once mode, or an intruder."""
        producer = Producer(
            {"bootstrap.servers": self.stack.bootstrap, "transactional.id": f"{self.name}-{name}", "log_level": 0}
        )
        producer.init_transactions(20)
        return producer

    def write(self, place: InputPartition, values: list[bytes], *, commit: bool = True) -> None:
        producer = self.writer()
        producer.begin_transaction()
        for value in values:
            producer.produce(place.topic, value, b"key", place.partition)
        producer.flush(20)
        if commit:
            producer.commit_transaction(20)
        else:
            producer.abort_transaction(20)

    def read(self, topic: str, *, committed: bool = True) -> list[bytes | None]:
        """All values that a consumer outside of the bridge can see now."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.stack.bootstrap,
                "group.id": "outsider",
                "isolation.level": "read_committed" if committed else "read_uncommitted",
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
            }
        )
        partitions = consumer.list_topics(topic, 20).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        values: list[bytes | None] = []
        ends = 0
        while ends < len(partitions):
            message = consumer.poll(20)
            assert message is not None
            if message.error() is None:
                values.append(message.value())
            else:
                ends += 1
                assert "_PARTITION_EOF" in repr(message.error())
        consumer.close()
        return values

    def committed(self) -> int:
        """The group's offset in the transaction topic."""
        consumer = Consumer({"bootstrap.servers": self.stack.bootstrap, "group.id": self.name})
        offset = consumer.committed([TopicPartition(*self.transaction)], 20)[0].offset
        consumer.close()
        return offset

    @contextmanager
    def child(self, crash_at: str, crash_signal: str, transaction_ms: int = 60_000) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, self.stack.bootstrap, self.name, str(transaction_ms)],
            cwd=ROOT,
            env=os.environ | {"BRIDGE_CRASH_AT": crash_at, "BRIDGE_CRASH_SIGNAL": crash_signal},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            yield process
        finally:
            process.kill()
            process.communicate()


@pytest.fixture
def place(kafka_stack: Stack, request: pytest.FixtureRequest) -> Iterator[Place]:
    name = f"{request.node.name.removeprefix('test_').split('[')[0]}-{random.randrange(10**6)}"
    corner = Place(kafka_stack, name)
    yield corner
    corner.close()


def event(place: Place, value: bytes, key: bytes = b"key") -> OutboundRecord:
    return OutboundRecord(place.events, key, value, HEADERS)


def read_until(reader: Reader, count: int) -> list[bytes | None]:
    """Read until there are ``count`` records and the ends are reached."""
    values: list[bytes | None] = []
    until = time.monotonic() + 20
    while len(values) < count or reader.positions() != reader.ends():
        values += [record.value() for record in reader.read(100, 0.1)]
        assert time.monotonic() < until, (values, reader.positions(), reader.ends())
    return values


# -- publish -----------------------------------------------------------------------------------------------------------


def test_nothing_is_visible_before_the_commit_and_everything_after_it(place: Place) -> None:
    place.make_all()
    seen: dict[str, tuple[int, int, int]] = {}

    def look(point: str) -> None:
        uncommitted = len(place.read(place.events, committed=False))
        seen[point] = (uncommitted, len(place.read(place.events)), len(place.read(place.changelog)))

    publisher = place.publisher(place.kafka(look))
    end = publisher.publish(
        [event(place, b"1", b"a"), event(place, b"2", b"b")],
        [ChangelogRecord(b"row", b"x"), ChangelogRecord(b"gone", None)],
        {place.transaction: 5, place.orders[1]: 9},
    )
    assert list(seen) == ["after_begin", "after_produce", "after_send_offsets", "before_commit", "after_commit"]
    assert seen["after_begin"] == (0, 0, 0)
    assert seen["before_commit"] == (2, 0, 0)  # in the log, and hidden
    assert seen["after_commit"] == (2, 2, 2)
    assert sorted(place.read(place.events)) == [b"1", b"2"]  # type: ignore[type-var]
    assert place.read(place.changelog) == [b"x", None]
    assert end == 2
    assert place.committed() == 5


def test_changelog_offset_follows_markers(place: Place) -> None:
    place.make_all()
    publisher = place.publisher(place.kafka())
    assert publisher.publish([], [ChangelogRecord(b"a", b"1")], {place.transaction: 1}) == 1
    assert publisher.publish([], [ChangelogRecord(b"a", b"2")], {place.transaction: 2}) == 3  # a marker between
    assert publisher.publish([event(place, b"1")], [], {place.transaction: 3}) == 3
    assert publisher.publish([], [], {place.transaction: 4}) == 3
    assert place.committed() == 4


def test_a_second_publisher_fences_the_first(place: Place) -> None:
    place.make_all()
    kafka = place.kafka()
    member = place.owner(kafka)
    first, second = kafka.publisher(member), kafka.publisher(member)
    first.open()
    first.publish([event(place, b"first")], [], {place.transaction: 1})
    second.open()
    with pytest.raises(Fenced):
        first.publish([event(place, b"zombie")], [ChangelogRecord(b"zombie", b"")], {place.transaction: 2})
    second.publish([event(place, b"second")], [], {place.transaction: 3})
    assert place.read(place.events) == [b"first", b"second"]
    assert place.read(place.changelog) == []
    assert place.committed() == 3
    with pytest.raises(Retriable):  # dropped: open() anew
        first.publish([], [], {})


def test_one_fenced_half_way_leaves_nothing(place: Place) -> None:
    place.make_all()
    kafka = place.kafka()
    member = place.owner(kafka)

    def usurp(point: str) -> None:
        if point == "before_commit":
            kafka.publisher(member).open()

    zombie = place.kafka(usurp).publisher(member)
    zombie.open()
    with pytest.raises(Fenced):
        zombie.publish([event(place, b"zombie")], [ChangelogRecord(b"zombie", b"")], {place.transaction: 2})
    assert place.read(place.events) == place.read(place.changelog) == []
    assert place.committed() < 0


def test_a_member_that_left_cannot_publish(place: Place) -> None:
    place.make_all()
    kafka = place.kafka()
    member = place.owner(kafka)
    publisher = kafka.publisher(member)
    publisher.open()
    member._assigned.clear()  # what a rebalance does
    with pytest.raises(Fenced):
        publisher.publish([event(place, b"zombie")], [], {place.transaction: 2})
    assert place.read(place.events, committed=False) == []


@pytest.mark.slow
def test_a_process_that_slept_through_its_session_is_refused(place: Place) -> None:
    place.make_all()
    with place.child("after_produce", "STOP") as zombie:
        kafka = place.kafka()
        publisher = place.publisher(kafka)  # waits for the session's end, then fences
        publisher.publish([event(place, b"successor")], [], {place.transaction: 8})
        os.kill(zombie.pid, signal.SIGCONT)
        out, _ = zombie.communicate(timeout=30)
        assert out == "Fenced\n"
        publisher.publish([event(place, b"again")], [], {place.transaction: 9})  # the zombie fenced nobody
    assert place.read(place.events) == [b"successor", b"again"]
    assert place.committed() == 9


@pytest.mark.slow
def test_a_transaction_that_outlives_its_timeout_is_replayed(place: Place) -> None:
    """Killed by the coordinator, which checks every ten seconds; the process is still the owner and opens anew."""
    place.make_all()
    armed = True

    def oversleep(point: str) -> None:
        if point == "before_commit" and armed:
            time.sleep(14)

    publisher = place.publisher(place.kafka(oversleep, transaction_timeout_ms=2000, session_timeout_ms=45_000))
    with pytest.raises((Fenced, Retriable)):
        publisher.publish([event(place, b"late")], [], {place.transaction: 1})
    armed = False
    publisher.open()
    publisher.publish([event(place, b"again")], [], {place.transaction: 1})
    assert place.read(place.events) == [b"again"]


# -- sizes -------------------------------------------------------------------------------------------------------------


def test_an_oversize_record_is_refused_before_anything_begins(place: Place) -> None:
    place.make(transaction=1, orders=2)
    place.make_with({"cleanup.policy": "compact"}, changelog=1)
    place.make_with({"max.message.bytes": "20000"}, events=1)
    points: list[str] = []
    publisher = place.publisher(place.kafka(points.append))
    noise = random.Random(1).randbytes(25_000)
    with pytest.raises(RecordTooLarge) as caught:
        publisher.publish([event(place, b"small"), event(place, noise)], [], {place.transaction: 1})
    error = caught.value
    assert (error.topic, error.limit) == (place.events, 20_000)
    assert [one.record.value for one in error.records] == [noise]
    assert error.size > 25_000
    assert not points
    publisher.publish([event(place, b"small")], [], {place.transaction: 1})
    assert place.read(place.events) == [b"small"]


def test_the_largest_record_that_is_let_through_is_taken(place: Place) -> None:
    place.make(transaction=1, orders=2, changelog=1)
    place.make_with({"max.message.bytes": "20000"}, events=1)
    publisher = place.publisher(place.kafka())
    noise = random.Random(1).randbytes(20_000)
    largest = 0
    for size in range(19_800, 20_000):
        try:
            publisher._check_sizes([event(place, noise[:size])], [])
        except RecordTooLarge:
            break
        largest = size
    publisher.publish([event(place, noise[:largest])], [], {place.transaction: 1})
    with pytest.raises(RecordTooLarge):
        publisher.publish([event(place, noise[: largest + 1])], [], {place.transaction: 1})
    assert place.read(place.events) == [noise[:largest]]


def test_many_small_records_do_not_make_a_batch_too_large(place: Place) -> None:
    place.make(transaction=1, orders=2, changelog=1)
    place.make_with({"max.message.bytes": "20000"}, events=1)
    publisher = place.publisher(place.kafka())
    dice = random.Random(1)
    publisher.publish([event(place, dice.randbytes(500)) for _ in range(2000)], [], {place.transaction: 1})
    assert len(place.read(place.events)) == 2000


def test_what_the_broker_refuses_stops_the_bridge_and_is_not_skipped(place: Place) -> None:
    place.make(transaction=1, orders=2, changelog=1)
    place.make_with({"max.message.bytes": "20000"}, events=1)
    publisher = place.publisher(place.kafka())
    large = OutboundRecord(place.events, b"key", b"", [("header", random.Random(1).randbytes(30_000))])
    with pytest.raises(Fatal):
        publisher.publish([event(place, b"small"), large], [], {place.transaction: 1})
    assert place.read(place.events) == []
    publisher.open()
    publisher.publish([event(place, b"small")], [], {place.transaction: 1})
    assert place.read(place.events) == [b"small"]


def test_more_than_the_queue_holds(place: Place) -> None:
    place.make_all()
    properties = {"bootstrap.servers": place.stack.bootstrap, "queue.buffering.max.messages": "1000"}
    publisher = place.publisher(place.kafka(properties=properties))
    rows = [ChangelogRecord(b"%d" % number, b"x") for number in range(2500)]
    assert publisher.publish([event(place, b"x")] * 2500, rows, {place.transaction: 1}) == 2500
    assert len(place.read(place.events)) == len(place.read(place.changelog)) == 2500


# -- membership --------------------------------------------------------------------------------------------------------


def test_the_source_is_handed_over_on_close(place: Place) -> None:
    place.make_all()
    kafka = place.kafka()
    first, second = place.owner(kafka), place.member(kafka)
    until = time.monotonic() + 3
    while time.monotonic() < until:  # the newcomer takes nothing away
        assert first.poll()
        assert not second.wait(0.1)
    first.close()
    began = time.monotonic()
    assert second.wait(5)
    assert time.monotonic() - began < 1
    assert not first.owns()


@pytest.mark.slow
def test_one_that_does_not_poll_loses_the_source(place: Place) -> None:
    place.make_all()
    kafka = place.kafka(max_poll_interval_ms=SESSION_MS)
    first = place.owner(kafka)
    publisher = kafka.publisher(first)
    publisher.open()
    second = place.member(kafka)
    until = time.monotonic() + 30
    while not second.wait(0.1):
        assert time.monotonic() < until
    with pytest.raises(Fenced):
        publisher.publish([event(place, b"zombie")], [], {place.transaction: 1})
    assert not first.poll()
    second.close()
    assert first.wait(10)  # and it stands by from then on
    publisher.open()
    publisher.publish([event(place, b"again")], [], {place.transaction: 1})
    assert place.read(place.events) == [b"again"]


def test_sources_spread_over_the_processes(place: Place) -> None:
    """Two sources of one group: the second process takes one and takes none away from the other's."""
    place.make(one=1, two=1)
    kafkas = [place.kafka(owner_topic=f"{place.name}.{topic}") for topic in ("one", "two")]
    members = [place.owner(kafka) for kafka in kafkas]
    assert all(member.poll() for member in members)


# -- reading -----------------------------------------------------------------------------------------------------------


def test_positions_reach_the_ends_over_markers_and_aborted_records(place: Place) -> None:
    place.make_all()
    first, second = place.orders
    place.write(first, [b"1", b"2", b"3"])
    place.write(first, [b"aborted"] * 4, commit=False)
    place.write(second, [b"aborted"], commit=False)
    reader = place.reader(place.kafka())
    reader.seek({})
    assert read_until(reader, 3) == [b"1", b"2", b"3"]
    assert reader.positions() == {first: 9, second: 2, place.transaction: 0}
    place.write(first, [b"4"])
    assert read_until(reader, 1) == [b"4"]
    assert reader.positions()[first] == 11


def test_an_open_transaction_hides_what_follows(place: Place) -> None:
    place.make_all()
    first = place.orders[0]
    place.write(first, [b"1"])
    producer = place.writer("slow")
    producer.begin_transaction()
    producer.produce(first.topic, b"open", b"key", first.partition)
    producer.flush(20)
    place.write(first, [b"behind"])
    reader = place.reader(place.kafka())
    reader.seek({})
    assert read_until(reader, 1) == [b"1"]
    assert reader.ends()[first] == reader.positions()[first] == 2
    producer.commit_transaction(20)
    assert read_until(reader, 2) == [b"open", b"behind"]


def test_positions_do_not_run_ahead_of_what_was_returned(place: Place) -> None:
    place.make_all()
    first = place.orders[0]
    place.write(first, [b"%d" % number for number in range(10)])
    reader = place.reader(place.kafka())
    reader.seek({first: 3})
    assert reader.positions()[first] == 3
    values: list[bytes | None] = []
    while len(values) < 7:
        values += [record.value() for record in reader.read(2, 1)]
        assert reader.positions()[first] == 3 + len(values) + (len(values) == 7 and reader.positions()[first] == 11)
    assert values == [b"%d" % number for number in range(3, 10)]
    reader.seek({first: 8})  # again, with records of the other place still in the queue
    assert reader.positions()[first] == 8
    assert read_until(reader, 2) == [b"8", b"9"]


def test_seek_leaves_what_it_does_not_name(place: Place) -> None:
    place.make_all()
    first, second = place.orders
    place.write(first, [b"1", b"2"])
    place.write(second, [b"3", b"4"])
    reader = place.reader(place.kafka())
    reader.seek({first: 1, second: -1})
    assert sorted(read_until(reader, 3)) == [b"2", b"3", b"4"]  # type: ignore[type-var]
    reader.seek({second: 1})
    assert read_until(reader, 1) == [b"4"]


def test_one_that_goes_back_stands_where_it_was_put(place: Place) -> None:
    """Else who reads to an end believes at once to be there, and finds nothing."""
    place.make_all()
    place.write(place.transaction, [b"%d" % number for number in range(50)])
    reader = place.reader(place.kafka())
    for _ in range(20):
        reader.seek({place.transaction: 0})
        assert reader.positions()[place.transaction] == 0
        assert len(read_until(reader, 50)) == 50


def test_a_quiet_source_is_read_without_waiting(place: Place) -> None:
    place.make_all()
    place.write(place.orders[0], [b"1"])
    reader = place.reader(place.kafka())
    reader.seek({})
    began = time.monotonic()
    while not reader.read(10_000, 5):
        pass
    assert time.monotonic() - began < 2


def test_paused_partitions_are_not_read(place: Place) -> None:
    place.make_all()
    first, second = place.orders
    reader = place.reader(place.kafka())
    reader.seek({})
    reader.pause([first])
    place.write(first, [b"1"])
    place.write(second, [b"2"])
    values: list[bytes | None] = []
    until = time.monotonic() + 2
    while time.monotonic() < until:
        values += [record.value() for record in reader.read(10, 0.1)]
    assert values == [b"2"]
    reader.resume([first])
    assert read_until(reader, 1) == [b"1"]


def test_a_log_that_begins_behind_the_checkpoint_is_loss(place: Place) -> None:
    place.make_all()
    first = place.orders[0]
    place.write(first, [b"1", b"2", b"3"])
    place.admin.delete_records([TopicPartition(first.topic, first.partition, 2)])[TopicPartition(*first)].result(20)
    reader = place.reader(place.kafka())
    with pytest.raises(Fatal, match="loss"):
        reader.seek({first: 1})
    with pytest.raises(Fatal, match="ends at offset"):
        reader.seek({first: 99})
    reader.seek({first: -1})
    assert read_until(reader, 1) == [b"3"]


def test_records_deleted_while_they_are_read_are_loss(place: Place) -> None:
    place.make_all()
    first = place.orders[0]
    reader = place.reader(place.kafka())
    reader.seek({})
    reader.pause([first])
    place.write(first, [b"1", b"2", b"3"])
    place.admin.delete_records([TopicPartition(first.topic, first.partition, 2)])[TopicPartition(*first)].result(20)
    reader.resume([first])
    with pytest.raises(Fatal, match="loss"):
        read_until(reader, 3)


def test_a_topic_that_grew_is_noticed(place: Place) -> None:
    place.make_all()
    reader = place.reader(place.kafka())
    assert sorted(reader.partitions()) == sorted([place.transaction, *place.orders])
    for future in place.admin.create_partitions([NewPartitions(place.orders[0].topic, 3)]).values():
        future.result(20)
    until = time.monotonic() + 5
    while len(reader.partitions()) < 4:
        assert time.monotonic() < until


@pytest.mark.slow
def test_missing_topics_name_who_makes_them(place: Place) -> None:
    place.make(orders=2)
    kafka = place.kafka()
    with pytest.raises(Fatal, match="transaction") as caught:
        place.reader(kafka).partitions()
    assert "Debezium" in caught.value.hint
    with pytest.raises(Fatal, match="changelog") as caught:
        kafka.changelog().identity()
    assert "bridge topics" in caught.value.hint
    with pytest.raises(Fatal, match="transaction"):
        place.owner(kafka)
    place.make(transaction=1)
    with pytest.raises(Fatal, match="changelog"):
        place.publisher(kafka)


def test_a_transaction_topic_has_one_partition(place: Place) -> None:
    place.make(transaction=2, orders=1)
    with pytest.raises(Fatal, match="has 2 partitions"):
        place.reader(place.kafka()).partitions()


# -- the changelog -----------------------------------------------------------------------------------------------------


def restored(kafka: ConfluentKafka, start: int, end: int) -> tuple[list[ChangelogRecord], int]:
    records: list[ChangelogRecord] = []
    position = start
    for batch, position in kafka.changelog().read(start, end):  # noqa: B007 - the last one counts
        records += batch
    return records, position


@pytest.mark.parametrize("point", ["after_send_offsets", "before_commit", "after_commit"])
def test_restore_after_a_kill(place: Place, point: str) -> None:
    """The successor opens first, so that the dead one's Kafka transaction is decided before the state is read."""
    place.make_all()
    with place.child(point, "KILL") as child:
        assert child.wait(20) == -signal.SIGKILL
    kafka = place.kafka()
    if point == "before_commit":
        partition = InputPartition(place.changelog, 0)
        assert kafka.cluster.stable_ends([partition])[partition] < kafka.cluster.ends([partition])[partition]
    publisher = place.publisher(kafka)
    began = time.monotonic()
    start, end = kafka.changelog().bounds()
    records, position = restored(kafka, start, end)
    assert time.monotonic() - began < 2
    committed = [ChangelogRecord(b"child", b"child")] if point == "after_commit" else []
    assert records == committed
    assert position == end
    assert place.read(place.events) == [record.value for record in committed]
    after = publisher.publish([], [ChangelogRecord(b"b", None)], {place.transaction: 8})
    start, end = kafka.changelog().bounds()
    assert restored(kafka, start, end) == ([*committed, ChangelogRecord(b"b", None)], end)
    assert restored(kafka, after - 1, end) == ([ChangelogRecord(b"b", None)], end)
    assert restored(kafka, after, end) == ([], end)
    assert restored(kafka, start, after) == ([*committed, ChangelogRecord(b"b", None)], after)


def test_restore_waits_for_an_intruders_open_transaction(place: Place) -> None:
    place.make_all()
    kafka = place.kafka()
    producer = place.writer("intruder")
    producer.begin_transaction()
    producer.produce(place.changelog, b"open", b"key", 0)
    producer.flush(20)
    changelog = kafka.changelog()
    changelog._decide_seconds = 0.5
    with pytest.raises(Retriable, match="stays open"):
        changelog.bounds()
    producer.commit_transaction(20)
    assert changelog.bounds() == (0, 2)


def test_restore_refuses_a_range_that_the_log_does_not_hold(place: Place) -> None:
    place.make_all()
    kafka = place.kafka()
    publisher = place.publisher(kafka)
    publisher.publish([], [ChangelogRecord(b"a", b"1")], {place.transaction: 1})
    assert kafka.changelog().bounds() == (0, 2)
    assert restored(kafka, 2, 2) == ([], 2)
    for start, end in ((0, 9), (5, 9), (3, 2), (-1, 2)):
        with pytest.raises(StateLost):
            restored(kafka, start, end)


def test_a_new_changelog_has_another_identity(place: Place) -> None:
    place.make_all()
    kafka = place.kafka()
    first = kafka.changelog().identity()
    assert first == kafka.changelog().identity()
    for future in place.admin.delete_topics([place.changelog]).values():
        future.result(20)
    until = time.monotonic() + 20
    while place.changelog in place.admin.list_topics(timeout=5).topics:
        assert time.monotonic() < until
    place.make(changelog=1)
    assert kafka.changelog().identity() != first


# -- a broker that dies ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_broker_killed_half_way_is_retriable(place: Place) -> None:
    place.make_all()
    place.write(place.orders[0], [b"1"])
    armed = True

    def strike(point: str) -> None:
        if point == "after_produce" and armed:
            place.stack.kill("kafka")

    kafka = place.kafka(strike, transaction_timeout_ms=3000, request_seconds=1.0)
    publisher, member = place.publisher(kafka), place._open[0]
    reader = place.reader(kafka)
    reader.seek({})
    try:
        began = time.monotonic()
        with pytest.raises(Retriable) as caught:
            publisher.publish([event(place, b"lost")], [ChangelogRecord(b"a", b"lost")], {place.transaction: 1})
        assert time.monotonic() - began < 6
        assert "_TRANSPORT" in caught.value.hint or "_ALL_BROKERS_DOWN" in caught.value.hint
        with pytest.raises(Retriable):
            reader.ends()
        reader.read(10, 0.1)
        began = time.monotonic()
        member.close()  # as the runtime does after Retriable
        assert time.monotonic() - began < 3
    finally:
        place.stack.restart("kafka")
    armed = False
    publisher = place.publisher(kafka)
    publisher.publish([event(place, b"again")], [ChangelogRecord(b"a", b"again")], {place.transaction: 1})
    assert place.read(place.events) == [b"again"]
    assert place.read(place.changelog) == [b"again"]
    assert read_until(reader, 1) == [b"1"]


@pytest.mark.slow
@pytest.mark.parametrize("point", ["after_produce", "before_commit"])
def test_a_short_outage_is_ridden_out(place: Place, point: str) -> None:
    place.make_all()
    armed = True

    def strike(passed: str) -> None:
        nonlocal armed
        if passed == point and armed:
            armed = False
            place.stack.kill("kafka")
            place.stack.restart("kafka")

    publisher = place.publisher(place.kafka(strike, transaction_timeout_ms=30_000, session_timeout_ms=45_000))
    publisher.publish([event(place, b"1")], [ChangelogRecord(b"a", b"1")], {place.transaction: 1})
    began = time.monotonic()
    try:
        publisher.publish([event(place, b"2")], [ChangelogRecord(b"a", b"2")], {place.transaction: 2})
    except Retriable:  # librdkafka waits for ever for a coordinator that it has forgotten (librdkafka#5511)
        publisher.open()
        publisher.publish([event(place, b"2")], [ChangelogRecord(b"a", b"2")], {place.transaction: 2})
    assert time.monotonic() - began < 20
    assert place.read(place.events) == [b"1", b"2"]


def test_clients_say_nothing_to_stderr(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    kafka = place.kafka(
        properties={"bootstrap.servers": "127.0.0.1:9", "compression.type": "zstd"}, request_seconds=0.5
    )
    member = place.member(kafka)
    assert not member.wait(1)
    with pytest.raises(Retriable, match=r"_TIMED_OUT|_TRANSPORT") as caught:
        place.reader(kafka).partitions()
    assert "_TRANSPORT" in caught.value.hint or "_ALL_BROKERS_DOWN" in caught.value.hint
    out, err = capfd.readouterr()
    assert out == err == ""


# -- topics ------------------------------------------------------------------------------------------------------------


def test_topics_are_made_once_and_checked(place: Place) -> None:
    cluster = place.kafka().cluster
    planned = topics.plan(place.changelog, f"{place.name}.DLT", {place.events: 3}, replication=1, retention_ms=1000)
    assert len(topics.check(cluster, planned, [place.transaction.topic])) == 4
    with pytest.raises(Fatal, match="is missing") as caught:
        topics.require(cluster, planned)
    assert "bridge topics --config FILE --create" in caught.value.hint
    assert sorted(topics.create(cluster, planned)) == sorted(topic.name for topic in planned)
    assert topics.create(cluster, planned) == []
    topics.require(cluster, planned)
    configs = cluster.configs([place.changelog, place.events])
    assert configs[place.changelog]["cleanup.policy"] == "compact"
    assert configs[place.events]["retention.ms"] == "1000"
    assert len(cluster.describe([place.events])[place.events].partitions) == 3


def test_topics_that_lose_data_are_refused(place: Place) -> None:
    place.make(changelog=2, events=1)
    place.make_with({"cleanup.policy": "compact"}, DLT=1, orders=1)
    planned = topics.plan(place.changelog, f"{place.name}.DLT", {place.events: 3})
    problems = "\n".join(topics.check(place.kafka().cluster, planned, [place.orders[0].topic]))
    assert "has 2 partitions, not one" in problems
    assert "cleanup.policy=delete, not compact" in problems
    assert "removes letters of one key" in problems
    assert "removes changes before the bridge reads them" in problems
    assert place.events not in problems  # its partitions are its owner's to choose


# -- settings, errors, crash points ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["enable.auto.commit", "transactional.id", "isolation.level", "plugin.library.paths", "error_cb"]
)
def test_properties_that_are_not_the_users(place: Place, name: str) -> None:
    with pytest.raises(ConfigInvalid, match=name):
        place.kafka(properties={"bootstrap.servers": "127.0.0.1:9", name: "x"})


def test_brokers_are_not_trusted_by_accident() -> None:
    careless = {"ssl.endpoint.identification.algorithm": "none", "enable.ssl.certificate.verification": "false"}
    assert sorted(denied(careless)) == sorted(careless)
    assert denied(careless, insecure=True) == {}


def test_a_misspelt_property_is_fatal(place: Place) -> None:
    with pytest.raises(Fatal, match=r"linger\.msec"):
        place.kafka(properties={"bootstrap.servers": "127.0.0.1:9", "linger.msec": "5"})


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (KafkaError(KafkaError._FENCED, fatal=True), Fenced),
        (KafkaError(KafkaError._FENCED, txn_requires_abort=True), Fenced),
        (KafkaError(KafkaError.ILLEGAL_GENERATION, txn_requires_abort=True), Fenced),
        (KafkaError(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, fatal=True), Fatal),
        (KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, txn_requires_abort=True), Fatal),
        (KafkaError(KafkaError._TIMED_OUT, retriable=True), Retriable),
        (KafkaError(KafkaError.INVALID_TXN_STATE, fatal=True), Retriable),
        (KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, txn_requires_abort=True), Retriable),
        (KafkaError(KafkaError._TRANSPORT), Retriable),
        (KafkaError(KafkaError.NOT_ENOUGH_REPLICAS), Retriable),
        (KafkaError(KafkaError.KAFKA_STORAGE_ERROR), Retriable),
        (KafkaError(KafkaError._CONFLICT), Fatal),
    ],
)
def test_errors_say_what_happens_next(error: KafkaError, expected: type[Exception]) -> None:
    assert type(translate(error, "a test")) is expected
    assert type(translate(KafkaException(error), "a test")) is expected
    hidden = SystemError("returned a result with an exception set")
    hidden.__cause__ = KafkaException(error)
    assert type(translate(hidden, "a test")) is expected


def test_an_error_without_a_cause_is_a_defect() -> None:
    assert type(translate(SystemError("?"), "a test")) is Fatal


def test_a_failure_names_what_the_client_said_before() -> None:
    notes = Notes()
    notes(KafkaError(KafkaError._SSL, "certificate expired"))
    error = translate(KafkaError(KafkaError._TIMED_OUT, retriable=True), "a test", notes)
    assert "certificate expired" in error.hint


def test_group_metadata_of_another_version_is_refused() -> None:
    assert parse_group_metadata(b"CGMDv2:\x07\x00\x00\x00group\x00member\x00\x01") == (7, b"member")
    assert parse_group_metadata(b"CGMDv2:\xff\xff\xff\xffgroup\x00\x00\x01") == (-1, b"")
    with pytest.raises(Fatal):
        parse_group_metadata(b"CGMDv3:\xff\xff\xff\xffgroup\x00\x00\x01")


def test_crash_points_count(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *what: killed.append(what))
    point = crash_at({"BRIDGE_CRASH_AT": "before_commit:2", "BRIDGE_CRASH_SIGNAL": "STOP"})
    point("before_commit")
    point("after_commit")
    assert not killed
    point("before_commit")
    point("before_commit")
    assert killed == [(os.getpid(), signal.SIGSTOP)]
    crash_at({})("before_commit")
