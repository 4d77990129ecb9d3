"""Numbers, comparison and truth."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow
from typing import Any, Final

from bridge.model import UNKNOWN

BIGGEST_INT: Final = 2**200
DECIMAL_TEXT: Final = re.compile(r"-?[0-9]{1,100}([.][0-9]{1,100})?")
NUMBERS: Final = (int, Decimal, float)
ORDERED: Final = (int, str, Decimal, float, date, datetime)
_TRAPS: Final = [InvalidOperation, DivisionByZero, Overflow]
EXACT: Final = Context(prec=40, rounding=ROUND_HALF_EVEN, traps=[*_TRAPS, Inexact])
ROUGH: Final = Context(prec=60, rounding=ROUND_HALF_EVEN, traps=_TRAPS)


class RefusedError(Exception):
    """The value cannot be had; ``code`` is the dead letter's."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def known(value: Any) -> Any:
    if value is UNKNOWN:
        raise RefusedError("T104")
    return value


def unfit(value: Any) -> RefusedError:
    """Why a value cannot stand where it stands."""
    if value is UNKNOWN:
        return RefusedError("T104")
    return RefusedError("T108" if value is None else "T107")


def number(value: Any) -> int | Decimal:
    """Whole numbers, decimals and their text."""
    if type(value) in (int, Decimal):
        return value  # type: ignore[no-any-return]
    if isinstance(value, str) and DECIMAL_TEXT.fullmatch(value):
        return Decimal(value)
    raise unfit(value)


def whole(value: Any) -> int:
    found = number(value)
    if int(found) != found:
        raise RefusedError("T103")
    return int(found)


def bounded(value: int) -> int:
    if abs(value) >= BIGGEST_INT:
        raise RefusedError("T110")
    return value


def arithmetic(op: str, left: Any, right: Any, context: Context) -> int | Decimal:
    """``left op right``, both as they came."""
    try:
        if op in {"//", "%"}:
            one, two = whole(left), whole(right)
            return one // two if op == "//" else one % two
        one_, two_ = number(left), number(right)
        if type(one_) is type(two_) is int and op != "/":
            if op == "*":
                bounded(one_)
                bounded(two_)
            return bounded({"+": one_ + two_, "-": one_ - two_, "*": one_ * two_}[op])
        operations: dict[str, Callable[[Any, Any], Decimal]] = {
            "+": context.add, "-": context.subtract, "*": context.multiply, "/": context.divide,
        }  # fmt: skip
        return operations[op](one_, two_)
    except ArithmeticError:
        raise RefusedError("T103") from None


def truth(value: Any) -> bool:
    if value is not True and value is not False:
        raise unfit(value)
    return value


def equal(left: Any, right: Any) -> bool:
    """Null equals null alone; text beside a number is that number's text."""
    known(left)
    known(right)
    if type(left) is type(right):
        return bool(left == right)
    if left is None or right is None:
        return False
    pair = {type(left), type(right)}
    if pair <= set(NUMBERS):
        return bool(left == right)
    if str in pair and pair & set(NUMBERS):
        numbers = [number(side) if isinstance(side, str) else side for side in (left, right)]
        return bool(numbers[0] == numbers[1])
    raise RefusedError("T107")


def before(left: Any, right: Any) -> bool:
    """``left < right``."""
    left, right = comparable(left, right)
    return bool(left < right)


def comparable(left: Any, right: Any) -> tuple[Any, Any]:
    for side in (left, right):
        if side is None or side is UNKNOWN:
            raise unfit(side)
    if type(left) is type(right) and type(left) in ORDERED:
        return left, right
    if float in (type(left), type(right)):
        if type(left) in NUMBERS and type(right) in NUMBERS:
            return left, right
        raise RefusedError("T107")
    return number(left), number(right)
