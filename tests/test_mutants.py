"""What stands in the file of accepted mutants is about code that is there."""

from __future__ import annotations

from tests.mutants import Mutant, accepted, function_of, mutant_of, only_asserts, source_of

SHOWN = """\
# bridge.core.released.xǁReleasedǁadd__mutmut_2: survived
--- bridge/core/released.py
+++ bridge/core/released.py
@@ -1,4 +1,4 @@
 def add(self, position: int) -> None:
-        self._positions.append(position)
+        self._positions.append(None)
"""


def test_accepted_mutants_name_existing_code_and_a_reason() -> None:
    for mutant, reason in accepted().items():
        lines = [line.strip() for line in source_of(mutant).splitlines()]
        assert reason, f"no reason is given for:\n{mutant}"
        assert mutant.removed, f"what is replaced must be said:\n{mutant}"
        missing = [line for line in mutant.removed if line not in lines]
        assert not missing, f"the code has changed, so that this must be judged anew:\n{mutant}"


def test_a_mutant_is_known_by_its_function_and_lines() -> None:
    name = "bridge.core.released.xǁReleasedǁadd__mutmut_2"
    mutant = mutant_of("released", name, SHOWN)
    assert mutant == Mutant(
        "released", "Released.add", ("self._positions.append(position)",), ("self._positions.append(None)",)
    )
    assert mutant.removed[0] in source_of(mutant)
    assert function_of("bridge.core.history.x_own__mutmut_1") == "own"
    assert not source_of(Mutant("released", "Released.gone", (), ()))


def test_what_only_asserts_may_be_left_out() -> None:
    before = ("for a, b in zip(one, other, strict=True):",)
    for after in ("for a, b in zip(one, other, ):", "for a, b in zip(one, other, strict=None):"):
        assert only_asserts(Mutant("released", "f", before, (after,)))
    assert not only_asserts(Mutant("released", "f", before, ("for a, b in zip(one, strict=True):",)))
