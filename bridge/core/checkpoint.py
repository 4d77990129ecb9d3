"""Where a source stands: written in every Kafka transaction, and the truth for offsets.

Group offsets are for tools and for fencing; the checkpoint lies in the changelog beside the rows it belongs to.
"""

from __future__ import annotations

import msgspec

from bridge.model import InputPartition


class Checkpoint(msgspec.Struct, frozen=True):
    """``offsets``: per input partition the first record still needed. ``end_offset``: of the last released END, -1 before.

    ``from_the_start``: every partition was read from its very first record, so a snapshot in it is whole.
    ``commit_position``: of the last released transaction, -1 before. ``event_time_ms``: running maximum of END times.
    ``run``: the connector's, that sent the last rows. ``cut_until``: where the transaction topic ended when the
    bridge first started on topics whose beginning retention had taken; what ended before only fills the state.
    ``mappings``: digest of the mapping files that wrote it. ``incarnation``: which history of the source this is.
    ``domain``: within which the connector's commit positions can be compared, where it has several.
    """

    offsets: dict[str, int] = {}
    end_offset: int = -1
    commit_position: int = -1
    event_time_ms: int = 0
    incarnation: int = 1
    mappings: str = ""
    snapshot_position: int | None = None
    from_the_start: bool = True
    domain: str = ""
    run: str = ""
    cut_until: int = -1
    version: int = 1

    def inputs(self) -> dict[InputPartition, int]:
        found = {}
        for name, offset in self.offsets.items():
            topic, _, partition = name.rpartition("-")
            found[InputPartition(topic, int(partition))] = offset
        return found

    def encode(self) -> bytes:
        return msgspec.json.encode(self)

    @staticmethod
    def decode(data: bytes | None) -> Checkpoint:
        return Checkpoint() if data is None else msgspec.json.decode(data, type=Checkpoint)
