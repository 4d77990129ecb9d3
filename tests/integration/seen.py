"""What an outsider sees of Kafka: every visible record of some topics, and the bridge as a process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import yaml
from confluent_kafka import Consumer, KafkaError, TopicPartition

from bridge.cli import main as bridge_command
from deploy.stack import Stack
from deploy.stack.connect import request
from deploy.stack.process import wait_until

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 40
STOP_SECONDS = 10  # what SIGTERM may take
# Short, so that a killed process is missed soon; small, so that a backlog takes many Kafka transactions.
LIMITS = {"session_timeout_seconds": 2, "transaction_timeout_seconds": 20, "commit_seconds": 0.05}


class Record(NamedTuple):
    """One visible record."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    timestamp: int = 0

    def header(self, name: str) -> str:
        return dict(self.headers)[name].decode()


class Outsider:
    """A read_committed consumer that follows topics from their beginning."""

    def __init__(self, bootstrap: str, topics: Iterable[str]) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "outsider",  # required; partitions are assigned, nothing is committed
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 50,
                "reconnect.backoff.max.ms": 1000,
                "log_level": 0,
            }
        )
        self.records: list[Record] = []
        places = [
            TopicPartition(topic, number, 0)
            for topic in topics
            for number in self._consumer.list_topics(topic, timeout=20).topics[topic].partitions
        ]
        self._count = len(places)
        self._ended: set[tuple[str, int]] = set()
        self._consumer.assign(places)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def look(self, seconds: float = 0.1) -> list[Record]:
        """What became visible within this time."""
        new = []
        for message in self._consumer.consume(2000, seconds):
            error = message.error()
            place = str(message.topic()), int(message.partition() or 0)
            if error is None:
                given: Iterable[Any] = message.headers() or ()
                headers = tuple((str(name), bytes(value or b"")) for name, value in given)
                offset, time_ms = int(message.offset() or 0), message.timestamp()[1]
                new.append(Record(*place, offset, message.key(), message.value(), headers, time_ms))
            elif error.code() == KafkaError._PARTITION_EOF:
                self._ended.add(place)
        self.records += new
        return new

    def read_to_end(self) -> list[Record]:
        """Everything that can be seen now; for one that has not looked before."""
        until = time.monotonic() + 60
        while len(self._ended) < self._count:
            self.look()
            assert time.monotonic() < until, "the topics' ends were not reached"
        return self.records


def visible(bootstrap: str, *topics: str) -> list[Record]:
    """All records that a read_committed consumer sees now."""
    with Outsider(bootstrap, topics) as outsider:
        return outsider.read_to_end()


class Bridge:
    """One `bridge run` process."""

    def __init__(self, config: Path, log: Path, source: str = "legacy", **environment: str) -> None:
        self._log = log
        self._source = source
        self._seen_from = log.stat().st_size if log.exists() else 0
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bridge", "run", "--config", str(config)],
                cwd=ROOT,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        self._port = 0

    def log(self) -> list[dict[str, Any]]:
        """What this process logged: a line that is no JSON object is `{"text": line}`."""
        with self._log.open("rb") as lines:
            lines.seek(self._seen_from)
            return [_line(line) for line in lines.read().decode(errors="replace").splitlines()]

    def tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-25:])

    @property
    def port(self) -> int:
        if not self._port:
            self._port = next((line["port"] for line in self.log() if line.get("event") == "start"), 0)
        return self._port

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a page; 0 while nobody answers."""
        if not self.port:
            return 0, ""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def state(self) -> str:
        """What the process says of its source: standby, restoring, owner …; "" while it does not say."""
        _, body = self.get("/health/ready")
        return str(json.loads(body)["sources"].get(self._source, "")) if body else ""

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        _, body = self.get("/metrics")
        samples = [line.rpartition(" ") for line in body.splitlines() if line.startswith((name + "{", name + " "))]
        return sum(float(value) for _, _, value in samples)

    def alive(self) -> bool:
        return self.process.poll() is None

    def wait_for(self, state: str) -> None:
        self.wait_until(lambda: self.state() == state, f"it did not become {state}")

    def wait_until(self, condition: Callable[[], bool], otherwise: str, seconds: float = START_SECONDS) -> None:
        """Wait; fails when it takes too long, or the process ends."""
        until = time.monotonic() + seconds
        while not condition():
            assert self.alive(), f"exit code {self.process.returncode}\n{self.tail()}"
            assert time.monotonic() < until, f"{otherwise}\n{self.tail()}"
            time.sleep(0.03)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, seconds: float = START_SECONDS) -> int:
        """Wait for its end; its exit code, negative for a signal."""
        return self.process.wait(seconds)

    def kill(self) -> None:
        if self.alive():
            self.process.kill()
        self.process.wait(10)

    def stop(self) -> None:
        """SIGTERM, which has to work in time."""
        self.send(signal.SIGTERM)
        self.must_end_well()

    def must_end_well(self) -> None:
        code = self.end(STOP_SECONDS)
        assert code == 0, f"exit code {code}\n{self.tail()}"


def _line(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    return value if isinstance(value, dict) else {"text": text}


class Application:
    """The bridge under an application name of its own: nothing of it is shared with another test's.

    `inputs`: the source's topics as the config names them. Event topics are `<name>.orders`.
    """

    def __init__(self, bootstrap: str, home: Path, name: str, inputs: dict[str, Any], **config: Any) -> None:
        self.bootstrap = bootstrap
        self.name = name
        self.home = home / name
        self.home.mkdir(parents=True)
        self.events = f"{name}.orders"
        self.dead_letters = f"{name}.DLT"
        self.inputs = inputs
        self.mappings = self.home / "mappings"
        self.mappings.mkdir()
        for path in [ROOT / "mappings" / "demo" / "order.yaml"]:
            text = path.read_text().replace("topic: sales.orders", f"topic: {self.events}")
            (self.mappings / path.name).write_text(text)
        self._extra = config
        self._bridges: list[Bridge] = []
        self.config = self.write_config("a")

    def write_config(self, replica: str, **extra: Any) -> Path:
        """The config of one replica: each has a disk of its own."""
        config: dict[str, Any] = {
            "application": self.name,
            "kafka": {"bootstrap.servers": self.bootstrap},
            "sources": {
                "legacy": {"connector": "postgresql", "dead_letter_topic": self.dead_letters, **self.inputs},
            },
            "mappings": str(self.mappings),
            "state": {"directory": str(self.home / f"state-{replica}")},
            "http": {"port": 0},
            "limits": LIMITS,
        }
        path = self.home / f"{replica}.yaml"
        path.write_text(yaml.safe_dump(config | self._extra | extra))
        return path

    def make_topics(self) -> None:
        assert bridge_command(["topics", "--create", "--config", str(self.config)]) == 0

    def start(self, replica: str = "a", **environment: str) -> Bridge:
        path = self.write_config(replica)
        bridge = Bridge(path, self.home / f"{replica}.log", **environment)
        self._bridges.append(bridge)
        return bridge

    def forget_state(self, replica: str = "a") -> None:
        shutil.rmtree(self.home / f"state-{replica}", ignore_errors=True)

    def close(self) -> None:
        for bridge in self._bridges:
            bridge.kill()


def run_command(
    *arguments: str, stdin: bytes | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """One `bridge` command as a user would run it; `environment` is added to ours."""
    return subprocess.run(
        [sys.executable, "-m", "bridge", *arguments],
        cwd=ROOT,
        input=stdin,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        timeout=120,
        check=False,
    )


def wait_all(condition: Callable[[], Sequence[object]], seconds: float) -> None:
    """Wait until nothing is left of what `condition` lists."""
    until = time.monotonic() + seconds
    while left := condition():
        assert time.monotonic() < until, f"still waiting for {left}"
        time.sleep(0.03)


def wait_for_offsets(stack: Stack, connector: str) -> None:
    """Wait until Connect wrote down where the stream stands: killed before, it would begin with another snapshot."""

    def streaming() -> bool:
        offsets = request(f"{stack.connect_url}/connectors/{connector}/offsets")["offsets"]
        return any("lsn_commit" in entry["offset"] for entry in offsets)

    assert wait_until(streaming, START_SECONDS), "Connect wrote no offsets"
