"""``bridge doctor``: what of connector, topics, database and mappings would hurt, and what mends it."""

from __future__ import annotations

import argparse
import sys
from functools import partial

from bridge.cli.common import Subparsers, command, config_argument, mapping_set
from bridge.cli.output import in_colour
from bridge.config import load
from bridge.doctor import report
from bridge.doctor.finding import exit_code
from bridge.doctor.gather import gather
from bridge.doctor.rules import examine


def add(subparsers: Subparsers) -> None:
    """The command's arguments."""
    parser = command(
        subparsers,
        "doctor",
        "say what of connector, topics, database and mappings would hurt, and what mends it; changes nothing",
        "bridge doctor --config config.yaml",
    )
    config_argument(parser)
    parser.add_argument("--strict", action="store_true", help="advice fails too")
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help="json: one array of findings (default: text)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """0: nothing but advice; 1: something hurts or could not be read; 70: something stops or loses."""
    config = load(arguments.config)
    findings = []
    for name, source in config.sources.items():
        mappings = partial(mapping_set, config.mappings, name, source.catalog, config.tokenise)
        findings += examine(gather(config, source, mappings))
    if arguments.format == "json":
        print(report.json(findings), end="")
    else:
        print(report.text(findings, tuple(config.sources), colour=in_colour(sys.stdout)), end="")
    return exit_code(findings, strict=arguments.strict)
