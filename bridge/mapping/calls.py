"""Checks calls: functions of the table by their signatures, and the predicates of rules."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any, Final

from bridge.mapping.diagnostics import did_you_mean
from bridge.mapping.functions import FUNCTIONS, PREDICATES, Function
from bridge.mapping.nodes import NOTHING, Call, Const, Expr, Field, Predicate, Rows
from bridge.mapping.types import BOOL, comparable

if TYPE_CHECKING:
    from bridge.mapping.expression import Checker

_KINDS: Final[dict[str, frozenset[str]]] = {
    "string": frozenset({"string", "enum", "any", "null"}),
    "number": frozenset({"int", "decimal", "any", "null"}),
    "scalar": frozenset({"string", "enum", "int", "decimal", "any", "null"}),
}
_NOT_A_VALUE: Final = frozenset({"row", "record", "list"})


def check_call(checker: Checker, node: ast.Call) -> Expr:
    """A call of a listed function or predicate."""
    if not isinstance(node.func, ast.Name):
        return checker.bad("M011", node, "only listed functions can be called", "write trim(x), not x.trim()")
    name = node.func.id
    if name in PREDICATES:
        return _predicate(checker, node, name)
    function = FUNCTIONS.get(name)
    if function is None:
        hint = did_you_mean(name, [*FUNCTIONS, *PREDICATES])
        return checker.bad("M014", node, f"there is no function '{name}'", hint)
    if node.keywords:
        return checker.bad("M015", node, f"{name}() has no named arguments", f"{function.example}")
    kinds = _kinds(function, len(node.args))
    if kinds is None:
        return checker.bad(
            "M015", node, f"{name}() does not take {len(node.args)} arguments", f"for example {function.example}"
        )
    arguments: list[Expr] = []
    constants: list[Any] = []
    failed = checker.failed
    checker.failed = False
    for kind, argument in zip(kinds, node.args, strict=True):
        value = checker.see(argument)
        if checker.failed:
            continue
        if kind.endswith("!"):
            constants.append(_constant(checker, argument, value, kind, function))
        else:
            arguments.append(_argument(checker, argument, value, kind, function))
    bad, checker.failed = checker.failed, checker.failed or failed
    if bad:
        return NOTHING
    return _finish(checker, node, function, arguments, constants)


def _kinds(function: Function, given: int) -> list[str] | None:
    """One parameter kind per argument, or None if the number is wrong."""
    kinds: list[str] = []
    least = 0
    for kind in function.parameters:
        if kind.endswith("*"):
            kinds.extend([kind[:-1]] * max(given - len(kinds), 0))
            least += 0 if kind.startswith("any") and function.name in {"min", "max"} else 1
        elif kind.endswith("?"):
            kinds.append(kind[:-1])
        else:
            kinds.append(kind)
            least += 1
    return kinds[:given] if least <= given <= len(kinds) else None


def _argument(checker: Checker, node: ast.expr, value: Expr, kind: str, function: Function) -> Expr:
    given = value.type.kind
    if kind in {"list", "bools"} or (function.name in {"min", "max"} and given == "list"):
        return _list(checker, node, value, kind, function)
    if given == "token" and function.name not in {"coalesce", "min", "max"}:
        return checker.bad("M016", node, f"{function.name}() of a token: nothing is computed from personal data")
    if given in _NOT_A_VALUE:
        code = "M024" if given != "record" else "M016"
        return checker.bad(
            code, node, f"{function.name}() needs one value, this is a {given}", f"for example {function.example}"
        )
    if function.name == "round" and given == "double":
        return value
    if kind in _KINDS and given not in _KINDS[kind]:
        return checker.bad(
            "M015", node, f"{function.name}() needs a {kind}, this is {value.type}", f"for example {function.example}"
        )
    return value


def _list(checker: Checker, node: ast.expr, value: Expr, kind: str, function: Function) -> Expr:
    if value.type.kind != "list" or isinstance(value, Const):
        return checker.bad("M024", node, f"{function.name}() needs a list", f"for example {function.example}")
    if function.name == "count":
        return value
    item = value.type.item
    if item is None or isinstance(value, Rows) or item.kind in {"row", "record"}:
        hint = f"for example {function.example}"
        return checker.bad("M024", node, f"{function.name}() needs values, these are whole rows", hint)
    if kind == "bools" and item.kind not in {"bool", "any"}:
        return checker.bad(
            "M016", node, f"{function.name}() needs conditions, these are {item}", f"for example {function.example}"
        )
    if function.name == "sum" and not (item.numeric or item.kind == "any"):
        return checker.bad("M016", node, f"sum() needs numbers, these are {item}")
    return value


def _constant(checker: Checker, node: ast.expr, value: Expr, kind: str, function: Function) -> Any:
    wanted: type | tuple[type, ...] = {"int!": int, "step!": (int, str)}.get(kind, str)  # type: ignore[assignment]
    if not isinstance(value, Const) or not isinstance(value.value, wanted) or isinstance(value.value, bool):
        what = {"int!": "number", "step!": "key or index"}.get(kind, "text")
        checker.bad(
            "M015",
            node,
            f"this argument of {function.name}() must be a constant {what}",
            f"for example {function.example}",
        )
        return None
    return value.value


def _finish(checker: Checker, node: ast.Call, function: Function, arguments: list[Expr], constants: list[Any]) -> Expr:
    if function.name in {"min", "max"} and len(arguments) == 1 and arguments[0].type.kind != "list":
        return checker.bad("M024", node, f"{function.name}() of one value", "give it a list, or two values")
    if function.name in {"min", "max"} and len(arguments) > 1:
        for argument, other in zip(arguments, node.args, strict=True):
            if argument.type.kind == "list" or not comparable(arguments[0].type, argument.type):
                return checker.bad("M016", other, f"{function.name}() of values that do not compare")
    if function.bound:
        try:
            function.call(*constants)
        except ValueError as error:
            return checker.bad("M019", node, f"{function.name}(): {error}")
    return Call(function.result_type([a.type for a in arguments]), function, tuple(arguments), tuple(constants))


def _predicate(checker: Checker, node: ast.Call, name: str) -> Expr:
    if not checker.scope.is_rule:
        return checker.bad("M014", node, f"{name}() compares before and after", "it belongs into an event's when:")
    wanted = {"created": 0, "deleted": 0, "became": 2, "passed": 2}.get(name)
    if node.keywords or (wanted is not None and len(node.args) != wanted) or (wanted is None and not node.args):
        return checker.bad("M015", node, f"{name}() does not take {len(node.args)} arguments", PREDICATES[name])
    names = node.args if name == "changed" else node.args[:1]
    fields: list[Field] = []
    for argument in names:
        found = checker.see(argument)
        if isinstance(found, Field) and found.root == "after":
            fields.append(found)
        elif not checker.failed:
            checker.bad("M015", argument, f"{name}() needs a model field by its bare name", PREDICATES[name])
    if (
        name == "passed"
        and fields
        and checker.scope.root_only is not None
        and fields[0].name not in checker.scope.root_only
    ):
        hint = "passed() sees each step of the root row; use became()"
        return checker.bad("M027", names[0], f"'{fields[0].name}' does not come from the root row alone", hint)
    value: Expr | None = None
    if wanted and fields:
        value = checker.see(node.args[1])
        if not isinstance(value, Const) and not checker.failed:
            return checker.bad("M015", node.args[1], f"{name}() needs a constant value", PREDICATES[name])
        checker.fitting(fields[0], value, (node.args[0], node.args[1]))
    return Predicate(BOOL, name, tuple(fields), value)
