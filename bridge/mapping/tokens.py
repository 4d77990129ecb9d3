"""Tokens: keyed, stable references that stand for personal data in payloads.

HMAC-SHA-256 (RFC 2104) over the kind of data and the value: the same person has the same token in every event, nobody
without the key can tell who it is or try out whom it may be, and the key's id stands before it, so that a consumer sees
when the key was changed. The model compares raw values, so that a new key is no business change.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any, Final

Tokenise = Callable[[str, Any], str]

_BYTES: Final = 20  # 160 bits: no two persons meet by chance


def keyed(key_id: str, key: bytes) -> Tokenise:
    """``k1.`` and 27 characters of base64url."""

    def token(kind: str, value: Any) -> str:
        digest = hmac.digest(key, f"{kind}\x00{value}".encode(), "sha256")
        return f"{key_id}.{urlsafe_b64encode(digest[:_BYTES]).rstrip(b'=').decode()}"

    return token


def plain(kind: str, value: Any) -> str:
    """Without a key: readable, for tests and captures on a desk; ``run`` refuses to work with it."""
    return f"token:{kind}:{value}"
