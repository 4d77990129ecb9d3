"""The codes of the mapping language, and the collector that gives each mistake its place and hint."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from heapq import nsmallest
from typing import TYPE_CHECKING, Final

from msgspec import structs

from bridge.located_yaml import MAX_FOUND, Located, Path
from bridge.model import Diagnostic

if TYPE_CHECKING:
    from bridge.mapping.shared import SharedType

MAX_WORD: Final = 100  # characters of what a hint is looked for
MAX_COMPARED: Final = 30

CODES: Final[dict[str, str]] = {
    "M001": "a key that the language does not have",
    "M002": "a key that must be there is missing",
    "M003": "a value of the wrong shape: text, list or mapping expected",
    "M004": "a value that is not allowed here",
    "M010": "an expression that cannot be read",
    "M011": "a construct that expressions do not have",
    "M012": "the table has no such column",
    "M013": "an unknown name",
    "M014": "an unknown function",
    "M015": "a function called with the wrong arguments",
    "M016": "types that do not fit",
    "M017": "a value that the enum cannot have",
    "M018": "an expression that is too long, too deep or holds too big a literal",
    "M019": "a pattern, time zone, date or path constant that is not valid",
    "M020": "not exactly one root table",
    "M021": "a join that is not on one other alias, or goes in a circle",
    "M022": "the source has no such table",
    "M023": "the key is not made of columns of the root",
    "M024": "a list used as one row, or one row used as a list",
    "M025": "an unknown type",
    "M026": "keys that exclude each other",
    "M027": "passed() on a field that does not come from the root row alone",
    "M028": "a value that may be null for a field that must not be",
    "M029": "a name that is defined twice",
    "M030": "codes that differ from the values of the column's enum type",
    "M031": "two events of one type and version",
    "M032": "an event whose name is not in the past tense",
    "M033": "personal data in a payload or an aggregate id",
    "M034": "a table that nothing reads",
    "M035": "a condition that can never be true",
    "M036": "a table without a primary key",
    "M037": "a shared enum or type that is not sound",
    "M038": "a test that names what is not there: a table, an event, a payload member, a row",
    "M039": "a column that the change stream is without",
    "M040": "a column that may arrive as null though it did not change",
    "M041": "rows that a foreign key changes unseen",
}

WARNINGS: Final = frozenset({"M032", "M034", "M040", "M041"})  # they stop no check
ALLOWABLE: Final = frozenset(
    {"M030", "M032", "M033", "M034", "M035", "M040", "M041"}
)  # a person may know better, and says why

# What a compiled mapping raises as Untranslatable, with field and ``file:line``, never with the value.
RUNTIME_CODES: Final[dict[str, str]] = {
    "T101": "null in a required field",
    "T102": "a code that the mapping does not list",
    "T103": "a number or time out of range, not exact at the declared scale, or divided by zero",
    "T104": "a value that neither record nor state knows",
    "T105": "several rows where one is expected",
    "T106": "no case holds",
    "T107": "a value of the wrong type",
    "T108": "null in arithmetic or ordering",
    "T109": "two elements of a list with the same key",
    "T110": "a text, a number, or a form within a form that grew too big",
}


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is probably meant."""
    names = sorted(set(known))
    lowered = {name.lower(): name for name in names}
    if word.lower() in lowered:
        return lowered[word.lower()]
    if len(word) > MAX_WORD:
        return None
    if len(names) > MAX_COMPARED:  # comparing is slow: of a whole catalog only the likeliest are looked at
        letters = set(word)
        likely = nsmallest(MAX_COMPARED, names, key=lambda name: (len(letters ^ set(name)), abs(len(name) - len(word))))
        names = sorted(likely)
    return next(iter(get_close_matches(word, names, n=1, cutoff=0.6)), None)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint with the nearest known word, or ''."""
    return asked(nearest(word, known))


def asked(word: str | None) -> str:
    """That hint, with the word that is probably meant."""
    return "" if word is None else f"did you mean '{word}'?"


class EnoughError(Exception):
    """A file has more mistakes than anyone reads; looking for more of them would take long."""


class Report:
    """Collects the diagnostics of one file."""

    def __init__(self, located: Located) -> None:
        self.located = located
        self.found: list[Diagnostic] = list(located.diagnostics)
        self.shared: dict[str, SharedType] = {}
        self._paths: dict[Diagnostic, Path] = dict.fromkeys(self.found, ())
        self._allowed: list[tuple[Path, str]] = []

    def add(
        self, code: str, path: Path, message: str, hint: str = "", *, key: bool = False, offset: int | None = None
    ) -> None:
        """Report at the value of ``path``, at its key, or at a character of its text. Raises EnoughError."""
        index = self.located.index(path, offset, key=key)
        found = self.located.diagnostic(code, message, index, hint)
        if code in WARNINGS:
            found = structs.replace(found, warning=True)
        if found not in self._paths:
            self.found.append(found)
            self._paths[found] = path
        if len(self.found) >= MAX_FOUND:
            raise EnoughError

    def allow(self, path: Path, code: str) -> None:
        """Silence a code for everything below ``path``."""
        self._allowed.append((path, code))

    def sorted(self) -> list[Diagnostic]:
        """What was found and not allowed, in the order of the file."""
        kept = [one for one in self.found if not self._is_allowed(one)]
        return sorted(kept, key=lambda d: (d.line, d.column, d.code))

    def _is_allowed(self, one: Diagnostic) -> bool:
        return self.allows(self._paths.get(one, ()), one.code)

    def allows(self, path: Path, code: str) -> bool:
        return any(code == allowed and path[: len(place)] == place for place, allowed in self._allowed)


class Source:
    """The text of one expression and where it stands: ``base`` is its first character inside the scalar at ``path``."""

    __slots__ = ("base", "path", "report", "text")

    def __init__(self, report: Report, path: Path, text: str, base: int = 0) -> None:
        self.report = report
        self.path = path
        self.text = text
        self.base = base

    def add(self, code: str, offset: int, message: str, hint: str = "") -> None:
        self.report.add(code, self.path, message, hint, offset=self.base + offset)

    @property
    def place(self) -> str:
        return self.report.located.place(self.path)
