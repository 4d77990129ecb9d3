"""Rows and join values as bytes in the changelog, in the store and in temporary storage: MessagePack, with UNKNOWN as an
extension.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import msgspec

from bridge.model import UNKNOWN

_UNKNOWN_CODE = 1
_LONGEST_JOIN = 200  # longer join values end in a hash, so that an index entry's prefix stays whole in a store's keys


def _encode_unknown(value: Any) -> Any:
    if value is UNKNOWN.value:  # msgspec encodes an enum's member as its value
        return msgspec.msgpack.Ext(_UNKNOWN_CODE, b"")
    raise NotImplementedError(type(value).__name__)  # what msgspec asks of a hook that knows no more types


def _decode_unknown(code: int, _data: memoryview) -> Any:
    if code != _UNKNOWN_CODE:
        raise ValueError(code)
    return UNKNOWN


# Rows hold what JSON holds, and UNKNOWN.
encode = msgspec.msgpack.Encoder(enc_hook=_encode_unknown).encode
decode = msgspec.msgpack.Decoder(tuple, ext_hook=_decode_unknown).decode


def index_prefix(index: int, join: tuple[object, ...]) -> bytes:
    """``i``, index number (2 bytes), length (2 bytes), join value: before each key of a row that joins on it."""
    value = encode(join)
    if len(value) > _LONGEST_JOIN:
        value = value[:_LONGEST_JOIN] + blake2b(value, digest_size=32).digest()
    return b"i" + index.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value
