"""Connector versions that are known to hurt. Each row has its source; facts alone.

``Debezium change log``: CHANGELOG.md, which every connector's archive holds. ``Measured``: on that version, by this
project.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from bridge.doctor.finding import Severity

Version = tuple[int, int, int]


class Bad(NamedTuple):
    """A connector from ``first`` to before ``mended``."""

    kind: str
    first: Version
    mended: Version
    severity: Severity
    what: str
    source: str


KNOWN: Final = (
    Bad(
        "postgresql", (0, 0, 0), (2, 0, 0), Severity.STOPS,
        "transaction ids have no position (xid alone), and repeat after a wrap-around",
        "Debezium change log, 2.0.0.Final, DBZ-5329",
    ),
    Bad(
        "postgresql", (2, 0, 0), (2, 1, 0), Severity.LOSES,
        "a replication slot that was made anew loses changes in silence",
        "Debezium change log, 2.1.0.Alpha2, DBZ-5739",
    ),
    Bad(
        "postgresql", (2, 0, 0), (2, 7, 0), Severity.LOSES,
        "a restart of the connector can lose changes",
        "Debezium change log, 2.7.0.Alpha2, DBZ-7816",
    ),
    Bad(
        "postgresql", (2, 0, 0), (3, 7, 0), Severity.LOSES,
        "killed while a transaction is open, or inside a COPY, it can skip rows when it comes back, and END counts what is left",
        "Measured on 3.5.0 (tests/integration/test_connector.py); debezium/dbz#76, debezium/dbz#1554",
    ),
    Bad(
        "mariadb", (0, 0, 0), (3, 1, 0), Severity.LOSES,
        "positions in a big binary log come out negative",
        "Debezium change log, 3.1.0.Final, DBZ-8755",
    ),
)  # fmt: skip


def number(version: str) -> Version | None:
    """``3.5.0.Final`` → (3, 5, 0)."""
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    return None if found is None else (int(found[1]), int(found[2]), int(found[3]))


def bad(kind: str, version: str) -> list[Bad]:
    """What is known to be wrong with this one."""
    place = number(version)
    return [] if place is None else [one for one in KNOWN if one.kind == kind and one.first <= place < one.mended]


def text(version: Version) -> str:
    return ".".join(map(str, version))
