"""The image on the real servers, with as few rights as it can have: killed, with its volume and without, it is exactly right."""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

import bridge
from deploy.stack import Stack
from deploy.stack.containers import BASE, Engine
from deploy.stack.process import free_ports, wait_until
from tests.integration.seen import ROOT, STOP_SECONDS, Application, Outsider
from tests.integration.test_exactly_once import EVENT_SECONDS, TOPIC_PER_TABLE, Shop, judge

# The first run on a machine installs podman and makes a base image.
pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(1500)]

IMAGE = "localhost/bridge:test"
USER = 10001
PASSWORD = "what-nobody-may-see-31415"  # noqa: S105 - opens nothing
HARDENED = (
    *("--read-only", "--read-only-tmpfs=false", "--tmpfs=/tmp"),  # podman would make /run and /var/tmp writable too
    *("--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=host"),
)
START_SECONDS = 60
A_FEW = 40  # events that have to come before the next death


@pytest.fixture(scope="module")
def engine() -> Engine:
    """podman, with the image built."""
    engine = Engine()
    engine.install(print)
    began = time.monotonic()
    engine.build(IMAGE)
    size, base = (int(engine.podman("image", "inspect", "--format={{.Size}}", name)) for name in (IMAGE, BASE))
    print(
        f"image built in {time.monotonic() - began:.0f} s: {size / 1e6:.0f} MB, {(size - base) / 1e6:.0f} MB without its base"
    )
    return engine


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    home = tmp_path_factory.mktemp("contained")
    with Stack(home / "stack", progress=lambda _: None) as stack:
        shop = Shop(stack, home)
        shop.open()
        yield shop


class Place:
    """What a bridge in a container is given: config, mappings, a secret and a volume. Nothing of it outlives the test."""

    def __init__(self, engine: Engine, shop: Shop, name: str) -> None:
        self.engine = engine
        self.port = free_ports(1)[0]
        database = {"database": "shop", "password": "${file:/run/secrets/database-password}"}
        self.application = Application(
            shop.stack.bootstrap,
            shop.home,
            name,
            {**TOPIC_PER_TABLE, "database": database},
            state={"directory": "/var/lib/bridge"},
            mappings="mappings",
            http={"port": self.port},
        )
        self.application.write_config("config")
        # A file, as Compose mounts it: podman's own secrets and --read-only exclude each other in version 4.3.
        self._secret = shop.home / f"{name}-password"
        self._secret.write_text(PASSWORD)
        self._secret.chmod(0o400)
        os.chown(self._secret, USER, USER)

    @property
    def _name(self) -> str:
        return self.application.name

    def _given(self) -> list[str]:
        return [
            f"--volume={self.application.home}:/etc/bridge:ro",
            f"--volume={self._name}:/var/lib/bridge",
            f"--volume={self._secret}:/run/secrets/database-password:ro",
            f"--env=BRIDGE_HEALTH_PORT={self.port}",
        ]

    def command(self, *words: str) -> str:
        """A `bridge` command in a container of its own."""
        return self.engine.podman("run", "--rm", *HARDENED, *self._given(), IMAGE, *words)

    def run(self) -> None:
        """The image's own command: `bridge run`."""
        self.engine.podman("run", "--detach", f"--name={self._name}", *HARDENED, *self._given(), IMAGE)
        self._wait_until_it_owns()

    def start_again(self) -> None:
        self._on("start")
        self._wait_until_it_owns()

    def kill(self) -> None:
        self._on("kill", "--signal=KILL")
        self._on("wait")
        assert self._exit_code() == 128 + 9, self._on("logs")

    def stop(self) -> float:
        """SIGTERM, which has to work in time; how long it took."""
        began = time.monotonic()
        self._on("stop", f"--time={STOP_SECONDS}")
        assert self._exit_code() == 0, self._on("logs")
        return time.monotonic() - began

    def forget(self) -> None:
        """Remove the container, and its volume with it."""
        self._on("rm", "--force")
        self.engine.podman("volume", "rm", "--force", self._name)

    def told(self) -> str:
        """Everything that engine and container tell about it."""
        return self._on("inspect") + self._on("logs") + self.engine.podman("history", "--no-trunc", IMAGE)

    def close(self) -> None:
        self.engine.podman("rm", "--force", "--ignore", self._name)
        self.engine.podman("volume", "rm", "--force", self._name, check=False)

    def _on(self, command: str, *arguments: str) -> str:
        return self.engine.podman(command, *arguments, self._name)

    def _exit_code(self) -> int:
        return int(self._on("inspect", "--format={{.State.ExitCode}}"))

    def _wait_until_it_owns(self) -> None:
        address = f"http://127.0.0.1:{self.port}/health/ready"
        assert wait_until(lambda: '"owner"' in page(address), START_SECONDS), self._on("logs")
        assert wait_until(lambda: self.engine.healthy(self._name), START_SECONDS), self._on("inspect")


def page(address: str) -> str:
    """A page's text; "" while nobody answers, or not well."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(address, timeout=5) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def await_more(outsider: Outsider) -> None:
    """Wait until a few more events are visible."""
    target = len(outsider.records) + A_FEW

    def came() -> bool:
        outsider.look()
        return len(outsider.records) >= target

    assert wait_until(came, EVENT_SECONDS), "no more events come"


def test_killed_stopped_and_without_its_volume_it_is_exactly_right(engine: Engine, shop: Shop) -> None:
    place = Place(engine, shop, "contained")
    try:
        made = place.command("topics", "--create", "--config", "/etc/bridge/config.yaml")
        assert f"made {place.application.events}" in made
        with Outsider(shop.stack.bootstrap, [place.application.events]) as outsider:
            with shop.load():
                place.run()
                await_more(outsider)
                place.kill()
                place.start_again()
                await_more(outsider)
                seconds = place.stop()
                place.start_again()
                await_more(outsider)
                place.kill()
                place.forget()
                place.run()
                await_more(outsider)
            key = shop.place_last_order()
            last = wait_until(lambda: any(record.key == key for record in outsider.look()), EVENT_SECONDS)
            assert last, "the last order's event did not come"
        assert PASSWORD not in place.told()
        print(f"stopped in {max(seconds, place.stop()):.1f} s at most")
        judge(shop, place.application, shop.truth(place.application.inputs))
    finally:
        place.close()


# -- what is in it -----------------------------------------------------------------------------------------------------

LOOK = """
import importlib.util, json, os, pathlib
import bridge, bridge.cli

def writable(directory):
    try:
        (pathlib.Path(directory) / "probe").write_text("x")
    except OSError:
        return False
    return True

installed = pathlib.Path(bridge.__file__).parent
status = dict(line.split(":\\t", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
print(json.dumps({
    "ids": [os.getuid(), os.getgid()],
    "rights": [int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")] + [int(status["NoNewPrivs"])],
    "writable": [one for one in ("/", "/etc", "/opt/bridge", "/run", "/var/tmp", "/var/lib/bridge", "/tmp") if writable(one)],
    "files": sorted(str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()),
    "compiled": bridge.cli.__spec__.cached is not None and pathlib.Path(bridge.cli.__spec__.cached).exists(),
    "tools": [name for name in ("pip", "pytest", "tests", "deploy") if importlib.util.find_spec(name)],
}))
"""


@pytest.fixture(scope="module")
def inside(engine: Engine) -> dict[str, Any]:
    """What a process of the image sees."""
    found: dict[str, Any] = json.loads(
        engine.podman("run", "--rm", *HARDENED, "--entrypoint=python", IMAGE, "-c", LOOK)
    )
    return found


def test_it_is_nobody_and_may_write_where_it_must_alone(inside: dict[str, Any]) -> None:
    assert inside["ids"] == [USER, USER]
    assert inside["rights"] == [0, 0, 0, 1]
    assert inside["writable"] == ["/var/lib/bridge", "/tmp"]


def test_it_holds_the_whole_package_compiled_and_no_tools(inside: dict[str, Any]) -> None:
    package = ROOT / "bridge"
    ours = {str(path.relative_to(package)) for path in package.rglob("*") if path.is_file()}
    assert {name for name in inside["files"] if "__pycache__" not in name} == {
        name for name in ours if "__pycache__" not in name
    }
    assert inside["compiled"]
    assert inside["tools"] == []


def test_its_command_line_is_the_bridges(engine: Engine) -> None:
    help_text = engine.podman("run", "--rm", *HARDENED, IMAGE, "--help")
    assert all(name in help_text for name in bridge.cli.COMMANDS)
    explained = engine.podman("run", "--rm", *HARDENED, IMAGE, "check", "--explain", "B500")
    assert "only an operator can mend" in explained


def test_a_state_directory_that_is_not_writable_is_named(engine: Engine, shop: Shop) -> None:
    place = Place(engine, shop, "misplaced")
    try:
        place.command("topics", "--create", "--config", "/etc/bridge/config.yaml")
        place.application.write_config("config", state={"directory": "/etc/bridge/state"})
        said = engine.podman("run", "--rm", *HARDENED, *place._given(), IMAGE, check=False)
    finally:
        place.close()
    assert "/etc/bridge/state" in said
    assert "state.directory" in said
    assert "Traceback" not in said
