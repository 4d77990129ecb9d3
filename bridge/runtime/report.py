"""What the runtime says of itself while it works; the shell turns it into logs, metrics and health."""

from __future__ import annotations

from bridge.core.pipeline import Output


class Report:
    """Says nothing: the base for those that do, and enough for the simulator. Times in seconds."""

    def tick(self) -> None:
        """The loop came round."""

    def state(self, state: str) -> None:
        """starting, standby, restoring, owner or stopped."""

    def restoring(self, offset: int, end: int) -> None:
        """The changelog was read up to ``offset`` of ``end``."""

    def unseeded(self, tables: list[str]) -> None:
        """At a start in the middle: tables whose rows are not all known."""

    def steps(self, seconds: dict[str, float]) -> None:
        """How long each step took for one batch, from reading it to its commit."""

    def committed(self, output: Output, seconds: float) -> None:
        """A Kafka transaction was committed, ``seconds`` after its first record was read."""

    def aborted(self, error: Exception) -> None:
        """Work was dropped; it will be done again, here or by another owner."""

    def blocked(self, hidden: tuple[float, str]) -> None:
        """For how many seconds an open Kafka transaction of the source's writer has hidden what is behind it, and where."""

    def behind(self, records: int, oldest_open_ms: int | None) -> None:
        """How many records are not yet processed, and the time of the oldest transaction that is still open."""
