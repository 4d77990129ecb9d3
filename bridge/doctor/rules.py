"""The table of rules, one for each code; what a code means, and why it hurts, stands in ``bridge/codes.yaml``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from bridge.doctor import rules_capture as capture
from bridge.doctor import rules_connector as connector
from bridge.doctor import rules_database as database
from bridge.doctor import rules_topics as topics
from bridge.doctor import rules_values as values
from bridge.doctor.facts import Facts
from bridge.doctor.finding import Finding, Found, Severity

Rule = Callable[[Facts], Iterable[Found]]


def _unread(code: str) -> Rule:
    def rule(facts: Facts) -> Iterable[Found]:
        return [Found(Severity.UNKNOWN, one.place, one.reason, one.mend) for one in facts.unread if one.code == code]

    return rule


RULES: Final[dict[str, Rule]] = {
    **{code: _unread(code) for code in ("D001", "D002", "D003", "D004")},
    "D010": connector.no_connector,
    "D011": connector.several_connectors,
    "D012": connector.not_running,
    "D013": connector.bad_version,
    "D014": connector.wrong_kind,
    "D015": connector.several_tasks,
    "D016": connector.no_transaction_metadata,
    "D017": connector.exactly_once_off,
    "D018": capture.signal_table,
    "D019": connector.snapshot_mode,
    "D020": connector.no_heartbeat,
    "D021": capture.heartbeat_not_captured,
    "D030": capture.not_captured,
    "D031": capture.topic_not_listed,
    "D032": capture.topic_nobody_writes,
    "D033": capture.message_key_columns,
    "D034": capture.no_primary_key,
    "D035": capture.replica_identity_nothing,
    "D036": capture.toast,
    "D037": capture.columns_left_out,
    "D038": capture.skipped_operations,
    "D039": capture.publication_lacks_table,
    "D040": capture.publication_leaves_out,
    "D050": values.decimals_as_double,
    "D051": values.times_cut,
    "D052": values.other_mode,
    "D053": values.unsigned_wrapped,
    "D054": values.inet6,
    "D055": values.other_converter,
    "D056": values.null_replaced,
    "D057": values.no_types,
    "D060": values.flattened,
    "D061": values.rows_dropped,
    "D062": values.other_router,
    "D063": values.other_transform,
    "D070": database.wal_level,
    "D071": database.no_slot,
    "D072": database.slot_lost,
    "D073": database.slot_inactive,
    "D074": database.slot_lag,
    "D075": database.wal_unbounded,
    "D076": database.slot_dropped_on_stop,
    "D077": database.slot_not_advanced,
    "D080": database.binlog_off,
    "D081": database.row_image,
    "D082": database.row_metadata,
    "D083": database.gtid_not_strict,
    "D084": database.binlog_expires,
    "D085": database.unlogged_cascades,
    "D086": database.zero_dates,
    "D090": topics.partitions,
    "D091": topics.input_missing,
    "D092": topics.compacted,
    "D093": topics.retention,
    "D094": topics.beginning_gone,
    "D095": topics.output_missing,
    "D096": topics.changelog,
    "D097": topics.dead_letters,
    "D098": topics.sizes,
    "D099": topics.transaction_timeout,
}
ORDER: Final = {severity: place for place, severity in enumerate(Severity)}


def examine(facts: Facts) -> list[Finding]:
    """Every finding of one source, the worst first, then by code."""
    found = [
        Finding(code, one.severity, facts.source.name, one.place, one.what, one.mend)
        for code, rule in RULES.items()
        for one in rule(facts)
    ]
    return sorted(found, key=lambda one: (ORDER[one.severity], one.code))
