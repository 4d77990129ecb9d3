"""One seed → one scenario: features, a database's history, the topics that a connector made of it, and the truth."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random

from tests.sim.database import Change, Database, Transaction, lay_out_wal, wrap_xids
from tests.sim.debezium import Connector, Layout, Topics
from tests.sim.mariadb import lay_out_binlog
from tests.sim.naive import SeedRow, Truth, truth
from tests.sim.workload import CUSTOMER, MAPPED, ORDER, PAYMENT, TAX, Features, Workload, random_features, with_windows

PREFIX = "legacy"
GARBAGE_SHARE = 0.1
GARBAGE = (b"\xff\xfe", b"{", b"17", b"[]", b"[" * 10_000 + b"]" * 10_000, b'{"before":null,"after":{"ord_no":7')


@dataclass
class Scenario:
    seed: int
    features: Features
    database: Database
    layout: Layout
    topics: Topics
    inline: bool

    @cached_property
    def truth(self) -> Truth:
        return truth(self.database, self.features, self._incremental_seeds())

    def _incremental_seeds(self) -> list[SeedRow]:
        """Incremental snapshot rows that reached the topics (a connector's death may swallow some), in their order."""
        found: list[SeedRow] = []
        for send in self.topics.sends():
            if send.seed is not None and send.seed_position >= 0:
                seed = send.seed
                found.append((send.seed_position, seed.table.name, seed.table.key_of(seed.row), seed.row))
        return found

    def seeds_overlap_live_changes(self) -> bool:
        """Did a seed of a row reach the topics whose row was changed by a transaction close before or after it?"""
        transactions = self.database.transactions
        for position, table, key, _ in self._incremental_seeds():
            near = transactions[max(0, position - 6) : position + 6]
            if any((table, key) in transaction.touched_by_writing() for transaction in near):
                return True
        return False


def spoil(database: Database, rng: Random) -> None:
    """Some records of orders become such that nobody can read them; their keys are whole.

    All are of one transaction: which of several a record is of cannot always be told. Where no snapshot showed any
    order, one whose creation nobody could read never becomes complete: that is left out.
    """
    seeded = any(seed.table.name == ORDER for seed in database.snapshot or ())
    ops = "cu" if seeded else "u"
    found = [[change for change in _alone(one) if change.op in ops] for one in database.transactions]
    changes = rng.choice([some for some in found if some] or [[]])
    for change in rng.sample(changes, min(len(changes), rng.randint(1, 2))):
        change.garbage = rng.choice(GARBAGE)


def _alone(transaction: Transaction) -> list[Change]:
    """Changes of orders that nothing else in their transaction changes."""
    orders = [change for change in transaction.logged() if change.table.name == ORDER]
    times = Counter(change.key() for change in orders)
    return [change for change in orders if times[change.key()] == 1]


def mapped_tables(features: Features) -> list[str]:
    """The tables that the mapping uses, and whose topics the bridge reads."""
    left_out = {TAX: features.taxes, PAYMENT: features.payment, CUSTOMER: features.customer}
    return [table for table in MAPPED if left_out.get(table, True)]


def make_scenario(seed: int, *, mariadb: bool = False, garbage: bool = False) -> Scenario:
    """``garbage``: for some seeds, records that nobody can read."""
    rng = Random(f"scenario/{seed}")
    features = with_windows(random_features(rng), Random(f"windows/{seed}"))
    broken = Random(f"garbage/{seed}")
    has_garbage = garbage and broken.random() < GARBAGE_SHARE
    if has_garbage:
        features = replace(features, window=None, rekeys=False, soft_delete=False, poison=False)
    if mariadb:
        features = replace(features, mariadb=True, cascades=rng.random() < 0.7)
        if features.window is not None:  # its commit times are whole seconds
            quiet, at_most = (max(ms, 2000) for ms in features.window)
            features = replace(features, window=(quiet, at_most))
    database = Workload(features, rng).run()
    if mariadb:
        lay_out_binlog(database)
    else:
        lay_out_wal(database, features.concurrency)
    partitions = {table: rng.randint(1, 3) for table in database.tables}
    layout = Layout(PREFIX, rng.random() < 0.25 and not has_garbage, partitions)
    inline = rng.random() < 0.1
    crashes = rng.choice((0, 0, 1, 1, 2, 3)) if database.transactions else 0
    if has_garbage:
        crashes = 0  # or a second run would send good records for what it has sent as garbage
        spoil(database, broken)
    if seed % 3 == 0 and not mariadb:
        wrap_xids(database, features.concurrency, repeat=crashes == 0)
    connector = Connector(database, layout, rng, mapped_tables(features), inline=inline, mariadb=mariadb)
    topics = connector.send_all(crashes)
    if rng.random() < 0.3:
        for send in topics.sends():
            send.gap = rng.choice((0, 0, 0, 1, 2))
    return Scenario(seed, features, database, layout, topics, inline)
