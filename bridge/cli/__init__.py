"""The command line: one module per command, each with ``add(subparsers)`` and ``run(arguments) -> exit code``.

Exit codes: 0 done · 1 a test failed, or topics are missing · 2 wrong usage · 65 the input's content (EX_DATAERR) ·
70 what only an operator can mend · 75 try again, or another process owns the source · 78 config or mappings (EX_CONFIG).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from bridge.cli import capture, check, explain, init, introspect, run, schema, test, topics, transform
from bridge.cli.common import complain
from bridge.errors import BridgeError

COMMANDS = (run, check, introspect, init, test, transform, explain, capture, topics, schema)


def parser() -> argparse.ArgumentParser:
    """The whole command line; its help stands in the README."""
    root = argparse.ArgumentParser(
        prog="bridge",
        description="Row changes of a legacy database, captured by Debezium, as business events on Kafka, exactly once.",
    )
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code; every error of ours is printed with its hint."""
    given = parser().parse_args(arguments)
    try:
        return int(given.run(given))
    except BridgeError as error:
        return complain(error)
    except BrokenPipeError:
        sys.stderr.close()
        return 0
