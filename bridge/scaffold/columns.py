"""What becomes of a column: a field of the model with its type, or nothing, with the reason."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from bridge.mapping.catalog import CatalogColumn, CatalogTable
from bridge.mapping.types import MAX_PRECISION, column_type
from bridge.scaffold import codes
from bridge.scaffold.names import IDS, camel, sayable, table_words, without_prefix, words
from bridge.scaffold.personal import TOKENS
from bridge.scaffold.sample import TableSample

SENTINELS: Final = ("0001-01-01", "1000-01-01", "1753-01-01", "1899-12-30", "1899-12-31", "1900-01-01", "1970-01-01",
                    "2099-12-31", "2999-12-31", "9999-12-31")  # fmt: skip
_TOUCHED: Final = frozenset(
    {"updated", "update", "changed", "modified", "touched", "etl", "dwh", "rowversion", "optlock"}
)
_VERSIONS: Final = (("version",), ("row", "version"), ("lock", "version"), ("opt", "lock"), ("xmin",))
_MADE_BY: Final = ("by", "user")
_UNREADABLE: Final = re.compile(
    r"bytea|.*blob.*|(?:var)?binary.*|image|raw.*|.*\[\]|_\w+|array.*|time(?!stamp).*|interval.*|bit(?! ?\(1\)).*|geo.*|point|"
    r"polygon|line|path|box|circle|ts(?:vector|query)|money|hstore|set\(.*|.*range",
    re.IGNORECASE | re.DOTALL,
)
_SIZE: Final = re.compile(r"\(\s*([0-9]+)\s*(?:,\s*([0-9]+)\s*)?\)")
_CENTS: Final = frozenset({"cents", "cent", "ct", "pence"})
_AMOUNTS: Final = frozenset({"amount", "price", "total", "balance", "premium", "fee", "cost", "sum"})
_AT: Final = frozenset({"date", "time", "timestamp", "at", "on", "datetime"})


@dataclass(slots=True)
class Field:
    """A field of the draft's model. ``source``: its expression; with ``each`` or ``fields`` a list or a record."""

    name: str
    type: str = ""
    source: str = ""
    comment: str = ""
    codes: Mapping[str, str] | None = None
    absent: tuple[str, ...] = ()
    pii: str = ""
    each: str = ""
    order_by: tuple[str, ...] = ()
    fields: list[Field] = field(default_factory=list)
    omitted: list[str] = field(default_factory=list)  # columns that are left out of ``fields``, and why
    state: bool = False  # the status of its table's rows
    key: bool = False  # part of the aggregate id
    looked_up: bool = False  # of a lookup, whose changes are no news


@dataclass(frozen=True, slots=True)
class Place:
    """Where columns are read: ``alias`` of a table; ``bare`` inside its each:, where columns need no alias.

    ``ids``: columns that refer to something, or are the aggregate's key. ``optional``: the row itself may be missing.
    ``taken``: names that are aliases, which a bare column of that name would be read as. ``local``: the shared type of
    times without a zone.
    """

    name: str
    table: CatalogTable
    seen: TableSample
    alias: str
    ids: Mapping[str, str]
    local: str
    bare: bool = False
    optional: bool = False
    taken: Collection[str] = ()

    def read(self, column: str) -> str:
        """The expression that reads a column."""
        return column if self.bare and column not in self.taken else f"{self.alias}.{column}"


def is_technical(column: str) -> bool:
    """Does every write touch it, or does it only serve the program? In the model it would make news of noise."""
    own = words(column)
    by = own[:1] == ("created",) and own[-1] in _MADE_BY
    return by or own in _VERSIONS or not _TOUCHED.isdisjoint(own)


def is_readable(known: CatalogColumn) -> bool:
    """Does the language read values of its type?"""
    return _UNREADABLE.fullmatch(known.type.strip()) is None


def needs_trim(known: CatalogColumn, column: str, seen: TableSample, connector: str) -> bool:
    """Is its text padded with blanks? MySQL takes them off when it reads."""
    padded = re.match(r"(?:char|character|bpchar|nchar)\s*\((\d+)\)", known.type, re.IGNORECASE)
    if padded and int(padded[1]) > 1 and connector not in ("mysql", "mariadb"):
        return True
    return column_type(known.type).kind == "string" and any(text != text.rstrip(" ") for text in seen.texts(column))


def drafted(place: Place, column: str) -> Field | str:
    """The field of a column, or why there is none."""
    known = place.table.columns[column]
    kind = column_type(known.type).kind
    if not sayable(column):
        return "an expression cannot name it"
    if is_technical(column):
        return "technical: every write touches it"
    if not is_readable(known):
        return "types that the language does not read"
    if known.pii and not (known.pii in TOKENS and kind in ("string", "int", "any")):
        return f"personal data: {known.pii}"
    made = _field(place, column, known, kind)
    is_asked = made.type == "bool" and made.source != place.read(column)  # a comparison is true or false, never null
    if not is_asked and _optional(place, column, known, made):
        made.type += "?"
    remark = " ".join(known.comment.split())
    if remark and remark not in made.comment:
        made.comment = f"{made.comment}; {remark}" if made.comment else remark
    return made


def _optional(place: Place, column: str, known: CatalogColumn, made: Field) -> bool:
    if place.optional or made.absent or place.seen.has_null(column):
        return True
    return known.nullable is True or (known.nullable is None and column not in (place.table.key or ()))


def _field(place: Place, column: str, known: CatalogColumn, kind: str) -> Field:
    source, name = place.read(column), _name(place, column)
    if known.pii:
        return Field(name, "token", source, "a reference, never the data itself", pii=known.pii)
    if column in place.ids and kind in ("string", "int", "decimal", "any"):
        return Field(place.ids[column], "string", f"string({source})" if kind == "decimal" else source)
    if (found := codes.flag(column, known, place.seen)) is not None:
        yes, why = found
        value = yes if kind == "int" else f"'{yes}'"
        return Field(
            _without(name, ("Flag", "Indicator", "Ind", "Kz")), "bool", f"{source} == {value}", f"guess: {why}"
        )
    if (listed := codes.codes(column, known, place.seen)) is not None:
        return Field(name, "enum", source, listed.why, listed.values, state=codes.is_state(column))
    if kind == "int":
        return _whole(place, column, known, Field(name, "int", source))
    if kind == "decimal":
        return _decimal(place, column, known, Field(name, "decimal", source))
    if kind in ("date", "timestamp"):
        return _moment(place, column, known, kind, Field(name, kind, source))
    comment = "looks like a code: list its values with type: enum" if codes.is_state(column) else ""
    return Field(name, "string" if kind == "any" else kind, source, comment)


def _name(place: Place, column: str) -> str:
    own = without_prefix(words(column), table_words(place.name))
    return camel(own, "column")


def _without(name: str, endings: tuple[str, ...]) -> str:
    for ending in endings:
        if name.endswith(ending) and len(name) > len(ending):
            return name.removesuffix(ending)
    return name


def id_names(columns: Collection[str], owner: tuple[str, ...]) -> dict[str, str]:
    """What columns that refer to something are called: ``cust_no`` → customerId, a plain ``id`` after its owner."""
    found = {}
    for column in columns:
        own = words(column)
        stem = own[:-1] if own[-1:] and own[-1] in IDS else own
        found[column] = (
            camel((*(stem or owner), "id"), "key") if stem != own or len(columns) == 1 else camel(own, "key")
        )
    return found


# -- numbers and times -------------------------------------------------------------------------------------------------


def _whole(place: Place, column: str, known: CatalogColumn, made: Field) -> Field:
    own = words(column)
    if _CENTS.isdisjoint(own):
        if own and own[-1] in _AMOUNTS:
            made.comment = "guess: whole units; if it holds cents: decimal(12,2) = … / 100"
        return made
    made.name = camel(
        without_prefix(tuple(w for w in own if w not in _CENTS), table_words(place.name)) or own, "column"
    )
    made.type = "decimal(18,2)" if known.type.lower().startswith(("bigint", "int8")) else "decimal(12,2)"
    divided = f"{made.source} / 100"
    if _optional(place, column, known, made):
        divided += f" if {made.source} is not None else None"
    made.source = divided
    return made


def _decimal(place: Place, column: str, known: CatalogColumn, made: Field) -> Field:
    size = _SIZE.search(known.type)
    if size and int(size[1]) <= MAX_PRECISION:
        scale = int(size[2] or 0)
        made.type = f"decimal({max(int(size[1]), scale, 1)},{scale})"
        return made
    texts = [str(value) for value in place.seen.values(column)]
    scale = max([2, *(len(text.partition(".")[2]) for text in texts)])
    made.type = f"decimal({MAX_PRECISION},{min(scale, 18)})"
    made.comment = f"guess: {known.type} has no size; what does not fit exactly becomes a dead letter"
    return made


def _moment(place: Place, column: str, known: CatalogColumn, kind: str, made: Field) -> Field:
    days = {str(value)[:10] for value in place.seen.values(column)} | {(known.default or "").strip("'")[:10]}
    made.absent = tuple(day for day in SENTINELS if day in days and day != "1970-01-01")
    if made.absent:
        made.comment = "guess: days that occur, or the column's default; do they mean none?"
    own = without_prefix(words(column), table_words(place.name))
    if kind == "timestamp":
        stem = own[:-1] if own[-1:] and own[-1] in _AT and len(own) > 1 else own
        made.name = camel((*stem, "at"), "column") if stem != own else made.name
        text = known.type.lower()
        if "timestamptz" not in text and "with time zone" not in text:
            made.type = place.local
    return made
