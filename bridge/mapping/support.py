"""What generated code calls besides values and conversions: rows that may be missing, picks, elements, errors with a
place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

from bridge.errors import Untranslatable
from bridge.mapping.diagnostics import RUNTIME_CODES
from bridge.mapping.library import to_string
from bridge.mapping.values import known, number, number_or_null, reject, sort_value
from bridge.model import Model, Node, Row

# What a value can make generated code raise; anything else is a defect of the bridge and must not look like bad data.
MAX_STEPS: Final = 1_000_000  # of forms inside of forms
ERRORS = (Untranslatable, ArithmeticError, TypeError, ValueError)


def failed(error: Exception, field: str, place: str) -> Untranslatable:
    """The error of one field, with its place and without any value; one that has a field already gets the outer's
    name before it.
    """
    if isinstance(error, Untranslatable):
        code = error.code
        if error.field:
            field, place = (f"{field}.{error.field}" if field else error.field), error.place
    elif isinstance(error, TypeError):
        code = "T107"
    else:
        code = "T103" if isinstance(error, ArithmeticError) else "T107"
    message = f"{place}: {field}: {RUNTIME_CODES.get(code, 'cannot be translated')}"
    return Untranslatable(message, code=code, field=field, place=place)


def bounded(rows: Sequence[Any], *around: Sequence[Any]) -> Sequence[Any]:
    """The rows, if walking them for every element of the lists ``around`` takes at most MAX_STEPS steps."""
    steps = len(rows)
    for one in around:
        steps *= len(one)
    if steps > MAX_STEPS:
        raise reject("T110")
    return rows


def no_case() -> Any:
    raise reject("T106")


def kid(node: Node | None, position: int) -> Any:
    """A to-one kid of a node that may be missing."""
    return None if node is None else node[position]


def row_of(nulls: Row) -> Callable[[Node | None], Row]:
    """A node's row; of a missing node, nulls."""

    def row(node: Node | None) -> Row:
        return nulls if node is None else node[0]

    return row


def pivoted(rows: Sequence[Node], name_slot: int, value_slot: int, name: str) -> Any:
    """The value of the one row with this name; null if there is none."""
    values = [node[0][value_slot] for node in rows if known(node[0][name_slot]) == name]
    if len(values) > 1:
        raise reject("T105")
    return known(values[0]) if values else None


def ordering(slots: Sequence[int], decimals: frozenset[int]) -> Callable[[list[Node]], list[Node]]:
    """Sort nodes by columns of their rows, nulls last, ties as they came. ``decimals``: slots of numbers in text."""
    only = slots[0] if len(slots) == 1 and not decimals else None

    def read(row: Row, slot: int) -> Any:
        return number_or_null(row[slot]) if slot in decimals else row[slot]

    def strict(node: Node) -> Any:
        return [sort_value(read(node[0], slot)) for slot in slots]

    def plain(node: Node) -> Any:
        return node[0][only]

    def ordered(nodes: list[Node]) -> list[Node]:
        if len(nodes) < 2:  # noqa: PLR2004 - nothing to order
            return nodes
        if only is not None:
            try:
                return sorted(nodes, key=plain)
            except TypeError:  # nulls, or unknown, which the strict way refuses
                pass
        return sorted(nodes, key=strict)

    return ordered


def picker(
    where: Callable[[Row], bool] | None, order: tuple[str, int, bool] | None, alias: str, place: str
) -> Callable[[list[tuple[bytes, Row]]], Row | None]:
    """The one row of a to-one join. Without ``first`` or ``last``, several are an error. Ties go by row key; nulls
    come first.
    """

    def value(row: Row) -> tuple[bool, Any]:
        found = known(row[order[1]]) if order else None
        if order and order[2] and found is not None:
            found = number(found)
        return (False, 0) if found is None else (True, found)

    def pick(rows: list[tuple[bytes, Row]]) -> Row | None:
        if len(rows) == 1:
            only = rows[0][1]
            return only if where is None or where(only) else None
        candidates = [row for _, row in rows] if where is None else [row for _, row in rows if where(row)]
        if len(candidates) < 2:  # noqa: PLR2004 - no choice
            return candidates[0] if candidates else None
        try:
            if order is None:
                raise reject("T105")
            if order[0] == "first":
                return min(candidates, key=value)
            return max(reversed(candidates), key=value)
        except ERRORS as error:
            raise failed(error, alias, place) from None

    return pick


def elements(
    kind: str, path: int, by: Sequence[int], field: str, place: str
) -> Callable[[Model | None, Model | None], list[tuple[str, Any, Any]]]:
    """``each: added(lines, by=sku)`` and its kin: the elements of one event type, in list order."""

    def keyed(model: Model | None) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for item in model[path] if model is not None else ():
            parts = [to_string(known(item[i])) if not isinstance(item[i], bool) else str(item[i]).lower() for i in by]
            if None in parts:
                raise reject("T101")
            key = parts[0] if len(parts) == 1 else "/".join(quote(part or "", safe="") for part in parts)
            if key in found:
                raise reject("T109")
            found[key or ""] = item
        return found

    def each(before: Model | None, after: Model | None) -> list[tuple[str, Any, Any]]:
        try:
            old, new = keyed(before), keyed(after)
        except ERRORS as error:
            raise failed(error, field, place) from None
        if kind == "added":
            return [(key, item, None) for key, item in new.items() if key not in old]
        if kind == "removed":
            return [(key, None, item) for key, item in old.items() if key not in new]
        return [(key, item, old[key]) for key, item in new.items() if key in old and old[key] != item]

    return each


def moment_text(value: datetime) -> str:
    return value.isoformat(timespec="microseconds")[:-6] + "Z"


def plain_decimal(value: Any) -> str:
    return f"{value:f}"


def passed(
    step: Callable[[Node], Model],
    path: Sequence[int],
    value: Any,
    normalise: Callable[[Row], Row] | None,
    when: Callable[[Row], bool] | None,
) -> Callable[[Sequence[Row | None] | None], bool]:
    """Did one model field have this value at some step of the root row? Steps at which the root did not exist do not
    count.
    """

    def holds(steps: Sequence[Row | None] | None) -> bool:
        for row in steps or ():
            if row is None:
                continue
            clean = normalise(row) if normalise is not None else row
            if when is not None and not when(clean):
                continue
            found = step((clean,))[0]
            for index in path:
                found = found[index]
            if found == value:
                return True
        return False

    return holds
