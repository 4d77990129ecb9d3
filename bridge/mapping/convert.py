"""A value of a row or expression → the canonical value of a declared type, or Untranslatable. Made once per field, at
load.

Each maker gives a function of one value. Unknown is refused everywhere, null where the type is not optional.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow
from math import isfinite
from typing import Any, Final

from bridge.mapping.library import zone
from bridge.mapping.types import Type
from bridge.mapping.values import EXACT, divide, number, reject
from bridge.model import UNKNOWN

Convert = Callable[[Any], Any]
MAX_INT64: Final = 1 << 63


def converter(kind: Type, zone_name: str = "") -> Convert:
    """The conversion to a declared type (enums have their own)."""
    if kind.kind == "decimal":
        return _decimal(kind)
    if kind.kind == "timestamp":
        return _timestamp(zone_name, optional=kind.optional)
    if kind.kind == "date":
        return _date(zone_name, optional=kind.optional)
    return {"string": _string, "token": _string, "int": _int, "bool": _bool, "double": _double}[kind.kind](
        optional=kind.optional
    )


def missing(value: Any, *, optional: bool) -> Any:
    """What a value that is no value means: None where the type is optional, else an error."""
    if value is None and optional:
        return None
    raise reject("T101" if value is None else "T104" if value is UNKNOWN else "T107")


def _string(*, optional: bool) -> Convert:
    def convert(value: Any) -> Any:
        if value.__class__ is str:
            return value
        if value.__class__ is int:
            return str(value)
        return missing(value, optional=optional)

    return convert


def _bool(*, optional: bool) -> Convert:
    def convert(value: Any) -> Any:
        return value if value is True or value is False else missing(value, optional=optional)

    return convert


def _int(*, optional: bool) -> Convert:
    """64 bits, as the event schemas have it."""

    def convert(value: Any) -> Any:
        if value.__class__ is not int:
            if value.__class__ is not str and value.__class__ is not Decimal:
                return missing(value, optional=optional)
            exact = number(value)
            value = int(exact)
            if value != exact:
                raise reject("T103")
        if -MAX_INT64 <= value < MAX_INT64:
            return value
        raise reject("T103")

    return convert


def _decimal(kind: Type) -> Convert:
    unit = Decimal(1).scaleb(-kind.scale)
    context = Context(prec=kind.precision, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])
    optional = kind.optional

    def convert(value: Any) -> Any:
        if value.__class__ is not Decimal:
            if value.__class__ is not int and value.__class__ is not str:
                return missing(value, optional=optional)
            value = Decimal(number(value))
        exact: Decimal = value.quantize(unit, None, context)  # traps what does not fit scale or precision
        return exact or abs(exact)  # no negative zero

    return convert


def hundredth(kind: Type, digits: int) -> Convert:
    """``decimal`` of a whole number divided by 10**digits, where digits is the declared scale: cents to money, in one
    step.
    """
    slow, limit, power = _decimal(kind), 10**kind.precision, 10**digits

    def convert(value: Any) -> Any:
        if value.__class__ is int and -limit < value < limit:
            return Decimal(value).scaleb(-digits, EXACT)
        return slow(divide(value, power))

    return convert


def _double(*, optional: bool) -> Convert:
    def convert(value: Any) -> Any:
        if value.__class__ is not float:
            if value.__class__ is not int and value.__class__ is not str and value.__class__ is not Decimal:
                return missing(value, optional=optional)
            value = float(number(value))
        if not isfinite(value):
            raise reject("T103")
        return value

    return convert


def _timestamp(zone_name: str, *, optional: bool) -> Convert:
    """ISO text with a zone, or without one where the mapping names it; a local time that occurs twice means the
    first.
    """
    info = zone(zone_name) if zone_name else None
    parse = datetime.fromisoformat

    def convert(value: Any) -> Any:
        if value.__class__ is str:
            if len(value) < 16:  # noqa: PLR2004 - a day alone is no moment
                raise reject("T107")
            value = parse(value)
        elif value.__class__ is not datetime:
            return missing(value, optional=optional)
        if value.tzinfo is UTC:
            return value
        if value.tzinfo is None:
            if info is None:
                raise reject("T107")
            value = value.replace(tzinfo=info)
        return value.astimezone(UTC)

    return convert


def _date(zone_name: str, *, optional: bool) -> Convert:
    """ISO text of a day; of a moment only in a zone, or where the text has a time without zone that is midnight."""
    info = zone(zone_name) if zone_name else None

    def convert(value: Any) -> Any:
        if value.__class__ is date:
            return value
        if value.__class__ is str:
            if len(value) == 10:  # noqa: PLR2004 - YYYY-MM-DD
                return date.fromisoformat(value)
            value = datetime.fromisoformat(value)
        elif value.__class__ is not datetime:
            return missing(value, optional=optional)
        if value.tzinfo is not None:
            if info is None:
                raise reject("T107")
            return value.astimezone(info).date()
        if value.time() != datetime.min.time() and info is None:
            raise reject("T103")
        return value.date()

    return convert


def coded(codes: dict[str | None, str], *, optional: bool) -> Convert:
    """Code → symbol; numbers and booleans compare as their text. The generated code tries ``codes`` itself first."""

    def convert(value: Any) -> Any:
        if value is UNKNOWN:
            raise reject("T104")
        if value is None:
            return codes.get(None) or missing(None, optional=optional)
        found = codes.get(_code_text(value))
        if found is None:
            raise reject("T102")
        return found

    return convert


def _code_text(value: Any) -> str:
    if value.__class__ is str:
        return value
    if value.__class__ is bool:
        return "true" if value else "false"
    if value.__class__ is int or value.__class__ is Decimal:
        return str(value)
    raise reject("T107")


def sentinels(values: list[Any]) -> frozenset[Any]:
    """``absent:`` values in every form in which a row may hold them: a day is also that day's midnight."""
    found: set[Any] = set()
    for value in values:
        found.add(value)
        if isinstance(value, int) and not isinstance(value, bool):
            found.add(str(value))
        if isinstance(value, str) and len(value) in {10, 19}:
            try:
                start = datetime.fromisoformat(value)
            except ValueError:
                continue
            text = start.isoformat(timespec="microseconds")
            found |= {text, text + "Z"}
    return frozenset(found)
