"""The state: rows by table and key, the keys of rows by the values they join on, and a few named values.

The changelog holds rows and named values; the indexes derive from the rows. What a Kafka transaction has not committed
yet lives in memory alone: the store is written after the commit, from the same changes.

Keys in the changelog and in the store: ``r`` table NUL row key · ``m`` name. In the store only:
``i`` index, length, join value, row key → row key · ``s`` stamp. Other keys of the changelog are not the state's.

Rows outlive the mappings that chose their columns. Each row says by which *layout* it was written, a number; a layout (the
columns of each table) is a named value that is written before its first row and never again, so that whoever reads the
changelog in order knows it in time. A row of an older layout is read through its columns' names, also one that an open
window holds: what is not used any more is left out, what it lacks is UNKNOWN. Every change writes the row anew, so no old
value is ever stale. A table that no mapping used for a while is not known any more: its rows end with the layout that
takes it up again.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import islice
from operator import itemgetter
from typing import Any

import msgspec

from bridge.core.collapse import StoredRow
from bridge.core.joins import Indexes, Join, Move
from bridge.core.packed import decode, encode, index_prefix
from bridge.core.spool import NewSpool
from bridge.errors import Fatal
from bridge.model import UNKNOWN, ChangelogRecord, MappingSet, Row
from bridge.state.spilled import Spilled, SpilledChanges
from bridge.state.store import Store

LAYOUTS = b"layout\x00"
_key = itemgetter(0)
_ABSENT: Any = object()  # None is a row that is known not to be there


class RowState:
    """The state of one source over a local store, with the columns and indexes that its mappings use.

    ``cache_rows``: how many rows and index entries are held in memory (two generations of half as many each).
    ``new_spool`` gives room for changes of more than ``dirty_max`` rows, until they are committed.
    """

    def __init__(
        self,
        store: Store,
        mappings: MappingSet,
        cache_rows: int = 200_000,
        new_spool: NewSpool | None = None,
        dirty_max: int = sys.maxsize,
    ) -> None:
        self._store = store
        self._layouts = {table: layout.columns for table, layout in sorted(mappings.layouts.items())}
        self._tables = list(self._layouts)
        self._prefixes = [b"r" + table.encode() + b"\x00" for table in self._layouts]
        self._numbers = {prefix: number for number, prefix in enumerate(self._prefixes)}
        self._indexes = Indexes(mappings, {table: number for number, table in enumerate(self._layouts)})
        self._half = max(cache_rows // 2, 1)
        self._room = self._half  # how much may be young before it is looked at again
        self._young: dict[Any, Any] = {}
        self._old: dict[Any, Any] = {}
        self._dirty: dict[bytes, Any] = {}
        self._dirty_meta: dict[bytes, bytes | None] = {}
        self._dirty_index: dict[tuple[int, Join], dict[bytes, bool]] = {}
        self._taken: list[tuple[bytes, bytes | None]] = []
        self._new_spool = new_spool
        self._dirty_max = sys.maxsize if new_spool is None else dirty_max
        self._spilled: Spilled | None = None
        self._taken_spilled: list[Spilled] = []
        self._history: dict[int, dict[str, list[str]]] = {}
        self._picks: dict[tuple[int, int], tuple[int, ...] | None] = {}
        self.layout = 1  # the number of the layout that rows are written by
        self._plain = 1  # of the one whose columns are those used now, where it is the latest
        for name, value in self.metas(LAYOUTS):
            self._remember_layout(int(name[len(LAYOUTS) :]), value)

    # -- rows ----------------------------------------------------------------------------------------------------------

    def get(self, table: int, row_key: bytes) -> StoredRow | None:
        key = self._prefixes[table] + row_key
        stored: StoredRow | None = self._young.get(key, _ABSENT)
        if stored is not _ABSENT:
            return stored
        stored = self._old.get(key, _ABSENT)
        if stored is _ABSENT:
            data = self._store.get(key) if self._spilled is None else self._spilled.get(key, self._store)
            stored = None if data is None else self._row(table, data)
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
        if len(self._dirty) > self._dirty_max:
            self._spill()

    def row(self, table: str, row_key: bytes) -> StoredRow | None:
        """A row by its table's name."""
        return self.get(self._tables.index(table), row_key)

    def replace(self, table: str, row_key: bytes, stored: StoredRow) -> None:
        """Write a row over whatever is there."""
        number = self._tables.index(table)
        before = self.get(number, row_key)
        self.put(
            number, row_key, stored, self._indexes.moves(number, None if before is None else before.row, stored.row)
        )

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
            if self._spilled is not None:
                self._spilled.move(keys, index_prefix(*place))
        self._remember(place, keys)
        return keys

    def _remember(self, place: Any, value: Any) -> None:
        young = self._young
        young[place] = value
        if len(young) > self._room:
            self._age()

    def _age(self) -> None:
        """Two generations: what is used stays, what is not is dropped with the older one; what is dirty stays too."""
        young, older = self._young, self._old
        kept = self._half + len(self._dirty) + len(self._dirty_index)
        if len(young) > kept:
            dirty = (*self._dirty, *self._dirty_index)
            self._old = young
            self._young = {
                key: young[key] if key in young else older[key] for key in dirty if key in young or key in older
            }
        self._room = kept

    def _packed(self, stored: StoredRow) -> bytes:
        return encode((stored.position, stored.created, self.layout, *stored.row))

    def _columns(self, table: int, data: bytes) -> Row:
        values = decode(data)
        return self.as_used(table, values[2], values[3:])

    def _row(self, table: int, data: bytes) -> StoredRow:
        values = decode(data)
        return StoredRow(values[0], values[1], self.as_used(table, values[2], values[3:]))

    def as_used(self, table: int, layout: int, row: Row) -> Row:
        """A row that was written by a layout, with the columns that are used now. Raises Fatal."""
        if layout == self._plain and len(row) == len(self._layouts[self._tables[table]]):
            return row
        return tuple([UNKNOWN if slot < 0 else row[slot] for slot in self._pick(table, layout, len(row))])

    def _pick(self, table: int, layout: int, width: int) -> tuple[int, ...]:
        """Where a row of an older layout holds each column that is used now; -1: nowhere. Raises Fatal."""
        pick = self._picks.get((table, layout))
        if pick is None:
            name = self._tables[table]
            now = self._layouts[name]
            then = self._history.get(layout, {}).get(name, list(now))
            if len(then) != width:
                raise other_columns(f"{name} has {width} columns there, its layout has {len(then)}")
            pick = tuple(then.index(column) if column in then else -1 for column in now)
            self._picks[table, layout] = pick
        return pick

    def rows_after(self, table: int, place: bytes, limit: int) -> list[tuple[bytes, StoredRow]]:
        """Up to ``limit`` committed rows of a table beyond ``place`` (b"": from the first), each with its own place."""
        items = self._store.items(self._prefixes[table], place)
        return [(key, self._row(table, data)) for key, data in islice(items, limit)]

    def entries(self, table: int, place: bytes, limit: int) -> list[tuple[bytes, StoredRow]]:
        """The same with their row keys, for one who goes through a whole table; the next place is the last row key."""
        prefix = self._prefixes[table]
        items = self._store.items(prefix, prefix + place if place else b"")
        return [(key[len(prefix) :], self._row(table, data)) for key, data in islice(items, limit)]

    def older(self, table: int, position: int) -> list[bytes]:
        """Row keys of a table's rows that are of before ``position``: a look at every row."""
        prefix = self._prefixes[table]
        dirty = self._dirty
        found = [
            key[len(prefix) :]
            for key, stored in dirty.items()
            if stored is not None and stored.position < position and key.startswith(prefix)
        ]
        for key, data in self._entries(prefix):
            if key not in dirty and data is not None and decode(data)[0] < position:
                found.append(key[len(prefix) :])
        return found

    def row_keys(self, table: int) -> list[bytes]:
        """The keys of all rows of a table, those that are not committed yet too."""
        prefix = self._prefixes[table]
        keys = {key: data is not None for key, data in self._entries(prefix)}
        keys |= {key: stored is not None for key, stored in self._dirty.items() if key.startswith(prefix)}
        return sorted(key[len(prefix) :] for key, there in keys.items() if there)

    def _entries(self, prefix: bytes) -> Iterator[tuple[bytes, bytes | None]]:
        """A table's rows that are not in memory alone: in the store, and spilled (None: deleted)."""
        spilled = self._spilled
        for key, data in self._store.items(prefix, b""):
            if spilled is None or not spilled.has(key):
                yield key, data
        if spilled is not None:
            yield from spilled.rows(prefix)

    # -- named values --------------------------------------------------------------------------------------------------

    def meta(self, name: bytes) -> bytes | None:
        if name in self._dirty_meta:
            return self._dirty_meta[name]
        found = self._store.get(meta_key(name))
        return None if found is None else _named(found)[1]

    def put_meta(self, name: bytes, value: bytes | None) -> None:
        self._dirty_meta[name] = value

    def metas(self, prefix: bytes) -> list[tuple[bytes, bytes]]:
        """All named values whose name starts with ``prefix``, which ends with a NUL."""
        found = dict(_named(value) for value in self._store.scan(meta_key(prefix)))
        for name, value in self._dirty_meta.items():
            if name.startswith(prefix):
                if value is None:
                    found.pop(name, None)
                else:
                    found[name] = value
        return sorted(found.items())

    # -- commit --------------------------------------------------------------------------------------------------------

    def _spill(self) -> None:
        """Move what is dirty out of memory."""
        if self._new_spool is None:
            return
        self._spilled = self._spilled or Spilled(self._new_spool())
        for key, stored in self._dirty.items():
            self._spilled.put(key, None if stored is None else self._packed(stored))
        for place, changed in self._dirty_index.items():
            self._spilled.put_moves(index_prefix(*place), changed)
        self._dirty, self._dirty_index = {}, {}

    def take_changes(self) -> Collection[ChangelogRecord]:
        """Everything changed since the last call, as changelog records; ``committed`` must follow, or the state be dropped."""
        records: list[ChangelogRecord] = []
        spilled = self._spilled
        if spilled is not None:
            self._spill()
            self._taken_spilled.append(spilled)
            self._spilled = None
        store: list[tuple[bytes, bytes | None]] = []
        for name, data in self._dirty_meta.items():  # a layout before its rows
            key = meta_key(name)
            records.append(ChangelogRecord(key, data))
            store.append((key, None if data is None else _encode_named(name, data)))
        packed = self._packed
        rows = [ChangelogRecord(key, None if stored is None else packed(stored)) for key, stored in self._dirty.items()]
        records += rows
        store += rows
        for place, changed in self._dirty_index.items():
            prefix = index_prefix(*place)
            store += [(prefix + row_key, row_key if there else None) for row_key, there in changed.items()]
        self._dirty, self._dirty_meta, self._dirty_index = {}, {}, {}
        self._taken += store
        return records if spilled is None else SpilledChanges(spilled, records)

    def committed(self, stamp: bytes) -> None:
        """The Kafka transaction with what ``take_changes`` gave is committed: write it to the store, with a new stamp."""
        taken, self._taken = self._taken, []
        taken.append((b"s", stamp))
        if self._taken_spilled:
            self._write_spilled()
        self._store.write(taken)

    def _write_spilled(self) -> None:
        """In parts, so that memory stays bounded. Without a stamp nobody trusts the store until all of it is there."""
        self._store.write([(b"s", None)])
        for spilled in self._taken_spilled:
            for part in spilled.parts():
                self._store.write(part)
            spilled.close()
        self._taken_spilled = []

    # -- shape ---------------------------------------------------------------------------------------------------------

    def layouts(self) -> dict[str, list[str]]:
        """The columns that rows are kept with, by table."""
        return {table: list(columns) for table, columns in self._layouts.items()}

    def lacks(self) -> dict[str, list[str]]:
        """What the mappings use and the state does not hold: the columns, by table."""
        if not self._history:
            return {}
        known = self._history[max(self._history)]
        lacking = {
            table: [column for column in columns if column not in known.get(table, ())]
            for table, columns in self._layouts.items()
        }
        return {table: columns for table, columns in lacking.items() if columns}

    def adopt(self) -> None:
        """From here on rows are written with the columns that are used now."""
        latest = max(self._history, default=0)
        if self._history.get(latest) == self.layouts():
            return
        value = msgspec.json.encode(self.layouts())
        self._take_up(latest + 1, value)
        self.put_meta(LAYOUTS + b"%08d" % (latest + 1), value)

    def _remember_layout(self, number: int, value: bytes) -> None:
        self._history[number] = msgspec.json.decode(value, type=dict[str, list[str]])
        self.layout = max(self._history)
        self._plain = self.layout if self._history[self.layout] == self.layouts() else 0

    def _take_up(self, number: int, value: bytes) -> None:
        """A new layout; what is left of a table that the one before did not have is forgotten."""
        before = self._history.get(number - 1)
        self._remember_layout(number, value)
        if before is not None:
            for table, name in enumerate(self._tables):
                if name not in before:
                    self._forget(table)

    def _forget(self, table: int) -> None:
        while entries := self.entries(table, b"", 10_000):
            items: list[tuple[bytes, bytes | None]] = []
            for row_key, stored in entries:
                items.extend(self._unindexed(table, row_key, stored.row, None))
                items.append((self._prefixes[table] + row_key, None))
            self._store.write(items)
        self._young, self._old = {}, {}

    def shape(self) -> str:
        """What the store's content depends on beside the changelog: columns, table numbers, indexes."""
        indexes = [index.name for index in self._indexes.all]
        return blake2b(repr((self._layouts, indexes)).encode(), digest_size=16).hexdigest()

    # -- restore -------------------------------------------------------------------------------------------------------

    def stamp(self) -> bytes | None:
        return self._store.get(b"s")

    def restore(self, records: Iterable[ChangelogRecord], stamp: bytes) -> None:
        """Apply a batch of committed changelog records, in their order, to the store."""
        batch: dict[bytes, bytes | None] = {}
        for key, value in records:
            if value is not None and key.startswith(meta_key(LAYOUTS)):
                self._restored(batch)
                batch = {}
                self._take_up(int(key[1 + len(LAYOUTS) :]), value)
            batch[key] = value
        self._restored(batch, (b"s", stamp))

    def _restored(self, batch: dict[bytes, bytes | None], *more: tuple[bytes, bytes | None]) -> None:
        items: list[tuple[bytes, bytes | None]] = []
        for key, value in batch.items():
            kind = key[:1]
            if kind == b"r":
                items.extend(self._restored_row(key, value))
            elif kind == b"m":
                items.append((key, None if value is None else _encode_named(key[1:], value)))
        items.sort(key=_key)  # neighbours are on one page of the store
        self._store.write([*items, *more])

    def _restored_row(self, key: bytes, value: bytes | None) -> list[tuple[bytes, bytes | None]]:
        prefix, row_key = _split(key)
        number = self._numbers.get(prefix)
        if number is None:
            return []  # a table that no mapping uses any more
        items: list[tuple[bytes, bytes | None]] = [(key, value)]
        new_row = None if value is None else self._columns(number, value)
        indexes = self._indexes.of_table.get(number)
        if indexes is None:
            return items  # what it was does not matter: it stands nowhere else
        before = self._store.get(key)
        if before is not None:
            items.extend(self._unindexed(number, row_key, self._columns(number, before), new_row))
        for index in indexes:
            new = index.join(new_row)
            if new is not None:
                items.append((index_prefix(index.number, new) + row_key, row_key))
        return items

    def _unindexed(
        self, table: int, row_key: bytes, old_row: Row, new_row: Row | None
    ) -> Iterator[tuple[bytes, bytes | None]]:
        """What leaves the indexes of the store when ``new_row`` takes the place of ``old_row``."""
        for index in self._indexes.of_table.get(table, ()):
            old = index.join(old_row)
            if old is not None and old != index.join(new_row):
                yield index_prefix(index.number, old) + row_key, None

    def wipe(self) -> None:
        self._store.wipe()
        self._young, self._old = {}, {}
        self._history, self._picks, self.layout, self._plain = {}, {}, 1, 1

    def close(self) -> None:
        for spilled in (self._spilled, *self._taken_spilled):
            if spilled is not None:
                spilled.close()
        self._store.close()


def meta_key(name: bytes) -> bytes:
    """Where a named value stands in the changelog and in the store."""
    return b"m" + name


def other_columns(difference: str) -> Fatal:
    """The state cannot serve these mappings."""
    return Fatal(
        f"the mappings use tables or columns that the state does not hold: {difference}",
        "`bridge backfill --config FILE` completes the state from what the topics still hold, with --signal from the "
        "source's database; or take the change back",
        code="B503",
    )


def _split(key: bytes) -> tuple[bytes, bytes]:
    end = key.index(b"\x00") + 1
    return key[:end], key[end:]


def _encode_named(name: bytes, value: bytes) -> bytes:
    return len(name).to_bytes(2, "big") + name + value


def _named(data: bytes) -> tuple[bytes, bytes]:
    end = 2 + int.from_bytes(data[:2], "big")
    return data[2:end], data[end:]
