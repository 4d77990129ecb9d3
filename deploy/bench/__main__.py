"""The bench: the bridge's whole job on a chatty order stream, against a pass-through of the same records.

Starts a Kafka of its own, fills it once, then lets both run in turns, each time with a fresh group, state and output,
and checks the bridge's events against the generator's count. Figures are medians. The last line is one JSON object:

  ratio_to_passthrough   the bridge's records per second, divided by the pass-through's
  records_per_s          input records, markers and seeds included
  row_changes_per_s      row changes alone
  cpu_us_per_row_change  processor time of the whole process, start included, in microseconds
  peak_rss_mib           the highest resident memory of any run
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from confluent_kafka import TopicPartition

from bridge.testing.stream import OrderStream
from deploy.bench import bridge_config
from deploy.bench.measure import BenchError, Group, Result, Run
from deploy.bench.passthrough import EVERY, READING
from deploy.bench.topics import count_records, event_type, fill, make_topics
from deploy.stack import Stack, StackError

PREFIX = "shop"
STACK_HOME = Path(__file__).resolve().parents[2] / ".stack" / "run" / "bench"


class Bench:
    """A filled Kafka, and the runs on it."""

    def __init__(self, bootstrap: str, directory: Path, stream: OrderStream) -> None:
        self._bootstrap = bootstrap
        self._directory = directory
        self._stream = stream
        self._ends: Mapping[TopicPartition, int] = {}
        self.records = 0

    def fill(self) -> None:
        """Write the stream, once."""
        self._ends = fill(self._bootstrap, self._stream, print)
        self.records = sum(self._ends.values())
        print(
            f"{self.records:,} records: {self._stream.row_changes:,} row changes in {self._stream.transactions:,} "
            f"transactions, {self._stream.seeds:,} seeds"
        )

    def passthrough(self, number: int) -> Result:
        """One run of the pass-through, and the check that it wrote every tenth record."""
        name = f"passthrough-{number}"
        make_topics(self._bootstrap, {name: 1})
        command = [sys.executable, "-m", "deploy.bench.passthrough", "--bootstrap", self._bootstrap, "--name", name]
        command += ["--output", name, "--owner-topic", self._stream.transaction_topic, "--topics", *self._stream.topics]
        run = Run(command, self._directory / f"{name}.log")
        result = run.measure(lambda: run.said(READING), Group(self._bootstrap, name), self._ends, ends_itself=True)
        written = count_records(self._bootstrap, [name], lambda _: "record")["record"]
        if written != self.records // EVERY:
            raise BenchError(f"the pass-through wrote {written} records instead of {self.records // EVERY}")
        return result

    def bridge(self, number: int, *, profile: bool = False) -> Result:
        """One run of the bridge, and the check of its events against the generator's count."""
        name = f"bridge-{number}"
        setup = bridge_config.write(self._directory / name, name, self._bootstrap, self._stream)
        setup.prepare()
        run = Run(setup.command(profile=profile), self._directory / f"{name}.log")
        result = run.measure(setup.owner, Group(self._bootstrap, setup.group), self._ends)
        self._check(count_records(self._bootstrap, [setup.output], event_type))
        if profile:
            setup.print_profile()
        shutil.rmtree(setup.state)
        return result

    def _check(self, events: Counter[str]) -> None:
        expected = self._stream.expected
        if events != expected:
            raise BenchError(f"events {dict(events)} are not the {dict(expected)} that happened")

    def show(self, who: str, number: int, result: Result) -> None:
        """One line for people."""
        rate = self.records / result.wall_seconds
        print(
            f"{who:12} run {number}: {result.wall_seconds:6.2f} s  {rate:9,.0f} records/s  "
            f"{result.cpu_seconds:6.2f} s CPU  {result.peak_rss_mib:5.0f} MiB",
            flush=True,
        )

    def figures(self, bridge: Sequence[Result], passthrough: Sequence[Result]) -> dict[str, float]:
        """What the last line says: the bridge's figures, and the pass-through's beside them."""
        figures: dict[str, float] = {}
        if bridge:
            figures |= self._figures_of(bridge)
        if passthrough:
            other = self._figures_of(passthrough)
            figures |= {f"passthrough_{name}": value for name, value in other.items()}
            if bridge:
                ratio = figures["records_per_s"] / other["records_per_s"]
                figures = {"ratio_to_passthrough": round(ratio, 3), **figures}
        return figures | {"records": self.records, "row_changes": self._stream.row_changes}

    def _figures_of(self, results: Sequence[Result]) -> dict[str, float]:
        wall = statistics.median(result.wall_seconds for result in results)
        cpu = statistics.median(result.cpu_seconds for result in results)
        return {
            "records_per_s": round(self.records / wall),
            "row_changes_per_s": round(self._stream.row_changes / wall),
            "cpu_us_per_row_change": round(cpu / self._stream.row_changes * 1e6, 2),
            "peak_rss_mib": round(max(result.peak_rss_mib for result in results)),
        }


def measure(bench: Bench, options: argparse.Namespace) -> dict[str, float]:
    """All runs, in turns; whatever else the machine does then meets both alike."""
    bridge: list[Result] = []
    passthrough: list[Result] = []
    for number in range(1, options.runs + 1):
        if options.only != "bridge":
            passthrough.append(bench.passthrough(number))
            bench.show("pass-through", number, passthrough[-1])
        if options.only != "passthrough":
            bridge.append(bench.bridge(number))
            bench.show("bridge", number, bridge[-1])
    return bench.figures(bridge, passthrough)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=300_000, help="row changes, at least")
    parser.add_argument("--runs", type=int, default=5, help="of each; the figures are medians")
    parser.add_argument("--seed", type=int, default=1, help="of the stream")
    parser.add_argument("--only", choices=("bridge", "passthrough"), help="leave the other out")
    parser.add_argument("--profile", action="store_true", help="run the bridge once, under cProfile")
    parser.add_argument("--keep", type=Path, help="leave logs and configs in this directory")
    return parser.parse_args()


def main() -> int:
    """Start Kafka, run, print."""
    options = parse()
    stream = OrderStream(PREFIX, options.rows, options.seed)
    try:
        with Stack(STACK_HOME, services=("kafka",)) as stack, tempfile.TemporaryDirectory(prefix="bench-") as place:
            directory = options.keep or Path(place)
            directory.mkdir(parents=True, exist_ok=True)
            bench = Bench(stack.bootstrap, directory, stream)
            bench.fill()
            if options.profile:
                bench.show("bridge", 0, bench.bridge(0, profile=True))
                return 0
            print(json.dumps(measure(bench, options)))
    except (BenchError, StackError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
