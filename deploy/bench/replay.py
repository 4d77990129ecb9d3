"""`bridge replay`, measured on the bench's stream: all of it published again, and the last of it after rolling forward.

``python -m deploy.bench.replay [--rows N]`` starts a broker of its own. The bridge's own figures are of the same stream.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from confluent_kafka import TopicPartition

from bridge.testing.stream import OrderStream
from deploy.bench import bridge_config
from deploy.bench.measure import Group, Run
from deploy.bench.topics import count_records, event_type, fill
from deploy.stack import Stack

LAST_SHARE = 0.95  # of the transaction topic lies before the shorter replay


def replayed(setup: bridge_config.Setup, since: str, name: str) -> tuple[float, float]:
    """Seconds, and seconds of processor time, of one replay as a process of its own."""
    config = ["--config", str(setup.config), "--source", bridge_config.SOURCE]
    command = [sys.executable, "-m", "bridge", "replay", *config, "--from", since, "--name", name]
    started = time.monotonic()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return time.monotonic() - started, usage.ru_utime + usage.ru_stime


def measure(bootstrap: str, directory: Path, rows: int) -> None:
    """Print the figures."""
    stream = OrderStream("again", rows)
    ends = fill(bootstrap, stream, print)
    setup = bridge_config.write(directory / "again", "again", bootstrap, stream)
    setup.prepare()
    run = Run(setup.command(profile=False), directory / "bridge.log")
    result = run.measure(setup.owner, Group(bootstrap, setup.group), ends)
    _say("the bridge", result.wall_seconds, result.cpu_seconds, stream.row_changes)
    seconds, processor = replayed(setup, "beginning", "whole")
    _say("replay of all of it", seconds, processor, stream.row_changes)
    place = int(LAST_SHARE * ends[TopicPartition(stream.transaction_topic, 0)])
    seconds, processor = replayed(setup, str(place), "last")
    _say("replay of the last of it", seconds, processor, stream.row_changes)
    for topic in (setup.output, f"{setup.output}.whole", f"{setup.output}.last"):
        print(f"{topic}: {count_records(bootstrap, [topic], event_type).total():,} events")


def _say(what: str, seconds: float, processor: float, rows: int) -> None:
    each = processor / rows * 1e6
    print(f"{what}: {seconds:.1f} s, {rows / seconds:,.0f} row changes/s, {each:.1f} µs of processor time each")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m deploy.bench.replay", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=150_000, help="row changes")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bench-replay-") as name:
        directory = Path(name)
        with Stack(directory / "stack", services=("kafka",), progress=lambda _: None) as stack:
            measure(stack.bootstrap, directory, options.rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
