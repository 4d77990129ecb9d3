"""Verdicts and coverage, for a terminal, a program, or a CI server that reads JUnit's XML."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import msgspec

from bridge.trial.coverage import Coverage
from bridge.trial.difference import EXTRA, MISSING, OTHER, SAME, Line
from bridge.trial.verdict import Verdict

FORMATS: Final = ("text", "json", "junit")
_COLOURS: Final = {SAME: "2", OTHER: "33", MISSING: "31", EXTRA: "32", "ok": "32", "FAIL": "31"}
_SAID: Final = {MISSING: "is missing", EXTRA: "was not expected"}


class Paint:
    """Colours, where the output is a terminal that wants them."""

    def __init__(self, *, colours: bool) -> None:
        self._colours = colours

    def __call__(self, word: str, text: str) -> str:
        return f"\x1b[{_COLOURS[word]}m{text}\x1b[0m" if self._colours else text


def text(verdicts: Sequence[Verdict], covered: Sequence[Coverage], paint: Paint) -> Iterator[str]:
    """Line by line: each file with its tests and what they did not reach, then the sum."""
    for one in covered:
        yield one.file
        of_file = [verdict for verdict in verdicts if verdict.file == one.file]
        for verdict in of_file:
            yield from _verdict(verdict, paint)
        if not of_file:
            yield "  no tests"
        yield from _missed(one)
    failed = sum(not verdict.passed for verdict in verdicts)
    reached, goals = sum(one.reached for one in covered), sum(len(one.goals) for one in covered)
    sums = f"{len(verdicts) - failed} passed, {failed} failed" if verdicts else "no tests"
    yield paint("FAIL" if failed else "ok", f"{sums}; {reached} of {goals} reached ({percent(covered)}%)")


def percent(covered: Sequence[Coverage]) -> int:
    """Of everything that tests could reach, rounded down; 100 where there is nothing."""
    goals = sum(len(one.goals) for one in covered)
    return 100 * sum(one.reached for one in covered) // goals if goals else 100


def _verdict(verdict: Verdict, paint: Paint) -> Iterator[str]:
    if verdict.passed:
        tried = f"({verdict.records} records, {verdict.arrivals})"
        yield f"  {paint('ok', 'ok')}    {verdict.case.name} {tried}"
        return
    yield f"  {paint('FAIL', 'FAIL')}  {verdict.case.name} ({verdict.case.place})"
    for line in problems(verdict, paint):
        yield f"        {line}"


def problems(verdict: Verdict, paint: Paint) -> Iterator[str]:
    """What is wrong, line by line."""
    if verdict.error:
        yield from verdict.error.splitlines()
    if any(line.mark != SAME for line in verdict.lines):
        yield from _difference(verdict.lines, paint)
    unsteady = verdict.unsteady
    if unsteady is None:
        return
    again = "" if unsteady.seed is None else f"; to see it again: --seed {unsteady.seed} --seeds 1"
    yield f"the events depend on how the records arrive{again}"
    for part in unsteady.arrival:
        yield f"    {part}"
    yield from unsteady.error.splitlines()
    if not unsteady.error:
        yield "compared with everything read at once:"
        yield from _difference(unsteady.lines, paint)


def _difference(lines: Sequence[Line], paint: Paint) -> Iterator[str]:
    for line in lines:
        said = _SAID.get(line.mark, "")
        payload = f" {msgspec.json.encode(line.shown.data).decode()}" if said and line.shown.data else ""
        shown = f"{line.mark} {line.shown}{payload}{': ' if said else ''}{said}"
        yield paint(line.mark, shown)
        for detail in line.details:
            yield paint(line.mark, f"      {detail}")


def _missed(covered: Coverage) -> Iterator[str]:
    if covered.missed:
        yield f"  no test reached ({len(covered.missed)} of {len(covered.goals)}):"
    for goal in covered.missed:
        yield f"    {goal.place}: {goal.said}"


# -- for programs ------------------------------------------------------------------------------------------------------


def as_json(verdicts: Sequence[Verdict], covered: Sequence[Coverage]) -> bytes:
    """One JSON object."""
    return msgspec.json.encode(
        {
            "tests": [_test_document(verdict) for verdict in verdicts],
            "coverage": [
                {
                    "file": one.file,
                    "reached": one.reached,
                    "goals": len(one.goals),
                    "missed": [{"place": goal.place, "what": goal.said} for goal in one.missed],
                }
                for one in covered
            ],
            "passed": sum(verdict.passed for verdict in verdicts),
            "failed": sum(not verdict.passed for verdict in verdicts),
            "percent": percent(covered),
        }
    )


def _test_document(verdict: Verdict) -> dict[str, Any]:
    unsteady = verdict.unsteady
    return {
        "file": verdict.file,
        "name": verdict.case.name,
        "place": verdict.case.place,
        "passed": verdict.passed,
        "records": verdict.records,
        "arrivals": verdict.arrivals,
        "error": verdict.error,
        "events": [_line_document(line) for line in verdict.lines],
        "unsteady": None
        if unsteady is None
        else {
            "seed": unsteady.seed,
            "arrival": unsteady.arrival,
            "error": unsteady.error,
            "events": [_line_document(line) for line in unsteady.lines],
        },
    }


def _line_document(line: Line) -> dict[str, Any]:
    kinds = {SAME: "same", OTHER: "other", MISSING: "missing", EXTRA: "extra"}
    shown = line.shown
    what = {"dead_letter": {"code": shown.code, "field": shown.field, "place": shown.place}} if shown.code else {}
    return {"is": kinds[line.mark], "event": shown.name, "data": shown.data, "differences": line.details} | what


def as_junit(verdicts: Sequence[Verdict], covered: Sequence[Coverage]) -> bytes:
    """JUnit's XML: a suite per file."""
    top = Element("testsuites")
    for one in covered:
        of_file = [verdict for verdict in verdicts if verdict.file == one.file]
        failures = sum(not verdict.passed for verdict in of_file)
        suite = SubElement(top, "testsuite", name=one.file, tests=str(len(of_file)), failures=str(failures))
        for verdict in of_file:
            case = SubElement(suite, "testcase", classname=one.file, name=verdict.case.name)
            if not verdict.passed:
                failure = SubElement(case, "failure", message=verdict.case.place)
                failure.text = "\n".join(problems(verdict, Paint(colours=False)))
    indent(top)
    return bytes(tostring(top, encoding="utf-8", xml_declaration=True))
