"""The source catalog: tables, columns, keys and foreign keys of a source's database, as one file that is committed.

``bridge introspect`` writes it, people may write or annotate it, ``check`` reads it. Three things may be not known:
whether a column takes null (``nullable`` None), the primary key (``key`` None), and the comment. What is not known is
not suspected.

```yaml
connector: postgresql
tables:
  public.t_ord:
    key: [ord_no]
    replica_identity: default
    columns:
      ord_no: integer not null           # short form: SQL type, then 'not null' or 'null' where it is known
      ord_stat: {type: character(1), nullable: false, default: 'N', comment: "N, P, S or X", pii: email}
    foreign_keys:
      - {columns: [cust_no], references: public.t_cust, to: [cust_no], on_delete: cascade, on_update: cascade}
```
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import yaml
from msgspec import structs

from bridge.located_yaml import parse
from bridge.mapping.diagnostics import EnoughError, Report
from bridge.mapping.shape import Section
from bridge.model import Diagnostic
from bridge.yaml_nodes import Limits

LIMITS: Final = Limits(
    size=64 << 20, nodes=4_000_000, entries=100_000, text=1 << 20
)  # a database of some 20,000 tables
DEBEZIUM: Final = ("debezium_signal", "debezium_heartbeat")  # its own tables, whatever their schema
ACTIONS: Final = ("no action", "restrict", "cascade", "set null", "set default")
IDENTITIES: Final = ("", "default", "full", "nothing", "index")  # PostgreSQL's REPLICA IDENTITY; '' elsewhere
_IS_DECIMAL: Final = re.compile(r"\s*(?:numeric|decimal|dec|fixed|money)\b(?!.*\])", re.IGNORECASE)
_ENUM: Final = re.compile(r"enum\((.*)\)\Z", re.IGNORECASE | re.DOTALL)
_ENUM_VALUE: Final = re.compile(r"'((?:[^']|'')*)'")


class CatalogColumn(msgspec.Struct, frozen=True):
    """``type``: the SQL type as the database writes it; of an enum its values: ``enum('N','P')``. ``pii``: the kind of
    personal data that it holds (``email``, ``name``, …), '' for none.
    """

    type: str
    nullable: bool | None = None
    default: str | None = None
    comment: str = ""
    pii: str = ""

    @property
    def values(self) -> tuple[str, ...]:
        """The values of an enum type; empty for any other."""
        found = _ENUM.match(self.type.strip())
        return tuple(v.replace("''", "'") for v in _ENUM_VALUE.findall(found[1])) if found else ()


class ForeignKey(msgspec.Struct, frozen=True):
    """``columns`` of this table reference ``to`` of the table ``references``, pairwise."""

    columns: tuple[str, ...]
    references: str
    to: tuple[str, ...]
    on_delete: str = "no action"
    on_update: str = "no action"


class CatalogTable(msgspec.Struct, frozen=True):
    """``key``: the primary key's columns; () if there is none, None if nobody knows."""

    columns: dict[str, CatalogColumn]
    key: tuple[str, ...] | None = None
    foreign_keys: tuple[ForeignKey, ...] = ()
    replica_identity: str = ""
    comment: str = ""


class Catalog(msgspec.Struct, frozen=True):
    """``tables`` by the name that Debezium gives them in END: ``schema.table``, on MySQL and MariaDB ``database.table``."""

    tables: dict[str, CatalogTable]
    connector: str = ""
    doc: str = ""

    @classmethod
    def of(cls, types: Mapping[str, Mapping[str, str]]) -> Catalog:
        """{table: {column: SQL type, maybe with 'not null' or 'null'}}: a catalog of types alone."""
        return cls(
            {
                table: CatalogTable({name: short(text) for name, text in columns.items()})
                for table, columns in types.items()
            }
        )


def as_doubles(found: Catalog) -> Catalog:
    """The same where the connector sends decimals as doubles, so that a mapping has to round them."""
    return structs.replace(found, tables={name: _as_doubles(table) for name, table in found.tables.items()})


def _as_doubles(table: CatalogTable) -> CatalogTable:
    columns = {
        name: structs.replace(column, type="double precision") if _IS_DECIMAL.match(column.type) else column
        for name, column in table.columns.items()
    }
    return structs.replace(table, columns=columns)


def short(text: str) -> CatalogColumn:
    """A column's short form: ``integer not null``."""
    text = text.strip()
    words = text.rsplit(maxsplit=2)
    if len(words) < 2 or words[-1].lower() != "null":  # noqa: PLR2004 - a type and a null
        return CatalogColumn(text)
    if words[-2].lower() != "not":
        return CatalogColumn(text[:-4].rstrip(), nullable=True)
    return CatalogColumn(words[0].rstrip() if len(words) > 2 else "", nullable=False)  # noqa: PLR2004


# -- text in -----------------------------------------------------------------------------------------------------------


def read(text: str, file: str) -> tuple[Catalog, list[Diagnostic]]:
    """A catalog from its YAML, and every mistake in it (codes M001 to M004 and Y…)."""
    located = parse(text, file, LIMITS)
    report = Report(located)
    if report.found or not isinstance(located.data, dict):
        return Catalog({}), report.sorted()
    try:
        return _catalog(Section(report, (), located.data)), report.sorted()
    except EnoughError:
        return Catalog({}), report.sorted()


def _catalog(top: Section) -> Catalog:
    top.only("connector", "tables", "doc")
    tables = top.section("tables", required=True)
    found = {name: _table(one) for name in tables or () if (one := tables and tables.section(name))}
    return Catalog(found, top.text("connector") or "", top.text("doc") or "")


def _table(section: Section) -> CatalogTable:
    section.only("columns", "key", "foreign_keys", "replica_identity", "comment")
    columns = section.section("columns", required=True)
    identity = section.text("replica_identity") or ""
    if identity not in IDENTITIES:
        section.bad(
            "M004", "replica_identity", f"there is no '{identity[:40]}'", "one of default, full, nothing, index"
        )
    return CatalogTable(
        {name: column for name in columns or () if (column := _column(columns, name)) is not None},
        None if section.data.get("key") is None else _names(section, "key"),
        tuple(_foreign_keys(section)),
        identity,
        section.text("comment") or "",
    )


def _column(columns: Section | None, name: str) -> CatalogColumn | None:
    if columns is None:
        return None
    data = columns.data[name]
    if isinstance(data, str) and data:
        return short(data)
    if not isinstance(data, dict):
        text = columns.text(name, required=True)
        return None if text is None else short(text)
    section = Section(columns.report, columns.at(name), data)
    section.only("type", "nullable", "default", "comment", "pii")
    return CatalogColumn(
        section.text("type", required=True) or "",
        section.flag("nullable") if data.get("nullable") is not None else None,
        section.text("default"),
        section.text("comment") or "",
        section.text("pii") or "",
    )


def _names(section: Section, key: str) -> tuple[str, ...]:
    return tuple(text for text, _ in section.texts(key))


def _foreign_keys(section: Section) -> list[ForeignKey]:
    data = section.data.get("foreign_keys")
    if data is None:
        return []
    if not isinstance(data, list):
        section.bad("M003", "foreign_keys", "'foreign_keys:' is a list")
        return []
    found = []
    for i, one in enumerate(data):
        path = (*section.at("foreign_keys"), i)
        if not isinstance(one, dict):
            section.report.add("M003", path, "a foreign key is a mapping with columns:, references: and to:")
            continue
        part = Section(section.report, path, one)
        part.only("columns", "references", "to", "on_delete", "on_update")
        key = ForeignKey(
            _names(part, "columns"),
            part.text("references", required=True) or "",
            _names(part, "to"),
            _action(part, "on_delete"),
            _action(part, "on_update"),
        )
        if not key.columns or len(key.columns) != len(key.to):
            part.bad("M003", "columns", "'columns:' and 'to:' name the same number of columns")
        found.append(key)
    return found


def _action(part: Section, name: str) -> str:
    action = part.text(name) or "no action"
    if action not in ACTIONS:
        part.bad("M004", name, f"there is no action '{action[:40]}'", f"one of {', '.join(ACTIONS)}")
    return action


# -- text out ----------------------------------------------------------------------------------------------------------


_PLAIN: Final = re.compile(r"[A-Za-z_]\w*(?:[ .]\w+)*(?:\(\d+(?:,\d+)?\)(?: \w+)*)?(?:\[\])?", re.ASCII)
_ONE_LINE: Final = re.compile(r"[^\x00-\x1f\x7f-\xa0\u2028\u2029\ufeff]*")


class _Dumper(yaml.CSafeDumper):
    """Short lists and mappings of plain values on one line, the rest as blocks."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> Any:  # noqa: ARG002, FBT001
        return super().represent_sequence(tag, sequence, flow_style=all(isinstance(v, str) for v in sequence))

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> Any:  # noqa: ARG002, FBT001
        small = isinstance(mapping, _OneLine)
        return super().represent_mapping(tag, mapping, flow_style=small)

    def represent_text(self, text: str) -> Any:
        """Unquoted only where every reader of YAML takes it for this text; escaped where it is not one plain line."""
        plain, single = (
            _PLAIN.fullmatch(text),
            _ONE_LINE.fullmatch(text) and ("'" not in text or set(text) & set('"\\')),
        )
        style = None if plain else "'" if single else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


class _OneLine(dict[str, Any]):
    """Written as ``{key: value}``."""


_Dumper.add_representer(str, _Dumper.represent_text)
_Dumper.add_representer(_OneLine, _Dumper.represent_dict)


def write(catalog: Catalog) -> str:
    """The YAML of a catalog: the same text for the same catalog, whatever the order in which it was read."""
    data: dict[str, Any] = {"doc": catalog.doc} if catalog.doc else {}
    if catalog.connector:
        data["connector"] = catalog.connector
    data["tables"] = {name: _table_data(catalog.tables[name]) for name in sorted(catalog.tables)}
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1 << 30)
    return text


def _table_data(table: CatalogTable) -> dict[str, Any]:
    data: dict[str, Any] = {"comment": table.comment} if table.comment else {}
    if table.key is not None:
        data["key"] = list(table.key)
    if table.replica_identity:
        data["replica_identity"] = table.replica_identity
    data["columns"] = {name: _column_data(column) for name, column in table.columns.items()}
    if table.foreign_keys:
        data["foreign_keys"] = [_foreign_key_data(key) for key in table.foreign_keys]
    return data


def _column_data(column: CatalogColumn) -> str | dict[str, Any]:
    text = column.type + {None: "", True: " null", False: " not null"}[column.nullable]
    if text and short(text) == column:
        return text
    data = _OneLine(type=column.type)
    if column.nullable is not None:
        data["nullable"] = column.nullable
    if column.default is not None:
        data["default"] = column.default
    if column.comment:
        data["comment"] = column.comment
    if column.pii:
        data["pii"] = column.pii
    return data


def _foreign_key_data(key: ForeignKey) -> dict[str, Any]:
    data = _OneLine(columns=list(key.columns), references=key.references, to=list(key.to))
    if key.on_delete != "no action":
        data["on_delete"] = key.on_delete
    if key.on_update != "no action":
        data["on_update"] = key.on_update
    return data
