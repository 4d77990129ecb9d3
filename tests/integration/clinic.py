"""A source in good health on real servers, the doctor's findings on it, and ways to make it ill.

The connector of a patient is stopped once it was seen to be well: the doctor reads its settings, and a stopped connector
takes new ones without a restart.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its names are public, but not re-exported
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from confluent_kafka.cimpl import NewTopic

from bridge.cli import main
from deploy.stack import Stack
from deploy.stack.connect import put_connector, request
from deploy.stack.process import wait_until

SECONDS = 60
SOON = 20  # a changed setting is seen


class Findings(dict[str, list[dict[str, str]]]):
    """By code; ``codes`` of those that are more than advice."""

    exit_code: int
    text: str

    @property
    def codes(self) -> set[str]:
        return {code for code, found in self.items() if any(one["severity"] != "advice" for one in found)}


class Patient:
    """One source with its connector, config and mappings."""

    def __init__(
        self, stack: Stack, home: Path, connector: dict[str, str], config: dict[str, Any], mapping: str
    ) -> None:
        self.stack, self.home, self.config = stack, home, config
        self.name = connector["topic.prefix"]
        self.healthy = connector
        self._is = connector
        self.mappings = home / f"{self.name}-mappings"
        self.mappings.mkdir()
        (self.mappings / "order.yaml").write_text(mapping)
        self.baseline: set[str] = set()

    # -- asking ----------------------------------------------------------------------------------------------------

    def write_config(self, changes: Mapping[str, Any] | None = None) -> Path:
        """The config file; ``changes``: dotted path below the source, or below the top after a slash → value, None: out."""
        config = json.loads(json.dumps(self.config))
        for path, value in (changes or {}).items():
            top, _, below = path.partition("/")
            part = config if below else config["sources"][self.name]
            *parents, last = (below or top).split(".")
            for parent in parents:
                part = part.setdefault(parent, {})
            part[last] = value
            if value is None:
                del part[last]
        file = self.home / f"{self.name}.yaml"
        file.write_text(yaml.safe_dump(config))
        return file

    def findings(self, changes: Mapping[str, Any] | None = None, *options: str) -> Findings:
        """What the command says as JSON."""
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            code = main(["doctor", "--config", str(self.write_config(changes)), "--format", "json", *options])
        found = Findings()
        for one in json.loads(said.getvalue()):
            found.setdefault(one["code"], []).append(one)
        found.exit_code, found.text = code, said.getvalue()
        return found

    def shows(self, *codes: str, changes: Mapping[str, Any] | None = None) -> Findings:
        """Wait until exactly these codes are found, beside those of a healthy patient that is stopped."""
        found = self.findings(changes)

        def exactly() -> bool:
            nonlocal found
            found = self.findings(changes)
            return set(found) - self.baseline == set(codes)

        assert wait_until(exactly, SOON), f"wanted {codes} beside {self.baseline}, found {found.text}"
        return found

    # -- making it ill ---------------------------------------------------------------------------------------------

    def settings(self, **changes: str | None) -> None:
        """The connector as it was when healthy, but for these; dots are written as double underscores."""
        config = dict(self.healthy)
        for key, value in changes.items():
            config[key.replace("__", ".")] = value or ""
            if value is None:
                del config[key.replace("__", ".")]
        if config != self._is:
            put_connector(self.stack.connect_url, self.name, config, SECONDS)
            self._is = config

    def stop(self) -> None:
        url = f"{self.stack.connect_url}/connectors/{self.name}"
        request(f"{url}/stop", "PUT")
        assert wait_until(lambda: bool(request(f"{url}/status")["connector"]["state"] == "STOPPED"), SECONDS)


class Topics:
    """Topics made, changed and changed back."""

    def __init__(self, stack: Stack) -> None:
        self._bootstrap = stack.bootstrap
        self._admin = AdminClient({"bootstrap.servers": stack.bootstrap})

    def exist(self, names: Iterable[str]) -> bool:
        return set(names) <= self._admin.list_topics(timeout=10).topics.keys()

    def make(self, name: str, partitions: int = 1) -> None:
        (future,) = self._admin.create_topics([NewTopic(name, partitions, 1)]).values()
        future.result()
        assert wait_until(lambda: self.exist([name]), SECONDS)

    @contextmanager
    def altered(self, name: str, **settings: str) -> Iterator[None]:
        (future,) = self._admin.describe_configs([ConfigResource(ResourceType.TOPIC, name)]).values()
        before = future.result()
        self._set(name, settings)
        try:
            yield
        finally:
            self._set(name, {key: before[key.replace("__", ".")].value for key in settings})

    def _set(self, name: str, settings: Mapping[str, str]) -> None:
        how = AlterConfigOpType.SET
        entries = [
            ConfigEntry(key.replace("__", "."), value, incremental_operation=how) for key, value in settings.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)
        (future,) = self._admin.incremental_alter_configs([resource]).values()
        future.result()

    def lose_beginning(self, name: str) -> None:
        """Write one record and delete it."""
        producer = Producer({"bootstrap.servers": self._bootstrap})
        producer.produce(name, b"x", partition=0)
        assert producer.flush(10) == 0
        (future,) = self._admin.delete_records([TopicPartition(name, 0, 1)]).values()
        future.result()
