"""Rows outlive the mappings that chose their columns: what is read of them by the next, and the one after it."""

from __future__ import annotations

from bridge.core.collapse import StoredRow
from bridge.model import UNKNOWN, ChangelogRecord, Layout, MappingSet
from bridge.state.rows import RowState
from bridge.state.store import MemoryStore

Tables = dict[str, tuple[str, ...]]


class Changelog:
    """What one bridge after the other leaves behind; each starts with an empty disk."""

    def __init__(self) -> None:
        self.records: list[ChangelogRecord] = []

    def start(self, tables: Tables) -> RowState:
        layouts = {name: Layout(name, columns) for name, columns in tables.items()}
        state = RowState(MemoryStore(), MappingSet("legacy", (), layouts, ""))
        state.restore(self.records, b"")
        return state

    def write(self, state: RowState, table: int, key: bytes, *row: object) -> None:
        state.adopt()
        state.put(table, key, StoredRow(1, 0, row), ())
        self.records += state.take_changes()
        state.committed(b"")


def test_fewer_columns_are_read_from_wider_rows_and_what_was_not_kept_is_unknown_later() -> None:
    changelog = Changelog()
    wide = changelog.start({"t": ("a", "b", "c")})
    changelog.write(wide, 0, b"1", 1, 2, 3)
    changelog.write(wide, 0, b"2", 4, 5, 6)
    narrow = changelog.start({"t": ("a", "c")})
    assert narrow.lacks() == {}
    changelog.write(narrow, 0, b"2", 7, 8)
    found = narrow.get(0, b"1")
    assert found is not None
    assert found.row == (1, 3)
    again = changelog.start({"t": ("a", "b", "c")})
    assert again.lacks() == {"t": ["b"]}
    rows = [one.row for key in (b"1", b"2") if (one := again.get(0, key)) is not None]
    assert rows == [(1, 2, 3), (7, UNKNOWN, 8)]


def test_as_many_columns_are_not_the_same_columns() -> None:
    """Before the new ones are taken up too: the indexes are made then."""
    changelog = Changelog()
    changelog.write(changelog.start({"t": ("a", "b")}), 0, b"1", 1, 2)
    other = changelog.start({"t": ("b", "c")})
    assert other.lacks() == {"t": ["c"]}
    found = other.get(0, b"1")
    assert found is not None
    assert found.row == (2, UNKNOWN)


def test_rows_of_a_table_that_nobody_read_for_a_while_are_forgotten_when_it_is_taken_up_again() -> None:
    changelog = Changelog()
    changelog.write(changelog.start({"t": ("a",), "u": ("a",)}), 1, b"1", 1)
    changelog.write(changelog.start({"t": ("a",)}), 0, b"1", 1)
    again = changelog.start({"t": ("a",), "u": ("a",)})
    assert again.lacks() == {"u": ["a"]}
    assert again.get(1, b"1") is not None
    changelog.write(again, 0, b"2", 2)
    assert again.get(1, b"1") is None
    assert changelog.start({"t": ("a",), "u": ("a",)}).get(1, b"1") is None
