"""Temporary storage for a source transaction that is too large for memory: sorted bytes, gone when it is done with.

The core does no IO: the shell gives the storage (``Storage``), which may be a file or, in tests, memory. ``Spool`` writes
to it in parts and reads what it wrote. What is packed into it comes out as it was; the order of its keys is the order of
their bytes. A key may be longer than the storage takes, so nothing is ever read out of a key's end.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import islice
from typing import Protocol

import msgspec

from bridge.core.packed import encode
from bridge.model import OutboundRecord

_PAGE = 500  # entries read at once


class Storage(Protocol):
    """Sorted bytes by key; ``items``: those whose key has a prefix, beyond ``after``. Nothing is written while it is read."""

    def get(self, key: bytes) -> bytes | None: ...
    def items(self, prefix: bytes, after: bytes) -> Iterator[tuple[bytes, bytes]]: ...
    def write(self, items: Iterable[tuple[bytes, bytes | None]]) -> None: ...
    def close(self) -> None: ...


class Spool:
    """Entries in a storage, of which the latest are still in memory. ``written`` is called after each part."""

    def __init__(self, storage: Storage, part: int = 4_000, written: Callable[[], None] | None = None) -> None:
        self._storage = storage
        self._part = part
        self._written = written
        self._latest: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        found = self._latest.get(key)
        return self._storage.get(key) if found is None else found

    def put(self, key: bytes, value: bytes) -> None:
        self._latest[key] = value
        if len(self._latest) >= self._part:
            self.flush()

    def flush(self) -> None:
        """In the order of keys: neighbours are on one page."""
        if self._latest:
            self._storage.write(sorted(self._latest.items()))
            self._latest = {}
            if self._written is not None:
                self._written()

    def items(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """In the order of keys, page by page, so that entries may be written meanwhile."""
        self.flush()
        after = b""
        while page := list(islice(self._storage.items(prefix, after), _PAGE)):
            yield from page
            after = page[-1][0]

    def close(self) -> None:
        """Give the storage back."""
        self._storage.close()


NewSpool = Callable[[], Spool]


class SpooledRecords(Collection[OutboundRecord]):
    """Records for Kafka in the order in which they came; ``first`` are those that came before it was needed."""

    def __init__(self, spool: Spool, first: Iterable[OutboundRecord]) -> None:
        self._spool = spool
        self._count = 0
        self.extend(first)

    def __len__(self) -> int:
        return self._count

    def append(self, record: OutboundRecord) -> None:
        self._spool.put(self._count.to_bytes(8, "big"), encode(record))
        self._count += 1

    def extend(self, records: Iterable[OutboundRecord]) -> None:
        for record in records:
            self.append(record)

    def __contains__(self, record: object) -> bool:
        return any(one == record for one in self)

    def __iter__(self) -> Iterator[OutboundRecord]:
        for _, data in self._spool.items(b""):
            yield _record(data)


_record = msgspec.msgpack.Decoder(OutboundRecord).decode
