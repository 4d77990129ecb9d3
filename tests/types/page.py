"""The tables of mappings/types.md: all types, from what was measured."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, Final

from bridge.mapping.types import column_type
from tests.types.stored import STREAMED, columns, records, types

_BY: Final = {
    "decimal": ("decimal.handling.mode", "precise"),
    "money": ("money.fraction.digits", "2"),
    "time": ("time.precision.mode", "default"),
    "binary": ("binary.handling.mode", "bytes"),
    "interval": ("interval.handling.mode", "numeric"),
    "hstore": ("hstore.handling.mode", "json"),
    "unsigned": ("bigint.unsigned.handling.mode", "long"),
}
_LONG: Final = 60


def _property(sql: str) -> tuple[str, ...]:
    """The modes that change how a type is written."""
    base = sql.partition("(")[0].removesuffix("[]").split()[0]
    if base in {"numeric", "decimal", "amount"}:
        return ("decimal",)
    if base == "money":
        return ("decimal", "money")
    if base in {"date", "time", "timestamp", "datetime"}:
        return ("time",)
    if base in {"bytea", "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"}:
        return ("binary",)
    if base == "bigint":
        return ("unsigned",)
    return (base,) if base in _BY else ()


BEGIN: Final = "<!-- types:begin -->\n"
END: Final = "<!-- types:end -->\n"


def page(text: str) -> str:
    """The page's text with its tables as they should be."""
    before, _, rest = text.partition(BEGIN)
    parts = []
    for server, name in (("postgresql", "PostgreSQL"), ("mariadb", "MariaDB")):
        parts.append(
            f"## {name}\n\n| column | mode | schema | on the wire | type | value |\n|---|---|---|---|---|---|\n"
        )
        parts += [f"| {' | '.join(row)} |\n" for row in _rows(server)]
        parts.append("\n")
    return before + BEGIN + "".join(parts) + END + rest.partition(END)[2]


def _tables(server: str) -> list[str]:
    return [table for table in columns()[server]["tables"] if table != "big"]


def _rows(server: str) -> list[list[str]]:
    found = []
    for table in _tables(server):
        sql = types(server, table)
        for column, about in columns()[server]["tables"][table].items():
            name = sql[column]
            if about.get("lost"):
                found.append([_code(name), "", "", "", "", "not in the stream"])
            elif "canonical" in about:
                found += _ways(server, table, column, about)
    return found


def _ways(server: str, table: str, column: str, about: dict[str, Any]) -> list[list[str]]:
    """One row per wire form; the modes that give it stand together."""
    sql = types(server, table)[column]
    ways: dict[tuple[str, str, str], list[str]] = {}
    for name, modes in columns()[server]["sets"].items():
        first = next(r for r in records(server) if (r.set, r.table, r.id) == (name, table, STREAMED + 1))
        value = about.get("except", {}).get(name, about["canonical"])[0]
        key = (_schema(first.schema)[column], _json(first.wire[column]), _json(value))
        label = ", ".join(str(modes.get(_BY[by][0], _BY[by][1])) for by in _property(sql))
        ways.setdefault(key, []).append(label)
    kind = column_type(sql).kind
    found = []
    for number, ((schema, wire, value), labels) in enumerate(ways.items()):
        mode = ", ".join(dict.fromkeys(labels)) if len(ways) > 1 else ""
        shown = "" if kind == "any" else "double" if schema == "double" else kind
        found.append([_code(sql) if not number else "", mode, schema, wire, shown, value])
    return found


@cache
def _schema(envelope: str) -> dict[str, str]:
    """The schema of each column."""
    image = next(part for part in json.loads(envelope)["fields"] if part["field"] == "after")
    return {field["field"]: _kind(field) for field in image["fields"]}


def _kind(field: dict[str, Any]) -> str:
    if field["type"] == "array":
        return f"array of {_kind(field['items'])}"
    name = str(field.get("name") or "").removeprefix("io.debezium.").removeprefix("org.apache.kafka.connect.")
    name = f"connect.{name}" if str(field.get("name")).startswith("org.apache") else name
    return f"{field['type']} {name}".strip()


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return _code(text if len(text) <= _LONG else text[: _LONG - 1] + "…")


def _code(text: str) -> str:
    return f"`{text.replace('|', '¦')}`"
