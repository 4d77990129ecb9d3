"""How diagnostics are printed: for people, for programs, and as annotations of a pull request on GitHub."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, TextIO

import msgspec

from bridge.model import Diagnostic

# What GitHub's runner takes apart, and is written as %XX: https://docs.github.com/actions (workflow commands).
_IN_MESSAGE: Final = "%\r\n"
_IN_PROPERTY: Final = _IN_MESSAGE + ":,"
_BOLD, _RED, _YELLOW, _DIM, _PLAIN = "\x1b[1m", "\x1b[31m", "\x1b[33m", "\x1b[2m", "\x1b[0m"


def in_colour(stream: TextIO) -> bool:
    """Only in a terminal that can, and not against the reader's will (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def text(problems: Sequence[Diagnostic], *, colour: bool = False) -> str:
    """``file:line:column: code: message; hint``, the source line, and a caret."""
    return "".join(f"{_coloured(problem) if colour else problem}\n" for problem in problems)


def _coloured(problem: Diagnostic) -> str:
    head, *source = str(problem).split("\n")
    place, code, message = head.partition(f"{problem.code}: ")
    shade = _YELLOW if problem.warning else _RED
    lines = [f"{_BOLD}{place}{_PLAIN}{shade}{code}{_PLAIN}{_BOLD}{message}{_PLAIN}"]
    lines += [f"{_DIM}{line}{_PLAIN}" for line in source[:-1]]
    lines += [f"{shade}{line}{_PLAIN}" for line in source[-1:]]
    return "\n".join(lines)


def json(problems: Sequence[Diagnostic]) -> str:
    """One array of objects; ``line`` and ``column`` count from 1 and are 0 where there is no place."""
    return msgspec.json.format(msgspec.json.encode([_object(problem) for problem in problems])).decode() + "\n"


def _object(problem: Diagnostic) -> dict[str, Any]:
    return {
        "code": problem.code,
        "severity": _severity(problem),
        "message": problem.message,
        "hint": problem.hint,
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
    }


def github(problems: Sequence[Diagnostic]) -> str:
    """Workflow commands: GitHub shows each as an annotation at its line of the pull request."""
    return "".join(f"{_annotation(problem)}\n" for problem in problems)


def _annotation(problem: Diagnostic) -> str:
    values = {"file": problem.file, "line": problem.line, "col": problem.column, "title": problem.code}
    properties = ",".join(f"{name}={_escaped(str(value), _IN_PROPERTY)}" for name, value in values.items() if value)
    message = f"{problem.message}; {problem.hint}" if problem.hint else problem.message
    return f"::{_severity(problem)} {properties}::{_escaped(message, _IN_MESSAGE)}"


def _escaped(value: str, special: str) -> str:
    return re.sub(f"[{special}]", lambda found: f"%{ord(found[0]):02X}", value)


def _severity(problem: Diagnostic) -> str:
    return "warning" if problem.warning else "error"


FORMATS: Final[dict[str, Callable[[Sequence[Diagnostic]], str]]] = {"text": text, "json": json, "github": github}


def print_problems(problems: Sequence[Diagnostic], form: str = "text") -> None:
    """Text goes to standard error, where people look; the other formats to standard output, where programs read."""
    if form == "text":
        sys.stderr.write(text(problems, colour=in_colour(sys.stderr)))
    else:
        sys.stdout.write(FORMATS[form](problems))
