"""``bridge init``: drafts mappings for a schema."""

from __future__ import annotations

import argparse
from pathlib import Path

from bridge.cli.common import Subparsers, command, modes_argument
from bridge.model import Modes
from bridge.scaffold.database import ROWS
from bridge.scaffold.task import Task, of_config, of_url, work


def add(subparsers: Subparsers) -> None:
    """The command's arguments."""
    parser = command(
        subparsers,
        "init",
        "draft mappings for a schema: aggregates, names, codes, personal data, events, a first test",
        "bridge init --catalog legacy.catalog.yaml --source legacy --capture captures/*.jsonl.gz --zone Europe/Paris",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--config", metavar="FILE", type=Path, help="the config: catalog: and database: of the source")
    where.add_argument(
        "--url",
        help="a database to take a sample from, without a config: postgresql://USER@HOST:PORT/DATABASE, mysql://… or"
        " mariadb://…; its password is read from BRIDGE_DATABASE_PASSWORD",
    )
    parser.add_argument("--catalog", metavar="FILE", type=Path, help="the source's catalog (default: the config's)")
    parser.add_argument("--source", metavar="NAME", required=True, help="the source that the mappings name")
    parser.add_argument(
        "--output", metavar="DIR", type=Path, help="where the files go (default: the config's, or mappings)"
    )
    parser.add_argument(
        "--table", metavar="TABLE", nargs="+", default=[], help="draft only the aggregates with these root tables"
    )
    parser.add_argument(
        "--capture", metavar="FILE", nargs="+", default=[], help="captured records: a sample, and the first tests"
    )
    parser.add_argument(
        "--rows", metavar="N", type=int, default=ROWS, help=f"of each end of a table of the database (default: {ROWS})"
    )
    parser.add_argument("--zone", metavar="ZONE", help="the time zone of times without one, for example Europe/Paris")
    modes_argument(parser)
    parser.add_argument("--force", action="store_true", help="overwrite files that are there already")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the drafts; print their names, and what is left to do."""
    task = of_url(arguments.url) if arguments.config is None else of_config(arguments.config, arguments.source)
    done = work(
        Task(
            arguments.source,
            arguments.catalog or task.catalog,
            arguments.output or task.output,
            task.database,
            tuple(arguments.capture),
            (task.modes or Modes()).told(dict(arguments.mode)),
            tuple(arguments.table),
            arguments.zone,
            arguments.rows,
            force=arguments.force,
        )
    )
    for path in done.paths:
        print(path)
    for note in done.notes:
        print(note)
    print("\nnext:")
    for number, step in enumerate(done.steps, 1):
        print(f"{number}. {step}")
    return 0
