"""One large source transaction, and what a process holds in memory while it works on it."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from bridge.testing.order import Order
from bridge.testing.stream import OrderStream, Record

ROWS_PER_ORDER = 5
SAMPLE_SECONDS = 0.02


class ImportStream(OrderStream):
    """A snapshot of the customers, then orders that were placed elsewhere, imported in one transaction, each row once."""

    def records(self) -> Iterator[Record]:
        yield from self._snapshot()
        self._xid += 1
        self._lsn += 56
        yield self._marker("BEGIN", "null", "null")
        counts: Counter[str] = Counter()
        total = 0
        for number in range(1, self.wanted // ROWS_PER_ORDER + 1):
            Order(self, number, lines=ROWS_PER_ORDER - 2).import_placed()
            changes, self._changes = self._changes, []
            for change in changes:
                counts[change.table] += 1
                total += 1
                yield self._row(change, total, counts[change.table])
                self._lsn += 64
        tables = ",".join(f'{{"data_collection":"public.{table}","event_count":{n}}}' for table, n in counts.items())
        yield self._marker("END", str(total), f"[{tables}]")
        self.row_changes += total
        self.transactions += 1


class Memory:
    """Samples a process: the peaks of its anonymous memory and of its mapped files, in MiB."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.anonymous = self.mapped = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self.sample()

    def sample(self) -> None:
        """Look once."""
        with contextlib.suppress(OSError):
            for line in self._status.read_text().splitlines():
                name, _, rest = line.partition(":")
                if name == "RssAnon":
                    self.anonymous = max(self.anonymous, int(rest.split()[0]) / 1024)
                elif name == "RssFile":
                    self.mapped = max(self.mapped, int(rest.split()[0]) / 1024)
