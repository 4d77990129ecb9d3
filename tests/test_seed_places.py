"""Where seeds have their place among the transactions of a binary log, whose snapshots say a place in the log."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from bridge.core.connectors import CONNECTORS, Source
from bridge.core.decode import ChangeEvent
from bridge.core.released import Released
from bridge.core.seed_places import SeedPlaces
from tests.test_transaction import ROWS


def seed(position: int, name: int = 0, *, incremental: bool = False) -> ChangeEvent:
    """As of a place in the log, or where it is incremental, of a commit."""
    source = Source(snapshot="incremental" if incremental else "true")
    return replace(ROWS[0], op="r", row_key=b"%d" % name, group="", position=position, offset=name, source=source)


class Places:
    """The seeds of one source, and those that were applied."""

    def __init__(
        self,
        *released: int,
        first_row: int = 1000,
        single_log: bool = False,
        snapshot_position: int | None = None,
        connector: str = "mariadb",
    ) -> None:
        self.released = Released(1000)
        self.first_row = first_row
        self.applied: list[tuple[int, int]] = []
        for position in released:
            self.released.add(position)
        self.seeds = SeedPlaces(
            CONNECTORS[connector],
            self.released,
            lambda one: self.applied.append((one.offset, one.position)),
            lambda: self.first_row,
            single_log=single_log,
            snapshot_position=snapshot_position,
        )

    def add(self, *seeds: ChangeEvent) -> None:
        for one in seeds:
            self.seeds.add(one)

    def now_applied(self) -> list[tuple[int, int]]:
        """Which, and the commit that they are as of; since the last time."""
        found, self.applied = self.applied, []
        return found


def test_in_a_single_log_nothing_waits_and_the_first_snapshot_is_the_beginning() -> None:
    places = Places(single_log=True)
    places.add(seed(70, 1), seed(80, 2, incremental=True))
    assert places.now_applied() == [(1, 0), (2, 80)]
    assert places.seeds.snapshot_position == 70
    places.released.add(5)
    places.add(seed(90, 3))
    assert places.now_applied() == [(3, 5)]
    assert places.seeds.snapshot_position == 70
    assert places.seeds.settle()


def test_the_earliest_snapshot_is_the_beginning_and_a_later_one_waits_for_its_place() -> None:
    places = Places(first_row=70)
    places.add(seed(71, 2), seed(70, 1), seed(1, 4, incremental=True), seed(70, 3))
    assert [places.seeds.snapshot_position] == [None]
    assert not places.seeds.settle(), "not every partition has shown how it begins"
    assert places.now_applied() == []
    places.seeds.begin()
    assert places.now_applied() == [(1, 0), (3, 0)]
    assert places.seeds.snapshot_position == 70
    assert places.seeds.settle()
    places.add(seed(70, 5), seed(71, 6))
    assert places.now_applied() == [(5, 0)], "one of that snapshot need not wait"
    assert sorted(one.offset for one in places.seeds) == [2, 4, 6]


def test_a_snapshot_that_rows_precede_is_not_the_beginning() -> None:
    places = Places(first_row=69)
    places.add(seed(70, 1))
    places.seeds.begin()
    assert places.now_applied() == []
    assert places.seeds.snapshot_position == -1
    places.first_row = 71
    places.seeds.before(8, lambda: pytest.fail("before the first transaction of all, its first row counts"))
    assert places.now_applied() == [(1, 0)]


def test_where_there_is_no_snapshot_there_is_none_to_wait_for() -> None:
    places = Places()
    places.seeds.begin()
    assert places.seeds.snapshot_position == -1
    assert places.seeds.settle()


def test_a_snapshot_applies_before_the_first_transaction_with_a_row_beyond_it() -> None:
    places = Places(3, first_row=0, snapshot_position=-1)
    places.add(seed(70, 1), seed(60, 2), seed(5, 3, incremental=True), seed(-1, 4))
    assert places.now_applied() == []
    for commit, last_row, expected in ((4, 60, [(4, 3)]), (5, 61, [(2, 4)]), (6, 70, [(3, 5)]), (7, 71, [(1, 6)])):
        places.seeds.before(commit, lambda last_row=last_row: last_row)  # type: ignore[misc]
        assert places.now_applied() == expected
        places.released.add(commit)
    assert not places.seeds
    assert places.seeds.settle()


def test_one_that_comes_late_applies_at_once() -> None:
    """The row's own position decides."""
    places = Places(3, 5, snapshot_position=2, connector="postgresql")
    places.add(seed(5, 1), seed(6, 2), seed(4, 3, incremental=True))
    assert places.now_applied() == [(1, 5), (3, 4)]
    places.seeds.up_to(6)
    assert places.now_applied() == []
    places.seeds.up_to(7)
    assert places.now_applied() == [(2, 6)]
