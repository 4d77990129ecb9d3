"""What is asked about: an event by its id, or a source transaction by one of its names. Finds it as the history goes by."""

from __future__ import annotations

import re
from collections import deque
from typing import Final

from bridge.core.pipeline import Observed
from bridge.errors import Fatal
from bridge.model import OutboundRecord

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LSN: Final = re.compile(r"([0-9A-F]{1,8})/([0-9A-F]{1,8})", re.IGNORECASE)
CANDIDATES: Final = 5


class Wanted:
    """The one thing asked about. ``event``: its id; else ``transaction``: an xid, ``xid:lsn``, a GTID, a commit position
    (a number, or PostgreSQL's ``0/16B3748``), or the offset of its END.
    """

    def __init__(self, event: str = "", transaction: str = "") -> None:
        self.event = event.strip().lower() if _UUID.fullmatch(event.strip().lower()) else event.strip()
        self.transaction = transaction.strip()
        self.found: list[Observed] = []
        self.seen = 0  # transactions
        self.events = 0
        self.first = self.last = ""
        self._nearby: deque[str] = deque(maxlen=CANDIDATES)
        self._folds: dict[bytes, list[str]] = {}  # open windows → their transactions
        lsn = _LSN.fullmatch(self.transaction)
        self._number = (int(lsn[1], 16) << 32) + int(lsn[2], 16) if lsn else _number(self.transaction)
        self._is_lsn = bool(lsn)

    @property
    def done(self) -> bool:
        """Whether nothing more can be found: ids and positions with a colon are unique, plain numbers may not be."""
        return bool(self.found) and (bool(self.event) or self._is_lsn or not self.transaction.isdigit())

    def see(self, observed: Observed) -> None:
        """The next transaction of the history."""
        if observed.difference:
            return
        if observed.snapshot or observed.window is not None:
            if self.event:
                self._look_for_event(observed)
            if observed.window is not None and not any(one is observed for one in self.found):
                self._folds.pop(observed.window.name, None)
            return
        for window in observed.windows:
            self._folds.setdefault(window.name, []).append(_name(observed))
        self.seen += 1
        self.last = _name(observed)
        self.first = self.first or self.last
        if self.event:
            self._look_for_event(observed)
        elif self._is_meant(observed):
            self.found.append(observed)
        elif self._number is not None and not self._is_lsn:
            self._look_nearby(observed, self._number)

    def folds(self, observed: Observed) -> list[str]:
        """The transactions that the window which was found folds."""
        return [] if observed.window is None else self._folds.get(observed.window.name, [])

    def _look_for_event(self, observed: Observed) -> None:
        for record in observed.records:
            headers = dict(record.headers)
            if "ce_id" not in headers:
                continue
            self.events += 1
            if headers["ce_id"].decode() == self.event:
                self.found.append(observed)
            elif self.event in (record.key.decode(), headers["ce_type"].decode()):
                self._nearby.append(f"{event_line(record)}, of transaction {_name(observed)}")

    def _is_meant(self, observed: Observed) -> bool:
        transaction = observed.transaction
        group, _, lsn = self.transaction.partition(":")
        if self.transaction == transaction.group or (lsn.isdigit() and group == transaction.group):
            # an xid comes again after wrap-around; a record's LSN is not behind its commit
            return not lsn.isdigit() or int(lsn) <= transaction.position or self.transaction == transaction.group
        return self._number is not None and self._number in self._numbers(observed)

    def _numbers(self, observed: Observed) -> set[int]:
        transaction = observed.transaction
        return {transaction.position} if self._is_lsn else {transaction.position, transaction.offset}

    def _look_nearby(self, observed: Observed, number: int) -> None:
        if observed.transaction.position <= number:  # the last ones before it
            self._nearby.append(_name(observed))

    def one(self, searched: str) -> Observed:
        """What was found. Raises Fatal where it is nothing, or not one. ``searched``: where, in words."""
        if len(self.found) == 1:
            return self.found[0]
        asked = f"event {self.event}" if self.event else f"transaction {self.transaction}"
        if self.found:
            names = "; ".join(_name(one) for one in self.found[:CANDIDATES])
            raise Fatal(
                f"{asked}: {len(self.found)} transactions have this number: {names}", "say xid:lsn", code="B510"
            )
        events = f", {self.events} events" if self.event else ""
        extent = f" from {self.first} to {self.last}" if self.seen else ""
        message = f"{asked} is not in {searched}: {self.seen} transactions{extent}{events}"
        raise Fatal(message, self._hint(), code="B510")

    def _hint(self) -> str:
        if self._nearby:
            what = f"events of {self.event}" if self.event else "those before it"
            return f"{what}: " + "".join(f"\n    {line}" for line in self._nearby)
        if self.event:
            return (
                "an id rests on source, incarnation and mapping (aggregate, event type, version): are --source and the "
                "mapping files those that published it, and is its transaction still in the topics?"
            )
        return "give PostgreSQL's xid or xid:lsn, a GTID, the commit position, or the offset of END"


def event_line(record: OutboundRecord) -> str:
    """An event by its id, type and key."""
    headers = dict(record.headers)
    return f"{headers['ce_id'].decode()} {headers['ce_type'].decode()} {record.key.decode()}"


def _name(observed: Observed) -> str:
    transaction = observed.transaction
    if observed.snapshot:
        return "the snapshot"
    if observed.window is not None:
        return f"the window that begins with {transaction.group}:{transaction.position}"
    return f"{transaction.group}:{transaction.position} (END at offset {transaction.offset})"


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None
