"""``bridge plan`` as a whole: two editions of a source's mappings, a stretch of its history → the plan.

The history is read in nobody's name. It begins at the nearest stored checkpoint that has what both editions use, or at the
beginning of the topics, and both are rolled to the stretch; what lies before it is worked on and not compared.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import msgspec

from bridge.core.checkpoint import Checkpoint
from bridge.core.history import ACCEPT, RELEASE, Decisions, decisions
from bridge.core.pipeline import CHECKPOINT, Pipeline
from bridge.errors import Fatal
from bridge.model import Changelog, ChangelogRecord, MappingSet, Reader, SourceSettings
from bridge.plan.difference import Comparison
from bridge.plan.edition import Edition, renamed, under_old_names
from bridge.plan.pair import Pair, Side
from bridge.plan.report import Plan, Stretch
from bridge.runtime.evolve import lacking
from bridge.runtime.lenient import lenient
from bridge.runtime.position import BEGINNING, NOW, Ends, resolve
from bridge.runtime.published import Published
from bridge.runtime.roll import Roll, Tell
from bridge.runtime.stored import Checkpoints, Stored
from bridge.state.rows import RowState, meta_key
from bridge.state.store import LmdbStore, MemoryStore

_DECISIONS = (meta_key(ACCEPT), meta_key(RELEASE))


class Wish(msgspec.Struct, frozen=True):
    """From where to where, each a POSITION, and how many examples of each kind are wanted."""

    start: str = BEGINNING
    end: str = NOW
    examples: int = 3


class Known(msgspec.Struct):
    """What a source's changelog and its stored checkpoints say. Captures have neither."""

    identity: str = ""
    checkpoint: Checkpoint = Checkpoint()
    decisions: list[ChangelogRecord] = []
    checkpoints: Checkpoints | None = None

    @staticmethod
    def of(changelog: Changelog, checkpoints: Checkpoints) -> Known:
        """Operators' decisions are those of now: history is replayed as it would be."""
        named: dict[bytes, bytes] = {}
        for records, _ in changelog.read(*changelog.bounds()):
            for key, value in records:
                if value is None:
                    named.pop(key, None)
                elif key.startswith(_DECISIONS) or key == meta_key(CHECKPOINT):
                    named[key] = value
        checkpoint = Checkpoint.decode(named.pop(meta_key(CHECKPOINT), None))
        decisions = [ChangelogRecord(key, value) for key, value in named.items()]
        return Known(changelog.identity(), checkpoint, decisions, checkpoints)

    @property
    def accepted(self) -> Decisions:
        """What `bridge accept` decided."""
        metas = [(key[1:], value or b"") for key, value in self.decisions if key.startswith(meta_key(ACCEPT))]
        return decisions(metas, ACCEPT)

    def end_of(self, name: str) -> int:
        """Of the stored checkpoint of this name. Raises Fatal where there is none."""
        if self.checkpoints is None:
            raise Fatal("captures have no stored checkpoints", "give an offset, a time or a position", code="B562")
        return self.checkpoints.get(name).end_offset


class History:
    """One source's history as it can be read: topics or captures, and what is known beside them.

    ``published``: where events are looked up that a position names; captures have none.
    """

    def __init__(
        self, settings: SourceSettings, reader: Reader, known: Known, published: Published | None = None
    ) -> None:
        self._published = published
        self._settings = settings
        self._reader = reader
        self._known = known

    def plan(self, old: Edition, new: Edition, wish: Wish, tell: Tell) -> Plan:
        """Raises Fatal, Retriable, and what the core raises where the bridge would stop."""
        ends = Ends(self._settings, self._reader, self._known.accepted)
        first, last = self._stretch(ends, wish)
        names = renamed(old, new)
        editions = (old.mappings, under_old_names(new.mappings, names))
        with two_states(editions) as states:
            begun = self._begin(states, editions, first)
            stretch = Stretch(str(ends.markers), begun, first, last)
            comparison = Comparison(old, new, names, stretch, wish.examples)
            sides = [
                Side(self._pipeline(mappings, state, partial(comparison.see, number)), state)
                for number, (mappings, state) in enumerate(zip(editions, states, strict=True))
            ]
            pair = Pair(sides[0], sides[1], comparison.settle)
            roll = Roll(self._reader, pair)
            goals = {ends.markers: max(last + 1, roll.begins[ends.markers])}
            roll.run(last, goals, lambda _output: None, tell)
            return comparison.plan(self._settings.name, pair.open_windows)

    def _pipeline(self, mappings: MappingSet, state: RowState, see: Callable[..., None]) -> Pipeline:
        settings, tolerant = lenient(self._settings, mappings)
        return Pipeline(settings, tolerant, state, self._reader.partitions(), observe=see)

    def _stretch(self, ends: Ends, wish: Wish) -> tuple[int, int]:
        first = resolve(wish.start, ends, self._known.end_of, self._published).first
        last = resolve(wish.end, ends, self._known.end_of, self._published).last
        if first > last and wish.end != NOW:  # that nothing came since is no mistake
            raise Fatal(
                f"there is no transaction from {wish.start} to {wish.end}: the first END from there on is at offset "
                f"{first} of {ends.markers}, the last one up to there at {last}",
                "`bridge positions` says where the source stands",
                code="B562",
            )
        return first, last

    # -- where to begin ------------------------------------------------------------------------------------------------

    def _begin(self, states: Sequence[RowState], editions: Sequence[MappingSet], first: int) -> str:
        """Fill the states as of the nearest place before the stretch that serves both. Returns what it is."""
        known, refused = self._known, []
        found = [] if known.checkpoints is None else known.checkpoints.before(first, known.identity)
        for stored in found:
            if stored.end_offset < 0:  # in the middle of the snapshot, whose events belong to the first transaction
                continue
            lacks = [_lacks(stored, mappings) for mappings in editions]
            if not any(lacks):
                for state in states:
                    _restore(state, stored)
                    self._decide(state)
                return stored.manifest.name
            refused.append(f"checkpoint {stored.manifest.name} lacks {_text(lacks)}")
        self._require_beginning(refused, editions, first)
        for state in states:
            self._decide(state)
        return "beginning"

    def _decide(self, state: RowState) -> None:
        """Give a state the operator's decisions of now, and what no replay of fewer tables can tell: the initial snapshot."""
        then = Checkpoint.decode(state.meta(CHECKPOINT))
        live = self._known.checkpoint.snapshot_position
        if then.snapshot_position is None and live is not None:
            state.put_meta(CHECKPOINT, msgspec.structs.replace(then, snapshot_position=live).encode())
        for key, value in self._known.decisions:
            state.put_meta(key[1:], value)
        state.adopt()

    def _require_beginning(self, refused: list[str], editions: Sequence[MappingSet], first: int) -> None:
        begins = self._reader.seek(dict.fromkeys(self._reader.partitions(), -1))
        gone = [str(partition) for partition, offset in sorted(begins.items()) if offset]
        if not gone:
            return
        reasons = [f"retention took the beginning of {', '.join(gone)}", *refused]
        raise Fatal(
            f"the state before the END at offset {first} is not known: {'; '.join(reasons)}",
            self._possible(editions, first),
            code="B561",
        )

    def _possible(self, editions: Sequence[MappingSet], first: int) -> str:
        """From where on it would do."""
        stored = [] if self._known.checkpoints is None else self._known.checkpoints.all()
        for one in stored:
            is_ours = one.manifest.changelog == self._known.identity and one.end_offset >= first
            if is_ours and not any(_lacks(one, mappings) for mappings in editions):
                return f"plan from where a state is stored: --from checkpoint:{one.manifest.name}"
        return (
            "a stretch can be planned that begins behind a checkpoint whose state has every table and column that both use: "
            "`bridge checkpoint create` makes one of what the bridge has now, `bridge backfill` completes that"
        )


@contextmanager
def two_states(editions: Sequence[MappingSet]) -> Iterator[list[RowState]]:
    """On disks of their own, which end with them."""
    with tempfile.TemporaryDirectory(prefix="bridge-plan-") as directory:
        states = [RowState(LmdbStore(Path(directory) / str(n)), one) for n, one in enumerate(editions)]
        try:
            yield states
        finally:
            for state in states:
                state.close()


def _lacks(stored: Stored, mappings: MappingSet) -> dict[str, list[str]]:
    """What the mappings use and a stored state does not have: its named values tell."""
    state = RowState(MemoryStore(), mappings)
    for records in stored.records():
        state.restore([one for one in records if one.key.startswith(meta_key(b""))], b"")
    return lacking(state, mappings)


def _restore(state: RowState, stored: Stored) -> None:
    for records in stored.records():
        state.restore(records, b"")


def _text(lacks: Sequence[Mapping[str, Sequence[str]]]) -> str:
    columns = {f"{table}.{column}" for one in lacks for table, names in one.items() for column in names}
    return ", ".join(sorted(columns))
