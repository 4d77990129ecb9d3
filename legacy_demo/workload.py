"""python -m legacy_demo.workload: clerks at work on the legacy database, and a ledger of what really happened.

The ledger gets the facts of a transaction after its COMMIT returned, so it holds no fact that is not true, one JSON
object a line. Same seed, same transactions of each clerk; how those of several clerks interleave is up to the database.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import psycopg

from legacy_demo.clerk import Clerk, Cursor, Fact
from legacy_demo.complaints import Complaints

SCHEMA = Path(__file__).with_name("schema.sql")
TABLES = ("public.t_cust", "public.t_ord", "public.t_ord_line", "public.t_pay")  # those that are captured
COMPLAINT_TABLES = ("public.t_cmpl", "public.t_cmpl_line")  # and those of the screen without transactions
COMPLAINTS_SHARE = 0.02  # of what a clerk does


class Ledger:
    """A file of facts that several threads append to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def write(self, facts: Sequence[Fact]) -> None:
        """Append; what is written outlives this process."""
        if facts:
            with self._lock, self._path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(asdict(fact)) + "\n" for fact in facts)


@dataclass(slots=True)
class Work:
    """What was done: transactions by their end, and facts."""

    committed: int = 0
    rolled_back: int = 0
    facts: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(self.committed + other.committed, self.rolled_back + other.rolled_back, self.facts + other.facts)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of what. rate: transactions a second of all clerks together, 0: as fast as they can."""

    clerks: int = 8
    rate: float = 100
    seconds: float | None = None
    transactions: int | None = None
    seed: int = 1
    complaints: bool = False  # clerks also work at the screen that commits after each statement


def create_schema(database: Mapping[str, str | int]) -> None:
    """Create tables and old orders in an empty database."""
    with _connect(database) as connection:
        connection.execute(SCHEMA.read_bytes())


def run(database: Mapping[str, str | int], ledger: Path, plan: Plan, stop: threading.Event | None = None) -> Work:
    """Let all clerks work until the plan is fulfilled or `stop` is set."""
    stop = stop or threading.Event()
    book = Ledger(ledger)
    # They start together, or the fast ones would be ahead of the plan.
    together = threading.Barrier(plan.clerks)

    def shift(number: int) -> Work:
        try:
            with _connect(database) as connection:
                return _shift(connection, Clerk(number, plan.clerks, plan.seed), book, plan, together, stop)
        except BaseException:
            stop.set()
            together.abort()
            raise

    with ThreadPoolExecutor(plan.clerks) as pool:
        try:
            return sum(pool.map(shift, range(plan.clerks)), Work())
        finally:
            stop.set()


def place_last_order(database: Mapping[str, str | int], ledger: Path, clerk_number: int, seed: int) -> str:
    """One order by a clerk who comes after all others; its key."""
    clerk = Clerk(clerk_number, clerk_number + 1, seed)
    with _connect(database) as connection:
        db = connection.cursor()
        clerk.adopt(db)
        facts = clerk.place_one(db)
        connection.commit()
    Ledger(ledger).write(facts)
    return facts[0].key


def _shift(
    connection: psycopg.Connection[tuple[object, ...]],
    clerk: Clerk,
    ledger: Ledger,
    plan: Plan,
    together: threading.Barrier,
    stop: threading.Event,
) -> Work:
    work, db = Work(), connection.cursor()
    clerk.adopt(db)
    complaints, chance = Complaints(clerk.number, plan.seed), random.Random(f"{plan.seed}/{clerk.number}")
    if plan.complaints:
        complaints.adopt(db)
    connection.commit()
    together.wait()
    started = time.monotonic()
    end = None if plan.seconds is None else started + plan.seconds
    share = None if plan.transactions is None else len(range(clerk.number, plan.transactions, plan.clerks))
    for count in itertools.count():
        due = started + (count * plan.clerks + clerk.number) / plan.rate if plan.rate else started
        if count == share or (end is not None and max(due, time.monotonic()) >= end):
            break
        if stop.wait(max(0.0, due - time.monotonic())):
            break
        if plan.complaints and chance.random() < COMPLAINTS_SHARE:
            facts = complaints.take(db, connection.commit)
            ledger.write(facts)
            work += Work(committed=1, facts=len(facts))
            continue
        work += one_transaction(connection, db, clerk, ledger)
    return work


def one_transaction(
    connection: psycopg.Connection[tuple[object, ...]], db: Cursor, clerk: Clerk, ledger: Ledger
) -> Work:
    """One transaction of a clerk, and its facts in the ledger."""
    try:
        facts, changed_mind = clerk.work(db)
    except psycopg.errors.DeadlockDetected:
        facts, changed_mind = [], True
    if changed_mind:
        connection.rollback()
        clerk.rolled_back()
        return Work(rolled_back=1)
    connection.commit()
    clerk.committed()
    ledger.write(facts)
    return Work(committed=1, facts=len(facts))


def _connect(database: Mapping[str, str | int]) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(" ".join(f"{name}={value}" for name, value in database.items()))


def main() -> int:
    """Work as the command line says, on the database that libpq's variables (PGHOST, PGPORT, …) name."""
    parser = argparse.ArgumentParser(prog="python -m legacy_demo.workload", description=main.__doc__)
    parser.add_argument("--ledger", type=Path, required=True, help="file that facts are appended to")
    parser.add_argument("--create", action="store_true", help="create the schema first")
    parser.add_argument("--clerks", type=int, default=8, help="connections")
    parser.add_argument("--rate", type=float, default=100, help="transactions a second; 0: as fast as it goes")
    parser.add_argument("--seconds", type=float, help="how long")
    parser.add_argument("--transactions", type=int, help="how many")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--complaints", action="store_true", help="complaints too, by code that commits after each statement"
    )
    options = parser.parse_args()
    if options.create:
        create_schema({})
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    plan = Plan(options.clerks, options.rate, options.seconds, options.transactions, options.seed, options.complaints)
    print(json.dumps(asdict(run({}, options.ledger, plan, stop))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
