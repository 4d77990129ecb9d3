"""Checks ``expect:``: events that the mapping has, with payload members and values that they can have."""

from __future__ import annotations

from typing import Any, Final

from bridge.located_yaml import Path
from bridge.mapping.cases import Expected
from bridge.mapping.diagnostics import RUNTIME_CODES, Report, did_you_mean
from bridge.mapping.draft import Draft, Event
from bridge.mapping.shape import Section
from bridge.mapping.types import Type

DEAD_LETTER: Final = "dead_letter"
_OTHER_CODES: Final = ("T120", "T121", "B201", "B211")  # of the core, see mappings/README.md
_TEXT: Final = frozenset({"string", "decimal", "date", "timestamp", "enum", "token"})
_WRITTEN: Final = {
    "decimal": "decimals are text in a payload, with all their digits: '20.00'",
    "timestamp": "moments are text in a payload: '2026-01-05T09:00:00.000000Z'",
    "date": "dates are text in a payload: '2026-01-05'",
}


def expected(section: Section, draft: Draft) -> list[Expected]:
    """What ``expect:`` lists."""
    items = section.data["expect"]
    if not isinstance(items, list):
        section.bad("M003", "expect", "'expect:' is a list of events", "expect: [] where nothing happens")
        return []
    events = {str(event.path[-1]): event for event in draft.events}
    found = []
    for i, item in enumerate(items):
        path = (*section.at("expect"), i)
        if not isinstance(item, dict) or len(item) != 1:
            section.report.add("M003", path, "what is expected is one event", "- OrderPlaced: {orderId: '7'}")
            continue
        one = Section(section.report, path, item)
        (name,) = item
        if name == DEAD_LETTER:
            found.append(_dead_letter(one))
        elif name in events:
            found.append(_event(one, name, events[name]))
        elif draft.events:
            hint = did_you_mean(name, events) or f"there are {', '.join(events)}"
            section.report.add("M038", (*path, name), f"the mapping has no event '{name}'", hint, key=True)
    return found


def _dead_letter(one: Section) -> Expected:
    letter = one.section(DEAD_LETTER)
    code = field = ""
    if letter is not None:
        letter.only("code", "field")
        code = letter.text("code", required=True) or ""
        field = letter.text("field") or ""
        known = (*RUNTIME_CODES, *_OTHER_CODES)
        if code and code not in known:
            letter.bad("M004", "code", f"'{code[:40]}' is no code of a dead letter", did_you_mean(code, known))
    return Expected("", {}, code or "?", field)


def _event(one: Section, name: str, event: Event) -> Expected:
    payload = one.data[name]
    if payload is not None and not isinstance(payload, dict):
        one.bad("M003", name, "an event's payload is a mapping", f"{name}: {{}}")
        payload = {}
    kind = Type("record", fields=tuple((item.name, item.type) for item in event.data))
    _value(one.report, one.at(name), payload or {}, kind)
    return Expected(name, payload or {})


def _value(report: Report, path: Path, value: Any, kind: Type) -> None:
    """Report a value that a payload field of this type can never have. Members that are left out show when it runs."""
    if kind.kind in {"any", "null"}:
        return
    if value is None:
        if not kind.optional and kind.kind not in {"list", "record"}:
            report.add("M004", path, f"{kind} is never null")
    elif kind.kind == "record" and isinstance(value, dict):
        fields = dict(kind.fields)
        for name, inner in value.items():
            if name in fields:
                _value(report, (*path, name), inner, fields[name])
            else:
                hint = did_you_mean(name, fields) or f"there are {', '.join(fields)}"
                report.add("M038", (*path, name), f"the payload has no '{name}'", hint, key=True)
    elif kind.kind == "list" and isinstance(value, list):
        for i, inner in enumerate(value):
            _value(report, (*path, i), inner, kind.item or Type("any"))
    elif not _could_be(value, kind):
        hint = _WRITTEN.get(kind.kind) or (f"quote it: '{value}'" if kind.kind in _TEXT else "")
        report.add("M004", path, f"the payload has {kind} here", hint)
    elif kind.kind == "enum" and kind.symbols and value not in kind.symbols:
        hint = did_you_mean(value, kind.symbols) or f"one of {', '.join(kind.symbols)}"
        report.add("M017", path, f"it cannot be '{value[:60]}'", hint)


def _could_be(value: Any, kind: Type) -> bool:
    if kind.kind == "bool":
        return isinstance(value, bool)
    if kind.kind == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind.kind == "double":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return kind.kind in _TEXT and isinstance(value, str)
