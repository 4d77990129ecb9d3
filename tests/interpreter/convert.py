"""What a declared type makes of a value."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from bridge.mapping.types import Type
from bridge.model import UNKNOWN
from tests.interpreter.values import EXACT, RefusedError, number


def converted(value: Any, kind: Type, zone: str = "") -> Any:
    """The canonical value. Raises RefusedError."""
    if value is None and kind.optional:
        return None
    if value is None or value is UNKNOWN:
        raise RefusedError("T101" if value is None else "T104")
    takes: tuple[type, ...] = {
        "string": (str, int),
        "bool": (bool,),
        "int": (int, str, Decimal),
        "decimal": (int, str, Decimal),
        "double": (int, str, Decimal, float),
        "date": (str, date, datetime),
        "timestamp": (str, datetime),
    }[kind.kind]
    if type(value) not in takes:
        raise RefusedError("T107")
    try:
        return _converted(value, kind, zone)
    except ValueError:
        raise RefusedError("T107") from None
    except OverflowError:
        raise RefusedError("T103") from None


def _converted(value: Any, kind: Type, zone: str) -> Any:
    match kind.kind:
        case "string":
            return str(value)
        case "int":
            exact = number(value)
            return int(_check(exact, exact == int(exact) and -(2**63) <= exact < 2**63))
        case "decimal":
            return _decimal(Decimal(number(value)), kind)
        case "double":
            plain = value if isinstance(value, float) else float(number(value))
            return _check(plain, math.isfinite(plain))
        case "date":
            return _date(value, zone)
        case "timestamp":
            return _timestamp(value, zone)
    return value


def _check(value: Any, is_right: bool) -> Any:  # noqa: FBT001 - a condition is what it takes
    if not is_right:
        raise RefusedError("T103")
    return value


def _decimal(value: Decimal, kind: Type) -> Decimal:
    """All digits that the type has, and none that it has not."""
    shifted = Fraction(value) * 10**kind.scale
    _check(value, shifted.denominator == 1 and abs(shifted) < 10**kind.precision)
    return Decimal(shifted.numerator).scaleb(-kind.scale, EXACT)


def _date(value: Any, zone: str) -> date:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    if type(moment) is date:
        return moment
    if moment.tzinfo is not None:
        if not zone:
            raise RefusedError("T107")
        return moment.astimezone(ZoneInfo(zone)).date()
    _check(moment, bool(zone) or (moment.hour, moment.minute, moment.second, moment.microsecond) == (0, 0, 0, 0))
    return moment.date()


def _timestamp(value: Any, zone: str) -> datetime:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    if isinstance(value, str) and len(value) < len("2026-01-01T00:00"):
        raise RefusedError("T107")
    if moment.tzinfo is None:
        if not zone:
            raise RefusedError("T107")
        moment = moment.replace(tzinfo=ZoneInfo(zone))
    return moment.astimezone(UTC)
