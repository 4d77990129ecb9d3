"""``bridge plan`` on a real Kafka beside a bridge that runs: nothing is written, and the answer is that of the capture."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic, TopicPartition

from bridge.config import load
from bridge.model import PlainRecord
from bridge.plan.edition import Edition
from bridge.runtime.stored import Checkpoints
from bridge.runtime.transform import read_captures, settings_for
from bridge.runtime.wiring import kafka_for
from deploy.stack import Stack
from tests.integration.seen import ROOT, Bridge, Outsider, run_command, wait_all

pytestmark = pytest.mark.stack

CAPTURE = ROOT / "tests" / "captures" / "postgres.jsonl.gz"
MAPPINGS = ROOT / "tests" / "captures" / "mappings" / "postgres"
CATALOG = ROOT / "tests" / "captures" / "mappings" / "postgres.catalog.yaml"
EVENTS = ("planned.orders", "planned.customers")
SECONDS = 60


class Site(NamedTuple):
    """A bridge that has published everything, and the edited mappings."""

    home: Path
    stack: Stack
    bridge: Bridge

    @property
    def config(self) -> Path:
        return self.home / "config.yaml"

    def plan(self, *more: str) -> dict[str, Any]:
        done = run_command(
            "plan", "--config", str(self.config), "--source", "shop", "--edited", str(self.home / "edited"),
            "--format", "json", *more,
        )  # fmt: skip
        assert done.returncode in (0, 1), done.stderr.decode()
        plan: dict[str, Any] = json.loads(done.stdout)
        summary = plan["summary"]
        differs = any(count for name, count in summary.items() if name not in ("unchanged", "deadLettersUnchanged"))
        assert done.returncode == int(differs)
        return plan


def copy_mappings(target: Path, *edits: tuple[str, str]) -> None:
    target.mkdir()
    for path in MAPPINGS.glob("*.yaml"):
        text = (
            path.read_text()
            .replace("topic: orders", f"topic: {EVENTS[0]}")
            .replace("topic: customers", f"topic: {EVENTS[1]}")
        )
        for old, new in edits:
            text = text.replace(old, new)
        (target / path.name).write_text(text)


def write(producer: Producer, records: list[PlainRecord]) -> None:
    producer.begin_transaction()
    for record in records:
        headers: Any = record.header_list
        producer.produce(
            f"planned.{record.topic_name}",
            record.value_bytes,
            record.key_bytes,
            record.partition_number,
            headers=headers,
        )
    producer.flush(20)
    producer.commit_transaction(20)


@pytest.fixture(scope="module")
def site(kafka_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("plan")
    records = read_captures([str(CAPTURE)])
    settings = settings_for(records, "shop", "")
    sizes: dict[str, int] = {}
    for record in records:
        sizes[f"planned.{record.topic_name}"] = max(sizes.get(record.topic_name, 0), record.partition_number + 1)
    admin = AdminClient({"bootstrap.servers": kafka_stack.bootstrap, "log_level": 0})
    for future in admin.create_topics([NewTopic(name, count, 1) for name, count in sizes.items()]).values():
        future.result(20)
    source = {
        "connector": "postgresql",
        "topics": [f"planned.{topic}" for topic in settings.topics],
        "transaction_topic": f"planned.{settings.transaction_topic}",
        "catalog": str(CATALOG),
        "dead_letter_topic": "planned.DLT",
    }
    config = {
        "application": "planned",
        "kafka": {"bootstrap.servers": kafka_stack.bootstrap},
        "sources": {"shop": source},
        "mappings": "mappings",
        "http": {"port": 0},
    }
    (home / "config.yaml").write_text(yaml.safe_dump(config))
    copy_mappings(home / "mappings")
    copy_mappings(home / "edited", ("OrderDeleted:", "OrderRemoved:"), ("count(payments)", "count(payments) + 1"))
    assert run_command("topics", "--create", "--config", str(home / "config.yaml")).returncode == 0
    producer = Producer(
        {"bootstrap.servers": kafka_stack.bootstrap, "transactional.id": "connect-planned", "log_level": 0}
    )
    producer.init_transactions(20)
    bridge = Bridge(home / "config.yaml", home / "bridge.log", "shop")
    try:
        with Outsider(kafka_stack.bootstrap, EVENTS) as outsider:
            for half in (records[: len(records) // 2], records[len(records) // 2 :]):
                write(producer, half)
            bridge.wait_for("owner")
            wait_all(lambda: outsider.look() or ([] if len(outsider.records) >= 22 else ["events"]), SECONDS)
        yield Site(home, kafka_stack, bridge)
    finally:
        bridge.kill()
        for future in admin.delete_topics([*sizes, *EVENTS, "planned.DLT", "planned.shop.changelog"]).values():
            future.result(20)
        shutil.rmtree(home, ignore_errors=True)


def ends_of(stack: Stack) -> dict[tuple[str, int], int]:
    """Where every partition of the broker ends, but for those of Kafka's own topics."""
    looker = Consumer({"bootstrap.servers": stack.bootstrap, "group.id": "looker", "log_level": 0})
    try:
        topics = looker.list_topics(timeout=20).topics
        places = [(name, number) for name, topic in topics.items() for number in topic.partitions if name[0] != "_"]
        return {place: looker.get_watermark_offsets(TopicPartition(*place), 20)[1] for place in places}
    finally:
        looker.close()


def groups(stack: Stack) -> set[str]:
    admin = AdminClient({"bootstrap.servers": stack.bootstrap, "log_level": 0})
    return {group.group_id for group in admin.list_consumer_groups().result(20).valid}


def test_topics_give_the_plan_of_the_capture_and_nothing_is_written(site: Site) -> None:
    before = (groups(site.stack), ends_of(site.stack))
    live = site.plan()
    assert (groups(site.stack), ends_of(site.stack)) == before
    assert site.bridge.alive()
    assert site.bridge.state() == "owner"
    done = run_command(
        "plan", str(CAPTURE), "--mappings", str(site.home / "mappings"), "--edited", str(site.home / "edited"),
        "--source", "shop", "--catalog", str(CATALOG), "--format", "json",
    )  # fmt: skip
    recorded = json.loads(done.stdout)
    assert live["summary"] == recorded["summary"]
    assert live["summary"]["renamed"] == 1
    assert live["summary"]["changed"] == 8
    assert [one["fields"] for one in live["events"]] == [one["fields"] for one in recorded["events"]]


def test_a_stretch_by_offset_and_from_a_checkpoint(site: Site) -> None:
    whole = site.plan("--examples", "100")
    places = {one["id"]: one["end"] for event in whole["events"] for one in event["examples"]}
    first, last = sorted(places.values())[2], sorted(places.values())[5]
    part = site.plan("--from", str(first), "--to", str(last), "--examples", "100")
    told = {one["id"] for event in part["events"] for one in event["examples"]}
    assert told == {identity for identity, end in places.items() if first <= end <= last}
    assert part["stretch"]["state"] == "beginning"
    assert (part["stretch"]["first"], part["stretch"]["last"]) == (first, last)
    config = load(site.config)
    source = config.sources["shop"]
    files = [(str(path), path.read_text()) for path in sorted((site.home / "mappings").glob("*.yaml"))]
    mappings = Edition("", files, "shop", source.catalog, lambda *_: "", show_data=False).mappings
    checkpoints = Checkpoints(config.checkpoints_directory / "planned" / "shop", "shop")
    checkpoints.create("now", kafka_for(config, source, mappings, "t").changelog(), 0, lambda _done, _total: None)
    none = site.plan("--from", "checkpoint:now")
    assert (none["stretch"]["state"], none["stretch"]["transactions"]) == ("now", 0)


def test_what_retention_took(site: Site) -> None:
    """As `kafka-delete-records` does it."""
    admin = AdminClient({"bootstrap.servers": site.stack.bootstrap, "log_level": 0})
    topic = next(name for name, _ in ends_of(site.stack) if name.startswith("planned.pgj") and name.endswith(".orders"))
    admin.delete_records([TopicPartition(topic, 0, 1)])[TopicPartition(topic, 0)].result(20)
    done = run_command("plan", "--config", str(site.config), "--source", "shop", "--edited", str(site.home / "edited"))
    assert done.returncode == 70
    told = done.stderr.decode()
    assert f"B561: the state before the END at offset 0 is not known: retention took the beginning of {topic}-0" in told
    assert "hint: plan from where a state is stored: --from checkpoint:now" in told
