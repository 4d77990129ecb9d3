"""python -m legacy_demo.demo: the whole way, once, on this machine, with a crash in the middle.

Clerks work on a legacy database; Debezium writes its row changes to Kafka; the bridge makes business events of them,
and is killed with SIGKILL half-way. In the end the events are compared with the ledger of what really happened.
The last line is one JSON object for machines.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from confluent_kafka.admin import AdminClient

from deploy.stack import HEARTBEAT_TABLE, SIGNAL_TABLE, Stack, StackError
from deploy.stack.dist import REPOSITORY, STACK_DIRECTORY
from deploy.stack.process import Command, Server, free_ports, run, start, wait_until
from legacy_demo import workload
from legacy_demo.verify import Report, read_ledger, verify
from legacy_demo.watch import EventWatcher, InputWatcher

HOME = STACK_DIRECTORY / "run" / "demo"
PREFIX = "shop"
TABLES = (*workload.TABLES, *workload.COMPLAINT_TABLES)
INPUT_TOPICS = [f"{PREFIX}.{table}" for table in TABLES]
TRANSACTION_TOPIC = f"{PREFIX}.transaction"
EVENT_TOPICS = ["sales.orders", "sales.complaints"]
SNAPSHOT_SECONDS = 60
STALLED_SECONDS = 30
LINE_SECONDS_TERMINAL, LINE_SECONDS_FILE = 0.25, 5.0


class DemoFailedError(RuntimeError):
    """The demo could not be played to its end."""


@dataclass(frozen=True, slots=True)
class Options:
    """seconds: how long the clerks work; rate: their transactions a second."""

    seconds: float
    rate: float
    clerks: int
    seed: int
    kill: bool


class Screen:
    """Progress for people: lines that stay, and one that changes (on a terminal) or comes now and then (elsewhere)."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._started = time.monotonic()
        self._next_live = 0.0
        self._live_width = 0

    def say(self, text: str) -> None:
        """A line that stays."""
        self._clear()
        print(f"{time.monotonic() - self._started:6.1f} s  {text}", flush=True)

    def live(self, text: str) -> None:
        """The line that changes."""
        now = time.monotonic()
        if now < self._next_live:
            return
        self._next_live = now + (LINE_SECONDS_TERMINAL if self._terminal else LINE_SECONDS_FILE)
        self.say(text)
        if self._terminal:
            print("\033[1A", end="", flush=True)  # the next line goes over this one
            self._live_width = 1

    def _clear(self) -> None:
        if self._live_width:
            print("\033[2K", end="")
            self._live_width = 0


class Bridge:
    """The bridge as a process of its own, as it would run anywhere."""

    def __init__(self, config: Path, log: Path) -> None:
        self._config = config
        self._log = log
        self._server: Server | None = None

    def command(self, *arguments: str) -> None:
        """Run one of its commands to the end."""
        run(Command(f"bridge {arguments[0]}", self._arguments(*arguments), self._log, REPOSITORY))

    def start(self) -> int:
        """Start `bridge run`; its process id."""
        self._server = start(Command("bridge", self._arguments("run"), self._log, REPOSITORY), detached=False)
        return self._server.process.pid

    def kill(self) -> None:
        """End it with SIGKILL."""
        if self._server is not None:
            self._server.kill()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL when that does not help."""
        if self._server is not None:
            self._server.stop(timeout=15)

    def must_live(self) -> None:
        """Raise when it ended by itself."""
        if self._server is not None and not self._server.alive():
            raise DemoFailedError(f"the bridge ended; the end of {self._log}:\n{self._server.log_tail()}")

    def log_tail(self) -> str:
        """The last lines of its log."""
        return "" if self._server is None else self._server.log_tail()

    def _arguments(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "bridge", *arguments, "--config", str(self._config)]


def bridge_config(stack: Stack, home: Path) -> dict[str, Any]:
    """The bridge's configuration for the demo: the source is read from one topic per table."""
    return {
        "kafka": {"bootstrap.servers": stack.bootstrap},
        "sources": {
            "legacy": {
                "connector": "postgresql",
                "topics": INPUT_TOPICS,
                "transaction_topic": TRANSACTION_TOPIC,
                "signal_table": SIGNAL_TABLE,
                "heartbeat_table": HEARTBEAT_TABLE,
            }
        },
        "mappings": str(REPOSITORY / "mappings" / "demo"),
        "state": {"directory": str(home / "state")},
        "http": {"port": free_ports(1)[0]},
        "logs": {"format": "json"},
        # how long the group keeps the place of a killed process
        "limits": {"session_timeout_seconds": 6},
    }


class Demo:
    """One run of the demo."""

    def __init__(self, options: Options, home: Path = HOME) -> None:
        self.options = options
        self.home = home
        self.screen = Screen()
        self.stack = Stack(home, progress=self.screen.say)
        self.bridge = Bridge(home / "bridge.yaml", home / "logs" / "bridge.log")
        self.ledger = home / "ledger.jsonl"
        self.clerks: Server | None = None
        self.outage = 0.0

    def play(self) -> tuple[Report, dict[str, int]]:
        """Everything; what verification found, and the figures of the last line."""
        self._clean_up_last_time()
        with ExitStack() as cleanup:
            cleanup.callback(self.stack.stop, wipe=True)
            self.stack.start()
            cleanup.push(self._end_processes)
            self._prepare()
            rows = cleanup.enter_context(InputWatcher(self.stack.bootstrap, INPUT_TOPICS, TRANSACTION_TOPIC))
            events = cleanup.enter_context(EventWatcher(self.stack.bootstrap, EVENT_TOPICS))
            self._work(rows, events)
            self._wait_for_the_last(rows, events)
            facts = read_ledger(self.ledger)
            report = verify(facts, events.events)
            self._show(
                report, Counter(fact.event for fact in facts), Counter(event.type for event in events.events), rows
            )
            return report, {
                "row_changes": rows.row_changes,
                "transactions": rows.transactions,
                "events": report.events,
                "expected": report.expected,
                "missing": report.missing,
                "duplicated": report.duplicated,
                "wrong": report.wrong + report.disordered,
            }

    def _end_processes(self, kind: type[BaseException] | None, *_: object) -> None:
        """The bridge gets time to end well, unless something went wrong."""
        if self.clerks is not None:
            self.clerks.kill()
        if kind is None:
            self.bridge.stop()
        else:
            self.bridge.kill()

    def _clean_up_last_time(self) -> None:
        last = Stack.attach(self.home)
        if last is not None and any(last.alive().values()):
            raise DemoFailedError(f"another demo runs in {self.home}")
        if last is not None:
            last.stop(wipe=True)
        shutil.rmtree(self.home, ignore_errors=True)

    def _prepare(self) -> None:
        self.screen.say("creating the legacy schema, with a few old orders")
        workload.create_schema(self.stack.postgres)
        self.screen.say("registering Debezium, waiting for its snapshot")
        self.stack.register("legacy", self.stack.debezium_postgres(PREFIX, TABLES))
        self._wait_for_topics([*INPUT_TOPICS, TRANSACTION_TOPIC])
        (self.home / "bridge.yaml").write_text(yaml.safe_dump(bridge_config(self.stack, self.home), sort_keys=False))
        self.bridge.command("topics", "--create")
        self.screen.say(f"bridge started, process {self.bridge.start()}, log {self.home / 'logs' / 'bridge.log'}")

    def _wait_for_topics(self, topics: list[str]) -> None:
        """The transaction topic comes with the first streamed transaction, which is the first heartbeat."""
        client = AdminClient({"bootstrap.servers": self.stack.bootstrap})
        if not wait_until(lambda: set(topics) <= client.list_topics(timeout=10).topics.keys(), SNAPSHOT_SECONDS):
            raise DemoFailedError(f"Debezium did not create its topics; see {self.stack.log_file('connect')}")

    def _work(self, rows: InputWatcher, events: EventWatcher) -> None:
        """The clerks at work; the bridge is killed and started again half-way."""
        options = self.options
        clerks = self.clerks = self._start_clerks()
        self.screen.say(
            f"{options.clerks} clerks at work for {options.seconds:.0f} s, {options.rate:.0f} transactions/s"
        )
        half_way = time.monotonic() + options.seconds / 2
        killed: float | None = None
        events_at_kill = 0
        while clerks.alive():
            if options.kill and killed is None and time.monotonic() >= half_way:
                self.bridge.kill()
                killed, events_at_kill = time.monotonic(), len(events.events)
                self.screen.say("half-way: bridge killed with SIGKILL")
                self.screen.say(f"bridge started again, process {self.bridge.start()}")
            if killed is not None and not self.outage and len(events.events) > events_at_kill:
                self.outage = time.monotonic() - killed
            self.bridge.must_live()
            self._live(rows, events)
            wait_until(lambda: not clerks.alive(), 0.1)
        if clerks.child is None or clerks.child.returncode != 0:
            raise DemoFailedError(f"the workload failed:\n{clerks.log_tail()}")

    def _start_clerks(self) -> Server:
        options, database = self.options, self.stack.postgres
        numbers = ["--clerks", str(options.clerks), "--seed", str(options.seed)]
        limits = ["--rate", str(options.rate), "--seconds", str(options.seconds)]
        arguments = [
            sys.executable,
            "-m",
            "legacy_demo.workload",
            "--ledger",
            str(self.ledger),
            "--complaints",
            *numbers,
            *limits,
        ]
        names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}
        environment = {names[name]: str(value) for name, value in database.items()}
        log = self.home / "logs" / "workload.log"
        return start(Command("workload", arguments, log, REPOSITORY, environment=environment), detached=False)

    def _wait_for_the_last(self, rows: InputWatcher, events: EventWatcher) -> None:
        """One order more: when its event is out, whatever belongs before it is out too, or will never be. But complaints
        that were left lying wait for a heartbeat after their window's end.
        """
        key = workload.place_last_order(self.stack.postgres, self.ledger, self.options.clerks, self.options.seed)
        self.screen.say(
            "the clerks went home; waiting for the last order's event, and for complaints that were left lying"
        )
        wanted = {key, *(fact.key for fact in read_ledger(self.ledger))}
        moved, seen = time.monotonic(), (0, 0)
        while not wanted <= events.keys and time.monotonic() - moved < STALLED_SECONDS:
            self.bridge.must_live()
            self._live(rows, events)
            if seen != (rows.row_changes, len(events.events)):
                moved, seen = time.monotonic(), (rows.row_changes, len(events.events))
            wait_until(lambda: wanted <= events.keys, 0.1)
        if not wanted <= events.keys:
            self.screen.say(
                f"nothing came for {STALLED_SECONDS} s; the end of the bridge's log:\n{self.bridge.log_tail()}"
            )
        events.catch_up(STALLED_SECONDS)
        rows.catch_up(STALLED_SECONDS)

    def _live(self, rows: InputWatcher, events: EventWatcher) -> None:
        self.screen.live(
            f"in: {rows.row_changes:,} row changes, {rows.transactions:,} transactions"
            f"    out: {len(events.events):,} events"
        )

    def _show(self, report: Report, facts: Counter[str], published: Counter[str], rows: InputWatcher) -> None:
        self.screen.say("compared with the ledger of what really happened:\n")
        print(f"    {'':16} {'happened':>10} {'published':>10}")
        for event in sorted(facts.keys() | published.keys()):
            print(f"    {event or '(no type)':16} {facts[event]:>10,} {published[event]:>10,}")
        print(f"    {'':16} {report.expected:>10,} {report.events:>10,}\n")
        deviations = {
            "missing": report.missing,
            "duplicated": report.duplicated,
            "wrong": report.wrong,
            "out of order": report.disordered,
        }
        for name, count in deviations.items():
            print(f"    {name:16} {count:>10,}")
        for example in report.examples:
            print(f"      {example}")
        print(
            f"\n    {rows.row_changes:,} row changes in {rows.transactions:,} transactions; {report.events:,} events."
        )
        if self.outage:
            print(f"    Killed once with SIGKILL; the next event came {self.outage:.1f} s later.")
        print(f"    {'All right.' if report.right else 'NOT right.'}\n")


def main() -> int:
    """Read the command line, play, and judge."""
    parser = argparse.ArgumentParser(prog="python -m legacy_demo.demo", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long the clerks work")
    parser.add_argument("--rate", type=float, default=100, help="their transactions a second")
    parser.add_argument("--clerks", type=int, default=8, help="connections to the database")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-kill", action="store_true", help="leave the bridge alone")
    arguments = parser.parse_args()
    options = Options(arguments.seconds, arguments.rate, arguments.clerks, arguments.seed, not arguments.no_kill)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)  # KeyboardInterrupt, so that everything is cleaned up
    try:
        report, figures = Demo(options).play()
    except KeyboardInterrupt:
        print("\ninterrupted; nothing is left running", file=sys.stderr)
        return 130
    except (DemoFailedError, StackError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    print(json.dumps(figures), flush=True)
    return 0 if report.right else 1


if __name__ == "__main__":
    sys.exit(main())
