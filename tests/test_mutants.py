"""What stands in the file of accepted mutants is about code that is there."""

from __future__ import annotations

import ast
import os

from bridge.core.history import own
from tests.mutants import accepted, only_asserts, source_of
from tests.mutants_made import Mutant, changed_defaults, changes_of, path_of


def test_accepted_mutants_name_existing_code_and_a_reason() -> None:
    for mutant, reason in accepted().items():
        lines = [line.strip() for line in source_of(mutant).splitlines()]
        assert reason, f"no reason is given for:\n{mutant}"
        assert mutant.removed, f"what is replaced must be said:\n{mutant}"
        missing = [line for line in mutant.removed if line not in lines]
        assert not missing, f"the code has changed, so that this must be judged anew:\n{mutant}"


def test_a_mutant_is_another_body_of_a_function() -> None:
    changes = {one.mutant: one for one in changes_of("released")}
    shown = Mutant("released", "Released.add", ("self._positions.append(position)",), ("self._positions.append(None)",))
    assert shown in changes
    assert shown.removed[0] in source_of(shown)
    assert not source_of(Mutant("released", "Released.gone", (), ()))
    lines = path_of("released").read_text().splitlines()
    assert {shown.removed[0]} == {lines[line - 1].strip() for line in changes[shown].lines}


def test_a_mutant_lives_in_its_own_process_alone() -> None:
    """As the judges run it: a test that knows what the function does fails."""
    change = next(one for one in changes_of("history") if one.mutant.function == "own" and "|" in one.mutant.added[0])
    child = os.fork()
    if not child:
        change.apply()
        os._exit(int(own(5) == 5))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert own(5) == 5


def test_defaults_are_changed_too() -> None:
    before, after = ast.parse("def f(a, b=1, *, c=2): ..."), ast.parse("def f(a, b=2, *, c=2): ...")
    one, other = before.body[0], after.body[0]
    assert isinstance(one, ast.FunctionDef)
    assert isinstance(other, ast.FunctionDef)
    assert changed_defaults(other, one) == {"b": 2}


def test_what_only_asserts_may_be_left_out() -> None:
    before = ("for a, b in zip(one, other, strict=True):",)
    for after in ("for a, b in zip(one, other, ):", "for a, b in zip(one, other, strict=None):"):
        assert only_asserts(Mutant("released", "f", before, (after,)))
    assert not only_asserts(Mutant("released", "f", before, ("for a, b in zip(one, strict=True):",)))
