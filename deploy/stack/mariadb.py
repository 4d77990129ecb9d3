"""MariaDB from Debian: the packages that carry the binaries alone, which make no service and no data of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pymysql

from deploy.stack import debian

PACKAGES = ("mariadb-server-core", "mariadb-client-core")
PROGRAMS = ("mariadbd", "mariadb-install-db")


def install(log: Path, progress: Callable[[str], None]) -> None:
    """Install the packages where a program is missing, which only root can."""
    debian.install("MariaDB", PROGRAMS, PACKAGES, log, progress)


def preparation(data: Path) -> list[str]:
    """Fill an empty data directory; the administrator gets no password, as only this machine reaches the server."""
    return [
        *(debian.program("mariadb-install-db"), "--no-defaults", f"--datadir={data}"),
        *("--auth-root-authentication-method=normal", "--skip-test-db"),
    ]


def server(data: Path, host: str, port: int) -> list[str]:
    """The server, with row-based binary logs as Debezium wants them. The data dies with the stack: no fsync."""
    return [
        *(debian.program("mariadbd"), "--no-defaults", f"--datadir={data}", f"--bind-address={host}", f"--port={port}"),
        *(f"--socket={data / 'socket'}", f"--pid-file={data / 'pid'}", "--server-id=1", "--log-bin=binlog"),
        *("--binlog-format=ROW", "--binlog-row-image=FULL", "--binlog-row-metadata=FULL", "--gtid-strict-mode=ON"),
        *("--character-set-server=utf8mb4", "--default-time-zone=+00:00", "--performance-schema=OFF"),
        *("--innodb-buffer-pool-size=64M", "--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync"),
    ]


def connection(host: str, port: int) -> dict[str, str | int]:
    return {"host": host, "port": port, "user": "root"}


def answers(where: Mapping[str, Any]) -> bool:
    """Whether the server takes connections."""
    try:
        pymysql.connect(**where, connect_timeout=2).close()
    except pymysql.err.OperationalError:
        return False
    return True


def execute(where: Mapping[str, Any], statements: Iterable[str]) -> None:
    """Run statements, each committed by itself."""
    with pymysql.connect(**where, autocommit=True) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
