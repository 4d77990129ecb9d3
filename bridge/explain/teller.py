"""Tells one source transaction: asks the mappings again, compiled with probes, what they made of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from bridge.core import collapse
from bridge.core.aggregate import Touched
from bridge.core.decode import ChangeEvent
from bridge.core.encode import rfc3339
from bridge.core.pipeline import Observed
from bridge.core.units import identity_of
from bridge.errors import Untranslatable
from bridge.explain.account import Account, Aggregate, Change, Event, Ignored, NetChange, RowChange, Rule
from bridge.explain.personal import Personal
from bridge.explain.rules import Reasons
from bridge.explain.wanted import Wanted
from bridge.mapping import draft
from bridge.mapping.probes import Probes
from bridge.model import EventRule, InputPartition, Layout, Mapping, MappingSet, Model, OutboundRecord, Row, TableUse

_OPERATIONS: Final = {"c": "insert", "u": "update", "d": "delete", "t": "truncate", "?": "undecodable"}
_INCOMPLETE: Final = (
    "the aggregate is not complete: its root row was there before the stream began, and not all of its tables were "
    "snapshotted whole; it fires nothing until it is"
)
_UNCHANGED: Final = "the model is the same before and after: nothing happened in the business, and no rule was asked"


class Teller:
    """For one source. ``mappings`` were compiled with ``probes``."""

    def __init__(
        self, mappings: MappingSet, probes: Probes, personal: Personal, partitions: Sequence[InputPartition], end: str
    ) -> None:
        self._mappings = {mapping.aggregate: mapping for mapping in mappings.mappings}
        self._drafts: dict[str, draft.Draft] = {one.aggregate: one for one in probes.drafts}
        self._layouts: list[Layout] = [mappings.layouts[name] for name in sorted(mappings.layouts)]
        self._source = mappings.source
        self._personal = personal
        self._reasons = Reasons(probes, personal)
        self._partitions = partitions
        self._end = end  # the topic and partition of END
        self._snapshot = False
        self._folded: set[str] = set()  # aggregates of the windows that the transaction belongs to

    def tell(self, observed: Observed, wanted: Wanted) -> Account:
        """The whole transaction, or the aggregate that an event is of."""
        transaction = observed.transaction
        self._snapshot = observed.snapshot
        letters = [record for record in observed.records if is_letter(record)]
        events = deque(record for record in observed.records if not is_letter(record))
        aggregates = [self._aggregate(touched, events, letters) for touched in observed.touched]
        chosen = list(zip(observed.touched, aggregates, strict=True))
        if wanted.event:
            chosen = [(touched, told) for touched, told in chosen if _has_event(told, wanted.event)]
        self._folded = {one.aggregate for one in observed.windows}
        net = [change for change in observed.net if not wanted.event or any(_of(change, t) for t, _ in chosen)]
        rows = [change for change in transaction.changes if not wanted.event or any(_is_row(change, n) for n in net)]
        notes = _of_windows(observed, wanted)
        if len(rows) < len(transaction.changes):
            notes.append(
                f"only what concerns this event: {len(rows)} of the transaction's {len(transaction.changes)} row changes; "
                f"--transaction {transaction.group}:{transaction.position} tells all"
            )
        return Account(
            self._source,
            transaction.group,
            transaction.position,
            rfc3339(transaction.ts_ms).decode(),
            f"{self._end}@{transaction.offset}",
            wanted.event,
            [self._row_change(change) for change in rows],
            [self._net_change(change, chosen) for change in net],
            [told for _, told in chosen],
            notes,
        )

    # -- rows ----------------------------------------------------------------------------------------------------------

    def _row_change(self, change: ChangeEvent) -> RowChange:
        place = f"{self._partitions[change.partition]}@{change.offset}"
        table = change.table.name
        row = None if change.after is None else self._row(self._layouts[change.table.number], change.after)
        row_key = self._personal.row_key(table, change.row_key)
        return RowChange(place, _OPERATIONS.get(change.op, change.op), table, row_key, row)

    def _row(self, layout: Layout, row: Row) -> dict[str, Any]:
        return {
            name: self._personal.column(layout.table, name, value)
            for name, value in zip(layout.columns, row, strict=True)
        }

    def _net_change(self, change: collapse.NetChange, told: list[tuple[Touched, Aggregate]]) -> NetChange:
        layout = self._layouts[change.table]
        what = "created" if change.before is None else "deleted" if change.after is None else "updated"
        key = self._personal.row_key(layout.table, change.row_key)
        old_key = self._personal.row_key(layout.table, change.old_key) if change.old_key != change.row_key else None
        touches = [f"{one.aggregate} {one.id}" for touched, one in told if _of(change, touched)]
        note = "" if touches else self._why_untouched(layout.table)
        return NetChange(layout.table, key, old_key, what, self._columns(layout, change), touches, note)

    def _columns(self, layout: Layout, change: collapse.NetChange) -> list[Change]:
        nothing = (None,) * len(layout.columns)
        before, after = change.before or nothing, change.after or nothing
        show = self._personal.column
        return [
            Change(name, show(layout.table, name, old), show(layout.table, name, new), old != new)
            for name, old, new in zip(layout.columns, before, after, strict=True)
        ]

    def _why_untouched(self, table: str) -> str:
        uses = [use for mapping in self._mappings.values() for use in mapping.tables if use.table == table]
        if uses and all(use.lookup for use in uses):
            return "a lookup: its changes trigger nothing"
        folded = sorted(
            mapping.aggregate
            for mapping in self._mappings.values()
            if mapping.aggregate in self._folded and any(use.table == table for use in mapping.tables)
        )
        if folded:
            return f"in a window of {', '.join(folded)}, and told when it closes"
        return "no root row joins it"

    # -- aggregates ----------------------------------------------------------------------------------------------------

    def _aggregate(self, touched: Touched, events: deque[OutboundRecord], letters: list[OutboundRecord]) -> Aggregate:
        mapping = self._mappings[touched.mapping.aggregate]
        name, identity = mapping.aggregate, identity_of(touched)
        told = Aggregate(
            aggregate=name,
            id=self._personal.identity(name, identity),
            mapping=mapping.file,
            outcome="nothing",
            reason="",
            hint="",
            what="",
            model=[],
            ignored=self._ignored(touched),
            rules=[],
        )
        try:
            before = None if touched.before is None else mapping.model(touched.before)
            after = None if touched.after is None else mapping.model(touched.after)
        except Untranslatable as error:
            touched = msgspec.structs.replace(touched, error=touched.error or error)
            before = after = None
        told.model = self._model(name, before, after)
        if told.model:
            told.what = "created" if before is None else "deleted" if after is None else "updated"
        behind = next((found for one in letters if (found := _behind(one, name, identity)) is not None), None)
        if not touched.complete:
            told.outcome, told.reason, told.hint = "incomplete", _INCOMPLETE, "mappings/README.md, What fires nothing"
        elif behind is not None:
            told.outcome, told.reason = "parked", "B211: an earlier unit of this aggregate is a dead letter"
            told.hint = f"mend that one first; --transaction {behind} tells why"
        elif touched.error is not None:
            _reject(told, touched.error)
        elif before is None and after is None:
            told.outcome, told.reason = "absent", f"there is no {name}, before or after"
        else:
            self._ask(told, mapping, touched, (before, after), events)
        return told

    def _model(self, aggregate: str, before: Model | None, after: Model | None) -> list[Change]:
        if before is None and after is None:
            return []
        found = []
        for number, field in enumerate(self._drafts[aggregate].fields):
            sides = [None if model is None else model[number] for model in (before, after)]
            shown = [self._personal.model(aggregate, value, field.type, (field.name,)) for value in sides]
            changed = before is None or after is None or sides[0] != sides[1]
            found.append(Change(field.name, shown[0], shown[1], changed))
        return found

    def _ignored(self, touched: Touched) -> list[Ignored]:
        """Changed rows that an alias's ``when`` leaves out."""
        mapping = self._mappings[touched.mapping.aggregate]
        found = []
        for change in touched.changes:
            images = (("before", change.before, change.old_key), ("after", change.after, change.row_key))
            for use in mapping.tables:
                if use.when is not None and use.table == self._layouts[change.table].table:
                    found += [self._left_out(mapping, use, *image) for image in images]
        return [one for one in found if one is not None]

    def _left_out(self, mapping: Mapping, use: TableUse, image: str, row: Row | None, row_key: bytes) -> Ignored | None:
        when = use.when
        if row is None or when is None:
            return None
        clean = row if use.normalise is None else use.normalise(row)
        try:
            holds = self._reasons.ask(lambda: when(clean))
        except Untranslatable:  # it is the aggregate's error, told there
            return None
        why = self._reasons.why("row", mapping.aggregate, use.alias, use.place)
        return (
            None if holds or why is None else Ignored(use.alias, self._personal.row_key(use.table, row_key), image, why)
        )

    # -- rules ---------------------------------------------------------------------------------------------------------

    def _ask(
        self,
        told: Aggregate,
        mapping: Mapping,
        touched: Touched,
        models: tuple[Model | None, Model | None],
        events: deque[OutboundRecord],
    ) -> None:
        """Every rule, as ``translate`` asks them."""
        before, after = models
        asked = mapping.on_snapshot if self._snapshot else mapping.on_change
        unchanged = before == after
        if unchanged:
            told.outcome, told.reason = "unchanged", _UNCHANGED
        for rule in mapping.events:
            if rule not in asked:
                other = "a change" if self._snapshot else "the initial snapshot"
                told.rules.append(self._rule(mapping, rule, "", f"its trigger: is {other}"))
                continue
            if unchanged and not (rule.looks_at_steps and touched.steps):
                told.rules.append(self._rule(mapping, rule, "", "the model did not change"))
                continue
            try:
                elements = [("", None, None)] if rule.each is None else rule.each(before, after)
                if not elements:
                    told.rules.append(self._rule(mapping, rule, "", "its each: found no element"))
                for element, item, item_before in elements:
                    images = (before, after, item, item_before, touched.steps)
                    self._ask_one(told, mapping, rule, element, images)
            except Untranslatable as error:
                _reject(told, error)
                break
        self._give_events(told, mapping, events)

    def _ask_one(
        self, told: Aggregate, mapping: Mapping, rule: EventRule, element: str, images: tuple[Any, ...]
    ) -> None:
        one = self._rule(mapping, rule, element)
        told.rules.append(one)
        try:
            one.holds = self._reasons.ask(lambda: rule.when(*images))
        finally:
            one.why = self._reasons.why("when", mapping.aggregate, rule.type, rule.place)
        if not one.holds and (one.why is None or one.why.holds is None):
            one.why_not = "the aggregate is gone, and the rule does not mention deleted()"
        if one.holds:
            rule.data(*images)

    def _rule(self, mapping: Mapping, rule: EventRule, element: str, why_not: str = "") -> Rule:
        declared = self._declared(mapping, rule)
        shown = self._personal.element(mapping.aggregate, declared, element)
        return Rule(rule.type, rule.version, rule.place, shown, None, None, why_not, None)

    def _declared(self, mapping: Mapping, rule: EventRule) -> draft.Event:
        number = next(i for i, one in enumerate(mapping.events) if one is rule)
        return self._drafts[mapping.aggregate].events[number]

    def _give_events(self, told: Aggregate, mapping: Mapping, events: deque[OutboundRecord]) -> None:
        """The published events, in the order of the rules that made them. A rejected unit has none."""
        if told.outcome == "rejected":
            return
        rules = {rule.place: rule for rule in mapping.events}
        for told_rule in told.rules:
            if told_rule.holds:
                told.outcome, told.reason = "events", ""
                declared = self._declared(mapping, rules[told_rule.place])
                told_rule.event = self._event(told, declared, events.popleft())

    def _event(self, told: Aggregate, declared: draft.Event, record: OutboundRecord) -> Event:
        headers = {name: value.decode() for name, value in record.headers} | {"ce_subject": told.id}
        data = self._personal.payload(told.aggregate, declared, msgspec.json.decode(record.value))
        return Event(headers["ce_id"], headers["ce_type"], record.topic, told.id, headers, data)


def _of_windows(observed: Observed, wanted: Wanted) -> list[str]:
    window = observed.window
    if window is None:
        return []
    folded = wanted.folds(observed)
    what = f"a window of {window.transactions} transactions, told at the place of its first change and the time of its last"
    return [f"{what}: {'; '.join(folded)}; --transaction tells one of them"]


def _reject(told: Aggregate, error: Untranslatable) -> None:
    told.outcome, told.hint = "rejected", error.hint
    told.reason = f"{error.code}: {error.message}"


def is_letter(record: OutboundRecord) -> bool:
    """Whether it is a dead letter, and no event."""
    return any(name == "bridge_kind" for name, _ in record.headers)


def _behind(letter: OutboundRecord, aggregate: str, identity: str) -> int | None:
    """The commit position of the unit that this aggregate's unit is parked behind."""
    headers = dict(letter.headers)
    if (headers.get("bridge_aggregate"), letter.key) != (aggregate.encode(), identity.encode()):
        return None
    found: int | None = msgspec.json.decode(letter.value)["parkedBehind"]
    return found


def _has_event(told: Aggregate, event: str) -> bool:
    return any(rule.event is not None and rule.event.id == event for rule in told.rules)


def _of(change: collapse.NetChange, touched: Touched) -> bool:
    return any(change is one for one in touched.changes)


def _is_row(change: ChangeEvent, net: collapse.NetChange) -> bool:
    return change.table.number == net.table and change.row_key in {net.row_key, net.old_key}
