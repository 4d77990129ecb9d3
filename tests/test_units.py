"""What is stopped, and what is said, where units or records cannot be translated."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bridge.core.aggregate import Plan, Touched
from bridge.core.history import BITS
from bridge.core.images import Told
from bridge.core.open_window import OpenWindow, Seen
from bridge.core.oversize import REDUCED
from bridge.core.reject import Breaker, Reject
from bridge.core.seen import Seen as SeenColumns
from bridge.errors import ColumnGone, Untranslatable
from bridge.model import UNKNOWN, InputPartition, OutboundRecord, PlainRecord, TranslatedRecord
from tests.test_promises import mappings, touched
from tests.test_transaction import ROWS
from tests.test_transaction import Told as Row

# -- the breaker -------------------------------------------------------------------------------------------------------


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 8), st.sampled_from([0.0, 0.25, 0.5, 0.9]))
def test_the_bridge_stops_where_too_many_of_the_latest_units_fail(
    passed: list[bool], of_last: int, share: float
) -> None:
    breaker = Breaker(share, of_last)
    for number, good in enumerate(passed, 1):
        latest = passed[max(0, number - of_last) : number]
        failed, stops = latest.count(False), latest.count(False) > share * of_last
        if good:
            breaker.passed()
        elif not stops:
            breaker.failed(Untranslatable("no such code", "mend it"))
        else:
            with pytest.raises(Untranslatable) as caught:
                breaker.failed(Untranslatable("no such code", "mend it"))
            assert caught.value.code == "B212"
            assert caught.value.message == (
                f"{failed} of the last {len(latest)} units could not be translated; the latest: "
                f"{Untranslatable('', '').code} no such code"
            )
            assert caught.value.hint == (
                "mend the mapping and start again: nothing after the last commit was published; the limit is "
                "errors.max_share of errors.of_last units"
            )


# -- dead letters ------------------------------------------------------------------------------------------------------

PARTITIONS = [InputPartition("shop.public.a", 4), InputPartition("shop.transaction", 0)]
REJECT = Reject("legacy", "legacy.DLT", list(mappings().layouts.values()), PARTITIONS, 1)
FIRST = Seen("7", 100, 3, 5, 5)
WHERE = [
    ("bridge_kind", b"record"),
    ("bridge_code", b"B201"),
    ("bridge_source", b"legacy"),
    ("bridge_topic", b"shop.public.a"),
    ("bridge_partition", b"4"),
    ("bridge_offset", b"7"),
]


@pytest.mark.parametrize(
    ("raw", "key", "value"),
    [
        (PlainRecord("shop.public.a", 4, 7, b"k", b"{"), b"k", b"{"),
        (PlainRecord("shop.public.a", 4, 7, None, b"{"), b"", b"{"),
        (PlainRecord("shop.public.a", 4, 7, b"k", None), b"k", b""),
        (
            TranslatedRecord("t", 4, 7, b"{}", b"{}", original=PlainRecord("t", 4, 7, b"\x00avro", b"\x00!")),
            b"\x00avro",
            b"\x00!",
        ),
        (None, b"", b""),
    ],
)
def test_a_record_that_cannot_be_read_goes_as_its_own_bytes_with_its_place(
    raw: PlainRecord | None, key: bytes, value: bytes
) -> None:
    garbage = replace(Row(0, 1, b"", "?", 0, 0, 7).change, raw=raw)
    letter = REJECT.record(garbage)
    assert letter == OutboundRecord("legacy.DLT", key, value, WHERE)
    assert REJECT.reduced(letter) == OutboundRecord("legacy.DLT", key, b"", [*WHERE, (REDUCED, b"%d" % len(value))]), (
        "one that is too large goes without its value"
    )


def placed() -> Touched:
    """An order that was paid, with where its rows are looked up."""
    one = touched((1, "N"), (1, "P"), (1, "P"))
    _, *rest = one.sight
    return replace(one, sight=([Plan(one.mapping.tables[0], 0, 0, None, None)], *rest))


def test_positions_are_told_as_the_connector_writes_them() -> None:
    """Whichever history they are of: that is said beside it."""
    second = 1 << BITS
    first, last = Seen("7", second + 100, 3, 5, 5), Seen("9", second + 300, 8, 6, 6)
    window = OpenWindow(b"w", 0, "Order", b"1", b"1", b"1", first, last, 2)
    one = placed()
    letter = REJECT.unit(one, "1", window.as_transaction(), Told(second + 100, 5, 5), None, second + 90, window)
    document = msgspec.json.decode(letter.value)
    assert (document["commitPosition"], document["incarnation"], document["parkedBehind"]) == (100, 2, 90)
    assert document["window"] == {
        "transactions": 2,
        "lastTransaction": "9",
        "lastCommitPosition": 300,
        "lastEnd": {"topic": "shop.transaction", "partition": 0, "offset": 8},
    }
    assert dict(letter.headers)["bridge_position"] == b"100"
    assert (document["code"], document["end"]["offset"]) == ("B211", 3)


def test_a_dead_letter_that_is_too_large_keeps_everything_but_its_rows() -> None:
    one = placed()
    letter = REJECT.unit(
        one,
        "1",
        OpenWindow(b"w", 0, "Order", b"1", b"1", b"1", FIRST, FIRST).as_transaction(),
        Told(100, 5, 5),
        Untranslatable("no such code", "mend it"),
        None,
    )
    reduced = REJECT.reduced(letter)
    whole, small = msgspec.json.decode(letter.value), msgspec.json.decode(reduced.value)
    rows = {"changes", "before", "after", "packed"}
    assert small == {name: value for name, value in whole.items() if name not in rows} | {
        "reduced": {"bytes": len(letter.value), "changes": 0}
    }
    assert reduced == letter._replace(
        value=reduced.value, headers=[*letter.headers, (REDUCED, b"%d" % len(letter.value))]
    )


# -- columns that come and go ------------------------------------------------------------------------------------------


class Named:
    """The named values of a state."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes | None] = {}

    def meta(self, name: bytes) -> bytes | None:
        return self.values.get(name)

    def put_meta(self, name: bytes, value: bytes | None) -> None:
        self.values[name] = value


def columns(state: Named, **more: list[str]) -> SeenColumns:
    used = {"public.a": ["id"], "public.b": ["id"]} | {f"public.{name}": found for name, found in more.items()}
    return SeenColumns(state, {"public.a": 0, "public.b": 1}, used, PARTITIONS)


def test_a_column_that_rows_had_may_not_go() -> None:
    state = Named()
    seen = columns(state)
    lacking = [replace(row, lacks=("id", "other"), after=(UNKNOWN,), offset=5) for row in ROWS]
    assert seen.missing == {0, 1}
    seen.check(lacking)
    seen.see(lacking)
    assert (seen.missing, state.values) == ({0, 1}, {}), "rows that were written before a column was added say nothing"
    seen.see([lacking[1], replace(ROWS[0], after=None), replace(ROWS[0], op="r", after=(UNKNOWN,))])
    assert seen.missing == {0, 1}, "nor does a delete, or a seed that does not know"
    seen.see([lacking[1], ROWS[0]])
    for known in (seen, columns(state)):
        assert known.missing == {1}
        known.check([lacking[1], ROWS[0]])
        with pytest.raises(ColumnGone) as caught:
            known.check([lacking[1], lacking[0]])
        assert caught.value.message == (
            "shop.public.a-4@5: the source's rows lack public.a.id, public.a.other, which mappings use and earlier rows had"
        )
        assert caught.value.hint == (
            "the column was dropped or renamed: take it out of the mappings, or use its new name and complete the state "
            "with `bridge backfill`; nothing was published beyond the transaction before"
        )


def test_a_column_that_is_used_from_now_on_has_to_be_seen_first() -> None:
    state = Named()
    columns(state).see(ROWS)
    assert columns(state).missing == set()
    assert columns(state, b=["id", "new"]).missing == {1}
    assert columns(state, b=[]).missing == set()


def test_a_row_that_does_not_know_a_value_has_the_column() -> None:
    """TOAST leaves values out; a column that is gone is not there."""
    seen = columns(Named())
    seen.see([replace(ROWS[0], after=(UNKNOWN,), op="u")])
    assert seen.missing == {1}
