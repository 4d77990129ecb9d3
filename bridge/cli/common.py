"""What several commands need: arguments, and mappings from a directory."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from bridge.cli.output import print_problems
from bridge.errors import BridgeError, ConfigInvalid, Invalid, MappingInvalid
from bridge.mapping import examine, load
from bridge.mapping.catalog import Catalog, read
from bridge.mapping.tokens import Tokenise, plain
from bridge.model import MODES, MONEY_DIGITS_MAX, Diagnostic, MappingSet

if TYPE_CHECKING:
    from bridge.config import Config, Source
    from bridge.kafka.client import ConfluentKafka
    from bridge.runtime.verdict import Topics

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


def decision_arguments(parser: argparse.ArgumentParser) -> None:
    """What a decision about one transaction of one source needs."""
    config_argument(parser)
    parser.add_argument("--source", metavar="NAME", required=True, help="the source, as the config names it")
    parser.add_argument(
        "--position",
        metavar="OFFSET",
        type=int,
        required=True,
        help="the transaction: the offset of its END, as the error says",
    )


def decision_of(arguments: argparse.Namespace) -> tuple[ConfluentKafka, Topics]:
    """The Kafka port that a decision is written through, and the source's topics. Raises ConfigInvalid, Fatal."""
    from bridge.config import load as load_config  # noqa: PLC0415 - brings Kafka's client, which few commands need
    from bridge.runtime.verdict import Topics, checkpoint_of, refuse_released  # noqa: PLC0415
    from bridge.runtime.wiring import kafka_for, throwaway_reader  # noqa: PLC0415

    config = load_config(arguments.config)
    source = config.sources[source_name(config, arguments)]
    found = mapping_set(config.mappings, arguments.source, source.catalog)
    kafka = kafka_for(config, source, found)
    topics = Topics(source.settings, found, throwaway_reader(config, source, "decide"))
    refuse_released(checkpoint_of(kafka.changelog()), topics.markers, arguments.position)
    return kafka, topics


def rate(text: str) -> float:
    """An argument's type: events per second."""
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError("a rate is more than 0")
    return value


def source_name(config: Config, arguments: argparse.Namespace) -> str:
    """The source that is named, or the only one that there is. Raises ConfigInvalid."""
    named: str | None = arguments.source
    if named is None and len(config.sources) == 1:
        return next(iter(config.sources))
    if named in config.sources:
        return named
    message = "there are several sources" if named is None else f"there is no source {named!r}"
    hint = f"--source {' | '.join(sorted(config.sources))}"
    raise ConfigInvalid([Diagnostic("C012", message, str(arguments.config), hint=hint)])


def sources_of(config: Config, arguments: argparse.Namespace) -> dict[str, Source]:
    """The source that is named; without a name, every one. Raises ConfigInvalid."""
    if arguments.source is None:
        return config.sources
    name = source_name(config, arguments)
    return {name: config.sources[name]}


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


def modes_argument(parser: argparse.ArgumentParser) -> None:
    """``arguments.mode``: what ``Modes.told`` takes, as pairs."""
    parser.add_argument(
        "--mode",
        metavar="PROPERTY=VALUE",
        type=_mode,
        action="append",
        default=[],
        help="a property of the connector that records without schemas do not show, such as time.precision.mode=connect;"
        f" one of {', '.join(MODES)}; may be repeated",
    )


def _mode(text: str) -> tuple[str, str | int]:
    name, _, value = text.partition("=")
    if name not in MODES:
        raise argparse.ArgumentTypeError(f"there is no {name!r}; there are {', '.join(MODES)}")
    allowed = MODES[name][1]
    if allowed and value in allowed:
        return name, value
    if not allowed and value.isdecimal() and int(value) <= MONEY_DIGITS_MAX:
        return name, int(value)
    raise argparse.ArgumentTypeError(f"{name} is {', '.join(allowed) or f'0 to {MONEY_DIGITS_MAX}'}")


class Mappings(NamedTuple):
    """Mapping files, and the catalog of each source; with ``anyone``, that is the catalog of whatever source they name."""

    directory: Path
    files: list[tuple[str, str]]
    catalogs: dict[str, Catalog | None]
    connectors: dict[str, str]
    anyone: Catalog | None = None
    unusual: dict[str, tuple[str, ...]] = {}  # noqa: RUF012 - a NamedTuple's default; tables that the config speaks of
    without_heartbeat: frozenset[str] = frozenset()  # sources whose config names no heartbeat table

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
        unusual = {name: source.tables for name, source in config.sources.items() if source.tables}
        silent = frozenset(name for name, source in config.sources.items() if not source.heartbeat_table)
        connectors = {name: source.settings.connector for name, source in config.sources.items()}
        found = mapping_files(config.mappings)
        return Mappings(config.mappings, found, catalogs, connectors, unusual=unusual, without_heartbeat=silent)
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
