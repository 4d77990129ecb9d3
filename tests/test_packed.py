"""Rows and join values as bytes: they come out as they went in, and what was written once can be read for ever."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.packed import decode, encode, index_prefix
from bridge.model import UNKNOWN

VALUES = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.text(), st.just(UNKNOWN))
LONG = st.text(st.sampled_from("ab"), min_size=180, max_size=320)


@given(st.lists(VALUES).map(tuple))
def test_a_row_comes_out_as_it_went_in(row: tuple[object, ...]) -> None:
    assert decode(encode(row)) == row


def test_what_stands_in_changelogs_stays_readable() -> None:
    """UNKNOWN as it was always written; another extension is of a later bridge, and no value of this one."""
    assert encode((1, UNKNOWN)) == b"\x92\x01\xc7\x00\x01"
    with pytest.raises(ValueError, match="2"):
        decode(b"\x91\xc7\x00\x02")
    with pytest.raises(NotImplementedError, match="complex"):
        encode((1j,))
    assert index_prefix(258, ("a", 1)) == b"i\x01\x02\x00\x04\x92\xa1a\x01"


@given(st.sets(st.tuples(st.integers(0, 300), st.one_of(LONG, st.text(), st.integers(0, 300))), max_size=8))
def test_rows_that_join_on_other_values_lie_elsewhere(places: set[tuple[int, str | int]]) -> None:
    """Keys of rows follow the prefix: none may begin with another one's, however long the values."""
    prefixes = sorted(index_prefix(index, (value,)) for index, value in places)
    assert len(set(prefixes)) == len(places)
    assert not any(behind.startswith(before) for before, behind in pairwise(prefixes))
    assert all(len(prefix) <= 5 + 232 for prefix in prefixes)


def test_a_join_value_is_written_whole_up_to_a_length_that_stays() -> None:
    whole, longer = ("x" * 197,), ("x" * 198,)  # and three bytes around them
    assert index_prefix(0, whole) == b"i\x00\x00\x00\xc8" + encode(whole)
    assert index_prefix(0, longer).startswith(b"i\x00\x00\x00\xe8" + encode(longer)[:200])
    assert len(index_prefix(0, longer)) == 5 + 200 + 32
