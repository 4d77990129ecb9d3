"""A column's value as a test writes it → the canonical value that the same column has in a record (see bridge.core.wire).

Without a type the value is what YAML says: decimals and dates are then text in quotes. With the catalog's type it is
brought to the form that decode gives it, so that what passes in a test passes in production: ``numeric(12,2)`` takes
``20`` and ``20.00``, ``char(8)`` is padded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from bridge.mapping.types import column_type

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SIZE: Final = re.compile(r"\(\s*(\d+)\s*(?:,\s*(-?\d+)\s*)?\)")
_INFINITE: Final = frozenset({"infinity", "-infinity"})  # PostgreSQL's
_TIME_TYPE: Final = re.compile(r"time(?:tz)?\b")
_TIME: Final = re.compile(r"(-?)(\d{2,3}):(\d\d)(?::(\d\d(?:\.\d{1,6})?))?(Z?)")
_PADDED: Final = re.compile(r"(?:char|character|bpchar)\s*(?:\(\s*(\d+)\s*\))?\s*\Z", re.IGNORECASE)


def canonical(value: Any, text: str | None, sql_type: str, connector: str = "") -> Any:
    """``text``: the scalar as written, None for null, lists and mappings. Raises ValueError with what is expected."""
    if value is None or text is None or not sql_type:
        if isinstance(value, dict):
            raise ValueError("a column holds one value; write JSON as text in quotes")
        return value
    sql_type = sql_type.lower()
    if connector in ("mysql", "mariadb") and sql_type.startswith("timestamp"):
        sql_type = "timestamptz"
    convert = _time if _TIME_TYPE.match(sql_type) else _CONVERTS.get(column_type(sql_type).kind)
    return value if convert is None else convert(value, text, sql_type)


def _integer(_value: Any, text: str, _sql_type: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("a whole number is expected") from None


def _decimal(_value: Any, text: str, sql_type: str) -> str:
    try:
        number = Decimal(text)
        size = _SIZE.search(sql_type)
        if size is not None:
            exact = number.quantize(Decimal(1).scaleb(-int(size[2] or 0)))
            if exact != number:
                raise ValueError(f"it does not fit {sql_type}")
            number = exact
    except InvalidOperation:
        raise ValueError("a number is expected") from None
    return format(number, "f")


def _double(_value: Any, text: str, _sql_type: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("a number is expected") from None


def _bool(value: Any, _text: str, _sql_type: str) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false is expected")  # noqa: TRY004 - one error says what is expected
    return value


def _date(_value: Any, text: str, _sql_type: str) -> str:
    if text in _INFINITE:
        return text
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise ValueError("a day is expected: 2026-01-05") from None


def _timestamp(_value: Any, text: str, sql_type: str) -> str:
    zoned = "with time zone" in sql_type.lower() or "timestamptz" in sql_type.lower()
    example = "2026-01-05T09:00:00Z" if zoned else "2026-01-05T09:00:00"
    if text in _INFINITE:
        return text
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"a time is expected: {example}") from None
    if (moment.tzinfo is not None) != zoned:
        raise ValueError(f"{sql_type} has {'a' if zoned else 'no'} zone: {example}")
    moment = moment.astimezone(UTC).replace(tzinfo=None) if zoned else moment
    return moment.isoformat(timespec="microseconds") + ("Z" if zoned else "")


def _time(_value: Any, text: str, sql_type: str) -> str:
    zoned = "with time zone" in sql_type or sql_type.startswith("timetz")
    found = _TIME.fullmatch(text)
    if found is None or bool(found[5]) != zoned:
        raise ValueError(f"a time of day is expected: 09:00:00.5{'Z, in UTC' if zoned else ''}")
    sign, hours, minutes, seconds, zone = found.groups(default="")
    whole, _, part = (seconds or "0").partition(".")
    return f"{sign}{hours}:{minutes}:{whole:0>2}.{part:0<6}{zone}"


def _text(_value: Any, text: str, sql_type: str) -> str:
    padded = _PADDED.match(sql_type.strip())
    return text.ljust(int(padded[1] or 1)) if padded else text


_CONVERTS: Final[dict[str, Callable[[Any, str, str], Any]]] = {
    "int": _integer,
    "decimal": _decimal,
    "double": _double,
    "bool": _bool,
    "date": _date,
    "timestamp": _timestamp,
    "string": _text,
}


def moment_ms(text: str) -> int:
    """ISO text with a zone → ms since 1970. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("the time has no zone")
    return (moment - _EPOCH) // timedelta(milliseconds=1)
