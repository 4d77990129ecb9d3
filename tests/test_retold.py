"""A record that is told once more: where it goes, under which id, or whether it is left out."""

from __future__ import annotations

from uuid import UUID, uuid5

import pytest

from bridge.core.retold import Retold, Selection, reissued, shadow_of
from bridge.model import OutboundRecord

OLD = "6f1f0b5e-8d5d-5d57-9d6b-3a5a0c2d6b11"
LETTER = OutboundRecord("legacy.DLT", b"1", b"{}", [("bridge_kind", b"unit")])


def event(key: bytes = b"1") -> OutboundRecord:
    trace = b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01"
    headers = [("ce_id", OLD.encode()), ("ce_type", b"OrderPlaced"), ("traceparent", trace)]
    return OutboundRecord("sales", key, b"value", headers)


def retold(*ids: str, live: bool = True, reissue: bool = False) -> Retold:
    return Retold("mended", "legacy.DLT", ids, live=live, reissue=reissue)


def test_a_live_event_is_told_as_the_first_time_and_its_dead_letters_are_there_already() -> None:
    assert retold().record(event()) == event()
    assert retold().record(LETTER) is None


@pytest.mark.parametrize("reissue", [False, True])
def test_a_shadow_has_everything_as_it_was_but_its_topic(reissue: bool) -> None:  # noqa: FBT001
    shadow = retold(live=False, reissue=reissue)
    assert shadow.record(event()) == event()._replace(topic="sales.mended")
    assert shadow.record(LETTER) == LETTER._replace(topic="legacy.DLT.mended")
    assert shadow_of("sales", "mended") == "sales.mended"


@pytest.mark.parametrize("live", [False, True])
def test_other_aggregates_are_left_out(live: bool) -> None:  # noqa: FBT001
    some = retold("1", "2", live=live)
    assert some.record(event(b"3")) is None
    assert some.record(event(b"2")) is not None


def test_a_reissued_event_says_what_it_replaces_under_an_id_that_follows_from_both() -> None:
    new = uuid5(UUID(OLD), "mended")
    told = retold(reissue=True).record(event())
    assert told == event()._replace(
        headers=[
            ("ce_id", str(new).encode()),
            ("ce_type", b"OrderPlaced"),
            ("traceparent", f"00-{new.hex}-{new.hex[16:]}-01".encode()),
            ("replaces", OLD.encode()),
        ]
    )
    assert told == reissued(event(), "mended")
    assert told != reissued(event(), "mended again")


def test_dead_letters_among_those_that_are_wanted() -> None:
    assert [retold().is_letter(one) for one in (LETTER, event())] == [True, False]
    some = retold("1")
    assert [some.is_letter(LETTER._replace(key=key)) for key in (b"1", b"2")] == [True, False]
    assert not some.is_letter(event())


def test_a_selection_goes_on_behind_what_was_told_before() -> None:
    """A replay that was killed inside a transaction that is too large for one Kafka transaction."""
    records = [event(b"1"), LETTER, event(b"2"), LETTER._replace(key=b"2"), event(b"3")]
    for skip, told, letters in (
        (0, [0, 2, 4], 2),
        (1, [2, 4], 2),
        (2, [2, 4], 1),
        (3, [4], 1),
        (4, [4], 0),
        (5, [], 0),
    ):
        selection = Selection(records, skip, retold())
        assert list(selection) == [records[number] for number in told] == list(selection), "as often as one looks"
        assert len(selection) == len(told)
        assert selection.letters() == letters
        assert [one in selection for one in records] == [number in told for number in range(5)]
