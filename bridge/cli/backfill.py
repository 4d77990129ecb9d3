"""``bridge backfill``: completes the state for mappings that use more than it holds, while the bridge goes on."""

from __future__ import annotations

import argparse
import sys

from bridge.cli.common import Subparsers, command, config_argument, mapping_set, sources_of
from bridge.cli.progress import Progress
from bridge.config import Config, Source, load
from bridge.errors import ConfigInvalid
from bridge.introspect import signal
from bridge.model import Diagnostic, MappingSet
from bridge.runtime.backfill import Done, Signal, from_topics
from bridge.runtime.daemon import MonotonicClock
from bridge.runtime.wiring import kafka_for, throwaway_reader


def add(subparsers: Subparsers) -> None:
    """The command's arguments."""
    parser = command(
        subparsers,
        "backfill",
        "complete the state for mappings that use more than it holds, while the bridge goes on",
        "bridge backfill --config config.yaml",
    )
    config_argument(parser)
    parser.add_argument("--source", help="this source alone; default: every one")
    parser.add_argument(
        "--signal",
        action="store_true",
        help="from the source's database, through Debezium's signal table, instead of what the topics still hold",
    )
    parser.add_argument(
        "--table",
        action="append",
        default=[],
        metavar="TABLE",
        help="with --signal: read this table (schema.table) anew; default: what the state lacks or does not know to be whole",
    )
    parser.add_argument(
        "--wait", type=float, default=60.0, metavar="SECONDS", help="with --signal: for the snapshot's first row"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """One source after the other."""
    config = load(arguments.config)
    for name, source in sources_of(config, arguments).items():
        mappings = mapping_set(config.mappings, name, source.catalog, config.tokenise)
        if arguments.signal:
            _by_signal(config, source, mappings, arguments)
        else:
            _from_topics(config, source, mappings)
    return 0


def _say(source: Source, text: str) -> None:
    sys.stderr.write(f"{source.settings.name}: {text}\n")


def _from_topics(config: Config, source: Source, mappings: MappingSet) -> None:
    progress = Progress("records")
    done = from_topics(kafka_for(config, source, mappings, "backfill"), source.settings, mappings, progress)
    if done is None:
        _say(source, "the state holds all that the mappings use: there is nothing to fill")
        return
    progress.end()
    _say(source, _told(done))


def _told(done: Done) -> str:
    tables = ", ".join(done.tables)
    partial = [table for table in done.tables if table not in done.seeded]
    text = f"{tables}: staged; start `bridge run` with these mappings, it takes them over"
    if not partial:
        return text
    begin = "no snapshot of it is in the topics" if done.from_the_start else "retention took the topics' beginning"
    return f"{text}\n  {', '.join(partial)}: {begin}; rows that are missing come with `bridge backfill --signal`"


def _by_signal(config: Config, source: Source, mappings: MappingSet, arguments: argparse.Namespace) -> None:
    if source.database is None:
        hint = "the signal is a row that the command writes: it needs host, user and password"
        raise ConfigInvalid([Diagnostic("C012", "the source has no 'database:' in the config", "--signal", hint=hint)])
    database = source.database
    one = Signal(kafka_for(config, source, mappings), source.settings, mappings, MonotonicClock())
    tables = one.tables(arguments.table)
    if not tables:
        _say(source, "the state holds all that the mappings use: there is nothing to fill")
        return
    total = signal.count(database, tables)
    one.decide(tables)
    _say(source, f"{', '.join(tables)}: decided; waiting for `bridge run` with these mappings")
    one.wait_for_owner()
    progress = Progress("rows")
    reader = throwaway_reader(config, source, "backfill")
    try:
        one.follow(
            reader,
            lambda: signal.send(database, one.table, one.id, "execute-snapshot", one.data(tables)),
            total,
            progress,
            arguments.wait,
        )
    finally:
        reader.close()
        progress.end()
    _say(source, f"{', '.join(tables)}: complete")
