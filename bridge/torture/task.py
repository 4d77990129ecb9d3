"""Rounds of faults: the input is written once, each run reads all of it, and nothing is left behind."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from tempfile import mkdtemp
from typing import Final

from bridge.kafka.scratch import Scratch
from bridge.testing.expected import events_of
from bridge.testing.proxy import Proxy
from bridge.testing.stream import OrderStream, Record
from bridge.torture.faults import FAULTS
from bridge.torture.run import Input, Run, Seconds, faulty
from bridge.torture.tls import behind_proxy, context
from bridge.torture.verdict import Verdict

PREFIX: Final = "bridge-torture"
ROW_CHANGES: Final = 3_000
CUSTOMERS, ORDERS_AT_A_TIME = 40, 20
TABLE_PARTITIONS: Final = 2
SESSION_SECONDS: Final = 6.0  # brokers' default of the least, where this process may not ask for it
REPEATED_EVERY, REPEATED_MOST = 40, 12  # transactions


class Torture:
    """``told`` is called with a line about each run as it begins and ends."""

    def __init__(self, properties: Mapping[str, str], seed: int, told: Callable[[str], None]) -> None:
        self._properties = dict(properties)
        self._seed = seed
        self._told = told
        self._name = f"{PREFIX}-{secrets.token_hex(4)}"
        self._scratch = Scratch(properties, self._name)
        self._inputs: dict[bool, Input] = {}
        self._made: list[str] = []
        self._runs = 0
        self.verdicts: dict[str, list[Verdict]] = {}

    def run(
        self, faults: Sequence[str], rounds: int, seconds: float | None, is_over: Callable[[], bool] = lambda: False
    ) -> None:
        """Each fault in each round; with ``seconds``, rounds begin until so much time has passed.

        No run begins after ``is_over``: a signal's exception is lost where it falls into a callback of a C library.
        """
        begun = time.monotonic()
        directory = Path(mkdtemp(prefix=f"{self._name}-"))
        try:
            least = float(self._scratch.broker_config().get("group.min.session.timeout.ms", SESSION_SECONDS * 1000))
            timing = Seconds(max(2.0, least / 1000))
            for number in range(1, 1_000_000):
                for fault in faults:
                    if is_over():
                        return
                    self._one(fault, number, directory, timing)
                if (number >= rounds) if seconds is None else (time.monotonic() - begun >= seconds):
                    break
        finally:
            left = self._scratch.delete(self._made, [])
            for what in left:
                self._told(f"{what} could not be deleted")
            shutil.rmtree(directory, ignore_errors=True)

    def _one(self, fault: str, number: int, directory: Path, timing: Seconds) -> None:
        begun = time.monotonic()
        self._runs += 1
        name = f"{self._name}-{fault}-{number}"
        given = self._input(repeats=FAULTS[fault].repeats)
        dice = Random(f"{self._seed}/{fault}/{number}")  # noqa: S311 - a seed must replay
        with (
            Proxy(self._properties["bootstrap.servers"], context(self._properties)) as proxy,
            Run(
                self._scratch, name, directory / name, given, behind_proxy(self._properties), timing, dice, proxy
            ) as run,
        ):
            verdict = faulty(run, [FAULTS[fault].happen])
        self.verdicts.setdefault(fault, []).append(verdict)
        counts = f"{verdict.seen:,} of {verdict.expected:,} events, {verdict.lost} lost, {verdict.doubled} doubled"
        mark = "ok" if verdict.good else f"WRONG {verdict.problem}".rstrip()
        took = time.monotonic() - begun
        self._told(f"round {number}  {fault:10} {counts}, {verdict.reordered} reordered  {took:.1f} s  {mark}")

    def _input(self, *, repeats: bool) -> Input:
        found = self._inputs.get(repeats)
        if found is None:
            found = self._inputs[repeats] = self._write(repeats=repeats)
        return found

    def _write(self, *, repeats: bool) -> Input:
        stream = OrderStream(
            f"{self._name}.{'twice' if repeats else 'once'}",
            ROW_CHANGES,
            self._seed,
            customers=CUSTOMERS,
            orders_at_a_time=ORDERS_AT_A_TIME,
        )
        topics = {**dict.fromkeys(stream.topics, TABLE_PARTITIONS), stream.transaction_topic: 1}
        self._made += topics
        self._scratch.create(topics)
        records = list(stream.records())
        if repeats:
            records = list(repeated(records, stream.transaction_topic, Random(self._seed)))  # noqa: S311 - as above
        self._scratch.write(records)
        ends = self._scratch.ends(self._scratch.partitions(topics))
        self._told(f"input written: {len(records):,} records, {len(stream.facts):,} events follow from them")
        return Input(tuple(stream.topics), stream.transaction_topic, events_of(stream.facts), ends)


def repeated(records: Sequence[Record], transaction_topic: str, dice: Random) -> Iterator[Record]:
    """As a connector writes that dies and goes back: now and then the last transactions stand there again."""
    ends: list[int] = []  # where transactions end, in the records
    begin: int | None = None
    for place, record in enumerate(records):
        if record.topic == transaction_topic and begin is None:
            begin = place
        yield record
        if record.topic == transaction_topic and b'"status":"END"' in record.value:
            ends.append(place + 1)
            if dice.randrange(REPEATED_EVERY) == 0:
                back = ends[-1 - dice.randint(1, REPEATED_MOST) :][:1] if len(ends) > REPEATED_MOST else [begin or 0]
                yield from records[back[0] : place + 1]
