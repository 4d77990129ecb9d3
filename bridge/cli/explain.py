"""``bridge explain``: why an event came, or did not."""

from __future__ import annotations

import argparse
import os
import shutil
import sys

import msgspec

from bridge.cli.common import Subparsers, command, mappings, mappings_arguments, modes_argument
from bridge.config import load as load_config
from bridge.explain.explanation import Explanation, from_captures, from_kafka
from bridge.explain.text import render
from bridge.explain.wanted import Wanted
from bridge.mapping.tokens import plain

WIDTH = 100  # where no terminal says another


def add(subparsers: Subparsers) -> None:
    """The command's arguments."""
    parser = command(
        subparsers,
        "explain",
        "why an event came or did not: row changes, net changes, models, rules, and what they saw",
        "bridge explain --config config.yaml --source legacy --event 25f0ad2e-066f-5e98-a720-d24bdecabbda",
    )
    parser.add_argument(
        "captures",
        nargs="*",
        metavar="CAPTURE",
        help="files of captured records; without them Kafka is read (--config)",
    )
    mappings_arguments(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--event", metavar="ID", help="an event's ce_id")
    what.add_argument(
        "--transaction",
        metavar="ID",
        help="a source transaction: PostgreSQL's xid or xid:lsn, a GTID, its commit position, or the offset of its END",
    )
    parser.add_argument("--format", choices=("text", "json"), default="text", help="for people (default) or for tools")
    parser.add_argument(
        "--show-data", action="store_true", help="do not mask personal data (pii in catalog and mapping)"
    )
    modes_argument(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """The account to standard output, progress to standard error."""
    found = mappings(arguments)
    wanted = Wanted(arguments.event or "", arguments.transaction or "")
    config = None if arguments.config is None else load_config(arguments.config)
    source = found.only_source(arguments.source)
    tokenise = (config.tokenise if config is not None else None) or plain
    explanation = Explanation(
        found.files, source, found.catalog(source), wanted, tokenise, show_data=arguments.show_data
    )
    if arguments.captures:
        account = from_captures(explanation, arguments.captures, config, dict(arguments.mode))
    else:
        account = from_kafka(explanation, config, _tell)
    if arguments.format == "json":
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(account), indent=2) + b"\n")
        return 0
    width = shutil.get_terminal_size((WIDTH, 24)).columns
    sys.stdout.write(render(account, width, colour=_wants_colour()))
    return 0


def _tell(text: str) -> None:
    print(text, file=sys.stderr)


def _wants_colour() -> bool:
    """See no-color.org."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
