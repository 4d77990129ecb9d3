"""The simulated Kafka behaves as Kafka does where a client can see it; else the simulator proves nothing."""

from __future__ import annotations

import pytest

from bridge.errors import Fatal, Fenced, Retriable
from bridge.model import ChangelogRecord, InputPartition, OutboundRecord
from bridge.testing import Broker, Crash, FakeKafka, FakeMembership, FakePublisher, Faults, Process, SourceTopics

TOPICS = SourceTopics("s.transaction", ("s.public.a",), changelog="s.state")
ROWS = InputPartition("s.public.a", 0)


def broker_with_topics(seed: int = 0) -> Broker:
    broker = Broker(seed)
    for topic, partitions in {"s.transaction": 1, "s.public.a": 2, "s.state": 1, "out": 2}.items():
        broker.create_topic(topic, partitions)
    return broker


def kafka(broker: Broker, name: str = "one", faults: Faults | None = None, topics: SourceTopics = TOPICS) -> FakeKafka:
    return FakeKafka(broker, topics, Process(name, 1, faults))


def owner(fake: FakeKafka) -> tuple[FakeMembership, FakePublisher]:
    membership = fake.membership()
    assert membership.poll()
    publisher = fake.publisher(membership)
    publisher.open()
    return membership, publisher


def event(number: int) -> OutboundRecord:
    return OutboundRecord("out", b"k", b"%d" % number, [])


def values(broker: Broker, topic: str = "out") -> list[bytes | None]:
    return [record.value() for record in broker.committed(topic)]


def test_publish_is_visible_as_a_whole_and_leaves_a_marker() -> None:
    broker = broker_with_topics()
    _, publisher = owner(kafka(broker))
    after = publisher.publish(
        [event(1), event(2)], [ChangelogRecord(b"a", b"1"), ChangelogRecord(b"b", b"2")], {ROWS: 7}
    )
    assert after == 2
    assert values(broker) == [b"1", b"2"]
    assert broker.log("s.state").end() == 3  # two records and a marker
    assert broker.group("bridge").offsets == {ROWS: 7}
    assert publisher.publish([event(3)], [ChangelogRecord(b"a", None)], {}) == 4
    assert [len(t.records) for t in broker.history] == [2, 1]


def test_a_failed_publish_shows_nothing_and_blocks_readers_until_the_next_open() -> None:
    broker = broker_with_topics()
    fake = kafka(broker, faults=Faults(publish_middle=1.0))
    _, publisher = owner(fake)
    with pytest.raises(Retriable):
        publisher.publish([event(1), event(2)], [], {})
    broker.topics["out"][0].append(b"x", b"foreign")
    broker.topics["out"][1].append(b"x", b"foreign")
    assert len(values(broker)) == 1  # the other partition's reader stands at the open Kafka transaction
    with pytest.raises(Fatal):
        publisher.broker.begin("bridge", publisher.epoch, "one")
    publisher.open()
    assert values(broker) == [b"foreign", b"foreign"]
    assert broker.history == []


@pytest.mark.parametrize("seed", range(8))
def test_a_commit_without_answer_is_settled_by_the_next_open(seed: int) -> None:
    broker = broker_with_topics(seed)
    _, publisher = owner(kafka(broker, faults=Faults(publish_unknown=1.0)))
    with pytest.raises(Retriable):
        publisher.publish([event(1)], [], {ROWS: 3})
    assert values(broker) == []
    publisher.open()
    took_effect = bool(broker.history)
    assert values(broker) == ([b"1"] if took_effect else [])
    assert broker.group("bridge").offsets == ({ROWS: 3} if took_effect else {})


def test_a_commit_that_took_effect_may_still_raise() -> None:
    broker = broker_with_topics()
    _, publisher = owner(kafka(broker, faults=Faults(publish_after=1.0)))
    with pytest.raises(Retriable):
        publisher.publish([event(1)], [], {})
    assert values(broker) == [b"1"]


def test_open_fences_the_predecessor_and_aborts_what_it_left() -> None:
    broker = broker_with_topics()
    first = kafka(broker, "first", Faults(publish_middle=1.0))
    _, zombie = owner(first)
    with pytest.raises(Retriable):
        zombie.publish([event(1), event(2)], [], {})
    broker.clock.sleep(100)
    _, publisher = owner(kafka(broker, "second"))
    assert broker.aborted == 1
    with pytest.raises(Fenced):
        zombie.publish([event(1)], [], {})
    publisher.publish([event(2)], [], {})
    assert values(broker) == [b"2"]


def test_the_group_has_one_owner_and_a_silent_one_loses_it() -> None:
    broker = broker_with_topics()
    first, second = kafka(broker, "first").membership(), kafka(broker, "second").membership()
    assert (first.poll(), second.poll()) == (True, False)
    broker.clock.sleep(30)
    assert second.poll() is False
    broker.clock.sleep(30)
    assert second.poll() is True
    assert first.poll() is False  # notices, and joins anew as a stand-by
    assert broker.group("bridge").take_overs == 1
    second.close()
    assert first.poll() is True


def test_a_zombie_cannot_publish_even_before_the_new_owner_opens() -> None:
    broker = broker_with_topics()
    fake = kafka(broker, "first")
    membership, publisher = owner(fake)
    standby = kafka(broker, "second").membership()
    with pytest.raises(Retriable):  # the group has a new generation, the owner is the same
        publisher.publish([event(1)], [], {})
    membership.poll()
    publisher.publish([event(1)], [], {})
    broker.clock.sleep(30)
    standby.poll()
    broker.clock.sleep(30)
    assert standby.poll()
    with pytest.raises(Fenced):
        publisher.publish([event(2)], [], {})
    assert values(broker) == [b"1"]


@pytest.mark.parametrize("where", ["publish.begin", "publish.middle", "publish.before_commit", "publish.after_commit"])
def test_a_crash_ends_the_process_at_the_chosen_point(where: str) -> None:
    broker = broker_with_topics()
    fake = kafka(broker)
    fake.process.crash_at_point = (where, 2)
    membership, publisher = owner(fake)
    publisher.publish([event(1)], [], {})
    with pytest.raises(Crash):
        publisher.publish([event(2)], [], {})
    with pytest.raises(Crash):
        membership.poll()
    membership.close()
    assert len(broker.group("bridge").members) == 1  # a killed process does not leave the group
    broker.clock.sleep(100)
    owner(kafka(broker, "next"))
    assert values(broker) == ([b"1", b"2"] if where == "publish.after_commit" else [b"1"])


def test_a_pause_lets_another_process_take_over_in_the_middle_of_a_commit() -> None:
    broker = broker_with_topics()
    fake, other = kafka(broker, "first"), kafka(broker, "second")
    _, publisher = owner(fake)

    def take_over() -> None:
        broker.clock.sleep(100)
        owner(other)[1].publish([event(2)], [], {})

    fake.process.pause_at_point = ("publish.before_commit", 1)
    fake.process.on_pause = take_over
    with pytest.raises(Fenced):
        publisher.publish([event(1)], [], {})
    assert values(broker) == [b"2"]


@pytest.mark.parametrize("seed", range(5))
def test_partial_reads_give_every_record_once_in_partition_order(seed: int) -> None:
    broker = broker_with_topics()
    for number in range(40):
        log = broker.log("s.public.a", number % 2)
        if number % 5 == 0:
            log.gap(2)
        log.append(None, b"%d" % number)
    fake = FakeKafka(broker, TOPICS, Process("one", seed, Faults(read_partial=0.9)))
    reader = fake.reader()
    reader.seek(dict.fromkeys(reader.partitions(), -1))
    found: dict[int, list[int]] = {0: [], 1: []}
    for _ in range(1000):
        for record in reader.read(7, 0.1):
            found[record.partition()].append(int(record.value() or b""))
    assert found == {0: list(range(0, 40, 2)), 1: list(range(1, 40, 2))}
    assert reader.positions() == reader.ends()


def test_positions_step_over_gaps_and_stop_at_an_open_transaction() -> None:
    broker = broker_with_topics()
    log = broker.log("s.public.a")
    log.append(None, b"1")
    log.gap(3)
    log.held = 4
    log.append(None, b"held")
    log.append(None, b"held too")
    reader = kafka(broker).reader()
    reader.seek({ROWS: 0})
    assert [record.value() for record in reader.read(10, 0)] == [b"1"]
    assert reader.positions() == {ROWS: 4}
    log.held = None
    assert reader.ends() == {ROWS: 6}
    assert len(reader.read(10, 0)) == 2


def test_offsets_out_of_range_and_missing_topics_stop() -> None:
    broker = broker_with_topics()
    log = broker.log("s.public.a")
    for _ in range(5):
        log.append(None, b"")
    log.trim(3)
    reader = kafka(broker).reader()
    with pytest.raises(Fatal):
        reader.seek({ROWS: 2})
    reader.seek({ROWS: -1})
    assert len(reader.read(10, 0)) == 2
    with pytest.raises(Fatal):
        kafka(broker, topics=SourceTopics("s.transaction", ("missing",))).reader().partitions()
    with pytest.raises(Fatal):
        kafka(broker, topics=SourceTopics("s.public.a")).reader().partitions()


def test_compaction_keeps_the_latest_of_each_key() -> None:
    broker = broker_with_topics()
    fake = kafka(broker)
    _, publisher = owner(fake)
    for number in range(20):
        publisher.publish([], [ChangelogRecord(b"%d" % (number % 3), b"%d" % number)], {})
    changelog = fake.changelog()
    start, end = changelog.bounds()
    whole = {record.key: record.value for batch, _ in changelog.read(start, end) for record in batch}
    broker.compact("s.state", 25)
    broker.compact("s.state")
    left = [record for batch, _ in changelog.read(start, end) for record in batch]
    assert {record.key: record.value for record in left} == whole
    assert len(left) < 20
    identity = changelog.identity()
    broker.create_topic("s.state")
    assert changelog.identity() != identity
