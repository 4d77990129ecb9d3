"""``bridge capture`` and ``bridge explain`` on a real Kafka: a stream that Debezium once wrote, written again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from bridge.model import PlainRecord
from bridge.runtime.transform import read_captures, settings_for
from deploy.stack import Stack

pytestmark = pytest.mark.stack

ROOT = Path(__file__).resolve().parents[2]
CAPTURE = ROOT / "tests" / "captures" / "postgres.jsonl.gz"
MAPPINGS = ROOT / "tests" / "captures" / "mappings" / "postgres"
CATALOG = ROOT / "tests" / "captures" / "mappings" / "postgres.catalog.yaml"
WITHOUT_CONFIG = ["--mappings", str(MAPPINGS), "--source", "shop", "--catalog", str(CATALOG)]


def bridge(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "bridge", *arguments]
    environment = os.environ | {"COLUMNS": "100"}
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120, env=environment)


@pytest.fixture(scope="module")
def config(kafka_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The capture's topics, written in two Kafka transactions, with an aborted one between."""
    records = read_captures([str(CAPTURE)])
    settings = settings_for(records, "shop", "")
    sizes: dict[str, int] = {}
    for record in records:
        sizes[record.topic_name] = max(sizes.get(record.topic_name, 0), record.partition_number + 1)
    admin = AdminClient({"bootstrap.servers": kafka_stack.bootstrap, "log_level": 0})
    for future in admin.create_topics([NewTopic(name, count, 1) for name, count in sizes.items()]).values():
        future.result(20)
    producer = Producer(
        {"bootstrap.servers": kafka_stack.bootstrap, "transactional.id": "connect-shop", "log_level": 0}
    )
    producer.init_transactions(20)
    half = len(records) // 2
    write(producer, records[:half])
    write(producer, records[:3], commit=False)
    write(producer, records[half:])
    path = tmp_path_factory.mktemp("explain") / "config.yaml"
    source = {
        "connector": "postgresql",
        "topics": list(settings.topics),
        "transaction_topic": settings.transaction_topic,
        "catalog": str(CATALOG),
    }
    kafka = {"bootstrap.servers": kafka_stack.bootstrap}
    path.write_text(yaml.safe_dump({"kafka": kafka, "sources": {"shop": source}, "mappings": str(MAPPINGS)}))
    yield path
    for future in admin.delete_topics(list(sizes)).values():
        future.result(20)


def write(producer: Producer, records: list[PlainRecord], *, commit: bool = True) -> None:
    producer.begin_transaction()
    for record in records:
        headers: Any = record.header_list
        producer.produce(
            record.topic_name, record.value_bytes, record.key_bytes, record.partition_number, headers=headers
        )
    producer.flush(20)
    if commit:
        producer.commit_transaction(20)
    else:
        producer.abort_transaction(20)


def groups(stack: Stack) -> set[str]:
    admin = AdminClient({"bootstrap.servers": stack.bootstrap, "log_level": 0})
    return {group.group_id for group in admin.list_consumer_groups().result(20).valid}


def test_a_capture_gives_the_events_of_the_original(config: Path, kafka_stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "shop.jsonl.gz"
    done = bridge("capture", "--config", str(config), "--source", "shop", "--output", str(path))
    assert done.returncode == 0, done.stderr
    assert f"{path}: 42 source transactions" in done.stderr
    again = bridge("transform", str(path), *WITHOUT_CONFIG)
    assert again.returncode == 0, again.stderr
    assert again.stdout == (ROOT / "tests" / "golden" / "postgres.jsonl").read_text()
    assert not [name for name in groups(kafka_stack) if "shop" in name]


def test_an_event_is_explained_from_kafka_as_from_a_capture(config: Path) -> None:
    event = json.loads((ROOT / "tests" / "golden" / "postgres.jsonl").read_text().splitlines()[12])["id"]
    told = bridge("explain", "--config", str(config), "--event", event, "--format", "json")
    assert told.returncode == 0, told.stderr
    known = bridge("explain", str(CAPTURE), *WITHOUT_CONFIG, "--event", event, "--format", "json")
    live, recorded = json.loads(told.stdout), json.loads(known.stdout)
    assert [rule["event"]["id"] for one in live["aggregates"] for rule in one["rules"] if rule["event"]] == [event]
    for account in (live, recorded):  # the offsets are other ones
        account.pop("end")
        for row in account["rows"]:
            row.pop("place")
    assert live == recorded


def test_what_kafka_does_not_hold(config: Path) -> None:
    done = bridge("explain", "--config", str(config), "--event", "00000000-0000-5000-8000-000000000000")
    assert done.returncode == 70
    assert "is not in the topics of shop: 42 transactions" in done.stderr
    assert "22 events" in done.stderr


def test_a_source_that_the_config_does_not_have(config: Path, tmp_path: Path) -> None:
    done = bridge("capture", "--config", str(config), "--source", "shp", "--output", str(tmp_path / "x"))
    assert done.returncode == 78
    assert "there is no source 'shp'; --source shop" in done.stderr
    done = bridge("explain", "--config", str(config), "--source", "shp", "--transaction", "1")
    assert done.returncode == 78
    assert "there is no source 'shp'; --source shop" in done.stderr
