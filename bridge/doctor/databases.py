"""The source's database: its catalog as ``bridge introspect`` reads it, and the settings that capture rests on."""

from __future__ import annotations

from typing import Any, Final

import psycopg
import pymysql

from bridge.doctor.facts import MariaDb, PostgreSql, Publication, PublishedTable, Slot
from bridge.introspect import database as introspected
from bridge.introspect import mysql, postgresql
from bridge.model import Database

# As JSON, since what a view has depends on the server's version.
_SLOTS: Final = """
SELECT slot_name, active, coalesce(to_jsonb(s) ->> 'wal_status', ''), pg_wal_lsn_diff(
  CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END, restart_lsn)
FROM pg_replication_slots s WHERE slot_type = 'logical'
"""
_SETTINGS: Final = "SELECT name, setting, unit FROM pg_settings WHERE name IN ('wal_level', 'max_slot_wal_keep_size')"
_PUBLICATIONS: Final = "SELECT pubname, pubinsert, pubupdate, pubdelete, pubtruncate FROM pg_publication"
_PUBLISHED: Final = "SELECT pubname, schemaname || '.' || tablename, to_jsonb(p) FROM pg_publication_tables p"
_OPERATIONS: Final = ("insert", "update", "delete", "truncate")
_VARIABLES: Final = (
    *("log_bin", "binlog_format", "binlog_row_image", "binlog_row_metadata", "log_bin_compress", "sql_mode"),
    *("gtid_strict_mode", "expire_logs_days", "binlog_expire_logs_seconds"),
)


def read(database: Database) -> PostgreSql | MariaDb:
    """Raises Fatal, ConfigInvalid: not reached, refused, or empty."""
    return _postgresql(database) if database.connector == "postgresql" else _mariadb(database)


def _postgresql(database: Database) -> PostgreSql:
    catalog = introspected.read(database, lambda _: True)
    try:
        with postgresql.connect(database) as connection:
            settings = {name: f"{value}{unit or ''}" for name, value, unit in connection.execute(_SETTINGS)}
            slots = {
                name: Slot(active, status, None if lag is None else int(lag))
                for name, active, status, lag in connection.execute(_SLOTS)
            }
            publications = {
                name: Publication({}, tuple(one for one, is_on in zip(_OPERATIONS, flags, strict=True) if is_on))
                for name, *flags in connection.execute(_PUBLICATIONS)
            }
            for name, table, about in connection.execute(_PUBLISHED):
                publications[name].tables[table] = _published(about)
    except psycopg.Error as error:
        raise postgresql.unreadable(database, error) from None
    return PostgreSql(catalog, settings, slots, publications)


def _published(about: dict[str, Any]) -> PublishedTable:
    """A row of pg_publication_tables; attnames and rowfilter are there since PostgreSQL 15."""
    columns = about.get("attnames")
    return PublishedTable(None if columns is None else tuple(columns), about.get("rowfilter") is not None)


def _mariadb(database: Database) -> MariaDb:
    catalog = introspected.read(database, lambda _: True)
    try:
        with mysql.connect(database) as connection, connection.cursor() as cursor:
            cursor.execute("SHOW GLOBAL VARIABLES")
            settings = {str(name): str(value) for name, value in cursor.fetchall() if name in _VARIABLES}
    except pymysql.err.MySQLError as error:
        raise mysql.unreadable(database, error) from None
    return MariaDb(catalog, settings)
