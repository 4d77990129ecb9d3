"""MySQL and MariaDB: information_schema, which shows what the user may see.

Tables are named ``database.table``, types are COLUMN_TYPE (``int(10) unsigned``, ``enum('N','P')``). Views and sequences are
left out. Sources: MySQL Reference Manual, "INFORMATION_SCHEMA Tables"; MariaDB's page of the same name. The two differ in
COLUMN_DEFAULT: MariaDB (10.2 or later) gives an SQL expression, MySQL the bare value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import pymysql

from bridge.errors import ConfigInvalid, Fatal
from bridge.introspect.comments import pii
from bridge.mapping.catalog import Catalog, CatalogColumn, CatalogTable, ForeignKey
from bridge.model import Database, Diagnostic

CONNECT_SECONDS: Final = 10
SYSTEM: Final = ("information_schema", "mysql", "performance_schema", "sys")
_TLS: Final = {"ssl_ca": "ca", "ssl_cert": "cert", "ssl_key": "key"}
_NUMBER: Final = re.compile(r"-?[0-9.]+(?:e[-+]?[0-9]+)?|b'[01]*'|0x[0-9a-f]*", re.IGNORECASE)
_NOW: Final = re.compile(r"current_timestamp(?:\(\d*\))?", re.IGNORECASE)

_TABLES: Final = """
SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_COMMENT FROM information_schema.TABLES
WHERE TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED') AND TABLE_SCHEMA {schemas}
"""
_COLUMNS: Final = """
SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE, COLUMN_DEFAULT, EXTRA, GENERATION_EXPRESSION,
       COLUMN_COMMENT
FROM information_schema.COLUMNS WHERE TABLE_SCHEMA {schemas} ORDER BY TABLE_SCHEMA, TABLE_NAME, ORDINAL_POSITION
"""
_KEYS: Final = """
SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME FROM information_schema.STATISTICS
WHERE INDEX_NAME = 'PRIMARY' AND TABLE_SCHEMA {schemas} ORDER BY TABLE_SCHEMA, TABLE_NAME, SEQ_IN_INDEX
"""
_FOREIGN_KEYS: Final = """
SELECT k.TABLE_SCHEMA, k.TABLE_NAME, k.CONSTRAINT_NAME, k.COLUMN_NAME, k.REFERENCED_TABLE_SCHEMA, k.REFERENCED_TABLE_NAME,
       k.REFERENCED_COLUMN_NAME, r.DELETE_RULE, r.UPDATE_RULE
FROM information_schema.KEY_COLUMN_USAGE k
JOIN information_schema.REFERENTIAL_CONSTRAINTS r
  ON r.CONSTRAINT_SCHEMA = k.CONSTRAINT_SCHEMA AND r.CONSTRAINT_NAME = k.CONSTRAINT_NAME AND r.TABLE_NAME = k.TABLE_NAME
WHERE k.REFERENCED_TABLE_NAME IS NOT NULL AND k.TABLE_SCHEMA {schemas}
ORDER BY k.TABLE_SCHEMA, k.TABLE_NAME, k.CONSTRAINT_NAME, k.ORDINAL_POSITION
"""
_CHANGES: Final = {"CASCADE": "cascade", "SET NULL": "set null"}  # RESTRICT, which is the default, changes nothing
Query = Callable[[str], Sequence[tuple[Any, ...]]]


def read(database: Database, covered: Callable[[str], bool]) -> Catalog:
    """The catalog of the tables that are ``covered``. Raises ConfigInvalid (an unknown option), Fatal."""
    try:
        with connect(database) as connection, connection.cursor() as cursor:
            return _read(cursor, database, covered)
    except pymysql.err.MySQLError as error:
        raise unreadable(database, error) from None


def connect(database: Database) -> pymysql.Connection[Any]:
    """A connection that reads, in one state of the database. Raises ConfigInvalid (an unknown option), MySQLError."""
    connection = pymysql.connect(**_arguments(database))
    with connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("START TRANSACTION READ ONLY")
    return connection


def unreadable(database: Database, error: pymysql.err.MySQLError) -> Fatal:
    """What a person needs to know of a database that could not be read."""
    where = f"{database.host or 'localhost'}{f':{database.port}' if database.port else ''}"
    return Fatal(
        f"{database.connector} on {where} cannot be read: {error.args[-1] if error.args else type(error).__name__}",
        "look at host, port, user, password and TLS; the user needs a right, such as SELECT, on the tables to see them",
        code="B531",
    )


def _arguments(database: Database) -> dict[str, Any]:
    unknown = [name for name in database.options if name not in _TLS]
    if unknown:
        raise ConfigInvalid(
            [
                Diagnostic(
                    "C011",
                    f"there is no option '{name[:40]}' for {database.connector}",
                    hint=f"there are {', '.join(_TLS)}",
                )
                for name in unknown
            ]
        )
    given: dict[str, Any] = {
        "host": database.host,
        "port": database.port,
        "user": database.user,
        "password": database.password,
        "database": database.database,
    }
    if database.options:
        files = {_TLS[name]: file for name, file in database.options.items()}
        given["ssl"] = {**files, "check_hostname": True, "verify_mode": True}
    defaults = {"charset": "utf8mb4", "connect_timeout": CONNECT_SECONDS, "program_name": "bridge introspect"}
    return defaults | {name: value for name, value in given.items() if value}


def _read(cursor: pymysql.cursors.Cursor, database: Database, covered: Callable[[str], bool]) -> Catalog:
    cursor.execute("SELECT VERSION()")
    (version,) = cursor.fetchone() or ("",)
    mariadb = "mariadb" in str(version).lower()
    chosen = database.schemas or ((database.database,) if database.database else ())
    schemas = chosen or SYSTEM

    def query(text: str) -> Sequence[tuple[Any, ...]]:
        places = ", ".join(["%s"] * len(schemas))
        cursor.execute(text.format(schemas=f"{'' if chosen else 'NOT '}IN ({places})"), schemas)
        return cursor.fetchall()

    tables = {f"{schema}.{table}": comment for schema, table, comment in query(_TABLES)}
    columns: dict[str, dict[str, CatalogColumn]] = {name: {} for name in tables if covered(name)}
    keys: dict[str, list[str]] = {name: [] for name in columns}
    for schema, table, name, *about in query(_COLUMNS):
        if f"{schema}.{table}" in columns:
            columns[f"{schema}.{table}"][name] = _column(*about, mariadb=mariadb)
    for schema, table, name in query(_KEYS):
        if f"{schema}.{table}" in keys:
            keys[f"{schema}.{table}"].append(name)
    foreign_keys = _foreign_keys(query)
    found = {
        name: CatalogTable(columns[name], tuple(keys[name]), foreign_keys.get(name, ()), "", tables[name] or "")
        for name in columns
    }
    return Catalog(found, "mariadb" if mariadb else "mysql")


def _column(
    sql: str,
    nullable: str,
    default: str | None,
    extra: str,
    generated: str | None,
    comment: str | None,
    *,
    mariadb: bool,
) -> CatalogColumn:
    return CatalogColumn(
        sql, nullable == "YES", _default(sql, default, extra, generated, mariadb=mariadb), comment or "", pii(comment)
    )


def _default(sql: str, default: str | None, extra: str, generated: str | None, *, mariadb: bool) -> str | None:
    """The default as SQL: an expression, ``auto_increment``, or what the column is generated from."""
    what = extra.lower()
    if generated:
        return f"generated always as ({generated}) {'virtual' if 'virtual' in what else 'stored'}"
    if "auto_increment" in what:
        return "auto_increment"
    if default is None or (mariadb and default == "NULL"):
        text = None
    elif mariadb or "default_generated" in what or _is_expression(sql, default):
        text = default
    else:
        text = "'" + default.replace("'", "''") + "'"
    _, update, then = what.partition("on update ")
    return " ".join(filter(None, (text, f"on update {then}"))) if update else text


def _is_expression(sql: str, default: str) -> bool:
    """MySQL's bare value of a number, a bit or the present moment needs no quotes."""
    text = sql.startswith(("char", "varchar", "enum", "set", "binary", "varbinary"))
    return not text and bool(_NUMBER.fullmatch(default) or _NOW.fullmatch(default))


def _foreign_keys(query: Query) -> dict[str, tuple[ForeignKey, ...]]:
    parts: dict[tuple[str, str], list[tuple[str, str, str, str, str]]] = {}
    for schema, table, constraint, column, other_schema, other, to, delete, update in query(_FOREIGN_KEYS):
        place = (f"{schema}.{table}", constraint)
        rules = delete.lower(), _CHANGES.get(update, "no action")
        parts.setdefault(place, []).append((column, f"{other_schema}.{other}", to, *rules))
    found: dict[str, list[ForeignKey]] = {}
    for (table, _), rows in parts.items():
        columns, references, to, deletes, updates = zip(*rows, strict=True)
        found.setdefault(table, []).append(ForeignKey(columns, references[0], to, deletes[0], updates[0]))
    return {table: tuple(sorted(keys, key=lambda key: (key.columns, key.references))) for table, keys in found.items()}
