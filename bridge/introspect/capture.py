"""A catalog from captured records with inline schemas (``schemas.enable=true``), the last schema of a table counting.

A capture says less than the database: no foreign keys, no REPLICA IDENTITY, no comments, and kinds of text rather than
their lengths. Sources: Debezium reference, "Data type mappings"; Kafka Connect's JSON converter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from bridge.core import wire
from bridge.errors import Fatal
from bridge.mapping.catalog import Catalog, CatalogColumn, CatalogTable
from bridge.mapping.types import column_type
from bridge.model import BINLOG, PlainRecord

_DATA: Final = "io.debezium.data."
_TIME: Final = "io.debezium.time."
_CONNECT: Final = "org.apache.kafka.connect.data."
_PLAIN: Final = {
    "boolean": "boolean",
    "int8": "smallint",
    "int16": "smallint",
    "int32": "integer",
    "int64": "bigint",
    "float32": "real",
    "float64": "double precision",
    "float": "real",
    "double": "double precision",
    "string": "text",
    "bytes": "bytea",
}
_SEMANTIC: Final = {
    _DATA + "VariableScaleDecimal": "numeric",
    _DATA + "Json": "json",
    _DATA + "Uuid": "uuid",
    _DATA + "Xml": "xml",
    _DATA + "Ltree": "ltree",
    _TIME + "Date": "date",
    _CONNECT + "Date": "date",
    _TIME + "Timestamp": "timestamp(3) without time zone",
    _CONNECT + "Timestamp": "timestamp(3) without time zone",
    _TIME + "MicroTimestamp": "timestamp without time zone",
    _TIME + "NanoTimestamp": "timestamp without time zone",
    _TIME + "ZonedTimestamp": "timestamp with time zone",
    _TIME + "IsoDate": "date",
    _TIME + "IsoTimestamp": "timestamp without time zone",
    _TIME + "IsoTime": "time without time zone",
    _DATA + "Tsvector": "tsvector",
    _DATA + "geometry.Point": "point",
    _DATA + "geometry.Geometry": "geometry",
    _DATA + "geometry.Geography": "geography",
    _TIME + "Time": "time(3) without time zone",
    _CONNECT + "Time": "time(3) without time zone",
    _TIME + "MicroTime": "time without time zone",
    _TIME + "NanoTime": "time without time zone",
    _TIME + "ZonedTime": "time with time zone",
    _TIME + "Interval": "interval",
    _TIME + "MicroDuration": "interval",
    _TIME + "NanoDuration": "interval",
    _TIME + "Year": "year",
}
# MySQL and MariaDB call these things otherwise: a TIMESTAMP has a zone there, a DATETIME has none.
_MYSQL: Final = {
    "boolean": "bit(1)",
    "integer": "int",
    "real": "float",
    "double precision": "double",
    "bytea": "longblob",
    "text": "longtext",
    "numeric": "decimal",
    "timestamp(3) without time zone": "datetime(3)",
    "timestamp without time zone": "datetime(6)",
    "timestamp with time zone": "timestamp",
    "time without time zone": "time(6)",
    "time(3) without time zone": "time(3)",
}
# The column's own type, where the connector was told to send it (column.propagate.source.type).
_SOURCE_TYPE: Final = "__debezium.source.column."
_SIZED_TEXT: Final = ("VARCHAR", "CHAR", "BPCHAR")
_PRECISION: Final = 38  # of a decimal whose schema does not say: the most that the language has
_NULL: Final = msgspec.Raw(b"null")
_COMMA: Final = re.compile(r"(?<!\\),")
_DIGITS: Final = re.compile(r"\d+")


class _Envelope(msgspec.Struct):
    """A record's value; schemas stay undecoded until they are new."""

    schema: msgspec.Raw = _NULL
    payload: dict[str, Any] | None = None


class _Key(msgspec.Struct):
    schema: dict[str, Any] | None = None


def infer(records: Iterable[PlainRecord]) -> Catalog:
    """The tables whose rows are among the records. Raises Fatal where no record has an inline schema."""
    tables: dict[str, CatalogTable] = {}
    seen: dict[str, bytes] = {}
    connector = ""
    for record in records:
        envelope = _envelope(record)
        source = None if envelope is None or envelope.payload is None else envelope.payload.get("source")
        if envelope is None or envelope.schema == _NULL or not isinstance(source, dict) or not source.get("table"):
            continue
        table = f"{source.get('schema') or source.get('db') or ''}.{source['table']}"
        if seen.get(table) == bytes(envelope.schema) and (tables[table].key or record.key_bytes is None):
            continue
        seen[table] = bytes(envelope.schema)
        connector = str(source.get("connector", ""))
        columns = _columns(msgspec.json.decode(envelope.schema), connector)
        if columns:
            tables[table] = CatalogTable(columns, _key(record) or (tables[table].key if table in tables else ()))
    if not tables:
        raise Fatal(
            "no record of the capture is a row with an inline schema",
            "capture records written with key.converter.schemas.enable and value.converter.schemas.enable, or read the database",
            code="B533",
        )
    return Catalog(tables, connector)


def completed(old: Catalog, inferred: Catalog) -> Catalog:
    """What a capture says, with what only the database can say taken from the file that is there."""
    tables = {}
    for name, table in inferred.tables.items():
        known = old.tables.get(name)
        if known is None:
            tables[name] = table
            continue
        columns = {
            column: _completed(known.columns[column], found) if column in known.columns else found
            for column, found in table.columns.items()
        }
        tables[name] = msgspec.structs.replace(
            table, columns=columns, foreign_keys=known.foreign_keys, replica_identity=known.replica_identity
        )
    return Catalog(tables, inferred.connector)


def _completed(known: CatalogColumn, found: CatalogColumn) -> CatalogColumn:
    """A type of the same kind, and its default, stand: the file has them as the database writes them."""
    if _meaning(known.type) != _meaning(found.type):
        return found
    return msgspec.structs.replace(found, type=known.type, default=known.default)


def _meaning(sql: str) -> tuple[object, ...]:
    """What a capture shows of a type: its kind, a decimal's size, whether a time has milliseconds alone."""
    kind = column_type(sql).kind
    sizes = tuple(int(size) for size in _DIGITS.findall(sql)) if "(" in sql else ()
    if sql == "money":
        sizes = (_PRECISION, wire.MONEY_DIGITS)
    if kind == "decimal":
        return kind, *sizes[:2]
    if kind == "timestamp":
        return (
            kind,
            "with time zone" in sql or sql == "timestamptz",
            bool(sizes) and sizes[0] <= wire.MILLISECOND_DIGITS,
        )
    return (kind,)


def _envelope(record: PlainRecord) -> _Envelope | None:
    try:
        return msgspec.json.decode(record.value_bytes or b"null", type=_Envelope | None)
    except msgspec.DecodeError:
        return None  # another record: a marker, or not JSON at all


def _key(record: PlainRecord) -> tuple[str, ...]:
    if record.key_bytes is None:
        return ()
    try:
        key = msgspec.json.decode(record.key_bytes, type=_Key)
    except msgspec.DecodeError:
        return ()
    return tuple(field["field"] for field in (key.schema or {}).get("fields", ()))


def _columns(envelope: dict[str, Any], connector: str) -> dict[str, CatalogColumn]:
    rows = {field.get("field"): field for field in envelope.get("fields", ())}
    fields = (rows.get("after") or {}).get("fields") or ()
    return {field["field"]: _column(field, connector) for field in fields}


def _column(field: dict[str, Any], connector: str) -> CatalogColumn:
    return CatalogColumn(
        sql_type(field, connector), bool(field.get("optional")), _default(field, connector, field.get("default"))
    )


def _default(field: dict[str, Any], connector: str, value: Any) -> str | None:
    """A default as SQL. None too where the connector may have put in a zero, as it does for ``now()`` and sequences."""
    if not value or value == "AA==" or str(value).startswith("1970-01-01T00:00:00"):
        return None
    convert = wire.from_schema(field.get("name"), field.get("parameters"))
    plain = value if convert is None else convert(value)
    if isinstance(plain, bool):
        return str(plain).lower()
    number = not isinstance(plain, str) or column_type(sql_type(field, connector)).numeric
    return str(plain) if number else "'" + plain.replace("'", "''") + "'"


def _allowed(told: dict[str, Any]) -> list[str]:
    """An enum's values; a comma in one of them is written with a backslash before it."""
    return [value.replace("\\,", ",") for value in _COMMA.split(str(told.get("allowed", "")))]


def sql_type(field: dict[str, Any], connector: str = "postgresql") -> str:
    """The SQL type of one field of an inline schema, in the words of the connector's database."""
    told = field.get("parameters") or {}
    own = str(told.get(_SOURCE_TYPE + "type", "")).upper()
    if own in _SIZED_TEXT:
        length = told.get(_SOURCE_TYPE + "length")
        return f"{own.lower()}({length})" if length else own.lower()
    name, kind = field.get("name") or "", field["type"]
    if name in {_DATA + "Enum", _DATA + "EnumSet"}:
        values = ",".join("'" + value.replace("'", "''") + "'" for value in _allowed(told))
        return f"{'enum' if name == _DATA + 'Enum' else 'set'}({values})"
    if name == _CONNECT + "Decimal":
        size = f"({told.get('connect.decimal.precision', _PRECISION)},{told.get('scale', 0)})"
        return ("decimal" if connector in {"mysql", "mariadb"} else "numeric") + size
    if name == _DATA + "Bits":
        return f"bit({told.get('length', 1)})"
    if kind == "map":
        return "hstore"
    if kind == "array":
        return sql_type(field.get("items") or {"type": "string"}, connector) + "[]"
    plain = _SEMANTIC.get(name) or _PLAIN.get(kind) or name.rpartition(".")[2].lower() or kind
    return _MYSQL.get(plain, plain) if connector in BINLOG else plain
