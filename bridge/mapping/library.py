"""What the functions of the expression language do. Signatures, examples and meanings stand in ``functions``."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation, Overflow
from typing import Any, Final
from zoneinfo import ZoneInfo

import re2  # type: ignore[import-untyped,import-not-found,unused-ignore]  # it ships no types

from bridge.mapping.values import (
    MAX_INT,
    MAX_TEXT,
    add,
    add_rough,
    bounded_text,
    greater,
    known,
    less,
    negative,
    number,
    reject,
    truth,
    wrong,
)

MAX_PAD, MAX_ROUND, MAX_SCALE = 1000, 20, 38
MAX_DOCUMENT: Final = 1 << 20  # characters of a JSON text
MAX_WIDTH: Final = 100  # digits before or after the point of a number in one
MAX_PATTERN: Final = 5000  # steps of a compiled pattern
MAX_MATCHING: Final = 20_000_000  # steps of a pattern times characters of a text: a tenth of a second at worst
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_DAY: Final = date(1970, 1, 1)
WIDE: Final = Context(prec=MAX_WIDTH)  # holds every number of MAX_INT
ROUNDING: Final = Context(prec=60, rounding=ROUND_HALF_UP, traps=[InvalidOperation, Overflow])


def coalesce(*values: Any) -> Any:
    """Only for documentation and tests: the generated code evaluates lazily instead."""
    return next((value for value in values if value is not None), None)


def text(value: Any) -> str:
    if value.__class__ is str:
        return value
    raise wrong(value)


def trim(value: Any) -> str | None:
    return None if value is None else text(value).strip(" ")


def ltrim(value: Any) -> str | None:
    return None if value is None else text(value).lstrip(" ")


def rtrim(value: Any) -> str | None:
    return None if value is None else text(value).rstrip(" ")


def upper(value: Any) -> str | None:
    return None if value is None else bounded_text(text(value)).upper()


def lower(value: Any) -> str | None:
    return None if value is None else bounded_text(text(value)).lower()


def substring(value: Any, start: Any, length: Any = MAX_TEXT) -> str | None:
    if value is None or start is None or length is None:
        return None
    first, size = to_int(start), to_int(length)
    if first is None or size is None or first < 1 or size < 0:
        raise reject("T103")
    return text(value)[first - 1 : first - 1 + size]


def replace(old: str, new: str) -> Callable[[Any], str | None]:
    if not old:
        raise ValueError("the text to replace is empty")

    def call(value: Any) -> str | None:
        if value is None:
            return None
        found = bounded_text(text(value))
        if len(found) + found.count(old) * (len(new) - len(old)) > MAX_TEXT:
            raise reject("T110")
        return found.replace(old, new)

    return call


def concat(*values: Any) -> str | None:
    parts = [to_string(value) for value in values]
    return None if None in parts else bounded_text("".join(parts))  # type: ignore[arg-type]


def length(value: Any) -> int | None:
    return None if value is None else len(text(value))


def pad_left(size: int, fill: str) -> Callable[[Any], str | None]:
    if not 0 < size <= MAX_PAD or len(fill) != 1:
        raise ValueError("a length of 1 to 1000 and one character")

    def call(value: Any) -> str | None:
        found = to_string(value)
        return None if found is None else found.rjust(size, fill)

    return call


def pattern(source: str) -> Any:
    """Compile with RE2, which takes time linear in the text. Raises ValueError."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 1 << 20
    try:
        found = re2.compile(source, options=options)
    except re2.error as error:
        detail = error.args[0] if error.args else ""
        raise ValueError(detail.decode() if isinstance(detail, bytes) else str(detail)) from None
    if found.programsize > MAX_PATTERN:
        raise ValueError("the pattern is too big: fewer or smaller repetitions")
    return found


def matchable(compiled: Any) -> Callable[[Any], str]:
    """The text of a value, if matching it will not take long."""
    limit = min(MAX_TEXT, MAX_MATCHING // compiled.programsize)

    def call(value: Any) -> str:
        if len(text(value)) > limit:
            raise reject("T110")
        return value  # type: ignore[no-any-return]

    return call


def match(source: str) -> Callable[[Any], bool]:
    compiled = pattern(source)
    fits, full = matchable(compiled), compiled.fullmatch

    def call(value: Any) -> bool:
        return value is not None and full(fits(value)) is not None

    return call


def extract(source: str) -> Callable[[Any], str | None]:
    compiled = pattern(source)
    if compiled.groups != 1:
        raise ValueError("the pattern needs exactly one group ( )")
    fits, search = matchable(compiled), compiled.search

    def call(value: Any) -> str | None:
        found = None if value is None else search(fits(value))
        return None if found is None else found.group(1)

    return call


def absolute(value: Any) -> int | Decimal | None:
    if value is None:
        return None
    found = number(value)
    return found if found >= 0 else negative(found)


def rounded(digits: int = 0) -> Callable[[Any], Decimal | None]:
    if not 0 <= digits <= MAX_ROUND:
        raise ValueError("0 to 20 digits")
    unit = Decimal(1).scaleb(-digits)

    def call(value: Any) -> Decimal | None:
        if value is None:
            return None
        exact = Decimal(repr(value)) if value.__class__ is float else Decimal(number(value))
        return exact.quantize(unit, context=ROUNDING)

    return call


def _most(better: Callable[[Any, Any], bool], values: Sequence[Any]) -> Any:
    items: Iterable[Any] = values
    if len(values) == 1 and not isinstance(values[0], (str, int, Decimal, date)):
        if values[0] is None:
            return None
        items = values[0]
    found: Any = None
    for value in items:
        if known(value) is None:
            raise reject("T108")
        if found is None or better(value, found):
            found = value
    return found


def smallest(*values: Any) -> Any:
    return _most(less, values)


def largest(*values: Any) -> Any:
    return _most(greater, values)


def total(values: Iterable[Any]) -> int | Decimal:
    found: int | Decimal = 0
    for value in values:
        found = add(found, value)
    return found


def total_rough(values: Iterable[Any]) -> int | Decimal:
    """Inside round()."""
    found: int | Decimal = 0
    for value in values:
        found = add_rough(found, value)
    return found


def count(values: Iterable[Any]) -> int:
    return len(values) if isinstance(values, (list, tuple)) else sum(1 for _ in values)


def holds_for_any(values: Iterable[Any]) -> bool:
    """Only true and false are conditions: a text is no answer."""
    return any(map(truth, values))


def holds_for_all(values: Iterable[Any]) -> bool:
    return all(map(truth, values))


def first(values: Iterable[Any]) -> Any:
    return next(iter(values), None)


def last(values: Iterable[Any]) -> Any:
    found = None
    for found in values:  # noqa: B007 - the last one is the answer
        pass
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def parse_json(*path: str | int) -> Callable[[Any], Any]:
    def call(value: Any) -> Any:
        if value is None:
            return None
        if len(text(value)) > MAX_DOCUMENT:
            raise reject("T110")
        try:
            found = json.loads(value, parse_float=Decimal, parse_constant=_no_constant)
        except RecursionError:
            raise reject("T110") from None
        except ValueError:
            raise reject("T107") from None
        for step in path:
            if isinstance(found, dict) and isinstance(step, str):
                found = found.get(step)
            elif isinstance(found, list) and isinstance(step, int):
                found = found[step] if 0 <= step < len(found) else None
            elif found is None:
                return None
            else:
                raise reject("T107")
        if isinstance(found, (dict, list)):
            raise reject("T107")
        return _narrow(found)

    return call


def _narrow(value: Any) -> Any:
    """``1e999999999`` is short to write and long to compute with."""
    if value.__class__ is int and not -MAX_INT < value < MAX_INT:
        raise reject("T110")
    if value.__class__ is Decimal:
        _, digits, exponent = value.as_tuple()
        if max(len(digits), len(digits) + int(exponent), -int(exponent)) > MAX_WIDTH:
            raise reject("T110")
    return value


_UNITS: Final = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 0}


def moment(value: str) -> datetime:
    """ISO text with a zone, to UTC. Raises Untranslatable."""
    found = datetime.fromisoformat(value)
    if found.tzinfo is None:
        raise reject("T107")
    return found if found.tzinfo is UTC else found.astimezone(UTC)


def instant(unit: str = "") -> Callable[[Any], datetime | None]:
    if unit and unit not in _UNITS:
        raise ValueError("the unit is 's', 'ms', 'us' or 'ns'")
    factor = _UNITS.get(unit, 0)

    def call(value: Any) -> datetime | None:
        if value is None:
            return None
        if value.__class__ is str and not unit:
            return moment(value)
        if value.__class__ is not int or not unit:
            raise wrong(value)
        return EPOCH + timedelta(microseconds=value * factor if factor else value // 1000)

    return call


def zone(name: str) -> ZoneInfo:
    """Raises ValueError for a zone that does not exist."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"there is no time zone '{name}'") from None


def zoned(name: str) -> Callable[[Any], datetime | None]:
    info = zone(name)

    def call(value: Any) -> datetime | None:
        if value is None:
            return None
        found = value if isinstance(value, datetime) else datetime.fromisoformat(text(value))
        return (found if found.tzinfo else found.replace(tzinfo=info)).astimezone(UTC)

    return call


def day(name: str = "") -> Callable[[Any], date | None]:
    info = zone(name) if name else None

    def call(value: Any) -> date | None:
        if value is None:
            return None
        if value.__class__ is date:
            return value
        found = value if isinstance(value, datetime) else datetime.fromisoformat(text(value))
        if found.tzinfo is not None:
            if info is None:
                raise reject("T107")  # the day of a moment depends on where one stands
            found = found.astimezone(info)
        return found.date()

    return call


def date_from_days(value: Any) -> date | None:
    if value is None:
        return None
    if value.__class__ is not int:
        raise wrong(value)
    return EPOCH_DAY + timedelta(days=value)


def unscaled(scale: int) -> Callable[[Any], Decimal | None]:
    if not 0 <= scale <= MAX_SCALE:
        raise ValueError("a scale of 0 to 38")

    def call(value: Any) -> Decimal | None:
        if value is None:
            return None
        if value.__class__ is int:
            whole = value
        else:
            whole = int.from_bytes(b64decode(bounded_text(text(value)), validate=True), "big", signed=True)
        if not -MAX_INT < whole < MAX_INT:
            raise reject("T110")
        return Decimal(whole).scaleb(-scale, WIDE)

    return call


def to_int(value: Any) -> int | None:
    if value is None or value.__class__ is int:
        return value
    found = number(value)
    if found != (whole := int(found)):
        raise reject("T103")
    return whole


def to_decimal(value: Any) -> Decimal | None:
    return None if value is None else Decimal(number(value))


def to_double(value: Any) -> float | None:
    if value is None or value.__class__ is float:
        return value
    return float(number(value))


def to_string(value: Any) -> str | None:
    if value is None or value.__class__ is str:
        return value
    if value.__class__ is int:
        return str(value)
    if value.__class__ is Decimal:
        return bounded_text(f"{value:f}")
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds")[:-6] + "Z"
    if isinstance(value, date):
        return value.isoformat()
    raise wrong(value)
