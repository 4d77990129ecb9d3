"""``bridge replay`` on a real broker, beside a bridge that runs: what it wrote, written again; and in its place."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import pytest
import yaml
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from bridge.cli.common import mapping_set
from bridge.config import load
from bridge.core.pipeline import Observed
from bridge.model import OutboundRecord, PlainRecord
from bridge.runtime.stored import Checkpoints
from bridge.runtime.transform import transform
from bridge.runtime.wiring import kafka_for
from bridge.testing.stream import MAPPING, OrderStream
from bridge.testing.stream import Record as StreamRecord
from deploy.bench.topics import FILL, PARTITIONS, make_topics
from deploy.stack import Stack
from deploy.stack.process import wait_until
from tests.integration.seen import ROOT, Application, Bridge, Outsider, Record, run_command, visible

pytestmark = [pytest.mark.stack, pytest.mark.slow]

ROW_CHANGES = 8_000
PARKED = b'"ord_no":17,'  # the order whose status is a code that nobody knows
WAIT_SECONDS = 60
DONE, PAUSED = 0, 75
RUN = [sys.executable, "-m", "bridge", "replay"]


class History:
    """An order stream in Kafka, a bridge that has translated it and still runs, and what each END of it means."""

    def __init__(self, stack: Stack, home: Path) -> None:
        self.stack = stack
        self.admin = AdminClient({"bootstrap.servers": stack.bootstrap, "log_level": 0})
        self.stream = OrderStream("hist", ROW_CHANGES)
        self.records = [_spoilt(record) for record in self.stream.records()]
        inputs = {"topics": self.stream.topics, "transaction_topic": self.stream.transaction_topic}
        self.application = Application(stack.bootstrap, home, "again", inputs, checkpoints={"directory": "checkpoints"})
        (self.application.mappings / MAPPING.name).write_text(
            MAPPING.read_text().replace("topic: sales.orders\n", f"topic: {self.application.events}\n")
        )
        self.ends: dict[int, list[OutboundRecord]] = {}
        self.markers: dict[int, Record] = {}
        self.checkpoint_end = -1

    def live(self) -> list[Record]:
        return sorted(visible(self.stack.bootstrap, self.application.events, self.application.dead_letters))

    def fill(self, records: list[StreamRecord]) -> None:
        producer = Producer({**FILL, "bootstrap.servers": self.stack.bootstrap})
        for record in records:
            producer.produce(record.topic, record.value, record.key, headers=list(record.headers))
        assert producer.flush(WAIT_SECONDS) == 0

    def make(self) -> Bridge:
        """Half of it, a stored checkpoint, and the other half, while the bridge runs."""
        make_topics(
            self.stack.bootstrap, dict.fromkeys(self.stream.topics, PARTITIONS) | {self.stream.transaction_topic: 1}
        )
        self.application.make_topics()
        half = next(n for n in range(len(self.records) // 2, len(self.records)) if b'"END"' in self.records[n].value)
        self.fill(self.records[: half + 1])
        bridge = self.application.start()
        self.wait_for_end()
        config = load(self.application.config)
        source = config.sources["legacy"]
        mappings = mapping_set(config.mappings, "legacy", source.catalog)
        kafka = kafka_for(config, source, mappings, "test")
        directory = config.checkpoints_directory / config.application / "legacy"
        stored = Checkpoints(directory, "legacy").create("half", kafka.changelog(), 0, lambda _done, _total: None)
        self.checkpoint_end = stored.end_offset
        self.fill(self.records[half + 1 :])
        self.wait_for_end()
        self._learn()
        return bridge

    def wait_for_end(self) -> None:
        """Until the group has committed all that is in the topics."""
        records = visible(self.stack.bootstrap, *self.stream.topics, self.stream.transaction_topic)
        ends: dict[tuple[str, int], int] = {}
        for one in records:
            ends[one.topic, one.partition] = max(one.offset + 1, ends.get((one.topic, one.partition), 0))

        def through() -> bool:
            committed = self.committed()
            return all(committed.get(place, -1) >= end for place, end in ends.items())

        assert wait_until(through, 2 * WAIT_SECONDS)

    def committed(self) -> dict[tuple[str, int], int]:
        group = ConsumerGroupTopicPartitions("again.legacy")
        (answer,) = self.admin.list_consumer_group_offsets([group]).values()
        places = answer.result(WAIT_SECONDS).topic_partitions or []
        return {(place.topic, place.partition): place.offset for place in places}

    def _learn(self) -> None:
        """What each END means, by ``bridge transform``'s way."""
        config = load(self.application.config)
        source = config.sources["legacy"]
        mappings = mapping_set(config.mappings, "legacy", source.catalog)
        topics = [*self.stream.topics, self.stream.transaction_topic]
        found = visible(self.stack.bootstrap, *topics)
        plain = [PlainRecord(r.topic, r.partition, r.offset, r.key, r.value, list(r.headers)) for r in found]
        plain.sort(key=lambda one: (one.topic_name, one.partition_number, one.offset_number))

        def observe(observed: Observed) -> None:
            self.ends[observed.transaction.offset] = list(observed.records)

        for _ in transform(plain, source.settings, mappings, observe):
            pass
        self.markers = {one.offset: one for one in found if one.topic == self.stream.transaction_topic}

    def expected(self, since: int, until: int | None = None) -> list[OutboundRecord]:
        until = max(self.ends) if until is None else until
        return [one for end, records in sorted(self.ends.items()) if since <= end <= until for one in records]

    def end(self, share: float) -> int:
        """The END that lies so far into the history."""
        ends = sorted(self.ends)
        return ends[int(share * (len(ends) - 1))]

    def command(self, since: object, name: str, *more: str) -> list[str]:
        config = str(self.application.config)
        return ["--config", config, "--source", "legacy", "--from", str(since), "--name", name, *more]

    def replay(self, since: object, name: str, *more: str) -> subprocess.CompletedProcess[bytes]:
        return run_command("replay", *self.command(since, name, *more))

    def shadows(self, name: str) -> list[Record]:
        application = self.application
        return visible(self.stack.bootstrap, f"{application.events}.{name}", f"{application.dead_letters}.{name}")

    def compare(self, name: str, expected: list[OutboundRecord]) -> None:
        """The same keys, values and headers, in order and in the partitions where the bridge wrote them."""
        assert expected
        shown = self.shadows(name)
        assert _by_key(shown, f".{name}") == _by_key(expected)
        places = {(one.topic, one.key, one.value): one.partition for one in self.live()}
        suffix = len(name) + 1
        assert all(places[one.topic[:-suffix], one.key, one.value] == one.partition for one in shown)


def _spoilt(record: StreamRecord) -> StreamRecord:
    if record.topic.endswith("t_ord") and PARKED in record.value:
        return record._replace(value=record.value.replace(b'"ord_stat":"P"', b'"ord_stat":"?"'))
    return record


def _by_key(records: list[Any], suffix: str = "") -> dict[tuple[str, bytes], list[tuple[bytes, Any]]]:
    found: dict[tuple[str, bytes], list[tuple[bytes, Any]]] = {}
    for one in records:
        place = one.topic.removesuffix(suffix), one.key
        found.setdefault(place, []).append((one.value, tuple(one.headers)))
    return found


@pytest.fixture(scope="module")
def history(kafka_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[History, Bridge]]:
    made = History(kafka_stack, tmp_path_factory.mktemp("replay"))
    try:
        yield made, made.make()
    finally:
        made.application.close()


Position = Callable[[History], object]
POSITIONS: dict[str, tuple[Position, Position]] = {
    "offset": (lambda h: h.end(0.1), lambda h: h.end(0.1)),
    "beginning": (lambda _h: "beginning", lambda h: min(h.ends)),
    "checkpoint": (lambda _h: "checkpoint:half", lambda h: h.checkpoint_end + 1),
    "lsn": (lambda h: _lsn(h, h.end(0.7)), lambda h: h.end(0.7)),
    "time": (lambda h: _time(h, h.end(0.6)), lambda h: _first_at(h, h.end(0.6))),
}


def _lsn(history: History, end: int) -> str:
    identity = yaml.safe_load(history.markers[end].value or b"")["id"]
    number = int(identity.partition(":")[2])
    return f"{number >> 32:X}/{number & 0xFFFFFFFF:X}"


def _ms(history: History, end: int) -> int:
    return int(yaml.safe_load(history.markers[end].value or b"")["ts_ms"])


def _time(history: History, end: int) -> str:
    ms = _ms(history, end)
    return datetime.fromtimestamp(ms // 1000, UTC).isoformat().replace("+00:00", f".{ms % 1000:03d}Z")


def _first_at(history: History, end: int) -> int:
    return min(one for one in history.ends if _ms(history, one) >= _ms(history, end))


@pytest.mark.parametrize("kind", POSITIONS)
def test_shadows_hold_what_the_bridge_wrote_from_there_on(history: tuple[History, Bridge], kind: str) -> None:
    past, bridge = history
    before, offsets = past.live(), past.committed()
    given, first = POSITIONS[kind]
    done = past.replay(given(past), kind)
    assert done.returncode == DONE, done.stderr.decode()
    past.compare(kind, past.expected(int(str(first(past)))))
    assert past.live() == before
    assert past.committed() == offsets
    assert bridge.state() == "owner"
    begun = "checkpoint half" if int(str(first(past))) > past.checkpoint_end else "the beginning"
    assert f"rolling forward from {begun}" in done.stderr.decode()


def test_parked_before_the_place_it_parks_again_and_filters_leave_the_rest_out(history: tuple[History, Bridge]) -> None:
    past, _ = history
    letters = [end for end, records in past.ends.items() if any(one.key == b"17" for one in records)]
    since, until = sorted(letters)[1], past.end(0.95)
    done = past.replay(since, "one", "--to", str(until), "--aggregate", "17", "--mapping", "Order")
    assert done.returncode == DONE, done.stderr.decode()
    expected = [one for one in past.expected(since, until) if one.key == b"17"]
    past.compare("one", expected)
    assert all(one.topic == past.application.dead_letters for one in expected)
    assert f"{len(expected)} dead letters".encode() in done.stdout


class Running:
    """A replay that a test lets run."""

    def __init__(self, past: History, since: object, name: str, *more: str) -> None:
        self._past = past
        self._name = name
        self._log = past.application.home / f"{name}.log"
        with self._log.open("ab") as out:
            command = [*RUN, *past.command(since, name, *more)]
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def said(self) -> str:
        return self._log.read_text()

    def wait_until(self, condition: Callable[[], bool]) -> None:
        until = time.monotonic() + 2 * WAIT_SECONDS
        while not condition():
            assert self.process.poll() is None, f"it ended: {self.said()}"
            assert time.monotonic() < until, self.said()
            time.sleep(0.1)

    def wait_for_shadows(self, least: int) -> None:
        """Until its topic of events holds so many."""
        topic = f"{self._past.application.events}.{self._name}"
        self.wait_until(lambda: topic in self._past.admin.list_topics(timeout=10).topics)
        with Outsider(self._past.stack.bootstrap, [topic]) as outsider:
            self.wait_until(lambda: bool(outsider.look() is not None and len(outsider.records) >= least))

    def wait_for_events(self, more_than: int) -> None:
        """Until the bridge's topic of events holds more than so many."""
        with Outsider(self._past.stack.bootstrap, [self._past.application.events]) as outsider:
            self.wait_until(lambda: bool(outsider.look() is not None and len(outsider.records) > more_than))

    def end(self) -> int:
        return self.process.wait(2 * WAIT_SECONDS)


@pytest.mark.parametrize("keeps_its_disk", [True, False])
def test_killed_in_the_middle_it_goes_on(history: tuple[History, Bridge], *, keeps_its_disk: bool) -> None:
    past, _ = history
    name, since = f"killed-{keeps_its_disk}", past.end(0.4)
    with Running(past, since, name, "--rate", "30") as running:
        running.wait_for_shadows(20)
        running.process.kill()
    told = len(past.shadows(name))
    assert 20 <= told < len(past.expected(since))
    if not keeps_its_disk:
        shutil.rmtree(past.application.home / "state-a" / "again" / f"legacy.replay.{name}")
    for point in ("after_commit", "before_commit", "after_produce"):
        dead = run_command(
            "replay", *past.command(since, name, "--rate", "200"), environment={"BRIDGE_CRASH_AT": point}
        )
        assert dead.returncode < 0 or dead.returncode == 137, dead.stderr.decode()
    assert past.replay(since, name).returncode == DONE
    past.compare(name, past.expected(since))


def test_paused_it_goes_on_with_the_same_command_alone(history: tuple[History, Bridge]) -> None:
    past, _ = history
    since, name = past.end(0.5), "paused"
    with Running(past, since, name, "--rate", "5") as running:
        running.wait_for_shadows(10)
        second = past.replay(past.end(0.2), "paused-two", "--to", str(past.end(0.25)))
        assert second.returncode == DONE, "another name is another replay"
        running.process.send_signal(signal.SIGINT)
        assert running.end() == PAUSED
        assert "paused after " in running.said()
    other = past.replay(past.end(0.6), name)
    assert (other.returncode, b"B552" in other.stderr) == (70, True)
    assert past.replay(since, name).returncode == DONE
    past.compare(name, past.expected(since))
    again = past.replay(since, name)
    assert (again.returncode, b"B553" in again.stderr) == (70, True)


def test_two_of_one_name_wait_for_each_other(history: tuple[History, Bridge]) -> None:
    past, _ = history
    since, name = past.end(0.8), "twice"
    with Running(past, since, name, "--rate", "2") as first:
        first.wait_for_shadows(2)
        with Running(past, since, name) as second:
            second.wait_until(lambda: "another process runs the replay twice" in second.said())
            first.process.kill()
            assert second.end() == DONE, second.said()
    past.compare(name, past.expected(since))


# -- in the bridge's place ---------------------------------------------------------------------------------------------


def test_live_it_takes_the_place_of_the_bridge_and_gives_it_back(history: tuple[History, Bridge]) -> None:
    past, bridge = history
    since, before, offsets = past.end(0.9), past.live(), past.committed()
    with Running(past, since, "live", "--live") as waiting:
        waiting.wait_until(lambda: "stop the bridge" in waiting.said())
        bridge.stop()
        assert waiting.end() == DONE, waiting.said()
    written = [one for one in past.live() if one not in before]
    expected = [one for one in past.expected(since) if one.topic == past.application.events]
    assert _by_key(written) == _by_key(expected)
    assert past.committed() == offsets

    events = len([one for one in past.live() if one.topic == past.application.events])
    with Running(past, since, "reissued", "--live", "--reissue", "--rate", "4") as again:
        again.wait_for_events(events)
        standby = past.application.start("b")
        standby.wait_for("standby")
        assert again.end() == DONE, again.said()
    standby.wait_for("owner")
    known = [one.header("ce_id") for one in past.live() if one.topic == past.application.events]
    new = [one for one in past.live() if "replaces" in dict(one.headers)]
    assert sorted(one.header("replaces") for one in new) == sorted(
        dict(one.headers)["ce_id"].decode() for one in expected
    )
    assert len({one.header("ce_id") for one in new} - {one.header("replaces") for one in new}) == len(expected)
    assert len(known) == len([one for one in before if one.topic == past.application.events]) + 2 * len(expected)

    assert past.committed() == offsets
    standby.stop()


def test_what_would_be_wrong_is_refused(history: tuple[History, Bridge]) -> None:
    past, _ = history
    since = past.end(0.9)
    mapping = past.application.mappings / MAPPING.name
    text = mapping.read_text()
    mapping.write_text(text.replace("prc_cents / 100", "prc_cents / 10"))
    try:
        other = past.replay(since, "other", "--live")
    finally:
        mapping.write_text(text)
    assert (other.returncode, b"B555" in other.stderr) == (70, True)
    nothing = past.replay("now", "nothing")
    assert (nothing.returncode, b"B550" in nothing.stderr) == (70, True)
    unknown = past.replay(since, "unknown", "--mapping", "Orders")
    assert (unknown.returncode, b"B556" in unknown.stderr) == (70, True)
    beside = past.replay(since, "beside", "--reissue")
    assert beside.returncode == 2
    names = set(past.admin.list_topics(timeout=10).topics)
    assert not [name for name in names if name.endswith((".other", ".nothing", ".unknown", ".beside"))]
    place = TopicPartition(past.stream.topics[0], 0, 5)
    past.admin.delete_records([place])[place].result(WAIT_SECONDS)
    early = past.replay(past.end(0.1), "early")
    assert (early.returncode, b"B551" in early.stderr) == (70, True)
    assert f"--from {past.checkpoint_end + 1}".encode() in early.stderr
    behind = past.replay(past.checkpoint_end + 1, "behind")
    assert behind.returncode == DONE
    past.compare("behind", past.expected(past.checkpoint_end + 1))
