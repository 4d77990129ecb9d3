"""``bridge init``: drafts mappings for a schema."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bridge.cli.common import Subparsers, catalog_file, command
from bridge.mapping import diagnose
from bridge.runtime.transform import read_captures
from bridge.scaffold.files import next_steps, save
from bridge.scaffold.sample import from_captures
from bridge.scaffold.scaffold import scaffold


def add(subparsers: Subparsers) -> None:
    """The command's arguments."""
    parser = command(
        subparsers,
        "init",
        "draft mappings for a schema: aggregates, names, codes, personal data, events; a person reads them next",
        "bridge init --catalog legacy.catalog.yaml --source legacy --capture captures/*.jsonl.gz --zone Europe/Paris",
    )
    parser.add_argument("--catalog", metavar="FILE", type=Path, required=True, help="the source's catalog")
    parser.add_argument("--source", metavar="NAME", required=True, help="the source that the mappings name")
    parser.add_argument(
        "--output", metavar="DIR", type=Path, default=Path("mappings"), help="where the files go (default: mappings)"
    )
    parser.add_argument(
        "--table", metavar="TABLE", nargs="+", default=[], help="draft only the aggregates with these root tables"
    )
    parser.add_argument(
        "--capture", metavar="FILE", nargs="+", default=[], help="captured records, as a sample of what columns hold"
    )
    parser.add_argument("--zone", metavar="ZONE", help="the time zone of times without one, for example Europe/Paris")
    parser.add_argument(
        "--decimal-handling-mode",
        choices=("precise", "string", "double"),
        default="precise",
        help="the connector's decimal.handling.mode, for --capture (default: precise)",
    )
    parser.add_argument("--force", action="store_true", help="overwrite files that are there already")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the drafts; print their names, and what is left to do."""
    catalog = catalog_file(arguments.catalog)
    sample = from_captures(read_captures(arguments.capture), catalog, arguments.decimal_handling_mode)
    drafted = scaffold(catalog, arguments.source, sample, roots=arguments.table, zone=arguments.zone)
    written = save(drafted, arguments.output, (arguments.catalog, catalog), force=arguments.force)
    for path in written.paths:
        print(path)
    for problem in diagnose(list(drafted.files.items()), drafted.catalog):
        print(problem, file=sys.stderr)
    place = {"output": arguments.output, "catalog": arguments.catalog}
    print("\nnext:")
    for number, step in enumerate(next_steps(drafted, written, place, arguments.source), 1):
        print(f"{number}. {step}")
    return 0
