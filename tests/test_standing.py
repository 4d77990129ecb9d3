"""What the facts about a source mean in words, and how long an open Kafka transaction has hidden input."""

from __future__ import annotations

import msgspec
import pytest

from bridge.cli.positions import text
from bridge.model import InputPartition
from bridge.runtime.hidden import Hidden
from bridge.runtime.standing import At, Line, Open, Standing, judge

NOW = 1_790_000_100_000
QUIET = Standing(
    source="legacy",
    topic="s.transaction-0",
    group="bridge.legacy",
    members=1,
    last=At(9, "0/64", NOW - 60_000),
    committed=At(9, "0/64", NOW - 60_000),
    behind_records=0,
    behind_transactions=0,
    behind_seconds=0.0,
    partitions=[Line("s.transaction-0", 10, 10, 10, 10, 0)],
)
OPEN = Open("s.a.b-c-12@7", NOW - 60_000)


@pytest.mark.parametrize(
    ("facts", "kinds"),
    [
        ({}, ["up to date"]),
        ({"members": 0}, ["no bridge runs"]),
        ({"behind_transactions": 3, "records_per_s": 10.0}, ["working"]),
        ({"open_source": OPEN}, ["blocked by an open source transaction"]),
        ({"open_source": OPEN, "behind_transactions": 1}, ["working"]),  # that is read first
        ({"hidden": [OPEN]}, ["blocked by an open Kafka transaction"]),
        ({"hidden": [OPEN], "behind_transactions": 2}, ["blocked by an open Kafka transaction", "working"]),
        ({"short": "END …", "behind_transactions": 1}, ["waits for rows"]),
        (
            {"stops": "B302: …", "members": 0, "behind_transactions": 1},
            ["stops at its next transaction", "no bridge runs"],
        ),
        ({"parked": 2, "dead_letters": 3}, ["up to date", "dead letters"]),
        ({"dead_letters": 3, "members": 0}, ["no bridge runs", "dead letters"]),
    ],
)
def test_the_verdict_and_its_order(facts: dict[str, object], kinds: list[str]) -> None:
    one = msgspec.structs.replace(QUIET, **facts)
    verdicts = judge(one, NOW)
    assert [verdict.kind for verdict in verdicts] == kinds
    assert text(one, verdicts, partitions=False).startswith(f"legacy: {kinds[0]}\n")


def test_the_command_that_finds_a_hanging_transaction_names_topic_and_partition() -> None:
    (verdict,) = judge(msgspec.structs.replace(QUIET, hidden=[OPEN]), NOW)
    assert "find-hanging --topic s.a.b-c --partition 12," in verdict.hint
    assert "since 2026-09-21T14:14:00.000Z (60 s)" in verdict.text


def test_how_long_it_takes_at_this_rate_and_that_nothing_moves() -> None:
    late = msgspec.structs.replace(QUIET, behind_transactions=3, behind_records=500, behind_seconds=4.25)
    (verdict,) = judge(msgspec.structs.replace(late, records_per_s=50.0), NOW)
    assert verdict.text == "behind by 3 source transactions, 500 records, 4.2 s; 50 records/s, 10 s left at this rate"
    (verdict,) = judge(late, NOW)
    assert "nothing moved just now" in verdict.text


def test_a_group_offset_that_differs_is_shown() -> None:
    odd = msgspec.structs.replace(QUIET, partitions=[Line("s.transaction-0", 10, 7, 12, 15, 2)])
    shown = text(odd, judge(odd, NOW), partitions=True)
    assert "the group's offset of s.transaction-0 is 7, the checkpoint's 10" in shown
    assert "lag            2  hidden 3" in shown
    assert "differs" not in text(QUIET, judge(QUIET, NOW), partitions=False)


def test_hidden_counts_from_when_the_same_transaction_was_first_seen() -> None:
    """Of a connector in exactly-once mode there always is one for a moment, each time another."""
    one, two = InputPartition("s.a", 0), InputPartition("s.b", 1)
    hidden = Hidden()
    assert hidden.look({one: 5, two: 5}, {one: 5, two: 5}, 100.0) == (0.0, "")
    assert hidden.look({one: 5, two: 5}, {one: 8, two: 5}, 101.0) == (0.0, "s.a-0@5")
    assert hidden.look({one: 8, two: 5}, {one: 9, two: 5}, 102.0) == (0.0, "s.a-0@8")
    assert hidden.look({one: 8, two: 5}, {one: 20, two: 6}, 107.0) == (5.0, "s.a-0@8")
    assert hidden.look({one: 20, two: 5}, {one: 20, two: 9}, 110.0) == (3.0, "s.b-1@5")
    assert hidden.look({one: 20, two: 9}, {one: 20, two: 9}, 111.0) == (0.0, "")
