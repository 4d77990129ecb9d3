"""A TRUNCATE by its table's policy, and the keys of rows as of before a transaction."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from msgspec.structs import replace

from bridge.core.collapse import StoredRow
from bridge.core.columns import TableDecoder
from bridge.core.decode import ChangeEvent
from bridge.core.joins import Indexes, Join
from bridge.core.truncate import Truncate
from bridge.core.view import View
from bridge.errors import Fatal
from bridge.model import InputPartition, Row
from bridge.state.rows import RowState
from bridge.state.store import MemoryStore
from tests.test_joins import mappings, row_of
from tests.test_transaction import Told

MAPPINGS = mappings(A="")
DECODERS = [TableDecoder(layout, number) for number, layout in enumerate(MAPPINGS.layouts.values())]
NUMBERS = {decoder.name: decoder.number for decoder in DECODERS}
LINES, ORDERS = NUMBERS["public.t_line"], NUMBERS["public.t_ord"]
PARTITIONS = [InputPartition(f"shop.{name}", 3) for name in NUMBERS]


def change(table: int, op: str, offset: int) -> ChangeEvent:
    told = Told(0, offset + 1, b"%d" % offset, op, offset, table, offset).change
    return replace(told, table=DECODERS[table])


class Held:
    """Two lines of one order, and the order."""

    def __init__(self) -> None:
        self.indexes = Indexes(MAPPINGS, NUMBERS)
        self.state = RowState(MemoryStore(), MAPPINGS)
        for key in (b"1", b"2"):
            self.put(LINES, key, row_of(MAPPINGS, "public.t_line", ord_no="1", firm="x", line_no=int(key), sku="s"))
        self.put(ORDERS, b"1", row_of(MAPPINGS, "public.t_ord", ord_no="1", firm="x"))

    def put(self, table: int, key: bytes, row: Row) -> None:
        self.state.put(table, key, StoredRow(1, 1, row), self.indexes.moves(table, None, row))

    def rows(self) -> tuple[int, int]:
        """Lines and orders."""
        return len(self.state.row_keys(LINES)), len(self.state.row_keys(ORDERS))

    def joined(self) -> set[bytes]:
        """The lines that the order's index knows."""
        (mapping,) = MAPPINGS.mappings
        index = self.indexes.down(mapping, mapping.tables[1])
        return set(self.state.children(index.number, ("1", "x")))


@pytest.mark.parametrize("first", [ORDERS, LINES])
def test_what_a_truncate_forgets_is_in_no_row_and_in_no_index(first: int) -> None:
    held = Held()
    assert (held.rows(), held.joined()) == ((2, 1), {b"1", b"2"})
    changes = [change(first, "u", 0), change(ORDERS, "u", 1), change(LINES, "t", 2), change(LINES, "c", 3)]
    kept = Truncate({LINES: "forget"}, held.state, held.indexes).before(changes, PARTITIONS)
    assert (held.rows(), held.joined()) == ((0, 1), set())
    assert [one.offset for one in kept if one.op != "t"] == ([0, 1, 3] if first == ORDERS else [1, 3])


def test_a_table_without_a_policy_keeps_its_rows() -> None:
    held = Held()
    changes = [change(LINES, "t", 0), change(LINES, "c", 1), change(ORDERS, "t", 2)]
    assert Truncate({}, held.state, held.indexes).before(changes, PARTITIONS) == changes
    assert (held.rows(), held.joined()) == ((2, 1), {b"1", b"2"})


def test_who_stops_at_a_truncate_is_told_where_and_how_to_go_on() -> None:
    held = Held()
    with pytest.raises(Fatal) as caught:
        Truncate({LINES: "stop"}, held.state, held.indexes).before([change(LINES, "t", 7)], PARTITIONS)
    assert caught.value.code == "B303"
    assert caught.value.message == ("shop.public.t_line-3@7: public.t_line was truncated, and its policy is to stop")
    assert caught.value.hint == (
        "nothing of that transaction was published; to go on set tables.public.t_line.truncate to `forget` (its rows "
        "leave the state, without events) or `report` (they stay) in the config, and start again"
    )
    assert held.rows() == (2, 1)


class Shuffled:
    """A state that gives keys in some order of its own."""

    def __init__(self, keys: list[bytes]) -> None:
        self.keys = keys

    def get(self, _table: int, _row_key: bytes) -> StoredRow | None:
        return None

    def put(self, *_: object) -> None: ...

    def children(self, _index: int, _join: Join) -> Collection[bytes]:
        return self.keys


@pytest.mark.parametrize("keys", [[], [b"1"], [b"2", b"1"], [b"3", b"1", b"2"]])
def test_children_come_in_the_order_of_their_keys(keys: list[bytes]) -> None:
    """Whatever the order in which the state has them: events do not depend on it."""
    assert View(Shuffled(keys), {}).children(0, ("1",)) == sorted(keys)
