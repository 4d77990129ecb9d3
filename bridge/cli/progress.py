"""A progress bar with rate and time left; plain lines where nobody watches a terminal."""

from __future__ import annotations

import sys
import time
from typing import TextIO

_WIDTH = 30
_BAR_SECONDS = 0.2
_LINE_SECONDS = 5.0


class Progress:
    """Call it with how much is done, of how much; ``what`` is counted. ``end`` closes the line."""

    def __init__(self, what: str, out: TextIO | None = None) -> None:
        self._what = what
        self._out = out or sys.stderr
        self._terminal = self._out.isatty()
        self._began = time.monotonic()
        self._first: int | None = None
        self._told = 0.0
        self._text = ""

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = done
        self._text = self._line(done, total, now - self._began)
        if now - self._told < (_BAR_SECONDS if self._terminal else _LINE_SECONDS):
            return
        self._told = now
        self._show()

    def _line(self, done: int, total: int, seconds: float) -> str:
        rate = (done - (self._first or 0)) / seconds if seconds > 0 else 0.0
        share = min(1.0, done / total) if total else 1.0
        left = f"{max(0, total - done) / rate:,.0f} s left" if rate > 0 else "waiting"
        bar = ""
        if self._terminal:
            full = int(share * _WIDTH)
            bar = f"[{'#' * full}{'.' * (_WIDTH - full)}] "
        return f"{bar}{share:4.0%}  {done:,} of {total:,} {self._what}  {rate:,.0f}/s  {left}"

    def _show(self) -> None:
        if self._terminal:
            self._out.write(f"\r\x1b[K{self._text}")
        else:
            self._out.write(f"{self._text}\n")
        self._out.flush()

    def end(self) -> None:
        """The last word."""
        if self._text:
            self._show()
            if self._terminal:
                self._out.write("\n")
