"""The command line: one module per command, each with ``add(subparsers)`` and ``run(arguments) -> exit code``.

Exit codes: 0 done · 1 a test failed, topics are missing, or a plan shows a difference · 2 wrong usage · 65 the input's
content (EX_DATAERR) · 70 what only an operator can mend · 75 try again, or another process owns the source · 78 config or
mappings (EX_CONFIG).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from bridge.cli.common import complain
from bridge.errors import BridgeError

COMMANDS = (
    "run",
    "check",
    "introspect",
    "init",
    "test",
    "transform",
    "explain",
    "plan",
    "capture",
    "topics",
    "doctor",
    "positions",
    "checkpoint",
    "backfill",
    "replay",
    "schema",
    "dlt",
    "release",
    "accept",
    "torture",
)


def parser(names: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """The whole command line, or that of some commands: importing all of them takes longer than most of them work."""
    root = argparse.ArgumentParser(
        prog="bridge",
        description="Row changes of a legacy database, captured by Debezium, as business events on Kafka, exactly once.",
    )
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in names:
        import_module(f"bridge.cli.{name}").add(commands)
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code; every error of ours is printed with its hint."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    given = parser(words[:1] if words[:1] and words[0] in COMMANDS else COMMANDS).parse_args(words)
    try:
        return int(given.run(given))
    except BridgeError as error:
        return complain(error)
    except BrokenPipeError:
        sys.stderr.close()
        return 0
