"""Confluent's framing: a zero byte, the schema's id in four bytes, then the data.

Protobuf data begins with the path of its message within the schema: how many indexes, then the indexes, as zigzag varints;
a count of 0 stands for the first message.
"""

from __future__ import annotations

import struct
from typing import Final

MAGIC: Final = b"\x00"
HEAD: Final = 5
_UNSIGNED: Final = struct.Struct(">I")
_DEEPEST: Final = 32  # messages within messages
_MORE: Final = 0x80  # the bit of a varint that another byte follows
_WIDEST: Final = 63


def is_framed(data: bytes | None) -> bool:
    """Whether a key or value names a schema of a registry."""
    return data is not None and data.startswith(MAGIC) and len(data) >= HEAD


def schema_id(data: bytes) -> int:
    """The id in the head of framed data."""
    (found,) = _UNSIGNED.unpack_from(data, 1)
    return int(found)


def message_path(body: bytes) -> tuple[tuple[int, ...], int]:
    """The indexes of a Protobuf message, and where its data begins. Raises ValueError."""
    count, place = _zigzag(body, 0)
    if count == 0:
        return (0,), place
    if not 0 < count <= _DEEPEST:
        raise ValueError("not a path of a message")
    path = []
    for _ in range(count):
        index, place = _zigzag(body, place)
        path.append(index)
    return tuple(path), place


def _zigzag(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if place >= len(data) or shift > _WIDEST:
            raise ValueError("not a number")
        byte = data[place]
        place += 1
        value |= (byte & ~_MORE) << shift
        if byte < _MORE:
            return (value >> 1) ^ -(value & 1), place
        shift += 7
