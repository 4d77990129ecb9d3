"""Probes: where compiled mappings tell a recorder what they do, for coverage and for ``bridge explain``.

``load(files, source, catalog, probe=Probes())`` compiles with hooks: each calls ``hit(number, value)``, which gives the
value back. Without a recorder the generated code has no hooks at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from bridge.mapping.draft import Draft
from bridge.mapping.nodes import Binary, Call, Column, Expr, Field, Pivot
from bridge.mapping.types import Type
from bridge.mapping.unparse import text

_OPERANDS = (Binary, Call, Column, Field, Pivot)


@dataclass(frozen=True, slots=True)
class Probe:
    """One place of a mapping file. What ``hit`` is told there, by ``kind``:

    - ``when``: an event's whole condition; true or false (or null, for a value of unknown type)
    - ``part``: a condition inside another one (a part of and/or, what not negates, a form's if): the same
    - ``operand``: a field, column, call or sum inside a condition: its value (a column's may be UNKNOWN)
    - ``case``: the condition of one value of ``cases``; ``values`` is that value alone
    - ``if``: the test of ``x if test else y``
    - ``codes``: the raw code before it is looked up; ``values`` are the codes that are listed
    - ``optional``: whether an optional field is null
    - ``event``: an event's payload was made: None
    - ``row``, ``pick``, ``where``: an alias's ``when``, its ``pick.where``, an ``each``'s ``where``
    """

    number: int
    kind: str
    place: str  # file:line
    aggregate: str
    name: str  # the event; the model field, with those around it: lines.sku; or the alias
    text: str
    parent: int | None = None  # the probe of the condition around it
    values: tuple[Any, ...] = ()
    node: Expr | None = field(default=None, compare=False, repr=False)  # the expression, where there is one


@dataclass
class Probes:
    """A recorder: every probe of the code compiled with it, and what they were told, in order.

    ``drafts``: the checked files that were compiled, in the order of the mappings.
    """

    drafts: list[Draft] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)
    hits: list[tuple[int, Any]] = field(default_factory=list)

    def hit(self, number: int, value: Any) -> Any:
        self.hits.append((number, value))
        return value


class Hooks:
    """Writes the hooks of one mapping. With no recorder every method gives back the code that it was given."""

    def __init__(self, recorder: Probes | None, aggregate: str, bind: Callable[[Any], str]) -> None:
        self.recorder = recorder
        self._aggregate = aggregate
        self._name: tuple[str, ...] = ()
        self._place = ""
        self._parent: int | None = None
        self._whole: Expr | None = None  # what the parent asks; as an operand it would say the same again
        self._known: dict[tuple[int, int | None, str], int] = {}
        self._hit = "" if recorder is None else bind(recorder.hit)

    @contextmanager
    def subject(self, name: str, place: str) -> Iterator[None]:
        """What is written inside belongs to this event, alias or field; a field in a field to both."""
        outer = self._name, self._place
        self._name, self._place = (*self._name, name), place
        yield
        self._name, self._place = outer

    @contextmanager
    def silent(self) -> Iterator[None]:
        """What is written inside has no hooks: it is there already."""
        outer, self.recorder = self.recorder, None
        yield
        self.recorder = outer

    def value(self, kind: str, code: str, what: str = "", values: tuple[Any, ...] = ()) -> str:
        """The hook of something that is no expression."""
        return code if self.recorder is None else self._call(self._add(kind, what, values), code)

    def condition(self, kind: str, node: Expr, write: Callable[[Expr], str], gives: str = "") -> str:
        """A condition, written by ``write``; what is in it has it as parent. ``gives``: a case's value."""
        if self.recorder is None:
            return write(node)
        number = self._of(node, kind, (gives,) if gives else ())
        outer = self._parent, self._whole
        self._parent, self._whole = number, node
        code = write(node)
        self._parent, self._whole = outer
        return self._call(number, code)

    def operand(self, node: Expr, write: Callable[[Expr], str]) -> str:
        """A value inside a condition; anything else is written as it is."""
        if self.recorder is None or self._parent is None or node is self._whole or not isinstance(node, _OPERANDS):
            return write(node)
        number = self._of(node, "operand")
        outer, self._parent = self._parent, None if isinstance(node, Field) else number
        code = write(node)
        self._parent = outer
        return self._call(number, code)

    def sides(self, field: Field, now: str, then: str) -> tuple[str, str]:
        """What a predicate compares: a field as it is and as it was."""
        if self.recorder is None or self._parent is None:
            return now, then
        name = text(field)
        numbers = [self._add("operand", what, (), field) for what in (name, f"before.{name}")]
        return self._call(numbers[0], now), self._call(numbers[1], then)

    def steps(self, field: Field, step: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """What ``passed`` looks at: the field in the model of each step."""
        recorder = self.recorder
        if recorder is None or self._parent is None:
            return step
        number = self._add("operand", text(field), (), field)

        def watched(node: Any) -> Any:
            found = step(node)
            recorder.hit(number, found[0])
            return found

        return watched

    def optional(self, kind: Type, variable: str) -> list[str]:
        """The statement that says whether an optional field's value is null."""
        if self.recorder is None or not kind.optional:
            return []
        return [self.value("optional", f"{variable} is None")]

    def _of(self, node: Expr, kind: str, values: tuple[Any, ...] = ()) -> int:
        """The same node in the same condition is one probe, however often it is written."""
        place = (id(node), self._parent, kind)
        number = self._known.get(place)
        if number is None:
            number = self._known[place] = self._add(kind, text(node), values, node)
        return number

    def _add(self, kind: str, what: str, values: tuple[Any, ...] = (), node: Expr | None = None) -> int:
        assert self.recorder is not None  # noqa: S101 - the caller asked
        probes = self.recorder.probes
        name = ".".join(self._name)
        probes.append(Probe(len(probes), kind, self._place, self._aggregate, name, what, self._parent, values, node))
        return len(probes) - 1

    def _call(self, number: int, code: str) -> str:
        return f"{self._hit}({number}, {code})"
