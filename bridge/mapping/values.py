"""Arithmetic and comparison at run time: exact, bounded, and strict about null and unknown.

The generated code uses plain Python where the types allow it and calls these where a column's value might be decimal
text,
null or unknown. Every failure is ``Untranslatable`` with a code of ``RUNTIME_CODES``; the caller adds field and place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow
from typing import Any, Final

from bridge.errors import Untranslatable
from bridge.mapping.diagnostics import RUNTIME_CODES
from bridge.model import UNKNOWN

MAX_TEXT: Final = 64 * 1024
MAX_INT: Final = 1 << 200

EXACT: Final = Context(prec=40, rounding=ROUND_HALF_EVEN, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])
ROUGH: Final = Context(
    prec=60, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, DivisionByZero, Overflow]
)  # only inside round()

_DECIMAL_TEXT: Final = re.compile(r"-?[0-9]{1,100}(?:\.[0-9]{1,100})?").fullmatch


def reject(code: str) -> Untranslatable:
    """The error of one run-time code; field and place come later."""
    return Untranslatable(RUNTIME_CODES[code], code=code)


def known(value: Any) -> Any:
    if value is UNKNOWN:
        raise reject("T104")
    return value


def unknown() -> Any:
    """Called in the generated code where a column's value turns out to be unknown."""
    raise reject("T104")


def wrong(value: Any) -> Untranslatable:
    """Why a value is no good here: unknown, null, or of another type."""
    return reject("T104" if value is UNKNOWN else "T108" if value is None else "T107")


def number(value: Any) -> int | Decimal:
    """An int or Decimal as it is, decimal text as its number; everything else is refused (floats and bools too)."""
    kind = value.__class__
    if kind is int or kind is Decimal:
        return value  # type: ignore[no-any-return]
    if kind is str and _DECIMAL_TEXT(value):
        return Decimal(value)
    raise wrong(value)


def number_or_null(value: Any) -> int | Decimal | None:
    return None if value is None else number(value)


def bounded(value: int) -> int:
    if -MAX_INT < value < MAX_INT:
        return value
    raise reject("T110")


def bounded_text(value: str) -> str:
    if len(value) > MAX_TEXT:
        raise reject("T110")
    return value


def add(left: Any, right: Any) -> int | Decimal:
    if left.__class__ is int and right.__class__ is int:
        return bounded(left + right)
    return EXACT.add(number(left), number(right))


def subtract(left: Any, right: Any) -> int | Decimal:
    if left.__class__ is int and right.__class__ is int:
        return bounded(left - right)
    return EXACT.subtract(number(left), number(right))


def multiply(left: Any, right: Any) -> int | Decimal:
    if left.__class__ is int and right.__class__ is int:
        return bounded(bounded(left) * bounded(right))
    return EXACT.multiply(number(left), number(right))


def divide(left: Any, right: Any) -> Decimal:
    """Exact, or an error."""
    if left.__class__ is int and right.__class__ is int:
        return EXACT.divide(left, right)
    return EXACT.divide(number(left), number(right))


def divide_rough(left: Any, right: Any) -> Decimal:
    """Inside round(): 60 digits are exact enough."""
    return ROUGH.divide(number(left), number(right))


def multiply_rough(left: Any, right: Any) -> int | Decimal:
    if left.__class__ is int and right.__class__ is int:
        return bounded(bounded(left) * bounded(right))
    return ROUGH.multiply(number(left), number(right))


def add_rough(left: Any, right: Any) -> int | Decimal:
    if left.__class__ is int and right.__class__ is int:
        return bounded(left + right)
    return ROUGH.add(number(left), number(right))


def subtract_rough(left: Any, right: Any) -> int | Decimal:
    if left.__class__ is int and right.__class__ is int:
        return bounded(left - right)
    return ROUGH.subtract(number(left), number(right))


def _whole(value: Any) -> int:
    if value.__class__ is int:
        return value
    plain = number(value)
    if plain != (whole := int(plain)):
        raise reject("T103")
    return whole


def floor_divide(left: Any, right: Any) -> int:
    """Whole numbers only; rounds down, as the remainder expects."""
    return _whole(left) // _whole(right)


def remainder(left: Any, right: Any) -> int:
    return _whole(left) % _whole(right)


def negative(value: Any) -> int | Decimal:
    if value.__class__ is int:
        return -value
    return EXACT.minus(number(value))


def truth(value: Any) -> bool:
    """A value that stands where true or false is needed: only those two."""
    if value is True or value is False:
        return value
    raise wrong(value)


_NUMBERS = (int, Decimal, float)


def equal(left: Any, right: Any) -> bool:
    """``==`` between values of whatever source: decimal text is a number beside a number; null equals null alone."""
    if left is UNKNOWN or right is UNKNOWN:
        raise reject("T104")
    kind, other = left.__class__, right.__class__
    if kind is other:
        return bool(left == right)
    if left is None or right is None:
        return False
    if kind in _NUMBERS and other in _NUMBERS:
        return bool(left == right)
    if kind is str and other in _NUMBERS:
        return bool(number(left) == right)
    if other is str and kind in _NUMBERS:
        return bool(left == number(right))
    raise reject("T107")


def unequal(left: Any, right: Any) -> bool:
    return not equal(left, right)


def contained(value: Any, items: Iterable[Any]) -> bool:
    """``value in items``."""
    known(value)
    return any(equal(value, item) for item in items)


def _ordered(left: Any, right: Any) -> tuple[Any, Any]:
    """Both sides, ready for ``<``."""
    kind, other = left.__class__, right.__class__
    if kind is other and kind in _ORDERED:
        return left, right
    if kind is float or other is float:
        return (left, right) if {kind, other} <= {int, Decimal, float} else _refuse(left, right)
    if kind in _NUMBERS or other in _NUMBERS:
        return number(left), number(right)
    return _refuse(left, right)


_ORDERED = (int, str, Decimal, float, date, datetime)


def _refuse(left: Any, right: Any) -> tuple[Any, Any]:
    for value in (left, right):
        if value is None or value is UNKNOWN:
            raise wrong(value)
    raise reject("T107")


def less(left: Any, right: Any) -> bool:
    left, right = _ordered(left, right)
    return bool(left < right)


def less_equal(left: Any, right: Any) -> bool:
    left, right = _ordered(left, right)
    return bool(left <= right)


def greater(left: Any, right: Any) -> bool:
    left, right = _ordered(left, right)
    return bool(left > right)


def greater_equal(left: Any, right: Any) -> bool:
    left, right = _ordered(left, right)
    return bool(left >= right)


def sort_value(value: Any) -> tuple[bool, Any]:
    """For ordering rows: nulls last, as PostgreSQL does."""
    known(value)
    return (True, 0) if value is None else (False, value)
