"""The state as of a place in a source's history: of the nearest stored checkpoint before it, or empty at the inputs' beginning.

A stored checkpoint serves where it is a copy of this source's changelog, where its inputs are still in the topics, and
where its rows have the columns that the mappings use. The beginning serves where the topics still have it: behind what
retention took, rows are missing that nothing can give back, and a state without them would be wrong in silence.
"""

from __future__ import annotations

from collections.abc import Mapping

from bridge.core.checkpoint import Checkpoint
from bridge.core.history import ACCEPT, RELEASE
from bridge.core.oversize import Large
from bridge.core.units import PARKED
from bridge.errors import Fatal
from bridge.model import InputPartition, MappingSet
from bridge.runtime.backfill import Known
from bridge.runtime.evolve import MERGE, lacking
from bridge.runtime.stored import Checkpoints, Stored
from bridge.state.rows import RowState

# What was decided about the log, and what of it is too large for its topic: a later look at it decides the same.
DECISIONS = (ACCEPT, RELEASE, Large.PREFIX)

Offsets = Mapping[InputPartition, int]


class Beginnings:
    """Where a state can begin. ``starts``: where the topics begin now; ``changelog``: the identity of the source's."""

    def __init__(self, checkpoints: Checkpoints, changelog: str, starts: Offsets) -> None:
        self._checkpoints = checkpoints
        self._changelog = changelog
        self._starts = starts

    def bring(self, state: RowState, mappings: MappingSet, end: int) -> str:
        """Fill an empty state with what was true before the END at ``end``. Returns what it began with. Raises Fatal."""
        lacks: dict[str, list[str]] = {}
        for stored in self._before(end):
            for records in stored.records():
                state.restore(records, b"")
            lacks = lacking(state, mappings)
            if state.meta(MERGE) is None and not lacks:
                state.adopt()
                return f"checkpoint {stored.manifest.name}"
            state.wipe()
        if self._lost():
            names = "; ".join(f"{table}: {', '.join(columns)}" for table, columns in sorted(lacks.items()))
            raise self._out_of_reach(end, f"stored checkpoints before it lack what the mappings use ({names})")
        state.adopt()
        return "the beginning"

    def require(self, end: int) -> None:
        """Raises Fatal where neither the topics nor a checkpoint reach back to before the END at ``end``."""
        if self._lost() and not self._before(end):
            raise self._out_of_reach(end, "no stored checkpoint that serves lies before it")

    def _lost(self) -> list[str]:
        return sorted(str(partition) for partition, start in self._starts.items() if start > 0)

    def _out_of_reach(self, end: int, reason: str) -> Fatal:
        served = self._before(_BEYOND_ALL)
        if served:
            first = served[-1]
            hint = f"the earliest place is --from {first.end_offset + 1}, behind checkpoint {first.manifest.name}"
        else:
            hint = "there is none that serves at all; `bridge checkpoint create` makes one for the next time"
        return Fatal(
            f"the state before the END at offset {end} cannot be had: retention took the beginning of "
            f"{', '.join(self._lost())}, and {reason}",
            hint,
            code="B551",
        )

    def _before(self, end: int) -> list[Stored]:
        return [one for one in self._checkpoints.before(end, self._changelog) if self._serves(one)]

    def _serves(self, stored: Stored) -> bool:
        inputs = stored.manifest.checkpoint.inputs()
        return all(inputs.get(partition, 0) >= start for partition, start in self._starts.items())


_BEYOND_ALL = 1 << 62


def decided(known: Known, state: RowState) -> Checkpoint:
    """Copy what was decided about the log into another state. Returns where the source stands.

    An aggregate that is not parked any more was let go on: what held it up passes, or was given up.
    """
    for kind in DECISIONS:
        for name, value in known.state.metas(kind):
            state.put_meta(name, value)
    for name, _ in state.metas(PARKED):
        if known.state.meta(name) is None:
            state.put_meta(name, None)
    return known.checkpoint
