"""``bridge positions`` and ``bridge checkpoint`` on a real Kafka: each thing that a source can wait for, made to happen."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import Producer

from deploy.stack import Stack
from tests.integration.seen import LIMITS, Application, Bridge, Record, run_command, visible
from tests.integration.test_doors import Input, inputs

pytestmark = pytest.mark.stack

SECONDS_AGO = 60_000


class Night:
    """A source that the test plays, and a bridge."""

    def __init__(self, stack: Stack, home: Path, name: str) -> None:
        self.name = name
        self.bootstrap = stack.bootstrap
        self.source = Input(stack, name)
        self.source.make()
        checkpoints = {"directory": str(home / "checkpoints"), "every_hours": 1, "keep": 2}
        self.checkpoints = home / "checkpoints" / name / "legacy"
        self.application = Application(
            stack.bootstrap,
            home,
            name,
            inputs(name),
            topics={"partitions": 1},
            limits={**LIMITS, "incomplete_after_seconds": 300, "session_timeout_seconds": 20},
            checkpoints=checkpoints,
        )
        self.application.make_topics()
        self.orders = 0

    def order(self, count: int = 1, status: str = "P") -> None:
        for _ in range(count):
            self.orders += 1
            self.source.order(self.orders, status=status)

    def run(self, *arguments: str, code: int = 0) -> str:
        done = run_command(*arguments, "--config", str(self.application.config))
        assert done.returncode == code, done.stderr.decode()
        return done.stdout.decode() if code == 0 else done.stderr.decode()

    def positions(self) -> tuple[list[str], dict[str, Any]]:
        """The verdicts' kinds, and everything."""
        (found,) = json.loads(self.run("positions", "--format", "json"))
        return [verdict["kind"] for verdict in found["verdicts"]], found

    def text_of(self, found: dict[str, Any], kind: str) -> str:
        (text,) = [one["text"] + " " + one["hint"] for one in found["verdicts"] if one["kind"] == kind]
        return str(text)

    def events(self) -> list[Record]:
        return visible(self.bootstrap, self.application.events)

    def wait_for(self, bridge: Bridge, events: int) -> None:
        bridge.wait_until(lambda: len(self.events()) >= events, f"no {events} events", 60)

    def wait_committed(self, bridge: Bridge) -> None:
        """Until the checkpoint is at the end of all that can be seen."""
        bridge.wait_until(lambda: bridge.metric("kafka_consumer_lag_sum") == 0, "it lags", 60)

    def transactional(self) -> Producer:
        settings = {"bootstrap.servers": self.bootstrap, "transactional.id": f"connect-{self.name}", "log_level": 0}
        producer = Producer(settings)
        producer.init_transactions(20)
        return producer


@pytest.fixture
def night(request: pytest.FixtureRequest, kafka_stack: Stack, tmp_path: Path) -> Iterator[Night]:
    name = request.node.name.removeprefix("test_").replace("_", "-")[:40]
    made = Night(kafka_stack, tmp_path, name)
    yield made
    made.application.close()


def test_up_to_date_then_nobody_at_work(night: Night) -> None:
    kinds, found = night.positions()
    assert (kinds, found["committed"], found["last"]) == (["no bridge runs"], None, None)
    bridge = night.application.start()
    night.order(3)
    night.wait_for(bridge, 3)
    night.wait_committed(bridge)
    kinds, found = night.positions()
    assert kinds == ["up to date"]
    assert found["members"] == 1
    assert found["committed"] == found["last"]
    assert found["last"]["position"] == f"0/{night.source._position:X}"
    assert (found["behind_transactions"], found["behind_records"], found["behind_seconds"]) == (0, 0, 0.0)
    assert all(line["group"] == line["committed"] for line in found["partitions"])
    bridge.stop()
    night.order(2)
    kinds, found = night.positions()
    assert kinds == ["no bridge runs"]
    assert "2 source transactions wait" in night.text_of(found, "no bridge runs")
    assert (found["behind_transactions"], found["behind_records"]) == (2, 12)
    shown = night.run("positions", "--partitions")
    assert shown.startswith("legacy: no bridge runs\n")
    assert f"{night.name}.transaction-0" in shown


def test_a_bridge_that_stands_still_is_behind_and_slow(night: Night) -> None:
    bridge = night.application.start()
    night.order(1)
    night.wait_for(bridge, 1)
    bridge.send(signal.SIGSTOP)
    night.order(4)
    kinds, found = night.positions()
    bridge.send(signal.SIGCONT)
    assert kinds == ["working"]
    assert "behind by 4 source transactions, 24 records" in night.text_of(found, "working")
    assert "nothing moved" in night.text_of(found, "working")
    night.wait_for(bridge, 5)


def test_an_open_source_transaction(night: Night) -> None:
    """BEGIN and rows are there, and END is not."""
    bridge = night.application.start()
    night.order(2)
    night.wait_for(bridge, 2)
    begin = {"status": "BEGIN", "id": "9000:9000", "ts_ms": int(time.time() * 1000) - SECONDS_AGO}
    night.source.write("t_ord", b'{"ord_no":9}', _row(9, 9001))
    night.source._producer.produce(f"{night.name}.transaction", json.dumps(begin).encode(), b"{}")
    night.source._producer.flush(20)
    bridge.wait_until(lambda: bridge.metric("open_transaction_age_seconds") > 50, "BEGIN is not read")
    kinds, found = night.positions()
    assert kinds == ["blocked by an open source transaction"]
    text = night.text_of(found, kinds[0])
    assert f"BEGIN at {night.name}.transaction-0@4 has no END" in text
    assert found["behind_transactions"] == 0
    assert found["behind_records"] >= 1


def test_an_open_kafka_transaction(night: Night) -> None:
    """A connector in exactly-once mode died: its producer is open, and a good transaction stands behind its record."""
    bridge = night.application.start()
    night.order(2)
    night.wait_for(bridge, 2)
    dead = night.transactional()
    dead.begin_transaction()
    ago = int(time.time() * 1000) - SECONDS_AGO
    dead.produce(f"{night.name}.transaction", b'{"status":"BEGIN","id":"8000:8000","ts_ms":1}', b"{}", timestamp=ago)
    dead.flush(20)
    night.order(1)
    bridge.wait_until(lambda: bridge.metric("lso_blocked_seconds") > 1.5, "the metric does not tell")
    kinds, found = night.positions()
    assert kinds == ["blocked by an open Kafka transaction"]
    text = night.text_of(found, kinds[0])
    assert f"{night.name}.transaction-0@4, since 20" in text
    assert f"find-hanging --topic {night.name}.transaction --partition 0" in text
    assert len(night.events()) == 2
    dead.abort_transaction(20)
    night.wait_for(bridge, 3)
    bridge.wait_until(lambda: bridge.metric("lso_blocked_seconds") == 0, "the metric stays")
    night.wait_committed(bridge)
    assert night.positions()[0] == ["up to date"]


def test_rows_that_do_not_come(night: Night) -> None:
    bridge = night.application.start()
    night.order(1)
    night.wait_for(bridge, 1)
    end = {
        "status": "END",
        "id": "9000:9999",
        "event_count": 2,
        "ts_ms": 1_700_000_000_500,
        "data_collections": [{"data_collection": "public.t_ord", "event_count": 2}],
    }
    night.source.write("t_ord", b'{"ord_no":9}', _row(9, 9001))
    night.source._producer.produce(f"{night.name}.transaction", json.dumps(end).encode(), b"{}")
    night.source._producer.flush(20)
    bridge.wait_until(lambda: bridge.metric("kafka_consumer_lag_sum") > 0, "it did not come")
    kinds, found = night.positions()
    assert kinds[0] == "waits for rows"
    assert f"END at {night.name}.transaction-0@2 counts rows" in night.text_of(found, kinds[0])
    assert "public.t_ord: 1 of 2 rows" in night.text_of(found, kinds[0])
    assert "bridge release" in night.text_of(found, kinds[0])
    bridge.stop()
    assert night.positions()[0] == ["waits for rows", "no bridge runs"]


def test_dead_letters(night: Night) -> None:
    bridge = night.application.start()
    night.order(2)
    night.order(2, status="?")
    night.wait_for(bridge, 2)
    bridge.wait_until(lambda: bridge.metric("dead_letters_total") == 2, "no dead letters", 60)
    night.wait_committed(bridge)
    kinds, found = night.positions()
    assert kinds == ["up to date", "dead letters"]
    assert "2 aggregates are parked; 2 dead letters in" in night.text_of(found, "dead letters")
    assert (found["parked"], found["dead_letters"]) == (2, 2)


def test_checkpoints_by_hand_and_by_schedule(night: Night) -> None:
    bridge = night.application.start()
    night.order(3)
    night.wait_for(bridge, 3)
    night.wait_committed(bridge)
    bridge.wait_until(lambda: any(night.checkpoints.glob("auto-*/manifest.json")), "no automatic one", 60)
    assert night.run("checkpoint", "create", "before").startswith(str(night.checkpoints / "before"))
    night.order(2)
    night.wait_for(bridge, 5)
    assert "another one" in night.run("checkpoint", "create", "auto-1", code=70)
    listed = night.run("checkpoint", "list").splitlines()
    assert len(listed) == 3
    (before,) = [line.split() for line in listed if line.startswith("before")]
    assert before[2] == "@5"
    assert before[-1] == "yes"
    assert bridge.metric("checkpoint_failures_total") == 0
    assert [line["state"] for line in bridge.log() if line.get("event") == "state"][-1] == "owner"  # nobody was fenced
    output = night.application.home / "tail.jsonl"
    capture = ("capture", "--source", "legacy", "--output", str(output), "--from")
    night.run(*capture, "checkpoint:before")
    assert _ends(output) == [7, 9]
    event = next(one for one in night.events() if one.key == b"4").header("ce_id")
    night.run(*capture, event)
    assert _ends(output) == [7, 9]
    night.run("checkpoint", "delete", "before")
    assert "B527" in night.run("checkpoint", "delete", "before", code=70)
    bridge.stop()
    config = yaml.safe_load(night.application.config.read_text())
    assert config["checkpoints"]["every_hours"] == 1
    again = night.application.start()
    again.wait_for("owner")
    again.wait_until(lambda: again.metric("checkpoint_age_seconds") > 0, "it does not know the one before", 60)
    assert len([*night.checkpoints.glob("auto-*")]) == 1


def _row(number: int, position: int) -> bytes:
    source = {"schema": "public", "table": "t_ord", "lsn": position, "sequence": '["8999","9001"]', "snapshot": "false"}
    block = {"id": f"9000:{position}", "total_order": 1, "data_collection_order": 1}
    after = {"ord_no": number, "rec_typ": "O", "ord_stat": "P", "tot_cents": 1, "cur": "EUR ", "cust_no": 1}
    return json.dumps({"before": None, "after": after, "source": source, "transaction": block, "op": "c"}).encode()


def _ends(path: Path) -> list[int]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line["offset"] for line in lines if '"END"' in str(line["value"])]
