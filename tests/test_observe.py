"""Logs, metrics and the HTTP side, from outside: what a log reader, Prometheus and a health probe see."""

from __future__ import annotations

import io
import json
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest
import structlog

from bridge.errors import Undecodable
from bridge.model import InputOffset
from bridge.observe import http, logs
from bridge.observe.metrics import EVENT_BUCKETS, STEPS, Metrics


@pytest.fixture(autouse=True)
def _structlog_as_it_was() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[TextIO]:
    with (tmp_path / "log").open("w+") as file:
        yield file


def lines(stream: TextIO) -> list[dict[str, Any]]:
    stream.seek(0)
    return [json.loads(line) for line in stream.read().splitlines()]


# -- logs ------------------------------------------------------------------------------------------------------------


def test_line_says_where_the_record_is(stream: TextIO) -> None:
    logs.configure(stream=stream)
    place = logs.where(InputOffset("shop.public.t_ord", 2, 41), "0/1990E18")
    logs.get_logger().warning("decode", source="legacy", **place)
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    expected = {"event": "decode", "level": "warning", "source": "legacy", "topic": "shop.public.t_ord"}
    assert line == {**expected, "partition": 2, "offset": 41, "position": "0/1990E18"}


def test_fields_that_are_not_on_the_list_are_named_without_their_values(stream: TextIO) -> None:
    logs.configure(stream=stream)
    structlog.contextvars.bind_contextvars(email="ada@example.org")
    logs.get_logger().info("translate", row=("ada@example.org",), record_key=b"4711", offset=7)
    (line,) = lines(stream)
    assert line["withheld"] == "email,record_key,row"
    assert line["offset"] == 7
    assert "ada" not in json.dumps(line)
    assert "4711" not in json.dumps(line)


def test_values_that_are_not_plain_are_logged_as_their_type(stream: TextIO) -> None:
    class Secret(str):
        __slots__ = ()

    logs.configure(stream=stream)
    logs.get_logger().info("config", address=Secret("hunter2"), topics=["a", Secret("hunter2")], rows={"a": 1})
    (line,) = lines(stream)
    assert line["address"] == "<Secret>"
    assert line["topics"] == ["a", "<Secret>"]
    assert line["rows"] == "<dict>"


def test_secrets_inside_of_texts_are_masked(stream: TextIO) -> None:
    logs.configure(stream=stream, secrets=["hunter2", ""])
    logs.get_logger().error("kafka: login hunter2 failed", error="password=hunter2!", topics=["hunter2"])
    (line,) = lines(stream)
    assert (line["event"], line["error"], line["topics"]) == ("kafka: login *** failed", "password=***!", ["***"])


def test_long_texts_are_cut(stream: TextIO) -> None:
    logs.configure(stream=stream)
    logs.get_logger().info("publish", error="x" * 100_000)
    assert len(lines(stream)[0]["error"]) == logs.TEXT_LIMIT + 1


def test_foreign_errors_lose_their_text_and_keep_their_places(stream: TextIO) -> None:
    logs.configure(stream=stream)
    try:
        int("ada@example.org")
    except ValueError:
        logs.get_logger().exception("decode")
    (line,) = lines(stream)
    assert line["error_type"] == "ValueError"
    assert "test_observe.py" in line["error_at"][0]
    assert "ada" not in json.dumps(line)


def test_errors_of_the_bridge_keep_code_text_and_hint(stream: TextIO) -> None:
    logs.configure(stream=stream)
    logs.get_logger().error("decode", exc_info=Undecodable("no JSON", "look at the converter"))
    (line,) = lines(stream)
    assert (line["code"], line["error"], line["hint"]) == ("B201", "no JSON", "look at the converter")


def test_console_form_is_for_people(stream: TextIO) -> None:
    logs.configure("console", "warning", stream=stream)
    logs.get_logger().info("too quiet")
    logs.get_logger().warning("publish", events=3)
    stream.seek(0)
    text = stream.read()
    assert "publish" in text
    assert "events=3" in text
    assert "too quiet" not in text


def test_stream_without_a_descriptor_means_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure(stream=io.StringIO())
    logs.get_logger().info("start")
    assert json.loads(capfd.readouterr().err)["event"] == "start"


def test_key_hash_is_stable_and_short() -> None:
    assert logs.key_hash(b"1") == logs.key_hash(b"1") != logs.key_hash(b"2")
    assert len(logs.key_hash(b"1")) == 16


def test_reader_that_sleeps_costs_lines_and_is_told_how_many() -> None:
    reading, writing = os.pipe()
    outlet = logs.Outlet(writing, stall_seconds=0.05)
    started = time.monotonic()
    for _ in range(300):
        outlet.msg("x" * 1000)
    assert time.monotonic() - started < 2
    assert outlet.dropped > 100
    os.set_blocking(reading, False)
    while True:
        try:
            os.read(reading, 1 << 20)
        except BlockingIOError:
            break
    outlet.msg("awake")
    text = os.read(reading, 1 << 20).decode()
    dropped, last = text.strip().splitlines()
    assert json.loads(dropped)["event"] == "log_lines_dropped"
    assert last == "awake"
    assert outlet.dropped == 0
    os.close(reading)
    os.close(writing)


def test_line_longer_than_the_pipe_is_torn_and_the_next_starts_on_a_line_of_its_own() -> None:
    reading, writing = os.pipe()
    outlet = logs.Outlet(writing, stall_seconds=0.01)
    outlet.msg("y" * 200_000)
    os.read(reading, 1 << 20)
    outlet.msg("whole")
    assert os.read(reading, 1 << 20).decode().splitlines()[-1] == "whole"
    os.close(reading)
    os.close(writing)


def test_reader_that_went_away_costs_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    outlet = logs.Outlet(writing)
    outlet.msg("one")
    outlet.msg("two")
    os.close(writing)


# -- metrics ---------------------------------------------------------------------------------------------------------


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, {"source": "legacy", **labels})


def test_declared_series_stand_at_zero() -> None:
    metrics = Metrics()
    metrics.declare("legacy", ["OrderPlaced"])
    names = (
        "kafka_consumer_lag_sum",
        "event_duplicates_total",
        "row_changes_total",
        "transactions_total",
        "source_owned",
    )
    assert [value(metrics, name) for name in names] == [0.0] * len(names)
    assert value(metrics, "events_total", event_type="OrderPlaced") == 0
    assert value(metrics, "event_processing_duration_seconds_count", event_type="OrderPlaced") == 0
    assert [value(metrics, "batch_duration_seconds_count", step=step) for step in STEPS] == [0.0] * len(STEPS)


def test_a_batch_is_counted() -> None:
    metrics = Metrics()
    metrics.step("legacy", "decode", 0.003)
    metrics.batch_read("legacy", row_changes=500, transactions=40, duplicates=3, seeds=2)
    metrics.events_published("legacy", {"OrderPlaced": 30, "OrderPaid": 10}, 0.02)
    metrics.dead_letters("legacy", "B202")
    metrics.seed_differences("legacy", 1)
    metrics.kafka_transaction("legacy", "committed")
    metrics.lag("legacy", 12)
    metrics.open_transaction_age("legacy", 1.5)
    metrics.owned("legacy", owner=True)
    metrics.restore_progress("legacy", 1, 4)
    assert value(metrics, "batch_duration_seconds_sum", step="decode") == pytest.approx(0.003)
    assert value(metrics, "row_changes_total") == 500
    assert value(metrics, "transactions_total") == 40
    assert value(metrics, "event_duplicates_total") == 3
    assert value(metrics, "seeds_total") == 2
    assert value(metrics, "seed_differences_total") == 1
    assert value(metrics, "events_total", event_type="OrderPaid") == 10
    assert value(metrics, "dead_letters_total", code="B202") == 1
    assert value(metrics, "kafka_transactions_total", outcome="committed") == 1
    assert value(metrics, "kafka_consumer_lag_sum") == 12
    assert value(metrics, "open_transaction_age_seconds") == 1.5
    assert value(metrics, "source_owned") == 1
    assert value(metrics, "restore_progress_ratio") == 0.25


def test_nothing_to_restore_is_restored() -> None:
    metrics = Metrics()
    metrics.restore_progress("legacy", 0, 0)
    assert value(metrics, "restore_progress_ratio") == 1


@pytest.mark.parametrize("seconds", [0.0, EVENT_BUCKETS[0], 0.02, EVENT_BUCKETS[-1], 1e6])
def test_event_durations_cumulate_as_prometheus_wants(seconds: float) -> None:
    metrics = Metrics()
    metrics.events_published("legacy", {"OrderPlaced": 30}, seconds)
    name = "event_processing_duration_seconds"
    for bound in EVENT_BUCKETS:
        expected = 30 if seconds <= bound else 0
        assert value(metrics, f"{name}_bucket", event_type="OrderPlaced", le=str(bound)) == expected
    assert value(metrics, f"{name}_bucket", event_type="OrderPlaced", le="+Inf") == 30
    assert value(metrics, f"{name}_count", event_type="OrderPlaced") == 30
    assert value(metrics, f"{name}_sum", event_type="OrderPlaced") == 30 * seconds


# -- http ------------------------------------------------------------------------------------------------------------


class TestClock:
    """Monotonic seconds that a test moves."""

    __test__ = False

    def __init__(self) -> None:
        self.seconds = 100.0

    def now(self) -> float:
        return self.seconds


def get(server: http.Server, path: str, method: str = "GET", **headers: str) -> tuple[int, str, bytes]:
    url = f"http://127.0.0.1:{server.port}{path}"
    request = urllib.request.Request(url, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 - as above
            return answer.status, answer.headers["Content-Type"], answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read()


@pytest.fixture
def clock() -> TestClock:
    return TestClock()


@pytest.fixture
def server(clock: TestClock) -> Iterator[http.Server]:
    with http.Server("127.0.0.1", 0, Metrics(), http.Health(10.0, clock.now)) as running:
        yield running


def test_live_while_the_loop_ticks(server: http.Server, clock: TestClock) -> None:
    assert get(server, "/health/live")[0] == 200
    clock.seconds += 11
    status, kind, body = get(server, "/health/live")
    assert (status, kind) == (503, "application/json")
    assert json.loads(body) == {"ok": False, "tick_age_seconds": 11.0, "limit_seconds": 10.0}
    server.health.tick()
    assert get(server, "/health/live")[0] == 200


@pytest.mark.parametrize(
    ("states", "status"),
    [
        ({}, 503),
        ({"a": "starting"}, 503),
        ({"a": "owner"}, 200),
        ({"a": "standby"}, 200),
        ({"a": "owner", "b": "restoring"}, 503),
        ({"a": "owner", "b": "standby"}, 200),
        ({"a": "stopped"}, 503),
    ],
)
def test_ready_when_each_source_is_owned_or_stands_by(server: http.Server, states: dict[str, str], status: int) -> None:
    for source, state in states.items():
        server.health.state(source, state)
    code, _, body = get(server, "/health/ready")
    assert code == status
    assert json.loads(body) == {"ok": status == 200, "sources": states}


def test_unknown_state_is_refused(clock: TestClock) -> None:
    with pytest.raises(ValueError, match="asleep"):
        http.Health(1.0, clock.now).state("a", "asleep")


def test_metrics_page_in_both_formats(server: http.Server) -> None:
    server.metrics.declare("legacy", ["OrderPlaced"])
    status, kind, body = get(server, "/metrics")
    assert status == 200
    assert kind.startswith("text/plain")
    assert b'kafka_consumer_lag_sum{source="legacy"} 0.0' in body
    _, kind, body = get(server, "/metrics", Accept="application/openmetrics-text")
    assert kind.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_other_paths_methods_and_origins(server: http.Server) -> None:
    assert get(server, "/")[0] == 404
    assert get(server, "/metrics", method="POST")[0] == 501
    status, _, body = get(server, "/health/live", method="HEAD")
    assert (status, body) == (200, b"")
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics?x=1", timeout=5) as answer:
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert "Python" not in answer.headers["Server"]


def test_port_in_use_is_an_error_at_once(server: http.Server) -> None:
    with pytest.raises(OSError, match="in use"):
        http.Server("127.0.0.1", server.port, Metrics(), server.health)


def test_close_frees_the_port(clock: TestClock) -> None:
    server = http.Server("127.0.0.1", 0, Metrics(), http.Health(1.0, clock.now)).start()
    server.close()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", server.port)) != 0
