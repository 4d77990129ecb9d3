"""A test as text, in the language of mapping files, and where it stands in one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from bridge.mapping.cases import REKEY, TRUNCATE, Row, Statement

_PLAIN: Final = re.compile(r"[A-Za-z_](?:[A-Za-z0-9_ .+-]*[A-Za-z0-9_.+-])?\Z")
_WORDS: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
_PLAIN_CODES: Final = frozenset({"Y", "N", "y", "n"})  # text here, as everything that YAML versions read differently
_SIMPLE: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff'\\\ud800-\udfff]*\Z")


def flow(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{flow(str(key))}: {flow(one)}' for key, one in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(flow(one) for one in value)}]"
    if isinstance(value, str):
        return _text(value)
    return msgspec.json.encode(value).decode()


def _text(value: str) -> str:
    if _PLAIN.match(value) and (value.lower() not in _WORDS or value in _PLAIN_CODES):
        return value
    if _SIMPLE.match(value):
        return f"'{value}'"
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")


def test_lines(
    name: str,
    keys: Mapping[str, Sequence[str]],
    snapshot: Sequence[Statement],
    transactions: Sequence[Sequence[Statement]],
    expect: Sequence[tuple[str, Row]],
    aliases: Mapping[str, str],
) -> Iterator[str]:
    """The lines of one item of ``tests:``. ``aliases``: what each table is called."""
    yield f"- name: {flow(name)}"
    if keys:
        yield f"  keys: {flow({aliases[table]: list(columns) for table, columns in keys.items()})}"
    yield "  given:"
    if snapshot:
        yield "    - snapshot:"
        for one in snapshot:
            yield f"        - {flow({aliases[one.table]: one.row})[1:-1]}"
    for statements in transactions:
        yield "    - transaction:"
        for one in statements:
            row: Any = [one.row, one.new] if one.what == REKEY else None if one.what == TRUNCATE else one.row
            yield f"        - {one.what}: {flow({aliases[one.table]: row})}"
    yield "  expect:" if expect else "  expect: []"
    for event, data in expect:
        yield f"    - {flow({event: data})[1:-1]}"


def with_test(text: str, lines: Sequence[str]) -> str:
    """The mapping file with one more test, behind those that it has."""
    rows = text.rstrip("\n").split("\n")
    start = next((number for number, row in enumerate(rows) if re.match(r"tests:\s*(#.*)?$", row)), None)
    if start is None:
        return "\n".join([*rows, "", "tests:", *_indented(lines, "  "), ""])
    end = next((i for i in range(start + 1, len(rows)) if re.match(r"[^\s#-]", rows[i])), len(rows))
    while end > start + 1 and not rows[end - 1].strip():
        end -= 1
    item = next((found[1] for row in rows[start + 1 : end] if (found := re.match(r"( *)- ", row))), "  ")
    return "\n".join([*rows[:end], "", *_indented(lines, item), *rows[end:], ""])


def _indented(lines: Sequence[str], indent: str) -> list[str]:
    return [indent + line for line in lines]
