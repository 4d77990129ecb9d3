"""Checked expressions → Python source. No user text reaches it but repr of checked constants; everything else is a
slot or a bound name.

A column is ``r1[3]``. Where its value may be unknown and nothing downstream would notice, the code asks for it in
place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from bridge.mapping import library, support, values
from bridge.mapping.draft import Alias
from bridge.mapping.nodes import (
    Binary,
    Call,
    Column,
    Compare,
    Const,
    Each,
    Expr,
    Field,
    If,
    IsNull,
    Logic,
    Pivot,
    Predicate,
    Root,
    RowRef,
    Rows,
    Unary,
    walk,
)
from bridge.mapping.probes import Hooks
from bridge.mapping.tokens import Tokenise, plain
from bridge.mapping.types import BOOL
from bridge.model import UNKNOWN

_ARITHMETIC: Final = {
    "+": (values.add, values.add_rough), "-": (values.subtract, values.subtract_rough),
    "*": (values.multiply, values.multiply_rough), "/": (values.divide, values.divide_rough),
    "//": (values.floor_divide, values.floor_divide), "%": (values.remainder, values.remainder),
}  # fmt: skip
_COMPARISONS: Final = {
    "==": values.equal, "!=": values.unequal, "<": values.less, "<=": values.less_equal,
    ">": values.greater, ">=": values.greater_equal,
}  # fmt: skip
_TRIMS: Final = {"trim": "strip", "ltrim": "lstrip", "rtrim": "rstrip"}
_GUARDS: Final = {"before": "b", "item_before": "ib"}


class Names:
    """The namespace of one mapping's generated code: objects under made-up names, and no builtins."""

    def __init__(self) -> None:
        self.space: dict[str, Any] = {"__builtins__": {}}
        self._of: dict[int, str] = {}
        self._count = 0

    def fresh(self, letter: str) -> str:
        self._count += 1
        return f"{letter}{self._count}"

    def bind(self, value: Any) -> str:
        """A name for an object; the same for the same object."""
        name = self._of.get(id(value))
        if name is None:
            name = self._of[id(value)] = self.fresh("g_")
            self.space[name] = value
        return name

    def define(self, name: str, lines: list[str]) -> Any:
        """Compile generated source that defines ``name``."""
        code = compile("\n".join(lines) + "\n", "<mapping>", "exec")
        exec(code, self.space)  # noqa: S102 - source made by this package from checked parts
        return self.space[name]


@dataclass
class Block:
    """Where statements can stand: a function's or loop's start. ``found`` are the rows already fetched there."""

    lines: list[str] = field(default_factory=list)
    found: dict[tuple[str, tuple[str, ...]], tuple[str, str]] = field(default_factory=dict)


@dataclass
class Anchor:
    """Something bound: how to write its node and its row, and where its to-one kids are fetched."""

    node: str
    row: str
    block: Block | None = None


class Emitter:
    """Writes expressions for one function. ``anchors`` say how rows are written, ``roots`` how before, after and item
    are.
    """

    def __init__(
        self,
        names: Names,
        aliases: dict[str, Alias],
        slot: Callable[[str, str], int],
        nulls: tuple[None, ...],
        *,
        passed: Callable[[Field, Any], str] | None = None,
        tokenise: Tokenise = plain,
        hooks: Hooks | None = None,
    ) -> None:
        self.names = names
        self.aliases = aliases
        self.slot = slot
        self.nulls = nulls
        self.hooks = hooks or Hooks(None, "", names.bind)
        self.passed = passed
        self.tokenise = tokenise
        self.anchors: dict[str, Anchor] = {}
        self.roots: dict[str, str] = {}
        self.rough = False
        self.around: list[str] = []  # the lists of the loops and forms around what is written

    def call(self, function: Any, *arguments: str) -> str:
        return f"{self.names.bind(function)}({', '.join(arguments)})"

    # rows

    def position(self, alias: str) -> int:
        """Where an alias stands in its parent's node."""
        parent = self.aliases[alias].parent or ""
        return 1 + self.aliases[parent].kids.index(alias)

    def fetched(self, anchor: str, chain: tuple[str, ...]) -> tuple[str, str]:
        """Names (or expressions) of the node and row at a chain of to-one aliases; both exist even if the row does
        not.
        """
        bound = self.anchors[anchor]
        if not chain:
            return bound.node, bound.row
        if bound.block is None:
            node = self.call(support.kid, self.fetched(anchor, chain[:-1])[0], str(self.position(chain[-1])))
            return node, self.call(self._row_of(), node)
        known = bound.block.found.get((anchor, chain))
        if known is None:
            above = self.fetched(anchor, chain[:-1])[0]
            node, row = self.names.fresh("n"), self.names.fresh("r")
            step = f"{above}[{self.position(chain[-1])}]"
            bound.block.lines.append(
                f"{node} = {step}" if len(chain) == 1 else f"{node} = None if {above} is None else {step}"
            )
            bound.block.lines.append(f"{row} = {self.names.bind(self.nulls)} if {node} is None else {node}[0]")
            known = bound.block.found[anchor, chain] = (node, row)
        return known

    def _row_of(self) -> Any:
        maker = self.names.space.get("row_of")
        if maker is None:
            maker = self.names.space["row_of"] = support.row_of(self.nulls)
        return maker

    def rows(self, rows: Rows) -> str:
        """The list of kid nodes; empty where the parent is missing."""
        node = self.fetched(rows.parent.anchor, rows.parent.chain)[0]
        found = f"{node}[{self.position(rows.alias)}]"
        return found if not rows.parent.chain else f"(() if {node} is None else {found})"

    def raw(self, node: Expr) -> str:
        """Like ``see``, but a column's value may still be unknown: the consumer must refuse it."""
        return self.hooks.operand(node, self._cell) if isinstance(node, Column) else self.see(node)

    def _cell(self, node: Any) -> str:
        row = self.fetched(node.row.anchor, node.row.chain)[1]
        return f"{row}[{self.slot(self.aliases[node.row.alias].table, node.name)}]"

    # expressions

    def see(self, node: Expr) -> str:
        """A Python expression for the node's value; never unknown."""
        method: Callable[[Any], str] = getattr(self, f"_see_{type(node).__name__.lower()}")
        return method(node) if isinstance(node, Column) else self.hooks.operand(node, method)

    def truth(self, node: Expr, kind: str = "part", gives: str = "") -> str:
        """An expression that is True or False and nothing else; ``kind`` and ``gives``: see ``Probe``."""
        return self.hooks.condition(kind, node, self._truth, gives)

    def _truth(self, node: Expr) -> str:
        """A field of an absent before-image is false."""
        if isinstance(node, Field) and node.root in _GUARDS and node.type == BOOL:
            return f"({_GUARDS[node.root]} is not None and {self.see(node)})"
        if node.type == BOOL and not isinstance(node, (If, Column)) and not _may_be_null(node):
            return self.see(node)
        return self.call(values.truth, self.see(node))

    def _see_const(self, node: Const) -> str:
        if isinstance(node.value, Decimal) or (
            isinstance(node.value, tuple) and any(isinstance(v, Decimal) for v in node.value)
        ):
            return self.names.bind(node.value)
        return repr(node.value)

    def _see_column(self, node: Column) -> str:
        found = self.raw(node)
        if "(" in found:
            return self.call(values.known, found)
        return f"({found} if {found} is not {self.names.bind(UNKNOWN)} else {self.call(values.unknown)})"

    def _see_rowref(self, node: RowRef) -> str:
        return "1" if not node.chain else self.fetched(node.anchor, node.chain)[0]

    def _see_rows(self, node: Rows) -> str:
        return self.rows(node)

    def _see_pivot(self, node: Pivot) -> str:
        alias = self.aliases[node.rows.alias]
        name, value = alias.pivot or ("", "")
        slots = [str(self.slot(alias.table, column)) for column in (name, value)]
        return self.call(support.pivoted, self.bounded(self.rows(node.rows)), *slots, repr(node.name))

    def _see_root(self, node: Root) -> str:
        return self.roots[node.name]

    def _see_field(self, node: Field) -> str:
        return f"{self.see(node.base)}[{node.index}]"

    def _see_unary(self, node: Unary) -> str:
        if node.op == "not":
            return f"(not {self.truth(node.operand)})"
        return self.call(values.negative, self.raw(node.operand))

    def _see_binary(self, node: Binary) -> str:
        function = _ARITHMETIC[node.op][self.rough]
        return self.call(function, self.raw(node.left), self.raw(node.right))

    def _see_logic(self, node: Logic) -> str:
        return f"({f' {node.op} '.join(self.truth(part) for part in node.parts)})"

    def _see_if(self, node: If) -> str:
        return f"({self.see(node.then)} if {self.truth(node.test, 'if')} else {self.see(node.other)})"

    def _see_isnull(self, node: IsNull) -> str:
        if isinstance(node.operand, Const):
            return repr((node.operand.value is None) != node.negated)
        op = "is not" if node.negated else "is"
        if isinstance(node.operand, RowRef):
            found = self.fetched(node.operand.anchor, node.operand.chain)[0]
        elif isinstance(node.operand, Root):
            found = {"before": "b", "after": "a", "item": "it", "item_before": "ib"}.get(
                node.operand.name, self.see(node.operand)
            )
        else:
            found = self.see(node.operand)
        return f"({found} {op} None)"

    def _see_compare(self, node: Compare) -> str:
        """Whatever compares with a field of an absent before-image is false."""
        found = self._contains(node) if node.op in {"in", "not in"} else self._compares(node)
        guards = {_GUARDS[f.root] for f in walk(node) if isinstance(f, Field) and f.root in _GUARDS}
        for guard in sorted(guards):
            found = f"({guard} is not None and {found})"
        return found

    def _compares(self, node: Compare) -> str:
        left, right = node.left, node.right
        equality = node.op in {"==", "!="}
        if all(_clean(side) and (equality or not side.type.optional) for side in (left, right)):
            return f"({self.see(left)} {node.op} {self.see(right)})"
        slow = self.call(_COMPARISONS[node.op], self._comparand(left), self._comparand(right))
        if equality and isinstance(left, Column) and isinstance(right, Const) and isinstance(right.value, (str, int)):
            found = self.raw(left)
            if "(" not in found and not isinstance(right.value, bool):
                kind = self.names.bind(type(right.value))
                return f"({found} {node.op} {right.value!r} if {found}.__class__ is {kind} else {slow})"
        return slow

    def _comparand(self, node: Expr) -> str:
        """Decimal columns compare as numbers, not as their text."""
        found = self.raw(node)
        return self.call(values.number_or_null, found) if node.type.kind == "decimal" and node.type.raw else found

    def _contains(self, node: Compare) -> str:
        if isinstance(node.right, Const):
            items = self._see_const(node.right)
            if _clean(node.left):
                return f"({self.see(node.left)} {node.op} {items})"
            slow = self.call(values.contained, self._comparand(node.left), items)
            slow = slow if node.op == "in" else f"not {slow}"
            found = self.raw(node.left)
            if (
                isinstance(node.left, Column)
                and "(" not in found
                and all(isinstance(value, str) for value in node.right.value)
            ):
                return f"({found} {node.op} {items} if {found}.__class__ is {self.names.bind(str)} else {slow})"
            return f"({slow})"
        slow = self.call(values.contained, self._comparand(node.left), self.see(node.right))
        return slow if node.op == "in" else f"(not {slow})"

    def _see_each(self, node: Each) -> str:
        variable = self.names.fresh("n")
        source = self.rows(node.over) if isinstance(node.over, Rows) else self.see(node.over)
        over = self.bounded(source)
        if isinstance(node.over, Rows):
            self.anchors[node.variable] = Anchor(variable, f"{variable}[0]")
        else:
            self.roots[node.variable] = variable
        self.around.append(source)
        element = "1" if node.element.type.kind in {"row", "record"} else self.see(node.element)
        tests = "".join(f" if {self.truth(test)}" for test in node.tests)
        self.around.pop()
        return f"({element} for {variable} in {over}{tests})"

    def bounded(self, rows: str) -> str:
        """A list that is walked inside of loops over others: refused if that would take too many steps."""
        return self.call(support.bounded, rows, *self.around) if self.around else rows

    def _see_call(self, node: Call) -> str:
        name = node.function.name
        if name == "coalesce":
            return self._coalesce(list(node.args))
        if name == "round":
            outer, self.rough = self.rough, True
            argument = self.see(node.args[0])
            self.rough = outer
            return self.call(node.function.call(*node.constants), argument)
        if name in _TRIMS:
            return self._trim(node.function.call, _TRIMS[name], self.raw(node.args[0]))
        if name == "count" and isinstance(node.args[0], (Rows, Field)):
            return self.call(len, self.see(node.args[0]))
        function = node.function.call(*node.constants) if node.function.bound else node.function.call
        if self.rough and name == "sum":
            function = library.total_rough
        return self.call(function, *(self.see(argument) for argument in node.args))

    def _trim(self, slow: Any, method: str, argument: str) -> str:
        """The text trimmed in place; null, unknown and what is no text go the long way."""
        name = self.names.fresh("t")
        test = f"({name} := {argument}).__class__ is {self.names.bind(str)}"
        return f"({name}.{method}(' ') if {test} else {self.call(slow, name)})"

    def _coalesce(self, parts: list[Expr]) -> str:
        found = self.see(parts.pop())
        while parts:
            name = self.names.fresh("t")
            found = f"({name} if ({name} := {self.see(parts.pop())}) is not None else {found})"
        return found

    def _see_predicate(self, node: Predicate) -> str:
        if node.name == "created":
            return "(b is None and a is not None)"
        if node.name == "deleted":
            return "(a is None)"
        if node.name == "passed" and node.value is not None and self.passed is not None:
            return f"{self.passed(node.fields[0], node.value)}(steps)"
        sides = [self.hooks.sides(found, self._side(found, "a"), self._side(found, "b")) for found in node.fields]
        if node.name == "changed":
            return f"(a is not None and b is not None and ({' or '.join(f'{now} != {then}' for now, then in sides)}))"
        value = self.see(node.value) if node.value is not None else "None"
        now, then = sides[0]
        return f"(a is not None and {now} == {value} and (b is None or {then} != {value}))"

    def _side(self, node: Field, side: str) -> str:
        return (
            f"{self._side(node.base, side)}[{node.index}]" if isinstance(node.base, Field) else f"{side}[{node.index}]"
        )


def _may_be_null(node: Expr) -> bool:
    """Whether a condition may be null although its type does not say so: a field of an absent before-image, handed on."""
    return isinstance(node, Call) and any(isinstance(part, Field) and part.root in _GUARDS for part in walk(node))


def _clean(node: Expr) -> bool:
    """Can Python compare the value as it is? Not a column's, and not one whose type nobody knows."""
    kind = node.type
    return (
        not kind.raw
        and kind.kind not in {"any", "double"}
        and not (kind.kind == "list" and not isinstance(node, Const))
    )
