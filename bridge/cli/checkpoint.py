"""``bridge checkpoint``: a source's state and offsets, stored for replays."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable

from bridge.cli.common import Subparsers, command, config_argument, mapping_set, source_name
from bridge.cli.progress import Progress
from bridge.config import Config, Source, load
from bridge.core.connectors import CONNECTORS
from bridge.core.encode import rfc3339
from bridge.core.history import own
from bridge.errors import Fatal
from bridge.runtime.replayable import Replayable
from bridge.runtime.stored import AUTOMATIC, Checkpoints, Stored
from bridge.runtime.wiring import checkpoints_of, kafka_for, throwaway_reader


def add(subparsers: Subparsers) -> None:
    """The command's arguments."""
    parser = command(
        subparsers,
        "checkpoint",
        "store a source's state and offsets as they are now, for replays that start there",
        "bridge checkpoint create before-migration --config config.yaml",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="create|list|delete")
    create = actions.add_parser("create", help="store one, while the bridge runs or not")
    listing = actions.add_parser("list", help="those that there are, and whether a replay can start there")
    delete = actions.add_parser("delete", help="delete one")
    for action in (create, delete):
        action.add_argument("name", metavar="NAME", help="letters, digits, '.', '_' and '-'")
    for action in (create, listing, delete):
        config_argument(action)
        action.add_argument("--source", metavar="NAME", help="the source; default: the only one")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Results to standard output, progress to standard error."""
    config = load(arguments.config)
    source = config.sources[source_name(config, arguments)]
    checkpoints = checkpoints_of(config, source)
    if arguments.action == "create":
        _create(checkpoints, config, source, arguments.name)
    elif arguments.action == "delete":
        checkpoints.delete(arguments.name)
        print(f"deleted {arguments.name}")
    else:
        _list(checkpoints, config, source)
    return 0


def _create(checkpoints: Checkpoints, config: Config, source: Source, name: str) -> None:
    if name.startswith(AUTOMATIC):
        raise Fatal(
            f"{name!r} is a name of automatic checkpoints, which are deleted by themselves", "another one", code="B526"
        )
    kafka = kafka_for(config, source, mapping_set(config.mappings, source.settings.name, source.catalog))
    progress = Progress("changelog offsets")
    made = checkpoints.create(name, kafka.changelog(), int(time.time() * 1000), progress)
    progress.end()
    print(f"{made.path}: {made.manifest.records:,} records, {made.manifest.size:,} bytes, END @{made.end_offset}")


def _list(checkpoints: Checkpoints, config: Config, source: Source) -> None:
    stored, wrong = checkpoints.look()
    if not stored and not wrong:
        print(f"no checkpoints in {checkpoints.directory}", file=sys.stderr)
        return
    rows: list[tuple[str, ...]] = [
        ("name", "made at", "END", "commit position", "event time", "records", "bytes", "a replay from here")
    ]
    if stored:
        mappings = mapping_set(config.mappings, source.settings.name, source.catalog)
        reader = throwaway_reader(config, source, "checkpoint")
        try:
            changelog = kafka_for(config, source, mappings).changelog()
            replayable = Replayable(changelog.identity(), reader, mappings)
        finally:
            reader.close()
        rows += [_row(one, source, replayable.reason_against(one.manifest)) for one in stored]
    rows += [(name, "", "", "", "", "", "", f"no: {error.code} {error.message}") for name, error in wrong.items()]
    sys.stdout.writelines(_table(rows))


def _row(one: Stored, source: Source, reason: str) -> tuple[str, ...]:
    manifest, checkpoint = one.manifest, one.manifest.checkpoint
    connector = CONNECTORS[source.settings.connector]
    shown = connector.shown(own(checkpoint.commit_position), checkpoint.domain) if checkpoint.end_offset >= 0 else "-"
    return (
        manifest.name,
        rfc3339(manifest.made_at_ms).decode(),
        f"@{checkpoint.end_offset}" if checkpoint.end_offset >= 0 else "-",
        shown,
        rfc3339(checkpoint.event_time_ms).decode(),
        f"{manifest.records:,}",
        f"{manifest.size:,}",
        f"no: {reason}" if reason else "yes",
    )


def _table(rows: list[tuple[str, ...]]) -> Iterable[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip() + "\n"
