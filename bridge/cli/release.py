"""``bridge release``: go on without rows that do not come."""

from __future__ import annotations

import argparse

from bridge.cli.common import Subparsers, command, decision_arguments, decision_of
from bridge.core.history import RELEASE, decision
from bridge.runtime.decide import decide


def add(subparsers: Subparsers) -> None:
    """The command's arguments."""
    parser = command(
        subparsers,
        "release",
        "decide that a short transaction (B301) is released with the rows it has",
        "bridge release --config config.yaml --source legacy --position 4711",
    )
    decision_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Record the decision where every replay finds it; a running bridge takes it up at once."""
    kafka, topics = decision_of(arguments)
    end = topics.end_at(arguments.position)
    decide(kafka, decision(RELEASE, arguments.position, topics.ends))
    print(
        f"transaction {end.group} (commit position {end.position}) will be released with the rows that are in the topics now; "
        "what is missing is told in the log (released_short)"
    )
    return 0
