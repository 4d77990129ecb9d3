"""Which columns likely hold personal data: by what they are called, and by what their values look like.

A mark too many costs a person one deletion; a mark too few publishes somebody's address. So names alone are enough.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from msgspec import structs

from bridge.mapping.catalog import Catalog, CatalogColumn, CatalogTable
from bridge.mapping.types import column_type
from bridge.scaffold.names import table_words, words
from bridge.scaffold.sample import Sample, TableSample, of

TOKENS: Final = ("email", "phone", "iban", "tax_id", "card", "national_id")  # worth a reference; the rest is left out

_WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "email": ("email", "mail", "e mail"),
    "phone": ("phone", "mobile", "fax", "cell", "telephone", "telefon", "handy"),
    "iban": ("iban", "bic", "account number", "bank account"),
    "card": ("card number", "pan", "credit card", "cvv", "cvc"),
    "tax_id": ("tax id", "tax number", "vat id", "vat number", "tin", "steuer id"),
    "national_id": ("ssn", "passport", "national id", "social security", "nino", "sin", "bsn"),
    "birth_date": ("birth", "birthday", "birthdate", "geburtsdatum", "born"),
    "ip": ("ip", "ip address"),
    "address": (
        "address", "street", "zip", "postcode", "postal code", "line 1", "line 2", "strasse", "city", "town",
        "house number", "ort",
    ),
    "name": (
        "firstname", "lastname", "surname", "first name", "last name", "full name", "middle name", "given name",
        "family name", "maiden name", "vorname", "nachname", "contact name", "holder", "salutation", "anrede",
    ),
    "user": ("user name", "username", "login", "password"),
    "free_text": ("remark", "note", "notes", "comment", "remarks", "comments", "memo", "notiz", "bemerkung"),
}  # fmt: skip
_PEOPLE: Final = frozenset(
    """
    agent applicant beneficiary client contact customer doctor driver employee guest holder insured kunde
    member owner party passenger patient person people physician policyholder recipient student subscriber tenant user
    """.split()
)
_MAYBE_COUNTRY: Final = frozenset({"country", "region", "type", "status", "kind", "count", "verified", "flag"})
_SHAPES: Final[Mapping[str, re.Pattern[str]]] = {
    "email": re.compile(r"[^@\s]+@[^@\s]+\.[A-Za-z]{2,}"),
    "iban": re.compile(r"[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?"),
    "phone": re.compile(r"(?:\+|00)[0-9][0-9 ()/.-]{6,18}"),
    "ip": re.compile(r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}"),
}
SHARE: Final = 0.8  # of the values that have the shape


def marked(catalog: Catalog, sample: Sample) -> Catalog:
    """The catalog with ``pii:`` on every column that likely holds personal data; marks that are there stay."""
    return structs.replace(
        catalog, tables={name: _table(name, table, of(sample, name)) for name, table in catalog.tables.items()}
    )


def _table(name: str, table: CatalogTable, sample: TableSample) -> CatalogTable:
    keys = {*(table.key or ()), *(column for key in table.foreign_keys for column in key.columns)}
    kinds = {column: known.pii or kind_of(name, column, known, sample) for column, known in table.columns.items()}
    people = not _TELLING.isdisjoint(kinds.values())  # who has a birthday or an address has a name
    columns = {}
    for column, known in table.columns.items():
        kind = "name" if people and not kinds[column] and _may_be_name(column, known) else kinds[column]
        columns[column] = known if column in keys and kind in _WEAK else structs.replace(known, pii=kind)
    return structs.replace(table, columns=columns)


def _may_be_name(column: str, known: CatalogColumn) -> bool:
    return words(column)[-1:] == ("name",) and column_type(known.type).kind == "string"


_TELLING: Final = frozenset({"email", "phone", "birth_date", "tax_id", "national_id"})
_WEAK: Final = ("name", "address", "free_text", "")  # as a key such a column holds a code, not a person's data


def kind_of(table: str, column: str, known: CatalogColumn, sample: TableSample) -> str:
    """The kind of personal data of a column, '' for none."""
    kind = column_type(known.type).kind
    said = _by_name(table_words(table), words(column))
    if said == "birth_date":
        return said if kind in ("date", "timestamp", "string", "any") else ""
    if kind not in ("string", "any") and not (kind == "int" and said in TOKENS):
        return ""
    return said or _by_values([text.strip() for text in sample.texts(column) if text.strip()])


def _by_name(table: tuple[str, ...], column: tuple[str, ...]) -> str:
    if not column or column[-1] in _MAYBE_COUNTRY:
        return ""
    text = f" {' '.join(column)} "
    for kind, phrases in _WORDS.items():
        if any(f" {phrase} " in text for phrase in phrases):
            return kind
    people = _PEOPLE.intersection((*table, *column))
    return "name" if column[-1] == "name" and people and not _looks_like_a_list(table) else ""


def _looks_like_a_list(table: tuple[str, ...]) -> bool:
    """``customer_type.name`` names a type, not a person."""
    return bool(table) and table[-1] in ("type", "category", "group", "role", "status", "class", "tier", "kind")


def _by_values(texts: list[str]) -> str:
    for kind, shape in _SHAPES.items():
        if texts and sum(shape.fullmatch(text) is not None for text in texts) >= SHARE * len(texts):
            return kind
    return ""
