"""What must be survived, on a real broker, behind a proxy that knows Kafka's requests.

Every test ends with what a ``read_committed`` consumer sees, against events that are known by construction. Where each
fault is tested, those of other modules too, stands in README.md beside this file.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from confluent_kafka import Producer
from confluent_kafka.cimpl import NewPartitions

from bridge.errors import Fatal
from bridge.kafka.client import ConfluentKafka
from bridge.kafka.errors import Ambiguous
from bridge.kafka.scratch import drained
from bridge.kafka.settings import ClientSettings
from bridge.model import ChangelogRecord, InputPartition, OutboundRecord
from bridge.testing.frames import Api
from bridge.testing.proxy import Action, Proxy, Rule
from bridge.torture.process import wait_until
from deploy.stack import Stack
from tests.integration.faults import Corner, judge

pytestmark = [pytest.mark.stack, pytest.mark.slow]

SECONDS = 60


@pytest.fixture
def corner(kafka_stack: Stack, tmp_path: Path, request: pytest.FixtureRequest) -> Corner:
    return Corner(kafka_stack, tmp_path, request.node.name.removeprefix("test_").split("[")[0][:40])


# -- lost, late, reset -------------------------------------------------------------------------------------------------


class Ports:
    """The bridge's Kafka ports behind a proxy, with one topic for each purpose."""

    def __init__(self, corner: Corner, proxy: Proxy) -> None:
        name = corner.name
        self.corner = corner
        self.events, self.owner, self.log = f"{name}.e", f"{name}.t", f"{name}.c"
        corner.scratch.create({self.events: 1, self.owner: 1, self.log: 1})
        self.at_point: Callable[[str], object] = str
        properties = {"bootstrap.servers": proxy.bootstrap, "socket.timeout.ms": "2000"}
        settings = ClientSettings(
            properties,
            name,
            name,
            self.owner,
            self.log,
            output_topics=(self.events,),
            session_timeout_ms=30_000,
            transaction_timeout_ms=20_000,
        )
        self._kafka = ConfluentKafka(settings, self._pass)
        self.member = self._kafka.membership()
        assert self.member.wait(SECONDS)
        self.publisher = self._kafka.publisher(self.member)
        self.publisher.open()

    def _pass(self, point: str) -> None:
        self.at_point(point)

    def publish(self, value: bytes) -> int:
        return self.publisher.publish(
            [OutboundRecord(self.events, b"key", value, [])],
            [ChangelogRecord(b"key", value)],
            {InputPartition(self.owner, 0): 0},
        )

    def seen(self) -> list[bytes | None]:
        with self.corner.scratch.following(self.events) as reader:
            return [record.value() for record in drained(reader)]

    def close(self) -> None:
        self.publisher.close()
        self.member.close()


@pytest.fixture
def proxy(kafka_stack: Stack) -> Iterator[Proxy]:
    with Proxy(kafka_stack.bootstrap) as made:
        yield made


@pytest.fixture
def ports(corner: Corner, proxy: Proxy) -> Iterator[Ports]:
    made = Ports(corner, proxy)
    yield made
    made.close()


def test_a_late_end_does_not_commit_the_next(ports: Ports, proxy: Proxy) -> None:
    """The end of the first Kafka transaction arrives again while the second one is open."""
    late = proxy.add(Rule(Action.HOLD_REQUEST, Api.END_TXN))
    ports.publish(b"first")
    assert late.wait(SECONDS)
    seen_inside: list[bytes | None] = []

    def look(point: str) -> None:
        if point == "before_commit":
            late.release()
            assert late.delivered(SECONDS)
            seen_inside.extend(ports.seen())

    ports.at_point = look
    with pytest.raises(Ambiguous):
        ports.publish(b"second")
    ports.publisher.open()
    ports.publish(b"second")
    assert seen_inside == [b"first"]
    assert ports.seen() == [b"first", b"second"]


def test_many_aborts_in_a_row(ports: Ports) -> None:
    def fail(point: str) -> None:
        if point == "after_produce":
            raise Fatal("on purpose")

    ports.at_point = fail
    for _ in range(100):
        with pytest.raises(Fatal):
            ports.publish(b"never")
        ports.publisher.open()
    ports.at_point = str
    ports.publish(b"at last")
    assert ports.seen() == [b"at last"]


APIS = [
    Api.INIT_PRODUCER_ID,
    Api.ADD_PARTITIONS_TO_TXN,
    Api.PRODUCE,
    Api.ADD_OFFSETS_TO_TXN,
    Api.TXN_OFFSET_COMMIT,
    Api.END_TXN,
    Api.FETCH,
    Api.LIST_OFFSETS,
    Api.HEARTBEAT,
    Api.JOIN_GROUP,
    Api.SYNC_GROUP,
    Api.METADATA,
]


def test_a_request_meets_trouble(corner: Corner) -> None:
    """Each API: its first answer is lost; later the connection is reset before it, and after it."""
    corner.write()
    with corner.run() as run:
        # an answer to JoinGroup may take as long as a member may be silent, so that librdkafka waits for it so long
        joining = Api.JOIN_GROUP, Api.SYNC_GROUP
        rules = [run.proxy.add(Rule(Action.DROP_RESPONSE, api)) for api in APIS if api not in joining]
        rules += [run.proxy.add(Rule(Action.RESET_AFTER, api)) for api in joining]
        rules += [run.proxy.add(Rule(Action.RESET_BEFORE, api, nth=3)) for api in APIS[1:6]]
        rules += [run.proxy.add(Rule(Action.RESET_AFTER, api, nth=5)) for api in APIS[1:6]]
        run.start()
        judge(run)
        assert [Api(rule.api).name for rule in rules if not rule.fired] == []


def test_no_coordinator_answers_at_first(corner: Corner) -> None:
    corner.write()
    with corner.run() as run:
        rule = run.proxy.add(Rule(Action.RESET_BEFORE, Api.FIND_COORDINATOR, times=20))
        run.start()
        judge(run)
        assert rule.fired == 20


# -- the group ---------------------------------------------------------------------------------------------------------


def test_a_static_member_comes_back_at_once(corner: Corner) -> None:
    corner.write(0.5)
    with corner.run(session=300.0) as run:
        first = run.start(static=True)
        first.wait_for("owner")
        run.wait_progress()
        first.kill()
        run.start(static=True).wait_for("owner")  # long before the session of the first one ends
        corner.write()
        judge(run)


@pytest.mark.parametrize("place", ["starting", "standby", "restoring", "inside", "owner", "blocked"])
def test_sigterm_in_every_state(corner: Corner, place: str) -> None:
    """Ends within ten seconds, exit code 0 (see ``stop``); the next one finishes."""
    corner.write(0.5)
    with corner.run() as run:
        if place == "standby":
            run.start("b").wait_for("owner")
        at = {"restoring": "after_restore", "inside": "after_produce"}.get(place, "")
        bridge = run.start("a", at, "STOP")
        if at:
            bridge.wait_stopped()
        elif place == "starting":
            wait_until(lambda: any(line.get("event") == "start" for line in bridge.log()), "it started")
        else:
            bridge.wait_for("standby" if place == "standby" else "owner")
        if place == "blocked":
            run.wait_progress()
            run.proxy.black_hole()
            corner.write()
        bridge.stop()
        run.proxy.clear()
        corner.write()
        if place != "standby":
            run.start("a")
        judge(run)


# -- topics ------------------------------------------------------------------------------------------------------------


def test_a_topic_grows_while_it_is_read(kafka_stack: Stack, tmp_path: Path) -> None:
    corner = Corner(kafka_stack, tmp_path, "grows", partitions=1)
    corner.write(0.5)
    with corner.run() as run:
        run.start()
        run.wait_progress()
        for future in corner.admin.create_partitions(
            [NewPartitions(topic, 2) for topic in corner.stream.topics]
        ).values():
            future.result(20)
        corner.write()
        judge(run)


def test_a_topic_is_made_again(corner: Corner) -> None:
    """Its records are gone: the bridge stops, and says which topic."""
    corner.write(0.5)
    with corner.run() as run:
        bridge = run.start()
        run.wait_progress()
        run.wait_share(0.4)
        topic = f"{corner.stream.prefix}.public.t_ord"
        assert corner.scratch.delete([topic], []) == []
        wait_until(lambda: topic not in corner.admin.list_topics(timeout=10).topics, "deleted")
        corner.scratch.create({topic: 2})
        corner.write()
        wait_until(lambda: not bridge.alive(), "the bridge stopped")
        assert topic in bridge.log()[-1]["error"]


def test_a_transaction_that_stays_open_upstream(corner: Corner) -> None:
    """What follows it waits, nothing is skipped."""
    corner.write(0.5)
    topic = corner.stream.transaction_topic
    producer = Producer({"bootstrap.servers": corner.bootstrap, "transactional.id": corner.name, "log_level": 0})
    with corner.run() as run:
        run.start()
        run.wait_progress()
        producer.init_transactions(20)
        producer.begin_transaction()
        producer.produce(topic, b"{}", b"{}", 0)
        producer.flush(20)
        corner.write()
        before = run.look()
        assert before < len(corner.input.events)
        producer.abort_transaction(20)
        corner.write()
        judge(run)


# -- the machine -------------------------------------------------------------------------------------------------------


def test_no_room_for_the_state(corner: Corner) -> None:
    corner.write(0.5)
    with corner.run() as run:
        bridge = run.start()
        bridge.wait_for("owner")
        run.wait_progress()
        resource.prlimit(bridge.pid, resource.RLIMIT_FSIZE, (40_000, 40_000))
        corner.write()
        wait_until(lambda: not bridge.alive(), "the bridge stopped")
        assert "exit code 70" in bridge.last_words()
        run.start()
        judge(run)


def test_clocks_that_jump(corner: Corner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes a day ahead, and then a day behind, work on one stream: no clock is in what they publish.

    The clock of Python, which is all that the bridge reads: under libfaketime librdkafka itself stands still.
    """
    shifted = corner.home / "shifted"
    shifted.mkdir()
    (shifted / "sitecustomize.py").write_text(
        "import os, time\nnow = time.time\ntime.time = lambda: now() + float(os.environ['CLOCK_SHIFT'])\n"
    )
    corner.write()
    with corner.run() as run:
        for shift in ("86400", "-86400"):
            with monkeypatch.context() as changed:
                changed.setenv("CLOCK_SHIFT", shift)
                changed.setenv("PYTHONPATH", f"{shifted}:{os.environ.get('PYTHONPATH', '')}")
                bridge = run.start(static=True, crash_at="before_store")
            bridge.wait_dead()
        run.start(static=True)
        judge(run)


def test_nobody_reads_the_log(corner: Corner) -> None:
    """A pipe that is full and not read, then closed."""
    corner.write(0.5)
    with corner.run() as run:
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        while True:
            try:
                os.write(writing, b"x" * 4096)
            except BlockingIOError:
                break
        os.set_blocking(writing, True)
        run.start(out=writing)
        os.close(writing)
        run.wait_progress()
        os.close(reading)
        corner.write()
        judge(run)


def test_a_cache_that_was_cut_short(corner: Corner) -> None:
    """The file's end is gone, at any place: found out, and rebuilt."""
    dice = Random(3)
    corner.write(0.3)
    with corner.run() as run:
        run.start().wait_for("owner")
        run.wait_progress()
        for share in (0.4, 0.5, 0.6, 0.7, 0.8):
            run.stop_all()
            data = run.state_directory("a") / run.name / "legacy" / "data.mdb"
            os.truncate(data, dice.randrange(data.stat().st_size))
            corner.write(share)
            run.start().wait_for("owner")
            run.wait_progress()
        corner.write()
        judge(run)
