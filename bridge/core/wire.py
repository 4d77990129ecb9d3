"""Column values: from the forms in which Debezium writes them to canonical ones, whatever the connector's modes.

Canonical column values:

- None, bool, int (BIGINT UNSIGNED too, all of it), float; text of every kind, enums, sets, UUIDs, JSON, ranges, addresses
- decimals as plain text; bytes as base64 text
- dates as ``YYYY-MM-DD``, timestamps as ``YYYY-MM-DDTHH:MM:SS.ffffff`` (``Z`` behind it where the column has a zone),
  ``infinity`` and ``-infinity`` as this text; times of day as ``HH:MM:SS.ffffff``, with ``-`` before it and more than 24
  hours where MariaDB has them, with ``Z`` behind it where the column has a zone (Debezium turns it to UTC)
- bit strings as the number that their digits are; ``bit(1)`` as bool
- intervals as microseconds (``numeric``) or ISO 8601 text (``string``): the mode decides, as a month has no length
- geometry as JSON text of ``x``, ``y``, ``srid`` and ``wkb`` (base64), hstore as JSON text; arrays as lists of such values

A value that has no such form (a date beyond the year 9999) passes as it came, and so does a column whose type nobody knows.
Sources: Debezium reference, "Data type mappings"; tests/types, which has every type of both servers as 3.5 writes it.
"""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import msgspec

from bridge.model import BINLOG, Modes

Convert = Callable[[Any], Any]

# TOAST: unchanged and not in the record (PostgreSQL connector reference; measured). Nothing of it for other types: null.
PLACEHOLDER = "__debezium_unavailable_value"
PLACEHOLDERS = frozenset(
    {
        PLACEHOLDER,
        "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==",  # bytes
        f'{{"{PLACEHOLDER}":"{PLACEHOLDER}"}}',  # hstore
        "b68a35a7-17ad-35b3-af2a-ae46edb4545a",  # in arrays of UUIDs
    }
)
PLACEHOLDER_NUMBERS = list(PLACEHOLDER.encode())  # arrays of integers, bigints and dates

MAX_SCALE = 4000
NEGATIVE_SCALES = 2048  # Debezium reads 11 bits of numeric(5,-2)'s scale without their sign: 2046
LARGEST_SCALE = 1000  # of PostgreSQL
MONEY_DIGITS = 2  # the connector's money.fraction.digits
MILLISECOND_DIGITS = 3  # adaptive: up to timestamp(3) as milliseconds, finer as microseconds
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = date(1970, 1, 1)
_MILLI, _MICRO, _NANO = 10**3, 10**6, 10**9
# PostgreSQL's infinities as the snapshot and the stream write them (measured on 3.5 and 3.7); 3.5's nanoseconds overflow.
_EXTREMES: Final[dict[int, str]] = {(1 << 63) - 1: "infinity", -(1 << 63): "-infinity"}
_INFINITE: Final[dict[Any, str]] = {
    **_EXTREMES,
    2_146_033_979: "infinity",
    "+5877611-06-21": "infinity",
    "+292278994-08-16T23:00:00": "infinity",
    "-292275055-05-16T23:00:00": "-infinity",
    -622_191_234: "infinity",
    -2_147_472_692: "infinity",
    "+292278994-08-16": "infinity",
    "-5877611-06-21": "infinity",
    9_223_372_036_825_200: "infinity",
    9_223_372_036_825_200_000: "infinity",
    "+294247-01-10T04:00:25.2": "infinity",
    -625_821_272: "-infinity",
    -2_147_472_691: "-infinity",
    "+292269055-12-02": "-infinity",
    "-5877611-06-22": "-infinity",
    -9_223_372_036_832_400: "-infinity",
    -9_223_372_036_832_400_000: "-infinity",
    "-290308-12-21T19:59:27.6": "-infinity",
}


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
    if abs(scale) > MAX_SCALE:  # a broken schema is its own record's fault, and not the next one's
        raise ValueError("a decimal's scale is out of bounds")
    if scale > LARGEST_SCALE:  # a negative one, and as many zeros behind the point
        return lambda value: unscaled_text(value, scale).partition(".")[0] if isinstance(value, str) else value
    return lambda value: unscaled_text(value, scale) if isinstance(value, str) else value


def _variable_decimal(value: Any) -> Any:
    return unscaled_text(value["value"], value["scale"]) if isinstance(value, dict) else value


def _unsigned(value: Any) -> Any:
    """BIGINT UNSIGNED: wrapped above 2^63 (``long``), or base64 of the number (``precise``)."""
    if isinstance(value, str):
        return int(unscaled_text(value, 0))
    return value + (1 << 64) if isinstance(value, int) and value < 0 else value


def _days(value: Any) -> Any:
    if not isinstance(value, int):
        return value
    try:
        return (_EPOCH_DAY + timedelta(days=value)).isoformat()
    except OverflowError:
        return _INFINITE.get(value, value)  # beyond year 9999: a mapping that uses one is told so


def _since_epoch(per_second: int) -> Convert:
    to_micro, divisor = max(_MICRO // per_second, 1), max(per_second // _MICRO, 1)

    def convert(value: Any) -> Any:
        if not isinstance(value, int):
            return value
        if divisor > 1 and value in _EXTREMES:
            return _EXTREMES[value]
        try:
            moment = _EPOCH + timedelta(microseconds=value * to_micro // divisor)
        except OverflowError:
            return _INFINITE.get(value, value)
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


def _iso_date(value: Any) -> Any:
    """``IsoDate``: a day with a Z that means nothing."""
    if not isinstance(value, str):
        return value
    text = value.removesuffix("Z")
    return _INFINITE.get(text, text)


def _iso_timestamp(value: Any) -> Any:
    """``IsoTimestamp``: a time without zone, whatever its Z says."""
    if not isinstance(value, str):
        return value
    text = value.removesuffix("Z")
    try:
        return datetime.fromisoformat(text).isoformat(timespec="microseconds")
    except ValueError:
        return _INFINITE.get(text, value)


def _time_of_day(per_second: int) -> Convert:
    def convert(value: Any) -> Any:
        if not isinstance(value, int):
            return value
        seconds, part = divmod(abs(value), per_second)
        hours, minutes = divmod(seconds // 60, 60)
        micro = part * _MICRO // per_second
        return f"{'-' if value < 0 else ''}{hours:02}:{minutes:02}:{seconds % 60:02}.{micro:06}"

    return convert


_TIME = re.compile(r"(\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z")


def _iso_time(zone: str) -> Convert:
    def convert(value: Any) -> Any:
        match = _TIME.fullmatch(value) if isinstance(value, str) else None
        return value if match is None else f"{match[1]}.{(match[2] or '').ljust(6, '0')[:6]}{zone}"

    return convert


def _bits(value: Any) -> Any:
    """``Bits``: base64 of the digits as a little-endian number; leading zeros are not told apart."""
    return int.from_bytes(a2b_base64(value), "little") if isinstance(value, str) else value


_STANDARD = str.maketrans("-_", "+/")


def _base64_of_safe(value: Any) -> Any:
    return value.translate(_STANDARD) if isinstance(value, str) else value


def _base64_of_hex(value: Any) -> Any:
    return b2a_base64(bytes.fromhex(value), newline=False).decode() if isinstance(value, str) else value


_encode = msgspec.json.Encoder(order="sorted").encode


def _json_text(value: Any) -> Any:
    return _encode(value).decode() if isinstance(value, dict) else value


def each(convert: Convert) -> Convert:
    """The conversion of a list of values."""

    def convert_all(values: Any) -> Any:
        if not isinstance(values, list):
            return values
        if values == PLACEHOLDER_NUMBERS:
            return PLACEHOLDER
        return [value if value is None or value == PLACEHOLDER else convert(value) for value in values]

    return convert_all


_ISO_TIME, _ISO_ZONED_TIME = _iso_time(""), _iso_time("Z")
# Kafka Connect's and Debezium's semantic type names, as they stand in inline schemas
SEMANTIC: dict[str, Convert] = {
    "io.debezium.data.VariableScaleDecimal": _variable_decimal,
    "io.debezium.data.Bits": _bits,
    "io.debezium.data.geometry.Point": _json_text,
    "io.debezium.data.geometry.Geometry": _json_text,
    "io.debezium.data.geometry.Geography": _json_text,
    "io.debezium.time.Date": _days,
    "org.apache.kafka.connect.data.Date": _days,
    "io.debezium.time.IsoDate": _iso_date,
    "io.debezium.time.Timestamp": _since_epoch(_MILLI),
    "org.apache.kafka.connect.data.Timestamp": _since_epoch(_MILLI),
    "io.debezium.time.MicroTimestamp": _since_epoch(_MICRO),
    "io.debezium.time.NanoTimestamp": _since_epoch(_NANO),
    "io.debezium.time.IsoTimestamp": _iso_timestamp,
    "io.debezium.time.ZonedTimestamp": _zoned,
    "io.debezium.time.Time": _time_of_day(_MILLI),
    "org.apache.kafka.connect.data.Time": _time_of_day(_MILLI),
    "io.debezium.time.MicroTime": _time_of_day(_MICRO),
    "io.debezium.time.NanoTime": _time_of_day(_NANO),
    "io.debezium.time.IsoTime": _ISO_TIME,
    "io.debezium.time.ZonedTime": _ISO_ZONED_TIME,
}


def from_schema(
    name: str | None, parameters: Mapping[str, str] | None, kind: str = "", items: Convert | None = None
) -> Convert | None:
    """The conversion for one field of an inline Connect schema; None where the value passes as it is.

    ``name`` is the semantic type, ``kind`` Connect's own (``map`` alone matters), ``items`` what an array's elements take.
    """
    if items is not None:
        return each(items)
    if name == "org.apache.kafka.connect.data.Decimal":
        return _decimal(int((parameters or {}).get("scale", "0")))
    return _json_text if kind == "map" else SEMANTIC.get(name or "")


# -- the same from the database's own words for a type, and the connector's modes ----------------------------------------

_SQL_TYPE = re.compile(
    r"\s*([a-z][a-z0-9_ ]*?)\s*(?:\(\s*(\d+)\s*(?:,\s*(-?\d+)\s*)?\))?\s*"
    r"((?:with(?:out)? time zone|unsigned|zerofill|\s)*)((?:\[\d*\])*)\s*",
    re.IGNORECASE,
)
_DECIMALS = frozenset({"numeric", "decimal", "dec", "fixed"})
_BYTES = frozenset({"bytea", "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"})
_OBJECTS = frozenset(
    {
        *("hstore", "point", "geometry", "geography", "linestring", "polygon"),
        *("multipoint", "multilinestring", "multipolygon", "geometrycollection", "geomcollection"),
    }
)
_BINARY: Final[dict[str, Convert | None]] = {
    "bytes": None,
    "base64": None,
    "base64-url-safe": _base64_of_safe,
    "hex": _base64_of_hex,
}
_UNITS: Final = {"connect": _MILLI, "microseconds": _MICRO, "nanoseconds": _NANO}


class SqlType(msgspec.Struct, frozen=True):
    """A catalog's type taken apart: ``numeric(12,2)``, ``bigint(20) unsigned``, ``timestamp(3) without time zone[]``."""

    base: str
    size: int | None
    scale: int
    unsigned: bool
    zoned: bool
    array: bool

    @classmethod
    def of(cls, text: str, connector: str) -> SqlType | None:
        """None for what has no size to know: ``enum('N','P')``."""
        match = _SQL_TYPE.fullmatch(text)
        if match is None:
            return None
        base, words = " ".join(match[1].lower().split()), match[4].lower()
        zoned = (
            "with time" in words or base in {"timestamptz", "timetz"} or (connector in BINLOG and base == "timestamp")
        )
        base = {"timestamptz": "timestamp", "timetz": "time", "datetime": "timestamp", "varbit": "bit varying"}.get(
            base, base
        )
        size = None if match[2] is None else int(match[2])
        unsigned = "unsigned" in words or "zerofill" in words
        return cls(base, size, int(match[3] or 0), unsigned, zoned, bool(match[5]))


def from_catalog(sql_type: str, modes: Modes | None = None, connector: str = "postgresql") -> Convert | None:
    """The conversion for a catalog's type, as the connector writes it in these modes."""
    found = SqlType.of(sql_type, connector)
    if found is None:
        return None
    convert = _of_type(found, modes or Modes(), connector)
    return each(convert) if found.array and convert is not None else convert


def _of_type(sql: SqlType, modes: Modes, connector: str) -> Convert | None:
    base = sql.base
    if base in _DECIMALS and modes.decimal == "precise":
        if sql.size is None and connector not in BINLOG:
            return _variable_decimal
        return _decimal(sql.scale if sql.scale >= 0 else NEGATIVE_SCALES + sql.scale)
    if base == "money" and modes.decimal == "precise":
        return _decimal(modes.money_digits)
    if base == "bigint" and sql.unsigned:
        return _unsigned
    if base in _BYTES:
        return _BINARY[modes.binary]
    if base in _OBJECTS:
        return _json_text
    if base == "bit varying" or (base == "bit" and (sql.size or 1) > 1):
        return _bits
    if base == "date":
        return _iso_date if modes.time == "isostring" else _days
    if base in {"time", "timestamp"}:
        return _of_time(sql, modes, connector)
    return None


def _of_time(sql: SqlType, modes: Modes, connector: str) -> Convert:
    """Debezium's default is ``adaptive``; on MySQL and MariaDB it is ``adaptive_time_microseconds``."""
    day = sql.base == "time"
    if sql.zoned:
        return _ISO_ZONED_TIME if day else _zoned
    mode = modes.time or ("adaptive_time_microseconds" if connector in BINLOG else "adaptive")
    if mode == "isostring":
        return _ISO_TIME if day else _iso_timestamp
    digits = sql.size if sql.size is not None else 0 if connector in BINLOG else 6
    adapted = _MICRO if digits > MILLISECOND_DIGITS or (day and mode != "adaptive") else _MILLI
    unit = _UNITS.get(mode, adapted)
    return _time_of_day(unit) if day else _since_epoch(unit)


def says_more(sql_type: str, kind: str, connector: str) -> bool:
    """Whether a catalog's type tells more than an inline schema: of bytes that are text, of numbers that have no sign."""
    found = SqlType.of(sql_type, connector)
    return found is not None and (
        (found.base in _BYTES and kind == "string") or (found.base == "bigint" and found.unsigned)
    )
