"""A plan for people: what differs first, type by type, and one line last that says it all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from msgspec import UNSET

from bridge.plan.report import Event, Example, Letters, Plan, Summary

_COLOURS: Final = {"+": "32", "-": "31", "~": "33", "!": "31"}
_LONGEST: Final = 100  # characters of one value; JSON has all of them
_SIDES: Final = {"appearing": "+", "vanishing": "-"}
_INCOMPLETE: Final = "units told nothing, since not all of their aggregate is known"
_WINDOWS: Final = "windows were still open at the end, and are not compared"


def render(plan: Plan, *, colour: bool) -> str:
    """The whole plan."""
    lines = [_head(plan)]
    for event in plan.events:
        lines += ["", *_event(event)] if event.differs else []
    if plan.dead_letters:
        lines += ["", "dead letters"]
        for letters in plan.dead_letters:
            lines += _letters(letters)
    same = [one for one in plan.events if not one.differs]
    if same:
        lines += ["", *[f"  {one.type} v{one.version} ({one.aggregate}): {_same(one)}" for one in same]]
    for what, pair in ((_WINDOWS, plan.open_windows), (_INCOMPLETE, plan.incomplete)):
        if pair.old or pair.new:
            lines += ["", f"{pair.old:,} now, {pair.new:,} edited: {what}"]
    lines += ["", summary_line(plan.summary)]
    return "".join(f"{_coloured(line) if colour else line}\n" for line in map(_printable, lines))


def summary_line(one: Summary) -> str:
    """The last line."""
    parts = [f"unchanged {one.unchanged:,}", f"changed {one.changed:,}"]
    parts += [f"renamed {one.renamed:,}"] if one.renamed else []
    parts += [f"reordered {one.reordered:,}"] if one.reordered else []
    parts += [f"appearing {one.appearing:,}", f"vanishing {one.vanishing:,}"]
    parts += [f"dead letters +{one.dead_letters_new:,} -{one.dead_letters_gone:,}"]
    if one.parked_new or one.parked_gone:
        parts += [f"parked behind them +{one.parked_new:,} -{one.parked_gone:,}"]
    return " · ".join(parts)


def _head(plan: Plan) -> str:
    one = plan.stretch
    if not one.transactions:
        return f"Source {plan.source}: no transactions"
    begun = "the beginning" if one.state == "beginning" else f"checkpoint {one.state}"
    return (
        f"Source {plan.source}: {one.transactions:,} transactions, ENDs {one.first} to {one.last} of {one.topic}; "
        f"state from {begun}"
    )


def _same(event: Event) -> str:
    return f"{event.unchanged:,} unchanged" if event.unchanged else "none"


def _event(event: Event) -> Iterator[str]:
    names = ("unchanged", "changed", "renamed", "reordered", "appearing", "vanishing")
    counts = [f"{getattr(event, name):,} {name}" for name in names if getattr(event, name)]
    becomes = f" -> {event.becomes}" if event.becomes else ""
    yield f"{_mark(event)} {event.type} v{event.version}{becomes} ({event.aggregate}): {', '.join(counts)}"
    for path, count in sorted(event.fields.items(), key=lambda one: (-one[1], one[0])):
        yield f"    {path}: {count:,} of {event.compared:,}"
    for example in event.examples:
        yield from _example(example)


def _mark(event: Event) -> str:
    if event.compared or (event.appearing and event.vanishing):
        return "~"
    return "+" if event.appearing else "-"


def _example(example: Example) -> Iterator[str]:
    place = f"{example.aggregate_id}, END {example.end}, commit position {example.commit_position}"
    if example.data is not UNSET:
        yield f"  {_SIDES[example.what]} {place}, event {example.id}"
        yield f"      {_value(example.data)}"
        return
    yield f"  ~ {place}, event {example.id}" + (": in another order" if example.what == "reordered" else "")
    for one in example.differences:
        yield f"      {one.path}: {_value(one.old)} -> {_value(one.new)}"


def _letters(letters: Letters) -> Iterator[str]:
    what = "parked behind another" if letters.is_parked else f"{letters.mapping} {letters.field}".strip()
    subject = " ".join(part for part in (letters.code, letters.aggregate, what) if part)
    stops = "; the bridge would stop at the first (on_error: stop)" if letters.stops and letters.what == "new" else ""
    yield f"{'!' if letters.what == 'new' else '-'} {subject}: {letters.count:,} {letters.what}{stops}"
    for one in letters.examples:
        yield f"      {one.aggregate_id + ', ' if one.aggregate_id else ''}{one.place}, commit position {one.commit_position}"


def _value(value: Any) -> str:
    if value is UNSET:
        return "(not there)"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _printable(line: str) -> str:
    """No data steers a terminal."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in line)


def _coloured(line: str) -> str:
    colour = _COLOURS.get(line.lstrip()[:1]) if line[:4].strip() else None
    return f"\x1b[{colour}m{line}\x1b[0m" if colour else line
