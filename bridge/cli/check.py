"""``bridge check``: config and mappings, all mistakes at once."""

from __future__ import annotations

import argparse
import sys

from bridge.cli.common import Mappings, Subparsers, command, mappings, mappings_arguments
from bridge.errors import Invalid
from bridge.mapping import examine
from bridge.model import Diagnostic


def add(subparsers: Subparsers) -> None:
    """The command's arguments."""
    parser = command(
        subparsers,
        "check",
        "check the config and all mappings; exit 78 with every mistake",
        "bridge check --config config.yaml",
    )
    mappings_arguments(parser)
    parser.add_argument("--strict", action="store_true", help="warnings are mistakes too")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print every mistake with its place, or what was found to be right."""
    found = mappings(arguments)
    problems = mistakes(found, arguments.source)
    if any(arguments.strict or not problem.warning for problem in problems):
        raise Invalid(problems)
    for problem in problems:
        print(problem, file=sys.stderr)
    warnings = f"{len(problems)} warning(s)" if problems else "no mistakes"
    print(f"{arguments.config or arguments.mappings}: {len(found.files)} mapping file(s), {warnings}")
    return 0


def mistakes(found: Mappings, source: str | None = None) -> list[Diagnostic]:
    """All diagnostics of all mapping files, of one source's if it is named; a source without a mapping is a mistake."""
    problems, sources = examine(found.files, found.catalog, source)
    problems += [
        Diagnostic("M000", f"no mapping file names source {name!r}", str(found.directory))
        for name in ([source] if source else found.catalogs)
        if name not in sources
    ]
    return problems
