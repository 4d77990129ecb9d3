"""``bridge transform``: captured records in, events out, no cluster."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from bridge.cli.common import Subparsers, catalog_file, command, mapping_set, modes_argument
from bridge.core.encode import cloudevent
from bridge.core.pipeline import Output
from bridge.model import Modes
from bridge.runtime.transform import read_captures, settings_for, transform

_DEAD_LETTERS = "\x00dead letters"  # no topic can have this name


def add(subparsers: Subparsers) -> None:
    """The command's arguments."""
    parser = command(
        subparsers,
        "transform",
        "captured records (JSON lines, also of kcat -J; .gz; - for standard input) to events as CloudEvents JSON lines",
        "bridge transform captures/*.jsonl.gz --mappings mappings/ --source legacy > events.jsonl",
    )
    parser.add_argument(
        "captures", nargs="+", metavar="CAPTURE", help="files of captured records, the transaction topic's among them"
    )
    parser.add_argument("--mappings", metavar="DIR", type=Path, required=True, help="the directory of mapping files")
    parser.add_argument("--source", metavar="NAME", required=True, help="the source that the mappings name")
    parser.add_argument("--catalog", metavar="FILE", type=Path, help="column types, for records without inline schemas")
    modes_argument(parser)
    parser.add_argument(
        "--dead-letters", metavar="FILE", type=Path, help="write what cannot be translated here, as JSON lines"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Events to standard output, a summary to standard error."""
    catalog = None if arguments.catalog is None else catalog_file(arguments.catalog)
    mappings = mapping_set(arguments.mappings, arguments.source, catalog)
    records = read_captures(arguments.captures)
    settings = settings_for(records, arguments.source, _DEAD_LETTERS, Modes().told(dict(arguments.mode)))
    printer = Printer(arguments.dead_letters)
    try:
        for output in transform(records, settings, mappings):
            printer.write(output)
    finally:
        printer.close()
    return 0


class Printer:
    """Writes events and dead letters, and counts."""

    def __init__(self, dead_letters: Path | None) -> None:
        self._dead = None if dead_letters is None else dead_letters.open("wb")
        self._open_windows = 0
        self._totals = {"row_changes": 0, "transactions": 0, "events": 0, "dead_letters": 0, "duplicates": 0}

    def write(self, output: Output) -> None:
        """One batch's events, in order."""
        out = sys.stdout.buffer
        for record in output.records:
            if record.topic != _DEAD_LETTERS:
                out.write(msgspec.json.encode(cloudevent(record)) + b"\n")
            elif self._dead is not None:
                headers = {name: value.decode() for name, value in record.headers}
                line = {
                    "headers": headers,
                    "key": record.key.decode(errors="replace"),
                    "value": record.value.decode(errors="replace"),
                }
                self._dead.write(msgspec.json.encode(line) + b"\n")
        counts = output.counts
        self._totals["row_changes"] += counts.row_changes
        self._totals["transactions"] += counts.transactions
        self._open_windows = counts.open_windows
        self._totals["duplicates"] += counts.duplicates
        self._totals["events"] += sum(counts.events.values())
        for code, count in counts.dead_letters.items():
            self._totals["dead_letters"] += count
            print(f"{count} dead letter(s): {code}", file=sys.stderr)

    def close(self) -> None:
        """Flush, and say what was done."""
        sys.stdout.flush()
        if self._dead is not None:
            self._dead.close()
        if self._open_windows:
            print(f"{self._open_windows} window(s) still open: nothing committed after their deadline", file=sys.stderr)
        print(", ".join(f"{count} {name.replace('_', ' ')}" for name, count in self._totals.items()), file=sys.stderr)
