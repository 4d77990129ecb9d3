"""Column values: from the forms in which Debezium writes them to canonical ones.

Canonical column values: None, bool, int, float (double columns), str: decimals as plain text, dates as ``YYYY-MM-DD``,
timestamps as ``YYYY-MM-DDTHH:MM:SS.ffffff`` (``Z`` behind it where the column has a zone), bytes as base64 text.
A column whose type nobody knows passes as it came. Sources: Debezium reference, "Data type mappings" of the PostgreSQL
connector; Kafka Connect's ``Decimal``. Types come from inline schemas, else from the source catalog.
"""

from __future__ import annotations

import re
from binascii import a2b_base64
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

Convert = Callable[[Any], Any]

PLACEHOLDER = "__debezium_unavailable_value"  # TOAST: unchanged and not in the record (PostgreSQL connector reference)
PLACEHOLDER_BASE64 = "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="

MAX_SCALE = 4000
MONEY_DIGITS = 2  # the connector's money.fraction.digits
MILLISECOND_DIGITS = 3  # adaptive: up to timestamp(3) as milliseconds, finer as microseconds
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = date(1970, 1, 1)


def unscaled_text(data: str, scale: int) -> str:
    """Connect's ``Decimal``: base64 of the big-endian unscaled integer, and its scale, as plain decimal text.

    Every digit stays. Raises ValueError for what is no base64 (the text of a number, where the connector's mode is another
    one), for more digits than Python writes of an integer (4,300), and for such scales.
    """
    if abs(scale) > MAX_SCALE:
        raise ValueError("a decimal's scale is out of bounds")
    unscaled = int.from_bytes(a2b_base64(data, strict_mode=True), "big", signed=True)
    if scale <= 0:
        return str(unscaled * 10**-scale)
    digits = str(abs(unscaled)).rjust(scale + 1, "0")
    return f"{'-' if unscaled < 0 else ''}{digits[:-scale]}.{digits[-scale:]}"


def _decimal(scale: int) -> Convert:
    return lambda value: unscaled_text(value, scale) if isinstance(value, str) else value


def _variable_decimal(value: Any) -> Any:
    return unscaled_text(value["value"], value["scale"]) if isinstance(value, dict) else value


def _days(value: Any) -> Any:
    if not isinstance(value, int):
        return value
    try:
        return (_EPOCH_DAY + timedelta(days=value)).isoformat()
    except OverflowError:
        return value  # infinity and dates beyond year 9999 stay numbers; a mapping that uses one is told so


def _since_epoch(microseconds_per_unit: int, divisor: int = 1) -> Convert:
    def convert(value: Any) -> Any:
        if not isinstance(value, int):
            return value
        try:
            moment = _EPOCH + timedelta(microseconds=value * microseconds_per_unit // divisor)
        except OverflowError:
            return value
        return moment.replace(tzinfo=None).isoformat(timespec="microseconds")

    return convert


def _zoned(value: Any) -> Any:
    """``ZonedTimestamp``: ISO text with any number of fraction digits → six, in UTC."""
    if not isinstance(value, str):
        return value
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return value  # "infinity"
    if moment.tzinfo is None:
        return value
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        return value
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


# Kafka Connect's and Debezium's semantic type names, as they stand in inline schemas
SEMANTIC: dict[str, Convert] = {
    "io.debezium.data.VariableScaleDecimal": _variable_decimal,
    "io.debezium.time.Date": _days,
    "org.apache.kafka.connect.data.Date": _days,
    "io.debezium.time.Timestamp": _since_epoch(1000),
    "org.apache.kafka.connect.data.Timestamp": _since_epoch(1000),
    "io.debezium.time.MicroTimestamp": _since_epoch(1),
    "io.debezium.time.NanoTimestamp": _since_epoch(1, 1000),
    "io.debezium.time.ZonedTimestamp": _zoned,
}


def from_schema(name: str | None, parameters: Mapping[str, str] | None) -> Convert | None:
    """The conversion for one field of an inline Connect schema, by its semantic type; None where the value passes as it is."""
    if name == "org.apache.kafka.connect.data.Decimal":
        return _decimal(int((parameters or {}).get("scale", "0")))
    return SEMANTIC.get(name or "")


_SQL_TYPE = re.compile(
    r"\s*([a-z][a-z ]*?)\s*(?:\((\d+)(?:\s*,\s*(-?\d+))?\))?\s*(without time zone|with time zone)?\s*", re.IGNORECASE
)


def from_catalog(sql_type: str, decimal_mode: str = "precise") -> Convert | None:
    """The conversion for a catalog type such as ``numeric(12,2)``, in adaptive time precision (Debezium's default)."""
    match = _SQL_TYPE.fullmatch(sql_type)
    if match is None:
        return None
    base, size, scale, zone = match[1].lower(), match[2], match[3], (match[4] or "").lower()
    if base in {"numeric", "decimal"} and decimal_mode == "precise":
        return _variable_decimal if size is None else _decimal(int(scale or 0))
    if base == "money" and decimal_mode == "precise":
        return _decimal(MONEY_DIGITS)
    if base == "date":
        return _days
    if base == "timestamptz" or (base == "timestamp" and zone == "with time zone"):
        return _zoned
    if base == "timestamp":
        return _since_epoch(1000) if size is not None and int(size) <= MILLISECOND_DIGITS else _since_epoch(1)
    return None
