"""The report that people and machines see: logs, metrics and health of one source."""

from __future__ import annotations

import time

from bridge.core.pipeline import Output
from bridge.errors import BridgeError
from bridge.kafka.errors import Ambiguous
from bridge.observe.http import OWNER, Health
from bridge.observe.logs import get_logger
from bridge.observe.metrics import Metrics
from bridge.runtime.report import Report

_TRUNCATED = "its policy (`tables` of the source) says whether its rows stay in the state; no event is published"
_BLOCKED = "a Kafka transaction of the source's writer is open: nothing behind it can be read before it ends"
_DECIDED = "`bridge release` decided so; events of the missing rows are missing, and rows in the state may be old"
_RESTORE_LOG_SECONDS = 5.0
_BLOCKED_LOG_SECONDS = 30.0  # a connector's own transactions are over by then


class Watch(Report):
    """Turns what the runtime says of ``source`` into log lines, metrics and health."""

    def __init__(self, source: str, metrics: Metrics, health: Health) -> None:
        self._source = source
        self._metrics = metrics
        self._health = health
        self._log = get_logger().bind(source=source)
        self._state = ""
        self._said = 0.0
        self._restoring: tuple[float, int] | None = None  # since when, from which offset
        self._unseeded: list[str] = []
        self._incomplete_said = False
        self._blocked_at = ""  # said already

    def tick(self) -> None:
        self._health.tick()

    def state(self, state: str) -> None:
        if state == self._state:
            return
        self._state = state
        self._health.state(self._source, state)
        self._metrics.owned(self._source, owner=state == OWNER)
        self._log.info("state", state=state)

    def restoring(self, offset: int, end: int) -> None:
        self._health.tick()
        self._metrics.restore_progress(self._source, offset, end)
        now = time.monotonic()
        if self._restoring is None:
            self._restoring = (now, offset)
        since, start = self._restoring
        done = offset >= end
        if done:
            self._restoring = None
        if now - self._said <= _RESTORE_LOG_SECONDS and not (done and self._said > since):
            return
        self._said = now
        rate = (offset - start) / max(now - since, 0.001)
        self._log.info(
            "restore",
            changelog_offset=offset,
            end_offset=end,
            percent=round(100 * offset / max(end, 1), 1),
            records_per_s=round(rate),
            seconds_left=round((end - offset) / rate) if rate else None,
        )

    def unseeded(self, tables: list[str]) -> None:
        if tables and tables != self._unseeded:
            self._log.warning(
                "incomplete",
                tables=tables,
                reason="no whole snapshot of them is in the topics: aggregates that are older than the topics fire no events",
                hint="bridge backfill --signal",
            )
        self._unseeded = tables

    def steps(self, seconds: dict[str, float]) -> None:
        for step, spent in seconds.items():
            self._metrics.step(self._source, step, spent)

    def committed(self, output: Output, seconds: float) -> None:
        source, counts, metrics = self._source, output.counts, self._metrics
        metrics.kafka_transaction(source, "committed")
        metrics.batch_read(
            source,
            row_changes=counts.row_changes,
            transactions=counts.transactions,
            duplicates=counts.duplicates,
            seeds=counts.seeds,
        )
        metrics.events_published(source, counts.events, seconds)
        metrics.open_windows(source, counts.open_windows)
        for code, count in counts.dead_letters.items():
            metrics.dead_letters(source, code, count)
        self._log.debug("publish", position=output.commit_position, transactions=counts.transactions, seconds=seconds)
        self._warn(output)

    def _warn(self, output: Output) -> None:
        counts = output.counts
        for code, count in counts.dead_letters.items():
            self._log.warning("dead_letter", code=code, records=count, position=output.commit_position)
        for table in counts.truncated:
            self._log.error("truncate", table=table, position=output.commit_position, hint=_TRUNCATED)
        for short in counts.released_short:
            missing = {table: f"{have} of {count} rows" for table, (have, count) in short.missing.items()}
            self._log.error(
                "released_short", transaction=short.group, position=short.position, missing=missing, reason=_DECIDED
            )
        if counts.seed_differences:
            self._metrics.seed_differences(self._source, counts.seed_differences)
            self._log.warning("seed_differences", seeds=counts.seed_differences, hint="changes were missed before")
        if counts.incomplete and not self._incomplete_said:
            self._incomplete_said = True
            self._log.warning(
                "aggregate_incomplete",
                position=output.commit_position,
                reason="its root was neither created in the stream nor were its tables seeded; it fires no events",
            )

    def aborted(self, error: Exception) -> None:
        self._metrics.kafka_transaction(self._source, "ambiguous" if isinstance(error, Ambiguous) else "aborted")
        code = error.code if isinstance(error, BridgeError) else ""
        self._log.warning("aborted", code=code, reason=str(error), hint="restored from the checkpoint; nothing is lost")

    def blocked(self, hidden: tuple[float, str]) -> None:
        seconds, place = hidden
        self._metrics.lso_blocked(self._source, seconds)
        if seconds >= _BLOCKED_LOG_SECONDS and place != self._blocked_at:
            self._blocked_at = place
            self._log.warning("blocked", at=place, seconds=round(seconds), reason=_BLOCKED, hint="bridge positions")

    def behind(self, records: int, oldest_open_ms: int | None) -> None:
        self._metrics.lag(self._source, records)
        age = 0.0 if oldest_open_ms is None else max(0.0, time.time() - oldest_open_ms / 1000)
        self._metrics.open_transaction_age(self._source, age)
