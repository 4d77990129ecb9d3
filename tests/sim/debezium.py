"""A simulated Debezium: sends a database's history to topics, dies, and sends again what it is not sure of.

What a death does (measured on Debezium 3.5 under kill -9): of what was handed to the producer, each partition keeps a
prefix, independently of the others. The next run starts at the stored source offset, which was acknowledged in every
partition and may lie in the middle of a transaction: that one is begun again with the rows from there on, its
total_order from 1, and its END counts those rows alone. Rows that share an LSN are never parted by an offset.

One thing is left out because nothing in the topics could tell it from its opposite: an END that counts the rows of such
a second run alone, and is there while rows of that run are not (late, or lost with the run), although rows of the first
run make up its count. So such an END arrives after its rows, and dies with them, unless the count shows the loss.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from random import Random
from zlib import crc32

from tests.sim.database import Change, Database, Seed, Transaction
from tests.sim.mariadb import MariadbWire
from tests.sim.wire import Headers, Sent, Wire

Place = tuple[int, int]  # transaction, group of rows: where a run starts


@dataclass(frozen=True)
class Layout:
    """Which topics the connector writes, and in how many partitions."""

    prefix: str
    single_log: bool
    partitions: dict[str, int]  # table → number of partitions

    def log(self) -> str:
        return f"{self.prefix}.log"

    def transaction_topic(self) -> str:
        return self.log() if self.single_log else f"{self.prefix}.transaction"

    def topic(self, table: str) -> str:
        return self.log() if self.single_log else f"{self.prefix}.{table}"

    def topics(self) -> dict[str, int]:
        """Every topic with its number of partitions."""
        heartbeat = {f"__debezium-heartbeat.{self.prefix}": 1}
        if self.single_log:
            return {self.log(): 1} | heartbeat
        topics = {self.topic(table): number for table, number in self.partitions.items()}
        return {self.transaction_topic(): 1, f"{self.prefix}.message": 1} | topics | heartbeat


@dataclass(eq=False)
class Send:
    """One record on its way. ``place``: where a run starts again that has this one acknowledged."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    place: Place
    kind: str  # begin row end seed other
    seed: Seed | None = None
    seed_position: int = -1  # transactions that committed before an incremental seed
    run: int = 0
    change: Change | None = None
    garbage: bool = False
    gap: int = 0  # offsets before it that no reader sees: markers and aborted records of an exactly-once connector


@dataclass
class Topics:
    """What arrived. ``phases``: everything of one was in the topics before anything of the next."""

    layout: Layout
    phases: list[list[Send]] = field(default_factory=list)
    reached: Counter[str] = field(default_factory=Counter)

    def sends(self) -> list[Send]:
        return [send for phase in self.phases for send in phase]

    def partitions(self) -> dict[tuple[str, int], list[Send]]:
        """Every partition's records in their order."""
        found: dict[tuple[str, int], list[Send]] = {
            (topic, partition): [] for topic, number in self.layout.topics().items() for partition in range(number)
        }
        for send in self.sends():
            found[send.topic, send.partition].append(send)
        return found


class Connector:
    """One connector over all its runs."""

    def __init__(
        self,
        database: Database,
        layout: Layout,
        rng: Random,
        mapped: Collection[str],
        *,
        inline: bool = False,
        mariadb: bool = False,
    ) -> None:
        self.database = database
        self.mapped = mapped  # the tables that the bridge reads
        self.layout = layout
        self.rng = rng
        self.wire = MariadbWire(layout.prefix, rng, 1, inline=inline) if mariadb else Wire(layout.prefix, inline=inline)
        self.topics = Topics(layout)
        self._groups = [transaction.groups() for transaction in database.transactions]
        self._run = 0
        self._sends: list[Send] = []
        self._seeded: set[int] = set()

    def send_all(self, crashes: int) -> Topics:
        """The whole history, with this many deaths on the way."""
        if self.database.snapshot is not None:
            self._sends = []
            self._snapshot(self.database.snapshot)
            self.topics.phases.append(self._sends)
        start: Place = (0, 0)
        for _ in range(crashes):
            start = self._run_and_die(start)
        self._run_from(start)
        self.topics.phases.extend(_cut(self._sends, start))
        return self.topics

    # Runs

    def _run_and_die(self, start: Place) -> Place:
        self._run_from(start)
        if not self._sends:
            return start
        handed_over = self._moment_of_death()
        sends = self._sends[:handed_over]
        acknowledged = self.rng.randint(max(0, handed_over - self.rng.choice((3, 15, 60))), handed_over)
        survivors = self._without_blind_end(self._survivors(sends, acknowledged), start)
        self.topics.phases.extend(_cut(survivors, start))
        place = max((send.place for send in sends[:acknowledged]), default=start)
        if not any(send.place[0] == place[0] and send.kind == "row" for send in self._sends[acknowledged:]):
            place = (place[0], self.rng.choice((place[1], len(self._groups[place[0]]))))  # all its rows are safe
        again = self._stored_offset(start, place)
        self._count_what_repeats(again, survivors)
        return again

    def _moment_of_death(self) -> int:
        """How many records were handed over: anywhere, or just when an END was, whose rows may be on their way still."""
        ends = [number for number, send in enumerate(self._sends) if send.kind == "end"]
        if ends and self.rng.random() < 0.4:
            return min(len(self._sends), self.rng.choice(ends) + self.rng.randint(1, 3))
        return self.rng.randint(1, len(self._sends))

    def _survivors(self, sends: list[Send], acknowledged: int) -> list[Send]:
        """All that was acknowledged, and of the rest a prefix per partition."""
        late: dict[tuple[str, int], int] = Counter((send.topic, send.partition) for send in sends[acknowledged:])
        keep = {name: self.rng.choice((0, count, self.rng.randint(0, count))) for name, count in sorted(late.items())}
        found = sends[:acknowledged]
        for send in sends[acknowledged:]:
            name = (send.topic, send.partition)
            if keep[name] > 0:
                keep[name] -= 1
                found.append(send)
        return found

    def _without_blind_end(self, survivors: list[Send], start: Place) -> list[Send]:
        """Drop the END of a second run (and all markers behind it) whose rows are lost without its count telling."""
        index = start[0]
        end = next((send for send in survivors if send.kind == "end" and send.place[0] == index), None)
        if end is None or start[1] == 0:
            return survivors
        counted = [c for group in self._groups[index][start[1] :] for c in group if c.table.name in self.mapped]
        arrived = {id(send.change) for send in survivors}
        if all(id(change) in arrived for change in counted):
            return survivors
        known = {id(send.change): send.change for send in self.topics.sends() if send.change and send.place[0] == index}
        known |= {id(send.change): send.change for send in survivors if send.change and send.place[0] == index}
        have = Counter(change.table.name for change in known.values())
        counts = Counter(change.table.name for change in counted)
        if any(have[table] < count for table, count in counts.items()):
            return survivors
        place = survivors.index(end)
        marker = self.layout.transaction_topic()
        return survivors[:place] + [send for send in survivors[place:] if send.topic != marker]

    def _stored_offset(self, start: Place, place: Place) -> Place:
        """Offsets are stored now and then: at what was acknowledged last, or somewhere before."""
        if self.rng.random() < 0.4:
            return place
        back = self.rng.choice((0, 1, 1, 2, 4, 10, 1000))
        index = max(start[0], place[0] - back)
        self.topics.reached["everything repeated"] += back == 1000 and index < place[0]
        last = place[1] if index == place[0] else len(self._groups[index])
        first = start[1] if index == start[0] else 0
        return (index, self.rng.randint(first, max(first, last)))

    def _count_what_repeats(self, again: Place, survivors: list[Send]) -> None:
        reached = self.topics.reached
        reached["connector death"] += 1
        ended = {send.place[0] for send in survivors if send.kind == "end"}
        touched = {send.place[0] for send in survivors if send.kind in ("begin", "row")}
        reached["repeat"] += any(index >= again[0] for index in ended)
        reached["restart inside a transaction"] += any(index not in ended for index in touched if index >= again[0])

    def _run_from(self, start: Place) -> None:
        self._sends = []
        self.wire.start_run(self._run)
        self._run += 1
        for transaction in self.database.transactions[start[0] :]:
            first = start[1] if transaction.index == start[0] else 0
            self._transaction(transaction, first)
            self._between(transaction)

    # Records

    def _last_commit(self, index: int) -> int | None:
        """The commit position of the transaction before this one, as the connector knows it."""
        return self.database.transactions[index - 1].end_lsn if index > 0 else None

    def _transaction(self, transaction: Transaction, first_group: int) -> None:
        index = transaction.index
        groups = self._groups[index]
        before_commit = self._last_commit(index)
        marker = self.layout.transaction_topic()
        self._send(marker, 0, self.wire.begin(transaction), (index, first_group), "begin")
        counts: Counter[str] = Counter()
        total = 0
        if transaction.seeds and first_group == 0:
            self._incremental(transaction)
        for number in range(first_group, len(groups)):
            for change in groups[number]:
                total += 1
                name = change.table.name or "io.debezium.connector.postgresql.LogicalDecodingMessageMonitor$Id@4b366975"
                counts[name] += 1
                record = self.wire.row(change, transaction, (total, counts[name]), before_commit)
                self._row(change, record, (index, number))
        self._send(marker, 0, self.wire.end(transaction, dict(counts)), (index, len(groups)), "end")

    def _row(self, change: Change, record: Sent, place: Place) -> None:
        if change.op == "m":
            self._send(f"{self.layout.prefix}.message", 0, record, place, "row").change = change
            return
        topic = self.layout.topic(change.table.name)
        partition = self._partition(change.table.name, record[0])
        if change.garbage is not None:
            record = (record[0], change.garbage, record[2])
        send = self._send(topic, partition, record, place, "row")
        send.change, send.garbage = change, change.garbage is not None
        if change.op == "d":
            self._send(topic, partition, self.wire.tombstone(change), place, "row")

    def _between(self, transaction: Transaction) -> None:
        """What the connector sends outside of transactions."""
        place = (transaction.index, len(self._groups[transaction.index]))
        for ddl in transaction.then_ddl:
            self._without_end(ddl, place)
        if self.rng.random() < 0.05:
            topic = f"__debezium-heartbeat.{self.layout.prefix}"
            self._send(topic, 0, self.wire.heartbeat(transaction.ts_ms + 5000), place, "other")
        if self.rng.random() < 0.03 and not isinstance(self.wire, MariadbWire):
            record = self.wire.loose_message(transaction.ts_ms, transaction.end_lsn, transaction.end_lsn)
            self._send(f"{self.layout.prefix}.message", 0, record, place, "other")

    def _without_end(self, ddl: Transaction, place: Place) -> None:
        self._send(self.layout.transaction_topic(), 0, self.wire.begin(ddl), place, "begin")
        self.topics.reached["BEGIN without END"] += 1
        for change in ddl.changes:
            self._row(change, self.wire.row(change, ddl, (1, 1), None), place)

    def _partition(self, table: str, key: bytes | None) -> int:
        number = 1 if self.layout.single_log else self.layout.partitions[table]
        return self.rng.randrange(number) if key is None else crc32(key) % number

    def _send(self, topic: str, partition: int, record: Sent, place: Place, kind: str) -> Send:
        if self.layout.single_log and topic.startswith(self.layout.prefix):
            topic = self.layout.log()
        send = Send(topic, partition, *record, place, kind, run=self._run)
        self._sends.append(send)
        return send

    # Snapshots

    def _snapshot(self, seeds: list[Seed]) -> None:
        lsn = self.database.snapshot_lsn
        ts_ms = self.database.now_ms - 3_600_000
        tables = [seed.table.name for seed in seeds]
        for number, seed in enumerate(seeds):
            first = number == 0 or tables[number - 1] != tables[number]
            last = number == len(seeds) - 1 or tables[number + 1] != tables[number]
            snapshot = "true"
            if number == len(seeds) - 1:
                snapshot = "last"
            elif number == 0:
                snapshot = "first"
            elif last:
                snapshot = "last_in_data_collection"
            elif first:
                snapshot = "first_in_data_collection"
            if isinstance(self.wire, MariadbWire):
                record = self.wire.snapshot_seed(seed, snapshot, ts_ms, (self.database.snapshot_file, lsn))
            else:
                record = self.wire.seed(seed, snapshot, ts_ms, lsn, 699)
            self._seed(seed, record, (0, 0), -1)

    def _incremental(self, transaction: Transaction) -> None:
        """The chunk whose window this transaction closes, once: a connector that died reads a chunk anew, elsewhere."""
        if transaction.index in self._seeded:
            return
        self._seeded.add(transaction.index)
        position = self._last_commit(transaction.index)
        assert position is not None
        for seed in transaction.seeds:
            if isinstance(self.wire, MariadbWire):
                record = self.wire.incremental_seed(seed, transaction)
            else:
                record = self.wire.seed(seed, "incremental", transaction.ts_ms, position, None)
            self._seed(seed, record, (transaction.index, 0), transaction.index)

    def _seed(self, seed: Seed, record: Sent, place: Place, position: int) -> None:
        topic = self.layout.topic(seed.table.name)
        send = self._send(topic, self._partition(seed.table.name, record[0]), record, place, "seed")
        send.seed = seed
        send.seed_position = position


def _cut(sends: list[Send], start: Place) -> list[list[Send]]:
    """What was handed over before an END is in the topics when that END is: where seeds or a second run need it so.

    So is what was handed over before a record that cannot be read: it is known by the place that stays empty.
    """
    phases: list[list[Send]] = [[]]
    whole = False  # the next END comes when all this is there
    for send in sends:
        if send.garbage or (send.kind == "end" and (whole or (start[1] > 0 and send.place[0] == start[0]))):
            phases.append([])
            whole = False
        whole = whole or send.kind == "seed" or send.garbage
        phases[-1].append(send)
    return [phase for phase in phases if phase]
