"""A position resolved, against a naive look at the whole topic: repeats, accepted histories, clocks that go back."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bridge.core.encode import Encode
from bridge.core.history import BITS
from bridge.core.translate import CanonicalEvent
from bridge.errors import Fatal
from bridge.mapping import load
from bridge.model import EventRule, SourceSettings
from bridge.runtime import position, published
from bridge.runtime.position import Ends, Place, resolve
from bridge.runtime.published import Published
from bridge.testing import Broker, FakeKafka, Faults, Process, SourceTopics

ROOT = Path(__file__).resolve().parents[1]
SEEDS = range(30)
T0 = 1_790_000_000_000
ORDER = ROOT / "mappings" / "demo" / "order.yaml"
MAPPINGS = load([(str(ORDER), ORDER.read_text())], "legacy", None)


@pytest.fixture(autouse=True)
def near_sighted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look back begins so small that it must grow."""
    monkeypatch.setattr(position, "_FIRST_LOOK", 2)
    monkeypatch.setattr(published, "_FIRST_LOOK", 1)


class End(NamedTuple):
    """As the test wrote it. ``position`` with its history's bits."""

    offset: int
    position: int
    time_ms: int


class Topic:
    """A transaction topic, or a log, of a seed's making; ``ends`` holds every END, ``released`` those that are no repeats."""

    def __init__(self, seed: int, *, log: bool = False, mariadb: bool = False) -> None:
        self.rng = rng = random.Random(seed)
        self.broker = Broker(seed)
        self.name = "s.log" if log else "s.transaction"
        self.broker.create_topic(self.name)
        self.broker.create_topic("out", 3)
        if not log:
            self.broker.create_topic("s.public.a", 2)
        topics = () if log else ("s.public.a",)
        self.settings = SourceSettings(
            name="legacy",
            connector="mariadb" if mariadb else "postgresql",
            topics=topics,
            transaction_topic="" if log else self.name,
            log=self.name if log else "",
        )
        self.mariadb = mariadb
        self.notes: list[str] = []
        self.ends: list[End] = []
        self.accepted: dict[int, dict[str, int]] = {}
        self._history = 0
        self._position = 1000
        self._time = T0
        self._write(rng.randint(0, 60))
        if rng.random() < 0.4:
            self.broker.log(self.name).trim(rng.randint(0, len(self.broker.log(self.name).records)))
        start = self.broker.log(self.name).start
        self.ends = [end for end in self.ends if end.offset >= start]
        best, self.released = -1, list[End]()
        for end in self.ends:
            if end.position > best:
                best = end.position
                self.released.append(end)
        running = list(accumulate((end.time_ms for end in self.released), max, initial=0))[1:]
        self.running = dict(zip((end.offset for end in self.released), running, strict=True))

    def _write(self, count: int) -> None:
        rng = self.rng
        for _ in range(count):
            what = rng.random()
            if what < 0.1 and len(self.ends) > 3:  # Connect was killed: it sends some again
                for end in self.ends[-rng.randint(1, 3) :]:
                    if end.position >> BITS == self._history:
                        self._end(end.position & ((1 << BITS) - 1), end.time_ms)
            elif what < 0.15 and not self.mariadb and self.ends and self.ends[-1].position >> BITS == self._history:
                self._restore()
            elif what < 0.25:
                self.broker.log(self.name).gap(rng.randint(1, 3))
            else:
                self._position += rng.randint(1, 50)
                self._time += rng.choice((0, 1, 500, 2000, -3000))
                self._end(self._position, self._time)

    def _restore(self) -> None:
        self._history += 1
        self._position -= self.rng.randint(0, 400)
        self.accepted[len(self.broker.log(self.name).records)] = {
            f"{self.name}-0": len(self.broker.log(self.name).records)
        }

    def _end(self, at: int, time_ms: int) -> None:
        group = f"0-1-{at}" if self.mariadb else f"{at % 97}:{at}"
        self._marker("BEGIN", group, time_ms)
        if self.settings.log:
            row = {"source": {"schema": "public", "table": "a", "lsn": at}, "op": "c", "after": {"id": 1}}
            self.broker.append(self.name, 0, b'{"id":1}', json.dumps(row, separators=(",", ":")).encode())
        elif self.rng.random() < 0.5:
            self.broker.append("s.public.a", self.rng.randint(0, 1), b"k", b"never looked at")
        offset = self._marker("END", group, time_ms)
        self.ends.append(End(offset, at + (self._history << BITS), time_ms))

    def _marker(self, status: str, group: str, time_ms: int) -> int:
        value = {"status": status, "id": group, "event_count": 0, "data_collections": [], "ts_ms": time_ms}
        return self.broker.append(self.name, 0, None, json.dumps(value, separators=(",", ":")).encode())

    @property
    def end(self) -> int:
        return self.broker.log(self.name).end()

    def kafka(self, data: tuple[str, ...]) -> FakeKafka:
        process = Process("one", self.rng.randint(0, 99), Faults(read_partial=0.5))
        return FakeKafka(self.broker, SourceTopics(self.name, data), process)

    def opened(self) -> Ends:
        return Ends(self.settings, self.kafka(self.settings.topics).reader(), self.accepted)

    def resolve(self, text: str) -> Place:
        events = Published("legacy", MAPPINGS, self.kafka(("out",)).reader(), self.notes.append)
        events.topics = ["out"]
        return resolve(text, self.opened(), lambda name: {"night": 17}[name], events)

    def naive(self, ends: list[End], where: Callable[[End], int]) -> Place:
        """-1, 0, 1: an END lies before the place, at it, behind it."""
        first = next((end.offset for end in ends if where(end) >= 0), self.end)
        last = [end.offset for end in ends if where(end) <= 0]
        return Place(first, last[-1] if last else -1)


def order(a: int, b: int) -> int:
    return (a > b) - (a < b)


def by_offset(wanted: int) -> Callable[[End], int]:
    return lambda end: order(end.offset, wanted)


def by_position(wanted: int) -> Callable[[End], int]:
    return lambda end: order(end.position, wanted)


def by_time(topic: Topic, wanted: int) -> Callable[[End], int]:
    return lambda end: order(topic.running[end.offset], wanted)


KINDS: list[dict[str, bool]] = [{}, {"log": True}, {"mariadb": True}]


@pytest.mark.parametrize("kind", KINDS, ids=["tables", "log", "mariadb"])
@pytest.mark.parametrize("seed", SEEDS)
def test_every_kind_of_position(seed: int, kind: dict[str, Any]) -> None:
    topic = Topic(seed, **kind)
    rng, start = topic.rng, topic.broker.log(topic.name).start
    assert topic.resolve("beginning") == Place(start, -1)
    assert topic.resolve("now") == Place(topic.end, topic.ends[-1].offset if topic.ends else -1)
    assert topic.resolve("checkpoint:night") == Place(18, 17)
    for offset in {*rng.sample(range(start, topic.end), min(8, topic.end - start))}:
        assert topic.resolve(str(offset)) == topic.naive(topic.ends, by_offset(offset))
    for end in rng.sample(topic.released, min(4, len(topic.released))):
        for off in (-1, 0, 1):
            at = end.time_ms + off
            moment = datetime.fromtimestamp(at // 1000, UTC).replace(microsecond=at % 1000 * 1000)
            expected = topic.naive(topic.released, by_time(topic, at))
            assert topic.resolve(moment.isoformat()) == expected
            assert topic.resolve(moment.isoformat().replace("+00:00", "Z")) == expected
            own = (end.position & ((1 << BITS) - 1)) + off
            there = [one.position >> BITS for one in topic.released if one.position & ((1 << BITS) - 1) == own]
            wanted = own + (max(there, default=len(topic.accepted)) << BITS)
            text = f"0-1-{own}" if topic.mariadb else f"{own >> 32:x}/{own & 0xFFFFFFFF:X}"
            assert topic.resolve(text) == topic.naive(topic.released, by_position(wanted))


def publish(topic: Topic, end: End, element: str = "", source: str = "legacy", aggregate: str = "Order") -> str:
    """An event of the unit at this END, among others."""
    event = CanonicalEvent(EventRule("OrderPlaced", 1, "out", bool, dict), aggregate, "42", element, {})
    (record,) = Encode(source).transaction([event], end.position, end.time_ms, end.time_ms)
    partition = topic.rng.randint(0, 2)
    for _ in range(topic.rng.randint(0, 5)):
        topic.broker.append("out", topic.rng.randint(0, 2), b"x", b"{}", [("ce_id", b"other")])
    topic.broker.append("out", partition, record.key, record.value, list(record.headers))
    return dict(record.headers)["ce_id"].decode()


@pytest.mark.parametrize("kind", KINDS, ids=["tables", "log", "mariadb"])
@pytest.mark.parametrize("seed", range(20))
def test_an_event_s_id_names_the_end_of_its_transaction(seed: int, kind: dict[str, Any]) -> None:
    """Also where several commits have one time, positions were used anew, and Connect sent the END again."""
    topic = Topic(seed, **kind)
    chosen = topic.rng.sample(topic.released, min(3, len(topic.released)))
    ids = [publish(topic, end) for end in chosen]
    for end, event_id in zip(chosen, ids, strict=True):
        assert topic.resolve(event_id.upper()) == Place(end.offset, end.offset)
    assert topic.notes == []


def test_an_element_s_event_is_found_by_its_commit_time_and_says_so() -> None:
    topic = Topic(3)
    end = topic.released[len(topic.released) // 2]
    place = topic.resolve(publish(topic, end, "line 1"))
    expected = next(one.offset for one in topic.released if one.time_ms == end.time_ms)
    assert place == Place(expected, expected)
    assert f"{topic.name}-0@{expected}" in topic.notes[0]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("yesterday", "none of them"),
        ("2026-11-25T03:00:00", "its zone"),
        ("99999999", "holds offsets"),
        ("0-1-5", "none of them"),  # a GTID of a PostgreSQL source
        ("00000000-0000-5000-8000-000000000000", "no event of this id"),
        ("²", "none of them"),
    ],
)
def test_what_is_no_position_says_why(text: str, why: str) -> None:
    with pytest.raises(Fatal, match=why) as caught:
        Topic(1).resolve(text)
    assert caught.value.code == "B525"


def test_an_event_of_another_source_is_not_taken_for_ours() -> None:
    topic = Topic(3)
    with pytest.raises(Fatal, match="no event of this id"):
        topic.resolve(publish(topic, topic.released[0], source="other"))


def test_an_event_whose_transaction_is_gone_says_so() -> None:
    topic = Topic(3)
    with pytest.raises(Fatal, match="does not hold the END"):
        topic.resolve(publish(topic, End(0, 5, T0 - 99_999)))


def test_without_events_an_id_is_no_position() -> None:
    with pytest.raises(Fatal, match="none of them"):
        resolve("00000000-0000-5000-8000-000000000000", Topic(1).opened(), int)
