"""What a compiled schema of a registry does: bytes in, the JSON text of Kafka Connect's JsonConverter out."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final

import msgspec

from bridge.errors import Fatal

_FLOAT32: Final = struct.Struct("<f")
_DIGITS_OF_FLOAT32: Final = range(6, 10)
encode: Final = msgspec.json.Encoder().encode  # bytes as base64, as JsonConverter writes them


class Unreadable(Exception):
    """The data is not what its schema says."""


class Codec(msgspec.Struct, frozen=True):
    """One schema. ``payload`` raises Unreadable. ``schema``: the Connect schema's JSON text of a change event, or b""."""

    payload: Callable[[bytes], bytes]
    schema: bytes = b""

    def value(self, body: bytes) -> bytes:
        """A record's value, with the inline schema where that tells more than the payload."""
        payload = self.payload(body)
        return b'{"schema":%b,"payload":%b}' % (self.schema, payload) if self.schema else payload


def unusable(schema_id: int, why: str, hint: str) -> Fatal:
    """A schema is what it is for ever: every record of it would be like the first."""
    return Fatal(f"schema {schema_id} of the schema registry cannot be used: {why}", hint, code="B541")


def float64(value: Any) -> Any:
    """JSON has no such numbers; JsonConverter writes their names as text."""
    if value is None or value - value == 0:
        return value
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"  # noqa: PLR0124 - only NaN is not itself


def float32(value: Any) -> Any:
    """The shortest text that means this float, as Java writes it: 1.1 and not 1.100000023841858."""
    if value is None or value - value != 0:
        return float64(value)
    for digits in _DIGITS_OF_FLOAT32:
        short = float(f"{value:.{digits}g}")
        try:
            if _FLOAT32.unpack(_FLOAT32.pack(short))[0] == value:
                return short
        except OverflowError:
            continue  # rounded up beyond the largest float
    return value
