"""A guard against a slow-down that no clock sees: the calls that the core makes for a fixed stream of row changes.

The number is the same on every machine; another minor version of Python moves it by a few in a hundred. Who adds work to
every row change meets this test, and raises the number only after `make bench` said what it costs in time.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.core.decode import Decode
from bridge.mapping import load
from bridge.testing.stream import MAPPING, OrderStream
from deploy.bench.growth import GrowingStream, Shape, mapping_set, rows_before
from deploy.bench.inprocess import SOURCE, InProcess, Work

ROWS = 3_000
CALLS = 91.5  # for each row change, functions in Python and in C
PYTHONS_DIFFER = 1.03
WORTH_NOTING = 0.9  # who made it so much cheaper lowers the number, so that the guard keeps its edge


def counted(directory: Path) -> float:
    stream = OrderStream("shop", ROWS, customers=200, orders_at_a_time=50)
    core = InProcess(directory, stream, load([(str(MAPPING), MAPPING.read_text())], SOURCE))
    done: Work = core.work(stream.records(), count=True)
    core.close()
    assert done.row_changes == stream.row_changes
    assert done.events == stream.expected.total()
    return done.calls / done.row_changes


def test_a_row_change_costs_no_more_calls_than_it_did(tmp_path: Path) -> None:
    calls = counted(tmp_path)
    assert calls < CALLS * PYTHONS_DIFFER, "more work for each row change: see the top of this file"
    assert calls > CALLS * WORTH_NOTING, "less work for each row change: lower CALLS"


def test_a_few_calls_more_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard's own edge: three calls more for each record."""
    records = Decode.records

    def slower(self: Decode, run: list[object], number: int) -> object:
        for record in run:
            for _ in range(3):
                id(record)
        return records(self, run, number)  # type: ignore[arg-type]

    monkeypatch.setattr(Decode, "records", slower)
    assert counted(tmp_path) > CALLS * PYTHONS_DIFFER


@pytest.mark.parametrize("reads", [False, True])
def test_growth_is_measured_on_streams_that_mean_events(tmp_path: Path, *, reads: bool) -> None:
    """Of every kind at once: ``python -m deploy.bench.growth`` lets one of them grow at a time."""
    shape = Shape(tables=2, rows=7, children=3, mappings=2, aggregates=10, schemas=True, reads=reads)
    stream, mappings = GrowingStream(shape, 300), mapping_set(shape)
    core = InProcess(tmp_path, stream, mappings, rows_before(shape, mappings))
    done = core.work(stream.records())
    core.close()
    assert done.row_changes == 300
    assert done.events % shape.mappings == 0
    assert 30 < done.events // shape.mappings <= 60  # one change in ten is news, and may be taken back
