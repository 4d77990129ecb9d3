"""The image's and the whole stack's files: checked by the tools that read them, and against what the project says elsewhere."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bridge.cli import main as bridge_command
from bridge.config import load
from deploy.stack import connect, containers, dist
from legacy_demo import workload

ROOT = Path(__file__).resolve().parents[1]
COMPOSE = ROOT / "deploy" / "compose.yaml"
CONNECTOR = ROOT / "deploy" / "compose" / "connector.json"
CONFIG = ROOT / "deploy" / "compose" / "bridge.yaml"
PASSWORD = "${dir:/run/secrets:postgres-password}"  # noqa: S105 - where Connect finds it


def tool(*command: str) -> str:
    """Run a program of the environment that the tests run in."""
    program = Path(sys.executable).with_name(command[0])
    assert program.exists(), f"{command[0]} is missing: install requirements-dev.lock"
    done = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def stack() -> dict[str, Any]:
    """The compose file as the real Compose reads it, all references filled in."""
    tool("docker-compose", "--file", str(COMPOSE), "config", "--quiet")
    loaded: dict[str, Any] = json.loads(tool("docker-compose", "--file", str(COMPOSE), "config", "--format", "json"))
    return loaded


def test_hadolint_finds_nothing() -> None:
    tool("hadolint", str(containers.DOCKERFILE))


def test_every_image_has_a_version(stack: dict[str, Any]) -> None:
    images = {service["image"] for service in stack["services"].values() if "build" not in service}
    default = re.search("^ARG BASE=(.+)$", containers.DOCKERFILE.read_text(), re.MULTILINE)
    assert default
    assert [image for image in {*images, default[1]} if not re.search(r":\d+\.\d+\.\d+|:\d+\.\d+-", image)] == []


def test_images_are_of_the_versions_that_the_tests_run(stack: dict[str, Any]) -> None:
    pom = dist.POM.read_text()
    versions = dict(re.findall(r"<(kafka|debezium\.postgres)\.version>(.+?)<", pom))
    assert stack["services"]["kafka"]["image"] == f"apache/kafka:{versions['kafka']}"
    assert stack["services"]["connect"]["image"].endswith(f"/connect:{versions['debezium.postgres']}")


@pytest.mark.parametrize("service", ["bridge", "topics"])
def test_the_bridge_may_do_nothing_that_it_need_not(stack: dict[str, Any], service: str) -> None:
    made = stack["services"][service]
    assert made["read_only"]
    assert made["cap_drop"] == ["ALL"]
    assert made["security_opt"] == ["no-new-privileges:true"]
    assert [mount["target"] for mount in made["volumes"] if not mount.get("read_only")] == ["/var/lib/bridge"]
    assert "privileged" not in made
    assert "user" not in made, "the image's own is no root"


def test_no_secret_stands_in_an_environment(stack: dict[str, Any]) -> None:
    for name, service in stack["services"].items():
        told = {key for key in service.get("environment", {}) if re.search("PASSWORD|SECRET|TOKEN", key)}
        assert all(key.endswith("_FILE") for key in told), name


def test_only_this_machine_reaches_the_ports(stack: dict[str, Any]) -> None:
    ports = [port for service in stack["services"].values() for port in service.get("ports", ())]
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}


def test_files_that_are_mounted_are_there(stack: dict[str, Any]) -> None:
    mounts = [mount for service in stack["services"].values() for mount in service.get("volumes", ())]
    missing = [mount["source"] for mount in mounts if mount["type"] == "bind" and not Path(mount["source"]).exists()]
    assert missing == []


def test_the_connector_is_as_the_bridge_wants_it() -> None:
    database: dict[str, str | int] = {
        "host": "postgres",
        "port": 5432,
        "user": "postgres",
        "password": PASSWORD,
        "dbname": "shop",
    }
    tables = [*workload.TABLES, *workload.COMPLAINT_TABLES]
    wanted = connect.debezium_postgres(database, "shop", tables, single_log=True, schemas=False, partitions=1)
    assert json.loads(CONNECTOR.read_text()) == wanted | {"exactly.once.support": "required"}


def test_the_config_and_the_mappings_are_valid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secret = tmp_path / "postgres-password"
    secret.write_text("x")
    (tmp_path / "mappings").symlink_to(ROOT / "mappings" / "demo")
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.read_text().replace("/run/secrets", str(tmp_path)))
    assert load(config).state_directory == Path("/var/lib/bridge")
    assert bridge_command(["check", "--config", str(config)]) == 0, capsys.readouterr()
