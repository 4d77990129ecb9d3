"""What becomes of a record that is told once more: where it goes, under which id, or whether it is left out.

Key, value and headers are those of the first time. With ``reissue`` an event has a new id, which is a function of the old
one and of the occasion's name, and says which one it replaces: for consumers that rightly drop ids that they know.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice
from uuid import UUID, uuid5

from bridge.model import OutboundRecord


class Retold:
    """``name``: of the occasion. ``ids``: the aggregates that are wanted, all where there is none.

    ``live``: to the topics of the first time, where dead letters are already; else to shadows of them.
    """

    def __init__(self, name: str, dead_letters: str, ids: Collection[str], *, live: bool, reissue: bool) -> None:
        self._name = name
        self._dead_letters = dead_letters
        self._keys = frozenset(one.encode() for one in ids)
        self._live = live
        self._reissue = reissue

    def record(self, record: OutboundRecord) -> OutboundRecord | None:
        """The record as it is written now; None: it is not."""
        if self._keys and record.key not in self._keys:
            return None
        if not self._live:
            return record._replace(topic=shadow_of(record.topic, self._name))
        if record.topic == self._dead_letters:
            return None
        return reissued(record, self._name) if self._reissue else record

    def is_letter(self, record: OutboundRecord) -> bool:
        return record.topic == self._dead_letters and (not self._keys or record.key in self._keys)


class Selection(Collection[OutboundRecord]):
    """Records as they are told again, without the first ``skip``; made anew each time they are looked at."""

    def __init__(self, records: Collection[OutboundRecord], skip: int, retold: Retold) -> None:
        self._records = records
        self._skip = skip
        self._retold = retold

    def __iter__(self) -> Iterator[OutboundRecord]:
        for record in islice(self._records, self._skip, None):
            found = self._retold.record(record)
            if found is not None:
                yield found

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, record: object) -> bool:
        return any(one == record for one in self)

    def letters(self) -> int:
        """Dead letters among them, told again or not."""
        return sum(map(self._retold.is_letter, islice(self._records, self._skip, None)))


def shadow_of(topic: str, name: str) -> str:
    """The topic that stands for another, on one occasion."""
    return f"{topic}.{name}"


def reissued(record: OutboundRecord, name: str) -> OutboundRecord:
    """An event under a new id, which says what it replaces; its trace is its own, as the first time."""
    old = dict(record.headers)["ce_id"]
    new = uuid5(UUID(old.decode()), name)
    trace = f"00-{new.hex}-{new.hex[16:]}-01"
    changed = {"ce_id": str(new).encode(), "traceparent": trace.encode()}
    headers = [(header, changed.get(header, value)) for header, value in record.headers]
    return record._replace(headers=[*headers, ("replaces", old)])
