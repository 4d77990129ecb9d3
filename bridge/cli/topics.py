"""``bridge topics``: the topics that the bridge needs, with the right settings."""

from __future__ import annotations

import argparse
import sys

from bridge.cli.common import Subparsers, command, config_argument, mapping_set
from bridge.config import load
from bridge.runtime.wiring import create_topics, topic_plan, topic_problems


def add(subparsers: Subparsers) -> None:
    """The command's arguments."""
    parser = command(
        subparsers,
        "topics",
        "show the topics that the bridge needs; with --create, make what is missing",
        "bridge topics --create --config config.yaml",
    )
    config_argument(parser)
    parser.add_argument("--create", action="store_true", help="make the missing topics")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """One line per topic; exit 1 while some are missing or wrong."""
    config = load(arguments.config)
    problems: list[str] = []
    for name, source in config.sources.items():
        mappings = mapping_set(config.mappings, name, source.catalog)
        made = create_topics(config, source, mappings) if arguments.create else []
        for topic in topic_plan(config, source, mappings):
            settings = ", ".join(f"{key}={value}" for key, value in topic.config.items())
            mark = "made" if topic.name in made else "    "
            print(f"{mark} {topic.name}  ({topic.purpose}, {topic.partitions} partition(s)) {settings}".rstrip())
        problems += topic_problems(config, source, mappings)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0
