"""One thing that hurts, or could."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec

EXIT_BAD = 70
EXIT_HURTS = 1


class Severity(StrEnum):
    """From the worst to the mildest."""

    STOPS = "stops"  # the bridge, the connector or the legacy system cannot work
    LOSES = "loses"  # changes or values are lost, mostly in silence
    HURTS = "hurts"  # it works today, and will stop or lose on a bad day
    UNKNOWN = "unknown"  # it could not be looked at
    ADVICE = "advice"


class Found(msgspec.Struct, frozen=True):
    """What a rule says: where, what is there, and the command or setting that mends it."""

    severity: Severity
    place: str
    what: str
    mend: str


class Finding(msgspec.Struct, frozen=True):
    """The same, with its code and its source."""

    code: str
    severity: Severity
    source: str
    place: str
    what: str
    mend: str


def exit_code(findings: Iterable[Finding], *, strict: bool) -> int:
    """0: nothing, or advice alone unless ``strict``."""
    severities = {finding.severity for finding in findings}
    if severities & {Severity.STOPS, Severity.LOSES}:
        return EXIT_BAD
    return EXIT_HURTS if severities - {Severity.ADVICE} or (strict and severities) else 0
