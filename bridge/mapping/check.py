"""Checks mapping files: text in, drafts and every diagnostic out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from bridge.located_yaml import parse
from bridge.mapping.catalog import Catalog
from bridge.mapping.check_cascades import check_cascades
from bridge.mapping.check_events import check_events
from bridge.mapping.check_model import check_model, root_only
from bridge.mapping.check_sense import check_sense
from bridge.mapping.check_tables import check_tables
from bridge.mapping.check_tests import check_tests
from bridge.mapping.diagnostics import ALLOWABLE, EnoughError, Report, Source, did_you_mean
from bridge.mapping.draft import Draft, Window
from bridge.mapping.expression import check_bool
from bridge.mapping.lint import lint
from bridge.mapping.nodes import Predicate, Root, walk
from bridge.mapping.scope import RuleScope
from bridge.mapping.shape import NAME, Section, duration
from bridge.mapping.shared import SharedType, check_common, is_common
from bridge.mapping.types import Type
from bridge.model import BINLOG, LEAST_QUIET_MS, Diagnostic

FILE_KEYS: Final = (
    "aggregate", "source", "key", "collapse", "tables", "model", "events", "on_error", "tests", "allow", "doc",
)  # fmt: skip
WINDOW_KEYS: Final = ("quiet", "at_most", "until")
POLICIES: Final = ("park", "skip", "stop")


def check_files(
    files: Sequence[tuple[str, str]],
    catalog: Callable[[str], Catalog | None],
    connector: Callable[[str], str] = lambda _: "",
) -> tuple[list[Draft], list[Diagnostic]]:
    """Every file's draft (complete only if there is no diagnostic) and all diagnostics in file order.

    ``catalog`` gives that of a source, or None if nobody knows it; ``connector`` names its connector. Common files give
    names to all others.
    """
    reports = [Report(parse(text, file)) for file, text in files]
    shared: dict[str, SharedType] = {}
    drafts: list[Draft] = []
    tops = [Section(report, (), report.located.data) for report in reports if isinstance(report.located.data, dict)]
    for top in tops:
        top.report.shared = shared
        with suppress(EnoughError):
            _allow(top)
            if is_common(top.data):
                check_common(top, shared)
    for top in tops:
        if not is_common(top.data):
            with suppress(EnoughError):
                drafts.append(_checked(top, catalog(str(top.data.get("source"))), drafts))
    with suppress(EnoughError):
        _appended(tops, drafts)
        check_cascades({report.located.file: report for report in reports}, drafts, catalog, connector)
    return drafts, [diagnostic for report in reports for diagnostic in report.sorted()]


def _checked(top: Section, catalog: Catalog | None, others: list[Draft]) -> Draft:
    """One file's draft, with everything that can be said of it. Raises EnoughError."""
    draft = _check(top, catalog)
    _names(top, draft, others)
    is_whole = all(one.warning for one in top.report.found)
    check_sense(draft)
    lint(top.report, draft, catalog, is_whole=is_whole)
    check_tests(top, draft, catalog)
    return draft


def _appended(tops: Sequence[Section], drafts: Sequence[Draft]) -> None:
    """A table whose rows are not kept cannot be read by another alias."""
    reports = {top.report.located.file: top.report for top in tops}
    aliases = [(draft, alias) for draft in drafts for alias in draft.aliases.values()]
    for draft, alias in [(draft, alias) for draft, alias in aliases if alias.append]:
        users = [
            (one.file, other.name)
            for one, other in aliases
            if one.source == draft.source and other.table == alias.table
        ]
        kept = [f"{name} ({file})" for file, name in users if (file, name) != (draft.file, alias.name)]
        if kept:
            message = f"rows of {alias.table} are not kept, but {kept[0]} reads them"
            reports[draft.file].add("M026", (*alias.path, "append"), message, "append: true needs the table for itself")


def _names(top: Section, draft: Draft, others: list[Draft]) -> None:
    """One aggregate of a name, and one event of a type and version, among the files of a source."""
    mine: set[tuple[str, int]] = set()
    for event in draft.events:
        if (event.type, event.version) in mine:
            top.report.add("M031", event.path, f"{event.type} version {event.version} stands twice", _OTHER, key=True)
        mine.add((event.type, event.version))
    for other in others:
        if not draft.source or other.source != draft.source:
            continue
        if draft.aggregate and other.aggregate == draft.aggregate:
            top.bad("M029", "aggregate", f"the aggregate {draft.aggregate} is also defined in {other.file}")
            continue
        theirs = {(event.type, event.version) for event in other.events}
        for event in draft.events:
            if (event.type, event.version) in theirs:
                message = f"{event.type} version {event.version} is also an event of {other.file}"
                top.report.add("M031", event.path, message, _OTHER, key=True)


_OTHER: Final = "give it another name or version"


def _check(top: Section, catalog: Catalog | None) -> Draft:
    top.only(*FILE_KEYS)
    draft = Draft(top.report.located.file)
    draft.aggregate = top.text("aggregate", required=True) or ""
    draft.source = top.text("source", required=True) or ""
    if draft.aggregate and not NAME.match(draft.aggregate):
        top.bad("M004", "aggregate", f"'{draft.aggregate[:60]}' cannot be an aggregate's name", "letters, digits and _")
    policy = top.text("on_error")
    if policy is not None:
        if policy not in POLICIES:
            hint = did_you_mean(policy, POLICIES) or f"one of {', '.join(POLICIES)}"
            top.bad("M004", "on_error", f"there is no policy '{policy[:60]}'", hint)
        draft.on_error = policy
    check_tables(top, draft, catalog)
    check_model(top, draft, catalog)
    check_events(top, draft, root_only(draft.fields, draft.root))
    _collapse(top, draft, catalog)
    return draft


def _allow(section: Section) -> None:
    """``allow: {CODE: reason}``, at the top of the file or anywhere below."""
    for key in section:
        data = section.data[key]
        path = section.at(key)
        if key == "allow":
            _allowed(section)
        elif isinstance(data, dict) and key not in ("tests", "given", "codes", "columns", "match"):
            _allow(Section(section.report, path, data))


def _allowed(section: Section) -> None:
    codes = section.section("allow")
    for code in codes or ():
        assert codes is not None  # noqa: S101 - for the type checker
        reason = codes.text(code)
        if code not in ALLOWABLE:
            hint = did_you_mean(code, ALLOWABLE) or f"there are {', '.join(sorted(ALLOWABLE))}"
            codes.report.add("M004", codes.at(code), f"{code[:20]} cannot be allowed", hint, key=True)
        elif not reason or not reason.strip():
            codes.bad("M002", code, "a lint is allowed for a reason", f"{code}: why it is right here")
        else:
            section.report.allow(section.path, code)


def _collapse(top: Section, draft: Draft, catalog: Catalog | None) -> None:
    """``collapse: transaction``, or a window for autocommit code."""
    data = top.data.get("collapse")
    if data is None or data == "transaction":
        return
    if not isinstance(data, dict):
        top.bad("M004", "collapse", "collapse is 'transaction' or a window", "collapse: {quiet: 2s, at_most: 30s}")
        return
    section = Section(top.report, top.at("collapse"), data)
    section.only(*WINDOW_KEYS)
    quiet, at_most = duration(section, "quiet", required=True), duration(section, "at_most", required=True)
    if quiet is not None and at_most is not None:
        if quiet > at_most:
            section.bad("M004", "at_most", "a window cannot end before it was quiet", "at_most is at least quiet")
        if catalog is not None and catalog.connector in BINLOG and quiet < LEAST_QUIET_MS:
            section.bad("M004", "quiet", f"commit times of {catalog.connector} are whole seconds", "quiet: 2s or more")
        if any(alias.append for alias in draft.aliases.values()):
            top.bad("M004", "collapse", "rows of append: true are facts, one by one", "collapse: transaction")
        draft.window = Window(quiet, at_most)
        if (source := section.source("until")) is not None:
            _until(section, source, draft, draft.window)


def _until(section: Section, source: Source, draft: Draft, window: Window) -> None:
    """A condition on what the model is: a window has no model before until it is closed."""
    model = Type("record", fields=tuple((field.name, field.type) for field in draft.fields))
    window.until, window.source = check_bool(source, RuleScope(model, None, frozenset())), source
    for node in walk(window.until) if window.until is not None else ():
        if isinstance(node, Predicate) or (isinstance(node, Root) and node.name == "before"):
            section.bad("M004", "until", "until asks what the model is, not what became of it", "status == 'PLACED'")
            return
