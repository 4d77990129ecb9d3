"""Avro as Kafka Connect's Avro converters write it: the data to JSON, and the schema to a Connect schema.

Connect's schema rides in the Avro schema: ``connect.name``, ``connect.parameters``, ``connect.type`` and others. Logical
types are only looked at where these are missing; the data is always read as the plain type below them, as JsonConverter
writes it (a decimal's unscaled bytes, days, milliseconds).
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, Final

import fastavro
import msgspec
from fastavro.schema import SchemaParseException, UnknownType

from bridge.formats.avro_code import TORN, reader
from bridge.formats.codec import Codec, Unreadable, encode, unusable

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
_NO_SCHEMA: Final = (  # what texts of anyone's making make parsing and writing code raise
    *(SchemaParseException, UnknownType, msgspec.DecodeError, KeyError, TypeError, ValueError),
    *(AttributeError, SyntaxError, RecursionError, MemoryError),
)
_ROW: Final = {"before", "after", "source", "op"}  # fields of a change event's envelope


def compiled(schema_id: int, text: str, references: list[str]) -> Codec:
    """Raises Fatal for a schema that is none, or that Connect's converters do not write."""
    try:
        named: dict[str, Any] = {}
        for reference in references:
            fastavro.parse_schema(msgspec.json.decode(reference), named)
        root = fastavro.parse_schema(msgspec.json.decode(text), named)
        connect = _Connect(named).schema(root)
        payload = _reader(root, named)
    except _NO_SCHEMA as error:
        raise unusable(
            schema_id, f"it is no Avro schema of Connect's ({type(error).__name__}: {error})", _HINT
        ) from error
    is_change = isinstance(root, dict) and {field["name"] for field in root.get("fields", ())} >= _ROW
    tells_more = is_change and "connect.name" in root
    return Codec(payload, encode(connect) if tells_more else b"")


def _reader(root: Schema, named: dict[str, Any]) -> Callable[[bytes], bytes]:
    read = reader(root, named)

    def payload(body: bytes) -> bytes:
        try:
            return encode(read(body))
        except TORN as error:
            raise Unreadable from error

    return payload


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
