"""What is told of one source transaction: plain data, the same for people (``text``) and for tools (JSON)."""

from __future__ import annotations

from typing import Any

import msgspec


class _Told(msgspec.Struct, rename="camel"):
    """Values are JSON-ready; what is personal is MASKED, what nobody knows is UNKNOWN_TEXT."""


class RowChange(_Told):
    """One row as it came. ``operation``: insert, update, delete, truncate, or undecodable; ``row``: the used columns."""

    place: str  # topic-partition@offset
    operation: str
    table: str
    row_key: Any
    row: dict[str, Any] | None


class Change(_Told):
    """A column or model field, before and after."""

    name: str
    before: Any
    after: Any
    changed: bool


class NetChange(_Told):
    """What the transaction did to a row in the end: created, updated or deleted it. ``old_key``: where the key changed."""

    table: str
    row_key: Any
    old_key: Any
    what: str
    columns: list[Change]
    touches: list[str]  # the aggregates
    note: str = ""


class Condition(_Told):
    """A condition and what it saw. ``holds`` None: it was not asked. ``values``: (text, value) of what it looked at."""

    text: str
    holds: bool | None
    values: list[tuple[str, Any]]
    parts: list[Condition]


class Ignored(_Told):
    """A row that does not exist for a mapping, since its alias's ``when`` is false."""

    alias: str
    row_key: Any
    image: str  # before, after
    why: Condition


class Event(_Told):
    """The event as Kafka has it."""

    id: str
    type: str
    topic: str
    record_key: str
    headers: dict[str, str]
    data: Any


class Rule(_Told):
    """One event's rule, asked once, or once per element of its list. ``holds`` None: it was not asked; ``why_not`` says why."""

    type: str
    version: int
    place: str
    element: str
    holds: bool | None
    why: Condition | None
    why_not: str
    event: Event | None


class Aggregate(_Told):
    """One aggregate that the transaction touched.

    ``outcome``: events, nothing (no rule holds), unchanged, absent, incomplete, parked or rejected (a dead letter).
    ``what``: created, updated or deleted; '' where there is no model to compare.
    """

    aggregate: str
    id: str
    mapping: str
    outcome: str
    reason: str
    hint: str
    what: str
    model: list[Change]
    ignored: list[Ignored]
    rules: list[Rule]


class Account(_Told):
    """One source transaction. ``end``: the place of its END; ``event``: the id that was asked for."""

    source: str
    transaction: str
    commit_position: int
    commit_time: str
    end: str
    event: str
    rows: list[RowChange]
    net: list[NetChange]
    aggregates: list[Aggregate]
    notes: list[str]
