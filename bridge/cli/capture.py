"""``bridge capture``: a source's topics as a capture file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bridge.cli.common import Subparsers, command, config_argument, mapping_set, source_name
from bridge.config import Config, Source, load
from bridge.runtime.capture import Summary, Wish, capture
from bridge.runtime.locate import locate
from bridge.runtime.wiring import throwaway_reader


def add(subparsers: Subparsers) -> None:
    """The command's arguments."""
    parser = command(
        subparsers,
        "capture",
        "record a source's topics, whole source transactions, to a file for transform, explain and tests",
        "bridge capture --config config.yaml --source legacy --output orders.jsonl.gz",
    )
    config_argument(parser)
    parser.add_argument("--source", metavar="NAME", required=True, help="a source of the config")
    parser.add_argument(
        "--output",
        metavar="FILE",
        type=Path,
        required=True,
        help="JSON lines; gzipped if it ends in .gz; replaced whole",
    )
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--from-beginning", action="store_true", help="from the topics' beginning (default)")
    start.add_argument(
        "--from",
        dest="start",
        metavar="POSITION",
        default="0",
        help="from the first transaction that ends at this position or behind it, without what was before it: the offset of "
        "its END, a time, an LSN or GTID, checkpoint:NAME or the id of an event; 'end': from those that commit from now on",
    )
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument("--until-end", action="store_true", help="all that is there when the command starts (default)")
    extent.add_argument("--transactions", metavar="N", type=_positive, default=0, help="N of what is there")
    extent.add_argument("--seconds", metavar="S", type=float, default=0.0, help="all that comes within S seconds")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """The records to a file, a summary to standard error."""
    config = load(arguments.config)
    source = config.sources[source_name(config, arguments)]
    start = _start(config, source, arguments.start)
    wish = Wish(start, arguments.transactions, arguments.seconds)
    reader = throwaway_reader(config, source, "capture")
    try:
        summary = capture(reader, source.settings, wish, arguments.output, _tell)
    finally:
        reader.close()
    _tell(describe(summary, arguments.output))
    return 0


def describe(summary: Summary, path: Path) -> str:
    """The last words of the command."""
    extent = f" (END at offsets {summary.ends[0]} to {summary.ends[1]})" if summary.transactions else ""
    text = f"{path}: {summary.transactions} source transactions{extent}, {summary.records} records"
    if summary.left_out:
        text += f"; {summary.left_out} records of transactions that are not whole, or behind the last one, left out"
    if summary.not_text:
        text += f"; {summary.not_text} texts that are not UTF-8 stand as base64"
    return text + (f"\nnothing after it: {summary.stopped}" if summary.stopped else "")


def _tell(text: str) -> None:
    print(text, file=sys.stderr)


def _start(config: Config, source: Source, text: str) -> str:
    """What ``Wish.start`` takes."""
    if text == "end" or text.isdigit():
        return text
    mappings = mapping_set(config.mappings, source.settings.name, source.catalog)
    return str(locate(config, source, mappings, text, _tell).first)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError("a number from 1")
    return int(text)
