"""What an open Kafka transaction of somebody else hides: its own records, and all that was committed behind them.

A connector in exactly-once mode always has one for a moment. One that stays is a connector that died, until the brokers
abort what it left; or it hangs, and stays for ever.
"""

from __future__ import annotations

from collections.abc import Mapping

from bridge.model import InputPartition


class Hidden:
    """Tells how long the same Kafka transaction has been open. Times in seconds, of any clock that only rises."""

    def __init__(self) -> None:
        self._since: dict[InputPartition, tuple[int, float]] = {}

    def look(
        self, stable: Mapping[InputPartition, int], written: Mapping[InputPartition, int], now: float
    ) -> tuple[float, str]:
        """The longest one, and where it begins; (0.0, ""): none. ``stable`` was asked for before ``written``."""
        self._since = {
            one: self._since[one] if self._since.get(one, (-1, 0.0))[0] == offset else (offset, now)
            for one, offset in stable.items()
            if offset < written.get(one, 0)
        }
        return max(
            ((now - since, f"{one}@{offset}") for one, (offset, since) in self._since.items()), default=(0.0, "")
        )
