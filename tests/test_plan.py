"""`bridge plan` as an engineer uses it: edits of mappings over streams that a real Debezium wrote.

``UPDATE_GOLDEN=1 pytest tests/test_plan.py`` writes the golden files anew.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from bridge.cli import main
from bridge.core.history import ACCEPT, RELEASE
from bridge.errors import Fatal, HistoryWentBack, TransactionIncomplete
from bridge.mapping.tokens import plain
from bridge.model import OutboundRecord
from bridge.plan.edition import Edition
from bridge.plan.fields import differences, text_of
from bridge.plan.report import Plan
from bridge.plan.task import History, Known, Wish
from bridge.plan.waiting import Order, Reached, Waiting
from bridge.runtime.captured import CapturedReader
from bridge.runtime.stored import Checkpoints
from bridge.testing import FakeKafka, Process
from tests.test_decisions import MAPPING, ONE_LOG, PER_TABLE, Legacy, restored
from tests.test_seed import MAPPING as SEEDED
from tests.test_seed import Stream

ROOT = Path(__file__).resolve().parents[1]
CAPTURES, GOLDEN = ROOT / "tests" / "captures", ROOT / "tests" / "golden"
SOURCES = {"postgres": "shop", "crash": "crash", "restart": "depot", "mariadb": "shop", "mariadb-restart": "depot"}

Edit = tuple[str, str, str]  # file, text, and what stands there instead


class Desk:
    """A directory with a capture, its mappings, and their edited copy."""

    def __init__(self, home: Path, name: str = "postgres") -> None:
        self.home = home
        self.name = name
        shutil.copy(CAPTURES / f"{name}.jsonl.gz", home / "capture.jsonl.gz")
        for directory in ("mappings", "edited"):
            shutil.copytree(CAPTURES / "mappings" / name, home / directory)
        self.catalog = CAPTURES / "mappings" / f"{name}.catalog.yaml"

    def edit(self, *edits: Edit) -> None:
        for name, old, new in edits:
            path = self.home / "edited" / name
            text = path.read_text()
            assert old in text
            path.write_text(text.replace(old, new))

    def arguments(self, *more: str) -> list[str]:
        catalog = ["--catalog", str(self.catalog)] if self.catalog.exists() else []
        which = ["--mappings", "mappings", "--edited", "edited", "--source", SOURCES[self.name], *catalog]
        return ["plan", "capture.jsonl.gz", *which, *more]

    def plan(self, capsys: pytest.CaptureFixture[str], *more: str) -> Plan:
        exit_code = main(self.arguments("--format", "json", *more))
        plan = msgspec.json.decode(capsys.readouterr().out, type=Plan)
        assert exit_code == int(plan.differs)
        return plan


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(tmp_path)
    return Desk(tmp_path)


def golden(name: str, text: str) -> None:
    path = GOLDEN / name
    if "UPDATE_GOLDEN" in os.environ:
        path.write_text(text)
    assert text == path.read_text()


def counts(plan: Plan) -> dict[str, int]:
    """What is not 0."""
    return {name: count for name, count in msgspec.structs.asdict(plan.summary).items() if count}


# -- as a user would -----------------------------------------------------------------------------------------------------

EDITS: list[Edit] = [
    ("order.yaml", "paid: PAID, ", ""),
    ("order.yaml", "customerName", "buyer"),
    ("order.yaml", "OrderDeleted:\n", "OrderDeleted:\n    version: 2\n"),
    ("customer.yaml", "CustomerChanged:\n", "CustomerAltered:\n"),
    ("customer.yaml", "substring(customer.notes, 1, 8)", "substring(customer.notes, 1, 4)"),
    (
        "customer.yaml",
        "events:\n",
        "events:\n  CustomerOverdrew: {topic: customers, when: 'coalesce(balance, 0) < 0', data: [customerId, balance]}\n",
    ),
]


@pytest.mark.parametrize("form", ["text", "json"])
def test_golden(desk: Desk, capsys: pytest.CaptureFixture[str], form: str) -> None:
    """Read by hand against tests/golden/postgres.jsonl."""
    desk.edit(*EDITS)
    assert main(desk.arguments("--format", form, "--examples", "1")) == 1
    golden(f"plan.{form.replace('text', 'txt')}", capsys.readouterr().out)


@pytest.mark.parametrize("name", SOURCES)
def test_a_mapping_against_itself(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = Desk(tmp_path, name).plan(capsys)
    assert set(counts(plan)) <= {"unchanged", "dead_letters_unchanged"}
    assert plan.summary.unchanged > 5


@pytest.mark.parametrize(
    ("edits", "wanted"),
    [
        ([("order.yaml", "when: deleted()", "when: not created()")], {"appearing": 8, "vanishing": 1}),
        ([("order.yaml", "when: not created() and not deleted()", "when: changed(status)")], {}),
        ([("order.yaml", "  OrderDeleted:\n    topic: orders", "  OrderDeleted:\n    topic: o")], {"changed": 1}),
        ([("order.yaml", "  OrderDeleted:", "  OrderRemoved:")], {"renamed": 1, "unchanged": 21}),
        ([("order.yaml", "data: [orderId]", "data: {orderId: string = 'x'}")], {"changed": 1}),
        ([("order.yaml", "aggregate: Order", "aggregate: Orders")], {"appearing": 11, "vanishing": 11}),
    ],
)
def test_what_an_edit_does(
    desk: Desk, capsys: pytest.CaptureFixture[str], edits: list[Edit], wanted: dict[str, int]
) -> None:
    desk.edit(*edits)
    found = counts(desk.plan(capsys))
    assert wanted.items() <= found.items()
    assert found != {"unchanged": 22}


def test_fields_are_counted_over_all_events_and_examples_are_few(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.edit(("customer.yaml", "when: created()", "when: created()\n    doc: more"))
    desk.edit(("customer.yaml", "string? = city", "string? = upper(city)"))
    plan = desk.plan(capsys, "--examples", "2", "--show-data")
    event = next(one for one in plan.events if one.type == "CustomerChanged")
    assert event.fields == {"data.addresses[].city": event.changed}
    assert event.changed > len(event.examples) == 2
    first = event.examples[0]
    assert [(one.path, one.old, one.new) for one in first.differences] == [
        ("data.addresses[0].city", "Berlin", "BERLIN")
    ]
    published = next(
        json.loads(line) for line in (GOLDEN / "postgres.jsonl").read_text().splitlines() if first.id in line
    )
    assert (published["subject"], published["data"]["addresses"][0]["city"]) == (first.aggregate_id, "Berlin")


def test_a_code_less_is_a_dead_letter_with_what_follows_it(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.edit(("order.yaml", "new: NEW, ", ""))
    plan = desk.plan(capsys)
    assert {one.code for one in plan.dead_letters} == {"T102", "B211"}
    cause = plan.dead_letters[0]
    assert (cause.what, cause.aggregate, cause.field, cause.mapping) == (
        "new",
        "Order",
        "status",
        "edited/order.yaml:22",
    )
    assert plan.summary.dead_letters_new == cause.count
    assert plan.summary.parked_new == plan.dead_letters[1].count > 0
    (desk.home / "edited").rename(desk.home / "other")
    (desk.home / "mappings").rename(desk.home / "edited")
    (desk.home / "other").rename(desk.home / "mappings")
    back = desk.plan(capsys)
    assert back.summary.dead_letters_gone == plan.summary.dead_letters_new
    assert back.summary.appearing == plan.summary.vanishing
    assert [(one.what, one.count) for one in back.dead_letters] == [("gone", one.count) for one in plan.dead_letters]


def test_a_policy_that_would_stop_the_bridge_is_told(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.edit(("order.yaml", "new: NEW, ", ""), ("order.yaml", "source: shop", "source: shop\non_error: stop"))
    assert main(desk.arguments()) == 1
    assert "the bridge would stop at the first (on_error: stop)" in capsys.readouterr().out


def test_two_sets_of_windows(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """The stream is over before the last of them close."""
    desk.edit(("customer.yaml", "source: shop", "source: shop\ncollapse: {quiet: 100ms, at_most: 1s}"))
    plan = desk.plan(capsys)
    assert plan.open_windows.old == 0
    assert plan.summary.vanishing > 0
    assert any(name.startswith("headers.") for event in plan.events for name in event.fields)


def test_personal_data_is_masked_where_either_mapping_says_so(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    path = desk.home / "mappings" / "customer.yaml"
    path.write_text(
        path.read_text()
        .replace("email: string = customer.email", "email: {from: customer.email, type: string, pii: email}")
        .replace("    topic: customers\n", "    topic: customers\n    allow: {M033: a test}\n")
    )
    desk.edit(("customer.yaml", "= customer.email", "= upper(customer.email)"))
    assert main(desk.arguments()) == 1
    told = capsys.readouterr().out
    assert 'data.email: "***" -> "***"' in told
    assert "x.test" not in told.lower()
    assert main(desk.arguments("--show-data")) == 1
    assert 'data.email: "c2@x.test" -> "C2@X.TEST"' in capsys.readouterr().out


# -- what is wrong -------------------------------------------------------------------------------------------------------


def test_an_unsound_mapping_is_told_as_by_check(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.edit(("order.yaml", "deleted()", "delete()"))
    assert main(desk.arguments()) == 78
    told = capsys.readouterr()
    assert "edited/order.yaml:" in told.err
    assert main(["check", "--mappings", "edited", "--source", "shop", "--catalog", str(desk.catalog)]) == 78
    assert told.err == capsys.readouterr().err
    assert not told.out


@pytest.mark.parametrize(
    ("arguments", "exit_code", "text"),
    [
        (["--edited", "edited", "--source", "shop"], 70, "B560: there are no mappings to compare with"),
        (
            ["--mappings", "mappings", "--edited", "edited", "--source", "shop"],
            70,
            "B560: there is no history to replay",
        ),
        (
            ["capture.jsonl.gz", "--mappings", "mappings", "--edited", "edited", "--source", "x"],
            78,
            "no mapping file names",
        ),
    ],
)
@pytest.mark.usefixtures("desk")
def test_what_is_missing(
    capsys: pytest.CaptureFixture[str], arguments: Sequence[str], exit_code: int, text: str
) -> None:
    assert main(["plan", *arguments]) == exit_code
    assert text in capsys.readouterr().err


def test_a_stretch_of_a_capture(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.edit(("order.yaml", "OrderDeleted:", "OrderRemoved:"))
    whole = desk.plan(capsys)
    end = next(event for event in whole.events if event.renamed).examples[0].end
    alone = desk.plan(capsys, "--from", str(end), "--to", str(end))
    assert (alone.stretch.first, alone.stretch.last, alone.stretch.transactions) == (end, end, 1)
    assert alone.summary.renamed == 1
    assert desk.plan(capsys, "--from", str(end + 1)).summary.renamed == 0
    assert main(desk.arguments("--from", str(end), "--to", str(end - 1))) == 70
    assert "B562: there is no transaction from" in capsys.readouterr().err
    assert main(desk.arguments("--from", "checkpoint:x")) == 70
    assert "B562: captures have no stored checkpoints" in capsys.readouterr().err


# -- decisions, checkpoints and retention ---------------------------------------------------------------------------------


def edition(text: str) -> Edition:
    return Edition("mappings", [("order.yaml", text)], "legacy", None, plain, show_data=True)


def plan_of(legacy: Legacy, edited: str, home: Path, start: str = "beginning") -> Plan:
    kafka = FakeKafka(legacy.broker, legacy.topics, Process("plan", 1))
    history = History(legacy.settings, kafka.reader(), Known.of(kafka.changelog(), Checkpoints(home, "legacy")))
    return history.plan(edition(MAPPING), edition(edited), Wish(start), lambda _done, _total: None)


def store(legacy: Legacy, home: Path, name: str) -> None:
    changelog = FakeKafka(legacy.broker, legacy.topics, Process(name, 1)).changelog()
    Checkpoints(home, "legacy").create(name, changelog, 0, lambda _done, _total: None)


@pytest.mark.parametrize("settings", [PER_TABLE, ONE_LOG])
def test_a_release_counts_for_both(tmp_path: Path, settings: Any) -> None:
    legacy = Legacy(settings)
    legacy.order(1, 100, 1, "N", 5, 6)
    end = legacy.order(2, 200, 2, "N", 7, 8, lost=1)
    with pytest.raises(TransactionIncomplete):
        plan_of(legacy, MAPPING, tmp_path)
    legacy.decide(RELEASE, end)
    legacy.work()
    assert counts(plan_of(legacy, MAPPING, tmp_path)) == {"unchanged": len(legacy.ids())}


@pytest.mark.parametrize("settings", [PER_TABLE, ONE_LOG])
def test_an_accepted_history_counts_for_both(tmp_path: Path, settings: Any) -> None:
    legacy = Legacy(settings)
    legacy.order(1, 100, 1, "N", 5, 6)
    end = restored(legacy)
    with pytest.raises(HistoryWentBack):
        plan_of(legacy, MAPPING, tmp_path)
    legacy.decide(ACCEPT, end)
    legacy.work()
    plan = plan_of(legacy, MAPPING.replace("OrderChanged", "OrderAltered"), tmp_path)
    assert counts(plan) == {"renamed": len(legacy.ids())}
    assert {one.id for event in plan.events for one in event.examples} <= set(legacy.ids())


def test_from_the_nearest_checkpoint_that_has_what_both_use(tmp_path: Path) -> None:
    legacy = Legacy(PER_TABLE)
    narrow = MAPPING.replace("  lines: {table: public.line, many: true, match: {no: order.no}}\n", "")
    narrow = narrow.replace("  amounts: {each: lines, fields: {amount: int = amt}, order_by: id}\n", "")
    narrow = narrow.replace(", amounts", "")
    legacy.order(1, 100, 1, "N", 5, 6)
    legacy.work()
    store(legacy, tmp_path, "whole")
    legacy.order(2, 200, 1, "P", op="u")
    legacy.mappings = edition(narrow).mappings
    legacy.work()
    store(legacy, tmp_path, "narrow")
    last = legacy.order(3, 300, 1, "S", op="u")
    legacy.work()
    for log in [log for topic in legacy.topics.inputs() for log in legacy.broker.topics[topic]]:
        log.trim(1)
    plan = plan_of(legacy, MAPPING, tmp_path, str(last))
    assert (plan.stretch.state, counts(plan)) == ("whole", {"unchanged": 1})
    assert plan.stretch.transactions == 1
    shutil.rmtree(tmp_path / "whole")
    with pytest.raises(Fatal, match="the state before the END") as caught:
        plan_of(legacy, MAPPING, tmp_path, str(last))
    assert caught.value.code == "B561"
    assert "checkpoint narrow lacks public.line.amt, public.line.id, public.line.no" in caught.value.message
    assert "bridge checkpoint create" in caught.value.hint


def test_what_retention_took_is_said_with_the_place_from_which_a_plan_is_possible(tmp_path: Path) -> None:
    legacy = Legacy(PER_TABLE)
    legacy.order(1, 100, 1, "N", 5, 6)
    legacy.work()
    store(legacy, tmp_path, "first")
    legacy.order(2, 200, 1, "P", op="u")
    for log in legacy.broker.topics["s.public.ord"]:
        log.trim(1)
    with pytest.raises(Fatal, match=r"retention took the beginning of s\.public\.ord-0") as caught:
        plan_of(legacy, MAPPING, tmp_path)
    assert caught.value.hint == "plan from where a state is stored: --from checkpoint:first"
    assert counts(plan_of(legacy, MAPPING, tmp_path, "checkpoint:first")) == {"unchanged": 1}


def test_what_a_snapshot_shows_otherwise_is_compared_once() -> None:
    """A row that was changed while nobody looked, and one that was deleted: a new run's snapshot does not hold it."""
    stream = Stream("publish")
    told = [
        *(stream.seed(number, "N", 100, place, "a") for number, place in ((1, "first"), (2, "true"), (3, "last"))),
        stream.update(1, "P", 200, "a"),
        stream.seed(2, "X", 200, "incremental", "a"),
        *(stream.seed(number, "N", 300, place, "b") for number, place in ((1, "first"), (2, "last"))),
        stream.update(1, "Q", 400, "b"),
    ]
    published = [record for output in told for record in output.records]
    history = History(stream.settings, CapturedReader(stream.records, stream.settings), Known())
    edited = SEEDED.replace("topic: orders", "topic: other")
    plan = history.plan(edition(SEEDED), edition(edited), Wish(), lambda _done, _total: None)
    assert counts(plan) == {"changed": len(published)}
    assert len(published) > 4


# -- parts ---------------------------------------------------------------------------------------------------------------


def record(value: Any, topic: str = "t", **headers: str) -> OutboundRecord:
    return OutboundRecord(
        topic, b"k", msgspec.json.encode(value), [(name, text.encode()) for name, text in headers.items()]
    )


def test_two_records_field_by_field() -> None:
    old = record({"a": 1, "b": [{"c": "x"}, {"c": "y"}], "d": None, "n": 1}, ce_id="1", ce_time="1")
    new = record({"a": "1", "b": [{"c": "x"}], "e": None, "n": 1.0}, topic="u", ce_id="2", ce_time="2")
    found = differences(old, new)
    assert [(text_of(one.path, exact=True), one.old, one.new) for one in found] == [
        ("topic", "t", "u"),
        ("headers.ce_time", "1", "2"),
        ("data.a", 1, "1"),
        ("data.b[1]", {"c": "y"}, msgspec.UNSET),
        ("data.d", None, msgspec.UNSET),
        ("data.n", 1, 1.0),
        ("data.e", msgspec.UNSET, None),
    ]
    assert text_of(("data", "b", 1, "c"), exact=False) == "data.b[].c"
    turned = differences(record({"a": 1, "b": 2}), record({"b": 2, "a": 1}))
    assert [text_of(one.path, exact=True) for one in turned] == ["data.(order of fields)"]
    assert differences(old, old) == []


def test_nothing_waits_longer_than_the_other_could_tell_it() -> None:
    waiting: Waiting[str] = Waiting(slack_ms=0)
    assert waiting.meet(0, "a", "old a") is None
    behind, ahead = Reached(0, 0), Reached(1, 0)
    assert list(waiting.alone((ahead, behind), (ahead, behind))) == []
    assert waiting.meet(1, "a", "new a") == "old a"
    assert waiting.meet(0, "b", "old b") is None
    assert list(waiting.alone((ahead, ahead), (ahead, ahead))) == [(0, "old b")]
    assert list(waiting.rest()) == []


def test_what_a_window_may_tell_later_waits_for_it() -> None:
    waiting: Waiting[str] = Waiting(slack_ms=50)
    waiting.meet(0, "a", "old a")
    assert list(waiting.alone((Reached(1, 100), Reached(1, 100)), (Reached(1, 100), Reached(1, 100)))) == []
    assert list(waiting.alone((Reached(2, 149), Reached(2, 149)), (Reached(2, 149), Reached(2, 149)))) == []
    assert list(waiting.alone((Reached(3, 150), Reached(3, 150)), (Reached(3, 150), Reached(3, 150)))) == [(0, "old a")]


def test_the_order_of_one_key() -> None:
    order = Order(slack_ms=0)
    assert [order.is_other("k", *pair) for pair in ((1, 2), (2, 1), (3, 3))] == [False, True, False]
    assert not order.is_other("other", 2, 1)
    assert not order.is_other("k", 0, 0)
    assert order.is_other("k", 0, 4)


def test_the_config_names_mappings_catalog_and_connector(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    source = {"connector": "postgresql", "topics": ["t"], "transaction_topic": "x", "catalog": str(desk.catalog)}
    config = {"kafka": {"bootstrap.servers": "none:1"}, "sources": {"shop": source}, "mappings": "mappings"}
    (desk.home / "config.yaml").write_text(yaml.safe_dump(config))
    common = ["plan", "capture.jsonl.gz", "--config", "config.yaml", "--edited", "edited"]
    assert main([*common, "--source", "shop"]) == 0
    assert "unchanged 22 ·" in capsys.readouterr().out
    assert main([*common, "--source", "shp"]) == 78
    assert "there is no source 'shp'" in capsys.readouterr().err
