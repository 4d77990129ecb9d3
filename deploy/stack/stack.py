"""One running set of servers in one home directory.

    home/stack.json       ports, and who runs: enough for another process to attach
    home/data/            Kafka's and PostgreSQL's data
    home/*.properties     what was written for the servers
    home/logs/            one file per server

A stack belongs to the thread that started it and dies with it, however that ends (see process.start), unless it was
started detached. Servers start side by side where they can; nothing here sleeps for a fixed time.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from deploy.stack import configs, connect, mariadb, registry
from deploy.stack.dist import Dist, make_place, open_place, server_account
from deploy.stack.process import (
    Command,
    ProcessId,
    Server,
    StackError,
    finish,
    free_ports,
    port_free,
    start,
    wait_for_answer,
    wait_until,
)

HOST = "127.0.0.1"
DATABASE = "shop"
DATABASE_ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC"}
START_SECONDS = 90
STOP_SECONDS = 20
SERVICES = ("postgres", "kafka", "connect")  # what the bridge itself needs
EVERY_SERVICE = (*SERVICES, "mariadb", "registry")
PORT_NAMES = ("postgres", "kafka", "controller", "connect", "mariadb", "registry", "registry_management")
# Serial collector and the quick compiler alone: starts fast and stays small on a machine with few cores.
JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true")
HEAP = {"kafka": ("-Xms256m", "-Xmx768m"), "connect": ("-Xms128m", "-Xmx768m")}


class Stack:
    """PostgreSQL, Kafka, Kafka Connect, MariaDB and a schema registry, as many of them as `services` names."""

    def __init__(
        self,
        home: Path,
        *,
        services: Sequence[str] = SERVICES,
        exactly_once_source: bool = False,
        progress: Callable[[str], None] = print,
    ) -> None:
        unknown = set(services) - set(EVERY_SERVICE)
        if unknown:
            raise ValueError(f"unknown services {sorted(unknown)}; there are {EVERY_SERVICE}")
        self.home = home.resolve()
        self.services = tuple(service for service in EVERY_SERVICE if service in services)
        self.exactly_once_source = exactly_once_source
        self.progress = progress
        self.dist = Dist()
        self._ports: dict[str, int] = {}
        self._servers: dict[str, Server] = {}
        self._detached = False
        self._owner = ProcessId.of(os.getpid())

    @classmethod
    def attach(cls, home: Path, *, progress: Callable[[str], None] = print) -> Stack | None:
        """The stack that another process started in `home`; None where there is none."""
        try:
            record = json.loads((home / "stack.json").read_text())
            stack = cls(home, services=record["services"], progress=progress)
            stack.exactly_once_source = record["exactly_once"]
            stack._ports = record["ports"]
            stack._detached = record["detached"]
            stack._owner = ProcessId(*record["owner"])
        except (FileNotFoundError, KeyError):  # none, or one written by an older version of this file
            return None
        for name, (pid, started) in record["processes"].items():
            command = stack._command(name)
            stack._servers[name] = Server(name, ProcessId(pid, started), command.log, command.stop_signal)
        return stack

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(wipe=True)

    # -- where things are ------------------------------------------------------------------------------------------

    @property
    def bootstrap(self) -> str:
        """Kafka's bootstrap.servers."""
        return f"{HOST}:{self._ports['kafka']}"

    @property
    def connect_url(self) -> str:
        """Kafka Connect's REST interface."""
        return f"http://{HOST}:{self._ports['connect']}"

    @property
    def postgres(self) -> dict[str, str | int]:
        """How to connect to the database: host, port, user, password, dbname, as psycopg.connect takes them."""
        return {
            "host": HOST,
            "port": self._ports["postgres"],
            "user": "postgres",
            "password": "postgres",
            "dbname": DATABASE,
        }

    @property
    def mariadb(self) -> dict[str, str | int]:
        """How to connect to MariaDB as its administrator: host, port and user, as pymysql.connect takes them."""
        return mariadb.connection(HOST, self._ports["mariadb"])

    @property
    def registry_url(self) -> str:
        """The schema registry, as Confluent's clients take it."""
        return f"http://{HOST}:{self._ports['registry']}/apis/ccompat/v7"

    def avro_converters(self) -> dict[str, str]:
        """Connector settings that write keys and values as Avro through the schema registry."""
        return registry.avro_converters(f"http://{HOST}:{self._ports['registry']}/apis/registry/v2")

    def alive(self) -> dict[str, bool]:
        """Which services run."""
        return {name: name in self._servers and self._servers[name].alive() for name in self.services}

    def orphaned(self) -> bool:
        """Whether its owner died without stopping it, which took its servers along."""
        abandoned = not self._detached and bool(self._servers) and not self._owner.alive()
        return abandoned and not any(self.alive().values())

    def addresses(self) -> dict[str, str]:
        """host:port of each service."""
        return {name: f"{HOST}:{self._ports[name]}" for name in self.services}

    def log_file(self, service: str) -> Path:
        """The log of a service."""
        return self.home / "logs" / f"{service}.log"

    # -- life ------------------------------------------------------------------------------------------------------

    def install(self) -> None:
        """Download what the servers are made of, once for all stacks."""
        self.dist.install(self.services, self.progress)

    def start(self, *, detached: bool = False) -> None:
        """Start all services and wait until each answers. A home that was stopped without wiping resumes its data."""
        self._refuse_second()
        self._sweep()
        self.install()
        self._detached = detached
        self._choose_ports()
        for directory in (self.home / "logs", self.home / "data"):
            directory.mkdir(parents=True, exist_ok=True)
        configs.write_all(
            self.home,
            self._ports,
            self.dist,
            exactly_once_source=self.exactly_once_source,
            registry="registry" in self.services,
        )
        try:
            self._start_all()
        except BaseException:
            self.stop()
            raise

    def stop(self, wipe: bool = False) -> None:  # noqa: FBT001, FBT002 - part of the agreed interface
        """Stop all services; with `wipe` at once, and remove the data."""
        for name in ("connect", "kafka", "postgres", "mariadb", "registry"):  # who uses others ends first
            server = self._servers.pop(name, None)
            if server is not None and wipe:
                server.kill()
            elif server is not None:
                server.stop(STOP_SECONDS)
        self._save()
        if wipe:
            for data in (self._postgres_data, self._mariadb_data):
                shutil.rmtree(open_place(data), ignore_errors=True)
            shutil.rmtree(self.home / "data", ignore_errors=True)
            (self.home / "stack.json").unlink(missing_ok=True)

    def kill(self, service: str) -> None:
        """SIGKILL a service; it is gone on return."""
        self._servers[service].kill()

    def restart(self, service: str) -> None:
        """Start a service again, which may have been killed: same ports, same data. Waits until it answers."""
        server = self._servers.get(service)
        if server is not None and server.alive():
            server.stop(STOP_SECONDS)
        self._launch(service)
        self._wait(service)

    # -- connectors ------------------------------------------------------------------------------------------------

    def register(self, name: str, config: Mapping[str, str], timeout: float = 60) -> None:
        """Create or change a connector and wait until its task runs; raise with the task's trace when it fails."""
        connect.put_connector(self.connect_url, name, config, timeout)
        self.wait_running(name, timeout)

    def wait_running(self, name: str, timeout: float = 60) -> None:
        """Wait until a connector's task runs (again)."""
        connect.wait_running(self.connect_url, name, timeout)

    def unregister(self, name: str) -> None:
        """Remove a connector with its offsets, replication slot and publication. Its topics stay."""
        config = connect.delete_connector(self.connect_url, name)
        if "slot.name" in config and "postgres" in self.services:
            slot, publication = config["slot.name"], config["publication.name"]
            ours = f"FROM pg_replication_slots WHERE slot_name = '{slot}'"
            wait_until(lambda: self._sql(f"SELECT count(*) {ours} AND active") == "0", STOP_SECONDS)
            self._sql(f"SELECT pg_drop_replication_slot(slot_name) {ours}")
            self._sql(f'DROP PUBLICATION IF EXISTS "{publication}"')

    def debezium_postgres(
        self,
        prefix: str,
        tables: Sequence[str],
        *,
        single_log: bool = False,
        schemas: bool = False,
        partitions: int = 3,
        **extra: str,
    ) -> dict[str, str]:
        """A connector configuration as the bridge wants it (see connect.debezium_postgres); `extra` wins."""
        config = connect.debezium_postgres(
            self.postgres, prefix, tables, single_log=single_log, schemas=schemas, partitions=partitions
        )
        if self.exactly_once_source:
            config["exactly.once.support"] = "required"
        return config | extra

    def debezium_mariadb(
        self,
        prefix: str,
        tables: Sequence[str],
        *,
        server_id: int = 5400,
        single_log: bool = False,
        schemas: bool = False,
        partitions: int = 3,
        **extra: str,
    ) -> dict[str, str]:
        """The same for MariaDB (see connect.debezium_mariadb). Makes Debezium's own tables where they are missing."""
        self.mariadb_sql(*connect.mariadb_debezium_tables(tables[0].partition(".")[0]))
        config = connect.debezium_mariadb(
            self.mariadb,
            prefix,
            tables,
            bootstrap=self.bootstrap,
            server_id=server_id,
            single_log=single_log,
            schemas=schemas,
            partitions=partitions,
        )
        if self.exactly_once_source:
            config["exactly.once.support"] = "required"
        return config | extra

    def mariadb_sql(self, *statements: str) -> None:
        """Run statements on MariaDB, each committed by itself."""
        mariadb.execute(self.mariadb, statements)

    # -- inside ----------------------------------------------------------------------------------------------------

    @property
    def _postgres_data(self) -> Path:
        return self.home / "data" / "postgres"

    @property
    def _mariadb_data(self) -> Path:
        return self.home / "data" / "mariadb"

    def _refuse_second(self) -> None:
        running = Stack.attach(self.home)
        if running is not None and any(running.alive().values()):
            raise StackError(f"a stack runs already in {self.home}; stop it, or use another directory")

    def _sweep(self) -> None:
        """Remove what a neighbour left behind whose owner was killed; its logs stay."""
        for record in self.home.parent.glob("*/stack.json"):
            neighbour = Stack.attach(record.parent)
            if neighbour is not None and neighbour.home != self.home and neighbour.orphaned():
                neighbour.stop(wipe=True)

    def _choose_ports(self) -> None:
        """Those of the last time where they are still free."""
        record = self.home / "stack.json"
        if not self._ports and record.exists():
            self._ports = json.loads(record.read_text())["ports"]
        if set(self._ports) != set(PORT_NAMES) or not all(port_free(port) for port in self._ports.values()):
            self._ports = dict(zip(PORT_NAMES, free_ports(len(PORT_NAMES)), strict=True))

    def _start_all(self) -> None:
        """Preparation of both data directories side by side; Connect's JVM warms up while Kafka starts."""
        preparing = [start(command, detached=False) for command in self._preparations()]
        self.progress("starting " + ", ".join(self.services))
        for server in preparing:
            finish(server)
        for service in self.services:
            self._launch(service)
        for service in self.services:
            self._wait(service)

    def _launch(self, service: str) -> None:
        self._servers[service] = start(self._command(service), detached=self._detached)
        self._save()

    def _wait(self, service: str) -> None:
        answers: dict[str, Callable[[], bool]] = {
            "postgres": self._postgres_answers,
            "kafka": self._kafka_answers,
            "connect": lambda: connect.answers(self.connect_url),
            "mariadb": lambda: mariadb.answers(self.mariadb),
            "registry": lambda: registry.answers(self.registry_url),
        }
        wait_for_answer(self._servers[service], answers[service], START_SECONDS)
        if service == "postgres":
            self._prepare_database()
        if service == "mariadb":
            self.mariadb_sql(f"CREATE DATABASE IF NOT EXISTS {DATABASE}")
        self.progress(f"{service} answers on port {self._ports[service]}")

    def _preparations(self) -> list[Command]:
        commands = []
        if "postgres" in self.services and not (open_place(self._postgres_data) / "PG_VERSION").exists():
            place = _owned_place(self._postgres_data)
            initdb = ["-D", str(place), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
            commands.append(self._postgres_command("initdb", "initdb", initdb))
        if "mariadb" in self.services and not (open_place(self._mariadb_data) / "mysql").exists():
            place = _owned_place(self._mariadb_data)
            commands.append(self._mariadb_command("mariadb-install-db", mariadb.preparation(place)))
        if "kafka" in self.services and not (self.home / "data" / "kafka" / "meta.properties").exists():
            identity = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            config = str(self.home / "kafka.properties")
            # The tool's option parser takes an id with a leading hyphen for an option, unless it is joined by "=".
            arguments = ["kafka.tools.StorageTool", "format", f"--cluster-id={identity}", "-c", config]
            commands.append(self._java_command("format", ("-Xmx128m",), arguments))
        return commands

    def _command(self, service: str) -> Command:
        if service == "postgres":
            place = open_place(self._postgres_data)
            settings = str(self.home / "postgresql.conf")
            return self._postgres_command(
                "postgres", "postgres", ["-D", str(place), *configs.postgres_options(Path(settings))]
            )
        if service == "mariadb":
            return self._mariadb_command(
                "mariadb", mariadb.server(open_place(self._mariadb_data), HOST, self._ports["mariadb"])
            )
        if service == "registry":
            ports = self._ports["registry"], self._ports["registry_management"]
            command = registry.server(self.dist.registry_java, JVM, self.dist.registry, HOST, *ports)
            return Command(service, command, self.log_file(service), self.home)
        config = str(self.home / f"{service}.properties")
        main = {"kafka": "kafka.Kafka", "connect": "org.apache.kafka.connect.cli.ConnectDistributed"}[service]
        return self._java_command(service, HEAP[service], [main, config])

    def _java_command(self, name: str, heap: Sequence[str], arguments: Sequence[str]) -> Command:
        logging = f"-Dlog4j2.configurationFile={self.dist.logging}"
        jvm = ["java", *JVM, *heap, logging, "-cp", f"{self.dist.libs}/*"]
        return Command(name, [*jvm, *arguments], self.log_file(name), self.home)

    def _postgres_command(self, name: str, program: str, arguments: Sequence[str]) -> Command:
        return Command(
            name,
            [str(self.dist.postgres / "bin" / program), *arguments],
            self.log_file(name),
            Path("/"),
            server_account(),
            environment=DATABASE_ENVIRONMENT,
            # the server's immediate shutdown, which takes its children along
            death_signal=signal.SIGQUIT if program == "postgres" else signal.SIGKILL,
            stop_signal=signal.SIGINT,  # its fast shutdown, which does not wait for clients
        )

    def _mariadb_command(self, name: str, arguments: Sequence[str]) -> Command:
        log = self.log_file(name)
        return Command(name, arguments, log, Path("/"), server_account(), environment=DATABASE_ENVIRONMENT)

    def _postgres_answers(self) -> bool:
        ready = [str(self.dist.postgres / "bin" / "pg_isready"), "-q", "-h", HOST, "-U", "postgres"]
        ready += ["-d", "postgres", "-p", str(self._ports["postgres"])]
        return subprocess.run(ready, check=False).returncode == 0

    def _kafka_answers(self) -> bool:
        # Must be kept in a name until the answer is there; log_level 0 hides refused connections while it starts.
        client = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0, "socket.timeout.ms": 2000})
        with contextlib.suppress(KafkaException):
            return bool(client.list_topics(timeout=2).brokers)
        return False

    def _prepare_database(self) -> None:
        if self._sql(f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'", database="postgres") != "1":  # noqa: S608 - our own name
            self._sql(f"CREATE DATABASE {DATABASE}", database="postgres")
            self._sql(connect.DEBEZIUM_TABLES)

    def _sql(self, statement: str, *, database: str = DATABASE) -> str:
        """Run SQL as the owner of the database; the answer as psql prints it without decoration."""
        psql = [str(self.dist.postgres / "bin" / "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]
        where = ["-h", HOST, "-p", str(self._ports["postgres"]), "-U", "postgres", "-d", database, "-c", statement]
        answer = subprocess.run([*psql, *where], capture_output=True, text=True, check=False)
        if answer.returncode != 0:
            raise StackError(f"{statement}: {answer.stderr.strip()}")
        return answer.stdout.strip()

    def _save(self) -> None:
        """Say in stack.json what runs."""
        processes = {name: [server.process.pid, server.process.started] for name, server in self._servers.items()}
        record: dict[str, Any] = {
            "services": self.services,
            "exactly_once": self.exactly_once_source,
            "ports": self._ports,
            "detached": self._detached,
            "owner": [self._owner.pid, self._owner.started],
            "processes": processes,
        }
        if self.home.is_dir():
            whole = self.home / f"stack.json.{os.getpid()}"
            whole.write_text(json.dumps(record, indent=2) + "\n")
            whole.replace(self.home / "stack.json")  # a reader sees the old one or the new one


def _owned_place(data: Path) -> Path:
    """The directory for a database server's data, owned by the account that it runs as."""
    place = make_place(data)
    account = server_account()
    if account is not None:
        os.chown(place, account.user, account.group)
    return place
