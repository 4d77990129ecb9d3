"""Writes the model function of one mapping: straight-line Python from a node to the tuple of canonical values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from bridge.mapping import convert, support
from bridge.mapping.convert import MAX_INT64
from bridge.mapping.draft import ModelField
from bridge.mapping.emit import Anchor, Block, Emitter
from bridge.mapping.nodes import Binary, Const, Expr
from bridge.mapping.types import Type
from bridge.mapping.values import EXACT

# What stands inline for the usual case, given the variable's name and a maker of names; all else goes to the converter.
_INLINE: Final[dict[str, tuple[type, str]]] = {
    "string": (str, "{v}.__class__ is not {exact}"),
    "bool": (bool, "{v}.__class__ is not {exact}"),
    "int": (int, f"{{v}}.__class__ is not {{exact}} or not {-MAX_INT64} <= {{v}} < {MAX_INT64}"),
}
SHIFT: Final = EXACT.scaleb


class ModelWriter:
    """Lines of a function body. Every field has its own ``try``, which costs nothing until something is wrong."""

    def __init__(self, emitter: Emitter) -> None:
        self.emitter = emitter
        self.names = emitter.names

    def function(self, name: str, root: str, fields: list[ModelField]) -> Callable[[Any], Any]:
        """``name(node)`` → tuple of the fields' values."""
        block = Block()
        self.emitter.anchors = {root: Anchor("n", "r", block)}
        body, result = self.fields(fields)
        lines = [f"def {name}(n):", " r = n[0]", *indented(block.lines), *indented(body), f" return {result}"]
        made: Callable[[Any], Any] = self.names.define(name, lines)
        return made

    def fields(self, fields: list[ModelField]) -> tuple[list[str], str]:
        """Statements that compute the fields, and the tuple of them."""
        lines: list[str] = []
        variables: list[str] = []
        for field in fields:
            variable = self.names.fresh("f")
            with self.emitter.hooks.subject(field.name, field.place):
                lines += self.guarded(self.field(field, variable), field.name, field.place)
                lines += self.emitter.hooks.optional(field.type, variable)
            variables.append(variable)
        return lines, f"({', '.join(variables)},)"

    def guarded(self, lines: list[str], field: str, place: str) -> list[str]:
        failed, errors = self.names.bind(support.failed), self.names.bind(support.ERRORS)
        return [
            "try:",
            *indented(lines),
            f"except {errors} as e:",
            f" raise {failed}(e, {field!r}, {place!r}) from None",
        ]

    def field(self, field: ModelField, variable: str) -> list[str]:
        if field.each is not None:
            return self.each(field, variable)
        if field.type.kind == "record":
            lines, result = self.fields(field.fields)
            return [*lines, f"{variable} = {result}"]
        if field.cases is not None:
            return [f"{variable} = {self.cases(field.cases)}"]
        if field.value is None:  # the checker reported it
            return [f"{variable} = None"]
        return self.converted(field, field.value, variable)

    def cases(self, cases: list[tuple[str, Expr]]) -> str:
        found = self.emitter.call(support.no_case)
        for symbol, test in reversed(cases):
            found = f"{symbol!r} if {self.emitter.truth(test, 'case', symbol)} else {found}"
        return found

    def converted(self, field: ModelField, value: Expr, variable: str) -> list[str]:
        """The value, sentinels taken out, converted to the declared type."""
        kind = field.type
        if kind.kind == "decimal" and (digits := _power_of_ten(value)) and digits == kind.scale and not field.absent:
            assert isinstance(value, Binary)  # noqa: S101 - a power of ten divides
            return self.hundredth(kind, digits, self.emitter.raw(value.left), variable)
        source = self.emitter.raw(value)
        lines = []
        if field.absent:
            lines.append(f"{variable} = {source}")
            gone = self.names.bind(convert.sentinels(field.absent))
            source = f"(None if {variable} in {gone} else {variable})"
        return lines + conversion(self.emitter, field, source, variable)

    def hundredth(self, kind: Type, digits: int, source: str, variable: str) -> list[str]:
        """Cents to money: a whole number in range is shifted in place."""
        slow = self.emitter.call(convert.hundredth(kind, digits), variable)
        limit = 10**kind.precision
        usual = f"{variable}.__class__ is {self.names.bind(int)} and {-limit} < {variable} < {limit}"
        shifted = f"{self.names.bind(SHIFT)}({variable}, {-digits})"
        return [f"{variable} = {source}", f"{variable} = {shifted} if {usual} else {slow}"]

    def each(self, field: ModelField, variable: str) -> list[str]:
        """A loop over the kid nodes that appends one tuple per element."""
        assert field.each is not None  # noqa: S101 - the caller asked
        emitter, alias = self.emitter, field.each.alias
        source = emitter.rows(field.each)
        rows = emitter.bounded(source)
        if field.order_by:
            table = emitter.aliases[alias].table
            slots = {emitter.slot(table, column.name): column.type.kind == "decimal" for column in field.order_by}
            order = support.ordering(list(slots), frozenset(slot for slot, decimal in slots.items() if decimal))
            rows = emitter.call(order, rows)
        node, row = self.names.fresh("n"), self.names.fresh("r")
        block = Block()
        outer = dict(emitter.anchors)
        emitter.anchors[alias] = Anchor(node, row, block)
        emitter.around.append(source)
        skip = [f"if not {emitter.truth(field.where, 'where')}: continue"] if field.where is not None else []
        body, result = self.fields(field.fields)
        emitter.around.pop()
        emitter.anchors = outer
        return [
            f"{variable} = []",
            f"for {node} in {rows}:",
            *indented([f"{row} = {node}[0]", *block.lines, *skip, *body, f"{variable}.append({result})"]),
        ]


def _power_of_ten(value: Expr) -> int:
    """3 for ``x / 1000``; 0 for anything else."""
    if (
        isinstance(value, Binary)
        and value.op == "/"
        and isinstance(value.right, Const)
        and value.right.type.kind == "int"
    ):
        text = str(value.right.value)
        return len(text) - 1 if text.strip("0") == "1" else 0
    return 0


def conversion(emitter: Emitter, field: ModelField, source: str, variable: str) -> list[str]:
    """Statements that set ``variable`` to the converted ``source``; the common case stays inline."""
    names, kind = emitter.names, field.type
    if field.codes is not None:
        source = emitter.hooks.value("codes", source, values=tuple(field.codes))
        slow = emitter.call(convert.coded(field.codes, optional=kind.optional), variable)
        return [f"{variable} = {source}", f"{variable} = {names.bind(field.codes.get)}({variable}) or {slow}"]
    made = convert.converter(kind, field.zone)
    if kind.kind not in _INLINE or field.absent:
        return [f"{variable} = {emitter.call(made, source)}"]
    exact, unusual = _INLINE[kind.kind]
    test = unusual.format(v=variable, exact=names.bind(exact))
    found = emitter.call(made, variable)
    if kind.kind == "string":  # keys are often numbers
        found = f"{names.bind(str)}({variable}) if {variable}.__class__ is {names.bind(int)} else {found}"
    return [f"{variable} = {source}", f"if {test}: {variable} = {found}"]


def indented(lines: list[str]) -> list[str]:
    return [f" {line}" for line in lines]
