"""Step 5, translate: before and after image, mapping → canonical events.

The rows become the canonical model once, before and after; if the model did not change, nothing happened. Rules compare
the two models. What cannot be translated raises Untranslatable: it is never passed through in another shape.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from urllib.parse import quote

import msgspec

from bridge.core.aggregate import Touched
from bridge.errors import Untranslatable
from bridge.model import UNKNOWN, EventRule, Mapping, Model, Row


class CanonicalEvent(msgspec.Struct):
    """What happened in the business, before it is encoded. ``element``: the key of the list element it speaks of, or ""."""

    rule: EventRule
    aggregate: str
    aggregate_id: str
    element: str
    data: dict[str, Any]


def aggregate_id(mapping: Mapping, row: Row) -> str:
    """The key columns' values, percent-encoded, joined by ``/``. Raises Untranslatable for a null or unknown one."""
    return "/".join([_part(row[column], mapping) for column in mapping.key_columns])


def _part(value: Any, mapping: Mapping) -> str:
    if value is None or value is UNKNOWN or isinstance(value, float):
        raise Untranslatable(
            f"a key column of {mapping.aggregate} is {'null' if value is None else 'not usable as a key'}",
            "the aggregate id needs a value that identifies it",
            code="T121",
            field="key",
            place=mapping.file,
        )
    if value is True or value is False:
        return "true" if value else "false"
    text = value if isinstance(value, str) else format(value, "f") if isinstance(value, Decimal) else str(value)
    return quote(text.strip(), safe="-._~:@")


def translate(touched: Touched, *, snapshot: bool = False) -> list[CanonicalEvent]:
    """The events of one unit, in the order in which the mapping declares them. Raises Untranslatable.

    ``snapshot``: the unit is an aggregate that the initial snapshot found, not a change.
    """
    mapping = touched.mapping
    if touched.error is not None:
        raise touched.error
    if touched.before is None and touched.after is None:
        return []
    after: Model | None = None if touched.after is None else mapping.model(touched.after)
    before = after
    if touched.before is not touched.after:
        before = None if touched.before is None else mapping.model(touched.before)
    rules = mapping.on_snapshot if snapshot else mapping.on_change
    if before == after:
        rules = tuple([rule for rule in rules if rule.looks_at_steps]) if touched.steps else ()
    if not rules:
        return []
    root = touched.root_after if touched.after is not None else touched.root_before
    if root is None:
        return []
    identity = aggregate_id(mapping, root)
    events: list[CanonicalEvent] = []
    steps = touched.steps
    for rule in rules:
        if rule.each is None:
            if rule.when(before, after, None, None, steps):
                data = rule.data(before, after, None, None, steps)
                events.append(CanonicalEvent(rule, mapping.aggregate, identity, "", data))
            continue
        for element, item, item_before in rule.each(before, after):
            if rule.when(before, after, item, item_before, steps):
                data = rule.data(before, after, item, item_before, steps)
                events.append(CanonicalEvent(rule, mapping.aggregate, identity, element, data))
    return events
