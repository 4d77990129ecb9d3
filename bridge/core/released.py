"""The commit positions that were released: what tells a repeat from a history that went back.

Positions rise, so they are kept in one sorted array (8 bytes each) and, for the changelog, in blocks of at most
``BLOCK`` positions, the newest of which is rewritten as it grows. Only the newest ``limit`` positions are remembered.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left

import msgspec

BLOCK = 1024


class Released:
    """Commit positions in release order, which is rising order."""

    def __init__(self, limit: int = 1_000_000) -> None:
        self._limit = limit
        self._positions: array[int] = array("q")
        self._first_block = 0  # number of the block that self._positions starts with
        self._dirty_from: int | None = None

    @property
    def last(self) -> int:
        """The last released commit position; -2 before the first."""
        return self._positions[-1] if self._positions else -2

    def __contains__(self, position: int) -> bool:
        if position > self.last:
            return False
        index = bisect_left(self._positions, position)
        return self._positions[index] == position

    def add(self, position: int) -> None:
        if self._dirty_from is None:
            self._dirty_from = self._first_block + len(self._positions) // BLOCK
        self._positions.append(position)

    def take_changes(self) -> list[tuple[int, bytes | None]]:
        """Blocks to be written or deleted (None) since the last call: (block number, msgpack list of positions)."""
        if self._dirty_from is None:
            return []
        changes: list[tuple[int, bytes | None]] = []
        last_block = self._first_block + (len(self._positions) - 1) // BLOCK
        for number in range(self._dirty_from, last_block + 1):
            start = (number - self._first_block) * BLOCK
            changes.append((number, msgspec.msgpack.encode(self._positions[start : start + BLOCK].tolist())))
        self._dirty_from = None
        while len(self._positions) > self._limit + BLOCK:
            changes.append((self._first_block, None))
            del self._positions[:BLOCK]
            self._first_block += 1
        return changes

    def load(self, blocks: dict[int, bytes]) -> None:
        """Take up where a predecessor left off."""
        numbers = sorted(blocks)
        self._first_block = numbers[0] if numbers else 0
        for number in numbers:
            self._positions.extend(msgspec.msgpack.decode(blocks[number], type=list[int]))
