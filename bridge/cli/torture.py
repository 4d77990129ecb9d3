"""``bridge torture``: what the bridge promises, tried on your own cluster while things fail."""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import SIGINT, SIGTERM, signal
from types import FrameType

from bridge.cli.common import Subparsers, command
from bridge.config import load
from bridge.torture import report
from bridge.torture.faults import FAULTS
from bridge.torture.task import Torture

INTERRUPTED = 130


def add(subparsers: Subparsers) -> None:
    """The command's arguments."""
    parser = command(
        subparsers,
        "torture",
        "prove exactly once on your own cluster: real bridges, a generated stream, and every fault that can be made",
        "bridge torture --bootstrap localhost:9092 --rounds 3",
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--bootstrap", metavar="HOST:PORT", help="the cluster; several with commas")
    where.add_argument(
        "--config", metavar="FILE", type=Path, help="a config of the bridge, for its `kafka:` part alone"
    )
    parser.add_argument(
        "--property",
        metavar="NAME=VALUE",
        type=_property,
        action="append",
        default=[],
        help="a property of librdkafka, such as security.protocol=sasl_ssl; may be repeated",
    )
    parser.add_argument(
        "--faults",
        metavar="A,B",
        type=_faults,
        default=tuple(FAULTS),
        help=f"some of {', '.join(FAULTS)} (default: all)",
    )
    parser.add_argument("--rounds", metavar="N", type=_positive, default=1, help="each fault N times (default: 1)")
    parser.add_argument("--seconds", metavar="N", type=_positive, help="begin rounds until so many seconds have passed")
    parser.add_argument("--seed", metavar="N", type=int, help="the same stream and the same dice (default: a new one)")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="of the result (default: text)")
    parser.set_defaults(run=run)


def _property(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise argparse.ArgumentTypeError("NAME=VALUE")
    return name, value


def _faults(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(text.split(",")))
    unknown = [name for name in names if name not in FAULTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no {unknown[0]!r}; there are {', '.join(FAULTS)}")
    return names


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("a number from 1")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """0 if nothing was lost, doubled or reordered anywhere; 1 otherwise; 130 after Ctrl-C, with what was seen so far."""
    if arguments.config is not None:
        properties = dict(load(arguments.config, read_catalogs=False).kafka)
    else:
        properties = {"bootstrap.servers": arguments.bootstrap}
    seed = random.SystemRandom().randrange(10**6) if arguments.seed is None else arguments.seed
    torture = Torture({**properties, **dict(arguments.property)}, seed, _tell)
    _tell(f"seed {seed}")
    with _ended_by_signal() as signals, suppress(KeyboardInterrupt):
        torture.run(arguments.faults, arguments.rounds, arguments.seconds, lambda: bool(signals))
    if arguments.format == "json":
        print(report.json(torture.verdicts, seed), end="")
    else:
        print(report.text(torture.verdicts), end="")
    if signals:
        return INTERRUPTED
    return 0 if all(verdict.good for found in torture.verdicts.values() for verdict in found) else 1


@contextmanager
def _ended_by_signal() -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM interrupt what runs. Gives the signals that came."""
    came: list[int] = []

    def interrupt(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        raise KeyboardInterrupt

    before = {number: signal(number, interrupt) for number in (SIGINT, SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal(number, handler)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
