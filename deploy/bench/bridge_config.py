"""What one run of the bridge needs: a config, a mapping that publishes to topics of this run alone, and its command."""

from __future__ import annotations

import json
import pstats
import re
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import yaml

from bridge.testing.stream import MAPPING, OrderStream
from deploy.stack.process import free_ports

MAPPING_TOPIC = "sales.orders"
SOURCE = "legacy"
PROFILE_LINES = 45
COMMITTED = re.compile(rb'^kafka_transactions_total\{outcome="committed".*\} (.+)$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Setup:
    """One run's names and places."""

    directory: Path
    group: str
    output: str
    port: int

    @property
    def config(self) -> Path:
        """The config file."""
        return self.directory / "config.yaml"

    @property
    def state(self) -> Path:
        """The local store's directory."""
        return self.directory / "state"

    @property
    def profile(self) -> Path:
        """Where cProfile writes."""
        return self.directory / "profile.out"

    def owner(self) -> bool:
        """Whether the bridge owns the source and begins to read; asked over HTTP, and no more once it does."""
        return self._is("owner")

    def standby(self) -> bool:
        """Whether the bridge stands by."""
        return self._is("standby")

    def _is(self, state: str) -> bool:
        url = f"http://127.0.0.1:{self.port}/health/ready"
        try:
            with urllib.request.urlopen(url, timeout=1) as answer:
                return bool(json.load(answer)["sources"].get(SOURCE) == state)
        except OSError:
            return False

    def commits(self) -> int:
        """How many Kafka transactions the bridge committed."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            return round(float(COMMITTED.findall(answer.read())[0]))

    def prepare(self) -> None:
        """Make the topics of this run, as an operator does."""
        command = [sys.executable, "-m", "bridge", "topics", "--create", "--config", str(self.config)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def command(self, *, profile: bool) -> list[str]:
        """How the bridge is started."""
        module = ["deploy.bench.profiled", str(self.profile), SOURCE] if profile else ["bridge"]
        return [sys.executable, "-m", *module, "run", "--config", str(self.config)]

    def print_profile(self) -> None:
        """The functions that took the most time themselves."""
        pstats.Stats(str(self.profile)).sort_stats("tottime").print_stats(PROFILE_LINES)


def write(directory: Path, name: str, bootstrap: str, stream: OrderStream) -> Setup:
    """Write the config and the mapping of one run."""
    output = f"{MAPPING_TOPIC}.{name}"
    setup = Setup(directory, group=f"{name}.{SOURCE}", output=output, port=free_ports(1)[0])
    mappings = directory / "mappings"
    mappings.mkdir(parents=True)
    (mappings / MAPPING.name).write_text(MAPPING.read_text().replace(f"topic: {MAPPING_TOPIC}\n", f"topic: {output}\n"))
    config = {
        "application": name,
        "kafka": {"bootstrap.servers": bootstrap},
        "sources": {
            SOURCE: {
                "connector": "postgresql",
                "topics": stream.topics,
                "transaction_topic": stream.transaction_topic,
            }
        },
        "mappings": str(mappings),
        "state": {"directory": str(setup.state)},
        "http": {"host": "127.0.0.1", "port": setup.port},
        "logs": {"format": "json"},
    }
    setup.config.write_text(yaml.safe_dump(config, sort_keys=False))
    return setup
