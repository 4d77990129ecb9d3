"""A test from a capture: its transactions as statements, personal data masked, and the events that come out.

What is expected is what the mapping makes of the masked rows. The test is read back, compared and run before it is given out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bridge.errors import Fatal
from bridge.mapping.cases import Case, Row, Statement
from bridge.mapping.catalog import Catalog
from bridge.model import Modes, OutboundRecord
from bridge.runtime.transform import read_captures, settings_for
from bridge.trial.captured import History, Move, history_of
from bridge.trial.choice import chosen, roots
from bridge.trial.difference import shown_published
from bridge.trial.log import DEAD_LETTERS, Shape, log_of_capture
from bridge.trial.machine import plain_run, published
from bridge.trial.mask import Mask, marked, untouched
from bridge.trial.subject import Input, Subject, subjects
from bridge.trial.verdict import Dice, try_case
from bridge.trial.writing import test_lines, with_test

Catalogs = Callable[[str], Catalog | None]


@dataclass(frozen=True, slots=True)
class Wish:
    """``most``: transactions at most; ``aggregate``: the id of the one that they touch, None for any."""

    captures: Sequence[str]
    most: int
    aggregate: str | None = None
    modes: Modes | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """``lines``: the test, one item of ``tests:``; ``file``: the whole mapping file with it; ``notes`` for people."""

    lines: list[str]
    file: str
    notes: list[str]


def record(subject: Subject, files: Sequence[tuple[str, str]], catalogs: Catalogs, wish: Wish) -> Recorded:
    """Raises Fatal where the capture holds nothing that was wished for, or what was written does not pass."""
    draft, catalog = subject.draft, catalogs(subject.draft.source)
    records = read_captures(wish.captures)
    settings = settings_for(records, draft.source, DEAD_LETTERS, wish.modes)
    history = history_of(log_of_capture(records, settings), subject.mappings.layouts, catalog, wish.modes)
    seeds, transactions = _wished(subject, history, wish)
    kinds, keep = marked(draft, catalog), untouched(draft, history.keys)
    masked = Mask(kinds, keep)
    test = _Test(
        _free_name(draft.tests, wish),
        {table: key for table, key in history.keys.items() if _says_no_key(catalog, table)},
        [_masked(move, masked) for move in seeds],
        [[_masked(move, masked) for move in moves] for moves in transactions],
        _aliases(subject),
    )
    notes = [
        f"left as it is, since rows are found by it: {table}.{column}" for table, column in sorted(kinds.keys() & keep)
    ]
    if history.unknown:
        notes.append(f"{history.unknown} change(s) of rows that the capture does not know were left out")
    return _proved(subject, files, catalogs, test, notes)


@dataclass(frozen=True, slots=True)
class _Test:
    name: str
    keys: dict[str, tuple[str, ...]]
    snapshot: list[Statement]
    transactions: list[list[Statement]]
    aliases: dict[str, str]

    def lines(self, expect: Sequence[tuple[str, Row]]) -> list[str]:
        tables = {one.table for part in (self.snapshot, *self.transactions) for one in part}
        keys = {table: key for table, key in self.keys.items() if table in tables}
        return list(test_lines(self.name, keys, self.snapshot, self.transactions, expect, self.aliases))


def _wished(subject: Subject, history: History, wish: Wish) -> tuple[list[Move], list[list[Move]]]:
    draft, mappings = subject.draft, subject.mappings
    names = None
    if wish.aggregate is not None:
        layout = mappings.layouts[draft.aliases[draft.root].table]
        names = roots(history, draft, mappings.mappings[0], layout, wish.aggregate)
    seeds, transactions = chosen(history, draft, names, wish.most)
    if not transactions:
        what = f"{draft.aggregate} {wish.aggregate}" if wish.aggregate is not None else f"the tables of {draft.file}"
        raise Fatal(
            f"no transaction of the capture changes {what}",
            "ids are those of ce_subject; tables are named as in END's data_collection",
            code="B502",
        )
    return seeds, transactions


def _masked(move: Move, mask: Mask) -> Statement:
    one = move.statement
    return replace(one, row=mask.row(one.table, one.row), new=mask.row(one.table, one.new))


def _says_no_key(catalog: Catalog | None, table: str) -> bool:
    known = None if catalog is None else catalog.tables.get(table)
    return known is None or known.key is None


def _aliases(subject: Subject) -> dict[str, str]:
    """What a test calls each table: its alias, or where several share it, its name."""
    aliases = subject.draft.aliases.values()
    tables = [alias.table for alias in aliases]
    return {alias.table: alias.name if tables.count(alias.table) == 1 else alias.table for alias in aliases}


def _free_name(tests: Sequence[Case], wish: Wish) -> str:
    what = f"the first {wish.most} transactions" if wish.aggregate is None else wish.aggregate
    wanted = f"recorded from {', '.join(Path(name).name for name in wish.captures)}: {what}"
    taken = {case.name for case in tests}
    names = [wanted, *(f"{wanted} ({number})" for number in range(2, len(taken) + 2))]
    return next(name for name in names if name not in taken)


def _proved(
    subject: Subject, files: Sequence[tuple[str, str]], catalogs: Catalogs, test: _Test, notes: list[str]
) -> Recorded:
    """Write it without events to see which come, then with them; read it back and run it."""
    text = dict(files)[subject.draft.file]
    empty = _read_back(subject, files, catalogs, with_test(text, test.lines([])))
    case = empty.draft.tests[-1]
    found, _ = plain_run(Input(empty, case).log(Shape()), empty.for_case(case))
    lines = test.lines([_expected(empty, one) for one in found])
    whole = with_test(text, lines)
    again = _read_back(subject, files, catalogs, whole)
    written = again.draft.tests[-1]
    same = written.name == test.name and _rows(written.snapshot) == _rows(test.snapshot)
    same = same and [_rows(one.statements) for one in written.transactions] == [_rows(one) for one in test.transactions]
    verdict = try_case(again, written, Dice(20))
    if not same or not verdict.passed:
        raise Fatal(
            f"the test that was written {'does not pass' if same else 'reads back as another one'}: {verdict.error}",
            "this is a defect of the bridge, or the catalog is not the capture's; nothing was written",
        )
    return Recorded(lines, whole, notes)


def _rows(statements: Sequence[Statement]) -> list[Statement]:
    return [replace(one, path=()) for one in statements]


def _expected(subject: Subject, record: OutboundRecord) -> tuple[str, Row]:
    shown = shown_published(published(record), subject.event_names)
    if shown.code:
        return "dead_letter", {"code": shown.code} | ({"field": shown.field} if shown.field else {})
    return shown.name, shown.data


def _read_back(subject: Subject, files: Sequence[tuple[str, str]], catalogs: Catalogs, text: str) -> Subject:
    changed = [(name, text if name == subject.draft.file else old) for name, old in files]
    (found,) = subjects(changed, catalogs, lambda draft: draft.file == subject.draft.file)
    return found
