"""Rows as bytes in the changelog and in the store: MessagePack, with UNKNOWN as an extension."""

from __future__ import annotations

from typing import Any

import msgspec

from bridge.model import UNKNOWN

_UNKNOWN_CODE = 1


def _encode_unknown(value: Any) -> Any:
    if value is UNKNOWN:
        return msgspec.msgpack.Ext(_UNKNOWN_CODE, b"")
    raise NotImplementedError(type(value).__name__)


def _decode_unknown(code: int, _data: memoryview) -> Any:
    if code != _UNKNOWN_CODE:
        raise ValueError(code)
    return UNKNOWN


encode = msgspec.msgpack.Encoder(enc_hook=_encode_unknown).encode
decode = msgspec.msgpack.Decoder(tuple, ext_hook=_decode_unknown).decode
