"""Reads the YAML's shape: known keys, texts, lists and mappings, each mistake at its place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from bridge.located_yaml import Path
from bridge.mapping.diagnostics import Report, Source, asked, nearest

NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
DOTTED: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\.([A-Za-z_][A-Za-z0-9_$#]*)\Z")
_WORDS = """
and or not in is if else for lambda None True False null true false before after item item_before as async await class
def del from global import pass raise return try while with yield assert break continue elif except finally nonlocal
"""
RESERVED: Final = frozenset(_WORDS.split())


class Section:
    """One mapping of the file."""

    def __init__(self, report: Report, path: Path, data: dict[str, Any]) -> None:
        self.report = report
        self.path = path
        self.data = data
        self._written: dict[str, str] = {}  # key → how it is misspelt

    def __contains__(self, key: str) -> bool:
        return key in self.data

    def at(self, key: str) -> Path:
        return (*self.path, self._written.get(key, key))

    @property
    def place(self) -> str:
        return self.report.located.place(self.path)

    def only(self, *keys: str) -> None:
        """Report keys that are not among ``keys``. One that is misspelt is read as what is meant: nothing else is missing."""
        for key, value in tuple(self.data.items()):
            if key not in keys:
                meant = nearest(key, keys)
                hint = asked(meant) or f"there are {', '.join(keys)}"
                self.report.add("M001", self.at(key), f"unknown key '{key}'", hint, key=True)
                if meant is not None and meant not in self.data:
                    self.data = self.data | {meant: value}
                    self._written[meant] = key

    def bad(self, code: str, key: str, message: str, hint: str = "") -> None:
        self.report.add(code, self.at(key), message, hint)

    def missing(self, key: str, hint: str = "") -> None:
        self.report.add("M002", self.path, f"'{key}:' is missing", hint, key=True)

    def text(self, key: str, *, required: bool = False) -> str | None:
        """A scalar's text as written."""
        if self.data.get(key) is None:
            if required:
                self.missing(key)
            return None
        found = self.report.located.scalar(self.at(key))
        if found is None:
            self.bad("M003", key, f"'{key}:' must be text")
        return found

    def source(self, key: str) -> Source | None:
        """An expression."""
        found = self.text(key)
        return None if found is None else Source(self.report, self.at(key), found)

    def flag(self, key: str) -> bool:
        found = self.data.get(key, False)
        if not isinstance(found, bool):
            self.bad("M003", key, f"'{key}:' must be true or false")
            return False
        return found

    def section(self, key: str, *, required: bool = False) -> Section | None:
        """A mapping below this one."""
        found = self.data.get(key)
        if found is None:
            if required or key in self.data:
                self.missing(key) if key not in self.data else self.bad("M003", key, f"'{key}:' is empty")
            return None
        if not isinstance(found, dict):
            self.bad("M003", key, f"'{key}:' must be a mapping", "name: value, one per line")
            return None
        return Section(self.report, self.at(key), found)

    def texts(self, key: str) -> list[tuple[str, Path]]:
        """One text, or a list of them."""
        found = self.data.get(key)
        if isinstance(found, list):
            result = []
            for i in range(len(found)):
                text = self.report.located.scalar((*self.at(key), i))
                if text is None:
                    self.report.add("M003", (*self.at(key), i), "must be text")
                else:
                    result.append((text, (*self.at(key), i)))
            return result
        one = self.text(key)
        return [] if one is None else [(one, self.at(key))]

    def name(self, key: str, what: str) -> bool:
        """Is this key a name that expressions can use? Reports if not."""
        if NAME.match(key) and key not in RESERVED:
            return True
        self.report.add(
            "M004",
            self.at(key),
            f"'{key}' cannot be {what}",
            "letters, digits and _; no word of the language",
            key=True,
        )
        return False

    def __iter__(self) -> Iterator[str]:
        return iter(self.data)


_DURATION: Final = re.compile(r"([0-9]{1,9})(ms|s|m|h)")
_MS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}


def duration(section: Section, key: str, *, required: bool = False) -> int | None:
    """Milliseconds of ``500ms``, ``2s``, ``5m``, ``1h``."""
    text = section.text(key, required=required)
    if text is None:
        return None
    found = _DURATION.fullmatch(text)
    if found is None or int(found[1]) == 0:
        section.bad("M004", key, f"'{text[:40]}' is no duration", "write 500ms, 2s, 5m or 1h")
        return None
    return int(found[1]) * _MS[found[2]]
