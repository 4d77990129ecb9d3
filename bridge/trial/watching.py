"""Waits until a file changes: by looking, which works on every file system and needs no service."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

LOOK_SECONDS = 0.3


class Watched:
    """Files, and directories with all that is in them, as they are now."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = roots
        self._seen = self._look()

    def wait(self) -> None:
        """Return when something is not as it was."""
        while self._look() == self._seen:
            time.sleep(LOOK_SECONDS)

    def _look(self) -> dict[Path, tuple[int, int]]:
        return dict(self._stats())

    def _stats(self) -> Iterator[tuple[Path, tuple[int, int]]]:
        for root in self._roots:
            for path in [root, *sorted(root.rglob("*"))] if root.is_dir() else [root]:
                try:
                    found = path.stat()
                except OSError:
                    continue
                yield path, (found.st_mtime_ns, found.st_size)
