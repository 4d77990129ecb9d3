"""Checks mapping files: text in, drafts and every diagnostic out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from bridge.located_yaml import parse
from bridge.mapping.catalog import Catalog
from bridge.mapping.check_events import check_events
from bridge.mapping.check_model import check_model, root_only
from bridge.mapping.check_tables import check_tables
from bridge.mapping.diagnostics import Report, did_you_mean
from bridge.mapping.draft import Draft
from bridge.mapping.shape import NAME, Section
from bridge.model import Diagnostic

_KEYS: Final = ("aggregate", "source", "key", "collapse", "tables", "model", "events", "on_error", "tests", "doc")
_TEST_KEYS: Final = ("name", "given", "expect", "doc")
POLICIES: Final = ("park", "skip", "stop")


def check_files(
    files: Sequence[tuple[str, str]], catalog: Callable[[str], Catalog | None]
) -> tuple[list[Draft], list[Diagnostic]]:
    """Every file's draft (complete only if there is no diagnostic) and all diagnostics in file order.

    ``catalog`` gives that of a source, or None if nobody knows it.
    """
    drafts: list[Draft] = []
    found: list[Diagnostic] = []
    seen: dict[tuple[str, str], str] = {}
    for file, text in files:
        located = parse(text, file)
        report = Report(located)
        if isinstance(located.data, dict):
            draft = _check(Section(report, (), located.data), file, catalog(str(located.data.get("source"))))
            name = (draft.source, draft.aggregate)
            if all(name) and name in seen:
                report.add("M029", ("aggregate",), f"the aggregate {draft.aggregate} is also defined in {seen[name]}")
            seen.setdefault(name, file)
            drafts.append(draft)
        found.extend(report.sorted())
    return drafts, found


def _check(top: Section, file: str, catalog: Catalog | None) -> Draft:
    top.only(*_KEYS)
    draft = Draft(file)
    draft.aggregate = top.text("aggregate", required=True) or ""
    draft.source = top.text("source", required=True) or ""
    if draft.aggregate and not NAME.match(draft.aggregate):
        top.bad("M004", "aggregate", f"'{draft.aggregate[:60]}' cannot be an aggregate's name", "letters, digits and _")
    if "collapse" in top and top.data["collapse"] != "transaction":
        top.bad("M005", "collapse", "only 'collapse: transaction' is supported yet")
    policy = top.text("on_error")
    if policy is not None:
        if policy not in POLICIES:
            hint = did_you_mean(policy, POLICIES) or f"one of {', '.join(POLICIES)}"
            top.bad("M004", "on_error", f"there is no policy '{policy[:60]}'", hint)
        draft.on_error = policy
    check_tables(top, draft, catalog)
    check_model(top, draft, catalog)
    check_events(top, draft, root_only(draft.fields, draft.root))
    _tests(top)
    return draft


def _tests(top: Section) -> None:
    """Only the outer shape; what is given and expected is checked where tests run."""
    tests = top.data.get("tests")
    if tests is None:
        return
    if not isinstance(tests, list):
        top.bad("M003", "tests", "'tests:' is a list")
        return
    for i, test in enumerate(tests):
        path = (*top.at("tests"), i)
        if not isinstance(test, dict):
            top.report.add("M003", path, "a test is a mapping with name:, given: and expect:")
            continue
        section = Section(top.report, path, test)
        section.only(*_TEST_KEYS)
        section.text("name", required=True)
        for key in ("given", "expect"):
            if key not in test:
                section.missing(key)
            elif not isinstance(test[key], list):
                section.bad("M003", key, f"'{key}:' is a list")
