"""The shape of source catalogs as JSON Schema, for editors: pure data, in step with ``bridge.mapping.catalog`` by a test."""

from __future__ import annotations

from typing import Final

from bridge.mapping.catalog import ACTIONS, IDENTITIES
from bridge.mapping.schema_parts import DOC, DRAFT, SCALAR, Schema, mapping, one_or_list, record, text

_COLUMNS: Final = one_or_list("Names of columns.", {"type": SCALAR})
CATALOG_COLUMN: Final = record(
    "A column: its SQL type in short form, or with more of what is known.",
    {
        "type": text("The SQL type as the database writes it; of an enum enum('N','P').", required=True),
        "nullable": {"description": "Whether it takes null; left out: nobody knows.", "type": ["boolean", "null"]},
        "default": text("Its DEFAULT."),
        "comment": text("The database's comment."),
        "pii": text("The kind of personal data that it holds.", examples=["email", "name", "phone", "birthday"]),
    },
    "type",
)
FOREIGN_KEY: Final = record(
    "columns of this table reference to of another, pairwise.",
    {
        "columns": _COLUMNS,
        "references": text("The other table.", required=True),
        "to": _COLUMNS,
        "on_delete": {
            "description": "What a DELETE there does here.",
            "enum": [*ACTIONS, None],
            "default": "no action",
        },
        "on_update": {
            "description": "What an UPDATE of its key does here.",
            "enum": [*ACTIONS, None],
            "default": "no action",
        },
    },
    "columns",
    "references",
    "to",
)
CATALOG_TABLE: Final = record(
    "A table, by the name that Debezium gives it: schema.table (database.table on MySQL and MariaDB).",
    {
        "columns": mapping(
            "Every column.", {"anyOf": [text("SQL type, not null or null.", required=True), CATALOG_COLUMN]}
        ),
        "key": one_or_list("The primary key; [] where there is none, left out where nobody knows.", {"type": SCALAR}),
        "foreign_keys": {"description": "To other tables.", "type": ["array", "null"], "items": FOREIGN_KEY},
        "replica_identity": {"description": "PostgreSQL's REPLICA IDENTITY.", "enum": [*IDENTITIES, None]},
        "comment": text("The database's comment."),
    },
    "columns",
)
CATALOG: Final[Schema] = {
    "$schema": DRAFT,
    "title": "A source catalog of the bridge",
    **record(
        "Tables, columns, keys and foreign keys of a source's database.",
        {
            "connector": text("The connector that reads it.", examples=["postgresql", "mysql", "mariadb"]),
            "tables": mapping("By name.", CATALOG_TABLE),
            "doc": DOC,
        },
        "tables",
    ),
}
