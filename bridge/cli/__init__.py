"""The command line: one module per command, each with ``add(subparsers)`` and ``run(arguments) -> exit code``.

Exit codes: 0 done · 2 wrong usage · 65 the input's content (EX_DATAERR) · 70 what only an operator can mend ·
75 try again, or another process owns the source · 78 config or mappings (EX_CONFIG).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from bridge.cli import check, init, introspect, run, topics, transform
from bridge.errors import BridgeError, Invalid

COMMANDS = (run, check, introspect, init, transform, topics)


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
    except Invalid as error:
        for diagnostic in error.diagnostics:
            print(diagnostic, file=sys.stderr)
        count = len(error.diagnostics)
        print(f"{count} mistake{'s' if count != 1 else ''}", file=sys.stderr)
        return error.exit_code
    except BridgeError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        sys.stderr.close()
        return 0
