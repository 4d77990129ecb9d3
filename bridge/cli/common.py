"""What several commands need: arguments, and mappings from a directory."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bridge.errors import MappingInvalid
from bridge.mapping import load
from bridge.model import Diagnostic, MappingSet

Subparsers = Any  # argparse keeps its class private


def command(subparsers: Subparsers, name: str, summary: str, example: str) -> argparse.ArgumentParser:
    """A command whose ``--help`` ends with an example."""
    made: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return made


def config_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", metavar="FILE", type=Path, required=True, help="the config file (see config.example.yaml)"
    )


def mapping_files(directory: Path) -> list[tuple[str, str]]:
    """(name, text) of every mapping file. Raises MappingInvalid when there is none to be read."""
    if not directory.is_dir():
        raise MappingInvalid([Diagnostic("M000", "there is no such directory of mapping files", str(directory))])
    found = []
    for path in sorted([*directory.rglob("*.yaml"), *directory.rglob("*.yml")]):
        try:
            found.append((str(path), path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError):
            raise MappingInvalid(
                [Diagnostic("M000", "the mapping file cannot be read as UTF-8 text", str(path))]
            ) from None
    if not found:
        raise MappingInvalid([Diagnostic("M000", "no mapping files (*.yaml) in this directory", str(directory))])
    return found


def mapping_set(directory: Path, source: str, catalog: dict[str, dict[str, str]] | None) -> MappingSet:
    """The compiled mappings of one source. Raises MappingInvalid."""
    mappings = load(mapping_files(directory), source, catalog)
    if not mappings.mappings:
        raise MappingInvalid([Diagnostic("M000", f"no mapping file names source {source!r}", str(directory))])
    return mappings
