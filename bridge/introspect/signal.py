"""Writes a signal for Debezium into the source's database, and counts the rows that it will bring."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from typing import Any

import psycopg
import pymysql

from bridge.errors import Fatal
from bridge.introspect import mysql, postgresql
from bridge.model import Database


def send(database: Database, table: str, identity: str, kind: str, data: str) -> None:
    """One row of the signal table, committed. Raises Fatal."""
    _execute(database, f"INSERT INTO {table} (id, type, data) VALUES (%s, %s, %s)", (identity, kind, data))  # noqa: S608 - the config's own name


def count(database: Database, tables: Iterable[str]) -> int:
    """How many rows these tables have now. Raises Fatal."""
    return sum(_execute(database, f"SELECT count(*) FROM {table}", ()) for table in tables)  # noqa: S608 - names that the database's own records gave


def _execute(database: Database, statement: str, values: tuple[str, ...]) -> int:
    try:
        with closing(_connect(database)) as connection:
            with connection.cursor() as cursor:
                cursor.execute(statement, values)
                found = cursor.fetchone() if statement.startswith("SELECT") else None
            connection.commit()
    except (psycopg.Error, pymysql.Error) as error:
        raise Fatal(
            f"the database refuses: {str(error).splitlines()[0]}",
            "the user of sources.*.database needs INSERT on the signal table and SELECT on the tables",
            code="B531",
        ) from error
    return int(found[0]) if found else 0


def _connect(database: Database) -> Any:
    """As for the catalog, but to write."""
    if database.connector != "postgresql":
        connection = mysql.connect(database)
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION TRANSACTION READ WRITE")
        return connection
    found = postgresql.connect(database)
    found.read_only = False
    return found
