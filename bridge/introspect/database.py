"""A database of the config or of a URL, and its catalog."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from bridge.errors import ConfigInvalid, Fatal
from bridge.introspect import mysql, postgresql
from bridge.mapping.catalog import Catalog
from bridge.model import Database, Diagnostic

PASSWORD: Final = "BRIDGE_DATABASE_PASSWORD"  # noqa: S105 - the name of an environment variable
SCHEMES: Final = {"postgresql": "postgresql", "postgres": "postgresql", "mysql": "mysql", "mariadb": "mariadb"}
READERS: Final = {"postgresql": postgresql.read, "mysql": mysql.read, "mariadb": mysql.read}


def of_url(url: str) -> Database:
    """``postgresql://user@host:port/database?sslmode=require``, ``mysql://…`` or ``mariadb://…``.

    The password comes from the environment: a command line is seen by everybody on the machine. Raises ConfigInvalid.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _bad("the URL cannot be read", "postgresql://user@host:5432/database") from None
    connector = SCHEMES.get(parts.scheme)
    if connector is None:
        raise _bad(f"there is no database '{parts.scheme[:20]}'", f"the URL begins with {', '.join(SCHEMES)}, then ://")
    if parts.password is not None:
        raise _bad("the URL holds a password, which everybody on this machine can see", f"put it into {PASSWORD}")
    name = unquote(parts.path.removeprefix("/"))
    if connector == "postgresql" and not name:
        raise _bad("the URL names no database", "postgresql://user@host:5432/database")
    return Database(
        connector,
        unquote(parts.hostname or ""),
        port,
        unquote(parts.username or ""),
        os.environ.get(PASSWORD, ""),
        name,
        options=dict(parse_qsl(parts.query)),
    )


def _bad(message: str, hint: str) -> ConfigInvalid:
    return ConfigInvalid([Diagnostic("C011", message, "--url", hint=hint)])


def read(database: Database, covered: Callable[[str], bool]) -> Catalog:
    """The catalog of the tables that are ``covered``, in one read-only transaction. Raises ConfigInvalid, Fatal."""
    found = READERS[database.connector](database, covered)
    if not found.tables:
        raise Fatal(
            f"the database {database.database!r} shows no table that is meant",
            "look at schemas, at the globs (schema.table, as in 'public.t_*') and at the rights of the user",
            code="B532",
        )
    return found
