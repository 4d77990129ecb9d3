"""Protobuf as Confluent's Protobuf converter writes it, to the JSON text that JsonConverter would write without a schema.

The converter drops Debezium's semantic types (a MicroTimestamp is an int64), so that types come from the source catalog,
as with JSON without schemas. A schema's text is compiled once by protoc, in a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError

from bridge.formats.codec import Codec, Unreadable, encode, float32, float64, unusable
from bridge.formats.framing import message_path

Get = Callable[[Any], Any]  # a message's value as JSON has it

_MAIN: Final = "schema.proto"
_COMPILE_SECONDS: Final = 60
_ENVELOPE: Final = {"before", "after", "source", "op", "ts_ms"}
_HINT: Final = "the bridge reads what Confluent's Protobuf converter writes for Debezium; see `value.converter`"
_NULLS: Final = "set optional.for.nullables=true (or wrapper.for.nullables=true) for key.converter and value.converter"
# What the converter imports and a registry knows by itself.
KNOWN: Final = {
    "confluent/meta.proto": """\
syntax = "proto3";
package confluent;
import "google/protobuf/descriptor.proto";
message Meta { string doc = 1; map<string, string> params = 2; repeated string tags = 3; }
extend google.protobuf.FileOptions { Meta file_meta = 1088; }
extend google.protobuf.MessageOptions { Meta message_meta = 1088; }
extend google.protobuf.FieldOptions { Meta field_meta = 1088; }
extend google.protobuf.EnumOptions { Meta enum_meta = 1088; }
extend google.protobuf.EnumValueOptions { Meta enum_value_meta = 1088; }
""",
    "confluent/type/decimal.proto": """\
syntax = "proto3";
package confluent.type;
message Decimal { bytes value = 1; uint32 precision = 2; int32 scale = 3; }
""",
    "google/type/date.proto": """\
syntax = "proto3";
package google.type;
message Date { int32 year = 1; int32 month = 2; int32 day = 3; }
""",
    "google/type/timeofday.proto": """\
syntax = "proto3";
package google.type;
message TimeOfDay { int32 hours = 1; int32 minutes = 2; int32 seconds = 3; int32 nanos = 4; }
""",
}
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_SPECIAL: Final[dict[str, Get]] = {
    "confluent.type.Decimal": lambda message: message.value,
    "google.type.Date": lambda message: date(message.year, message.month, message.day).toordinal() - _EPOCH_DAY,
    "google.type.TimeOfDay": lambda message: (
        ((message.hours * 60 + message.minutes) * 60 + message.seconds) * 1000 + message.nanos // 1_000_000
    ),
    "google.protobuf.Timestamp": lambda message: message.seconds * 1000 + message.nanos // 1_000_000,
}
_WRAPPERS: Final = {
    f"google.protobuf.{kind}Value"
    for kind in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
}


def compiled(schema_id: int, text: str, references: Mapping[str, str]) -> Codec:
    """Raises Fatal for a schema that cannot be compiled, or that cannot tell null from zero."""
    pool = descriptor_pool.DescriptorPool()
    for file in _descriptors(schema_id, text, references).file:
        pool.Add(file)
    messages = pool.FindFileByName(_MAIN).message_types_by_name
    top: list[Descriptor] = list(messages.values())
    known: dict[tuple[int, ...], tuple[Any, Get]] = {}

    def message(path: tuple[int, ...]) -> tuple[Any, Get]:
        found = known.get(path)
        if found is None:
            descriptor = _at(top, path)
            if _loses_nulls(descriptor):
                raise unusable(schema_id, "it cannot tell null from zero, since ts_ms is not optional", _NULLS)
            found = known[path] = message_factory.GetMessageClass(descriptor), _message(descriptor, ())
        return found

    def payload(body: bytes) -> bytes:
        try:
            path, start = message_path(body)
            kind, get = message(path)
            return encode(get(kind.FromString(body[start:])))
        except (DecodeError, ValueError, IndexError, TypeError, RecursionError) as error:
            raise Unreadable from error

    return Codec(payload)


def _at(top: list[Descriptor], path: tuple[int, ...]) -> Descriptor:
    if min(path) < 0:
        raise IndexError(path)
    found = top[path[0]]
    for index in path[1:]:
        found = found.nested_types[index]
    return found


def _loses_nulls(descriptor: Descriptor) -> bool:
    """Whether a nullable column could not be told from its zero: Debezium's ts_ms is nullable in every change event."""
    fields = descriptor.fields_by_name
    return set(fields) >= _ENVELOPE and not fields["ts_ms"].has_presence


def _message(descriptor: Descriptor, above: tuple[str, ...]) -> Get:
    if descriptor.full_name in above:
        raise TypeError(f"{descriptor.full_name} holds itself")
    parts = [(field.name, _field(field, (*above, descriptor.full_name))) for field in descriptor.fields]
    return lambda message: {name: get(message) for name, get in parts}


def _field(field: FieldDescriptor, above: tuple[str, ...]) -> Get:
    name = field.name
    if field.is_repeated:
        entry = field.message_type
        if entry is not None and _is_entry(entry):
            return _map(name, entry, above)
        one = _value(field, above)
        return lambda message: [one(value) for value in getattr(message, name)]
    get = _value(field, above)
    if not field.has_presence:
        return lambda message: get(getattr(message, name))
    return lambda message: get(getattr(message, name)) if message.HasField(name) else None


def _is_entry(descriptor: Descriptor) -> bool:
    """Whether a repeated message is a map: protoc's, or the converter's own, which has the names alone."""
    return descriptor.name.endswith("Entry") and list(descriptor.fields_by_name) == ["key", "value"]


def _map(name: str, entry: Descriptor, above: tuple[str, ...]) -> Get:
    value = _value(entry.fields_by_name["value"], above)
    if entry.GetOptions().map_entry:
        return lambda message: {key: value(one) for key, one in getattr(message, name).items()}
    whole = _field(entry.fields_by_name["value"], above)
    return lambda message: {one.key: whole(one) for one in getattr(message, name)}


def _value(field: FieldDescriptor, above: tuple[str, ...]) -> Get:
    if field.type == FieldDescriptor.TYPE_FLOAT:
        return float32
    if field.type == FieldDescriptor.TYPE_DOUBLE:
        return float64
    if field.enum_type is not None:
        names = {number: value.name for number, value in field.enum_type.values_by_number.items()}
        return lambda value: names.get(value, value)
    if field.message_type is None:
        return lambda value: value
    kind = field.message_type.full_name
    if kind in _WRAPPERS:
        inner = _value(field.message_type.fields_by_name["value"], above)
        return lambda value: inner(value.value)
    return _SPECIAL.get(kind) or _message(field.message_type, above)


def _descriptors(schema_id: int, text: str, references: Mapping[str, str]) -> descriptor_pb2.FileDescriptorSet:
    """What protoc makes of the texts."""
    with tempfile.TemporaryDirectory(prefix="bridge-protobuf-") as directory:
        place = Path(directory)
        for name, part in {**KNOWN, **references, _MAIN: text}.items():
            if name.startswith("google/protobuf/"):
                continue  # protoc's own
            if ".." in PurePosixPath(name).parts or PurePosixPath(name).is_absolute():
                raise unusable(schema_id, f"it refers to {name!r}", _HINT)
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(part, encoding="utf-8")
        out = place / "descriptors"
        arguments = ["--include_imports", f"--descriptor_set_out={out}", f"-I{place}", str(place / _MAIN)]
        done = subprocess.run(  # noqa: S603 - our own arguments
            [sys.executable, "-m", "grpc_tools.protoc", *arguments],
            capture_output=True,
            text=True,
            timeout=_COMPILE_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            said = done.stderr.replace(f"{place}/", "").strip()
            raise unusable(schema_id, f"protoc says {said}", _HINT)
        return descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
