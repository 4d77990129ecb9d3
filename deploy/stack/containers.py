"""Containers without an engine's daemon and without an image registry: podman and buildah, and a base image of Debian's packages.

    engine = Engine()
    engine.install(print)                 # programs and base image, once for all
    engine.build("localhost/bridge:test")  # deploy/Dockerfile on that base
    engine.podman("run", …)

What else an engine would do by default does not work everywhere, least of all inside a virtual machine or a container:

runc                no crun: it wants a cgroup tree that is delegated by systemd
cgroupfs, netns and cgroupns of the host
                    no systemd, no bridge network: containers see the stack's servers on 127.0.0.1
events in a file    no journal
chroot isolation    steps of a build are no containers of their own
health              systemd's timers would run the checks; without it `podman healthcheck run` does, see `healthy`

Everything of it lies in one directory, storage and configuration alike: the machine's own images are not touched.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deploy.stack import debian
from deploy.stack.dist import REPOSITORY, STACK_DIRECTORY
from deploy.stack.process import Command, StackError, run

PROGRAMS = ("podman", "buildah", "runc", "mmdebstrap")
PACKAGES = (
    "podman",
    "buildah",
    "runc",
    "netavark",
    "aardvark-dns",
    "iptables",
    "uidmap",
    "mmdebstrap",
    "ca-certificates",
)
DOCKERFILE = REPOSITORY / "deploy" / "Dockerfile"
BASE = "localhost/bridge-base:latest"
BUILD_STAGE = "localhost/bridge-build:latest"
# The release, and so the Python, that the Dockerfile's default base has.
BASE_COMMAND = "mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,ca-certificates bookworm -"
CERTIFICATES = "/etc/ssl/certs"
BASE_SECONDS, BUILD_SECONDS, PODMAN_SECONDS = 900, 600, 90

CONTAINERS_CONF = """\
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
netns = "host"
cgroupns = "host"
"""
STORAGE_CONF = """\
[storage]
driver = "{driver}"
graphroot = "{directory}/images"
runroot = "{directory}/run"
"""


@dataclass(frozen=True, slots=True)
class Engine:
    """podman and buildah with a storage of their own."""

    directory: Path = STACK_DIRECTORY.resolve() / "dist" / "containers"

    @property
    def log(self) -> Path:
        """What installing and building said."""
        return self.directory / "containers.log"

    @property
    def environment(self) -> dict[str, str]:
        """What makes podman and buildah take this directory's configuration."""
        return {
            "CONTAINERS_CONF": str(self.directory / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.directory / "storage.conf"),
        }

    def install(self, progress: Callable[[str], None]) -> None:
        """Install the programs and make the base image where they are missing. Safe to call from several processes at once."""
        if os.geteuid() != 0:
            raise StackError(
                "containers need root here: rootless ones would need more of the machine than can be installed"
            )
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            debian.install("podman and buildah", PROGRAMS, PACKAGES, self.log, progress)
            (self.directory / "containers.conf").write_text(CONTAINERS_CONF)
            driver = "overlay" if _kernel_knows("overlay") else "vfs"
            (self.directory / "storage.conf").write_text(STORAGE_CONF.format(driver=driver, directory=self.directory))
            self._make_base(progress)

    def _make_base(self, progress: Callable[[str], None]) -> None:
        stamp, version = self.directory / "base.ok", hashlib.sha256(BASE_COMMAND.encode()).hexdigest()
        if stamp.exists() and stamp.read_text() == version and self._has(BASE):
            return
        progress("making a base image of Debian's packages (once, a minute or two)")
        command = f"{BASE_COMMAND} | podman import --quiet - {BASE}"
        self._run("base image", ["bash", "-euo", "pipefail", "-c", command], BASE_SECONDS)
        stamp.write_text(version)

    def build(self, tag: str) -> None:
        """Build the project's Dockerfile on the base image; what did not change since the last time is not done again."""
        self._build(BUILD_STAGE, "--target=build")  # by name, so that it is not swept away
        self._build(tag)
        self.podman("image", "prune", "--force")

    def _build(self, tag: str, *arguments: str) -> None:
        # The machine's certificates: pip may have to trust a proxy of its owner.
        command = ["buildah", "bud", "--quiet", "--layers", "--isolation=chroot", "--format=docker", f"--tag={tag}"]
        command += [f"--build-arg=BASE={BASE}", f"--volume={CERTIFICATES}:{CERTIFICATES}:ro", f"--file={DOCKERFILE}"]
        self._run("image", [*command, *arguments, str(REPOSITORY)], BUILD_SECONDS)

    def podman(self, *arguments: str, check: bool = True, timeout: float = PODMAN_SECONDS) -> str:
        """One command of podman; what it prints, log messages of podman itself left out."""
        command = ["podman", "--log-level=fatal", *arguments]
        done = subprocess.run(
            command, env=os.environ | self.environment, capture_output=True, text=True, timeout=timeout, check=False
        )
        if check and done.returncode != 0:
            raise StackError(f"{shlex.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def healthy(self, container: str) -> bool:
        """Run the image's health check once, as an engine would from time to time."""
        self.podman("healthcheck", "run", container, check=False)
        return self.podman("inspect", "--format={{.State.Healthcheck.Status}}", container).strip() == "healthy"

    def _has(self, image: str) -> bool:
        return image in self.podman("images", "--format={{.Repository}}:{{.Tag}}").split()

    def _run(self, name: str, command: list[str], timeout: float) -> None:
        run(Command(name, command, self.log, REPOSITORY, environment=self.environment), timeout=timeout)


def _kernel_knows(filesystem: str) -> bool:
    return filesystem in Path("/proc/filesystems").read_text().split()
