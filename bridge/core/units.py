"""One aggregate in one unit of work: its events; or where it cannot be translated, a dead letter and what follows from it.

``on_error`` of the mapping says what follows: ``park`` puts later units of the aggregate behind it, ``skip`` lets them go
on, ``stop`` ends everything. Which aggregates are parked is in the state, so that every process knows; so are the records
that were found too large for their topics (see ``bridge.core.oversize``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from bridge.core.aggregate import Touched
from bridge.core.decode import ChangeEvent
from bridge.core.encode import Encode
from bridge.core.images import Told
from bridge.core.open_window import OpenWindow
from bridge.core.oversize import Large
from bridge.core.reject import Breaker, Reject
from bridge.core.transaction import SourceTransaction
from bridge.core.translate import CanonicalEvent, aggregate_id, translate
from bridge.errors import Untranslatable
from bridge.model import OutboundRecord

PARKED = b"parked\x00"


class Named(Protocol):
    """The named values of the state."""

    def put_meta(self, name: bytes, value: bytes | None) -> None: ...
    def metas(self, prefix: bytes) -> list[tuple[bytes, bytes]]: ...


class Units:
    """``emit`` is given each dead letter. ``incomplete`` and ``dead_letters`` (by code) count until somebody takes them."""

    def __init__(
        self,
        state: Named,
        encode: Encode,
        reject: Reject,
        breaker: Breaker,
        emit: Callable[[OutboundRecord], None],
    ) -> None:
        self.incomplete = 0
        self.dead_letters: dict[str, int] = {}
        self._state = state
        self._encode = encode
        self._reject = reject
        self._breaker = breaker
        self._emit = emit
        self._parked = {name[len(PARKED) :].decode(): int(value) for name, value in state.metas(PARKED)}
        self.large = Large(state.metas(Large.PREFIX))

    def events(
        self, touched: Touched, transaction: SourceTransaction, told: Told, window: OpenWindow | None = None
    ) -> list[CanonicalEvent]:
        """Its events; none where the aggregate is not complete, is parked, or cannot be translated.

        Raises Untranslatable by the policy ``stop``, or where too many fail.
        """
        if not touched.complete:
            self.incomplete += 1
            return []
        if self._parked:
            behind = self._parked.get(unit_name(touched.mapping.aggregate, identity_of(touched)))
            if behind is not None:
                self._dead_letter(touched, transaction, told, None, behind, window)
                return []
        try:
            events = translate(touched, snapshot=told.snapshot)
            if self.large and events:
                self.large.refuse(self._encode.unit(events, told))
        except Untranslatable as error:
            self._rejected(touched, transaction, told, error, window)
            return []
        self._breaker.passed()
        return events

    def garbage(self, record: ChangeEvent) -> None:
        """A record that could not be decoded."""
        self._send(self._reject.record(record), "B201")

    def _rejected(
        self,
        touched: Touched,
        transaction: SourceTransaction,
        told: Told,
        error: Untranslatable,
        window: OpenWindow | None,
    ) -> None:
        if touched.mapping.on_error == "stop":
            raise error
        self._breaker.failed(error)
        self._dead_letter(touched, transaction, told, error, None, window)
        if touched.mapping.on_error == "park":
            name = unit_name(touched.mapping.aggregate, identity_of(touched))
            self._parked[name] = transaction.position
            self._state.put_meta(PARKED + name.encode(), b"%d" % transaction.position)

    def _dead_letter(
        self,
        touched: Touched,
        transaction: SourceTransaction,
        told: Told,
        error: Untranslatable | None,
        behind: int | None,
        window: OpenWindow | None,
    ) -> None:
        letter = self._reject.unit(touched, identity_of(touched), transaction, told, error, behind, window)
        self._send(letter, error.code if error is not None else "B211")

    def _send(self, letter: OutboundRecord, code: str) -> None:
        if self.large and self.large.knows(letter):
            letter = self._reject.reduced(letter)
        self._emit(letter)
        self.dead_letters[code] = self.dead_letters.get(code, 0) + 1


def unit_name(aggregate: str, identity: str) -> str:
    """What an aggregate is parked and settled by."""
    return f"{aggregate}\x1f{identity}"


def identity_of(touched: Touched) -> str:
    """The aggregate id, or where its columns do not give one, the root's row key: parking needs a name."""
    for row in (touched.root_after, touched.root_before):
        if row is not None:
            try:
                return aggregate_id(touched.mapping, row)
            except Untranslatable:
                continue
    return touched.changes[0].row_key.decode(errors="replace") if touched.changes else ""
