"""What one of the two told and the other has not (yet): held until the other tells it, or is past where it could.

Both read the same records, so they are never far apart, and what waits is what came since the other was last here. A
window may be told later by one of them than by the other, by ``slack_ms`` of event time at most.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Hashable, Iterator
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")
Chain = list[tuple[int, int]]


class Reached(NamedTuple):
    """How far one of them is: the offset of the last END that it applied, and event time."""

    end: int
    time_ms: int


class Waiting(Generic[T]):
    """``meet`` while both run; ``alone`` when both were given the same records."""

    def __init__(self, slack_ms: int) -> None:
        self._slack_ms = slack_ms
        self._by_key: tuple[dict[Hashable, tuple[int, T]], ...] = ({}, {})
        self._rounds: tuple[deque[tuple[int, Reached]], ...] = (deque(), deque())
        self._round = 0

    def meet(self, side: int, key: Hashable, one: T) -> T | None:
        """The other's, if it waits; else this one does."""
        found = self._by_key[1 - side].pop(key, None)
        if found is None:
            self._by_key[side][key] = (self._round, one)
            return None
        return found[1]

    def alone(self, told: tuple[Reached, Reached], reached: tuple[Reached, Reached]) -> Iterator[tuple[int, T]]:
        """Those that the other never tells. ``told``: no later than there was told what came since the last call."""
        for side in (0, 1):
            rounds, other = self._rounds[side], reached[1 - side]
            rounds.append((self._round, told[side]))
            settled = -1
            while rounds and self._is_past(rounds[0][1], other):
                settled = rounds.popleft()[0]
            yield from self._take(side, settled)
        self._round += 1

    def rest(self) -> Iterator[tuple[int, T]]:
        """All of them: nothing more comes."""
        for side in (0, 1):
            yield from self._take(side, self._round)

    def _is_past(self, told: Reached, other: Reached) -> bool:
        return other.end >= told.end and (not self._slack_ms or other.time_ms >= told.time_ms + self._slack_ms)

    def _take(self, side: int, until: int) -> Iterator[tuple[int, T]]:
        waiting = self._by_key[side]
        while waiting:
            key, (number, one) = next(iter(waiting.items()))
            if number > until:
                return
            del waiting[key]
            yield side, one


class Order:
    """Which events the two tell in another order than others of one topic and record key.

    Only events that are told near each other can change places: in one unit, or in units of which one is a window's.
    """

    def __init__(self, slack_ms: int) -> None:
        self._slack_ms = slack_ms
        self._chains: tuple[dict[Hashable, Chain], dict[Hashable, Chain]] = ({}, {})  # of now, and of before
        self._turned_ms = 0

    def is_other(self, place: Hashable, old: int, new: int) -> bool:
        """``old``, ``new``: which one it was among all events of each."""
        chain = self._chains[0].setdefault(place, [])
        if any(_crosses(known, old, new) for known in (chain, self._chains[1].get(place, []))):
            return True
        chain.insert(bisect_left(chain, (old, new)), (old, new))
        return False

    def forget(self, reached: tuple[Reached, Reached]) -> None:
        """What no event to come can change places with."""
        now = min(one.time_ms for one in reached)
        if not self._slack_ms:
            self._chains = ({}, {})
        elif now >= self._turned_ms + self._slack_ms:
            self._chains, self._turned_ms = ({}, self._chains[0]), now


def _crosses(chain: Chain, old: int, new: int) -> bool:
    """``chain`` rises in both numbers."""
    place = bisect_left(chain, (old, new))
    return (place > 0 and chain[place - 1][1] > new) or (place < len(chain) and chain[place][1] < new)
