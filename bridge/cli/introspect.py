"""``bridge introspect``: the source catalog, from a live database or a capture."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from bridge.cli.common import Subparsers, command, mapping_files
from bridge.introspect.diff import Difference
from bridge.introspect.task import of_config, of_url, renew
from bridge.mapping.catalog import write


def add(subparsers: Subparsers) -> None:
    """The command's arguments."""
    parser = command(
        subparsers,
        "introspect",
        "read tables, columns, types and keys of a source's database into its catalog file",
        "bridge introspect --url postgresql://reader@db.example/shop --output catalog.yaml",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--config", metavar="FILE", type=Path, help="the config: database: and catalog: of the source")
    where.add_argument(
        "--url",
        help="the database, without a config: postgresql://USER@HOST:PORT/DATABASE, mysql://… or mariadb://…;"
        " its password is read from BRIDGE_DATABASE_PASSWORD",
    )
    parser.add_argument("--source", metavar="NAME", help="which source of the config, where there are several")
    parser.add_argument(
        "--capture",
        metavar="FILE",
        nargs="+",
        default=[],
        help="infer from captured records with inline schemas instead",
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        type=Path,
        help="the catalog file (default: the config's; without a config: print it)",
    )
    parser.add_argument("--schema", metavar="NAME", nargs="+", help="only these schemas (MySQL: databases)")
    parser.add_argument("--table", metavar="GLOB", nargs="+", help="only these tables: 'public.t_*'")
    parser.add_argument(
        "--diff", action="store_true", help="write nothing; show what changed since the file, and which mappings break"
    )
    parser.add_argument(
        "--mappings", metavar="DIR", type=Path, help="with --diff: mapping files (default: the config's)"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text", help="of --diff (default: text)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the file, or with --diff say what would change: 0 nothing, 1 something, 78 a mapping breaks."""
    task = of_url(arguments.url) if arguments.config is None else of_config(arguments.config, arguments.source)
    task = task._replace(
        schemas=tuple(arguments.schema or task.schemas),
        tables=tuple(arguments.table or task.tables),
        file=arguments.output or task.file,
        mappings=arguments.mappings or task.mappings,
        source=arguments.source or task.source,
    )
    renewal = renew(task, arguments.capture)
    for table in renewal.keyless:
        print(f"{table}: no primary key; the file's key stays: does message.key.columns say the same?", file=sys.stderr)
    if arguments.diff:
        files = [] if task.mappings is None else mapping_files(task.mappings)
        return _show(renewal.compare(files, task.source), arguments.format)
    for change in renewal.write():
        print(change)
    if task.file is None:
        print(write(renewal.new), end="")
    tables = renewal.new.tables.values()
    total = f"{len(tables)} tables, {sum(len(table.columns) for table in tables)} columns"
    print(f"{task.file or 'catalog'}: {total}", file=sys.stderr)
    return 0


def _show(found: Difference, style: str) -> int:
    if style == "json":
        print(msgspec.json.format(msgspec.json.encode(found)).decode())
        return found.exit_code
    for line in (*found.changes, *found.breaks, *found.uses):
        print(line)
    print(f"{len(found.changes)} change(s), {len(found.breaks)} new mistake(s) in mappings", file=sys.stderr)
    return found.exit_code
