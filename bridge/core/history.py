"""Which history of the source a record belongs to: what an operator decided when positions went back.

A database that was restored begins its positions anew. So that one number still orders everything (state rows, seeds,
released transactions), a position of a later history is put above all of the earlier ones: the incarnation, less one,
stands in the bits from ``BITS`` up. Without a decision positions are what the connector writes.

The decisions themselves are named values of the state, so that every replay decides the same:
``accept``, NUL, offset of END → per partition the offset where the new history begins;
``release``, NUL, offset of END → per partition the offset up to which the transaction's rows were looked for.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from bridge.core.decode import ChangeEvent, TransactionMarker
from bridge.model import InputPartition

BITS = 56  # a connector's own position takes fewer: 64 PiB of write-ahead log
ACCEPT = b"accept\x00"
RELEASE = b"release\x00"
_OWN = (1 << BITS) - 1

Offsets = dict[str, int]  # partition, as text → offset
Decisions = dict[int, Offsets]  # offset of END → …


def history_of(position: int) -> int:
    """0 for the first history; -1 for positions that mean "nothing before"."""
    return position >> BITS


def start_of(position: int) -> int:
    """The position that the history of ``position`` begins with."""
    return position >> BITS << BITS


def own(position: int) -> int:
    """A position as the connector writes it."""
    return position & _OWN if position > 0 else position


def incarnation_of(position: int) -> int:
    """Which history of the source a commit position is of, as event ids have it: from 1."""
    return max(position >> BITS, 0) + 1


def decisions(metas: Iterable[tuple[bytes, bytes]], prefix: bytes) -> Decisions:
    """The decisions of one kind among named values."""
    return {int(name[len(prefix) :]): msgspec.json.decode(value, type=Offsets) for name, value in metas}


def decision(prefix: bytes, end: int, offsets: Mapping[InputPartition, int]) -> dict[bytes, bytes | None]:
    """The named value that records a decision about the END at offset ``end``."""
    text = {str(partition): offset for partition, offset in sorted(offsets.items())}
    return {prefix + b"%d" % end: msgspec.json.encode(text)}


class Histories:
    """Where each accepted history begins, per partition (an index into ``partitions``)."""

    def __init__(self, accepted: Decisions, partitions: Sequence[InputPartition]) -> None:
        self._starts: list[list[int]] = [[] for _ in partitions]
        for cuts in accepted.values():
            for starts, partition in zip(self._starts, partitions, strict=True):
                insort(starts, cuts.get(str(partition), 0))
        self.count = len(accepted)

    def starts_after(self, entered: int) -> list[int] | None:
        """Where the first history begins that was not entered yet, ``entered`` of them having been."""
        return [starts[entered] for starts in self._starts] if entered < self.count else None

    def place(self, decoded: Iterable[ChangeEvent | TransactionMarker], partition: int) -> None:
        """Put one partition's records into their histories."""
        starts = self._starts[partition]
        for item in decoded:
            item.position += bisect_right(starts, item.offset) << BITS
