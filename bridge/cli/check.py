"""``bridge check``: config and mappings, all mistakes at once."""

from __future__ import annotations

import argparse
import gc
import sys
from pathlib import Path

from bridge.cli.common import Mappings, Subparsers, command, mappings, mappings_arguments
from bridge.cli.output import FORMATS, print_problems
from bridge.codes import explain
from bridge.errors import ConfigInvalid, Invalid, MappingInvalid
from bridge.mapping import examine, load
from bridge.model import Diagnostic


def add(subparsers: Subparsers) -> None:
    """The command's arguments."""
    parser = command(
        subparsers,
        "check",
        "check the config and all mappings; exit 78 with every mistake",
        "bridge check --config config.yaml",
    )
    where = mappings_arguments(parser)
    where.add_argument("--explain", metavar="CODE", help="what a code means, with an example, and how to mend it")
    parser.add_argument("--strict", action="store_true", help="warnings are mistakes too")
    parser.add_argument(
        "--format",
        choices=tuple(FORMATS),
        default="text",
        help="json: one array on standard output; github: annotations of a pull request (default: text)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print every mistake with its place, or what was found to be right."""
    if arguments.explain is not None:
        return _explain(arguments.explain)
    gc.disable()  # many small things for a short time: looking for garbage took a third of it
    try:
        found = mappings(arguments)
        problems = mistakes(found, arguments.source)
        if any(arguments.strict or not problem.warning for problem in problems):
            raise MappingInvalid(problems)
        if unusual := unknown(found, arguments.config):
            raise ConfigInvalid(unusual)
    except Invalid as error:
        if arguments.format == "text":
            raise
        print_problems(error.diagnostics, arguments.format)
        return error.exit_code
    finally:
        gc.enable()
    print_problems(problems, arguments.format)
    if arguments.format == "text":
        warnings = f"{len(problems)} warning(s)" if problems else "no mistakes"
        print(f"{arguments.config or arguments.mappings}: {len(found.files)} mapping file(s), {warnings}")
    return 0


def _explain(code: str) -> int:
    try:
        print(explain(code), end="")
    except LookupError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def unknown(found: Mappings, config: Path) -> list[Diagnostic]:
    """Tables that the config speaks of and no mapping reads; the mappings are sound."""
    if not found.unusual:
        return []
    from bridge.config import unknown_tables  # noqa: PLC0415 - brings Kafka's client

    return [
        problem
        for name, tables in found.unusual.items()
        for problem in unknown_tables(config, name, tables, load(found.files, name, found.catalog(name)).layouts)
    ]


def mistakes(found: Mappings, source: str | None = None) -> list[Diagnostic]:
    """All diagnostics of all mapping files, of one source's if it is named; a source without a mapping is a mistake."""
    problems, sources = examine(found.files, found.catalog, source, found.connector)
    problems += [
        Diagnostic("M000", f"no mapping file names source {name!r}", str(found.directory))
        for name in ([source] if source else found.catalogs)
        if name not in sources
    ]
    problems += [_no_heartbeat(name) for name in sorted(found.without_heartbeat) if sources.get(name)]
    return problems


def _no_heartbeat(source: str) -> Diagnostic:
    return Diagnostic(
        "C020",
        f"mappings of source {source!r} have windows, and its config names no heartbeat_table",
        hint="windows close when something commits: in a quiet database only a heartbeat (heartbeat.action.query) does",
        warning=True,
    )
