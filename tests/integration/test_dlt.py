"""Dead letters on a real broker: an operator mends a mapping at night, and nobody downstream can tell that anything was wrong."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its names are public, but not re-exported
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from confluent_kafka.cimpl import NewTopic

from deploy.stack import Stack
from deploy.stack.process import wait_until
from tests.integration.seen import LIMITS, Application, Record, run_command, visible
from tests.test_decisions import ONE_LOG
from tests.test_dlt import RIGHT, WRONG, Shop, history, later

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]
PATIENCE = 90


class Night(Application):
    """A bridge whose one mapping file is wrong at first, and its log, written by the test."""

    def __init__(self, stack: Stack, home: Path, name: str, text: str) -> None:
        self.log = f"{name}.log"
        super().__init__(stack.bootstrap, home, name, {"log": self.log}, limits={**LIMITS, "idle_commit_seconds": 0.5})
        for path in self.mappings.iterdir():
            path.unlink()
        self.map(text)
        self.admin = AdminClient({"bootstrap.servers": self.bootstrap})
        self.admin.create_topics([NewTopic(self.log, 1, 1)])[self.log].result()
        self.make_topics()
        self.shop = Shop(ONE_LOG, RIGHT)
        self._producer = Producer({"bootstrap.servers": self.bootstrap, "linger.ms": 0})
        self._sent = 0

    def map(self, text: str) -> None:
        (self.mappings / "order.yaml").write_text(text.replace("topic: orders", f"topic: {self.events}"))

    def take_at_most(self, size: str) -> None:
        """The topic of events takes records of this many bytes."""
        entry = ConfigEntry("max.message.bytes", size, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, self.events, incremental_configs=[entry])
        (future,) = self.admin.incremental_alter_configs([resource]).values()
        future.result()

    def happen(self, *parts: Callable[[Shop], None]) -> None:
        """Let something happen in the database."""
        for part in parts:
            part(self.shop)
        log = self.shop.broker.log("s.log").records
        for record in log[self._sent :]:
            assert record is not None
            headers = record.header_list
            self._producer.produce(self.log, record.value_bytes, record.key_bytes, headers=headers)  # type: ignore[arg-type]
        self._sent = len(log)
        self._producer.flush()

    def dlt(self, *arguments: str, code: int = 0) -> str:
        done = run_command("dlt", arguments[0], "--config", str(self.config), *arguments[1:])
        assert done.returncode == code, (done.stdout + done.stderr).decode()
        return (done.stdout if code in (0, 1) else done.stderr).decode()

    def listed(self, *arguments: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.dlt("list", "--format", "json", *arguments))
        return found

    def seen(self) -> dict[bytes, list[Any]]:
        return _by_key([(one.key, one.value, one.headers) for one in visible(self.bootstrap, self.events)])

    def truth(self) -> dict[bytes, list[Any]]:
        """What a bridge tells that was right all along."""
        self.shop.work()
        events = self.shop.broker.committed("orders")
        return _by_key([(one.key(), one.value(), tuple(one.headers() or ())) for one in events])

    def letters(self) -> list[Record]:
        return visible(self.bootstrap, self.dead_letters)

    def wait_for_letters(self, count: int) -> None:
        assert wait_until(lambda: len(self.letters()) >= count, PATIENCE), self.log_tail()

    def log_tail(self) -> str:
        return "\n".join((self.home / "a.log").read_text().splitlines()[-20:])

    def wait_for_truth(self) -> None:
        truth = self.truth()
        wait_until(lambda: sum(map(len, self.seen().values())) >= sum(map(len, truth.values())), PATIENCE)
        assert self.seen() == truth


def _by_key(records: Sequence[tuple[Any, Any, Any]]) -> dict[bytes, list[Any]]:
    found: dict[bytes, list[Any]] = {}
    for key, value, headers in records:
        found.setdefault(key, []).append((value, headers))
    return found


@pytest.fixture
def night(kafka_stack: Stack, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[str], Night]]:
    made: list[Night] = []

    def make(text: str) -> Night:
        made.append(Night(kafka_stack, tmp_path, request.node.name.replace("_", "-")[:40], text))
        return made[-1]

    yield make
    for one in made:
        one.close()


def many(number: int) -> Callable[[Shop], None]:
    """Ordinary work on other orders."""

    def work(shop: Shop) -> None:
        for order in range(100, 110):
            shop.change(order, "NPS"[number % 3], number, op="u" if number else "c")

    return work


def test_a_mended_mapping_tells_what_a_right_one_had_told(night: Callable[[str], Night]) -> None:
    one = night(WRONG)
    one.happen(history)
    bridge = one.start()
    one.wait_for_letters(4)
    listed = one.listed()
    assert [(told["code"], told["aggregateId"], told["followers"]) for told in listed] == [
        ("T102", "1", 1),
        ("T102", "2", 0),
        ("T102", "3", 0),
    ]
    one.map(RIGHT)
    assert [told["now"]["passes"] for told in one.listed("--would-pass")] == [True, True, True]
    page = one.dlt("show", listed[0]["letter"], "--would-pass")
    assert 'st: "N" -> "P"' in page
    assert "status: {type: enum" in page
    assert "now: passes, OrderChanged" in page
    assert "B521" in one.dlt("replay", code=70)
    bridge.stop()

    bridge = one.start()
    one.happen(many(0))
    bridge.wait_for("owner")
    stop = threading.Event()
    busy = threading.Thread(target=lambda: _busy(one, stop))
    busy.start()
    try:
        replayed = _replay_when_ready(one)
    finally:
        stop.set()
        busy.join()
    assert "told 4 letter(s) with 7 event(s); 0 aggregate(s) still fail" in replayed
    one.happen(later)
    one.wait_for_truth()
    assert one.listed() == []
    bridge.stop()


def _busy(one: Night, stop: threading.Event) -> None:
    for number in range(1, 400):
        if stop.wait(0.02):
            return
        one.happen(many(number))


def _replay_when_ready(one: Night) -> str:
    """The restarted bridge says by which files it works with its first commit."""
    until = time.monotonic() + PATIENCE
    while True:
        done = run_command("dlt", "replay", "--config", str(one.config))
        if b"B521" not in done.stderr:
            assert done.returncode == 0, done.stderr.decode()
            return done.stdout.decode()
        assert time.monotonic() < until, done.stderr.decode()


def test_an_event_too_large_waits_until_its_topic_takes_it(night: Callable[[str], Night]) -> None:
    one = night(RIGHT)
    one.take_at_most("1500")
    one.happen(lambda shop: shop.change(1, "N", op="c"), lambda shop: shop.change(1, "P", *range(200)))
    bridge = one.start()
    one.wait_for_letters(1)
    one.happen(many(0), lambda shop: shop.change(1, "S"))
    one.wait_for_letters(2)
    (told,) = one.listed()
    assert (told["code"], told["followers"]) == ("B213", 1)
    one.dlt("replay", code=1)
    one.take_at_most("1000000")
    assert "told 2 letter(s) with 3 event(s)" in one.dlt("replay")
    one.happen(many(1))
    one.wait_for_truth()
    bridge.stop()


def test_without_a_dead_letter_topic_nothing_is_dropped(night: Callable[[str], Night]) -> None:
    one = night(WRONG)
    one.happen(many(0))
    bridge = one.start()
    assert wait_until(lambda: len(one.seen()) == 10, PATIENCE)
    one.admin.delete_topics([one.dead_letters])[one.dead_letters].result()
    one.happen(history, later)
    assert bridge.end(PATIENCE) == 70
    assert f"missing in Kafka: {one.dead_letters}" in bridge.tail()
    truth = one.truth()
    assert all(truth[key][: len(events)] == events for key, events in one.seen().items()), "a unit was passed over"
    one.make_topics()
    bridge = one.start()
    one.wait_for_letters(7)
    bridge.stop()
    one.map(RIGHT)
    one.dlt("replay")
    bridge = one.start()
    bridge.wait_for("owner")
    one.wait_for_truth()
    bridge.stop()


def test_a_mended_mapping_goes_on_behind_the_circuit_breaker(night: Callable[[str], Night]) -> None:
    one = night(WRONG)
    one.config = one.write_config("a", errors={"max_share": 0.3, "of_last": 10})
    one._extra["errors"] = {"max_share": 0.3, "of_last": 10}
    one.happen(many(0), many(1), many(2))
    bridge = one.start()
    assert bridge.end(PATIENCE) == 65
    assert "B212" in bridge.tail()
    one.map(RIGHT)
    bridge = one.start()
    one.wait_for_truth()
    bridge.stop()
