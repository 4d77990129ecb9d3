"""The mutants of a module, as bodies that its functions can be given while the process runs."""

from __future__ import annotations

import ast
import difflib
import functools
import gc
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import CodeType, FunctionType
from typing import NamedTuple

import msgspec
from mutmut.mutation.file_mutation import mutate_file_contents

from tests.planted import ROOT


class Mutant(msgspec.Struct, frozen=True):
    """One change: of which function, and the lines before and after it."""

    module: str
    function: str
    removed: tuple[str, ...]
    added: tuple[str, ...]

    def __str__(self) -> str:
        lines = [*(f"- {line}" for line in self.removed), *(f"+ {line}" for line in self.added)]
        return "\n".join((f"{self.module} {self.function}", *lines))


class Change(NamedTuple):
    """A mutant to run: the body instead of the function's own, defaults that differ, and the lines that are changed."""

    mutant: Mutant
    body: CodeType
    defaults: dict[str, object]
    lines: frozenset[int]

    def apply(self) -> None:
        """To this process, for good. Who holds the function has the new body too."""
        function = self._function()
        names = function.__code__.co_varnames[: function.__code__.co_argcount]
        old = function.__defaults__ or ()
        function.__defaults__ = tuple(
            self.defaults.get(name, value) for name, value in zip(names[len(names) - len(old) :], old, strict=True)
        )
        if function.__kwdefaults__:
            function.__kwdefaults__ = {n: self.defaults.get(n, value) for n, value in function.__kwdefaults__.items()}
        function.__code__ = self.body
        for one in gc.get_objects():
            if isinstance(one, functools._lru_cache_wrapper) and str(one.__module__).startswith("bridge.core"):
                one.cache_clear()

    def _function(self) -> FunctionType:
        found: object = import_module(f"bridge.core.{self.mutant.module}")
        for name in self.mutant.function.split("."):
            found = vars(found)[name]
        found = getattr(found, "__func__", found)  # of a static or class method
        assert isinstance(found, FunctionType)
        return found


def path_of(module: str) -> Path:
    return ROOT / "bridge" / "core" / f"{module}.py"


def function_of(name: str) -> str:
    """What mutmut calls ``xǁReleasedǁadd__mutmut_2`` is ``Released.add``."""
    mangled = re.sub(r"__mutmut_\w+$", "", name)
    return mangled.removeprefix("x_") if mangled.startswith("x_") else ".".join(mangled.split("ǁ")[1:])


def changes_of(module: str) -> list[Change]:
    """Every mutant of a module that mutmut knows."""
    path = path_of(module)
    own = _functions_in(ast.parse(path.read_text()))
    mutated = mutate_file_contents(str(path), path.read_text())
    bodies = dict(_codes(compile(mutated.code, str(path), "exec", dont_inherit=True)))
    nodes = _functions_in(ast.parse(mutated.code))
    by_name = {name.rpartition(".")[2]: node for name, node in nodes.items()}
    lines = mutated.code.splitlines()
    found = []
    for name in mutated.mutant_names:
        original = re.sub(r"\d+$", "orig", name)
        before, after = (lines[by_name[one].lineno - 1 : by_name[one].end_lineno] for one in (original, name))
        function = function_of(name)
        for one, called in ((before, original), (after, name)):
            one[0] = one[0].replace(called, function.rpartition(".")[2])
        removed, added, at = _difference(before, after)
        mutant = Mutant(module, function, removed, added)
        body = bodies[name].replace(co_name=function.rpartition(".")[2])
        defaults = changed_defaults(by_name[name], by_name[original])
        node = own[function]
        found.append(Change(mutant, body, defaults, _executed(node, {node.lineno + one for one in at})))
    return found


def _difference(before: list[str], after: list[str]) -> tuple[tuple[str, ...], tuple[str, ...], set[int]]:
    """The lines that went and those that came, and where."""
    removed: list[str] = []
    added: list[str] = []
    at: set[int] = set()
    for tag, first, last, start, stop in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag != "equal":
            removed += before[first:last]
            added += after[start:stop]
            at.update(range(first, max(last, first + 1)))
    return tuple(line.strip() for line in removed), tuple(line.strip() for line in added), at


def _functions_in(tree: ast.Module) -> dict[str, ast.FunctionDef]:
    found = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{one.name}": one for one in node.body if isinstance(one, ast.FunctionDef)}
    return found


def _codes(code: CodeType) -> Iterator[tuple[str, CodeType]]:
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield one.co_name, one
            yield from _codes(one)


def changed_defaults(node: ast.FunctionDef, original: ast.FunctionDef) -> dict[str, object]:
    """Those that are not as they were."""
    after, before = _defaults_of(node.args), _defaults_of(original.args)
    return {name: ast.literal_eval(one) for name, one in after.items() if ast.dump(one) != ast.dump(before[name])}


def _defaults_of(arguments: ast.arguments) -> dict[str, ast.expr]:
    positional = [*arguments.posonlyargs, *arguments.args]
    found = {one.arg: value for one, value in zip(reversed(positional), reversed(arguments.defaults), strict=False)}
    pairs = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return found | {one.arg: value for one, value in pairs if value is not None}


def _executed(function: ast.FunctionDef, lines: set[int]) -> frozenset[int]:
    """The lines of the innermost statements around these: a test judges that reaches one of them."""
    statements = [one for one in ast.walk(function) if isinstance(one, ast.stmt) and one is not function]
    found: set[int] = set()
    for line in lines:
        around = [one for one in statements if one.lineno <= line <= (one.end_lineno or 0)]
        inner = min(around, key=lambda one: (one.end_lineno or 0) - one.lineno, default=function)
        found.update(range(inner.lineno, (inner.end_lineno or 0) + 1))
    return frozenset(found)
