"""Checks ``tests:``: names, shapes and values, and that the statements are such as a database would have committed.

A row is told from others by its table's key: the catalog's, else what a test says in ``keys:`` (for all tests of the
file), else it is deduced: the root's ``key`` columns, a lookup's ``match`` columns, a child's ``match`` columns and the
first other column of its inserts. A deduced key that does not hold is reported, never worked around.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from bridge.located_yaml import Path
from bridge.mapping.cases import (
    INSERT,
    REKEY,
    STATEMENTS,
    TRUNCATE,
    Case,
    Database,
    Refused,
    Row,
    Statement,
    Transaction,
)
from bridge.mapping.catalog import Catalog
from bridge.mapping.check_expected import expected
from bridge.mapping.diagnostics import did_you_mean
from bridge.mapping.draft import Draft
from bridge.mapping.given_values import canonical, moment_ms
from bridge.mapping.scope import columns_of
from bridge.mapping.shape import Section, duration

TEST_KEYS: Final = ("name", "given", "expect", "keys", "doc")
GIVEN_KEYS: Final = ("snapshot", "transaction", "at", "after")
_USE_KEYS: Final = "name it in a catalog, or in the test: keys: {alias: [column]}"


class _Source(NamedTuple):
    """What a test may speak of: ``tables`` by alias and by name."""

    draft: Draft
    catalog: Catalog | None
    tables: dict[str, str]

    @property
    def connector(self) -> str:
        return "" if self.catalog is None else self.catalog.connector


def check_tests(top: Section, draft: Draft, catalog: Catalog | None) -> None:
    """Fill ``draft.tests``."""
    tests = top.data.get("tests")
    if tests is None:
        return
    if not isinstance(tests, list):
        top.bad("M003", "tests", "'tests:' is a list")
        return
    tables = {name: name for name in (catalog.tables if catalog is not None else ())}
    tables |= {alias.table: alias.table for alias in draft.aliases.values()}
    tables |= {alias.name: alias.table for alias in draft.aliases.values()}
    source = _Source(draft, catalog, tables)
    sections = list(_sections(top, tests))
    said = _said_keys(sections, source)
    keys: dict[str, tuple[str, ...]] = {}
    cases = [(section, _case(section, source, keys)) for section in sections]
    statements = [one for _, case in cases for one in case.statements()]
    guessed = _keys(top, source, said, statements, keys)
    sound = all(one.warning for one in top.report.sorted())
    for section, case in cases:
        _unlike(section, case, draft.tests)
        draft.tests.append(case)
        if sound:
            _run(section, case, guessed)


def _sections(top: Section, tests: list[Any]) -> Iterator[Section]:
    for i, test in enumerate(tests):
        path = (*top.at("tests"), i)
        if isinstance(test, dict):
            section = Section(top.report, path, test)
            section.only(*TEST_KEYS)
            yield section
        else:
            top.report.add("M003", path, "a test is a mapping with name:, given: and expect:")


def _unlike(section: Section, case: Case, others: list[Case]) -> None:
    if case.name and any(other.name == case.name for other in others):
        section.bad("M029", "name", "another test of this file has that name")


def _case(section: Section, source: _Source, keys: dict[str, tuple[str, ...]]) -> Case:
    case = Case(section.text("name", required=True) or "", section.place, keys)
    given, expect = section.data.get("given"), section.data.get("expect")
    if isinstance(given, dict):
        _captures(section, case)
    elif isinstance(given, list):
        for i in range(len(given)):
            _part(section, i, given, case, source)
    elif "given" not in section:
        section.missing("given")
    else:
        section.bad("M003", "given", "'given:' is a list of transactions, or {capture: FILE}")
    if "expect" not in section:
        section.missing("expect")
    elif isinstance(expect, dict):
        golden = section.section("expect")
        if golden is not None:
            golden.only("golden")
            case.golden = golden.text("golden", required=True) or ""
    else:
        case.expect = expected(section, source.draft)
    return case


def _captures(section: Section, case: Case) -> None:
    given = section.section("given")
    if given is not None:
        given.only("capture")
        case.captures = [text for text, _ in given.texts("capture")]
        if not case.captures:
            given.missing("capture")


def _part(section: Section, i: int, given: list[Any], case: Case, source: _Source) -> None:
    """``- snapshot: […]``, ``- transaction: […]`` or ``- after: 10s``: so much later something else commits."""
    path = (*section.at("given"), i)
    keys = given[i].keys() & {"snapshot", "transaction", "after"} if isinstance(given[i], dict) else set()
    if not keys or ("snapshot" in keys and len(keys) > 1):
        hint = "- transaction: with a list of statements below it"
        section.report.add("M003", path, "what is given is transactions, the first part may be a snapshot", hint)
        return
    part = Section(section.report, path, given[i])
    part.only(*GIVEN_KEYS)
    if "snapshot" in keys:
        if i > 0:
            part.report.add("M004", part.at("snapshot"), "the snapshot comes first: it is the initial one", key=True)
        case.snapshot = list(_statements(part, "snapshot", source))
        return
    if "at" in part and "after" in part:
        part.bad("M004", "after", "'at:' says the time already", "one of them")
    statements = tuple(_statements(part, "transaction", source)) if "transaction" in keys else ()
    case.transactions.append(Transaction(statements, _moment(part), duration(part, "after", required="after" in part)))


def _moment(part: Section) -> int | None:
    text = part.text("at")
    if text is None:
        return None
    try:
        return moment_ms(text)
    except ValueError:
        part.bad("M004", "at", "'at:' is the time of the commit, with its zone", "at: 2026-01-05T09:00:00Z")
        return None


def _statements(part: Section, kind: str, source: _Source) -> Iterator[Statement]:
    """In a snapshot each item is ``alias: {columns}``, in a transaction ``insert: {alias: {columns}}`` and so on."""
    items = part.data[kind]
    if not isinstance(items, list):
        part.bad("M003", kind, f"'{kind}:' is a list")
        return
    for i, item in enumerate(items):
        path = (*part.at(kind), i)
        if not isinstance(item, dict):
            part.report.add("M003", path, "a statement is a mapping", "- insert: {order: {ord_no: 7}}")
            continue
        section = Section(part.report, path, item)
        if kind == "snapshot":
            yield from _of_tables(section, INSERT, source)
            continue
        section.only(*STATEMENTS)
        for what in STATEMENTS:
            if what in section and (tables := section.section(what)) is not None:
                yield from _of_tables(tables, what, source)


def _of_tables(tables: Section, what: str, source: _Source) -> Iterator[Statement]:
    """``{alias: {columns}}``; for several rows a list of them, for a rekey a list of the old key and what is new."""
    for name in tables:
        path = tables.at(name)
        table = source.tables.get(name)
        if table is None:
            hint = did_you_mean(name, source.tables) or f"there are {', '.join(source.draft.aliases)}"
            if name in STATEMENTS:
                hint = "a snapshot lists rows: - order: {ord_no: 7}"
            tables.report.add("M038", path, f"'{name}' is no alias of this mapping and no table", hint, key=True)
            continue
        if what == TRUNCATE:
            yield Statement(what, table, {}, path=path)
            continue
        value = tables.data[name]
        places = [(*path, i) for i in range(len(value))] if isinstance(value, list) else [path]
        values = value if isinstance(value, list) else [value]
        if not values:
            tables.report.add("M003", path, "a statement is on one row at least", "{ord_no: 7, ord_stat: N}")
        rows = [
            row
            for one, at in zip(values, places, strict=True)
            if (row := _row(tables, one, at, table, source)) is not None
        ]
        if len(rows) != len(values) or not rows:
            continue
        if what == REKEY:
            if len(rows) == 2:  # noqa: PLR2004 - old and new
                yield Statement(what, table, rows[0], rows[1], path)
            else:
                hint = "rekey: {order: [{ord_no: 7}, {ord_no: 8}]}"
                tables.report.add("M003", path, "a rekey is a list of the old key and the new values", hint)
            continue
        for row, at in zip(rows, places, strict=True):
            yield Statement(what, table, row, path=at)


def _row(tables: Section, value: Any, path: Path, table: str, source: _Source) -> Row | None:
    if not isinstance(value, dict) or not value:
        tables.report.add("M003", path, "a row is a mapping of columns to values", "{ord_no: 7, ord_stat: N}")
        return None
    known = columns_of(source.catalog, table)
    row: Row = {}
    for column, one in value.items():
        place = (*path, column)
        sql_type = ""
        if known is not None:
            if column not in known:
                hint = did_you_mean(column, known)
                tables.report.add("M012", place, f"{table} has no column '{column}'", hint, key=True)
                continue
            sql_type = known[column].type
        try:
            row[column] = canonical(one, tables.report.located.scalar(place), sql_type, source.connector)
        except ValueError as error:
            tables.report.add("M004", place, f"{column}: {error}", sql_type and f"the column is {sql_type}")
    return row


# -- keys --------------------------------------------------------------------------------------------------------------


def _said_keys(sections: list[Section], source: _Source) -> dict[str, tuple[str, ...]]:
    """``keys: {lines: [ord_no, line_no]}`` of all tests."""
    found: dict[str, tuple[str, ...]] = {}
    for section in sections:
        keys = section.section("keys")
        for name in keys or ():
            table = source.tables.get(name)
            if keys is None or table is None:
                hint = did_you_mean(name, source.tables)
                section.report.add("M038", (*section.at("keys"), name), f"there is no table '{name}'", hint, key=True)
                continue
            columns = tuple(text for text, _ in keys.texts(name))
            if found.setdefault(table, columns) != columns:
                keys.bad("M029", name, f"another test says another key of {table}", "one of them is enough")
    return found


def _keys(
    top: Section,
    source: _Source,
    said: dict[str, tuple[str, ...]],
    statements: list[Statement],
    keys: dict[str, tuple[str, ...]],
) -> set[str]:
    """Fill ``keys`` with that of each table that statements name; one that is not known is reported at the first of
    them. Gives the tables whose key is deduced.
    """
    guessed = set()
    for one in statements:
        if one.table in keys:
            continue
        known = None if source.catalog is None else source.catalog.tables.get(one.table)
        key = (known.key if known is not None else None) or said.get(one.table)
        if key is None:
            guesses = set(_guesses(source.draft, one.table, statements))
            if len(guesses) != 1:
                top.report.add("M002", one.path, f"the key of {one.table} is not known", _USE_KEYS)
            key = guesses.pop() if guesses else ()
            guessed.add(one.table)
        keys[one.table] = key
    return guessed


def _guesses(draft: Draft, table: str, statements: list[Statement]) -> Iterator[tuple[str, ...]]:
    aliases = [alias for alias in draft.aliases.values() if alias.table == table]
    if any(alias.name == draft.root for alias in aliases):
        yield tuple(draft.key)
        return
    for alias in aliases:
        match = tuple(own for own, _ in alias.match)
        if alias.lookup:
            yield match
            continue
        for one in statements:
            if one.table == table and one.what == INSERT:
                yield match + tuple(column for column in one.row if column not in match)[:1]


# -- rows --------------------------------------------------------------------------------------------------------------


def _run(section: Section, case: Case, guessed: set[str]) -> None:
    """Would a database have committed this?"""
    database = Database(case.keys, {})
    for one in case.statements():
        try:
            database.run(one)
        except Refused as refused:
            hint = refused.hint
            if one.table in guessed:
                hint = f"the key is taken to be ({', '.join(case.keys[one.table])}); if it is not, {_USE_KEYS}"
            section.report.add("M038", one.path, refused.message, hint)
            return
