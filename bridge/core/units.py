"""One aggregate in one unit of work: its events; or where it cannot be translated, a dead letter and what follows from it.

``on_error`` of the mapping says what follows: ``park`` puts later units of the aggregate behind it, ``skip`` lets them go
on, ``stop`` ends everything. Which aggregates are parked is in the state, so that every process knows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from bridge.core.aggregate import Touched
from bridge.core.decode import ChangeEvent
from bridge.core.open_window import OpenWindow
from bridge.core.reject import Breaker, Reject
from bridge.core.transaction import SourceTransaction
from bridge.core.translate import CanonicalEvent, aggregate_id, translate
from bridge.errors import Untranslatable
from bridge.model import OutboundRecord

_PARKED = b"parked\x00"


class Named(Protocol):
    """The named values of the state."""

    def put_meta(self, name: bytes, value: bytes | None) -> None: ...
    def metas(self, prefix: bytes) -> list[tuple[bytes, bytes]]: ...


class Units:
    """``emit`` is given each dead letter. ``incomplete`` and ``dead_letters`` (by code) count until somebody takes them."""

    def __init__(self, state: Named, reject: Reject, breaker: Breaker, emit: Callable[[OutboundRecord], None]) -> None:
        self.incomplete = 0
        self.dead_letters: dict[str, int] = {}
        self._state = state
        self._reject = reject
        self._breaker = breaker
        self._emit = emit
        self._parked = {name[len(_PARKED) :].decode(): int(value) for name, value in state.metas(_PARKED)}

    def events(
        self,
        touched: Touched,
        transaction: SourceTransaction,
        *,
        is_snapshot: bool = False,
        window: OpenWindow | None = None,
    ) -> list[CanonicalEvent]:
        """Its events; none where the aggregate is not complete, is parked, or cannot be translated.

        Raises Untranslatable by the policy ``stop``, or where too many fail.
        """
        if not touched.complete:
            self.incomplete += 1
            return []
        if self._parked:
            behind = self._parked.get(_name(touched))
            if behind is not None:
                self._dead_letter(touched, transaction, None, behind, window)
                return []
        try:
            events = translate(touched, snapshot=is_snapshot)
        except Untranslatable as error:
            self._rejected(touched, transaction, error, window)
            return []
        self._breaker.passed()
        return events

    def garbage(self, record: ChangeEvent) -> None:
        """A record that could not be decoded."""
        self._emit(self._reject.record(record))
        self._count("B201")

    def _rejected(
        self, touched: Touched, transaction: SourceTransaction, error: Untranslatable, window: OpenWindow | None
    ) -> None:
        if touched.mapping.on_error == "stop":
            raise error
        self._breaker.failed(error)
        self._dead_letter(touched, transaction, error, None, window)
        if touched.mapping.on_error == "park":
            name = _name(touched)
            self._parked[name] = transaction.position
            self._state.put_meta(_PARKED + name.encode(), b"%d" % transaction.position)

    def _dead_letter(
        self,
        touched: Touched,
        transaction: SourceTransaction,
        error: Untranslatable | None,
        behind: int | None,
        window: OpenWindow | None,
    ) -> None:
        self._emit(self._reject.unit(touched, identity_of(touched), transaction, error, behind, window))
        self._count(error.code if error is not None else "B211")

    def _count(self, code: str) -> None:
        self.dead_letters[code] = self.dead_letters.get(code, 0) + 1


def _name(touched: Touched) -> str:
    return f"{touched.mapping.aggregate}\x1f{identity_of(touched)}"


def identity_of(touched: Touched) -> str:
    """The aggregate id, or where its columns do not give one, the root's row key: parking needs a name."""
    for row in (touched.root_after, touched.root_before):
        if row is not None:
            try:
                return aggregate_id(touched.mapping, row)
            except Untranslatable:
                continue
    return touched.changes[0].row_key.decode(errors="replace") if touched.changes else ""
