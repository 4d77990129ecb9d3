"""What several commands need: arguments, and mappings from a directory."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

from bridge.cli.output import print_problems
from bridge.errors import BridgeError, ConfigInvalid, Invalid, MappingInvalid
from bridge.mapping import examine, load
from bridge.mapping.catalog import Catalog, read
from bridge.mapping.tokens import Tokenise, plain
from bridge.model import Diagnostic, MappingSet

Subparsers = Any  # argparse keeps its class private
AGGREGATE: Final = re.compile("^aggregate:", re.MULTILINE)  # whatever its name, this is a mapping
CATALOG: Final = re.compile(r"(.+\.)?catalog\.ya?ml")  # the name of a file that is a source's catalog, not a mapping


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


def complain(error: BridgeError) -> int:
    """Print an error, or every diagnostic of what is invalid, and give the exit code."""
    if not isinstance(error, Invalid):
        print(error, file=sys.stderr)
        return error.exit_code
    print_problems(error.diagnostics)
    count = len(error.diagnostics)
    print(f"{count} mistake{'s' if count != 1 else ''}", file=sys.stderr)
    return error.exit_code


def config_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", metavar="FILE", type=Path, required=True, help="the config file (see config.example.yaml)"
    )


def mappings_arguments(parser: argparse.ArgumentParser) -> Any:
    """Either the config, or the mapping files themselves: nothing else is needed to work on mappings.

    Returns the group of arguments that exclude each other, for a command that needs neither.
    """
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--config", metavar="FILE", type=Path, help="the config, which names mappings and catalogs")
    where.add_argument("--mappings", metavar="DIR", type=Path, help="the directory of mapping files, without a config")
    parser.add_argument("--source", metavar="NAME", help="only mappings of this source")
    parser.add_argument("--catalog", metavar="FILE", type=Path, help="with --mappings: the source's catalog")
    return where


class Mappings(NamedTuple):
    """Mapping files, and the catalog of each source; with ``anyone``, that is the catalog of whatever source they name."""

    directory: Path
    files: list[tuple[str, str]]
    catalogs: dict[str, Catalog | None]
    connectors: dict[str, str]
    anyone: Catalog | None = None

    def catalog(self, source: str) -> Catalog | None:
        return self.catalogs.get(source, self.anyone)

    def connector(self, source: str) -> str:
        return self.connectors.get(source, "")

    def only_source(self, named: str | None) -> str:
        """The source that a command works on: the one named, or the only one that there is. Raises MappingInvalid."""
        _, sources = examine(self.files, self.catalog)
        known = {source for source in self.catalogs or sources if source}
        if named is None and len(known) == 1:
            return known.pop()
        if named is None or named not in known:
            message = "there are several sources" if named is None else f"there is no source {named!r}"
            raise MappingInvalid(
                [Diagnostic("M000", message, str(self.directory), hint=f"--source {' | '.join(sorted(known))}")]
            )
        return named


def mappings(arguments: argparse.Namespace) -> Mappings:
    """What ``mappings_arguments`` name. Raises ConfigInvalid, MappingInvalid."""
    if arguments.config is not None:
        from bridge.config import load as load_config  # noqa: PLC0415 - brings Kafka's client; checking needs none

        config = load_config(arguments.config)
        catalogs = {name: source.catalog for name, source in config.sources.items()}
        connectors = {name: source.settings.connector for name, source in config.sources.items()}
        return Mappings(config.mappings, mapping_files(config.mappings), catalogs, connectors)
    catalog = None if arguments.catalog is None else catalog_file(arguments.catalog)
    return Mappings(arguments.mappings, mapping_files(arguments.mappings), {}, {}, catalog)


def catalog_file(path: Path) -> Catalog:
    """Raises ConfigInvalid with every mistake in it."""
    try:
        catalog, problems = read(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError):
        raise ConfigInvalid([Diagnostic("C009", "the catalog cannot be read", str(path))]) from None
    if problems:
        raise ConfigInvalid(problems)
    return catalog


def mapping_files(directory: Path) -> list[tuple[str, str]]:
    """(name, text) of every mapping file; catalogs may lie among them. Raises MappingInvalid when there is none to be read."""
    if not directory.is_dir():
        raise MappingInvalid([Diagnostic("M000", "there is no such directory of mapping files", str(directory))])
    found = []
    for path in sorted([*directory.rglob("*.yaml"), *directory.rglob("*.yml")]):
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise MappingInvalid(
                [Diagnostic("M000", "the mapping file cannot be read as UTF-8 text", str(path))]
            ) from None
        if not CATALOG.fullmatch(path.name) or AGGREGATE.search(text):
            found.append((str(path), text))
    if not found:
        raise MappingInvalid([Diagnostic("M000", "no mapping files (*.yaml) in this directory", str(directory))])
    return found


def mapping_set(directory: Path, source: str, catalog: Catalog | None, tokenise: Tokenise | None = plain) -> MappingSet:
    """The compiled mappings of one source. Raises MappingInvalid; ConfigInvalid where tokens lack a key (None)."""
    mappings = load(mapping_files(directory), source, catalog, tokenise or plain)
    if not mappings.mappings:
        raise MappingInvalid([Diagnostic("M000", f"no mapping file names source {source!r}", str(directory))])
    if tokenise is None and any(mapping.tokens for mapping in mappings.mappings):
        message = "events of this source hold tokens for personal data, and the config has no 'tokens:' with a key"
        raise ConfigInvalid([Diagnostic("C010", message, source, hint="tokens: {key_id: k1, key: ${file:…}}")])
    return mappings
