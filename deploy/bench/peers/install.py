"""What the peers are made of: Kafka Streams from Maven Central, Quix Streams from PyPI; once, apart from all others."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from deploy.bench.peers.peer import Peer
from deploy.stack.dist import STACK_DIRECTORY, Dist, check_java, is_current, locked
from deploy.stack.process import Command, StackError, run

HERE: Final = Path(__file__).parent
POM: Final = HERE / "streams" / "pom.xml"
STREAMS: Final = HERE / "streams" / "Orders.java"
QUIX: Final = HERE / "quix" / "orders.py"
REQUIREMENTS: Final = HERE / "quix" / "requirements.txt"
JVM: Final = ("-Xmx1g", "-XX:+UseParallelGC")  # the default collector was slower here
SECONDS: Final = 600


def install(progress: Callable[[str], None], directory: Path = STACK_DIRECTORY / "bench") -> list[Peer]:
    """Install what is missing or outdated; the peers, ready to be started."""
    directory.mkdir(parents=True, exist_ok=True)
    with locked(directory.with_suffix(".lock")):
        return [_streams(directory, progress), _quix(directory, progress)]


def _streams(directory: Path, progress: Callable[[str], None]) -> Peer:
    check_java()
    jars, classes = directory / "streams", directory / "classes"
    stamp, version = directory / "streams.ok", _version(POM, STREAMS)
    if not is_current(stamp, version):
        compiler = shutil.which("javac")
        if compiler is None:
            raise StackError("javac is missing: install a JDK (Debian: apt-get install default-jdk-headless)")
        progress("downloading Kafka Streams from Maven Central (100 MB, once)")
        Dist(directory).maven(POM, jars)
        shutil.rmtree(classes, ignore_errors=True)
        arguments = [compiler, "-d", str(classes), "-cp", f"{jars}/*", str(STREAMS)]
        run(Command("javac", arguments, directory / "javac.log", directory), timeout=SECONDS)
        stamp.write_text(version)
    return Peer("Kafka Streams", ("java", *JVM, "-cp", f"{classes}:{jars}/*", STREAMS.stem))


def _quix(directory: Path, progress: Callable[[str], None]) -> Peer:
    place = directory / "quix"
    python = place / "bin" / "python"
    stamp, version = directory / "quix.ok", _version(REQUIREMENTS)
    if not is_current(stamp, version):
        progress("downloading Quix Streams from PyPI into an environment of its own (130 MB, once)")
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
        run(Command("pip", [*pip, "-r", str(REQUIREMENTS)], directory / "pip.log", directory), timeout=SECONDS)
        stamp.write_text(version)
    return Peer("Quix Streams", (str(python), str(QUIX)))


def _version(*files: Path) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
