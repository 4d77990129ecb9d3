"""Planted bugs: each patch under tests/planted_bugs is applied to a copy of the tree, and the simulator must catch it.

``python -m tests.planted`` tries them all, ``python -m tests.planted seed`` those with this in their name. A patch that
no longer applies is a failure too: make it anew, its first line says what the bug is.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PATCHES = Path(__file__).resolve().parent / "planted_bugs"
SEEDS = 1000


def copy_tree(target: Path) -> None:
    """What the simulator needs of the tree, as a repository of its own: inside another one git would skip the files."""
    ignore = shutil.ignore_patterns("__pycache__", "golden", "integration")
    for name in ("bridge", "tests"):
        shutil.copytree(ROOT / name, target / name, ignore=ignore, dirs_exist_ok=True)
    subprocess.run(["git", "init", "--quiet"], cwd=target, check=True)


def apply(patch: Path, target: Path, *, check: bool = False) -> str:
    """Apply one patch, or only try; what git says if it does not fit."""
    command = ["git", "apply", "-C1", *(["--check"] if check else []), str(patch)]
    done = subprocess.run(command, cwd=target, capture_output=True, text=True, check=False)
    return done.stderr


def caught(target: Path, seeds: int = SEEDS) -> tuple[bool, str]:
    """Whether a seed fails, and what the first one that did says."""
    command = [sys.executable, "-m", "tests.simulate", "--seed", "1", "--runs", str(seeds), "--until-failure"]
    done = subprocess.run(command, cwd=target, capture_output=True, text=True, check=False)
    found = re.search(r"^seed (\d+) FAILED", done.stderr, re.MULTILINE)
    if found is None:
        return False, done.stderr.strip()[-500:] or "no seed fails"
    reasons = [line for line in done.stderr.splitlines() if re.match(r"[\w.]+: ", line)]
    return True, f"seed {found.group(1)}: {reasons[0][:120] if reasons else ''}"


def check(patch: Path) -> tuple[bool, str]:
    """Plant one bug."""
    with tempfile.TemporaryDirectory(prefix="planted-") as directory:
        target = Path(directory)
        copy_tree(target)
        problem = apply(patch, target)
        if problem:
            return False, f"the patch does not apply: {problem.strip()}"
        return caught(target)


def broken() -> str:
    """What is wrong with the tree as it is: then nothing is caught that was planted."""
    with tempfile.TemporaryDirectory(prefix="planted-") as directory:
        copy_tree(Path(directory))
        failed, text = caught(Path(directory), 200)
    return text if failed or text != "no seed fails" else ""


def main(names: list[str]) -> int:
    patches = [p for p in sorted(PATCHES.glob("*.patch")) if not names or any(name in p.name for name in names)]
    missed = 0
    if wrong := broken():
        print(f"the tree fails without any planted bug: {wrong}")
        return 1
    for patch in patches:
        started = time.monotonic()
        good, text = check(patch)
        missed += not good
        print(
            f"{'caught' if good else 'MISSED'}  {patch.stem}  ({time.monotonic() - started:.0f} s)  {text}", flush=True
        )
    print(f"{len(patches) - missed} of {len(patches)} planted bugs caught")
    return 1 if missed or not patches else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
