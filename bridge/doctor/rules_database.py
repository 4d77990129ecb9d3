"""The database's own settings: PostgreSQL's slot and WAL, MariaDB's binary log."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from bridge.doctor.facts import Connector, Facts, Slot
from bridge.doctor.finding import Found, Severity

DEFAULT_SLOT: Final = "debezium"
MIB: Final = 1024 * 1024
LAG_BYTES: Final = 1024 * MIB
WEEK_SECONDS: Final = 7 * 24 * 60 * 60
UNLOGGED: Final = ("cascade", "set null", "set default")
_DATE: Final = re.compile(r"(date|datetime|timestamp)\b", re.IGNORECASE)


# -- PostgreSQL --------------------------------------------------------------------------------------------------------


def wal_level(facts: Facts) -> Iterator[Found]:
    level = "logical" if facts.postgresql is None else facts.postgresql.settings.get("wal_level", "logical")
    if level != "logical":
        mend = "ALTER SYSTEM SET wal_level = logical, then restart the server"
        yield Found(Severity.STOPS, "PostgreSQL: wal_level", f"it is {level}", mend)


def no_slot(facts: Facts) -> Iterator[Found]:
    for one in _captured(facts):
        name = _slot_name(one)
        if facts.postgresql is not None and name not in facts.postgresql.slots:
            mend = "start the connector, which makes it; if it ran before, changes since are lost: snapshot again"
            yield Found(Severity.LOSES, f"slot {name}", "it is not there", mend)


def slot_lost(facts: Facts) -> Iterator[Found]:
    for name, slot in _slots(facts):
        if slot.wal_status == "lost":
            mend = f"SELECT pg_drop_replication_slot('{name}'), then a new snapshot; a larger max_slot_wal_keep_size"
            yield Found(Severity.LOSES, f"slot {name}", "wal_status lost: WAL that it needs is gone", mend)
        elif slot.wal_status == "unreserved":
            mend = "start the connector now; ALTER SYSTEM SET max_slot_wal_keep_size larger"
            yield Found(
                Severity.HURTS, f"slot {name}", "wal_status unreserved: it is lost at the next checkpoint", mend
            )


def slot_inactive(facts: Facts) -> Iterator[Found]:
    for name, slot in _slots(facts):
        if not slot.active and slot.wal_status != "lost":
            mend = f"start its connector, or SELECT pg_drop_replication_slot('{name}') if it is not used any more"
            yield Found(Severity.HURTS, f"slot {name}", "nobody reads it", mend)


def slot_lag(facts: Facts) -> Iterator[Found]:
    keeps = _kept_bytes(facts)
    limit = LAG_BYTES if keeps is None else min(LAG_BYTES, keeps // 2)
    for name, slot in _slots(facts):
        if slot.lag_bytes is not None and slot.lag_bytes > limit and slot.wal_status != "lost":
            what = f"it is {slot.lag_bytes // MIB} MiB behind{'' if keeps is None else f' of {keeps // MIB} MiB that are kept'}"
            mend = "see that the connector runs and has heartbeats with heartbeat.action.query; a larger max_slot_wal_keep_size"
            yield Found(Severity.HURTS, f"slot {name}", what, mend)


def wal_unbounded(facts: Facts) -> Iterator[Found]:
    if facts.postgresql is not None and _kept_bytes(facts) is None:
        mend = "ALTER SYSTEM SET max_slot_wal_keep_size = '…', what the disk can spare, and an alarm on the slot's lag"
        yield Found(Severity.ADVICE, "PostgreSQL: max_slot_wal_keep_size", "there is no limit", mend)


def slot_dropped_on_stop(facts: Facts) -> Iterator[Found]:
    for one in _captured(facts):
        if one.flag("slot.drop.on.stop"):
            what = "changes made while the connector is stopped are lost"
            yield Found(Severity.LOSES, one.at("slot.drop.on.stop"), what, "slot.drop.on.stop=false")


def slot_not_advanced(facts: Facts) -> Iterator[Found]:
    for one in _captured(facts):
        if one["lsn.flush.mode"].lower() == "manual" or one["flush.lsn.source"].lower() == "false":
            what = "the slot never moves on by itself"
            yield Found(Severity.HURTS, one.at("lsn.flush.mode"), what, "lsn.flush.mode=connector")
        strategy = one["offset.mismatch.strategy"].lower()
        if strategy in ("trust_slot", "trust_greater_lsn"):
            what = f"{strategy} passes over changes where the slot is ahead of the connector's offset"
            mend = "offset.mismatch.strategy=no_validation"
            yield Found(Severity.LOSES, one.at("offset.mismatch.strategy"), what, mend)


def _captured(facts: Facts) -> list[Connector]:
    return [one for one in facts.ours if one.kind == "postgresql"]


def _slot_name(one: Connector) -> str:
    return one["slot.name"] or DEFAULT_SLOT


def _slots(facts: Facts) -> Iterator[tuple[str, Slot]]:
    """The slots of the source's connectors."""
    known = {} if facts.postgresql is None else facts.postgresql.slots
    for one in _captured(facts):
        if _slot_name(one) in known:
            yield _slot_name(one), known[_slot_name(one)]


def _kept_bytes(facts: Facts) -> int | None:
    """max_slot_wal_keep_size; None: no limit."""
    settings = {} if facts.postgresql is None else facts.postgresql.settings
    found = re.fullmatch(r"(\d+)(?:MB)?", settings.get("max_slot_wal_keep_size", "-1"))
    return None if found is None else int(found[1]) * MIB


# -- MariaDB -----------------------------------------------------------------------------------------------------------


def binlog_off(facts: Facts) -> Iterator[Found]:
    if _variable(facts, "log_bin", "ON") != "ON":
        yield Found(
            Severity.STOPS, "MariaDB: log_bin", "there is no binary log", "log_bin=binlog, then restart the server"
        )
    form = _variable(facts, "binlog_format", "ROW")
    if form != "ROW":
        yield Found(Severity.STOPS, "MariaDB: binlog_format", f"it is {form}", "SET GLOBAL binlog_format = 'ROW'")
    if _variable(facts, "log_bin_compress", "OFF") == "ON":
        what = "Debezium reads no compressed events"
        yield Found(Severity.STOPS, "MariaDB: log_bin_compress", what, "SET GLOBAL log_bin_compress = OFF")


def row_image(facts: Facts) -> Iterator[Found]:
    image = _variable(facts, "binlog_row_image", "FULL")
    if image != "FULL":
        mend = "SET GLOBAL binlog_row_image = 'FULL', and the same in the server's file"
        yield Found(Severity.LOSES, "MariaDB: binlog_row_image", f"it is {image}", mend)


def row_metadata(facts: Facts) -> Iterator[Found]:
    metadata = _variable(facts, "binlog_row_metadata", "FULL")
    if metadata != "FULL":
        mend = "SET GLOBAL binlog_row_metadata = 'FULL', and the same in the server's file"
        yield Found(Severity.ADVICE, "MariaDB: binlog_row_metadata", f"it is {metadata}", mend)


def gtid_not_strict(facts: Facts) -> Iterator[Found]:
    if _variable(facts, "gtid_strict_mode", "ON") != "ON":
        mend = "SET GLOBAL gtid_strict_mode = ON, and the same in the server's file"
        what = "GTIDs may go back, so that a position means two things after a fail-over"
        yield Found(Severity.HURTS, "MariaDB: gtid_strict_mode", what, mend)


def binlog_expires(facts: Facts) -> Iterator[Found]:
    days = float(_variable(facts, "expire_logs_days", "0") or 0)
    seconds = int(_variable(facts, "binlog_expire_logs_seconds", "0") or 0) or int(days * 24 * 60 * 60)
    if 0 < seconds < WEEK_SECONDS:
        mend = f"SET GLOBAL binlog_expire_logs_seconds = {WEEK_SECONDS} or more, and the same in the server's file"
        yield Found(Severity.HURTS, "MariaDB: binlog_expire_logs_seconds", f"kept for {seconds / 86400:.1f} days", mend)


def unlogged_cascades(facts: Facts) -> Iterator[Found]:
    if facts.mariadb is None:
        return
    known = {} if facts.written_catalog is None else facts.written_catalog.tables
    for table, about in facts.tables():
        for key in about.foreign_keys:
            if key.on_delete in UNLOGGED and (table not in known or key not in known[table].foreign_keys):
                what = f"ON DELETE {key.on_delete.upper()} from {key.references} is in no binary log, nor in the catalog file"
                mend = f"bridge introspect --config FILE, with sources.{facts.source.name}.catalog: catalog.yaml"
                yield Found(Severity.LOSES, table, what, mend)


def zero_dates(facts: Facts) -> Iterator[Found]:
    mode = _variable(facts, "sql_mode", "NO_ZERO_DATE")
    dates = {name: column.nullable for name, column in facts.columns() if _DATE.match(column.type)}
    if "NO_ZERO_DATE" not in mode and dates:
        severity = Severity.ADVICE if all(dates.values()) else Severity.HURTS
        what = (
            f"zero dates are allowed; in {', '.join(dates)} they arrive as null, or as 1970 where null is not allowed"
        )
        mend = "SET GLOBAL sql_mode = CONCAT(@@sql_mode, ',NO_ZERO_DATE,NO_ZERO_IN_DATE'), once the rows are mended"
        yield Found(severity, "MariaDB: sql_mode", what, mend)


def _variable(facts: Facts, name: str, right: str) -> str:
    """A variable's value; the right one where there is no such variable."""
    return right if facts.mariadb is None else facts.mariadb.settings.get(name, right).upper()
