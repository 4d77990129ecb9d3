"""Types: what a declaration says, what a column has, and what an expression gives."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from bridge.mapping.diagnostics import did_you_mean

MAX_PRECISION: Final = 38


@dataclass(frozen=True, slots=True)
class Type:
    """``kind`` is any, null, bool, int, decimal, double, string, date, timestamp, enum, list, record or row.

    ``raw`` marks a column's value: decimals, dates and timestamps are still text there. ``fields`` are a record's (or a
    list of records') names and types; ``item`` is what a list of plain values holds.
    """

    kind: str
    optional: bool = False
    precision: int = 0
    scale: int = 0
    symbols: tuple[str, ...] = ()
    fields: tuple[tuple[str, Type], ...] = ()
    item: Type | None = None
    raw: bool = False
    pii: str = ""  # of a token: the kind of personal data

    def __str__(self) -> str:
        size = f"({self.precision},{self.scale})" if self.kind == "decimal" and self.precision else ""
        return self.kind + size + ("?" if self.optional else "")

    @property
    def numeric(self) -> bool:
        return self.kind in {"int", "decimal"}

    def maybe(self) -> Type:
        """The same, but null is possible."""
        return self if self.optional else replace(self, optional=True)

    def field_names(self) -> list[str]:
        return [name for name, _ in self.fields]


ANY: Final = Type("any", optional=True)
RAW: Final = Type("any", optional=True, raw=True)
NULL: Final = Type("null", optional=True)
BOOL: Final = Type("bool")
INT: Final = Type("int")
DECIMAL: Final = Type("decimal")
DOUBLE: Final = Type("double")
STRING: Final = Type("string")
DATE: Final = Type("date")
TIMESTAMP: Final = Type("timestamp")
ROW: Final = Type("row")

PLAIN: Final = ("string", "int", "bool", "double", "date", "timestamp")
_DECLARED = re.compile(r"([A-Za-z_]+)(?:\(\s*([0-9]+)\s*(?:,\s*([0-9]+)\s*)?\))?(\?)?")


def parse_type(text: str) -> tuple[Type | None, str]:
    """A declared type: ``string``, ``int?``, ``decimal(12,2)``, ``enum`` … or (None, what is wrong with it)."""
    match = _DECLARED.fullmatch(text.strip())
    if match is None:
        return None, "write it as string, int?, decimal(12,2) …"
    kind, precision, scale, optional = match.groups()
    if kind == "decimal":
        if precision is None:
            return None, "decimal needs its size: decimal(12,2)"
        digits, fraction = int(precision[:4]), int((scale or "0")[:4])
        if not 1 <= digits <= MAX_PRECISION or fraction > digits:
            return None, f"a decimal has 1 to {MAX_PRECISION} digits, and no more of them after the point"
        return Type("decimal", bool(optional), digits, fraction), ""
    if kind not in (*PLAIN, "enum", "token"):
        known = (*PLAIN, "decimal", "enum", "token")
        return None, did_you_mean(kind, known) or f"there are {', '.join(PLAIN)}, decimal(p,s), enum and token"
    if precision is not None:
        return None, f"{kind} has no size"
    return Type(kind, bool(optional)), ""


def has_tokens(kind: Type) -> bool:
    """Is there a token in it, however deep?"""
    inner = [one for _, one in kind.fields] + ([kind.item] if kind.item is not None else [])
    return kind.kind == "token" or any(has_tokens(one) for one in inner)


_SQL: Final[tuple[tuple[str, Type], ...]] = (
    (r"(?:tiny|small|medium|big)?(?:int(?:eger)?|serial)[0-9]*\b.*", INT),
    (r"(?:big|small)?serial[0-9]*|year(?:\(4\))?|oid", INT),
    (r"bool(?:ean)?|bit(?:\(1\))?", BOOL),
    (r"bit\b.*|varbit\b.*", INT),
    (r"(?:numeric|decimal|dec|money|number)\b.*", DECIMAL),
    (r"(?:real|float[48]?|double)\b.*", DOUBLE),
    (r"date", DATE),
    (r"(?:timestamp|timestamptz|datetime)\b.*", TIMESTAMP),
    (
        r"(?:n?var)?char\b.*|n?char\b.*|\"char\"|character\b.*|bpchar\b.*|(?:tiny|medium|long)?text\b.*|citext|name",
        STRING,
    ),
    (r"uuid|jsonb?|xml|ltree|hstore|tsvector|isbn|is[ms]n|upc|inet[46]?|cidr|macaddr8?|(?:enum|set)\b.*", STRING),
    (r"(?:int4|int8|num|ts|tstz|date)range|time(?:tz)?\b.*", STRING),
    (r"bytea|(?:var)?binary\b.*|(?:tiny|medium|long)?blob\b.*", STRING),
    (
        r"geometry\b.*|geography\b.*|point|linestring|polygon|multi(?:point|linestring|polygon)|geom(?:etry)?collection",
        STRING,
    ),
)
_SQL_PATTERNS: Final = tuple((re.compile(pattern), kind) for pattern, kind in _SQL)


def column_type(sql: str) -> Type:
    """The type of a column's value from the catalog's SQL type; any where the catalog says nothing that is known
    here.
    """
    text = sql.strip().lower()
    if text.endswith("]"):  # an array
        return RAW
    for pattern, kind in _SQL_PATTERNS:
        if pattern.fullmatch(text):
            return replace(kind, optional=True, raw=True)
    return RAW


def join(left: Type, right: Type) -> Type:
    """The type of a value that is one or the other."""
    optional = left.optional or right.optional
    if left.kind == "null":
        return right.maybe()
    if right.kind == "null":
        return left.maybe()
    raw = left.raw or right.raw
    if left.kind == right.kind and left.kind != "enum":
        return replace(left, optional=optional, raw=raw, precision=0, scale=0)
    kinds = {left.kind, right.kind}
    if kinds == {"int", "decimal"}:
        return Type("decimal", optional, raw=raw)
    if "token" in kinds:
        return Type("token", optional)  # what may be personal stays so
    if kinds <= {"enum", "string"}:
        symbols = (*left.symbols, *right.symbols) if kinds == {"enum"} else ()
        return Type("enum" if symbols else "string", optional, symbols=tuple(dict.fromkeys(symbols)), raw=raw)
    return Type("any", optional, raw=raw)


def fits(given: Type, declared: Type) -> bool:
    """Could a value of type ``given`` ever be converted to ``declared``? Nulls are not this question."""
    if "any" in {given.kind, declared.kind} or given.kind == "null":
        return True
    allowed = {
        "string": {"string", "int", "enum"},
        "enum": {"string", "enum", "int", "bool"},
        "int": {"int", "decimal"},
        "decimal": {"int", "decimal"},
        "double": {"double", "int", "decimal"},
        "timestamp": {"timestamp"},
        "date": {"date"},
        "bool": {"bool"},
        "token": {"string", "int", "enum", "token"},
    }
    if given.kind == "string" and declared.kind in {"date", "timestamp"}:
        return True  # text columns hold dates often enough; the conversion reads them strictly
    return given.kind in allowed.get(declared.kind, {declared.kind})


def comparable(left: Type, right: Type) -> bool:
    """Could ``==`` or ``<`` between the two ever say something useful?"""
    if "any" in {left.kind, right.kind} or "null" in {left.kind, right.kind}:
        return True
    if left.numeric and right.numeric:
        return True
    text = {"string", "enum"}
    if left.kind in text and right.kind in text:
        return True
    dates = {"date", "timestamp"}
    if (left.kind in dates and left.raw and right.kind == "string") or (
        right.kind in dates and right.raw and left.kind == "string"
    ):
        return True  # ISO text orders as the dates do
    return (
        left.kind == right.kind
        and left.kind not in {"list", "record", "row"}
        and not (left.kind in dates and left.raw != right.raw)
    )
