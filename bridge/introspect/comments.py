"""What a comment of the database says beyond its text."""

from __future__ import annotations

import re

_PII = re.compile(r"\bpii:\s*([A-Za-z][A-Za-z0-9_-]*)", re.IGNORECASE)


def pii(comment: str | None) -> str:
    """The kind of personal data that ``pii: kind`` in a column's comment names; '' without one."""
    found = _PII.search(comment or "")
    return found[1].lower() if found else ""
