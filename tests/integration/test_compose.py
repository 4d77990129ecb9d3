"""What deploy/compose.yaml brings together works together: its connector, its secret and its config, on the stack's servers.

The images themselves need a registry. Everything else is taken from the files: what differs is where the servers are.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from deploy.stack import Stack
from deploy.stack.process import wait_until
from legacy_demo import workload
from tests.integration.naive_orders import truth
from tests.integration.seen import ROOT, Bridge, Outsider, run_command, visible
from tests.integration.test_exactly_once import EVENT_SECONDS, Shop

pytestmark = [pytest.mark.stack, pytest.mark.slow]

COMPOSE = ROOT / "deploy" / "compose.yaml"
SECRETS = "/run/secrets"
PROVIDER = "CONNECT_CONFIG_PROVIDERS"


def test_connector_secret_and_config_work_together(tmp_path: Path) -> None:
    with Stack(tmp_path / "stack", exactly_once_source=True, progress=lambda _: None) as stack:
        workload.create_schema(stack.postgres)
        _make_log(stack)
        _let_connect_read_secrets(stack)
        stack.register("shop", _connector(stack, tmp_path))
        config = _config(stack, tmp_path)
        made = run_command("topics", "--create", "--config", str(config))
        assert made.returncode == 0, made.stderr.decode()
        bridge = Bridge(config, tmp_path / "bridge.log")
        try:
            bridge.wait_for("owner")
            shop = Shop(stack, tmp_path)
            shop.work(60)
            key = shop.place_last_order()
            with Outsider(stack.bootstrap, ["sales.orders"]) as outsider:
                last = wait_until(lambda: any(record.key == key for record in outsider.look()), EVENT_SECONDS)
                assert last, bridge.tail()
                bridge.stop()
                records = outsider.records
        finally:
            bridge.kill()
        expected = truth(visible(stack.bootstrap, "shop.log"))
        found = sorted((record.value or b"", record.headers) for record in records)
        assert found == sorted(event for events in expected.events.values() for event in events)
        assert visible(stack.bootstrap, "legacy.DLT") == []


def _make_log(stack: Stack) -> None:
    admin = AdminClient({"bootstrap.servers": stack.bootstrap})
    admin.create_topics([NewTopic("shop.log", 1)])["shop.log"].result(30)


def _let_connect_read_secrets(stack: Stack) -> None:
    """The worker's settings of the compose file that are about secrets, as its image makes properties of them."""
    environment = yaml.safe_load(COMPOSE.read_text())["services"]["connect"]["environment"]
    settings = {key[8:].lower().replace("_", "."): value for key, value in environment.items() if PROVIDER in key}
    assert len(settings) == 2
    with (stack.home / "connect.properties").open("a") as properties:
        properties.writelines(f"{key}={value}\n" for key, value in settings.items())
    stack.restart("connect")


def _connector(stack: Stack, home: Path) -> dict[str, str]:
    """The connector's file. The stack's database asks for no password, so that its host is read as a secret as well."""
    (home / "postgres-password").write_text(str(stack.postgres["password"]))
    (home / "host").write_text(str(stack.postgres["host"]))
    text = (ROOT / "deploy" / "compose" / "connector.json").read_text().replace(SECRETS, str(home))
    connector: dict[str, str] = json.loads(text)
    place = {"database.hostname": f"${{dir:{home}:host}}", "database.port": str(stack.postgres["port"])}
    assert place.keys() <= connector.keys()
    return connector | place


def _config(stack: Stack, home: Path) -> Path:
    text = (ROOT / "deploy" / "compose" / "bridge.yaml").read_text().replace(SECRETS, str(home))
    for pattern, here in {
        r"kafka:9092": stack.bootstrap,
        r"/var/lib/bridge": str(home / "state"),
        r"mappings: mappings": f"mappings: {ROOT / 'mappings' / 'demo'}",
        r"host: 0\.0\.0\.0": "port: 0\n  host: 127.0.0.1",
    }.items():
        text, count = re.subn(pattern, here, text)
        assert count == 1, pattern
    path = home / "config.yaml"
    path.write_text(text)
    return path
