"""Checks a sound draft for what cannot be: a null where none may be (M028), a condition that never holds (M035)."""

from __future__ import annotations

from bridge.mapping.diagnostics import Source
from bridge.mapping.draft import Draft, Event, ModelField
from bridge.mapping.nodes import Expr, Predicate, RowRef, walk
from bridge.mapping.reason import Facts, Nulls, assume, common, label


def check_sense(draft: Draft) -> None:
    """Report into the sources' reports. What has another mistake is None in the draft, and passed over."""
    _Sense(draft).check()


class _Sense:
    """One mapping."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.nulls = Nulls({})  # a table's own condition speaks for its rows, not for itself

    def check(self) -> None:
        for alias in self.draft.aliases.values():
            for name, condition in (("when", alias.when), ("where", alias.pick_where)):
                if condition is not None:
                    self.condition(condition, alias.sources[name], [Facts()])
        self.nulls = Nulls(self.draft.aliases)
        self.fields(self.draft.fields, Facts())
        for event in self.draft.events:
            self.event(event)
        window = self.draft.window
        if window is not None and window.until is not None and window.source is not None:
            self.condition(window.until, window.source, [Facts()])

    def event(self, event: Event) -> None:
        start = _images(event)
        facts = start
        if event.when is not None and event.source is not None:
            facts = self.condition(event.when, event.source, start)
        for item in event.data:
            if item.made is not None:
                self.fields([item.made], common(facts, start[0]))

    def condition(self, node: Expr, source: Source, start: list[Facts]) -> list[Facts]:
        """The alternatives under which it holds."""
        self.refused(node, source, common(start, Facts()))
        facts = [one for before in start for one in assume(before, node, holds=True)]
        if not facts:
            source.add("M035", 0, "this can never be true", "see which values the parts leave to each other")
        return facts

    def refused(self, node: Expr, source: Source, facts: Facts) -> None:
        for operand in self.nulls.refused(node, facts):
            hint = f"coalesce({label(operand)}, 0), or ask 'is not None' first"
            source.add("M028", 0, f"{label(operand)} may be null, and arithmetic and order need a value", hint)

    def fields(self, fields: list[ModelField], facts: Facts) -> None:
        for field in fields:
            self.field(field, facts)
            inner = facts
            if field.where is not None:
                inner = common(self.condition(field.where, field.sources["where"], [facts]), facts)
            self.fields(field.fields, inner)

    def field(self, field: ModelField, facts: Facts) -> None:
        if field.value is not None:
            source = field.sources["from"]
            self.refused(field.value, source, facts)
            if self.required(field) and self.nulls.possible(field.value, facts):
                hint = f"coalesce(…, default), or declare it {field.type}?"
                if field.codes is not None:
                    hint = f"add the code null, or declare it {field.type}?"
                source.add("M028", 0, f"{label(field.value)} may be null, and {field.type} may not", hint)
        for symbol, test in field.cases or ():
            if symbol in field.sources:
                facts = common(self.case(test, field.sources[symbol], facts), facts)

    def case(self, test: Expr, source: Source, facts: Facts) -> list[Facts]:
        """What is left for the cases after it."""
        self.condition(test, source, [facts])
        return assume(facts, test, holds=False)

    @staticmethod
    def required(field: ModelField) -> bool:
        return not field.type.optional and not (field.codes is not None and None in field.codes)


def _images(event: Event) -> list[Facts]:
    """Which images there are when a rule is asked."""
    says_deleted = event.when is not None and any(
        isinstance(node, Predicate) and node.name == "deleted" for node in walk(event.when)
    )
    exists: dict[str | RowRef, bool] = {} if says_deleted else {"after": True}
    if event.triggers == {"snapshot"}:
        exists["after"], exists["before"] = True, False
    if event.each is not None:
        exists["item"], exists["item_before"] = event.each.kind != "removed", event.each.kind != "added"
        if event.each.kind != "added":
            exists["before"] = True
    return [Facts(exists=exists)]
