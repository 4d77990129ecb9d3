"""``bridge run``: the daemon."""

from __future__ import annotations

import argparse

from bridge.cli.common import Subparsers, command, config_argument, mapping_set
from bridge.config import load, unknown_tables
from bridge.errors import ConfigInvalid
from bridge.runtime.daemon import Daemon


def add(subparsers: Subparsers) -> None:
    """The command's arguments."""
    parser = command(
        subparsers,
        "run",
        "read change events, publish canonical events, exactly once, until SIGTERM",
        "bridge run --config config.yaml",
    )
    config_argument(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check everything first, then work until told to stop."""
    config = load(arguments.config)
    mappings = {
        name: mapping_set(config.mappings, name, source.catalog, config.tokenise)
        for name, source in config.sources.items()
    }
    unknown = [
        problem
        for name, source in config.sources.items()
        for problem in unknown_tables(arguments.config, name, source.tables, mappings[name].layouts)
    ]
    if unknown:
        raise ConfigInvalid(unknown)
    return Daemon(config, mappings).run()
