"""Writes the functions of one event: when it happens, and its payload."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from bridge.mapping import support
from bridge.mapping.draft import DataItem, Event
from bridge.mapping.emit import Emitter
from bridge.mapping.model_code import ModelWriter, indented
from bridge.mapping.nodes import NOTHING, Expr, Field, Predicate, walk
from bridge.mapping.types import Type
from bridge.model import EventRule

_ARGUMENTS: Final = "b, a, it, ib, steps"
_PLAIN_TEXT_SCALE: Final = 6  # up to here str() of a decimal never uses an exponent


def nothing(kind: Type) -> Any:
    """What stands for an absent image: nulls, and empty lists, in the model's shape."""
    if kind.kind == "record":
        return tuple(nothing(field) for _, field in kind.fields)
    return [] if kind.kind == "list" else None


class RuleWriter:
    """Writes the rules of one mapping over its model type."""

    def __init__(self, emitter: Emitter, model: Type) -> None:
        self.emitter = emitter
        self.names = emitter.names
        self.model = model
        self.writer = ModelWriter(emitter)

    def rule(self, event: Event, number: int) -> EventRule:
        each = None
        self.emitter.around = []
        if event.each is not None:
            rule = event.each
            self.emitter.around = [f"(b if a is None else a)[{rule.list_field.index}]"]
            each = support.elements(
                rule.kind, rule.list_field.index, [i for i, _ in rule.by], rule.list_field.name, event.place
            )
        return EventRule(
            type=event.type,
            version=event.version,
            topic=event.topic,
            when=self.when(event, f"when{number}", deleted=_says(event, "deleted")),
            data=self.data(event, f"data{number}"),
            each=each,
            place=event.place,
            looks_at_steps=_says(event, "passed"),
            triggers=event.triggers,
        )

    def prologue(self, event: Event, expressions: list[Expr]) -> list[str]:
        """Stand-ins for images that may be absent, as far as the expressions use them."""
        used = {node.root for e in expressions for node in walk(e) if isinstance(node, Field)}
        item = event.each.list_field.type.item if event.each is not None else None
        lines = []
        roots = self.emitter.roots = {"after": "now", "before": "old", "item": "element", "item_before": "past"}
        if "after" in used:
            lines.append(f"{roots['after']} = b if a is None else a")
        if "before" in used:
            lines.append(f"{roots['before']} = {self.names.bind(nothing(self.model))} if b is None else b")
        if item is not None and "item" in used:
            lines.append(f"{roots['item']} = ib if it is None else it")
        if item is not None and "item_before" in used:
            lines.append(f"{roots['item_before']} = {self.names.bind(nothing(item))} if ib is None else ib")
        return lines

    def when(self, event: Event, name: str, *, deleted: bool) -> Callable[..., bool]:
        """Without ``deleted()`` a rule is false for an aggregate that is gone."""
        lines = [f"def {name}({_ARGUMENTS}):"]
        lines.append(" if a is None and b is None: return False" if deleted else " if a is None: return False")
        if event.when is None:
            lines.append(" return True")
        else:
            lines += indented(self.prologue(event, [event.when]))
            with self.emitter.hooks.subject(event.type, event.place):
                test = self.emitter.truth(event.when, "when")
            lines += indented(self.writer.guarded([f"return {test}"], event.type, event.place))
        made: Callable[..., bool] = self.names.define(name, lines)
        return made

    def data(self, event: Event, name: str) -> Callable[..., dict[str, Any]]:
        lines = [f"def {name}({_ARGUMENTS}):", *indented(self.prologue(event, event.expressions()))]
        parts = []
        hooks = self.emitter.hooks
        with hooks.subject(event.type, event.place):
            for item in event.data:
                variable = self.names.fresh("d")
                with hooks.subject(item.name, item.place):
                    lines += indented(self.writer.guarded(self.item(item, variable), item.name, item.place))
                parts.append(f"{item.name!r}: {variable}")
            payload = f"{{{', '.join(parts)}}}"
            lines.append(f" return {hooks.value('event', payload)}")
        made: Callable[..., dict[str, Any]] = self.names.define(name, lines)
        return made

    def item(self, item: DataItem, variable: str) -> list[str]:
        """A model field is canonical already; a field of the payload's own is made here. Then it is rendered."""
        if item.made is not None:
            lines = self.writer.field(item.made, variable) + self.emitter.hooks.optional(item.type, variable)
        else:
            lines = [f"{variable} = {self.emitter.see(item.value or NOTHING)}"]
        rendered = self.rendered(item.type, variable)
        return lines if rendered == variable else [*lines, f"{variable} = {rendered}"]

    def rendered(self, kind: Type, value: str) -> str:
        """An expression for the JSON-ready form of a canonical value; ``value`` is a name or a subscript of one."""
        if kind.kind == "list":
            variable = self.names.fresh("x")
            return f"[{self.rendered(kind.item or kind, variable)} for {variable} in {value}]"
        if kind.kind == "record":
            parts = (
                f"{name!r}: {self.rendered(inner, f'{value}[{i}]')}" for i, (name, inner) in enumerate(kind.fields)
            )
            return f"{{{', '.join(parts)}}}"
        if kind.kind == "decimal":
            function = self.names.bind(str if kind.scale <= _PLAIN_TEXT_SCALE else support.plain_decimal)
            found = f"{function}({value})"
        elif kind.kind == "token":
            found = f"{self.names.bind(self.emitter.tokenise)}({kind.pii!r}, {value})"
        elif kind.kind == "timestamp":
            found = self.emitter.call(support.moment_text, value)
        elif kind.kind == "date":
            found = f"{value}.isoformat()"
        else:
            return value
        return f"(None if {value} is None else {found})" if kind.optional else found


def _says(event: Event, predicate: str) -> bool:
    return event.when is not None and any(isinstance(n, Predicate) and n.name == predicate for n in walk(event.when))
