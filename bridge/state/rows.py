"""The state: rows by table and key, the keys of rows by the values they join on, and a few named values.

The changelog holds rows and named values; the indexes derive from the rows. What a Kafka transaction has not committed
yet lives in memory alone: the store is written after the commit, from the same changes.

Keys in the changelog and in the store: ``r`` table NUL row key · ``m`` name. In the store only:
``i`` index, length, join value, row key → row key · ``s`` stamp.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from hashlib import blake2b
from itertools import islice
from typing import Any

from bridge.core.collapse import StoredRow
from bridge.core.joins import Indexes, Join, Move
from bridge.core.packed import decode as _decode
from bridge.core.packed import encode as _encode
from bridge.errors import Fatal
from bridge.model import ChangelogRecord, MappingSet
from bridge.state.store import Store

_LONGEST_JOIN = 200  # longer join values end in a hash, so that an index entry's prefix stays whole in the store's keys


class RowState:
    """The state of one source over a local store, with the columns and indexes that its mappings use.

    ``cache_rows``: how many rows and index entries are held in memory (two generations of half as many each).
    """

    def __init__(self, store: Store, mappings: MappingSet, cache_rows: int = 200_000) -> None:
        self._store = store
        self._layouts = {table: layout.columns for table, layout in sorted(mappings.layouts.items())}
        self._widths = [len(columns) for columns in self._layouts.values()]
        self._prefixes = [b"r" + table.encode() + b"\x00" for table in self._layouts]
        self._numbers = {prefix: number for number, prefix in enumerate(self._prefixes)}
        self._indexes = Indexes(mappings, {table: number for number, table in enumerate(self._layouts)})
        self._half = max(cache_rows // 2, 1)
        self._young: dict[Any, Any] = {}
        self._old: dict[Any, Any] = {}
        self._dirty: dict[bytes, Any] = {}
        self._dirty_meta: dict[bytes, bytes | None] = {}
        self._dirty_index: dict[tuple[int, Join], dict[bytes, bool]] = {}
        self._taken: list[tuple[bytes, bytes | None]] = []

    # -- rows ----------------------------------------------------------------------------------------------------------

    def get(self, table: int, row_key: bytes) -> StoredRow | None:
        key = self._prefixes[table] + row_key
        stored: StoredRow | None
        try:
            stored = self._young[key]
        except KeyError:
            pass
        else:
            return stored
        if key in self._old:
            stored = self._old[key]
        else:
            data = self._store.get(key)
            stored = None if data is None else self._row(data)
        self._remember(key, stored)
        return stored

    def put(self, table: int, row_key: bytes, stored: StoredRow | None, moves: Sequence[Move]) -> None:
        """Write a row (None: delete it); ``moves``: how it moves in the indexes."""
        key = self._prefixes[table] + row_key
        self._dirty[key] = stored
        self._remember(key, stored)
        for index, old, new in moves:
            if old is not None:
                self._keys((index, old)).discard(row_key)
                self._dirty_index.setdefault((index, old), {})[row_key] = False
            if new is not None:
                self._keys((index, new)).add(row_key)
                self._dirty_index.setdefault((index, new), {})[row_key] = True

    def children(self, index: int, join: Join) -> Collection[bytes]:
        """Keys of the rows that join on these values, in no particular order; not to be changed."""
        return self._keys((index, join))

    def _keys(self, place: tuple[int, Join]) -> set[bytes]:
        """The same, in place: a root's many children are not copied for one more."""
        keys: set[bytes] | None = self._young.get(place)
        if keys is not None:
            return keys
        keys = self._old.get(place)
        if keys is None:
            keys = set(self._store.scan(index_prefix(*place)))
        self._remember(place, keys)
        return keys

    def _remember(self, place: Any, value: Any) -> None:
        """Two generations: what is used stays, what is not is dropped with the older one; what is dirty stays too."""
        young = self._young
        young[place] = value
        if len(young) > self._half + len(self._dirty) + len(self._dirty_index):
            older = self._old
            dirty = (*self._dirty, *self._dirty_index)
            self._old = young
            self._young = {
                key: young[key] if key in young else older[key] for key in dirty if key in young or key in older
            }

    def _row(self, data: bytes) -> StoredRow:
        values = _decode(data)
        return StoredRow(values[0], values[1], values[2:])

    def rows_after(self, table: int, place: bytes, limit: int) -> list[tuple[bytes, StoredRow]]:
        """Up to ``limit`` committed rows of a table beyond ``place`` (b"": from the first), each with its own place."""
        items = self._store.items(self._prefixes[table], place)
        return [(key, self._row(data)) for key, data in islice(items, limit)]

    def row_keys(self, table: int) -> list[bytes]:
        """The keys of all rows of a table, those that are not committed yet too."""
        prefix = self._prefixes[table]
        keys = {key: True for key, _ in self._store.items(prefix, b"")}
        keys |= {key: stored is not None for key, stored in self._dirty.items() if key.startswith(prefix)}
        return sorted(key[len(prefix) :] for key, there in keys.items() if there)

    # -- named values --------------------------------------------------------------------------------------------------

    def meta(self, name: bytes) -> bytes | None:
        if name in self._dirty_meta:
            return self._dirty_meta[name]
        found = self._store.get(b"m" + name)
        return None if found is None else _named(found)[1]

    def put_meta(self, name: bytes, value: bytes | None) -> None:
        self._dirty_meta[name] = value

    def metas(self, prefix: bytes) -> list[tuple[bytes, bytes]]:
        """All named values whose name starts with ``prefix``, which ends with a NUL."""
        found = dict(_named(value) for value in self._store.scan(b"m" + prefix))
        for name, value in self._dirty_meta.items():
            if name.startswith(prefix):
                if value is None:
                    found.pop(name, None)
                else:
                    found[name] = value
        return sorted(found.items())

    # -- commit --------------------------------------------------------------------------------------------------------

    def take_changes(self) -> list[ChangelogRecord]:
        """Everything changed since the last call, as changelog records; ``committed`` must follow, or the state be dropped."""
        records = []
        store: list[tuple[bytes, bytes | None]] = []
        for key, stored in self._dirty.items():
            value = None if stored is None else _encode((stored.position, stored.flags, *stored.row))
            record = ChangelogRecord(key, value)
            records.append(record)
            store.append(record)
        for name, data in self._dirty_meta.items():
            key = b"m" + name
            records.append(ChangelogRecord(key, data))
            store.append((key, None if data is None else _encode_named(name, data)))
        for place, changed in self._dirty_index.items():
            prefix = index_prefix(*place)
            store.extend((prefix + row_key, row_key if there else None) for row_key, there in changed.items())
        self._dirty, self._dirty_meta, self._dirty_index = {}, {}, {}
        self._taken.extend(store)
        return records

    def committed(self, stamp: bytes) -> None:
        """The Kafka transaction with what ``take_changes`` gave is committed: write it to the store, with a new stamp."""
        taken, self._taken = self._taken, []
        taken.append((b"s", stamp))
        self._store.write(taken)

    # -- shape ---------------------------------------------------------------------------------------------------------

    def layouts(self) -> dict[str, list[str]]:
        """The columns that rows are kept with, by table."""
        return {table: list(columns) for table, columns in self._layouts.items()}

    def shape(self) -> str:
        """What the store's content depends on beside the changelog: columns, table numbers, indexes."""
        indexes = [index.name for index in self._indexes.all]
        return blake2b(repr((self._layouts, indexes)).encode(), digest_size=16).hexdigest()

    # -- restore -------------------------------------------------------------------------------------------------------

    def stamp(self) -> bytes | None:
        return self._store.get(b"s")

    def restore(self, records: Iterable[ChangelogRecord], stamp: bytes) -> None:
        """Apply a batch of committed changelog records to the store. Raises Fatal for rows of other columns."""
        items: list[tuple[bytes, bytes | None]] = []
        latest = {record.key: record.value for record in records}
        for key, value in latest.items():
            kind = key[:1]
            if kind == b"r":
                items.extend(self._restored_row(key, value))
            elif kind == b"m":
                items.append((key, None if value is None else _encode_named(key[1:], value)))
        items.append((b"s", stamp))
        self._store.write(items)

    def _restored_row(self, key: bytes, value: bytes | None) -> list[tuple[bytes, bytes | None]]:
        prefix, row_key = _split(key)
        number = self._numbers.get(prefix)
        if number is None:
            return []  # a table that no mapping uses any more
        before = self._store.get(key)
        old_row = None if before is None else self._row(before).row
        new_row = None if value is None else self._row(value).row
        if new_row is not None and len(new_row) != self._widths[number]:
            table = prefix[1:-1].decode()
            raise other_columns(f"{table} has {len(new_row)} columns there, the mappings use {self._widths[number]}")
        items: list[tuple[bytes, bytes | None]] = [(key, value)]
        for index in self._indexes.of_table.get(number, ()):
            old, new = index.join(old_row), index.join(new_row)
            if old is not None and old != new:
                items.append((index_prefix(index.number, old) + row_key, None))
            if new is not None:
                items.append((index_prefix(index.number, new) + row_key, row_key))
        return items

    def wipe(self) -> None:
        self._store.wipe()
        self._young, self._old = {}, {}

    def close(self) -> None:
        self._store.close()


def other_columns(difference: str) -> Fatal:
    """The state cannot serve these mappings."""
    return Fatal(
        f"the mappings use other tables or columns than the state holds: {difference}",
        "the state was built from the columns that were used then; give the source a new `application` in the config "
        "and start it from the beginning of its topics, or take the change back",
        code="B503",
    )


def index_prefix(index: int, join: Join) -> bytes:
    """``i``, index number (2 bytes), length (2 bytes), join value."""
    value = _encode(join)
    if len(value) > _LONGEST_JOIN:
        value = value[:_LONGEST_JOIN] + blake2b(value, digest_size=32).digest()
    return b"i" + index.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value


def _split(key: bytes) -> tuple[bytes, bytes]:
    end = key.index(b"\x00") + 1
    return key[:end], key[end:]


def _encode_named(name: bytes, value: bytes) -> bytes:
    return len(name).to_bytes(2, "big") + name + value


def _named(data: bytes) -> tuple[bytes, bytes]:
    end = 2 + int.from_bytes(data[:2], "big")
    return data[2:end], data[end:]
