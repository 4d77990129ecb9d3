"""``bridge test``: the tests in mapping files, and what they do not reach."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bridge.cli.common import Subparsers, command, complain, mappings, mappings_arguments
from bridge.errors import BridgeError, MappingInvalid
from bridge.mapping.draft import Draft
from bridge.model import Diagnostic
from bridge.trial.coverage import Coverage, coverage
from bridge.trial.recorder import Wish, record
from bridge.trial.report import FORMATS, Paint, as_json, as_junit, percent, text
from bridge.trial.subject import subjects
from bridge.trial.verdict import Dice, Verdict, try_case
from bridge.trial.watching import Watched

_CLEAR = "\x1b[2J\x1b[H"


def add(subparsers: Subparsers) -> None:
    """The command's arguments."""
    parser = command(
        subparsers,
        "test",
        "run the tests of mapping files, whatever the order in which their records arrive; exit 1 if one fails",
        "bridge test --mappings mappings/demo -k cancel",
    )
    mappings_arguments(parser)
    parser.add_argument("files", nargs="*", metavar="FILE", type=Path, help="only these mapping files")
    parser.add_argument("-k", metavar="TEXT", dest="only", help="only tests whose name contains this")
    parser.add_argument("--seeds", metavar="N", type=int, default=200, help="arrivals of a longer test (default: 200)")
    parser.add_argument("--seed", metavar="S", type=int, default=0, help="the first of them (default: 0)")
    parser.add_argument("--fail-under", metavar="PERCENT", type=int, help="exit 1 if tests reach less than this")
    parser.add_argument("--update-golden", action="store_true", help="write golden files from what comes out now")
    parser.add_argument("--watch", action="store_true", help="run again when a file changes, until Ctrl-C")
    parser.add_argument("--format", choices=FORMATS, default="text", help="of the report (default: text)")
    recording = parser.add_argument_group("writing a test from captured records, personal data masked")
    recording.add_argument(
        "--record", metavar="CAPTURE", nargs="+", help="files of captured records, as of `transform`"
    )
    recording.add_argument("--output", metavar="FILE", type=Path, help="where to; the mapping file gets one test more")
    recording.add_argument("--transactions", metavar="N", type=int, default=5, help="at most so many (default: 5)")
    recording.add_argument("--aggregate", metavar="ID", help="those that touch this aggregate (its ce_subject)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Once, or again and again; or write one."""
    if arguments.record is not None:
        return write(arguments)
    if not arguments.watch:
        return once(arguments)
    try:
        while True:
            watched = Watched(_roots(arguments))
            print(_CLEAR, end="")
            try:
                once(arguments)
            except BridgeError as error:
                complain(error)
            sys.stdout.flush()
            watched.wait()
    except KeyboardInterrupt:
        return 0


def once(arguments: argparse.Namespace) -> int:
    """Run the tests and print the report."""
    found = mappings(arguments)
    chosen = subjects(found.files, found.catalog, _chosen(found.files, arguments))
    dice = Dice(arguments.seeds, arguments.seed)
    verdicts = [
        try_case(subject, case, dice, update_golden=arguments.update_golden)
        for subject in chosen
        for case in subject.draft.tests
        if arguments.only is None or arguments.only in case.name
    ]
    covered = [coverage(subject.draft.file, subject.probes) for subject in chosen]
    _print(verdicts, covered, arguments.format)
    if arguments.only is not None and not verdicts:
        print(f"no test has a name that contains {arguments.only!r}", file=sys.stderr)
        return 2
    low = arguments.fail_under is not None and percent(covered) < arguments.fail_under
    if low:
        print(f"the tests reach {percent(covered)}%, less than {arguments.fail_under}%", file=sys.stderr)
    return 1 if low or not all(verdict.passed for verdict in verdicts) else 0


def write(arguments: argparse.Namespace) -> int:
    """Write a test to standard output, to a file of its own, or into the mapping file."""
    found = mappings(arguments)
    chosen = subjects(found.files, found.catalog, _chosen(found.files, arguments))
    if len(chosen) != 1:
        print(f"--record writes a test for one mapping file, and {len(chosen)} are chosen: name it", file=sys.stderr)
        return 2
    wish = Wish(arguments.record, arguments.transactions, arguments.aggregate)
    recorded = record(chosen[0], found.files, found.catalog, wish)
    for note in recorded.notes:
        print(note, file=sys.stderr)
    if arguments.output is None:
        print("\n".join(recorded.lines))
    elif arguments.output.resolve() == Path(chosen[0].draft.file).resolve():
        arguments.output.write_text(recorded.file, encoding="utf-8")
    else:
        arguments.output.write_text("\n".join(["tests:", *(f"  {line}" for line in recorded.lines), ""]), "utf-8")
    return 0


def _chosen(files: Sequence[tuple[str, str]], arguments: argparse.Namespace) -> Callable[[Draft], bool]:
    """Which mapping files: those that the command line names, of the source that it names."""
    named = {path.resolve() for path in arguments.files}
    unknown = named - {Path(file).resolve() for file, _ in files}
    if unknown:
        raise MappingInvalid(
            [Diagnostic("M000", "this is no mapping file of the directory", str(path)) for path in sorted(unknown)]
        )

    def chosen(draft: Draft) -> bool:
        return (not named or Path(draft.file).resolve() in named) and arguments.source in (None, draft.source)

    return chosen


def _print(verdicts: Sequence[Verdict], covered: Sequence[Coverage], kind: str) -> None:
    if kind == "text":
        paint = Paint(colours=sys.stdout.isatty() and "NO_COLOR" not in os.environ)
        for line in text(verdicts, covered, paint):
            print(line)
        return
    made = as_json(verdicts, covered) if kind == "json" else as_junit(verdicts, covered)
    print(made.decode())


def _roots(arguments: argparse.Namespace) -> list[Path]:
    """What a change of runs the tests again: with a config, also the files that it names."""
    given = [arguments.mappings, arguments.catalog, arguments.config]
    roots = [path for path in given if path is not None]
    if arguments.config is not None:
        try:
            found = mappings(arguments)
            roots.append(found.directory)
        except BridgeError:
            roots.append(arguments.config.parent)
    return roots
