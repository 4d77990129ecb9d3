"""``bridge positions``: where each source stands, and what it waits for."""

from __future__ import annotations

import argparse
import sys
import time

import msgspec

from bridge.cli.common import Subparsers, command, config_argument, mapping_set, sources_of
from bridge.config import load
from bridge.runtime.positions import standing
from bridge.runtime.standing import Standing, Verdict, behind_text, judge


def add(subparsers: Subparsers) -> None:
    """The command's arguments."""
    parser = command(
        subparsers,
        "positions",
        "where each source stands: now, committed, how far behind, and what it waits for",
        "bridge positions --config config.yaml",
    )
    config_argument(parser)
    parser.add_argument("--source", metavar="NAME", help="this source alone; default: every one")
    parser.add_argument("--partitions", action="store_true", help="each input partition too (JSON always has them)")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="for people (default) or for tools")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """A report to standard output."""
    config = load(arguments.config)
    shown = []
    for name, source in sources_of(config, arguments).items():
        found = standing(config, source, mapping_set(config.mappings, name, source.catalog))
        verdicts = judge(found, int(time.time() * 1000))
        if arguments.format == "text":
            sys.stdout.write(text(found, verdicts, partitions=arguments.partitions))
        shown.append(msgspec.structs.asdict(found) | {"verdicts": verdicts})
    if arguments.format == "json":
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(shown), indent=2) + b"\n")
    return 0


def text(one: Standing, verdicts: list[Verdict], *, partitions: bool) -> str:
    """For people: the verdict first."""
    lines = [f"{one.source}: {verdicts[0].kind}"]
    for verdict in verdicts:
        head = verdict.kind if verdict is not verdicts[0] else ""
        lines += [f"  {f'{head}: ' if head else ''}{verdict.text}", *([f"    {verdict.hint}"] if verdict.hint else [])]
    lines += [
        f"  now        {one.last or 'no transaction ended yet'}",
        f"  committed  {one.committed or 'nothing yet'}",
        f"  behind     {behind_text(one)}",
        f"  group      {one.group}, {one.members} members; transactions in {one.topic}",
    ]
    differing = [line for line in one.partitions if line.group not in (None, line.committed)]
    lines += [
        f"  the group's offset of {line.partition} is {line.group}, the checkpoint's {line.committed}: the checkpoint counts"
        for line in differing
    ]
    if partitions:
        width = max(len(line.partition) for line in one.partitions)
        lines += [
            f"  {line.partition:<{width}}  committed {line.committed:>12,}  end {line.end:>12,}  lag {line.lag:>12,}"
            + (f"  hidden {line.written - line.end:,}" if line.written > line.end else "")
            for line in one.partitions
        ]
    return "\n".join(lines) + "\n"
