"""A sample from the database itself: of each table its first and its last rows by primary key, so many of each.

Values come in the canonical form that ``bridge.core.wire`` gives to rows of Debezium. The user needs the right to SELECT;
a table without it is passed over.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final

import psycopg
import pymysql
from psycopg import sql

from bridge.introspect import mysql, postgresql
from bridge.mapping.catalog import Catalog, CatalogTable
from bridge.model import Database
from bridge.scaffold.sample import Image, Sample, TableSample

ROWS: Final = 1000  # of each end of a table
Ends = Iterator[tuple[str, list[Image]]]


def from_database(database: Database, catalog: Catalog, most: int = ROWS) -> Sample:
    """The rows of the catalog's tables that have a primary key. Raises ConfigInvalid, Fatal."""
    read: Callable[[Database, Catalog, int], Ends] = _postgresql if database.connector == "postgresql" else _mysql
    found: dict[str, TableSample] = {}
    for name, ends in read(database, catalog, most):
        key = catalog.tables[name].key or ()
        rows = {tuple(repr(row.get(column)) for column in key): row for row in ends}
        found[name] = TableSample(list(rows.values()), key, whole=len(rows) < most)
    return found


def _tables(catalog: Catalog) -> list[tuple[str, CatalogTable]]:
    return [(name, table) for name, table in sorted(catalog.tables.items()) if table.key]


# -- PostgreSQL --------------------------------------------------------------------------------------------------------


def _postgresql(database: Database, catalog: Catalog, most: int) -> Ends:
    try:
        with postgresql.connect(database) as connection:
            for name, table in _tables(catalog):
                try:
                    with connection.transaction():
                        yield (
                            name,
                            [row for end in ("ASC", "DESC") for row in _json_rows(connection, name, table, end, most)],
                        )
                except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedTable):
                    continue
    except psycopg.Error as error:
        raise postgresql.unreadable(database, error) from None


def _json_rows(
    connection: psycopg.Connection[Any], name: str, table: CatalogTable, end: str, most: int
) -> Iterator[Image]:
    """PostgreSQL writes each row as JSON itself: days and moments as ISO text, numbers with all their digits."""
    schema, _, short = name.partition(".")
    order = sql.SQL(", ").join(sql.SQL(f"{{}} {end}").format(sql.Identifier(column)) for column in table.key or ())
    query = sql.SQL("SELECT to_jsonb(t)::text FROM (SELECT * FROM {} ORDER BY {} LIMIT {}) t").format(
        sql.Identifier(schema, short), order, sql.Literal(most)
    )
    for (text,) in connection.execute(query):
        row: Image = json.loads(text, parse_float=str)
        yield {column: value for column, value in row.items() if column in table.columns}


# -- MySQL and MariaDB -------------------------------------------------------------------------------------------------


def _mysql(database: Database, catalog: Catalog, most: int) -> Ends:
    try:
        with mysql.connect(database) as connection, connection.cursor() as cursor:
            for name, table in _tables(catalog):
                try:
                    yield name, [row for end in ("ASC", "DESC") for row in _rows(cursor, name, table, end, most)]
                except (pymysql.err.OperationalError, pymysql.err.ProgrammingError):
                    continue
    except pymysql.err.MySQLError as error:
        raise mysql.unreadable(database, error) from None


def _rows(cursor: pymysql.cursors.Cursor, name: str, table: CatalogTable, end: str, most: int) -> Iterator[Image]:
    columns = [*table.columns]
    order = ", ".join(f"{_quoted(column)} {end}" for column in table.key or ())
    chosen = ", ".join(map(_quoted, columns))
    schema, _, short = name.partition(".")
    query = f"SELECT {chosen} FROM {_quoted(schema)}.{_quoted(short)} ORDER BY {order} LIMIT {int(most)}"  # noqa: S608 - names are quoted
    cursor.execute(query)
    for values in cursor.fetchall():
        yield {column: _canonical(value) for column, value in zip(columns, values, strict=True)}


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _canonical(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        aware = value.tzinfo is not None
        moment = value.astimezone(UTC).replace(tzinfo=None) if aware else value
        return moment.isoformat(timespec="microseconds") + ("Z" if aware else "")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        return b64encode(value).decode()
    return value
