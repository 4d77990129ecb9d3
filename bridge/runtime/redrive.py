"""Dead letters translated again, by the mapping files as they are now, and told as if they had never failed.

Whoever tells them opens the source's transactional producer, as every decision does (see ``bridge.runtime.decide``): the
owner, if there is one, is fenced, restores, and finds its aggregates no longer parked, so that later units follow in order.
A busy owner takes its producer back within a moment, and fences in turn; so everything is read and translated before, and
only looked at once more in between. What is published and what is settled stand in one Kafka transaction:

  1. read      changelog and letters to their ends
  2. translate each chosen aggregate's open letters in order, until one still fails
  3. open      fences the owner; nothing of it is on its way any more
  4. read      what came since, and translate that too
  5. publish   events; how far each aggregate is settled; parked no more, or parked at the letter that still fails

Nothing but the changelog says how far it came: run again, it goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from bridge.core.encode import Encode
from bridge.core.images import Images, Rebuild, unpack
from bridge.core.oversize import Large, pointer, record_name
from bridge.core.translate import translate
from bridge.core.units import PARKED
from bridge.errors import Fatal, Fenced, Oversize, RecordTooLarge, Retriable, Undecodable, Untranslatable
from bridge.model import ChangelogRecord, Clock, Kafka, MappingSet, OutboundRecord, Publisher
from bridge.runtime.letters import SETTLED, Decided, Letter, Letters, Settled, Wanted
from bridge.state.rows import meta_key

_LETTERS: Final = 1_000  # of one Kafka transaction
_ATTEMPTS: Final = 60  # to be quicker than the owner
_BURST_SECONDS: Final = 5.0  # how much of a rate is told at once: each time costs the owner a restore
Problem = Untranslatable | Undecodable


class Tried(msgspec.Struct):
    """What becomes of one letter now: its events, or why not. ``waits``: an earlier one of its aggregate fails."""

    letter: Letter
    records: list[OutboundRecord] = []
    problem: Problem | None = None
    waits: bool = False


class Again:
    """Letters to events, by the mappings as they are now. What was tried once is remembered."""

    def __init__(self, source: str, mappings: MappingSet) -> None:
        self._encode = Encode(source)
        self._rebuild = Rebuild(mappings)
        self._tried: dict[tuple[int, int], Tried] = {}

    def tried(self, letter: Letter) -> Tried:
        place = (letter.partition, letter.offset)
        found = self._tried.get(place)
        if found is None:
            found = self._tried[place] = Tried(letter)
            try:
                found.records = self._records(letter)
            except (Untranslatable, Undecodable) as error:
                found.problem = error
        return found

    def in_order(self, letters: list[Letter]) -> Iterator[Tried]:
        """One aggregate's open letters: after one that fails all others wait."""
        fails = False
        for letter in letters:
            tried = self.tried(letter)
            yield Tried(letter, waits=True) if fails else tried
            fails = fails or tried.problem is not None

    def too_large(self, error: RecordTooLarge) -> None:
        """Letters whose events do not fit are letters that still fail. Raises it where it is about others."""
        known = {id(one.record): one for one in error.records}
        found = False
        for tried in self._tried.values():
            large = [known[id(record)] for record in tried.records if id(record) in known]
            if large:
                tried.problem = Oversize([pointer(*one) for one in large])
                tried.records, found = [], True
        if not found:
            raise error

    def forget(self, letter: Letter) -> None:
        self._tried.pop((letter.partition, letter.offset), None)

    def _records(self, letter: Letter) -> list[OutboundRecord]:
        images = images_of(letter)
        touched = self._rebuild.touched(letter.aggregate, images)
        return self._encode.unit(translate(touched, snapshot=images.told.snapshot), images.told)


def images_of(letter: Letter) -> Images:
    """Raises Undecodable, Untranslatable where the letter has none."""
    if letter.is_record:
        raise Undecodable("a record that cannot be decoded tells nothing", "--give-up settles it", code="B201")
    packed = letter.document().get("packed")
    if packed is None:
        what = "was too large for its topic" if letter.is_reduced else "was written by an earlier version"
        raise Untranslatable(
            f"this dead letter cannot be translated again: it {what}, and has no rows",
            "`bridge replay` tells it from the source's history, if the topics still hold it; or --give-up goes on without it",
            code="B520",
        )
    return unpack(packed)


class Done(msgspec.Struct):
    """What a replay did. ``late``: of those told, letters whose aggregates had gone on without them (`skip`)."""

    told: int = 0
    events: int = 0
    late: int = 0
    given_up: list[Letter] = msgspec.field(default_factory=list)
    unparked: list[str] = msgspec.field(default_factory=list)  # that had no letters any more


class _Batch(msgspec.Struct):
    """The content of one Kafka transaction."""

    records: list[OutboundRecord] = msgspec.field(default_factory=list)
    values: dict[bytes, bytes | None] = msgspec.field(default_factory=dict)
    settled: list[Tried] = msgspec.field(default_factory=list)
    late: int = 0
    unparked: list[str] = msgspec.field(default_factory=list)

    def is_full(self, events: int) -> bool:
        return len(self.settled) >= _LETTERS or len(self.records) >= events


class Redrive:
    """One replay of the letters that are ``wanted``: of each aggregate that has one, all open letters in order.

    ``rate``: events per second, 0 for as fast as it goes. ``give_up``: letters that still fail are settled without events.
    """

    def __init__(  # noqa: PLR0913 - where from, where to, which, and how
        self,
        kafka: Kafka,
        decided: Decided,
        letters: Letters,
        again: Again,
        wanted: Wanted,
        clock: Clock,
        tell: Callable[[str], None],
        *,
        rate: float = 0.0,
        give_up: bool = False,
    ) -> None:
        self._kafka = kafka
        self._decided = decided
        self._letters = letters
        self._again = again
        self._wanted = wanted
        self._clock = clock
        self._tell = tell
        self._rate = rate
        self._give_up = give_up
        self._most = max(1, int(rate * _BURST_SECONDS)) if rate else _LETTERS * 10
        self._names: dict[str, None] = {}
        self.done = Done()

    def run(self) -> Done:
        """Raises Fatal, Retriable where the owner was always quicker."""
        publisher = self._kafka.publisher(None)
        try:
            while self._plan().values:
                started = self._clock.now()
                events = self._publish(publisher)
                if self._rate and self._plan().values:
                    self._clock.sleep(max(0.0, events / self._rate - (self._clock.now() - started)))
        finally:
            publisher.close()
        return self.done

    def failing(self) -> list[Tried]:
        """The first open letter of each chosen aggregate, where it still fails."""
        self._choose()
        found = [next(self._again.in_order(open_), None) for open_ in map(self.open, self._names)]
        return [one for one in found if one is not None and one.problem is not None]

    def open(self, name: str) -> list[Letter]:
        """An aggregate's open letters, in order."""
        return [letter for letter in self._letters.of.get(name, ()) if self._decided.is_open(letter)]

    # -- one Kafka transaction -----------------------------------------------------------------------------------------

    def _publish(self, publisher: Publisher) -> int:
        """How many events were told."""
        batch = None
        for _ in range(_ATTEMPTS):
            try:
                publisher.open()
                self._look()
                if batch is not None and self._is_there(batch):  # the answer to its commit was lost
                    return self._count(batch)
                batch = self._plan()
                changelog = [ChangelogRecord(meta_key(name), value) for name, value in batch.values.items()]
                if changelog:
                    publisher.publish(batch.records, changelog, {})
                self._look()
                return self._count(batch)
            except RecordTooLarge as error:
                self._again.too_large(error)
                batch = None
            except (Fenced, Retriable) as error:
                self._tell(f"again: {error.message}")
        raise Retriable(
            f"the running bridge took its producer back {_ATTEMPTS} times before anything could be published",
            "run it again, when less comes in; or stop the bridge meanwhile",
            code="B522",
        )

    def _look(self) -> None:
        self._decided.look()
        self._letters.look()

    def _is_there(self, batch: _Batch) -> bool:
        return bool(batch.values) and all(self._decided.value(name) == value for name, value in batch.values.items())

    def _count(self, batch: _Batch) -> int:
        done = self.done
        for tried in batch.settled:
            self._again.forget(tried.letter)
            if tried.problem is None:
                done.told += 1
            else:
                done.given_up.append(tried.letter)
        done.events += len(batch.records)
        done.late += batch.late
        done.unparked += batch.unparked
        self._tell(f"{done.told:,} letters told with {done.events:,} events")
        return len(batch.records)

    def _choose(self) -> None:
        self._names |= dict.fromkeys(self._letters.names(self._wanted))

    def _plan(self) -> _Batch:
        """What can be told now; no values where there is nothing."""
        self._choose()
        batch = _Batch()
        for name in self._names:
            if batch.is_full(self._most):
                break
            self._add(name, self.open(name), batch)
        if self._give_up and self._wanted.is_by_name:
            self._unpark(batch)
        return batch

    def _add(self, name: str, letters: list[Letter], batch: _Batch) -> None:
        settled: list[Tried] = []
        for letter in letters:
            tried = self._again.tried(letter)
            if batch.is_full(self._most) or (tried.problem is not None and not self._give_up):
                break
            settled.append(tried)
            batch.settled.append(tried)
            batch.records += tried.records
            self._forget_sizes(tried, batch)
        if not settled:
            return
        before, last = self._decided.settled(name), settled[-1].letter
        given_up = [] if before is None else before.given_up
        given_up = given_up + [one.letter.offset for one in settled if one.problem is not None]
        position = max(0 if before is None else before.position, *[one.letter.position for one in settled])
        mark = Settled(last.partition, last.offset, position, given_up)
        batch.values[SETTLED + name.encode()] = msgspec.json.encode(mark)
        if not self._decided.is_parked(name):
            batch.late += sum(one.problem is None for one in settled)
            return
        left = letters[len(settled) :]
        batch.values[PARKED + name.encode()] = b"%d" % left[0].position if left else None

    def _forget_sizes(self, tried: Tried, batch: _Batch) -> None:
        for record in tried.records:
            name = Large.PREFIX + record_name(record)
            if self._decided.value(name) is not None:
                batch.values[name] = None

    def _unpark(self, batch: _Batch) -> None:
        """Aggregates whose letters are gone from the topic: nobody else lets them go on."""
        for name in self._decided.parked():
            aggregate, _, identity = name.partition("\x1f")
            if not self._wanted.has_name(aggregate, identity) or self.open(name):
                continue
            if PARKED + name.encode() not in batch.values:
                batch.values[PARKED + name.encode()] = None
                batch.unparked.append(name.replace("\x1f", " "))


def refuse_other_mappings(digest: str, mappings: MappingSet, *, is_running: bool) -> str:
    """Raises Fatal where a running bridge works by other mapping files. Returns what is to be said otherwise."""
    if digest in ("", mappings.digest):
        return ""
    if is_running:
        raise Fatal(
            "the running bridge works by other mapping files than these: later units would fail as the letters did",
            "start the bridge again with these mapping files, wait until it is ready, then replay",
            code="B521",
        )
    return "no bridge runs, and the last one worked by other mapping files: start the next one with these"
