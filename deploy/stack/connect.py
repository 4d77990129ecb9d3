"""Kafka Connect's REST interface, and the Debezium configuration that the bridge wants."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

from deploy.stack.process import StackError, wait_until

SIGNAL_TABLE = "public.debezium_signal"
HEARTBEAT_TABLE = "public.debezium_heartbeat"
HEARTBEAT_QUERY = (
    f"INSERT INTO {HEARTBEAT_TABLE} (id, beat) VALUES (1, now()) ON CONFLICT (id) DO UPDATE SET beat = EXCLUDED.beat"  # noqa: S608
)
# Both tables must be there when the connector starts; every database of a stack gets them.
DEBEZIUM_TABLES = f"""
CREATE TABLE IF NOT EXISTS {SIGNAL_TABLE} (id varchar(64) PRIMARY KEY, type varchar(32) NOT NULL, data varchar(2048));
CREATE TABLE IF NOT EXISTS {HEARTBEAT_TABLE} (id int PRIMARY KEY, beat timestamptz NOT NULL);
"""
REQUEST_SECONDS = 90
# A proxy from the environment must not get requests for this machine.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def request(url: str, method: str = "GET", body: Mapping[str, str] | None = None) -> Any:
    """One call of the REST interface: the decoded answer, None where it is empty."""
    data = None if body is None else json.dumps(dict(body)).encode()
    headers = {"Content-Type": "application/json"}
    call = urllib.request.Request(url, method=method, data=data, headers=headers)  # noqa: S310 - the stack's own URL
    try:
        with _DIRECT.open(call, timeout=REQUEST_SECONDS) as answer:
            text = answer.read()
    except urllib.error.HTTPError as error:
        raise StackError(f"{method} {url}: {error.code} {error.read().decode(errors='replace')}") from None
    except OSError as error:
        raise StackError(f"{method} {url}: {error}") from None
    return json.loads(text) if text else None


def answers(url: str) -> bool:
    """Whether the worker at `url` takes part in its group and can serve requests."""
    try:
        request(f"{url}/health")
    except StackError:
        return False
    return True


def wait_running(url: str, name: str, timeout: float) -> None:
    """Wait until the connector and its task run; raise with the trace when one failed."""

    def runs() -> bool:
        try:
            status = request(f"{url}/connectors/{name}/status")
        except StackError:  # not yet there, or the worker rebalances
            return False
        parts = [status["connector"], *status["tasks"]]
        for part in parts:
            if part["state"] == "FAILED":
                raise StackError(f"connector {name} failed: {part.get('trace', '')}")
        return len(parts) > 1 and all(part["state"] == "RUNNING" for part in parts)

    if not wait_until(runs, timeout):
        raise StackError(f"connector {name} does not run after {timeout:.0f} s")


def put_connector(url: str, name: str, config: Mapping[str, str], timeout: float) -> None:
    """Create a connector or change its configuration."""
    last = ""

    def accepted() -> bool:
        nonlocal last
        try:
            request(f"{url}/connectors/{name}/config", "PUT", config)
        except StackError as error:
            last = str(error)
            if ": 409 " in last:  # a rebalance is in progress
                return False
            raise
        return True

    if not wait_until(accepted, timeout):
        raise StackError(f"connector {name} was not accepted within {timeout:.0f} s: {last}")


def delete_connector(url: str, name: str) -> dict[str, str]:
    """Stop a connector, forget its source offsets (a namesake would resume from them), delete it; its config."""
    config: dict[str, str] = request(f"{url}/connectors/{name}/config")
    request(f"{url}/connectors/{name}/stop", "PUT")

    def stopped() -> bool:
        return bool(request(f"{url}/connectors/{name}/status")["connector"]["state"] == "STOPPED")

    last = ""

    def forgotten() -> bool:
        nonlocal last
        try:
            request(f"{url}/connectors/{name}/offsets", "DELETE")
        except StackError as error:  # its task is still ending
            last = str(error)
            return False
        return True

    if not wait_until(stopped, 30) or not wait_until(forgotten, 30):
        raise StackError(f"connector {name} could not be stopped: {last}")
    request(f"{url}/connectors/{name}", "DELETE")
    return config


def debezium_postgres(
    postgres: Mapping[str, str | int],
    prefix: str,
    tables: Sequence[str],
    *,
    single_log: bool,
    schemas: bool,
    partitions: int,
) -> dict[str, str]:
    """The connector as the bridge wants it.

    tables: `schema.table`, without the signal and heartbeat tables, which are always captured.
    single_log: one topic `PREFIX.log` for rows and markers alike, in commit order.
    partitions: of each table's topic; the transaction topic and the log have one.
    """
    config = {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "tasks.max": "1",
        "database.hostname": str(postgres["host"]),
        "database.port": str(postgres["port"]),
        "database.user": str(postgres["user"]),
        "database.password": str(postgres["password"]),
        "database.dbname": str(postgres["dbname"]),
        "topic.prefix": prefix,
        "plugin.name": "pgoutput",
        "slot.name": _identifier(prefix, "slot"),
        "publication.name": _identifier(prefix, "publication"),
        # filtered, or tables that are not read would count in END; a table that is added later needs a new publication
        "publication.autocreate.mode": "filtered",
        "table.include.list": ",".join([*tables, SIGNAL_TABLE, HEARTBEAT_TABLE]),
        "snapshot.mode": "initial",
        "provide.transaction.metadata": "true",
        "signal.data.collection": SIGNAL_TABLE,
        # Keeps an idle database ticking: time comes from the log alone, and the slot must move on.
        "heartbeat.interval.ms": "5000",
        "heartbeat.action.query": HEARTBEAT_QUERY,
        "retriable.restart.connector.wait.ms": "1000",
        "tombstones.on.delete": "true",
        "skipped.operations": "none",  # or truncates are dropped
        **_json_converters(schemas=schemas),
        **_topic_creation(prefix, partitions),
    }
    return config | (_single_log(prefix) if single_log else {})


def debezium_mariadb(
    mariadb: Mapping[str, str | int],
    prefix: str,
    tables: Sequence[str],
    *,
    bootstrap: str,
    server_id: int,
    single_log: bool,
    schemas: bool,
    partitions: int,
) -> dict[str, str]:
    """The same for MariaDB. tables: `database.table`. server_id: another one for each connector of a server."""
    database = tables[0].partition(".")[0]
    signal, heartbeat = f"{database}.debezium_signal", f"{database}.debezium_heartbeat"
    config = {
        "connector.class": "io.debezium.connector.mariadb.MariaDbConnector",
        "tasks.max": "1",
        "database.hostname": str(mariadb["host"]),
        "database.port": str(mariadb["port"]),
        "database.user": str(mariadb["user"]),
        "database.password": str(mariadb.get("password", "")),
        "database.server.id": str(server_id),
        "topic.prefix": prefix,
        "database.include.list": database,
        "table.include.list": ",".join([*tables, signal, heartbeat]),
        "schema.history.internal.kafka.bootstrap.servers": bootstrap,
        "schema.history.internal.kafka.topic": f"{prefix}.schema-history",
        "include.schema.changes": "true",
        "snapshot.mode": "initial",
        "provide.transaction.metadata": "true",
        "signal.data.collection": signal,
        "heartbeat.interval.ms": "5000",
        "heartbeat.action.query": f"REPLACE INTO {heartbeat} (id, beat) VALUES (1, now())",  # noqa: S608 - our own name
        "retriable.restart.connector.wait.ms": "1000",
        "tombstones.on.delete": "true",
        "skipped.operations": "none",
        **_json_converters(schemas=schemas),
        **_topic_creation(prefix, partitions),
    }
    return config | (_single_log(prefix) if single_log else {})


def mariadb_debezium_tables(database: str) -> list[str]:
    """SQL for Debezium's own tables: signals, and the heartbeat that keeps an idle database ticking."""
    columns = {
        "debezium_signal": "id varchar(64) PRIMARY KEY, type varchar(32) NOT NULL, data varchar(2048)",
        "debezium_heartbeat": "id int PRIMARY KEY, beat timestamp NOT NULL",
    }
    return [f"CREATE TABLE IF NOT EXISTS {database}.{table} ({those})" for table, those in columns.items()]


def _single_log(prefix: str) -> dict[str, str]:
    return {
        "transforms": "log",
        "transforms.log.type": "org.apache.kafka.connect.transforms.RegexRouter",
        "transforms.log.regex": re.escape(prefix) + r"\..*",
        "transforms.log.replacement": f"{prefix}.log",
    }


def _identifier(prefix: str, what: str) -> str:
    return re.sub(r"[^a-z0-9_]", "_", prefix.lower()) + "_" + what


def _json_converters(*, schemas: bool) -> dict[str, str]:
    config: dict[str, str] = {}
    for part in ("key", "value"):
        config |= {
            f"{part}.converter": "org.apache.kafka.connect.json.JsonConverter",
            f"{part}.converter.schemas.enable": str(schemas).lower(),
            # or an explicit NULL in a column with a DEFAULT arrives as that default
            f"{part}.converter.replace.null.with.default": "false",
        }
    return config


def _topic_creation(prefix: str, partitions: int) -> dict[str, str]:
    name = re.escape(prefix)
    return {
        "topic.creation.default.partitions": str(partitions),
        "topic.creation.default.replication.factor": "1",
        "topic.creation.groups": "ordered",
        # these have an order to keep, therefore one partition
        "topic.creation.ordered.include": rf"{name}|{name}\.(transaction|message|log)|__debezium-heartbeat\.{name}",
        "topic.creation.ordered.partitions": "1",
        "topic.creation.ordered.replication.factor": "1",
    }
