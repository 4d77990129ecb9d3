"""Row changes → what Debezium for PostgreSQL sends for them, in the order in which it sends it.

As a connector on its defaults writes it: an update has no ``before``, a delete's holds the key alone, a tombstone follows
it, a primary key change is a delete and a create on one position, and BEGIN and END count each transaction's rows.
Column values stand in the records in canonical form, so decode must be given layouts without types.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from bridge.mapping.cases import Change, Row

FIRST_COMMIT_MS: Final = 1_767_603_600_000  # 2026-01-05T09:00:00Z; each transaction commits a second later
_FIRST_LSN: Final = 1_000
_STEP: Final = 10
_FIRST_XID: Final = 700

_json = msgspec.json.encode


class Sent(NamedTuple):
    """One record before it has a topic. ``table``: ``schema.table``, "" for a marker; ``transaction``: its number from 1,
    0 for the snapshot.
    """

    table: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    transaction: int
    label: str


class Stream:
    """Everything that one database's connector sends. ``sent`` grows with each call."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self._lsn = _FIRST_LSN
        self._last_commit = 0
        self._number = 0
        self._ms = FIRST_COMMIT_MS

    def snapshot(self, changes: Sequence[Change]) -> None:
        """The initial snapshot: rows as they are before anything is streamed."""
        for number, change in enumerate(changes, 1):
            last = "last" if number == len(changes) else "true"
            self._row(change._replace(op="r", before=None), last, None)

    def transaction(
        self, statements: Iterable[Sequence[Change]], at_ms: int | None = None, after_ms: int | None = None
    ) -> None:
        """One committed transaction: the changes of each statement. ``at_ms``: END's time; ``after_ms``: so long after the
        last one, None: a second.
        """
        self._number += 1
        self._ms = self._ms + (1000 if after_ms is None else after_ms) if at_ms is None else at_ms
        xid = _FIRST_XID + self._number
        self._lsn += _STEP
        self._marker({"status": "BEGIN", "id": f"{xid}:{self._lsn}", "ts_ms": self._ms})
        counts: dict[str, int] = {}
        for changes in statements:
            self._lsn += _STEP
            for change in changes:
                counts[change.table] = counts.get(change.table, 0) + 1
                orders = {"total_order": sum(counts.values()), "data_collection_order": counts[change.table]}
                self._row(change, "false", {"id": f"{xid}:{self._lsn}", **orders})
        self._lsn += _STEP
        collections = [{"data_collection": name, "event_count": count} for name, count in counts.items()]
        end = {"status": "END", "id": f"{xid}:{self._lsn}", "event_count": sum(counts.values())}
        self._marker(end | {"data_collections": collections, "ts_ms": self._ms})
        self._last_commit = self._lsn

    def _marker(self, marker: Row) -> None:
        label = f"{marker['status']} {self._number}"
        self.sent.append(Sent("", _json({"id": marker["id"]}), _json(marker), (), self._number, label))

    def _row(self, change: Change, snapshot: str, block: Row | None) -> None:
        schema, _, table = change.table.rpartition(".")
        sequence = _json([str(self._last_commit) if self._last_commit else None, str(self._lsn)]).decode()
        source = {"schema": schema, "table": table, "lsn": self._lsn, "sequence": sequence, "snapshot": snapshot}
        value: dict[str, Any] = {
            "before": _key_alone(change) if change.op == "d" else None,
            "after": change.after,
            "source": source,
            "transaction": block,
            "op": change.op,
        }
        key = _json(change.key) if change.op != "t" else None
        name = "__debezium.newkey" if change.op == "d" else "__debezium.oldkey"
        headers = () if change.other_key is None else ((name, _json(change.other_key)),)
        label = f"{change.op} {table} {' '.join(str(part) for part in change.key.values())}".rstrip()
        self.sent.append(Sent(change.table, key, _json(value), headers, self._number, label))
        if change.op == "d":
            self.sent.append(Sent(change.table, key, None, headers, self._number, f"tombstone of {label}"))


def _key_alone(change: Change) -> Row | None:
    return None if change.before is None else dict.fromkeys(change.before) | change.key
