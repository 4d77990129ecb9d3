"""Findings as text for people and as JSON for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec

from bridge.codes import explanations
from bridge.doctor.finding import Finding, Severity

_BOLD, _RED, _YELLOW, _DIM, _PLAIN = "\x1b[1m", "\x1b[31m", "\x1b[33m", "\x1b[2m", "\x1b[0m"
_SHADES: Final = {Severity.STOPS: _RED, Severity.LOSES: _RED, Severity.HURTS: _YELLOW, Severity.UNKNOWN: _YELLOW}


def text(findings: Sequence[Finding], sources: Sequence[str], *, colour: bool = False) -> str:
    """Each finding with its place, why it hurts, and what mends it; a last line counts."""
    parts = [_part(one, colour=colour) for one in findings]
    count = Counter(one.severity for one in findings)
    summary = ", ".join(f"{count[severity]} {severity}" for severity in Severity if count[severity]) or "nothing found"
    return "\n".join([*parts, f"{', '.join(sources)}: {summary}\n"])


def _part(one: Finding, *, colour: bool) -> str:
    bold, shade, dim, plain = (_BOLD, _SHADES.get(one.severity, _DIM), _DIM, _PLAIN) if colour else ("",) * 4
    return (
        f"{shade}{one.severity:<7} {one.code}{plain} {one.source}: {bold}{one.place}{plain}\n"
        f"        {one.what}\n"
        f"        {dim}why:  {_why(one)}{plain}\n"
        f"        mend: {one.mend}\n"
    )


def _why(one: Finding) -> str:
    return explanations()[one.code].why


def json(findings: Sequence[Finding]) -> str:
    """One array of objects, the worst first."""
    rows = [msgspec.structs.asdict(one) | {"why": _why(one)} for one in findings]
    return msgspec.json.format(msgspec.json.encode(rows)).decode() + "\n"
