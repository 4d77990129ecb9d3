"""``bridge accept``: go on with another history of the database."""

from __future__ import annotations

import argparse

from bridge.cli.common import Subparsers, command, decision_arguments, decision_of
from bridge.core.history import ACCEPT, decision
from bridge.runtime.decide import decide


def add(subparsers: Subparsers) -> None:
    """The command's arguments."""
    parser = command(
        subparsers,
        "accept",
        "decide that the source's history begins anew (B302): restored, failed over, or its slot made again",
        "bridge accept --config config.yaml --source legacy --position 4711",
    )
    decision_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Record where the new history begins in each partition; a running bridge takes it up at once."""
    kafka, topics = decision_of(arguments)
    end = topics.end_at(arguments.position)
    cuts = topics.new_history(arguments.position)
    decide(kafka, decision(ACCEPT, arguments.position, cuts))
    print(f"the history of transaction {end.group} (commit position {end.position}) is accepted; it begins at")
    for partition, offset in sorted(cuts.items()):
        print(f"  {partition}@{offset}")
    return 0
