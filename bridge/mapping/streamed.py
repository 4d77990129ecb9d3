"""Which columns PostgreSQL's change stream is without, or loses the values of, though the catalog has them.

Measured on Debezium 3.5 with PostgreSQL 18 (tests/types): generated columns and types that the connector does not know are
left out of records, a ``name`` and an array of bit strings arrive as null. MySQL and MariaDB send every column.
"""

from __future__ import annotations

import re
from typing import Final

from bridge.mapping.catalog import Catalog, CatalogColumn

_LEFT_OUT: Final = re.compile(
    r"line|lseg|box|path|polygon|circle|tsquery|jsonpath|[a-z0-9]*multirange|pg_lsn|xid8?|cid|tid|reg[a-z]+|(?:txid|pg)_snapshot"
)
_ARRAY_LEFT_OUT: Final = re.compile(r"money|interval.*|point|name|xml|bit.*|varbit.*")
WITHOUT: Final = "leave it out, or let the database keep it in an ordinary column, of a type such as text"
# Arrays whose placeholder for "unchanged, and not in the record" the bridge knows.
_ARRAY_TOLD: Final = re.compile(
    r"integer|int4?|bigint|int8|date|uuid|bytea|hstore|text|citext|(?:character|varchar|bpchar|char)\b.*"
)


def lost(column: CatalogColumn, catalog: Catalog | None) -> str:
    """Why the stream has no value of a column; "" where it has."""
    if catalog is None or catalog.connector != "postgresql":
        return ""
    if (column.default or "").startswith("generated always as ("):
        return "it is generated, and generated columns are not published"
    base = column.type.strip().lower().rstrip("[]0123456789")
    array = column.type.rstrip().endswith("]")
    if _LEFT_OUT.fullmatch(base) or (array and _ARRAY_LEFT_OUT.fullmatch(base)):
        return f"the connector does not know the type {column.type}"
    if base == "name":
        return "the connector sends null for the type name"
    if "." in base and not base.startswith("enum("):
        return f"the connector does not know composite types such as {column.type}"
    return ""


def may_be_nulled(column: CatalogColumn, catalog: Catalog | None, table: str) -> bool:
    """Whether an UPDATE of a big row may bring null for a value that it did not touch (TOAST)."""
    if catalog is None or catalog.connector != "postgresql" or catalog.tables[table].replica_identity == "full":
        return False
    text = column.type.strip().lower()
    return text.endswith("]") and not _ARRAY_TOLD.fullmatch(text.partition("[")[0])
