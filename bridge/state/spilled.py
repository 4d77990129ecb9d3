"""Changes of the state that are not committed yet and too many for memory."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import islice

from bridge.core.spool import Spool
from bridge.model import ChangelogRecord
from bridge.state.store import Store

_PART = 10_000  # entries written to the store at once


class Spilled:
    """Rows and index entries as the store will hold them. A value begins with a mark: ``+`` it is there, ``-`` it is not."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def put(self, key: bytes, data: bytes | None) -> None:
        """A row. Its key stands in the value, since a storage may shorten keys."""
        length = len(key).to_bytes(4, "big")
        self._spool.put(key, b"-" + length + key if data is None else b"+" + length + key + data)

    def put_moves(self, prefix: bytes, moves: Mapping[bytes, bool]) -> None:
        """Row keys that begin (True) or cease to join on the values of an index prefix."""
        for row_key, there in moves.items():
            self._spool.put(prefix + row_key, (b"+" if there else b"-") + row_key)

    def get(self, key: bytes, store: Store) -> bytes | None:
        """A row as of now: from here, else from the store."""
        found = self._spool.get(key)
        return store.get(key) if found is None else _row(found)[1]

    def move(self, keys: set[bytes], prefix: bytes) -> None:
        """Turn the row keys that the store has under an index prefix into those of now."""
        for _, found in self._spool.items(prefix):
            if found.startswith(b"+"):
                keys.add(found[1:])
            else:
                keys.discard(found[1:])

    def has(self, key: bytes) -> bool:
        """Whether a row is among them, deleted or not."""
        return self._spool.get(key) is not None

    def rows(self, prefix: bytes = b"r") -> Iterator[ChangelogRecord]:
        """All rows, as changelog records; or those of one table."""
        for _, found in self._spool.items(prefix):
            yield ChangelogRecord(*_row(found))

    def parts(self) -> Iterator[list[tuple[bytes, bytes | None]]]:
        """Everything, as the store takes it, in the order of keys."""
        entries = self._entries()
        while part := list(islice(entries, _PART)):
            yield part

    def _entries(self) -> Iterator[tuple[bytes, bytes | None]]:
        for key, found in self._spool.items(b"i"):
            yield key, found[1:] if found.startswith(b"+") else None
        yield from self.rows()

    def close(self) -> None:
        self._spool.close()


def _row(found: bytes) -> tuple[bytes, bytes | None]:
    end = 5 + int.from_bytes(found[1:5], "big")
    return found[5:end], found[end:] if found.startswith(b"+") else None


class SpilledChanges(Collection[ChangelogRecord]):
    """Spilled rows and a few records that were still in memory, to be read as often as needed."""

    def __init__(self, spilled: Spilled, records: list[ChangelogRecord]) -> None:
        self._spilled = spilled
        self._records = records

    def __iter__(self) -> Iterator[ChangelogRecord]:
        yield from self._records  # a layout before its rows
        yield from self._spilled.rows()

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, record: object) -> bool:
        return any(one == record for one in self)
