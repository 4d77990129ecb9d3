"""The functions of the expression language: one table with signature, example and meaning, from which the docs are
made.

Null goes through: a function of null is null, except where a line says otherwise. Constant parameters are bound at
load.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from bridge.mapping import library as b
from bridge.mapping.types import ANY, BOOL, DATE, DECIMAL, DOUBLE, INT, STRING, TIMESTAMP, Type, join

Result = Type | Callable[[Sequence[Type]], Type]


@dataclass(frozen=True, slots=True)
class Function:
    """``parameters``: kinds, ``?`` at the end for one that may be left out, ``*`` for any number of them.

    Kinds: any, string, number, scalar, list, bools, and the constants text!, int!, zone!, unit!, pattern!, step!.
    ``call`` takes the plain arguments; if there is a constant parameter it is ``call(*constants)`` that gives the
    function.
    """

    name: str
    parameters: tuple[str, ...]
    result: Result
    call: Callable[..., Any]
    example: str
    gives: str
    meaning: str
    nullable: bool = False  # may give null although no argument is null
    bound: bool = False

    def result_type(self, arguments: Sequence[Type]) -> Type:
        found = self.result if isinstance(self.result, Type) else self.result(arguments)
        through = any(a.optional for a in arguments) and self.name not in NULL_PROOF
        return found.maybe() if self.nullable or through else found


NULL_PROOF: Final = frozenset({"coalesce", "count", "any", "all", "sum", "match"})


def _first(arguments: Sequence[Type]) -> Type:
    kind = arguments[0]
    return (kind.item or ANY) if kind.kind == "list" else kind


def _most(arguments: Sequence[Type]) -> Type:
    if len(arguments) == 1:
        return _first(arguments).maybe()
    found = arguments[0]
    for kind in arguments[1:]:
        found = join(found, kind)
    return found


def _coalesced(arguments: Sequence[Type]) -> Type:
    found = arguments[-1]
    for kind in reversed(arguments[:-1]):
        found = Type.maybe(join(kind, found)) if found.optional else replace(join(kind, found), optional=False)
    return found


def _number(arguments: Sequence[Type]) -> Type:
    return INT if _first(arguments).kind == "int" else DECIMAL


_TABLE: Final[tuple[Function, ...]] = (
    Function(
        "coalesce",
        ("any", "any*"),
        _coalesced,
        b.coalesce,
        "coalesce(null, 'EUR')",
        "'EUR'",
        "the first that is not null",
    ),
    Function("trim", ("string",), STRING, b.trim, "trim(' a ')", "'a'", "without spaces at both ends"),
    Function("ltrim", ("string",), STRING, b.ltrim, "ltrim(' a ')", "'a '", "without spaces at the start"),
    Function("rtrim", ("string",), STRING, b.rtrim, "rtrim(' a ')", "' a'", "without spaces at the end"),
    Function("upper", ("string",), STRING, b.upper, "upper('eur')", "'EUR'", "in capitals"),
    Function("lower", ("string",), STRING, b.lower, "lower('EUR')", "'eur'", "in small letters"),
    Function(
        "substring",
        ("string", "number", "number?"),
        STRING,
        b.substring,
        "substring('ABC-1', 1, 3)",
        "'ABC'",
        "from a position (the first is 1, as in SQL), so many characters or to the end",
    ),
    Function(
        "replace",
        ("string", "text!", "text!"),
        STRING,
        b.replace,
        "replace('1.234,5', '.', '')",
        "'1234,5'",
        "with every occurrence replaced",
        bound=True,
    ),
    Function(
        "concat", ("scalar*",), STRING, b.concat, "concat('A', 7)", "'A7'", "texts and numbers one after the other"
    ),
    Function("len", ("string",), INT, b.length, "len('abc')", "3", "the number of characters"),
    Function(
        "pad_left",
        ("scalar", "int!", "text!"),
        STRING,
        b.pad_left,
        "pad_left(7, 3, '0')",
        "'007'",
        "filled from the left up to a length",
        bound=True,
    ),
    Function(
        "match",
        ("string", "pattern!"),
        BOOL,
        b.match,
        "match('A-1', '[A-Z]-[0-9]+')",
        "true",
        "does the whole text match the RE2 pattern (null does not)",
        bound=True,
    ),
    Function(
        "extract",
        ("string", "pattern!"),
        STRING,
        b.extract,
        "extract('A-17', '([0-9]+)')",
        "'17'",
        "what the pattern's group matches first; null if nothing",
        nullable=True,
        bound=True,
    ),
    Function("abs", ("number",), _number, b.absolute, "abs(-3)", "3", "without the sign"),
    Function(
        "round",
        ("number", "int!?"),
        DECIMAL,
        b.rounded,
        "round(10 / 3, 2)",
        "3.33",
        "to so many digits after the point, half away from zero; makes an inexact division or a double allowed",
        bound=True,
    ),
    Function(
        "min", ("any", "any*"), _most, b.smallest, "min(3, 2)", "2", "the smallest; of a list: null if it is empty"
    ),
    Function("max", ("any", "any*"), _most, b.largest, "max(3, 2)", "3", "the largest; of a list: null if it is empty"),
    Function("sum", ("list",), _number, b.total, "sum(x.qty for x in lines)", "6", "the sum; 0 for an empty list"),
    Function("count", ("list",), INT, b.count, "count(x for x in lines if x.qty > 1)", "2", "how many there are"),
    Function(
        "any",
        ("bools",),
        BOOL,
        b.holds_for_any,
        "any(x.qty > 2 for x in lines)",
        "true",
        "does it hold for one of them",
    ),
    Function(
        "all", ("bools",), BOOL, b.holds_for_all, "all(x.qty > 2 for x in lines)", "false", "does it hold for every one"
    ),
    Function(
        "first", ("list",), _first, b.first, "first(x.qty for x in lines)", "1", "the first, or null", nullable=True
    ),
    Function("last", ("list",), _first, b.last, "last(x.qty for x in lines)", "3", "the last, or null", nullable=True),
    Function(
        "parse_json",
        ("string", "step!*"),
        ANY,
        b.parse_json,
        "parse_json('{\"a\": [7]}', 'a', 0)",
        "7",
        "the text, number or boolean at a constant path of a JSON text; null where the path ends before",
        nullable=True,
        bound=True,
    ),
    Function(
        "instant",
        ("scalar", "unit!?"),
        TIMESTAMP,
        b.instant,
        "string(instant(0, 'ms'))",
        "'1970-01-01T00:00:00.000000Z'",
        "a moment: so many s, ms, us or ns since 1970, or ISO text with a zone",
        bound=True,
    ),
    Function(
        "tz",
        ("any", "zone!"),
        TIMESTAMP,
        b.zoned,
        "string(tz('2026-01-01T00:00:00', 'Europe/Paris'))",
        "'2025-12-31T23:00:00.000000Z'",
        "the moment that a zone-less time means in a zone",
        bound=True,
    ),
    Function(
        "date",
        ("any", "zone!?"),
        DATE,
        b.day,
        "string(date('2026-01-01T23:30:00Z', 'Europe/Paris'))",
        "'2026-01-02'",
        "the day of ISO text or, in a zone, of a moment",
        bound=True,
    ),
    Function(
        "date_from_days",
        ("number",),
        DATE,
        b.date_from_days,
        "string(date_from_days(1))",
        "'1970-01-02'",
        "days since 1970",
    ),
    Function(
        "unscaled",
        ("scalar", "int!"),
        DECIMAL,
        b.unscaled,
        "unscaled('B9A=', 2)",
        "20.00",
        "a decimal from its unscaled integer, or the base64 of its bytes",
        bound=True,
    ),
    Function(
        "int", ("scalar",), INT, b.to_int, "int('7')", "7", "a whole number from text or a decimal without fraction"
    ),
    Function("decimal", ("scalar",), DECIMAL, b.to_decimal, "decimal('7.50')", "7.50", "a decimal from text"),
    Function("string", ("any",), STRING, b.to_string, "string(7)", "'7'", "text of a number, date or moment"),
    Function("double", ("any",), DOUBLE, b.to_double, "double(0.5)", "0.5", "a binary floating-point number"),
)

FUNCTIONS: Final[dict[str, Function]] = {function.name: function for function in _TABLE}
PREDICATES: Final = {
    "created": "created(): the aggregate is new",
    "deleted": "deleted(): the aggregate is gone; bare names are then what it was",
    "became": "became(field, value): it has this value now and had not before",
    "changed": "changed(field, …): one of them differs from before; false for a new aggregate",
    "passed": "passed(field, value): it had this value at some step inside the unit",
}
