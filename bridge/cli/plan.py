"""``bridge plan``: what an edited mapping would have published instead, before anyone deploys it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bridge.cli.common import Subparsers, catalog_file, command, mapping_files, modes_argument, source_name
from bridge.cli.output import in_colour
from bridge.cli.progress import Progress
from bridge.config import Config, load
from bridge.errors import Fatal
from bridge.mapping.tokens import Tokenise, plain
from bridge.plan.edition import Edition
from bridge.plan.sources import captured, from_topics
from bridge.plan.task import History, Wish
from bridge.plan.text import render


def add(subparsers: Subparsers) -> None:
    """The command's arguments."""
    parser = command(
        subparsers,
        "plan",
        "replay a stretch of history through edited mappings, and print what would be published otherwise",
        "bridge plan --config config.yaml --source legacy --edited mappings/ --from 2026-11-24T00:00:00Z",
    )
    parser.add_argument(
        "captures",
        nargs="*",
        metavar="CAPTURE",
        help="files of captured records; without them Kafka is read (--config)",
    )
    parser.add_argument("--config", metavar="FILE", type=Path, help="the config, which names mappings and catalogs")
    parser.add_argument(
        "--mappings", metavar="DIR", type=Path, help="the mapping files as they are now; default: the config's"
    )
    parser.add_argument("--edited", metavar="DIR", type=Path, required=True, help="the edited mapping files")
    parser.add_argument("--source", metavar="NAME", required=True, help="the source that the mappings name")
    parser.add_argument(
        "--catalog", metavar="FILE", type=Path, help="the source's catalog, for both; default: the config's"
    )
    modes_argument(parser)
    wish = Wish()
    parser.add_argument(
        "--from", dest="start", metavar="POSITION", default=wish.start, help="the first transaction that is compared"
    )
    parser.add_argument("--to", dest="end", metavar="POSITION", default=wish.end, help="the last one")
    parser.add_argument(
        "--examples", metavar="N", type=int, default=wish.examples, help="of each kind and event type (default: 3)"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text", help="for people (default) or for tools")
    parser.add_argument(
        "--show-data", action="store_true", help="do not mask personal data (pii in catalog and mapping)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """The plan to standard output, progress to standard error; 1 if anything differs."""
    config = None if arguments.config is None else load(arguments.config)
    old, new = (_edition(one, arguments, config) for one in (_directory(arguments, config), arguments.edited))
    progress = Progress("records of the transaction topic")
    with _history(arguments, config, old) as history:
        plan = history.plan(old, new, Wish(arguments.start, arguments.end, arguments.examples), progress)
    progress.end()
    if arguments.format == "json":
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(plan), indent=2) + b"\n")
    else:
        sys.stdout.write(render(plan, colour=in_colour(sys.stdout)))
    return int(plan.differs)


def _directory(arguments: argparse.Namespace, config: Config | None) -> Path:
    if arguments.mappings is not None:
        return Path(arguments.mappings)
    if config is None:
        raise Fatal("there are no mappings to compare with", "give --mappings, or --config", code="B560")
    return config.mappings


def _tell(text: str) -> None:
    print(text, file=sys.stderr)


def _edition(directory: Path, arguments: argparse.Namespace, config: Config | None) -> Edition:
    catalog = None if arguments.catalog is None else catalog_file(arguments.catalog)
    tokenise: Tokenise = plain
    if config is not None:
        catalog = catalog or config.sources[source_name(config, arguments)].catalog
        tokenise = config.tokenise or plain
    files = mapping_files(directory)
    return Edition(str(directory), files, arguments.source, catalog, tokenise, show_data=arguments.show_data)


@contextmanager
def _history(arguments: argparse.Namespace, config: Config | None, old: Edition) -> Iterator[History]:
    source = None if config is None else config.sources[source_name(config, arguments)]
    if arguments.captures:
        yield captured(arguments.captures, arguments.source, source, dict(arguments.mode))
    elif config is None or source is None:
        raise Fatal(
            "there is no history to replay", "give capture files, or --config, which says where Kafka is", code="B560"
        )
    else:
        with from_topics(config, source, old.mappings, _tell) as history:
            yield history
