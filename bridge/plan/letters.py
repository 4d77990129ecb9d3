"""The dead letters of the two: which only one of them has, by cause."""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

import msgspec

from bridge.core.history import own
from bridge.core.transaction import SourceTransaction
from bridge.model import OutboundRecord
from bridge.plan.edition import Edition
from bridge.plan.report import LetterExample, Letters
from bridge.plan.waiting import Reached, Waiting


class Letter(NamedTuple):
    """What is kept of one. ``place``: of the record, or of the unit's END."""

    code: str
    aggregate: str
    mapping: str
    field: str
    identity: str
    place: str
    position: int


class _Document(msgspec.Struct):
    """What is read of a unit's dead letter."""

    code: str
    aggregate: str
    aggregateId: str  # noqa: N815 - as it is written
    field: str
    place: str
    mapping: str


_document = msgspec.json.Decoder(_Document).decode


class DeadLetters:
    """``unchanged``: how many both have, of the same unit and with the same code."""

    def __init__(self, old: Edition, new: Edition, slack_ms: int, examples: int) -> None:
        self.unchanged = 0
        self._editions = (old, new)
        self._examples = examples
        self._waiting: Waiting[Letter] = Waiting(slack_ms)
        self._found: dict[Hashable, Letters] = {}

    def see(self, side: int, record: OutboundRecord, unit: SourceTransaction) -> None:
        letter = _letter(record, unit)
        key = (letter.code, letter.aggregate, letter.identity, letter.place, unit.position)
        self.unchanged += self._waiting.meet(side, key, letter) is not None

    def settle(self, told: tuple[Reached, Reached], reached: tuple[Reached, Reached]) -> None:
        for side, letter in self._waiting.alone(told, reached):
            self._one(side, letter)

    def found(self) -> list[Letters]:
        """All of them; nothing is told any more."""
        for side, letter in self._waiting.rest():
            self._one(side, letter)
        return sorted(
            self._found.values(), key=lambda one: (one.what, one.is_parked, one.aggregate, one.code, one.mapping)
        )

    def _one(self, side: int, letter: Letter) -> None:
        edition = self._editions[side]
        what = "new" if side else "gone"
        cause = (what, letter.code, letter.aggregate, letter.mapping, letter.field)
        letters = self._found.get(cause)
        if letters is None:
            letters = self._found[cause] = Letters(*cause, stops=letter.aggregate in edition.stops)
        letters.count += 1
        if len(letters.examples) < self._examples:
            identity = letter.identity
            for one in self._editions:
                if letter.aggregate in one.aggregates:
                    identity = one.personal.identity(letter.aggregate, identity)
            letters.examples.append(LetterExample(identity, letter.place, letter.position))


def _letter(record: OutboundRecord, unit: SourceTransaction) -> Letter:
    headers = {name: value.decode() for name, value in record.headers}
    position = own(unit.position)
    if headers["bridge_kind"] == "record":
        place = f"{headers['bridge_topic']}-{headers['bridge_partition']}@{headers['bridge_offset']}"
        return Letter(headers["bridge_code"], "", "", "", "", place, position)
    found = _document(record.value)
    mapping = found.place or found.mapping
    return Letter(found.code, found.aggregate, mapping, found.field, found.aggregateId, f"END {unit.offset}", position)
