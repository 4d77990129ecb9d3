"""Each function of the language, in a few lines. Null goes through, where a line does not say otherwise."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from tests.interpreter.values import (
    BIGGEST_INT,
    EXACT,
    RefusedError,
    arithmetic,
    before,
    known,
    number,
    truth,
    unfit,
    whole,
)

LONGEST_TEXT: Final = 64 * 1024
LONGEST_DOCUMENT: Final = 1024 * 1024
WIDEST_NUMBER: Final = 100
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NULL_IS_AN_ANSWER: Final = frozenset({"match", "count", "any", "all", "sum", "first", "last", "min", "max"})


def apply(name: str, arguments: list[Any], constants: list[Any], context: Context) -> Any:
    """The value of a call. ``context``: for sums, exact or, inside round(), not."""
    if name not in _NULL_IS_AN_ANSWER and any(argument is None for argument in arguments):
        if name != "concat":
            return None
        for argument in arguments:  # a text that cannot be made is told before the null is
            string(argument)
        return None
    if name == "sum":
        return total(arguments[0], context)
    try:
        return _TABLE[name](arguments, constants)
    except (ArithmeticError, ValueError) as error:
        raise RefusedError("T103" if isinstance(error, ArithmeticError) else "T107") from None


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise unfit(value)
    return value


def short(value: str) -> str:
    if len(value) > LONGEST_TEXT:
        raise RefusedError("T110")
    return value


def string(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, Decimal, date)):
        raise unfit(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def substring(value: Any, start: Any, length: Any = LONGEST_TEXT) -> str:
    first, size = whole(start), whole(length)
    if first < 1 or size < 0:
        raise RefusedError("T103")
    return text(value)[first - 1 :][:size]


def match(value: Any, pattern: str) -> bool:
    return value is not None and re.fullmatch(pattern, short(text(value)), re.ASCII) is not None


def extract(value: Any, pattern: str) -> str | None:
    found = re.search(pattern, short(text(value)), re.ASCII)
    return found[1] if found else None


def rounded(value: Any, digits: int = 0) -> Decimal:
    exact = Decimal(repr(value)) if isinstance(value, float) else Decimal(number(value))
    return exact.quantize(Decimal(1).scaleb(-digits), context=Context(prec=60, rounding=ROUND_HALF_UP))


def most(values: Iterable[Any], better: Callable[[Any, Any], bool]) -> Any:
    found = None
    for value in values:
        if known(value) is None:
            raise RefusedError("T108")
        if found is None or better(value, found):
            found = value
    return found


def total(values: Iterable[Any], context: Context) -> int | Decimal:
    found: int | Decimal = 0
    for value in values:
        found = arithmetic("+", found, value, context)
    return found


def parse_json(value: Any, path: list[str | int]) -> Any:
    if len(text(value)) > LONGEST_DOCUMENT:
        raise RefusedError("T110")
    found = json.loads(value, parse_float=Decimal)
    for step in path:
        if found is None:
            return None
        if isinstance(found, dict) and isinstance(step, str):
            found = found.get(step)
        elif isinstance(found, list) and isinstance(step, int):
            found = found[step] if step < len(found) else None
        else:
            raise RefusedError("T107")
    if isinstance(found, (dict, list)):
        raise RefusedError("T107")
    return narrow(found)


def narrow(value: Any) -> Any:
    """A number out of a document may not be so wide that computing with it takes long."""
    if isinstance(value, int) and abs(value) >= BIGGEST_INT:
        raise RefusedError("T110")
    if isinstance(value, Decimal):
        digits, exponent = len(value.as_tuple().digits), int(value.as_tuple().exponent)
        if max(digits, digits + exponent, -exponent) > WIDEST_NUMBER:
            raise RefusedError("T110")
    return value


def instant(value: Any, unit: str = "") -> datetime:
    if not unit and isinstance(value, str):
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise RefusedError("T107")
        return moment.astimezone(UTC)
    if not unit or type(value) is not int:
        raise unfit(value)
    microseconds = {"s": value * 1_000_000, "ms": value * 1000, "us": value, "ns": value // 1000}[unit]
    return _EPOCH + timedelta(microseconds=microseconds)


def zoned(value: Any, zone: str) -> datetime:
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(text(value))
    return (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))).astimezone(UTC)


def day(value: Any, zone: str = "") -> date:
    if type(value) is date:
        return value
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(text(value))
    if moment.tzinfo is None:
        return moment.date()
    if not zone:
        raise RefusedError("T107")
    return moment.astimezone(ZoneInfo(zone)).date()


def date_from_days(value: Any) -> date:
    if type(value) is not int:
        raise unfit(value)
    return date(1970, 1, 1) + timedelta(days=value)


def unscaled(value: Any, scale: int) -> Decimal:
    if type(value) is not int:
        value = int.from_bytes(b64decode(text(value), validate=True), "big", signed=True)
    if abs(value) >= BIGGEST_INT:
        raise RefusedError("T110")
    return Decimal(value).scaleb(-scale, Context(prec=100))


def padded(value: Any, size: int, fill: str) -> str:
    found = string(value) or ""
    return fill * (size - len(found)) + found


def replaced(value: Any, old: str, new: str) -> str:
    return short(new.join(short(text(value)).split(old)))


def double(value: Any) -> float:
    return value if isinstance(value, float) else float(number(value))


def several(arguments: list[Any]) -> Iterable[Any]:
    """``min`` and ``max`` take a list, or values."""
    one = arguments[0]
    if len(arguments) > 1 or isinstance(one, (str, int, Decimal, date)):
        return arguments
    return () if one is None else one


def absolute(value: Any) -> int | Decimal:
    found = number(value)
    return found if found >= 0 else EXACT.multiply(found, -1) if isinstance(found, Decimal) else -found


_TABLE: Final[dict[str, Callable[[list[Any], list[Any]], Any]]] = {
    "trim": lambda a, _: text(a[0]).strip(" "),
    "ltrim": lambda a, _: text(a[0]).lstrip(" "),
    "rtrim": lambda a, _: text(a[0]).rstrip(" "),
    "upper": lambda a, _: short(text(a[0])).upper(),
    "lower": lambda a, _: short(text(a[0])).lower(),
    "substring": lambda a, _: substring(*a),
    "replace": lambda a, c: replaced(a[0], *c),
    "concat": lambda a, _: short("".join([string(one) or "" for one in a])),
    "len": lambda a, _: len(text(a[0])),
    "pad_left": lambda a, c: padded(a[0], *c),
    "match": lambda a, c: match(a[0], c[0]),
    "extract": lambda a, c: extract(a[0], c[0]),
    "abs": lambda a, _: absolute(a[0]),
    "round": lambda a, c: rounded(a[0], *c),
    "min": lambda a, _: most(several(a), before),
    "max": lambda a, _: most(several(a), lambda one, other: before(other, one)),
    "count": lambda a, _: len(list(a[0])),
    "any": lambda a, _: any(truth(one) for one in a[0]),
    "all": lambda a, _: all(truth(one) for one in a[0]),
    "first": lambda a, _: next(iter(a[0]), None),
    "last": lambda a, _: (list(a[0]) or [None])[-1],
    "parse_json": lambda a, c: parse_json(a[0], c),
    "instant": lambda a, c: instant(a[0], *c),
    "tz": lambda a, c: zoned(a[0], *c),
    "date": lambda a, c: day(a[0], *c),
    "date_from_days": lambda a, _: date_from_days(a[0]),
    "unscaled": lambda a, c: unscaled(a[0], *c),
    "int": lambda a, _: whole(a[0]),
    "decimal": lambda a, _: Decimal(number(a[0])),
    "string": lambda a, _: string(a[0]),
    "double": lambda a, _: double(a[0]),
}
