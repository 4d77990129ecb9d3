"""The text of drafted files: YAML in the order and layout of the language's page, each guess with its reason beside it.

What is written is read strictly (``bridge.located_yaml``), so every text that YAML could take for something else is quoted.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from bridge.scaffold.aliases import Alias
from bridge.scaffold.columns import Field
from bridge.scaffold.draft import Model
from bridge.scaffold.events import Event

SCHEMA: Final = "mapping.schema.json"
MODELINE: Final = f"# yaml-language-server: $schema={SCHEMA}"  # an editor completes and checks by it
WIDTH: Final = 120
_COLUMN: Final = 60  # comments stand at most this far to the right of a section's margin
_PLAIN: Final = re.compile(r"[A-Za-z_][\w./()'*=!<>?\[\]+,% -]*(?<! )\Z")  # no ': ' and no ' #' in it
_PLAIN_IN_FLOW: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*\Z")
_NUMBER: Final = re.compile(r"(?:0|[1-9][0-9]*)\Z")
_NOT_TEXT: Final = frozenset({"true", "false", "null"})
_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\uf900-\ufefe\uff00-\ufffd]")
_ESCAPED: Final = re.compile(_UNPRINTABLE.pattern + r'|[\\"]')


# -- scalars -----------------------------------------------------------------------------------------------------------


def scalar(text: str, *, flow: bool = False) -> str:
    """A text as a YAML scalar, quoted if it must be."""
    pattern = _PLAIN_IN_FLOW if flow else _PLAIN
    if pattern.match(text) and text not in _NOT_TEXT:
        return text
    if _UNPRINTABLE.search(text):
        return '"' + _ESCAPED.sub(_escape, text) + '"'
    return "'" + text.replace("'", "''") + "'"


def _escape(found: re.Match[str]) -> str:
    char = found[0]
    return f"\\{char}" if char in '\\"' else f"\\U{ord(char):08x}"


def key(text: str) -> str:
    """A text as a key: keys are text as written, whole numbers too."""
    return text if _NUMBER.match(text) else scalar(text, flow=True)


def flow_list(texts: Iterable[str]) -> str:
    return "[" + ", ".join(scalar(text, flow=True) for text in texts) + "]"


def flow_mapping(pairs: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{key(name)}: {scalar(value, flow=True)}" for name, value in pairs.items()) + "}"


def remark(text: str) -> str:
    """A text as it can stand in a comment: on one line, printable, not endless."""
    return textwrap.shorten(_UNPRINTABLE.sub("?", " ".join(text.split())), 2000, placeholder=" …")


# -- lines -------------------------------------------------------------------------------------------------------------


class Lines:
    """The lines of one section; comments beside them are aligned when it is done."""

    def __init__(self) -> None:
        self._lines: list[tuple[str, str]] = []

    def add(self, depth: int, text: str, comment: str = "") -> None:
        """A line with a comment beside it, or above it where it would become too long."""
        line, comment = "  " * depth + text, remark(comment)
        if comment and len(comment) > WIDTH - 2 - max(len(line) + 2, _COLUMN):
            self.note(depth, comment)
            comment = ""
        self._lines.append((line, comment))

    def note(self, depth: int, comment: str) -> None:
        """A comment on lines of its own."""
        margin = "  " * depth + "# "
        for part in textwrap.wrap(remark(comment), WIDTH - len(margin), break_on_hyphens=False):
            self._lines.append((margin + part, ""))

    def pair(self, depth: int, name: str, value: str, comment: str = "") -> None:
        self.add(depth, f"{key(name)}: {scalar(value)}", comment)

    def wrapped(self, depth: int, text: str) -> None:
        """A long list or expression, over several lines; the line break in it is a blank to YAML."""
        first, *more = textwrap.wrap(text, WIDTH - 2 * depth - 2, break_long_words=False, break_on_hyphens=False)
        self._lines += [("  " * depth + first, ""), *(("  " * (depth + 1) + part, "") for part in more)]

    def text(self) -> str:
        beside = [len(line) for line, comment in self._lines if comment and len(line) < _COLUMN]
        column = max(beside, default=0) + 2
        return "".join(
            (f"{line.ljust(column)}# {comment}" if len(line) < column else f"{line}  # {comment}") + "\n"
            if comment
            else f"{line}\n"
            for line, comment in self._lines
        )


# -- a mapping file ----------------------------------------------------------------------------------------------------


def mapping(model: Model, events: Sequence[tuple[Event, str]], source: str) -> str:
    """The file of one aggregate; ``events`` with their topics."""
    head = Lines()
    head.add(0, MODELINE)
    head.note(0, f"{model.aggregate}, drafted by `bridge init` from {model.table}. What is guessed says so, and why.")
    for table, why in model.unread.items():
        head.note(0, f"not read: {table} ({why})")
    head.pair(0, "aggregate", model.aggregate)
    head.pair(0, "source", source)
    head.add(0, f"key: {model.key[0]}" if len(model.key) == 1 else f"key: [{', '.join(model.key)}]")
    head.add(0, "collapse: transaction")
    tail = Lines()
    tail.add(0, "on_error: park")
    parts = [head.text(), _tables(model.aliases), _model(model), _events(events) + tail.text()]
    return "\n".join(parts)


def _tables(aliases: Sequence[Alias]) -> str:
    lines = Lines()
    lines.add(0, "tables:")
    for alias in aliases:
        lines.add(1, f"{alias.name}:")
        lines.pair(2, "lookup" if alias.lookup else "table", alias.table, alias.comment)
        if alias.when is not None:
            lines.pair(2, "when", alias.when[0], alias.when[1])
        if alias.many:
            lines.add(2, "many: true")
        if alias.match:
            lines.add(2, f"match: {flow_mapping(alias.match)}")
        if alias.trims:
            lines.add(2, f"columns: {flow_mapping(dict.fromkeys(alias.trims, 'trim'))}", "padded with blanks")
        if alias.pick is not None:
            lines.add(2, f"pick: {flow_mapping({'last': alias.pick[0]})}", alias.pick[1])
        if alias.pivot is not None:
            lines.add(
                2, f"pivot: {flow_mapping({'name': alias.pivot[0], 'value': alias.pivot[1]})}", "one attribute per row"
            )
        for hint in alias.hints:
            lines.note(2, hint)
    return lines.text()


def _model(model: Model) -> str:
    lines = Lines()
    lines.add(0, "model:")
    _fields(lines, 1, model.fields, model.omitted)
    return lines.text()


def _fields(lines: Lines, depth: int, fields: Sequence[Field], omitted: Sequence[str]) -> None:
    for field in fields:
        if field.fields:
            lines.add(depth, f"{field.name}:", field.comment)
            if field.each:
                lines.add(depth + 1, f"each: {field.each}")
            if field.order_by:
                lines.add(
                    depth + 1,
                    f"order_by: {field.order_by[0] if len(field.order_by) == 1 else flow_list(field.order_by)}",
                )
            lines.add(depth + 1, "fields:")
            _fields(lines, depth + 2, field.fields, field.omitted)
        elif field.codes or field.absent or field.pii:
            _long(lines, depth, field)
        else:
            lines.pair(depth, field.name, f"{field.type} = {field.source}", field.comment)
    if omitted:
        lines.note(depth, f"left out: {', '.join(omitted)}")


def _long(lines: Lines, depth: int, field: Field) -> None:
    lines.add(depth, f"{field.name}:", "" if field.codes else field.comment)
    lines.pair(depth + 1, "type", field.type)
    lines.pair(depth + 1, "from", field.source)
    if field.codes:
        _codes(lines, depth + 1, field.codes, field.comment)
    if field.absent:
        lines.add(depth + 1, f"absent: {flow_list(field.absent)}")
    if field.pii:
        lines.pair(depth + 1, "pii", field.pii)


def _codes(lines: Lines, depth: int, codes: Mapping[str, str], comment: str) -> None:
    line = f"codes: {flow_mapping(codes)}"
    if list(codes) == list(codes.values()):
        line = f"codes: {flow_list(codes)}"
    if len(line) + 2 * depth <= WIDTH:
        lines.add(depth, line, comment)
        return
    lines.add(depth, "codes:", comment)
    for code, value in codes.items():
        lines.pair(depth + 1, code, value)


def _events(events: Sequence[tuple[Event, str]]) -> str:
    lines = Lines()
    lines.add(0, "events:")
    for event, topic in events:
        lines.add(1, f"{event.name}:", event.comment)
        lines.pair(2, "topic", topic)
        lines.wrapped(2, f"when: {scalar(event.when)}")
        lines.wrapped(2, f"data: {flow_list(event.data)}")
    return lines.text()


# -- the common file ---------------------------------------------------------------------------------------------------


def common(source: str, local: tuple[str, str, bool], left: Mapping[str, str], personal: Sequence[str]) -> str:
    """Types that all files of the source share, the tables that are in none of them, and where personal data is.

    ``local``: the name of the type of times without a zone, their zone, and whether somebody said so.
    """
    name, zone, known = local
    lines = Lines()
    lines.add(0, MODELINE)
    lines.note(0, f"What the mappings of {source} share. Drafted by `bridge init`.")
    lines.add(0, "types:")
    why = "times without a zone" if known else "SET THE ZONE in which the application writes its times"
    lines.add(1, f"{name}: {{type: timestamp, zone: {zone}}}", why)
    parts = [lines.text()]
    listed = {
        "Tables in no aggregate:": [f"{table}: {why}" for table, why in sorted(left.items())],
        "Columns that hold personal data (pii: in the catalog), by their names or values:": personal,
    }
    for title, entries in listed.items():
        if entries:
            rest = Lines()
            rest.note(0, title)
            for entry in entries:
                rest.note(0, f"- {entry}")
            parts.append(rest.text())
    return "\n".join(parts)
