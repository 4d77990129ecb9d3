"""Avro as Kafka Connect's Avro converters write it: the data to JSON, and the schema to a Connect schema.

Connect's schema rides in the Avro schema: ``connect.name``, ``connect.parameters``, ``connect.type`` and others. Logical
types are only looked at where these are missing; the data is always read as the plain type below them, as JsonConverter
writes it (a decimal's unscaled bytes, days, milliseconds).
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any, Final

import fastavro
import msgspec
from fastavro.schema import SchemaParseException, UnknownType

from bridge.formats.codec import Codec, Fix, Unreadable, encode, float32, float64, unusable

Schema = Any  # Avro's, as JSON: a text, a list of union members, or an object
_HINT: Final = "the bridge reads what Kafka Connect's Avro converter writes for Debezium; see `value.converter`"
_PLAIN: Final = {
    "int": "int32",
    "long": "int64",
    "float": "float",
    "double": "double",
    "boolean": "boolean",
    "string": "string",
    "bytes": "bytes",
    "fixed": "bytes",
    "enum": "string",
}
_CONNECT: Final = "org.apache.kafka.connect.data."
_LOGICAL: Final = {
    "date": _CONNECT + "Date",
    "time-millis": _CONNECT + "Time",
    "timestamp-millis": _CONNECT + "Timestamp",
    "decimal": _CONNECT + "Decimal",
}
_ROW: Final = {"before", "after", "source", "op"}  # fields of a change event's envelope


def compiled(schema_id: int, text: str, references: list[str]) -> Codec:
    """Raises Fatal for a schema that is none, or that Connect's converters do not write."""
    try:
        named: dict[str, Any] = {}
        for reference in references:
            fastavro.parse_schema(_plain(msgspec.json.decode(reference)), named)
        root = fastavro.parse_schema(_plain(msgspec.json.decode(text)), named)
        described: dict[str, Any] = {}
        for reference in references:
            fastavro.parse_schema(msgspec.json.decode(reference), described)
        whole = fastavro.parse_schema(msgspec.json.decode(text), described)
        connect = _Connect(described).schema(whole)
    except (SchemaParseException, UnknownType, msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
        raise unusable(
            schema_id, f"it is no Avro schema of Connect's ({type(error).__name__}: {error})", _HINT
        ) from error
    fix = _Fixes(named).fix(root)
    is_change = isinstance(whole, dict) and {field["name"] for field in whole.get("fields", ())} >= _ROW
    tells_more = is_change and "connect.name" in whole
    return Codec(_reader(root, fix), encode(connect) if tells_more else b"")


def _reader(root: Schema, fix: Fix | None) -> Callable[[bytes], bytes]:
    def payload(body: bytes) -> bytes:
        data = io.BytesIO(body)
        try:
            found = fastavro.schemaless_reader(data, root, None)
        except (EOFError, IndexError, ValueError, TypeError, OverflowError, MemoryError, RecursionError) as error:
            raise Unreadable from error
        if data.tell() != len(body):
            raise Unreadable
        return encode(found if fix is None else fix(found))

    return payload


def _plain(schema: Schema) -> Schema:
    """Without logical types, so that values come as they are stored."""
    if isinstance(schema, dict):
        return {name: _plain(part) for name, part in schema.items() if name != "logicalType"}
    return [_plain(part) for part in schema] if isinstance(schema, list) else schema


class _Fixes:
    """Floats are all that JSON writes otherwise; where a schema has none, nothing is done to its data."""

    def __init__(self, named: dict[str, Any]) -> None:
        self._named = named
        self._open: set[str] = set()

    def fix(self, schema: Schema) -> Fix | None:
        """What to do to a value of this schema; None: nothing."""
        if isinstance(schema, list):
            (member,) = [one for one in schema if one != "null"] or ["null"]
            inner = self.fix(member)
            return None if inner is None else lambda value: None if value is None else inner(value)
        if isinstance(schema, str):
            if schema in ("float", "double"):
                return float32 if schema == "float" else float64
            return self._record(schema) if schema in self._named else None
        kind = schema["type"]
        if kind == "record":
            return self._record(schema["name"])
        if kind == "array":
            return _of_each(self.fix(schema["items"]))
        if kind == "map":
            return _of_each_value(self.fix(schema["values"]))
        return self.fix(kind)

    def _record(self, name: str) -> Fix | None:
        if name in self._open or self._named[name]["type"] != "record":
            return None
        self._open.add(name)
        found = [(field["name"], self.fix(field["type"])) for field in self._named[name]["fields"]]
        self._open.discard(name)
        fixes = [(field, fix) for field, fix in found if fix is not None]
        if not fixes:
            return None

        def fix_record(value: dict[str, Any]) -> dict[str, Any]:
            for field, fix in fixes:
                value[field] = fix(value[field])
            return value

        return fix_record


def _of_each(fix: Fix | None) -> Fix | None:
    return None if fix is None else lambda value: [fix(one) for one in value]


def _of_each_value(fix: Fix | None) -> Fix | None:
    return None if fix is None else lambda value: {name: fix(one) for name, one in value.items()}


class _Connect:
    """An Avro schema as JsonConverter would write the Connect schema that it was made from."""

    def __init__(self, named: dict[str, Any]) -> None:
        self._named = named
        self._open: list[str] = []

    def schema(self, schema: Schema, *, optional: bool = False) -> dict[str, Any]:
        """Raises ValueError, KeyError for what Connect's converters do not write."""
        if isinstance(schema, list):
            (member,) = [one for one in schema if one != "null"]
            return self.schema(member, optional="null" in schema)
        if isinstance(schema, str):
            schema = self._named.get(schema, {"type": schema})
        if isinstance(schema["type"], (dict, list)):
            return self.schema(schema["type"], optional=optional)
        parts = self._kind(schema)
        name, logical = schema.get("connect.name"), _LOGICAL.get(schema.get("logicalType", ""))
        parameters = schema.get("connect.parameters")
        if name is None and logical is not None:
            name = logical
            if "scale" in schema or logical.endswith("Decimal"):
                precision = str(schema["precision"])
                parameters = {"scale": str(schema.get("scale", 0)), "connect.decimal.precision": precision}
        told = {
            "optional": optional,
            "name": name,
            "version": schema.get("connect.version"),
            "doc": schema.get("connect.doc"),
            "parameters": parameters,
            "default": self._default(schema),
        }
        return parts | {key: value for key, value in told.items() if value is not None}

    def _kind(self, schema: dict[str, Any]) -> dict[str, Any]:
        kind = schema["type"]
        if kind == "record":
            if schema["name"] in self._open:
                raise ValueError(f"{schema['name']} holds itself")
            self._open.append(schema["name"])
            fields = [self.schema(field["type"]) | {"field": field["name"]} for field in schema["fields"]]
            self._open.pop()
            return {"type": "struct", "fields": fields}
        if kind == "array":
            return {"type": "array", "items": self.schema(schema["items"])}
        if kind == "map":
            keys = {"type": "string", "optional": False}
            return {"type": "map", "keys": keys, "values": self.schema(schema["values"])}
        return {"type": schema.get("connect.type", _PLAIN[kind])}

    @staticmethod
    def _default(schema: dict[str, Any]) -> Any:
        default = schema.get("connect.default")
        if schema["type"] in ("bytes", "fixed") and isinstance(default, str):
            return base64.b64encode(default.encode("latin-1")).decode()
        return default
