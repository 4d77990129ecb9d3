"""Expected and published events, side by side: which are equal, which differ and where, which are missing or too many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from bridge.mapping.cases import Expected
from bridge.trial.machine import Published

SAME, OTHER, MISSING, EXTRA = "=", "!", "-", "+"
_ALIGNED_MAX: Final = 40_000  # pairs; beyond, events are compared place by place


@dataclass(frozen=True, slots=True)
class Shown:
    """One event or dead letter as people compare it. ``place``: the mapping's line that a dead letter names."""

    name: str
    data: dict[str, Any] = field(default_factory=dict)
    code: str = ""
    field: str = ""
    place: str = ""
    message: str = ""

    def __str__(self) -> str:
        if self.code:
            return " ".join(part for part in (f"dead letter {self.code}", self.field, self.place) if part)
        return self.name


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a difference: SAME, OTHER, MISSING or EXTRA, and what differs in it."""

    mark: str
    shown: Shown
    details: tuple[str, ...] = ()


def shown_expected(one: Expected) -> Shown:
    return Shown(one.name, one.data, one.code, one.field)


def shown_published(one: Published, names: Mapping[tuple[str, str], str]) -> Shown:
    """With the payload as JSON has it. ``names``: of events by published type and version."""
    if one.code:
        return Shown("", {}, one.code, one.field, one.place, one.message)
    headers = dict(one.record.headers)
    kind = headers["ce_type"].decode()
    return Shown(names.get((kind, headers["schemaVersion"].decode()), kind), msgspec.json.decode(one.record.value))


def compare(expected: Sequence[Shown], found: Sequence[Shown]) -> list[Line]:
    """In order. Two events stand on one line where they have one name and that makes the difference small."""
    lines = []
    for wanted, got in _aligned(expected, found):
        if wanted is None and got is not None:
            lines.append(Line(EXTRA, got, (got.message,) if got.message else ()))
        elif wanted is not None and got is None:
            lines.append(Line(MISSING, wanted))
        elif wanted is not None and got is not None:
            details = tuple(_details(wanted, got))
            lines.append(Line(OTHER if details else SAME, got, details))
    return lines


def _details(wanted: Shown, got: Shown) -> Iterator[str]:
    if got.code:
        if wanted.field and wanted.field != got.field:
            yield f"field: expected {wanted.field}, got {got.field or 'none'}"
        return
    yield from differences(wanted.data, got.data)


def differences(wanted: Any, got: Any, path: str = "") -> Iterator[str]:
    """``lines[0].sku: expected 'A-1', got 'A-2'``: every place at which two JSON values differ."""
    if isinstance(wanted, dict) and isinstance(got, dict):
        for name in dict.fromkeys((*wanted, *got)):
            place = f"{path}.{name}" if path else name
            if name not in got:
                yield f"{place}: expected {_text(wanted[name])}, missing"
            elif name not in wanted:
                yield f"{place}: not expected, got {_text(got[name])}"
            else:
                yield from differences(wanted[name], got[name], place)
    elif isinstance(wanted, list) and isinstance(got, list):
        for i in range(max(len(wanted), len(got))):
            place = f"{path}[{i}]"
            if i >= len(got):
                yield f"{place}: expected {_text(wanted[i])}, missing"
            elif i >= len(wanted):
                yield f"{place}: not expected, got {_text(got[i])}"
            else:
                yield from differences(wanted[i], got[i], place)
    elif not _equal(wanted, got):
        yield f"{path or 'payload'}: expected {_text(wanted)}, got {_text(got)}"


def _equal(wanted: Any, got: Any) -> bool:
    """As JSON: true is no number, and 1 is 1.0."""
    return isinstance(wanted, bool) == isinstance(got, bool) and bool(wanted == got)


def _text(value: Any) -> str:
    return repr(value) if isinstance(value, str) else msgspec.json.encode(value).decode()


def _aligned(expected: Sequence[Shown], found: Sequence[Shown]) -> Iterator[tuple[Shown | None, Shown | None]]:
    """The pairing with the fewest differences: an edit distance, in which a differing pair costs less than two gaps."""
    start = 0
    while start < min(len(expected), len(found)) and _cost(expected[start], found[start]) == 0:
        yield expected[start], found[start]
        start += 1
    stop = 0
    while stop < min(len(expected), len(found)) - start and _cost(expected[-1 - stop], found[-1 - stop]) == 0:
        stop += 1
    yield from _paired(expected[start : len(expected) - stop], found[start : len(found) - stop])
    yield from zip(expected[len(expected) - stop :], found[len(found) - stop :], strict=True)


def _paired(left: Sequence[Shown], right: Sequence[Shown]) -> Iterator[tuple[Shown | None, Shown | None]]:
    if len(left) * len(right) > _ALIGNED_MAX:
        for i in range(max(len(left), len(right))):
            yield left[i] if i < len(left) else None, right[i] if i < len(right) else None
        return
    costs = _costs(left, right)
    i = j = 0
    while i < len(left) or j < len(right):
        here = costs[i][j]
        pair = _cost(left[i], right[j]) if i < len(left) and j < len(right) else None
        if pair is not None and here == costs[i + 1][j + 1] + pair:
            yield left[i], right[j]
            i, j = i + 1, j + 1
        elif i < len(left) and here == costs[i + 1][j] + 2:
            yield left[i], None
            i += 1
        else:
            yield None, right[j]
            j += 1


def _costs(left: Sequence[Shown], right: Sequence[Shown]) -> list[list[int]]:
    """What the cheapest pairing of ``left[i:]`` and ``right[j:]`` costs; a gap costs 2."""
    costs = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i in range(len(left), -1, -1):
        for j in range(len(right), -1, -1):
            ways = []
            if i < len(left):
                ways.append(costs[i + 1][j] + 2)
            if j < len(right):
                ways.append(costs[i][j + 1] + 2)
            if i < len(left) and j < len(right):
                pair = _cost(left[i], right[j])
                if pair is not None:
                    ways.append(costs[i + 1][j + 1] + pair)
            costs[i][j] = min(ways, default=0)
    return costs


def _cost(wanted: Shown, got: Shown) -> int | None:
    """0 equal, 3 of one name; None: not to be compared. Golden files of many events differ in few places."""
    if wanted.name != got.name or wanted.code != got.code:
        return None
    return 3 if any(_details(wanted, got)) else 0
