"""What an operator's decision must say, read from the topics: `release` a short transaction, `accept` a new history.

Both name a transaction by the offset of its END, and are refused where there is no END or where it was released already.
They read in nobody's name; only ``decide`` writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeGuard

import msgspec

from bridge.core.checkpoint import Checkpoint
from bridge.core.connectors import CONNECTORS
from bridge.core.decode import ChangeEvent, Decode, TransactionMarker, run_of
from bridge.core.pipeline import CHECKPOINT
from bridge.errors import Fatal
from bridge.model import Changelog, InboundRecord, InputPartition, MappingSet, Reader, SourceSettings
from bridge.runtime.follow import read_to
from bridge.state.rows import meta_key

_FIRST_LOOK: Final = 2_000  # records before a partition's end; four times as many where they do not reach back enough
_CHECKPOINT: Final = meta_key(CHECKPOINT)

Offsets = dict[InputPartition, int]


class Seen(msgspec.Struct, frozen=True):
    """One record of the source's history, with what tells where it belongs."""

    item: ChangeEvent | TransactionMarker
    run: str
    time_ms: int


def checkpoint_of(changelog: Changelog) -> Checkpoint:
    """The source's latest checkpoint, which is near the changelog's end."""
    start, end = changelog.bounds()
    look = _FIRST_LOOK
    while True:
        found = None
        first = max(start, end - look)
        for records, _ in changelog.read(first, end):
            for record in records:
                if record.key == _CHECKPOINT:
                    found = record.value
        if found is not None or first <= start:
            return Checkpoint.decode(found)
        look *= 4


class Topics:
    """A source's topics as they are now."""

    def __init__(self, source: SourceSettings, mappings: MappingSet, reader: Reader) -> None:
        self._reader = reader
        self._connector = CONNECTORS[source.connector]
        self._decode = Decode(mappings.layouts, self._connector, source.modes)
        self.partitions = reader.partitions()
        self.markers = InputPartition(source.log or source.transaction_topic, 0)
        self.starts = reader.seek(dict.fromkeys(self.partitions, -1))
        self.ends = reader.ends()

    def end_at(self, offset: int) -> TransactionMarker:
        """The END at an offset. Raises Fatal where there is none."""
        start, end = self.starts[self.markers], self.ends[self.markers]
        if start <= offset < end:
            for seen in self._read({self.markers: offset}, {self.markers: offset + 1})[self.markers]:
                if isinstance(seen.item, TransactionMarker) and seen.item.offset == offset and not seen.item.begin:
                    return seen.item
        raise Fatal(
            f"{self.markers}@{offset} is not the END of a transaction (the topic holds offsets {start} to {end - 1})",
            "give the position that the bridge's error names",
            code="B304",
        )

    def new_history(self, offset: int) -> Offsets:
        """Per partition where the history begins that the END at ``offset`` is of. Raises Fatal where nothing tells it.

        The connector's runs tell it: what was written up to the last END of the old history is of old runs. Where the new
        run took no snapshot, it repeats what both histories share: that is left to the old one.
        """
        if not self._connector.one_scale:
            raise Fatal(
                f"a new history of a {self._connector.name} source cannot be accepted",
                "give the source a new name (its events then have ids of their own) and let the connector snapshot again",
                code="B304",
            )
        ends = dict(self.ends)
        look = _FIRST_LOOK
        while True:
            firsts = {one: max(self.starts[one], end - look) for one, end in ends.items()}
            seen = self._read(firsts, ends)
            cuts = self._cuts(seen, offset, ends)
            if cuts is not None and all(
                firsts[one] == self.starts[one] or cuts[one] > (seen[one][0].item.offset if seen[one] else -1)
                for one in self.partitions
            ):
                return cuts
            if firsts == {one: self.starts[one] for one in ends}:
                raise _untold(self.markers, offset)
            look *= 4

    def _cuts(self, seen: Mapping[InputPartition, Sequence[Seen]], offset: int, ends: Offsets) -> Offsets | None:
        """None: the records do not reach back enough."""
        markers = [(s.item, s.time_ms) for s in seen[self.markers] if isinstance(s.item, TransactionMarker)]
        known = [(marker, time) for marker, time in markers if not marker.begin and marker.offset <= offset]
        turns = [n for n in range(1, len(known)) if known[n][0].position <= known[n - 1][0].position]
        if not turns:
            return None
        last, last_time = known[turns[-1] - 1]  # of the old history
        wanted = known[-1][0]
        if wanted.position > last.position:
            raise _untold(self.markers, offset)
        rows = {one: [(s.item, s) for s in some if _is_row(s.item)] for one, some in seen.items()}
        runs = {s.run for some in rows.values() for _, s in some}
        old = {s.run for some in rows.values() for _, s in some if s.time_ms <= last_time}
        if "" in runs:
            raise _untold(self.markers, offset)
        new = {one: [row for row, s in some if s.run not in old] for one, some in rows.items()}
        first, floor = known[turns[-1]][0], -1
        if wanted is not first and not any(_is_of_snapshot(row) for some in new.values() for row in some):
            first, floor = wanted, known[-2][0].position
        begins = [m.offset for m, _ in markers if m.begin and m.group == first.group and m.offset < first.offset]
        if not begins:
            return None
        cuts = {one: self._first(new[one], floor, ends[one]) for one in ends}
        cuts[self.markers] = min(begins[-1], cuts[self.markers])
        return cuts

    def _first(self, rows: Iterable[ChangeEvent], floor: int, end: int) -> int:
        """Where the first row lies that committed after ``floor``, or a seed."""
        for row in rows:
            if row.op == "r" or self._connector.predecessor(row.source) >= floor:
                return row.offset
        return end

    def _read(self, firsts: Offsets, ends: Offsets) -> dict[InputPartition, list[Seen]]:
        """The records of some partitions between offsets, decoded."""
        reader = self._reader
        reader.seek(self.ends | firsts)
        found: dict[InputPartition, list[Seen]] = {one: [] for one in ends}
        for records in read_to(reader, ends, "a topic of the source"):
            for record in records:
                one = InputPartition(record.topic(), record.partition())
                if one in ends and record.offset() < ends[one]:
                    found[one] += self._seen(record)
        return found

    def _seen(self, record: InboundRecord) -> list[Seen]:
        return [Seen(item, run_of(record), record.timestamp()[1]) for item in self._decode.records([record], 0)]


def _is_row(item: ChangeEvent | TransactionMarker) -> TypeGuard[ChangeEvent]:
    return isinstance(item, ChangeEvent) and item.op != "?"


def _is_of_snapshot(row: ChangeEvent) -> bool:
    return row.op == "r" and row.source.snapshot != "incremental"


def _untold(markers: InputPartition, offset: int) -> Fatal:
    return Fatal(
        f"the records do not tell where the history begins that {markers}@{offset} is of",
        "rows must have Debezium's header __debezium.context.runId, and an END with a later position must stand before "
        "this one; else give the source a new name and let the connector snapshot again",
        code="B304",
    )


def refuse_released(checkpoint: Checkpoint, markers: InputPartition, offset: int) -> None:
    """Raises Fatal for a transaction that was released already: nothing can be decided about it any more."""
    if offset <= checkpoint.end_offset:
        raise Fatal(
            f"{markers}@{offset} was released already; the bridge stands at {checkpoint.end_offset}",
            "give the position that the bridge's latest error names",
            code="B304",
        )
