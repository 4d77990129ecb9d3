"""The bench: the bridge's whole job on a chatty order stream, against a pass-through of the same records.

Starts a Kafka of its own, fills it once, then lets both run in turns, each time with a fresh group, state and output,
and checks the bridge's events, byte by byte, against the generator's account. Figures are medians. The last line is one
JSON object:

  ratio_to_passthrough   the bridge's records per second, divided by the pass-through's
  records_per_s          input records, markers and seeds included
  row_changes_per_s      row changes alone
  cpu_us_per_row_change  processor time of the whole process, start included, in microseconds
  peak_anonymous_mib     the highest anonymous memory of any run, looked at fifty times a second

With --peers other frameworks do as much of the job as they can on the same records (deploy/bench/peers), their events
are judged the same way, and all do it once more on a second, longer stream. The object then has ``cold`` and ``warm``,
as deploy/bench/figures.py makes them; --readme writes those into README.md, results.json and chart.svg.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from confluent_kafka import TopicPartition

from bridge.testing.expected import Event, events_of
from bridge.testing.stream import OrderStream
from deploy.bench import bridge_config, figures
from deploy.bench.figures import BRIDGE, PASSTHROUGH, Score
from deploy.bench.measure import BenchError, Group, Result, Run
from deploy.bench.own import on_own_kafka
from deploy.bench.passthrough import EVERY, READING
from deploy.bench.peers.install import install
from deploy.bench.peers.peer import Peer, PeerGroup
from deploy.bench.topics import PARTITIONS, count_records, fill, make_topics, read_records
from deploy.bench.verdict import Verdict, judge, payload, payload_of, whole, whole_record

PREFIX = "shop"
WARM_PREFIX = "warm"
ONCE_SECONDS = 60.0  # a peer that takes longer for a run runs once


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

    def passthrough(self, number: int) -> Score:
        """One run of the pass-through, and the check that it wrote every tenth record."""
        name = f"{self._stream.prefix}-passthrough-{number}"
        make_topics(self._bootstrap, {name: 1})
        command = [sys.executable, "-m", "deploy.bench.passthrough", "--bootstrap", self._bootstrap, "--name", name]
        command += ["--output", name, "--owner-topic", self._stream.transaction_topic, "--topics", *self._stream.topics]
        run = Run(command, self._directory / f"{name}.log")
        result = run.measure(lambda: run.said(READING), Group(self._bootstrap, name), self._ends, ends_itself=True)
        written = count_records(self._bootstrap, [name], lambda _: "record")["record"]
        if written != self.records // EVERY:
            raise BenchError(f"the pass-through wrote {written} records instead of {self.records // EVERY}")
        return Score(result, None)

    def bridge(self, number: int, *, profile: bool = False) -> Score:
        """One run of the bridge, and the check of its events: each is there once, byte by byte as it should be."""
        name = f"{self._stream.prefix}-bridge-{number}"
        setup = bridge_config.write(self._directory / name, name, self._bootstrap, self._stream)
        setup.prepare()
        run = Run(setup.command(profile=profile), self._directory / f"{name}.log")
        result = run.measure(setup.owner, Group(self._bootstrap, setup.group), self._ends)
        told = map(whole_record, read_records(self._bootstrap, [setup.output]))
        verdict = judge(map(whole, self._happened), told)
        if not verdict.clean:
            raise BenchError(f"{verdict} of {len(self._happened)} events that happened")
        if profile:
            setup.print_profile()
        shutil.rmtree(setup.state)
        return Score(result, verdict)

    def peer(self, peer: Peer, number: int) -> Score:
        """One run of a peer, and what is amiss with its events."""
        name = f"{self._stream.prefix}-{peer.group}-{number}"
        output, state = f"out.{name}", self._directory / f"{name}.state"
        make_topics(self._bootstrap, {output: PARTITIONS})
        run = Run(
            peer.command(self._bootstrap, name, self._stream.prefix, output, state), self._directory / f"{name}.log"
        )
        ends = {place: end for place, end in self._ends.items() if place.topic in peer.topics(self._stream.prefix)}
        result = run.measure(lambda: run.said(READING), PeerGroup(self._bootstrap, name), ends)
        told = map(payload_of, read_records(self._bootstrap, [output]))
        shutil.rmtree(state)
        return Score(result, judge(map(payload, self._happened), told))

    @cached_property
    def _happened(self) -> list[Event]:
        """The truth, by the generator's account."""
        return events_of(self._stream.facts)

    def show(self, who: str, number: int, score: Score) -> None:
        """One line for people."""
        result, verdict = score
        rate = self.records / result.wall_seconds
        print(
            f"{who:14} run {number}: {result.wall_seconds:6.2f} s  {rate:9,.0f} records/s  "
            f"{result.cpu_seconds:6.2f} s CPU  {result.peak_anonymous_mib:5.0f} MiB{_amiss(verdict)}",
            flush=True,
        )

    def summary(self, scores: Mapping[str, Sequence[Score]], *, cold: bool) -> dict[str, Any]:
        """What results.json says of this stream."""
        return figures.summary(scores, self._stream.row_changes, len(self._happened), cold=cold)

    def figures(self, scores: Mapping[str, Sequence[Score]]) -> dict[str, Any]:
        """What the last line says: the bridge's figures, and the pass-through's beside them."""
        said: dict[str, Any] = {}
        bridge, passthrough = scores.get(BRIDGE), scores.get(PASSTHROUGH)
        if bridge:
            said |= self._figures_of(bridge)
        if passthrough:
            other = self._figures_of(passthrough)
            said |= {f"passthrough_{name}": value for name, value in other.items()}
            if bridge:
                ratio = said["records_per_s"] / other["records_per_s"]
                said = {"ratio_to_passthrough": round(ratio, 3), **said}
        return said | {"records": self.records, "row_changes": self._stream.row_changes}

    def _figures_of(self, scores: Sequence[Score]) -> dict[str, float]:
        results: list[Result] = [score.result for score in scores]
        wall = statistics.median(result.wall_seconds for result in results)
        cpu = statistics.median(result.cpu_seconds for result in results)
        return {
            "records_per_s": round(self.records / wall),
            "row_changes_per_s": round(self._stream.row_changes / wall),
            "cpu_us_per_row_change": round(cpu / self._stream.row_changes * 1e6, 2),
            "peak_anonymous_mib": round(max(result.peak_anonymous_mib for result in results)),
        }


def _amiss(verdict: Verdict | None) -> str:
    if verdict is None or verdict.clean:
        return ""
    return f"  of {verdict.events:,} events {verdict.missing:,} missing, {verdict.doubled:,} doubled, {verdict.wrong:,} wrong"


def measure(bench: Bench, options: argparse.Namespace, peers: Sequence[Peer]) -> dict[str, list[Score]]:
    """All runs, in turns; whatever else the machine does then meets all alike."""
    scores: defaultdict[str, list[Score]] = defaultdict(list)

    def note(who: str, number: int, score: Score) -> None:
        scores[who].append(score)
        bench.show(who, number, score)

    for number in range(1, options.runs + 1):
        if options.only != "bridge":
            note(PASSTHROUGH, number, bench.passthrough(number))
        if options.only != "passthrough":
            note(BRIDGE, number, bench.bridge(number))
        for peer in peers:
            if not any(score.result.wall_seconds > ONCE_SECONDS for score in scores[peer.name]):
                note(peer.name, number, bench.peer(peer, number))
    return dict(scores)


def compare(bootstrap: str, directory: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Everything, on one stream; with peers on two."""
    machine = figures.machine()
    peers = install(print) if options.peers else []
    bench = Bench(bootstrap, directory, OrderStream(PREFIX, options.rows, options.seed))
    bench.fill()
    scores = measure(bench, options, peers)
    said = bench.figures(scores)
    if peers:
        longer = Bench(bootstrap, directory, OrderStream(WARM_PREFIX, options.warm_rows, options.seed))
        longer.fill()
        warm = longer.summary(measure(longer, options, peers), cold=False)
        results = {"machine": machine, "cold": bench.summary(scores, cold=True), "warm": warm}
        if options.readme:
            figures.publish(results)
        said |= results
    return said


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=300_000, help="row changes, at least")
    parser.add_argument("--runs", type=int, default=5, help="of each; the figures are medians")
    parser.add_argument("--seed", type=int, default=1, help="of the stream")
    parser.add_argument("--only", choices=("bridge", "passthrough"), help="leave the other out")
    parser.add_argument("--peers", action="store_true", help="other frameworks too, on a second stream as well")
    parser.add_argument("--warm-rows", type=int, default=1_000_000, help="row changes of that stream, at least")
    parser.add_argument("--readme", action="store_true", help="write what --peers found into README.md")
    parser.add_argument("--profile", action="store_true", help="run the bridge once, under cProfile")
    parser.add_argument("--keep", type=Path, help="leave logs and configs in this directory")
    options = parser.parse_args()
    if options.only and options.peers:
        parser.error("--peers compares with both, --only leaves one out")
    return options


def main() -> int:
    """Start Kafka, run, print."""
    options = parse()

    def run(bootstrap: str, place: Path) -> dict[str, Any] | None:
        directory = options.keep or place
        directory.mkdir(parents=True, exist_ok=True)
        if not options.profile:
            return compare(bootstrap, directory, options)
        bench = Bench(bootstrap, directory, OrderStream(PREFIX, options.rows, options.seed))
        bench.fill()
        bench.show(BRIDGE, 0, bench.bridge(0, profile=True))
        return None

    return on_own_kafka("bench", run)


if __name__ == "__main__":
    sys.exit(main())
