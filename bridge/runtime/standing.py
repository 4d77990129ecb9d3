"""What `bridge positions` says of where a source stands: facts that were gathered, and what they mean in words.

No IO. Times in ms since the epoch, as the records have them; ``now_ms`` is this machine's.
"""

from __future__ import annotations

from typing import Final

import msgspec

from bridge.core.encode import rfc3339
from bridge.model import InputPartition

YOUNG_MS: Final = 5_000  # what is open or short for less than this is on its way

UP_TO_DATE: Final = "up to date"
WORKING: Final = "working"
NO_BRIDGE: Final = "no bridge runs"
OPEN_SOURCE: Final = "blocked by an open source transaction"
OPEN_KAFKA: Final = "blocked by an open Kafka transaction"
SHORT: Final = "waits for rows"
STOPS: Final = "stops at its next transaction"
DEAD_LETTERS: Final = "dead letters"


class At(msgspec.Struct, frozen=True):
    """An END. ``position``: its commit position in the database's own notation."""

    offset: int
    position: str
    time_ms: int
    incarnation: int = 1

    def __str__(self) -> str:
        history = f"  (history {self.incarnation})" if self.incarnation > 1 else ""
        return f"END @{self.offset}  {self.position}  {when(self.time_ms)}{history}"


class Open(msgspec.Struct, frozen=True):
    """What was begun and not ended, where, and since when (None: not known)."""

    place: str
    since_ms: int | None


class Line(msgspec.Struct, frozen=True):
    """One input partition. ``group``: what the consumer group committed; ``written``: its end, visible or not."""

    partition: str
    committed: int
    group: int | None
    end: int
    written: int
    lag: int


class Standing(msgspec.Struct, kw_only=True):
    """One source. ``behind_*``: what is visible and not processed; ``open_source``: a BEGIN behind the last END.

    ``hidden``: Kafka transactions that stay open, per partition; ``short``: why the next transaction cannot be released,
    ``stops``: the error that it will be instead. ``records_per_s``: what was processed while this was gathered.
    """

    source: str
    topic: str
    group: str
    members: int
    last: At | None
    committed: At | None
    behind_records: int
    behind_transactions: int
    behind_seconds: float
    partitions: list[Line]
    open_source: Open | None = None
    hidden: list[Open] = []
    short: str = ""
    stops: str = ""
    parked: int = 0
    dead_letters: int = 0
    dead_letter_topic: str = ""
    records_per_s: float = 0.0


class Verdict(msgspec.Struct, frozen=True):
    """``kind`` is one of the words above, for tools."""

    kind: str
    text: str
    hint: str = ""


def judge(one: Standing, now_ms: int) -> list[Verdict]:
    """What it means; what must be mended first comes first."""
    found = [_hidden(hidden, now_ms) for hidden in one.hidden]
    if one.stops:
        found.append(Verdict(STOPS, one.stops, "`bridge run` stops with this error until it is mended"))
    if one.short:
        hint = "where its rows do not come, `bridge run` stops with B301 after limits.incomplete_after_seconds; "
        hint += "lost for good: `bridge release`, whose command the error names"
        found.append(Verdict(SHORT, one.short, hint))
    if not one.members:
        found.append(_no_bridge(one))
    if one.open_source is not None and not one.behind_transactions:
        found.append(_open_source(one.open_source, now_ms))
    if one.members and one.behind_transactions and not one.short and not one.stops:
        found.append(_working(one))
    if not found:
        found.append(Verdict(UP_TO_DATE, "every source transaction that ended is processed"))
    if one.parked or one.dead_letters:
        found.append(_dead_letters(one))
    return found


def _hidden(one: Open, now_ms: int) -> Verdict:
    topic, _, partition = one.place.partition("@")[0].rpartition("-")
    text = f"a Kafka transaction is open at {one.place}, {_since(one, now_ms)}: nothing behind it can be read"
    hint = (
        "Kafka Connect in exactly-once mode died, until the brokers abort what it left (transaction.timeout.ms); or it hangs: "
        f"kafka-transactions.sh --bootstrap-server … find-hanging --topic {topic} --partition {partition}, then abort"
    )
    return Verdict(OPEN_KAFKA, text, hint)


def _no_bridge(one: Standing) -> Verdict:
    missed = f"{one.behind_transactions:,} source transactions wait" if one.behind_transactions else "nothing waits"
    return Verdict(
        NO_BRIDGE,
        f"group {one.group} has no members; {missed}",
        "start `bridge run`; where it stopped by itself, its last log line has code and hint",
    )


def _open_source(one: Open, now_ms: int) -> Verdict:
    text = f"BEGIN at {one.place} has no END, {_since(one, now_ms)}; all before it is processed"
    hint = (
        "Kafka Connect has not sent all of a source transaction yet, or died inside it: look at the connector's state; "
        "on MariaDB also what a DDL statement leaves, until the next transaction"
    )
    return Verdict(OPEN_SOURCE, text, hint)


def _working(one: Standing) -> Verdict:
    behind = f"behind by {behind_text(one)}"
    if one.records_per_s <= 0:
        hint = "no progress while this was looked at: it starts, restores its state, or waits (metrics, /health/ready)"
        return Verdict(WORKING, f"{behind}; nothing moved just now", hint)
    left = one.behind_records / one.records_per_s
    return Verdict(WORKING, f"{behind}; {one.records_per_s:,.0f} records/s, {left:,.0f} s left at this rate")


def _dead_letters(one: Standing) -> Verdict:
    text = f"{one.parked:,} aggregates are parked; {one.dead_letters:,} dead letters in {one.dead_letter_topic}"
    return Verdict(DEAD_LETTERS, text, "`bridge dlt list` shows them; other aggregates go on")


def behind_text(one: Standing) -> str:
    return (
        f"{one.behind_transactions:,} source transactions, {one.behind_records:,} records, {one.behind_seconds:,.1f} s"
    )


def _since(one: Open, now_ms: int) -> str:
    if one.since_ms is None:
        return "nobody knows since when"
    return f"since {when(one.since_ms)} ({max(0, now_ms - one.since_ms) / 1000:,.0f} s)"


def is_old(since_ms: int | None, now_ms: int) -> bool:
    """Whether something is open for so long that it is not on its way."""
    return since_ms is None or now_ms - since_ms >= YOUNG_MS


def when(time_ms: int) -> str:
    return rfc3339(time_ms).decode()


def place(partition: InputPartition, offset: int) -> str:
    return f"{partition}@{offset}"
