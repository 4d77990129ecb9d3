"""Mutation testing of ``bridge/core``: each small change of the code must make a test fail.

``python -m tests.mutants released history`` tries every mutant of these modules; ``--again`` tries those once more that
lived the last time. How they are judged stands in ``mutants_judged.py``. A mutant that may live, because it means the
same or does no harm, stands in ``mutants_accepted.txt`` with the reason.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import msgspec

from tests.mutants_judged import Verdicts, judge
from tests.mutants_made import Mutant, changes_of, path_of
from tests.planted import ROOT

ACCEPTED = Path(__file__).with_name("mutants_accepted.txt")
OUT = ROOT / "out" / "mutants"
_STRICT = re.compile(r",\s*strict=\w+|, (?=\))")


@cache
def accepted() -> dict[Mutant, str]:
    """The mutants that may live, with the reasons."""
    found: dict[Mutant, str] = {}
    for block in re.split(r"\n\s*\n", ACCEPTED.read_text()):
        lines = [line for line in block.splitlines() if not line.startswith("#")]
        if not lines:
            continue
        module, function = lines[0].split()
        removed = tuple(line[2:] for line in lines[1:] if line.startswith("- "))
        added = tuple(line[2:] for line in lines[1:] if line.startswith("+ "))
        reason = " ".join(line.strip() for line in lines[1:] if line.startswith("  "))
        found[Mutant(module, function, removed, added)] = reason
    return found


def only_asserts(mutant: Mutant) -> bool:
    """``zip(…, strict=True)`` says that lengths are the same, and nothing depends on its saying so."""
    return [_STRICT.sub("", line) for line in mutant.removed] == [_STRICT.sub("", line) for line in mutant.added]


def source_of(mutant: Mutant) -> str:
    """The function that it changes, as it stands; nothing where it is gone."""
    if not path_of(mutant.module).exists():
        return ""
    text = path_of(mutant.module).read_text()
    body: Iterable[ast.stmt] = ast.parse(text).body
    found: ast.stmt | None = None
    for name in mutant.function.split("."):
        found = next((one for one in body if getattr(one, "name", None) == name), None)
        body = getattr(found, "body", [])
    return "" if found is None else ast.get_source_segment(text, found) or ""


def known(module: str) -> Verdicts:
    """What the last run found."""
    path = OUT / f"{module}.json"
    return msgspec.json.decode(path.read_bytes(), type=Verdicts) if path.exists() else []


def tried(module: str, *, again: bool) -> None:
    """Judges the mutants of a module, and keeps what became of them."""


def try_mutants(modules: list[str], *, again: bool) -> None:
    """Judges them and keeps what became of them."""
    killed = {module: [one for one in known(module) if again and one[1]] for module in modules}
    changes = {module: changes_of(module) for module in modules}
    for module, found in changes.items():
        killed[module] = [one for one in killed[module] if one[0] in {change.mutant for change in found}]
        before = {mutant for mutant, _ in killed[module]}
        changes[module] = [one for one in found if one.mutant not in before]

    def keep(module: str, verdicts: Verdicts) -> None:
        (OUT / f"{module}.json").write_bytes(msgspec.json.encode(killed[module] + verdicts))

    judge(changes, keep, thorough=again)


def report(module: str) -> int:
    """Prints what became of them; returns how many live that should not."""
    verdicts = known(module)
    survivors = [mutant for mutant, killer in verdicts if not killer]
    alive = [one for one in survivors if one not in accepted() and not only_asserts(one)]
    for one in alive:
        print(f"{one}\n")
    print(
        f"{module}: {len(verdicts)} mutants, {len(verdicts) - len(survivors)} killed, "
        f"{len(survivors) - len(alive)} accepted, {len(alive)} survived\n",
        flush=True,
    )
    return len(alive)


def main(arguments: list[str] | None = None) -> int:
    modules = sorted(path.stem for path in path_of("*").parent.glob("[!_]*.py"))
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", default=modules, help="of bridge/core; all of them if none is named")
    parser.add_argument("--again", action="store_true", help="only what lived the last time")
    parser.add_argument("--report", action="store_true", help="only what the last run found")
    options = parser.parse_args(arguments)
    if not options.report:
        OUT.mkdir(parents=True, exist_ok=True)
        try_mutants(options.modules, again=options.again)
    return 1 if sum([report(module) for module in options.modules]) else 0


if __name__ == "__main__":
    sys.exit(main())
