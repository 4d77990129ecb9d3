"""``python -m tests.fuzz --inputs N [--target T] [--seed S]``: run the targets, one process each, and say what was tried.

``python -m tests.fuzz --target T --libfuzzer …`` is such a process. What libFuzzer finds worth keeping goes to ``out/fuzz``;
``tests/fuzz/corpus`` holds a small part of it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NAMES = ("yaml", "mapping", "expression", "decode", "formats")
SECONDS_PER_INPUT = 1.0  # of processor time: a busy machine makes no input slow
SECONDS_STUCK = 60  # by the clock, for what never comes back


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000, help="of each target (default: 10,000)")
    parser.add_argument("--target", choices=NAMES, help="only this one")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a directory for inputs that reach something new")
    parser.add_argument("--libfuzzer", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.libfuzzer is not None:
        fuzz(given.target, given.libfuzzer)
    failed = 0
    for name in [given.target] if given.target else NAMES:
        failed += not run(name, given.inputs, given.seed, given.keep)
    return 1 if failed else 0


def run(name: str, inputs: int, seed: int, keep: Path | None) -> bool:
    """One target in a process of its own. Prints what was done."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        new = (keep or Path(scratch)) / name
        new.mkdir(parents=True, exist_ok=True)
        options = [
            f"-runs={inputs}",
            f"-seed={seed}",
            f"-timeout={SECONDS_STUCK}",
            "-max_len=8192",
            "-rss_limit_mb=2048",
        ]
        options += [
            f"-dict={HERE / 'words.dict'}",
            f"-artifact_prefix={scratch}/",
            str(new),
            str(HERE / "corpus" / name),
        ]
        command = [sys.executable, "-m", "tests.fuzz", "--target", name, "--libfuzzer", *options]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        found = [path.read_bytes() for path in Path(scratch).iterdir() if path.is_file()]
    seconds = round(time.monotonic() - start, 1)
    print(
        json.dumps({"target": name, "inputs": inputs, "seconds": seconds, "passed": done.returncode == 0}), flush=True
    )
    if done.returncode != 0:
        print(done.stderr[-4000:])
        for one in found:
            print(repr(one[:2000]))
    return done.returncode == 0


def fuzz(name: str, options: list[str]) -> None:
    """Does not return."""
    import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore] # noqa: PLC0415 - instruments what is imported after it

    with atheris.instrument_imports(include=["bridge"]):
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415

    target = TARGETS[name]

    def timed(data: bytes) -> None:
        start = time.process_time()
        target(data)
        spent = time.process_time() - start
        assert spent < SECONDS_PER_INPUT, f"{spent:.1f} s of processor time for one input"

    atheris.Setup([sys.argv[0], *options], timed)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
