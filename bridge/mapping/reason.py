"""Reasoning over checked expressions: what a condition says about values, whether it can hold at all, what may be null.

``Facts`` are one conjunction: which values an expression may have, which rows and images exist. ``assume`` gives the
alternatives under which a condition has a truth value; none means that it never has it. What cannot be reasoned about
says nothing, so a finding is always true.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from bridge.errors import Untranslatable
from bridge.mapping import values
from bridge.mapping.draft import Alias
from bridge.mapping.functions import NULL_PROOF
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
    Unary,
    children,
    walk,
)

MAX_ALTERNATIVES: Final = 64
_GUARDED: Final = ("before", "item_before")  # an image that may be absent: what compares with it is false then
_ORDERINGS: Final = {"<": values.less, "<=": values.less_equal, ">": values.greater, ">=": values.greater_equal}
_COMPARISONS: Final = {"==": values.equal, "!=": values.unequal, **_ORDERINGS}
_OPPOSITE: Final = {"==": "!=", "!=": "==", "in": "not in", "not in": "in"}


@dataclass(frozen=True, slots=True)
class Domain:
    """What an expression may be: ``allowed`` values (None: any) but ``excluded``, and ``null`` if that is possible."""

    allowed: frozenset[Any] | None = None
    excluded: frozenset[Any] = frozenset()
    null: bool = True

    @property
    def empty(self) -> bool:
        return not self.null and self.allowed is not None and not self.allowed - self.excluded


_ONLY_NULL: Final = Domain(frozenset())


@dataclass(frozen=True, slots=True)
class Facts:
    """``domains`` by expression; ``exists``: images (``before``, ``after``, …) and rows, as far as it is known."""

    domains: Mapping[Expr, Domain] = field(default_factory=dict)
    exists: Mapping[str | RowRef, bool] = field(default_factory=dict)

    def domain(self, node: Expr) -> Domain:
        known = self.domains.get(node)
        if known is not None:
            return known
        kind = node.type
        null = kind.optional or _image(node) in _GUARDED
        if kind.kind == "enum" and kind.symbols:
            return Domain(frozenset(kind.symbols), null=null)
        return Domain(frozenset({True, False}) if kind.kind == "bool" else None, null=null)

    def narrowed(self, node: Expr, domain: Domain) -> list[Facts]:
        """One alternative, or none if nothing is left."""
        if domain.empty:
            return []
        facts = replace(self, domains={**self.domains, node: domain})
        return [facts] if domain.null else facts.there(node)

    def there(self, node: Expr) -> list[Facts]:
        """The images and rows exist that a value which is not null comes from."""
        found = [self]
        image = _image(node)
        if image in _GUARDED:
            found = self.with_existing(image, is_there=True)
        if isinstance(node, Column):
            for n in range(1, len(node.row.chain) + 1):
                row = RowRef(node.row.type, node.row.anchor, node.row.chain[:n], node.row.chain[n - 1])
                found = [more for one in found for more in one.with_existing(row, is_there=True)]
        return found

    def with_existing(self, what: str | RowRef, *, is_there: bool) -> list[Facts]:
        if self.exists.get(what, is_there) != is_there:
            return []
        return [replace(self, exists={**self.exists, what: is_there})]


def _image(node: Expr) -> str:
    return node.root if isinstance(node, Field) else ""


# -- what a condition says ---------------------------------------------------------------------------------------------


def assume(facts: Facts, node: Expr, *, holds: bool) -> list[Facts]:
    """The alternatives under which ``node`` is true (or false). Too many: what is known stays what it was."""
    found = _assume(facts, node, holds)
    return found if len(found) <= MAX_ALTERNATIVES else [facts]


def _assume(facts: Facts, node: Expr, holds: bool) -> list[Facts]:  # noqa: FBT001 - the truth value is what it is about
    if isinstance(node, Logic):
        return _logic(facts, node, holds)
    if isinstance(node, Unary) and node.op == "not":
        return assume(facts, node.operand, holds=not holds)
    if isinstance(node, Compare):
        return _compare(facts, node, holds)
    if isinstance(node, IsNull):
        return _is_null(facts, node.operand, null=holds != node.negated)
    if isinstance(node, Predicate):
        return _predicate(facts, node) if holds else _not_predicate(facts, node)
    if isinstance(node, Const):
        return [facts] if node.value is holds or not isinstance(node.value, bool) else []
    if isinstance(node, If):
        return [
            more
            for test, part in ((True, node.then), (False, node.other))
            for one in assume(facts, node.test, holds=test)
            for more in assume(one, part, holds=holds)
        ]
    if isinstance(node, Call):
        return _not_null(facts, node.args[0]) if node.function.name == "match" and holds else [facts]
    if node.type.kind == "bool" and isinstance(node, (Field, Column)):
        domain = facts.domain(node)
        return facts.narrowed(
            node, replace(domain, allowed=frozenset({holds}) & (domain.allowed or {holds}), null=False)
        )
    return [facts]


def _not_null(facts: Facts, node: Expr) -> list[Facts]:
    """What needs a value and did not fail had one."""
    if isinstance(node, (Column, Field, Pivot)):
        return facts.narrowed(node, replace(facts.domain(node), null=False))
    return [facts]


def _logic(facts: Facts, node: Logic, holds: bool) -> list[Facts]:  # noqa: FBT001 - as above
    if (node.op == "and") == holds:
        found = [facts]
        for part in node.parts:
            found = [more for one in found for more in assume(one, part, holds=holds)]
            if len(found) > MAX_ALTERNATIVES:
                return [facts]
        return found
    return [more for part in node.parts for more in assume(facts, part, holds=holds)]


def _compare(facts: Facts, node: Compare, holds: bool) -> list[Facts]:  # noqa: FBT001 - as above
    guards = {_image(one) for one in walk(node) if _image(one) in _GUARDED}
    present = [facts]
    for guard in guards:
        present = [more for one in present for more in one.with_existing(guard, is_there=True)]
    absent = [] if holds else [more for guard in guards for more in facts.with_existing(guard, is_there=False)]
    return absent + [more for one in present for more in _compared(one, node, holds)]


def _compared(facts: Facts, node: Compare, holds: bool) -> list[Facts]:  # noqa: FBT001 - as above
    op, left, right = node.op, node.left, node.right
    if isinstance(left, Const) and isinstance(right, Const):
        known = _constant(op, left.value, right.value)
        return [facts] if known is None or known == holds else []
    if op in _ORDERINGS:
        return [more for one in _not_null(facts, left) for more in _not_null(one, right)]
    op = op if holds else _OPPOSITE[op]
    if isinstance(left, Const) and op in {"==", "!="}:
        left, right = right, left
    if not isinstance(right, Const) or left.type.kind in {"any", "double"} or left.type.raw:
        return _raw(facts, left, right, op)
    given = frozenset(right.value if op in {"in", "not in"} else (right.value,))
    domain = facts.domain(left)
    if op in {"==", "in"}:
        allowed = given if domain.allowed is None else domain.allowed & given
        return facts.narrowed(left, Domain(allowed - domain.excluded, null=False))
    return facts.narrowed(left, replace(domain, excluded=domain.excluded | given))


def _raw(facts: Facts, left: Expr, right: Expr, op: str) -> list[Facts]:
    """Columns: text may stand for a number, so that only the values of texts are told apart, and null."""
    if not isinstance(right, Const):
        return [facts]
    given = frozenset(right.value if op in {"in", "not in"} else (right.value,))
    domain = facts.domain(left)
    text = left.type.kind == "string" and all(isinstance(value, str) for value in given)
    if op in {"==", "in"}:
        allowed = (given if domain.allowed is None else domain.allowed & given) if text else domain.allowed
        return facts.narrowed(left, Domain(allowed, domain.excluded, null=False))
    return facts.narrowed(left, replace(domain, excluded=domain.excluded | given)) if text else [facts]


def _constant(op: str, left: Any, right: Any) -> bool | None:
    try:
        if op in {"in", "not in"}:
            return values.contained(left, right) == (op == "in")
        return bool(_COMPARISONS[op](left, right))
    except (Untranslatable, ArithmeticError, TypeError):
        return None


def _is_null(facts: Facts, operand: Expr, *, null: bool) -> list[Facts]:
    if isinstance(operand, Root):
        return facts.with_existing(operand.name, is_there=not null)
    if isinstance(operand, RowRef):
        return facts.with_existing(operand, is_there=not null) if operand.chain else [] if null else [facts]
    if isinstance(operand, Const):
        return [facts] if (operand.value is None) == null else []
    domain = facts.domain(operand)
    if not null:
        return facts.narrowed(operand, replace(domain, null=False))
    if not domain.null:
        return []
    if _image(operand) in _GUARDED and not operand.type.optional:
        return facts.with_existing(_image(operand), is_there=False)
    return [replace(facts, domains={**facts.domains, operand: _ONLY_NULL})]


def _predicate(facts: Facts, node: Predicate) -> list[Facts]:
    if node.name == "created":
        return _exist(facts, after=True, before=False)
    if node.name == "deleted":
        return _exist(facts, after=False, before=True)
    if node.name == "changed":
        return _exist(facts, after=True, before=True)
    if node.name != "became" or node.value is None:
        return [facts]
    now, then = node.fields[0], _before(node.fields[0])
    found = []
    for one in facts.with_existing("after", is_there=True):
        for is_now in _compared(one, Compare(node.type, "==", now, node.value), holds=True):
            found += is_now.with_existing("before", is_there=False)
            found += _compare(is_now, Compare(node.type, "!=", then, node.value), holds=True)
    return found


def _not_predicate(facts: Facts, node: Predicate) -> list[Facts]:
    return facts.with_existing("after", is_there=True) if node.name == "deleted" else [facts]


def _before(node: Field) -> Field:
    base = Root(node.base.type, "before") if isinstance(node.base, Root) else node.base
    return replace(node, base=_before(base) if isinstance(base, Field) else base)


def _exist(facts: Facts, *, after: bool, before: bool) -> list[Facts]:
    return [
        more
        for one in facts.with_existing("after", is_there=after)
        for more in one.with_existing("before", is_there=before)
    ]


# -- what may be null --------------------------------------------------------------------------------------------------


class Nulls:
    """Asks expressions whether they may be null. ``aliases``: of the mapping whose rows they read."""

    def __init__(self, aliases: Mapping[str, Alias]) -> None:
        self.aliases = aliases
        self._always = {
            name: common(assume(Facts(), alias.when, holds=True), Facts())
            for name, alias in aliases.items()
            if alias.when is not None
        }

    def possible(self, node: Expr, facts: Facts) -> bool:
        """May the value be null, as far as its form, the catalog and the model's types tell?"""
        if isinstance(node, (Column, Field, Pivot)):
            return self._slot(node, facts)
        if isinstance(node, Const):
            return node.value is None
        if isinstance(node, If):
            return any(
                self.possible(part, one)
                for test, part in ((True, node.then), (False, node.other))
                for one in assume(facts, node.test, holds=test)
            )
        if isinstance(node, Call):
            return self._call(node, facts)
        return False

    def _slot(self, node: Column | Field | Pivot, facts: Facts) -> bool:
        known = facts.domains.get(node)
        if known is not None:
            return known.null
        if isinstance(node, Pivot):
            return True
        if isinstance(node, Field):
            if node.root in _GUARDED and facts.exists.get(node.root) is not True:
                return True
            return node.type.optional or (isinstance(node.base, Field) and self._slot(node.base, facts))
        if any(self._absent(node.row, n, facts) for n in range(1, len(node.row.chain) + 1)):
            return True
        alias = node.row.alias
        of_any_row = replace(node, row=RowRef(node.row.type, alias, (), alias))
        always = self._always.get(alias, Facts()).domains.get(of_any_row)
        return node.nullable if always is None else always.null

    def _absent(self, row: RowRef, steps: int, facts: Facts) -> bool:
        name = row.chain[steps - 1]
        known = facts.exists.get(RowRef(row.type, row.anchor, row.chain[:steps], name))
        return known is not True and name in self.aliases and self.aliases[name].may_be_absent

    def _call(self, node: Call, facts: Facts) -> bool:
        name = node.function.name
        if name == "coalesce":
            return all(self.possible(argument, facts) for argument in node.args)
        if node.function.nullable or (name in {"min", "max"} and node.args[0].type.kind == "list"):
            return True
        return name not in NULL_PROOF and any(self.possible(argument, facts) for argument in node.args)

    def refused(self, node: Expr, facts: Facts) -> list[Expr]:
        """Operands that may be null where arithmetic or ordering refuses null, each once."""
        return list(dict.fromkeys(self._refused(node, facts)))

    def _refused(self, node: Expr, facts: Facts) -> Iterable[Expr]:
        if isinstance(node, Logic):
            for part in node.parts:
                yield from self._refused(part, facts)
                facts = common(assume(facts, part, holds=node.op == "and"), facts)
            return
        if isinstance(node, If):
            yield from self._refused(node.test, facts)
            for test, part in ((True, node.then), (False, node.other)):
                for one in assume(facts, node.test, holds=test):
                    yield from self._refused(part, one)
            return
        if isinstance(node, Each):
            for condition in node.tests:
                yield from self._refused(condition, facts)
                facts = common(assume(facts, condition, holds=True), facts)
            yield from self._refused(node.element, facts)
            return
        if isinstance(node, Compare):
            for guard in {_image(one) for one in walk(node) if _image(one) in _GUARDED}:
                facts = next(iter(facts.with_existing(guard, is_there=True)), facts)
        yield from (operand for operand in _strict(node) if self.possible(operand, facts))
        for child in children(node):
            yield from self._refused(child, facts)


def _strict(node: Expr) -> tuple[Expr, ...]:
    if isinstance(node, Binary) or (isinstance(node, Compare) and node.op in _ORDERINGS):
        return (node.left, node.right)
    if isinstance(node, Unary) and node.op == "-":
        return (node.operand,)
    if isinstance(node, Call) and node.function.name == "sum" and isinstance(node.args[0], Each):
        return (node.args[0].element,)
    return ()


def common(alternatives: list[Facts], otherwise: Facts) -> Facts:
    """What all alternatives agree on; ``otherwise`` where there is none."""
    first, *rest = alternatives or [otherwise]
    domains = {
        node: one for node, one in first.domains.items() if all(other.domains.get(node) == one for other in rest)
    }
    exists = {what: one for what, one in first.exists.items() if all(other.exists.get(what) is one for other in rest)}
    return Facts(domains, exists)


def label(node: Expr) -> str:
    """A short name of a value, for messages."""
    if isinstance(node, Column):
        return f"{(node.row.chain or (node.row.anchor,))[-1]}.{node.name}"
    if isinstance(node, Field):
        base = (
            label(node.base) if isinstance(node.base, Field) else node.base.name if isinstance(node.base, Root) else ""
        )
        return node.name if base in {"", "after"} else f"{base}.{node.name}"
    if isinstance(node, Call):
        return f"{node.function.name}(…)"
    return "this"
