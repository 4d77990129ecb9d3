"""An account for people: one page of a terminal, in colour where there is one."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Any, Final

from bridge.explain.account import Account, Aggregate, Change, Condition, NetChange, RowChange, Rule

_COLOURS: Final = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_MARKS: Final = {True: ("✓", "green"), False: ("✗", "red"), None: ("·", "dim")}
_OUTCOMES: Final = {"rejected": "dead letter", "absent": "not there", "unchanged": "unchanged"}
_LIVES: Final = {"created": "after (it is new)", "deleted": "before (it is gone)", "updated": "before → after"}
_CONTINUED: Final = "    "
_NAMES: Final = 24  # names are filled up to here, so that values stand below each other
_LONGEST: Final = 400  # characters of one value; JSON has all of them


class Page:
    """Lines of at most ``width`` characters; with ``colour``, ANSI sequences (which count as no character)."""

    def __init__(self, width: int, *, colour: bool) -> None:
        self._width = max(40, width)
        self._colour = colour
        self._lines: list[str] = []

    def write(self, text: str = "", indent: int = 0, style: str = "", mark: str = "", mark_style: str = "") -> None:
        """A paragraph; ``mark`` stands before its first line, in a colour of its own. No text, no line."""
        if indent and not text:
            return
        text = "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)  # no data steers a terminal
        first = " " * indent + (f"{mark} " if mark else "")
        rest = " " * len(first) + _CONTINUED
        lines = textwrap.wrap(
            text, self._width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
        ) or [first.rstrip()]
        for number, line in enumerate(lines):
            start = len(first) if number == 0 else len(rest)
            lead = " " * indent + self._styled(mark, mark_style) + " " if number == 0 and mark else line[:start]
            self._lines.append((lead + self._styled(line[start:], style)).rstrip())

    def _styled(self, text: str, style: str) -> str:
        return f"\x1b[{_COLOURS[style]}m{text}\x1b[0m" if self._colour and style and text else text

    def title(self, text: str) -> None:
        self.write()
        self.write(text, style="bold")

    def text(self) -> str:
        return "\n".join(self._lines) + "\n"


def render(account: Account, width: int, *, colour: bool) -> str:
    """The whole account as text."""
    page = Page(width, colour=colour)
    page.write(
        f"Transaction {account.transaction} of {account.source}, commit position {account.commit_position}, "
        f"{account.commit_time}, END {account.end}",
        style="bold",
    )
    for note in account.notes:
        page.write(note, 2, "dim")
    page.title(f"Row changes, as they came ({len(account.rows)})")
    for row in account.rows:
        _row(page, row)
    page.title(f"Net changes ({len(account.net)})")
    if not account.net:
        page.write("none: no column that a mapping uses is another than before", 2)
    for net in account.net:
        _net(page, net)
    for aggregate in account.aggregates:
        _aggregate(page, aggregate)
    return page.text()


def _row(page: Page, row: RowChange) -> None:
    page.write(f"{row.operation} {row.table} {key(row.row_key)}  {row.place}", 2, style="cyan")
    if row.row is not None:
        page.write(", ".join(f"{name} {value(one)}" for name, one in row.row.items()), 6)


def _net(page: Page, net: NetChange) -> None:
    old = "" if net.old_key is None else f"{key(net.old_key)} → "
    page.write(
        f"{net.table} {old}{key(net.row_key)} {net.what}  → {', '.join(net.touches) or net.note}", 2, style="cyan"
    )
    if net.what == "updated":
        _changes(page, [change for change in net.columns if change.changed], "updated", 6)
        same = ", ".join(f"{change.name} {value(change.after)}" for change in net.columns if not change.changed)
        page.write(f"the same: {same}" if same else "", 6, "dim")
    else:
        _changes(page, net.columns, net.what, 6)


def _changes(page: Page, changes: list[Change], what: str, indent: int) -> None:
    longest = max((len(change.name) for change in changes), default=0)
    for change in changes:
        _change(page, change, f"{change.name:{min(longest, _NAMES)}}", what, indent)


def _change(page: Page, change: Change, name: str, what: str, indent: int) -> None:
    marked = what == "updated" and change.changed
    mark = "*" if marked else " "
    now = change.before if what == "deleted" else change.after
    if not marked:
        page.write(f"{name}  {value(now)}", indent, "dim" if what == "updated" else "", mark, "")
    elif isinstance(change.before, list) and isinstance(change.after, list):
        page.write(change.name, indent, "yellow", mark, "yellow")
        for sign, one in _elements(change.before, change.after):
            style = {"-": "red", "+": "green"}.get(sign, "dim")
            page.write(value(one), indent + 4, style, sign, style)
    else:
        page.write(f"{name}  {value(change.before)} → {value(change.after)}", indent, "yellow", mark, "yellow")


def _elements(before: list[Any], after: list[Any]) -> Iterator[tuple[str, Any]]:
    for one in before:
        if one not in after:
            yield "-", one
    for one in after:
        yield ("+" if one not in before else " "), one


def _aggregate(page: Page, aggregate: Aggregate) -> None:
    outcome = _OUTCOMES.get(aggregate.outcome, "")
    page.title(f"{aggregate.aggregate} {aggregate.id}  ({aggregate.mapping})" + (f": {outcome}" if outcome else ""))
    if aggregate.reason:
        style = "red" if aggregate.outcome in {"rejected", "parked"} else "yellow"
        page.write(aggregate.reason, 2, style)
    if aggregate.hint:
        page.write(aggregate.hint, 4, "dim")
    for row in aggregate.ignored:
        page.write(f"{row.alias} {key(row.row_key)} does not count {row.image} the transaction:", 2)
        _condition(page, row.why, 4)
    if aggregate.model:
        page.write(f"model {_LIVES[aggregate.what]}", 2, "bold")
        _changes(page, aggregate.model, aggregate.what, 4)
    if aggregate.rules:
        page.write("rules", 2, "bold")
    for rule in aggregate.rules:
        _rule(page, rule)


def _rule(page: Page, rule: Rule) -> None:
    mark, style = _MARKS[rule.holds]
    element = f" [{rule.element}]" if rule.element else ""
    page.write(f"{rule.type}{element}  {rule.place}", 4, "bold" if rule.holds else "", mark, style)
    if rule.why_not:
        page.write(rule.why_not, 8, "dim")
    elif rule.why is not None:
        _condition(page, rule.why, 8)
    if rule.event is not None:
        event = rule.event
        page.write(f"{event.topic}  key {event.record_key}", 8, "green", "→", "green")
        for name, text in event.headers.items():
            page.write(f"{name}: {text}", 12, "dim")
        page.write(json.dumps(event.data, ensure_ascii=False, default=str), 12)


def _condition(page: Page, condition: Condition, indent: int) -> None:
    mark, style = _MARKS[condition.holds]
    asked = "" if condition.holds is not None else "  (not asked)"
    page.write(f"{condition.text}{asked}", indent, "dim" if asked else "", mark, style)
    if condition.values:
        seen = ", ".join(f"{text} = {value(one)}" for text, one in condition.values)
        page.write(seen, indent + 4, "cyan")
    if condition.holds is not None:
        for part in condition.parts:
            _condition(page, part, indent + 2)


def key(row_key: Any) -> str:
    """A row's key: its columns' values."""
    if isinstance(row_key, dict):
        return ", ".join(f"{name}={value(one)}" for name, one in row_key.items())
    return str(row_key)


def value(one: Any) -> str:
    """A value as the expression language writes it; lists and records as JSON."""
    if isinstance(one, (list, dict)):
        text = json.dumps(one, ensure_ascii=False, default=str)
    else:
        text = repr(one) if isinstance(one, str) else str(one)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text)} characters)"
