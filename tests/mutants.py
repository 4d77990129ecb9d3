"""Mutation testing of ``bridge/core``: each small change of the code must make a test fail.

``python -m tests.mutants released history`` tries every mutant of these modules in a copy of the tree, ``out/mutants``;
``--again`` tries those once more that survived the last time. A mutant that may live, because it means the same or
does no harm, stands in ``mutants_accepted.txt`` with the reason.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.planted import ROOT, copy_tree

ACCEPTED = Path(__file__).with_name("mutants_accepted.txt")
OUT = ROOT / "out" / "mutants"
MUTMUT = Path(sys.executable).with_name("mutmut")
# what kills most in a second, where one module alone is slowed down by its mutants; conftest.py says in which order
JUDGES = """sim/judges.py test_broken_records.py test_core.py test_decisions.py test_promises.py test_seed.py test_window.py"""
PAGES = ("README.md", "config.example.yaml", "deploy", "legacy_demo", "mappings")  # which tests read
SLOW = "tests/test_window.py::test_any_batches_and_restarts_give_the_same"
CONFIG = """

[tool.mutmut]
source_paths = ["bridge"]
only_mutate = ["bridge/core/{module}.py"]
also_copy = {pages}
pytest_add_cli_args = ["--timeout=0", "-p", "no:cacheprovider", "--no-header", "--deselect={slow}"]
pytest_add_cli_args_test_selection = {judges}
timeout_multiplier = 60.0
track_dependencies = false
use_git_change_detection = false
"""
_STRICT = re.compile(r",\s*strict=\w+|, (?=\))")
LIVES, NO_TEST, NOT_RUN = 0, 33, None


class Mutant(NamedTuple):
    """One change: of which function, and the lines before and after it."""

    module: str
    function: str
    removed: tuple[str, ...]
    added: tuple[str, ...]

    def __str__(self) -> str:
        lines = [*(f"- {line}" for line in self.removed), *(f"+ {line}" for line in self.added)]
        return "\n".join((f"{self.module} {self.function}", *lines))


def function_of(name: str) -> str:
    """What mutmut calls ``bridge.core.released.xǁReleasedǁadd__mutmut_2`` is ``Released.add``."""
    mangled = re.sub(r"__mutmut_\d+$", "", name.rpartition(".")[2])
    return mangled.removeprefix("x_") if mangled.startswith("x_") else ".".join(mangled.split("ǁ")[1:])


def mutant_of(module: str, name: str, diff: str) -> Mutant:
    """From what ``mutmut show`` prints."""

    def lines(sign: str) -> Iterator[str]:
        for line in diff.splitlines():
            if line.startswith(sign) and not line.startswith(sign * 3):
                yield line[1:].strip()

    return Mutant(module, function_of(name), tuple(lines("-")), tuple(lines("+")))


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
    path = ROOT / "bridge" / "core" / f"{mutant.module}.py"
    if not path.exists():
        return ""
    text = path.read_text()
    body: Iterable[ast.stmt] = ast.parse(text).body
    found: ast.stmt | None = None
    for name in mutant.function.split("."):
        found = next((one for one in body if getattr(one, "name", None) == name), None)
        body = getattr(found, "body", [])
    return "" if found is None else ast.get_source_segment(text, found) or ""


class Trial:
    """The mutants of one module, in a copy of the tree."""

    def __init__(self, module: str) -> None:
        self.module = module
        self.directory = OUT / module
        self._meta = self.directory / "mutants" / "bridge" / "core" / f"{module}.py.meta"

    def run(self, *, again: bool) -> None:
        again = again and self._meta.exists()
        if not again:
            shutil.rmtree(self.directory, ignore_errors=True)
        names = [name for name, code in self.codes().items() if code in (LIVES, NO_TEST, NOT_RUN)] if again else []
        if again and not names:
            return
        self._mutmut_forgets_stale_tests()
        copy_tree(self.directory)
        for name in PAGES:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, self.directory / name, dirs_exist_ok=True)
            else:
                shutil.copy(ROOT / name, self.directory / name)
        judges = json.dumps([f"tests/{name}" for name in JUDGES.split()])
        config = (ROOT / "pyproject.toml").read_text() + CONFIG.format(
            module=self.module, judges=judges, slow=SLOW, pages=json.dumps(PAGES)
        )
        (self.directory / "pyproject.toml").write_text(config)
        command = [str(MUTMUT), "run", "--max-children", "1", *names]
        with (self.directory / "mutmut.log").open("w") as log:
            done = subprocess.run(command, cwd=self.directory, stdout=log, stderr=log, check=False)
        if done.returncode:
            raise SystemExit(f"mutmut ended with {done.returncode}, see {log.name}")

    def _mutmut_forgets_stale_tests(self) -> None:
        """Which test reaches which function is found out anew: tests were written since."""
        (self.directory / "mutants" / "mutmut-stats.json").unlink(missing_ok=True)

    def codes(self) -> dict[str, int | None]:
        """What the tests said of each mutant, as an exit code."""
        if not self._meta.exists():
            return {}
        codes: dict[str, int | None] = json.loads(self._meta.read_text())["exit_code_by_key"]
        return codes

    def survivors(self) -> list[Mutant]:
        return [self._shown(name) for name, code in self.codes().items() if code in (LIVES, NO_TEST)]

    def _shown(self, name: str) -> Mutant:
        command = [str(MUTMUT), "show", name]
        done = subprocess.run(command, cwd=self.directory, capture_output=True, text=True, check=True)
        return mutant_of(self.module, name, done.stdout)

    def report(self) -> int:
        """Prints what became of them; returns how many live that should not."""
        codes, survivors = self.codes(), self.survivors()
        alive = [one for one in survivors if one not in accepted() and not only_asserts(one)]
        for one in alive:
            print(f"{one}\n")
        not_run = sum(code is NOT_RUN for code in codes.values())
        killed = len(codes) - len(survivors) - not_run
        print(
            f"{self.module}: {len(codes)} mutants, {killed} killed, {len(survivors) - len(alive)} accepted, "
            f"{len(alive)} survived, {not_run} not run\n",
            flush=True,
        )
        return len(alive)


def main(arguments: list[str] | None = None) -> int:
    modules = sorted(path.stem for path in (ROOT / "bridge" / "core").glob("[!_]*.py"))
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", default=modules, help="of bridge/core; all of them if none is named")
    parser.add_argument("--again", action="store_true", help="only what survived, or was not run, the last time")
    parser.add_argument("--report", action="store_true", help="only what the last run found")
    options = parser.parse_args(arguments)
    alive = 0
    for module in options.modules:
        trial = Trial(module)
        if not options.report:
            trial.run(again=options.again)
        alive += trial.report()
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
