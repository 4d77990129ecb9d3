"""What a consumer saw, against what it had to see."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from bridge.testing.expected import Event


class Verdict(msgspec.Struct, frozen=True):
    """Counts of events. ``doubled``: those too many, repeated or unknown. ``problem``: why it is no use, in words."""

    expected: int = 0
    seen: int = 0
    lost: int = 0
    doubled: int = 0
    reordered: int = 0
    problem: str = ""

    @property
    def good(self) -> bool:
        return not (self.lost or self.doubled or self.reordered or self.problem)


def judge(expected: Sequence[Event], seen: Sequence[Event], problem: str = "") -> Verdict:
    """Byte by byte: an event with other bytes is one lost and one too many."""
    wanted, found = Counter(expected), Counter(seen)
    return Verdict(
        expected=len(expected),
        seen=len(seen),
        lost=(wanted - found).total(),
        doubled=(found - wanted).total(),
        reordered=_reordered(expected, seen),
        problem=problem,
    )


def _reordered(expected: Iterable[Event], seen: Iterable[Event]) -> int:
    """Events that came after one of their key that should have followed them; repeats do not count here."""
    places = {event: place for place, event in enumerate(expected)}
    latest: dict[bytes, int] = {}
    met: set[Event] = set()
    count = 0
    for event in seen:
        place = places.get(event)
        if place is None or event in met:
            continue
        met.add(event)
        if place < latest.get(event.key, -1):
            count += 1
        latest[event.key] = max(place, latest.get(event.key, -1))
    return count


def total(verdicts: Iterable[Verdict]) -> Verdict:
    """Of several runs."""
    given = list(verdicts)
    names = ("expected", "seen", "lost", "doubled", "reordered")
    sums = {name: sum(getattr(verdict, name) for verdict in given) for name in names}
    return Verdict(**sums, problem="; ".join(dict.fromkeys(v.problem for v in given if v.problem)))
