"""Whether history can be told again from a stored checkpoint: what comes behind it must still be in the topics."""

from __future__ import annotations

from bridge.model import MappingSet, Reader
from bridge.runtime.stored import Manifest


class Replayable:
    """The source as it is now. ``changelog``: the topic's identity."""

    def __init__(self, changelog: str, reader: Reader, mappings: MappingSet) -> None:
        self._changelog = changelog
        self._starts = reader.seek(dict.fromkeys(reader.partitions(), -1))
        self._ends = reader.written()
        appended = {use.table for mapping in mappings.mappings for use in mapping.tables if use.append}
        self._used = {name: one.columns for name, one in mappings.layouts.items() if name not in appended}

    def reason_against(self, manifest: Manifest) -> str:
        """Why no replay can start there; empty where one can."""
        if manifest.changelog != self._changelog:
            return "the changelog was made anew since"
        inputs = manifest.checkpoint.inputs()
        for partition, start in sorted(self._starts.items()):
            offset = inputs.get(partition, 0)
            if offset < start:
                return f"{partition} begins at {start} now, offset {offset} is needed"
            if offset > self._ends[partition]:
                return f"{partition} ends at {self._ends[partition]}: it was made anew since"
        lacking = {
            table: [name for name in columns if name not in manifest.layout.get(table, ())]
            for table, columns in self._used.items()
        }
        missing = "; ".join(f"{table}: {', '.join(names)}" for table, names in sorted(lacking.items()) if names)
        return f"its rows lack columns that the mappings use ({missing})" if missing else ""
