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
_CONTINUED: Final = "    "


class Page:
    """Lines of at most ``width`` characters; with ``colour``, ANSI sequences (which count as no character)."""

    def __init__(self, width: int, *, colour: bool) -> None:
        self._width = max(40, width)
        self._colour = colour
        self._lines: list[str] = []

    def write(self, text: str = "", indent: int = 0, style: str = "", mark: str = "", mark_style: str = "") -> None:
        """A paragraph; ``mark`` stands before its first line, in a colour of its own."""
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
    for change in net.columns:
        _change(page, change, net.what)


def _change(page: Page, change: Change, what: str = "updated") -> None:
    mark = "*" if change.changed else " "
    style = "yellow" if change.changed else "dim"
    now = change.before if what == "deleted" else change.after
    if what != "updated" or not change.changed:
        page.write(f"{change.name}  {value(now)}", 6, style, mark, "yellow")
    elif isinstance(change.before, list) and isinstance(change.after, list):
        page.write(change.name, 6, style, mark, "yellow")
        for sign, one in _elements(change.before, change.after):
            page.write(value(one), 10, {"-": "red", "+": "green"}.get(sign, "dim"), sign, "")
    else:
        page.write(f"{change.name}  {value(change.before)} → {value(change.after)}", 6, style, mark, "yellow")


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
        what = _life(aggregate.model)
        page.write(
            "model"
            + {"created": ", after: it is new", "deleted": ", before: it is gone"}.get(what, ", before → after"),
            2,
            "bold",
        )
        for change in aggregate.model:
            _change(page, change, what)
    if aggregate.rules:
        page.write("rules", 2, "bold")
    for rule in aggregate.rules:
        _rule(page, rule)


def _life(model: list[Change]) -> str:
    """A model of nothing but nulls on one side was not there."""
    if all(change.changed for change in model):
        if all(change.before is None for change in model):
            return "created"
        if all(change.after is None for change in model):
            return "deleted"
    return "updated"


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
        return json.dumps(one, ensure_ascii=False, default=str)
    return repr(one) if isinstance(one, str) else str(one)
