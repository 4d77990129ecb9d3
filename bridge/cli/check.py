"""``bridge check``: config and mappings, all mistakes at once."""

from __future__ import annotations

import argparse

from bridge.cli.common import Subparsers, command, config_argument, mapping_files, mapping_set
from bridge.config import Config, load
from bridge.errors import Invalid
from bridge.mapping import diagnose
from bridge.model import Diagnostic


def add(subparsers: Subparsers) -> None:
    """The command's arguments."""
    parser = command(
        subparsers,
        "check",
        "check the config and all mappings; exit 78 with every mistake",
        "bridge check --config config.yaml",
    )
    config_argument(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print every mistake with its place, or what was found to be right."""
    config = load(arguments.config)
    problems = mistakes(config)
    if problems:
        raise Invalid(problems)
    files = len(mapping_files(config.mappings))
    print(f"{arguments.config}: {len(config.sources)} source(s), {files} mapping file(s), no mistakes")
    used = sum(len(mapping_set(config.mappings, name, one.catalog).mappings) for name, one in config.sources.items())
    if used != files:
        print(f"{files - used} mapping file(s) are of sources that this config does not have")
    return 0


def mistakes(config: Config) -> list[Diagnostic]:
    """All diagnostics of all mapping files, each once; a source of the config without a mapping is a mistake."""
    files = mapping_files(config.mappings)
    found = list(diagnose(files))
    if not found:
        for name, source in config.sources.items():
            try:
                mapping_set(config.mappings, name, source.catalog)
            except Invalid as error:
                found.extend(error.diagnostics)
    return list(dict.fromkeys(found))
