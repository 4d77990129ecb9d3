"""The doors: what is wrong gets a clear message and the right exit code, and nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from bridge.cli import COMMANDS
from deploy.stack import Stack
from deploy.stack.process import free_ports
from tests.integration.seen import ROOT, Application, Bridge, Outsider, run_command, visible

TABLES = ("t_cust", "t_ord", "t_ord_line", "t_pay")
XID = 700


# -- commands ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str) -> None:
    done = run_command(command, "--help")
    assert done.returncode == 0
    assert f"example:\n  bridge {command} " in done.stdout.decode()


def test_wrong_usage() -> None:
    assert run_command("walk").returncode in (2, 64)
    assert b"invalid choice: 'walk'" in run_command("walk").stderr


# -- config and mappings -------------------------------------------------------------------------------------------------


def config_file(home: Path, **changes: Any) -> Path:
    config = {
        "kafka": {"bootstrap.servers": "localhost:1"},
        "sources": {
            "legacy": {
                "connector": "postgresql",
                "topics": ["shop.public.t_ord"],
                "transaction_topic": "shop.transaction",
                "heartbeat_table": "public.debezium_heartbeat",
            }
        },
        "mappings": str(ROOT / "mappings" / "demo"),
        "http": {"port": 0},
    }
    path = home / "config.yaml"
    path.write_text(yaml.safe_dump(config | changes))
    return path


@pytest.mark.parametrize("command", ["check", "run", "topics"])
def test_every_mistake_of_a_config_at_once(tmp_path: Path, command: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("""\
kafka:
  bootstrap.servers: localhost:9092
  enable.idempotence: false
sources:
  legacy:
    connector: oracle
    topics: [shop.public.t_ord]
mappings: mappings/
limits:
  comit_rows: 100
logs:
  format: xml
http:
  port: many
""")
    done = run_command(command, "--config", str(path))
    text = done.stderr.decode()
    assert done.returncode == 78
    places = [
        f"{path}:3:3: C005: kafka.enable.idempotence may not be set",
        f"{path}:6:16: C006: connector 'oracle' is not supported",
        f"{path}:5:3: C003: sources.legacy: 'transaction_topic' is missing",
        f"{path}:10:3: C002: unknown key 'limits.comit_rows'; did you mean 'commit_rows'?",
        f"{path}:12:11: C004: logs.format must be one of: json, console",
        f"{path}:14:9: C004: http.port must be of type integer",
    ]
    assert [place for place in places if place not in text] == [], text
    assert text.endswith("6 mistakes\n")


def test_a_config_that_is_not_there(tmp_path: Path) -> None:
    done = run_command("run", "--config", str(tmp_path / "no.yaml"))
    assert done.returncode == 78
    assert "no.yaml: C001: the config file cannot be read: No such file" in done.stderr.decode()


def test_text_from_outside_that_is_not_there(tmp_path: Path) -> None:
    kafka = {
        "bootstrap.servers": "${env:BRIDGE_TEST_ABSENT}",
        "sasl.password": "${file:/absent/password}",
        "sasl.username": "${env:HOME}",
    }
    done = run_command("check", "--config", str(config_file(tmp_path, kafka=kafka)))
    text = done.stderr.decode()
    assert done.returncode == 78
    assert "C008: kafka.bootstrap.servers: environment variable BRIDGE_TEST_ABSENT cannot be read" in text
    assert "C008: kafka.sasl.password: file /absent/password cannot be read" in text
    assert "2 mistakes" in text


def test_a_mapping_with_typos(tmp_path: Path) -> None:
    mappings = tmp_path / "mappings"
    mappings.mkdir()
    text = (ROOT / "mappings" / "demo" / "order.yaml").read_text()
    text = text.replace("when: became(status, 'SHIPPED')", "when: became(statsu, 'SHIPPED')")
    text = text.replace("on_error: park", "on_eror: park")
    path = mappings / "order.yaml"
    path.write_text(text)
    lines = text.splitlines()
    rule = next(number for number, line in enumerate(lines, 1) if "statsu" in line)
    key = next(number for number, line in enumerate(lines, 1) if "on_eror" in line)
    for command in ("check", "run"):
        done = run_command(command, "--config", str(config_file(tmp_path, mappings=str(mappings))))
        found = done.stderr.decode()
        assert done.returncode == 78
        assert f"{path}:{rule}:{lines[rule - 1].index('statsu') + 1}: M" in found, found
        assert f"{path}:{key}:1: M" in found, found
        assert "did you mean 'status'?" in found
        assert "did you mean 'on_error'?" in found
        assert "2 mistakes" in found


def test_check_says_what_is_right(tmp_path: Path) -> None:
    done = run_command("check", "--config", str(config_file(tmp_path)))
    assert done.returncode == 0, done.stderr.decode()
    assert b"2 mapping file(s), no mistakes" in done.stdout


# -- no broker -----------------------------------------------------------------------------------------------------------


@pytest.mark.stack
def test_the_broker_comes_later(tmp_path: Path, kafka_stack: Stack) -> None:
    """Started before Kafka, as happens when all is started at once: alive, not ready, and it says why."""
    application = Application(kafka_stack.bootstrap, tmp_path, "early", inputs("early"))
    place = Input(kafka_stack, "early")
    place.make()
    application.make_topics()
    kafka_stack.kill("kafka")
    try:
        bridge = application.start()
        bridge.wait_until(lambda: bridge.get("/health/live")[0] == 200, "it does not live")
        bridge.wait_until(lambda: any(line.get("code") == "B401" for line in bridge.log()), "it does not say why")
        assert bridge.get("/health/ready")[0] == 503
        assert bridge.alive()
    finally:
        kafka_stack.restart("kafka")
    bridge.wait_for("owner")
    bridge.stop()


@pytest.mark.stack
def test_sigterm_while_no_broker_answers(tmp_path: Path) -> None:
    path = config_file(tmp_path, kafka={"bootstrap.servers": f"127.0.0.1:{free_ports(1)[0]}"})
    bridge = Bridge(path, tmp_path / "log")
    try:
        bridge.wait_until(lambda: bool(bridge.port), "it does not start")
        bridge.stop()
    finally:
        bridge.kill()


# -- topics and records --------------------------------------------------------------------------------------------------


def inputs(prefix: str) -> dict[str, Any]:
    return {
        "topics": [f"{prefix}.public.{table}" for table in TABLES],
        "transaction_topic": f"{prefix}.transaction",
    }


class Input:
    """Plays Debezium: rows and markers of source transactions in the topics of one prefix."""

    def __init__(self, stack: Stack, prefix: str) -> None:
        self.prefix = prefix
        self._admin = AdminClient({"bootstrap.servers": stack.bootstrap, "log_level": 0})
        self._producer = Producer({"bootstrap.servers": stack.bootstrap, "log_level": 0})
        self._position = 1000
        self._last = 0

    def make(self, markers: int = 1, tables: tuple[str, ...] = TABLES) -> None:
        topics = [NewTopic(f"{self.prefix}.public.{table}", 1, 1) for table in tables]
        topics.append(NewTopic(f"{self.prefix}.transaction", markers, 1))
        for future in self._admin.create_topics(topics).values():
            future.result(20)

    def write(self, table: str, key: bytes | None, value: bytes | None) -> None:
        self._producer.produce(f"{self.prefix}.public.{table}", value, key)
        assert self._producer.flush(20) == 0

    def transaction(self, *rows: tuple[str, dict[str, Any]], torn: tuple[int, ...] = ()) -> None:
        """Inserts rows, each into its own table; those whose number is in `torn` are cut off in the middle."""
        group = str(self._position)
        counts: dict[str, int] = {}
        for number, (table, after) in enumerate(rows):
            counts[table] = counts.get(table, 0) + 1
            self._position += 10
            source = {
                "connector": "postgresql",
                "schema": "public",
                "table": table,
                "lsn": self._position,
                "sequence": json.dumps([str(self._last), str(self._position)]),
                "snapshot": "false",
            }
            block = {
                "id": f"{group}:{self._position}",
                "total_order": number + 1,
                "data_collection_order": counts[table],
            }
            text = json.dumps(
                {"before": None, "after": after, "source": source, "transaction": block, "op": "c"}
            ).encode()
            key = {name: value for name, value in after.items() if name in _KEYS[table]}
            self.write(table, json.dumps(key).encode(), text[: len(text) // 2] if number in torn else text)
        self._position += 10
        self._last = self._position
        collections = [{"data_collection": f"public.{table}", "event_count": count} for table, count in counts.items()]
        end = {"status": "END", "id": f"{group}:{self._position}", "event_count": len(rows), "ts_ms": 1_700_000_000_000}
        for marker in (
            {"status": "BEGIN", "id": f"{group}:{self._position - 5}", "ts_ms": 0},
            end | {"data_collections": collections},
        ):
            self._producer.produce(f"{self.prefix}.transaction", json.dumps(marker).encode(), b"{}")
        assert self._producer.flush(20) == 0

    def order(self, number: int, torn: tuple[int, ...] = (), status: str = "P") -> None:
        """A customer and an order of two lines, placed at once: four rows."""
        self.transaction(
            ("t_cust", {"cust_no": number, "cust_tier": "G"}),
            (
                "t_ord",
                {
                    "ord_no": number,
                    "rec_typ": "O",
                    "ord_stat": status,
                    "tot_cents": 300,
                    "cur": "EUR ",
                    "cust_no": number,
                },
            ),
            ("t_ord_line", {"ord_no": number, "line_no": 1, "itm_cd": "A", "qty": 1, "prc_cents": 100}),
            ("t_ord_line", {"ord_no": number, "line_no": 2, "itm_cd": "B", "qty": 1, "prc_cents": 200}),
            torn=torn,
        )


_KEYS = {"t_cust": ("cust_no",), "t_ord": ("ord_no",), "t_ord_line": ("ord_no", "line_no"), "t_pay": ("pay_no",)}


@pytest.fixture
def corner(request: pytest.FixtureRequest, tmp_path: Path, kafka_stack: Stack) -> Iterator[tuple[Input, Application]]:
    """An input and a bridge of this test's own; no topics yet."""
    name = request.node.name.removeprefix("test_").replace("_", "-")[:40]
    application = Application(kafka_stack.bootstrap, tmp_path, name, inputs(name), topics={"partitions": 1})
    yield Input(kafka_stack, name), application
    application.close()


Corner = tuple[Input, Application]


def refused(application: Application, code: int) -> str:
    """Start a bridge that must not work: its last words."""
    bridge = application.start()
    assert bridge.end() == code, bridge.tail()
    return bridge.tail()


def keys(application: Application, count: int, bridge: Bridge) -> list[str]:
    """The keys of so many events, in order, once they are there."""
    with Outsider(application.bootstrap, [application.events]) as outsider:

        def there() -> bool:
            outsider.look(0.05)
            return len(outsider.records) >= count

        bridge.wait_until(there, f"no {count} events")
        return [(record.key or b"").decode() for record in outsider.records]


@pytest.mark.stack
def test_missing_input_topics(corner: Corner) -> None:
    place, application = corner
    place.make(tables=TABLES[1:])
    application.make_topics()
    text = refused(application, 70)
    assert f"{place.prefix}.public.t_cust (input) is missing: Debezium's connector makes it" in text
    assert "t_ord" not in text.replace("t_ord_line", "")


@pytest.mark.stack
def test_missing_topics_of_the_bridge(corner: Corner) -> None:
    place, application = corner
    place.make()
    text = refused(application, 70)
    for name in (f"{application.name}.legacy.changelog", application.dead_letters, application.events):
        assert f"{name} (" in text
    assert "bridge topics --config FILE --create" in text
    done = run_command("topics", "--config", str(application.config))
    assert done.returncode == 1
    assert f"{application.events} (events) is missing" in done.stderr.decode()
    application.make_topics()
    bridge = application.start()
    bridge.wait_for("owner")
    bridge.stop()


@pytest.mark.stack
def test_transaction_topic_with_two_partitions(corner: Corner) -> None:
    place, application = corner
    place.make(markers=2)
    application.make_topics()
    text = refused(application, 70)
    assert f"{place.prefix}.transaction" in text
    assert "2 partitions" in text


@pytest.mark.stack
def test_garbage_in_a_data_topic(corner: Corner, kafka_stack: Stack) -> None:
    """A torn row fills its place: the others go on in order, and its raw bytes are kept with their coordinates."""
    place, application = corner
    place.make()
    application.make_topics()
    place.order(1)
    place.order(2, torn=(2,))
    place.order(3)
    bridge = application.start()
    assert keys(application, 2, bridge) == ["1", "3"]
    place.write("t_cust", b'{"cust_no":9}', b"\xff\x00 no JSON at all")
    place.order(4)
    keys(application, 3, bridge)
    place.order(5)
    assert keys(application, 4, bridge) == ["1", "3", "4", "5"]
    bridge.stop()
    letters = visible(kafka_stack.bootstrap, application.dead_letters)
    raw = [letter for letter in letters if letter.header("bridge_kind") == "record"]
    assert [
        (letter.header("bridge_topic"), letter.header("bridge_partition"), letter.header("bridge_offset"))
        for letter in raw
    ] == [(f"{place.prefix}.public.t_ord_line", "0", "2"), (f"{place.prefix}.public.t_cust", "0", "3")]
    source = visible(kafka_stack.bootstrap, f"{place.prefix}.public.t_ord_line")[2]
    assert (raw[0].key, raw[0].value) == (source.key, source.value)
    assert raw[1].value == b"\xff\x00 no JSON at all"


@pytest.mark.stack
def test_an_unreadable_record_key(corner: Corner, kafka_stack: Stack) -> None:
    """Whose row that is nobody can say: stop, and lose nothing of what came before."""
    place, application = corner
    place.make()
    application.make_topics()
    place.order(1)
    bridge = application.start()
    assert keys(application, 1, bridge) == ["1"]
    place.write("t_cust", b"\x00\x01", b"{")
    assert bridge.end() == 65
    text = bridge.tail()
    assert "B204" in text
    assert f"{place.prefix}.public.t_cust-0@1" in text
    assert "the record key is not a JSON object" in text
    assert len(visible(kafka_stack.bootstrap, application.events)) == 1
    assert visible(kafka_stack.bootstrap, application.dead_letters) == []
    assert "B204" in refused(application, 65), "it stays stopped until somebody decides"


@pytest.mark.stack
def test_an_unknown_code_parks_its_order(corner: Corner, kafka_stack: Stack) -> None:
    place, application = corner
    place.make()
    application.make_topics()
    place.order(1, status="?")
    place.order(2)
    place.transaction(("t_pay", {"pay_no": 1, "ord_no": 1, "st": "C"}))
    place.order(3)
    bridge = application.start()
    assert keys(application, 2, bridge) == ["2", "3"]
    bridge.stop()
    first, second = visible(kafka_stack.bootstrap, application.dead_letters)
    assert (first.key, second.key) == (b"1", b"1")
    assert first.header("bridge_code") != second.header("bridge_code") == "B211"
    letter = json.loads(first.value or b"")
    assert letter["field"] == "status"
    assert letter["place"].endswith(f"order.yaml:{_line('status:')}")
    assert letter["end"] == {"topic": f"{place.prefix}.transaction", "partition": 0, "offset": 1}
    assert letter["after"]["row"]["ord_stat"] == "?"


def _line(text: str) -> int:
    lines = (ROOT / "mappings" / "demo" / "order.yaml").read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.strip() == text)


@pytest.mark.stack
def test_seen_from_outside(corner: Corner) -> None:
    place, application = corner
    place.make()
    application.make_topics()
    place.order(1)
    bridge = application.start()
    keys(application, 1, bridge)
    bridge.wait_until(lambda: bridge.metric("kafka_consumer_lag_sum") == 0, "lag stays")
    status, body = bridge.get("/health/ready")
    assert (status, json.loads(body)) == (200, {"ok": True, "sources": {"legacy": "owner"}})
    status, body = bridge.get("/health/live")
    assert (status, json.loads(body)["ok"]) == (200, True)
    assert bridge.get("/nothing")[0] == 404
    _, text = bridge.get("/metrics")
    for line in (
        'row_changes_total{source="legacy"} 4.0',
        'transactions_total{source="legacy"} 1.0',
        'events_total{event_type="OrderPlaced",source="legacy"} 1.0',
        'event_duplicates_total{source="legacy"} 0.0',
        'event_processing_duration_seconds_count{event_type="OrderPlaced",source="legacy"} 1.0',
        'open_transaction_age_seconds{source="legacy"} 0.0',
        'source_owned{source="legacy"} 1.0',
    ):
        assert line in text.splitlines(), line
    for name in ("dead_letters_total", "batch_duration_seconds_bucket", "kafka_transactions_total"):
        assert name in text
    bridge.stop()


@pytest.mark.stack
def test_every_log_line_is_one_json_object(corner: Corner) -> None:
    place, application = corner
    place.make()
    application.make_topics()
    place.order(1, torn=(3,))
    place.order(2)
    bridge = application.start()
    keys(application, 1, bridge)
    bridge.stop()
    lines = bridge.log()
    assert [line for line in lines if "event" not in line or "timestamp" not in line] == []
    assert lines[-1]["event"] == "stop"
    assert lines[-1]["exit_code"] == 0
    assert any(line["event"] == "dead_letter" and line["position"] for line in lines)
