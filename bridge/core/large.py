"""A source transaction that is too large for memory: its rows and net changes, in temporary storage.

They stand in for the lists and dicts of the ordinary case: the steps are the same, and so are the events. A live net
change is one that was got or set last; others may lie in storage, so nobody keeps one across two calls.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from hashlib import blake2b
from itertools import groupby

import msgspec

from bridge.core.collapse import NetChange, happened
from bridge.core.columns import TableDecoder
from bridge.core.connectors import Source
from bridge.core.decode import ChangeEvent
from bridge.core.packed import decode, encode, index_prefix
from bridge.core.spool import Spool
from bridge.model import Row

_astuple = msgspec.structs.astuple
_LIVE = 2_000  # net changes held in memory
BEYOND_ALL = 1 << 120  # beyond every position
_NONE = b"-"  # at this place there is nothing to fold into: a later seed was applied
_FIELDS = [field.name for field in msgspec.structs.fields(ChangeEvent)]
_TABLE, _SOURCE, _RAW = (_FIELDS.index(name) for name in ("table", "source", "raw"))
_BEFORE, _AFTER, _POSITION = (_FIELDS.index(name) for name in ("before", "after", "position"))
_POSITION_BYTES = 16  # in a binary log it takes more than 64 bits
_ANY = Source()  # nobody asks a row that was taken where it came from
Identity = tuple[int, int, bytes, str]


class SpooledRows:
    """The distinct rows of one transaction, in source order. ``spool`` is the transaction's, for the steps behind too."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self._tables: dict[int, TableDecoder] = {}
        self._count = 0
        self._is_indexed = False
        self._rekeys = False
        self.run = ""  # the connector's that sent them
        self.first_position = BEYOND_ALL
        self.last_position = -1
        self.last_offsets: dict[int, int] = {}  # by partition

    def __len__(self) -> int:
        return self._count

    def __contains__(self, identity: Identity) -> bool:
        return self.spool.get(_row_place(identity)) is not None

    def add(self, rows: Mapping[Identity, ChangeEvent]) -> None:
        """Rows that are not among them yet."""
        if not self._count:
            self.run = next((change.run for change in rows.values()), "")
        for identity, change in rows.items():
            self.first_position = min(self.first_position, change.position)
            self.last_position = max(self.last_position, change.position)
            self._tables[change.table.number] = change.table
            values = list(_astuple(change))
            values[_TABLE], values[_SOURCE], values[_RAW] = change.table.number, None, None
            values[_POSITION] = change.position.to_bytes(_POSITION_BYTES, "big", signed=True)
            values[_BEFORE] = None if change.before is None else bytes(change.before)
            self.spool.put(_row_place(identity), encode(values))
            self._rekeys = self._rekeys or change.new_key is not None
            partition = change.partition
            self.last_offsets[partition] = max(self.last_offsets.get(partition, -1), change.offset)
        self._count += len(rows)

    def __iter__(self) -> Iterator[ChangeEvent]:
        """Rows on one position by their order in the run, then by arrival, as those in memory."""
        for _, rows in groupby(self.spool.items(b"t"), key=lambda item: item[0][:17]):
            changes = [self._change(data) for _, data in rows]
            if len(changes) > 1:
                changes.sort(key=lambda one: (one.order, one.partition, one.offset))
            yield from changes

    def rekeying(self) -> Iterable[ChangeEvent]:
        """Those that change a key are among these."""
        return self if self._rekeys else ()

    def positions(self, table: int) -> Iterator[int]:
        """Of the rows of one table, in order."""
        wanted = table.to_bytes(2, "big")
        for key, _ in self.spool.items(b"t"):
            if key[17:19] == wanted:
                yield int.from_bytes(key[1:17], "big") - 1

    def records(self, table: int, keys: set[bytes]) -> list[tuple[int, int]]:
        """Partition and offset of each record of some rows. Asked for dead letters alone, so the first one pays."""
        if not self._is_indexed:
            self._is_indexed = True
            for number, one in enumerate(self):
                place = _record_place(one.table.number, one.row_key) + number.to_bytes(8, "big")
                self.spool.put(place, encode((one.partition, one.offset)))
        found = sorted(
            (key[-8:], decode(data))
            for row_key in keys
            for key, data in self.spool.items(_record_place(table, row_key))
        )
        return [(partition, offset) for _, (partition, offset) in found]

    def _change(self, data: bytes) -> ChangeEvent:
        values = list(decode(data))
        values[_TABLE] = self._tables[values[_TABLE]]
        values[_SOURCE] = _ANY
        values[_POSITION] = int.from_bytes(values[_POSITION], "big", signed=True)
        if values[_AFTER] is not None:
            values[_AFTER] = tuple(values[_AFTER])
        if values[_BEFORE] is not None:
            values[_BEFORE] = msgspec.Raw(values[_BEFORE])
        return ChangeEvent(*values)


def _record_place(table: int, row_key: bytes) -> bytes:
    return b"r" + table.to_bytes(2, "big") + blake2b(row_key, digest_size=16).digest()


def _row_place(identity: Identity) -> bytes:
    position, table, row_key, op = identity
    return b"t" + (position + 1).to_bytes(16, "big") + table.to_bytes(2, "big") + op.encode() + row_key


class SpooledNets:
    """Net changes, in the order of each row's first change and by the place (table, row key) where a row is now."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._live: dict[int, NetChange] = {}

    # as the list of them

    def append(self, net: NetChange) -> None:
        self._keep(net)

    def __iter__(self) -> Iterator[NetChange]:
        """Those that changed something."""
        self._flush()
        for _, data in self._spool.items(b"n"):
            net = _net(data)
            if happened(net):
                yield net

    def __bool__(self) -> bool:
        return next(iter(self), None) is not None

    def at(self, order: int) -> NetChange:
        """The one whose first change was in this place of the transaction."""
        net = self._live.get(order)
        if net is None:
            data = self._spool.get(_net_place(order))
            if data is None:
                raise KeyError(order)
            net = _net(data)
        return net

    # as the map of places

    def get(self, place: tuple[int, bytes]) -> NetChange | None:
        found = self._spool.get(_current_place(place))
        if not found or found == _NONE:
            return None
        net = self.at(int.from_bytes(found, "big"))
        self._keep(net)
        return net

    def __contains__(self, place: tuple[int, bytes]) -> bool:
        return bool(self._spool.get(_current_place(place)))

    def __setitem__(self, place: tuple[int, bytes], net: NetChange | None) -> None:
        if net is not None:
            self._keep(net)
        self._spool.put(_current_place(place), _NONE if net is None else net.order.to_bytes(8, "big"))

    def pop(self, place: tuple[int, bytes], _default: None = None) -> NetChange | None:
        net = self.get(place)
        self._spool.put(_current_place(place), b"")
        return net

    def _keep(self, net: NetChange) -> None:
        """It is the live one of its order from now on."""
        if net.order not in self._live and len(self._live) >= _LIVE:
            self._flush()
        self._live[net.order] = net

    def _flush(self) -> None:
        for order, net in self._live.items():
            self._spool.put(_net_place(order), encode(_astuple(net)))
        self._live = {}


def _net_place(order: int) -> bytes:
    return b"n" + order.to_bytes(8, "big")


def _current_place(place: tuple[int, bytes]) -> bytes:
    return b"c" + place[0].to_bytes(2, "big") + place[1]


def _net(data: bytes) -> NetChange:
    net = NetChange(*decode(data))
    net.before = None if net.before is None else tuple(net.before)
    net.after = None if net.after is None else tuple(net.after)
    net.steps = [tuple(step) for step in net.steps]
    return net


class SpooledImages:
    """Rows by (table, row key) as of one moment; None: no such row."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._any = False

    def __bool__(self) -> bool:
        return self._any

    def __setitem__(self, place: tuple[int, bytes], row: Row | None) -> None:
        self._any = True
        self._spool.put(_image_place(place), b"" if row is None else encode(row))

    def __contains__(self, place: tuple[int, bytes]) -> bool:
        return self._spool.get(_image_place(place)) is not None

    def __getitem__(self, place: tuple[int, bytes]) -> Row | None:
        data = self._spool.get(_image_place(place))
        return decode(data) if data else None


def _image_place(place: tuple[int, bytes]) -> bytes:
    return place[0].to_bytes(2, "big") + place[1]


class SpooledMoves:
    """Row keys that joined otherwise before the transaction: what ``View`` holds in a dict."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._indexes: set[int] = set()

    def add(self, index: int, join: tuple[object, ...], row_key: bytes, *, after: bool) -> None:
        self._indexes.add(index)
        self._spool.put(_move_place(index, join, after=after) + row_key, row_key)

    def before(self, index: int, join: tuple[object, ...], keys: Collection[bytes]) -> Collection[bytes]:
        """The keys that joined on these values before, of ``keys`` that do now."""
        if index not in self._indexes:
            return keys
        came = [key for _, key in self._spool.items(_move_place(index, join, after=True))]
        went = [key for _, key in self._spool.items(_move_place(index, join, after=False))]
        return keys if not came and not went else (set(keys) - set(came)) | set(went)


def _move_place(index: int, join: tuple[object, ...], *, after: bool) -> bytes:
    return index_prefix(index, join) + (b"+" if after else b"-")


Pair = tuple[bytes, bytes]  # a root's key before and after


class SpooledRoots:
    """Which aggregates the changes touch, in the order of each one's first change; then as mappings and roots were met."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._ranks: dict[int, int] = {}
        self._met = 0

    def add(self, found: dict[int, dict[Pair, list[NetChange]]]) -> None:
        """What some of the changes touch: those that follow the ones that came before."""
        for number, roots in found.items():
            rank = self._ranks.setdefault(number, len(self._ranks))
            for pair, changes in roots.items():
                name = encode((number, *pair))
                place = self._spool.get(b"p" + name)
                if place is None:
                    self._met += 1
                    first = changes[0].order.to_bytes(8, "big")
                    place = first + rank.to_bytes(2, "big") + self._met.to_bytes(8, "big")
                    self._spool.put(b"p" + name, place)
                for change in changes:
                    self._spool.put(b"q" + place + change.order.to_bytes(8, "big"), name)

    def __iter__(self) -> Iterator[tuple[int, Pair, list[int]]]:
        """Mapping number, root, and the orders of the net changes that touch it."""
        for _, entries in groupby(self._spool.items(b"q"), key=lambda item: item[0][:19]):
            touching = list(entries)
            number, old_key, new_key = decode(touching[0][1])
            yield number, (old_key, new_key), [int.from_bytes(key[19:27], "big") for key, _ in touching]


Changes = list[ChangeEvent] | SpooledRows


def records_of(changes: Changes, net: NetChange) -> list[tuple[int, int]]:
    """Where the records of a net change stand, in source order: partition and offset of each."""
    keys = {net.row_key, net.old_key}
    if isinstance(changes, SpooledRows):
        return changes.records(net.table, keys)
    return [(one.partition, one.offset) for one in changes if one.table.number == net.table and one.row_key in keys]
