"""The measure of ``bridge torture``: a stream whose events are known, repeats in it, and a verdict that finds what is wrong."""

from __future__ import annotations

from random import Random

import pytest

from bridge.cli import main
from bridge.testing.expected import Event, events_of
from bridge.testing.stream import OrderStream
from bridge.torture.report import json, text
from bridge.torture.task import repeated
from bridge.torture.tls import behind_proxy, context
from bridge.torture.verdict import Verdict, judge
from tests.test_large import Drive


def small(seed: int = 1) -> OrderStream:
    return OrderStream("shop", 600, seed, customers=10, orders_at_a_time=8)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_bridge_says_what_is_known_by_construction(seed: int) -> None:
    stream = small(seed)
    drive = Drive(list(stream.records()), single_log=False, rows_max=1_000_000).run(Random(seed))
    seen = [
        Event(record.key, record.value, tuple((name, bytes(value)) for name, value in record.headers))
        for record in drive.published
    ]
    assert seen == events_of(stream.facts)


def test_repeats_follow_whole_transactions() -> None:
    stream = small()
    records = list(stream.records())
    twice = list(repeated(records, stream.transaction_topic, Random(1)))
    assert len(twice) > len(records)
    assert list(dict.fromkeys(map(str, twice))) == list(map(str, records))


def known() -> list[Event]:
    stream = small()
    for _ in stream.records():
        pass
    return events_of(stream.facts)


EVENTS = known()


def test_a_verdict_finds_every_kind_of_wrong() -> None:
    key = EVENTS[0].key
    mine = [place for place, event in enumerate(EVENTS) if event.key == key]
    swapped = list(EVENTS)
    swapped[mine[0]], swapped[mine[1]] = swapped[mine[1]], swapped[mine[0]]
    other = [EVENTS[0]._replace(value=b"{}"), *EVENTS[1:]]
    count = len(EVENTS)
    assert judge(EVENTS, EVENTS) == Verdict(count, count)
    assert judge(EVENTS, EVENTS[1:]) == Verdict(count, count - 1, lost=1)
    assert judge(EVENTS, [*EVENTS, EVENTS[3]]) == Verdict(count, count + 1, doubled=1)
    assert judge(EVENTS, swapped) == Verdict(count, count, reordered=1)
    assert judge(EVENTS, other) == Verdict(count, count, lost=1, doubled=1)
    assert not any(judge(EVENTS, seen).good for seen in (EVENTS[1:], [*EVENTS, EVENTS[3]], swapped, other))
    assert not judge(EVENTS, EVENTS, "stuck").good


def test_orders_of_different_keys_may_come_in_any_order() -> None:
    assert judge(EVENTS, sorted(EVENTS, key=lambda event: event.key)).good


def test_the_table_adds_up() -> None:
    verdicts = {
        "kill": [Verdict(10, 9, lost=1), Verdict(10, 11, doubled=1)],
        "none": [Verdict(10, 10, problem="stuck")],
    }
    lines = text(verdicts).splitlines()
    assert lines[1].split()[:7] == ["kill", "2", "20", "20", "1", "1", "0"]
    assert lines[-1] == "none: stuck"
    assert '"kill":{"runs":2,"expected":20,"seen":20,"lost":1,"doubled":1,"reordered":0' in json(verdicts, 3)


def test_tls_is_the_proxys() -> None:
    secured = {"security.protocol": "SASL_SSL", "ssl.ca.location": "ca.pem", "sasl.username": "me"}
    assert behind_proxy(secured) == {"security.protocol": "sasl_plaintext", "sasl.username": "me"}
    assert context({"bootstrap.servers": "x"}) is None
    made = context({"security.protocol": "ssl"})
    assert made is not None
    assert made.check_hostname


def test_faults_and_numbers_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--faults", "none,rain"], ["--rounds", "0"], ["--property", "x"]):
        with pytest.raises(SystemExit):
            main(["torture", "--bootstrap", "localhost:1", *words])
    assert "there is no 'rain'" in capsys.readouterr().err
