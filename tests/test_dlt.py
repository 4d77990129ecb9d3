"""Dead letters: mended and replayed, every event is the one that would have come if the mapping had been right all along."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from bridge.errors import Fatal, Oversize, RecordTooLarge
from bridge.explain.letters import Teller, page
from bridge.mapping import load
from bridge.model import MappingSet, PlainRecord, SourceSettings
from bridge.runtime.desk import Desk
from bridge.runtime.letters import Wanted
from bridge.runtime.redrive import Done, Redrive, refuse_other_mappings
from bridge.testing import FakeKafka, Faults, Process, SourceTopics
from tests.test_decisions import ONE_LOG, PER_TABLE, Legacy

RIGHT = """\
aggregate: Order
source: legacy
key: order.no
tables:
  order: {table: public.ord}
  lines: {table: public.line, many: true, match: {no: order.no}}
model:
  orderId: string = order.no
  status: {type: enum, from: order.st, codes: {N: NEW, P: PAID, S: SENT}}
  amounts: {each: lines, fields: {amount: int = amt}, order_by: id}
events:
  OrderChanged: {topic: orders, when: not deleted(), data: [orderId, status, amounts]}
  OrderPaid: {topic: orders, when: "became(status, 'PAID')", data: [orderId]}
"""
WRONG = RIGHT.replace("P: PAID, S: SENT", "A: PAID, B: SENT")
HALF = RIGHT.replace("S: SENT", "B: SENT")


def compiled(text: str) -> MappingSet:
    return load([("order.yaml", text)], "legacy")


class Shop(Legacy):
    """A source, bridges that work by one mapping file or another, and an operator."""

    def __init__(self, settings: SourceSettings, text: str = WRONG) -> None:
        super().__init__(settings)
        self.mappings = compiled(text)
        self._xids = itertools.count(10)

    def change(self, number: int, status: str, *amounts: int, op: str = "u") -> None:
        """One transaction: an order, and lines of it with new amounts."""
        xid = next(self._xids)
        lsn = xid * 1000
        self.begin(xid, lsn)
        self.row(xid, lsn + 1, op, "ord", number, no=number, st=status)
        for place, amount in enumerate(amounts):
            key = number * 1000 + place
            self.row(xid, lsn + 2 + place, "c" if op == "c" else "u", "line", key, id=key, no=number, amt=amount)
        self.end(xid, lsn + 900, ord=1, **({"line": len(amounts)} if amounts else {}))

    def desk(self, text: str = RIGHT, *, faults: Faults | None = None, everything: bool = False, **wanted: Any) -> Desk:
        process = Process(f"o{next(self._names)}", 1, faults)
        reader = FakeKafka(self.broker, SourceTopics("legacy.DLT"), process).reader()
        kafka = FakeKafka(self.broker, self.topics, process)
        return Desk(kafka, reader, "legacy", compiled(text), Wanted(**wanted), everything=everything)

    def redrive(self, text: str = RIGHT, *, rate: float = 0.0, give_up: bool = False, **wanted: Any) -> Redrive:
        return self.desk(text, **wanted).redrive(self.broker.clock, lambda _: None, rate=rate, give_up=give_up)

    def replay(self, text: str = RIGHT, *, give_up: bool = False, **wanted: Any) -> Done:
        return self.redrive(text, give_up=give_up, **wanted).run()

    def all(self) -> list[tuple[Any, ...]]:
        return sorted(map(_bytes, self.broker.committed("orders")))

    def of(self, number: int) -> list[tuple[Any, ...]]:
        """One order's events, in the order in which a consumer sees them."""
        return [_bytes(one) for one in self.broker.committed("orders") if one.key() == str(number).encode()]

    def letters(self) -> list[PlainRecord]:
        return self.broker.committed("legacy.DLT")

    def codes(self, *, everything: bool = False, **wanted: Any) -> list[tuple[str, str, int]]:
        return [
            (letter.code, letter.identity, behind)
            for letter, behind, _ in self.desk(everything=everything, **wanted).found()
        ]


def _bytes(record: PlainRecord) -> tuple[Any, ...]:
    return record.key(), record.value(), tuple(record.headers() or ())


def history(shop: Shop) -> None:
    shop.change(1, "N", 5, 6, op="c")
    shop.change(2, "N", op="c")
    shop.change(1, "P")  # the wrong mapping does not know P
    shop.change(2, "N", 7)
    shop.change(1, "S", 8)
    shop.change(2, "P")
    shop.change(3, "P", 1, op="c")


def later(shop: Shop) -> None:
    shop.change(1, "N", 9)
    shop.change(2, "S")
    shop.change(3, "N", 2)


def right(settings: SourceSettings, *parts: Any) -> Shop:
    shop = Shop(settings, RIGHT)
    for part in parts:
        part(shop)
    shop.work()
    return shop


@pytest.fixture(params=[PER_TABLE, ONE_LOG], ids=["topics", "log"])
def settings(request: pytest.FixtureRequest) -> SourceSettings:
    found: SourceSettings = request.param
    return found


def test_replayed_letters_are_the_events_that_a_right_mapping_had_told(settings: SourceSettings) -> None:
    shop = Shop(settings)
    history(shop)
    shop.work()
    assert len(shop.events()) == 3
    assert shop.codes() == [("T102", "1", 1), ("T102", "2", 0), ("T102", "3", 0)]
    done = shop.replay()
    assert (done.told, done.late, done.given_up) == (4, 0, [])
    shop.mappings = compiled(RIGHT)
    later(shop)
    shop.work()
    truth = right(settings, history, later)
    for number in (1, 2, 3):
        assert shop.of(number) == truth.of(number)
    assert shop.codes() == []
    assert [code for code, *_ in shop.codes(everything=True)] == ["T102", "B211", "T102", "T102"]
    assert shop.replay().told == 0


def test_would_pass_says_so_in_order_and_writes_nothing(settings: SourceSettings) -> None:
    shop = Shop(settings)
    history(shop)
    shop.work()
    before = len(shop.broker.history)
    with shop.desk(HALF, everything=True) as desk:
        tried = [desk.tried(letter) for name in ("1", "2", "3") for letter in desk._letters.of[f"Order\x1f{name}"]]
    told = [one and (len(one.records), one.problem and one.problem.code, one.waits) for one in tried]
    assert told == [(2, None, False), (0, "T102", False), (2, None, False), (2, None, False)]
    assert len(shop.broker.history) == before


def test_an_aggregate_stays_parked_at_the_letter_that_still_fails(settings: SourceSettings) -> None:
    shop = Shop(settings)
    history(shop)
    shop.work()
    redrive = shop.redrive(HALF)
    assert redrive.run().told == 3
    assert [(one.letter.code, one.problem and one.problem.code) for one in redrive.failing()] == [("B211", "T102")]
    shop.mappings = compiled(RIGHT)
    later(shop)
    shop.work()
    truth = right(settings, history, later)
    assert len(shop.of(1)) < len(truth.of(1))
    assert shop.of(2) == truth.of(2)
    assert shop.codes() == [("B211", "1", 1)]
    shop.replay()
    assert shop.all() == truth.all()
    assert shop.of(1) == truth.of(1)


def test_filters_choose_aggregates(settings: SourceSettings) -> None:
    shop = Shop(settings)
    history(shop)
    shop.work()
    assert shop.codes(identity="2") == [("T102", "2", 0)]
    assert shop.codes(code="B211") == [("B211", "1", 0)]
    assert shop.codes(aggregate="Customer") == []
    times = [letter.time_ms for letter, *_ in shop.desk().found()]
    assert shop.codes(since_ms=times[1], until_ms=times[2]) == [("T102", "2", 0)]
    assert shop.codes(at=(0, 1)) == [("B211", "1", 0)]
    assert shop.replay(identity="1").told == 2
    assert {letter for _, letter, _ in shop.codes()} == {"2", "3"}


def test_while_the_bridge_runs_the_owner_goes_on_behind_what_was_replayed(settings: SourceSettings) -> None:
    shop = Shop(settings)
    history(shop)
    shop.work()
    shop.mappings = compiled(RIGHT)
    worker = shop.bridge()
    for _ in range(20):
        worker.step()
    redrive = shop.redrive()
    shop.change(1, "N", 9)
    while shop.codes(identity="1")[0][2] < 2:  # the owner has parked it behind the others
        worker.step()
    done = redrive.run()
    assert done.told == 5
    shop.change(2, "S")
    shop.change(3, "N", 2)
    truth = right(settings, history, later)
    for _ in range(200):
        worker.step()
    worker.close()
    for number in (1, 2, 3):
        assert shop.of(number) == truth.of(number)


@pytest.mark.parametrize("seed", range(12))
def test_nothing_is_told_twice_whatever_fails(seed: int) -> None:
    shop = Shop(PER_TABLE)
    history(shop)
    shop.work()
    faults = Faults(
        open_fails=0.2,
        changelog_fails=0.1,
        publish_before=0.2,
        publish_middle=0.2,
        publish_unknown=0.3,
        publish_after=0.3,
    )
    for _ in range(20):
        process = Process(f"{seed}/{next(shop._names)}", seed, faults)
        try:
            reader = FakeKafka(shop.broker, SourceTopics("legacy.DLT"), process).reader()
            kafka = FakeKafka(shop.broker, shop.topics, process)
            desk = Desk(kafka, reader, "legacy", compiled(RIGHT), Wanted())
            done = desk.redrive(shop.broker.clock, lambda _: None, rate=1.0).run()
        except Exception:  # noqa: BLE001, S112 - as an operator does: once more
            continue
        assert done.told <= 4
    truth = right(PER_TABLE, history)
    for number in (1, 2, 3):
        assert shop.of(number) == truth.of(number)


def test_skipped_letters_come_late(settings: SourceSettings) -> None:
    shop = Shop(settings, WRONG + "on_error: skip\n")
    shop.change(1, "N", op="c")
    shop.change(1, "P", 4)
    shop.work()
    done = shop.replay(RIGHT + "on_error: skip\n")
    assert (done.told, done.late) == (1, 1)
    assert shop.codes() == []


def test_giving_up_lets_the_aggregate_go_on(settings: SourceSettings) -> None:
    shop = Shop(settings)
    history(shop)
    shop.work()
    done = shop.replay(WRONG, give_up=True, identity="1")
    assert [letter.code for letter in done.given_up] == ["T102", "B211"]
    assert shop.codes(identity="1") == []
    assert [one and one.given_up for *_, one in shop.desk(everything=True, identity="1").found()] == [[0, 1], [0, 1]]
    shop.mappings = compiled(RIGHT)
    later(shop)
    shop.work()
    truth = right(settings, history, later)
    assert shop.of(1) == [truth.of(1)[0], truth.of(1)[-1]]


def test_an_edited_mapping_may_rename_filter_and_trim(settings: SourceSettings) -> None:
    """What is kept are rows as they came: all that the mapping says about them is said anew."""
    edited = """\
aggregate: Order
source: legacy
key: o.no
tables:
  o: {table: public.ord, columns: {st: trim}}
  items: {table: public.line, many: true, match: {no: o.no}, when: amt > 5}
model:
  orderId: string = o.no
  status: {type: enum, from: o.st, codes: {N: NEW, P: PAID, S: SENT}}
  amounts: {each: items, fields: {amount: int = amt}, order_by: id}
events:
  OrderChanged: {topic: orders, when: not deleted(), data: [orderId, status, amounts]}
"""
    shop = Shop(settings, edited.replace(", columns: {st: trim}", "").replace(", when: amt > 5", ""))
    shop.change(1, " P", 5, 6, 7, op="c")
    shop.work()
    assert shop.replay(edited).told == 1
    assert shop.events() == [{"orderId": "1", "status": "PAID", "amounts": [{"amount": 6}, {"amount": 7}]}]


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (("match: {no: order.no}", "match: {id: order.no}"), "B520"),
        (("aggregate: Order", "aggregate: Purchase"), "B520"),
        (("from: order.st", "from: order.kind"), "T104"),
        (("table: public.line", "table: public.item"), "B520"),
    ],
)
def test_what_a_letter_lacks_is_said(edit: tuple[str, str], code: str) -> None:
    shop = Shop(PER_TABLE)
    history(shop)
    shop.work()
    with shop.desk(RIGHT.replace(*edit), identity="1") as desk:
        ((letter, *_),) = desk.found()
        tried = desk.tried(letter)
    assert tried is not None
    assert tried.problem is not None
    assert tried.problem.code == code
    assert code != "B520" or "bridge replay" in tried.problem.hint


def test_letters_of_an_earlier_version_are_listed_and_not_replayed() -> None:
    shop = Shop(PER_TABLE)
    history(shop)
    shop.work()
    log = shop.broker.log("legacy.DLT")
    for record in log.records:
        if record is not None:
            document = json.loads(record.value_bytes or b"")
            del document["packed"]
            record.value_bytes = json.dumps(document).encode()
    redrive = shop.redrive()
    assert redrive.run().told == 0
    assert {one.problem and one.problem.code for one in redrive.failing()} == {"B520"}


def test_letters_that_are_gone_keep_nobody_parked_for_ever() -> None:
    shop = Shop(PER_TABLE)
    history(shop)
    shop.work()
    shop.broker.create_topic("legacy.DLT", 1)
    assert shop.desk().without_letters() == [("Order", "1"), ("Order", "2"), ("Order", "3")]
    assert shop.replay(give_up=True, identity="1").unparked == ["Order 1"]
    shop.change(1, "N", 9)
    shop.mappings = compiled(RIGHT)
    shop.work()
    assert len(shop.of(1)) == 2


def test_a_new_dead_letter_topic_hides_no_new_letter() -> None:
    shop = Shop(PER_TABLE)
    history(shop)
    shop.work()
    shop.replay()
    shop.broker.create_topic("legacy.DLT", 1)
    shop.change(1, "Z")
    shop.work()
    assert shop.codes() == [("T102", "1", 0)]


def test_a_running_bridge_of_other_mapping_files_is_not_replayed_into() -> None:
    with pytest.raises(Fatal, match="other mapping files") as caught:
        refuse_other_mappings("older", compiled(RIGHT), is_running=True)
    assert caught.value.code == "B521"
    assert "start the next one" in refuse_other_mappings("older", compiled(RIGHT), is_running=False)
    assert refuse_other_mappings(compiled(RIGHT).digest, compiled(RIGHT), is_running=True) == ""


def test_a_bridge_with_edited_files_says_so_although_nothing_comes() -> None:
    shop = Shop(PER_TABLE)
    history(shop)
    shop.work()
    shop.mappings = compiled(RIGHT)
    shop.work()
    assert shop.desk().decided.checkpoint.mappings == compiled(RIGHT).digest


# -- too large ---------------------------------------------------------------------------------------------------------


def test_an_event_too_large_is_a_letter_that_points_to_it(settings: SourceSettings) -> None:
    shop = Shop(settings, RIGHT)
    shop.broker.limits = {"orders": 120}
    shop.change(1, "N", op="c")
    shop.change(1, "P", *range(20))
    shop.change(2, "N", op="c")
    shop.change(1, "S")
    shop.work()
    assert len(shop.of(1)) == 1
    assert len(shop.of(2)) == 1
    first, second = [json.loads(one.value() or b"") for one in shop.letters()]
    assert (first["code"], second["code"]) == ("B213", "B211")
    (event,) = first["oversize"]
    assert (event["type"], event["limit"]) == ("OrderChanged", 120)
    again = shop.replay()
    assert (again.told, again.events) == (0, 0)
    assert [(code, behind) for code, _, behind in shop.codes()] == [("B213", 1)]

    shop.broker.limits = {}
    assert shop.replay().told == 2
    shop.change(1, "N")
    shop.work()
    truth = Shop(settings, RIGHT)
    truth.change(1, "N", op="c")
    truth.change(1, "P", *range(20))
    truth.change(2, "N", op="c")
    truth.change(1, "S")
    truth.change(1, "N")
    truth.work()
    assert shop.of(1) == truth.of(1)
    assert any(event["id"].encode() in dict(one[2]).values() for one in shop.of(1))


def test_every_process_decides_the_same_once_it_is_recorded() -> None:
    shop = Shop(PER_TABLE, RIGHT)
    shop.broker.limits = {"orders": 120}
    shop.change(1, "N", *range(20), op="c")
    shop.work()
    shop.broker.limits = {}
    shop.change(1, "P")
    shop.work()
    assert shop.of(1) == []
    assert len(shop.letters()) == 2


def test_a_letter_too_large_goes_without_its_rows() -> None:
    shop = Shop(PER_TABLE)
    shop.broker.limits = {"legacy.DLT": 1200}
    shop.change(1, "P", *range(100), op="c")
    shop.work()
    (letter,) = [json.loads(one.value() or b"") for one in shop.letters()]
    assert letter["reduced"]["changes"] == 101
    assert not {"packed", "changes", "before", "after"} & letter.keys()
    redrive = shop.redrive()
    assert redrive.run().told == 0
    assert [one.problem and one.problem.code for one in redrive.failing()] == ["B520"]


def test_a_letter_that_does_not_fit_at_all_stops_the_bridge() -> None:
    shop = Shop(PER_TABLE)
    shop.broker.limits = {"legacy.DLT": 100}
    shop.change(1, "P", op="c")
    with pytest.raises(RecordTooLarge, match=r"legacy\.DLT"):
        shop.work()
    shop.broker.limits = {}
    shop.work()
    assert len(shop.letters()) == 1


def test_on_error_stop_stops_for_an_event_too_large() -> None:
    shop = Shop(PER_TABLE, RIGHT + "on_error: stop\n")
    shop.broker.limits = {"orders": 120}
    shop.change(1, "N", *range(20), op="c")
    with pytest.raises(Oversize):
        shop.work()


# -- what is told of them ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("show_data", [False, True])
def test_personal_data_is_masked_unless_asked_for(*, show_data: bool) -> None:
    text = RIGHT.replace("status: {type: enum,", "status: {type: enum, pii: name,") + "allow: {M033: a test}\n"
    shop = Shop(PER_TABLE, text.replace("P: PAID, S: SENT", "A: PAID, B: SENT"))
    shop.change(1, "N", 5, op="c")
    shop.change(1, "P", 6)
    shop.work()
    teller = Teller([("order.yaml", text)], "legacy", None, "legacy.DLT", show_data=show_data)
    with shop.desk(text) as desk:
        ((letter, behind, settled),) = desk.found()
        told = teller.whole(letter, behind, settled)
        told["now"] = teller.now(desk.tried(letter) or pytest.fail("not tried"))
    page_ = page(told)
    assert ('st: "N" -> "P"' in page_) is show_data
    assert ('st: "***" -> "***"' in page_) is not show_data
    assert "rule: order.yaml:9\n    |   status: {type: enum" in page_
    assert "now: passes, OrderChanged" in page_
