"""Windows for code that commits after each statement: each case of a mapping's tests runs in hundreds of arrivals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.cli import main
from bridge.core.encode import cloudevent
from bridge.mapping import load
from bridge.mapping.cases import Database, Refused, Statement
from bridge.model import MappingSet, OutboundRecord
from bridge.trial.log import DEAD_LETTERS, Log, Shape, log_of
from bridge.trial.machine import Machine, plain_run
from bridge.trial.stream import FIRST_COMMIT_MS, Stream
from tests.test_docs import line_of

MAPPING = """\
aggregate: Order
source: legacy
key: ord.no
collapse: {quiet: 2s, at_most: 5s, until: status == 'SHIPPED'}
tables:
  ord:
    table: public.ord
  lines:
    table: public.line
    many: true
    match: {no: ord.no}
  taxes:
    table: public.tax
    many: true
    match: {line_id: lines.id}
model:
  orderId: string = ord.no
  status:
    type: enum
    from: ord.st
    codes: {N: NEW, P: PLACED, S: SHIPPED}
  total: int = sum(l.cents for l in lines)
  lines:
    each: lines
    order_by: id
    fields:
      id: int = id
      cents: int = cents
      tax: int = sum(t.cents for t in taxes)
events:
  OrderCreated:
    topic: orders
    when: created()
    data: [orderId, status, total]
  OrderPlaced:
    topic: orders
    when: passed(status, 'PLACED')
    data: [orderId]
  OrderRevised:
    topic: orders
    when: changed(total, lines) and not created()
    data:
      orderId:
      total:
      was: int = before.total
      taxWas: int = sum(l.tax for l in before.lines)
  LineAdded:
    topic: orders
    each: added(lines, by=id)
    when: not created()
    data: [orderId, item.id]
  OrderDeleted:
    topic: orders
    when: deleted()
    data: [orderId, lines]
tests:
"""
HEAD = """
  - name: {name}
    keys: {{ord: [no], lines: [id], taxes: [id]}}
    given:
      - snapshot:
          - ord: [{{no: 1, st: N}}, {{no: 2, st: N}}]
          - lines: [{{id: 11, no: 1, cents: 10}}, {{id: 12, no: 1, cents: 5}}, {{id: 21, no: 2, cents: 7}}]
          - taxes: [{{id: 111, line_id: 11, cents: 1}}]
"""
ONE, TWO = "{orderId: '1', ", "{orderId: '2', "
CASES = {
    "two commits, one event": (
        "+1s update lines {id: 11, cents: 20}; +1s update lines {id: 12, cents: 1}; +2s",
        ["OrderRevised: {orderId: '1', total: 21, was: 15, taxWas: 1}"],
    ),
    "a change at the end of the quiet time is of the next window": (
        "+1s update lines {id: 11, cents: 20}; +2s update lines {id: 11, cents: 30}; +2s",
        [
            "OrderRevised: {orderId: '1', total: 25, was: 15, taxWas: 1}",
            "OrderRevised: {orderId: '1', total: 35, was: 25, taxWas: 1}",
        ],
    ),
    "just before it, of the same": (
        "+1s update lines {id: 11, cents: 20}; +1999ms update lines {id: 11, cents: 30}; +2s",
        ["OrderRevised: {orderId: '1', total: 35, was: 15, taxWas: 1}"],
    ),
    "it does not go on for ever": (
        (
            "+1s update lines {id: 11, cents: 1}; +1s update lines {id: 11, cents: 2}; +1s update lines {id: 11, cents: 3}; "
            "+1s update lines {id: 11, cents: 4}; +1s update lines {id: 11, cents: 5}; +1s update lines {id: 11, cents: 6}"
        ),
        ["OrderRevised: {orderId: '1', total: 10, was: 15, taxWas: 1}"],
    ),
    "without a commit it stays open": ("+1s update lines {id: 11, cents: 20}", []),
    "there and back is nothing": (
        "+1s update lines {id: 11, cents: 20}; +1s update lines {id: 11, cents: 10}; +9s",
        [],
    ),
    "the header first, then its lines and their taxes": (
        "+1s delete ord {no: 1}; +1s delete lines {id: 11}; +1s delete taxes {id: 111}; +1s delete lines {id: 12}; +2s",
        ["OrderDeleted: {orderId: '1', lines: [{id: 11, cents: 10, tax: 1}, {id: 12, cents: 5, tax: 0}]}"],
    ),
    "a tax changes after its line went with another order": (
        "+1s update lines {id: 11, no: 2}; +1s update taxes {id: 111, cents: 9}; +2s",
        [
            "OrderRevised: {orderId: '1', total: 5, was: 15, taxWas: 1}",
            "OrderRevised: {orderId: '2', total: 17, was: 7, taxWas: 0}",
            "LineAdded: {orderId: '2', id: 11}",
        ],
    ),
    "a line that went there and came back": (
        "+1s update lines {id: 11, no: 2}; +1s update lines {id: 11, no: 1, cents: 99}; +2s",
        ["OrderRevised: {orderId: '1', total: 104, was: 15, taxWas: 1}"],
    ),
    "a new number": (
        (
            "+1s update lines {id: 12, cents: 6}; +1s rekey ord [{no: 1}, {no: 3}]; +1s update lines {id: 11, no: 3}; "
            "+1s update lines {id: 12, no: 3}; +2s"
        ),
        ["OrderRevised: {orderId: '3', total: 16, was: 15, taxWas: 1}"],
    ),
    "a number that is given again": (
        "+1s delete ord {no: 2}; +1s rekey ord [{no: 1}, {no: 2}]; +9s",
        [
            "OrderDeleted: {orderId: '2', lines: [{id: 21, cents: 7, tax: 0}]}",
            "OrderRevised: {orderId: '2', total: 7, was: 15, taxWas: 1}",
            "LineAdded: {orderId: '2', id: 21}",
        ],
    ),
    "deleted and created again is a change": (
        "+1s delete ord {no: 1}; +1s insert lines {id: 13, no: 1, cents: 1}; +1s insert ord {no: 1, st: N}; +2s",
        ["OrderRevised: {orderId: '1', total: 16, was: 15, taxWas: 1}", "LineAdded: {orderId: '1', id: 13}"],
    ),
    "created and deleted is nothing": (
        (
            "+1s insert ord {no: 4, st: N}; +1s insert lines {id: 41, no: 4, cents: 1}; +1s delete lines {id: 41}; "
            "+1s delete ord {no: 4}; +2s"
        ),
        [],
    ),
    "shipped, and told at once": (
        "+1s insert ord {no: 4, st: N}; +1s insert lines {id: 41, no: 4, cents: 1}; +1s update ord {no: 4, st: S}",
        ["OrderCreated: {orderId: '4', status: SHIPPED, total: 1}"],
    ),
    "it passed through a state, some commits ago": (
        "+1s update ord {no: 1, st: P}; +1s update ord {no: 1, st: N}; +2s",
        ["OrderPlaced: {orderId: '1'}"],
    ),
    "a code that nobody knows is seen by passed(), though it is mended before the end": (
        "+1s update ord {no: 1, st: Z}; +1s update ord {no: 1, st: N}; +1s update lines {id: 11, cents: 11}; +2s",
        ["dead_letter: {code: T102, field: OrderPlaced.status}"],
    ),
    "one that is not parks the order": (
        "+1s update ord {no: 1, st: Z}; +1s update ord {no: 2, st: P}; +2s; +1s update lines {id: 11, cents: 11}; +2s",
        [
            "dead_letter: {code: T102, field: status}",
            "OrderPlaced: {orderId: '2'}",
            "dead_letter: {code: B211}",
        ],
    ),
}


def written(name: str, what: str, expect: list[str]) -> str:
    """A case as an item of ``tests:``."""
    text = HEAD.format(name=name)
    for part in what.split("; "):
        after, _, statement = part.partition(" ")
        text += f"      - after: {after[1:]}\n"
        if statement:
            kind, table, row = statement.split(" ", 2)
            text += f"        transaction:\n          - {kind}: {{{table}: {row}}}\n"
    return text + "    expect:" + ("".join(f"\n      - {one}" for one in expect) or " []") + "\n"


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "order.yaml").write_text(MAPPING + written(name, *CASES[name]))
    assert main(["test", "--mappings", str(tmp_path), "--seeds", "60"]) == 0, capsys.readouterr().out


# -- through the core's door ---------------------------------------------------------------------------------------------

KEYS = {"public.ord": ("no",), "public.line": ("id",), "public.tax": ("id",)}
COLUMNS = {
    "public.ord": ("no", "st", "note"),
    "public.line": ("id", "no", "cents"),
    "public.tax": ("id", "line_id", "cents"),
}
TABLES = {"ord": "public.ord", "lines": "public.line", "taxes": "public.tax"}
Step = tuple[int, str, str, dict[str, Any], dict[str, Any]]  # ms after the last, statement, table, row, new values


def mapping_set(text: str = MAPPING.partition("tests:")[0], **replaced: str) -> MappingSet:
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    return load([("order.yaml", text)], "legacy")


def log_of_steps(steps: list[Step], partitions: int = 1) -> Log:
    """Each step commits by itself; one that the database would refuse commits nothing of ours."""
    database, stream = Database(KEYS, COLUMNS), Stream()
    stream.snapshot([])
    for after, what, table, row, new in steps:
        try:
            changes = [database.run(Statement(what, TABLES[table], row, new))] if what else []
        except Refused:
            changes = []
        stream.transaction(changes, after_ms=after)
    return log_of(stream.sent, "legacy", sorted(COLUMNS), Shape(partitions))


def up_to(log: Log, markers: int) -> list[int]:
    """Everything but the markers from that one on."""
    return [
        markers if partition.topic == log.settings.transaction_topic else end
        for partition, end in zip(log.partitions, log.ends, strict=True)
    ]


STORY: list[Step] = [
    (1000, "insert", "ord", {"no": 1, "st": "N"}, {}),
    (1000, "insert", "lines", {"id": 11, "no": 1, "cents": 3}, {}),
    (1500, "update", "lines", {"id": 11, "cents": 4}, {}),
]
LATER: list[Step] = [(60_000, "", "", {}, {})]


def events(records: list[OutboundRecord]) -> list[dict[str, Any]]:
    return [cloudevent(one) for one in records if one.topic != DEAD_LETTERS]


def test_place_and_time_of_a_windows_event() -> None:
    """The id is of the first change's commit, the times are the last one's, whatever closed the window."""
    (long,) = events(plain_run(log_of_steps(STORY + LATER), mapping_set())[0])
    (short,) = events(plain_run(log_of_steps([*STORY, (2000, "", "", {}, {})]), mapping_set())[0])
    assert long == short
    assert long["time"] == long["lastupdated"] == "2026-01-05T09:00:03.500Z"
    (alone,) = events(plain_run(log_of_steps(STORY[:1] + LATER), mapping_set())[0])
    assert alone["id"] == long["id"]
    assert FIRST_COMMIT_MS == 1_767_603_600_000


def test_dead_letter_of_a_window_has_both_ends() -> None:
    steps: list[Step] = [*STORY, (1000, "update", "ord", {"no": 1, "st": "Z"}, {}), *LATER]
    records, _ = plain_run(log_of_steps(steps), mapping_set())
    (letter,) = [json.loads(one.value) for one in records if one.topic == DEAD_LETTERS]
    assert letter["code"] == "T102"
    assert (letter["end"]["offset"], letter["window"]["lastEnd"]["offset"]) == (1, 7)
    assert letter["window"]["transactions"] == 4
    assert letter["before"] is None
    changes = {change["table"]: change for change in letter["changes"]}
    assert changes["public.line"]["after"]["cents"] == 4
    assert changes["public.line"]["records"] == [["test.public.line", 0, 0], ["test.public.line", 0, 1]]
    assert changes["public.ord"]["records"] == [["test.public.ord", 0, 0], ["test.public.ord", 0, 1]]


@pytest.mark.parametrize(
    ("collapse", "told"),
    [
        ("{quiet: 4s, at_most: 9s}", []),
        ("{quiet: 1s, at_most: 1s}", ["OrderCreated"]),
        ("transaction", ["OrderCreated"]),
    ],
)
def test_lengths_may_change_while_windows_are_open(collapse: str, told: list[str]) -> None:
    """Ends are counted from the stored times of changes; without windows, what is open closes at the next commit."""
    log = log_of_steps([*STORY, (1000, "", "", {}, {}), *LATER])
    first = Machine(log, mapping_set())
    first.read_to(up_to(log, 6), up_to(log, 6))
    first.commit()
    assert events(first.kept.published) == []
    changed = mapping_set(**{"{quiet: 2s, at_most: 5s, until: status == 'SHIPPED'}": collapse})
    second = Machine(log, changed, first.kept)
    second.read_to(up_to(log, 8), up_to(log, 8))
    second.commit()
    assert [one["type"] for one in events(second.kept.published)] == told
    second.read_to(log.ends, log.ends)
    second.finish()
    assert [one["type"] for one in events(second.kept.published)] == ["OrderCreated"]
    assert not any(name.startswith(b"mwindow") and value is not None for name, value in second.kept.changelog.items())


NOTED = {"orderId: string = ord.no": "orderId: string = ord.no\n  note: string? = ord.note"}
UNTAXED = {
    """  taxes:
    table: public.tax
    many: true
    match: {line_id: lines.id}
""": "",
    "\n      tax: int = sum(t.cents for t in taxes)": "",
    "\n      taxWas: int = sum(l.tax for l in before.lines)": "",
}


@pytest.mark.parametrize(("status", "told"), [("P", ["OrderPlaced", "OrderRevised", "LineAdded"]), ("Z", [])])
def test_fewer_columns_and_tables_while_a_window_is_open(status: str, told: list[str]) -> None:
    """What it holds is read as rows of the state are; what nobody uses any more is left out, and its dead letter fits too."""
    steps: list[Step] = [
        *STORY[:2],
        (60_000, "insert", "taxes", {"id": 111, "line_id": 11, "cents": 1}, {}),
        (500, "update", "ord", {"no": 1, "note": "x"}, {}),
        (500, "update", "lines", {"id": 11, "cents": 4}, {}),
        (500, "update", "ord", {"no": 1, "st": status}, {}),
        (500, "insert", "lines", {"id": 12, "no": 1, "cents": 5}, {}),
    ]
    log = log_of_steps([*steps, *LATER])
    first = Machine(log, mapping_set(**NOTED))
    first.read_to(up_to(log, 10), up_to(log, 10))
    first.commit()
    before = len(first.kept.published)
    second = Machine(log, mapping_set(**UNTAXED), first.kept)
    second.read_to(log.ends, log.ends)
    second.finish()
    found = second.kept.published[before:]
    assert [one["type"] for one in events(found)] == told
    if told:
        assert events(found)[1]["data"] == {"orderId": "1", "total": 9, "was": 3}
    else:
        (letter,) = [json.loads(one.value) for one in found]
        assert (letter["code"], letter["window"]["transactions"]) == ("T102", 5)
        assert [change["records"] for change in letter["changes"]] == [
            [["test.public.ord", 0, 1], ["test.public.ord", 0, 2]],
            [["test.public.line", 0, 1]],
            [["test.public.line", 0, 2]],
        ]
    assert not open_windows(second)


def test_windows_of_an_aggregate_that_is_gone_are_dropped() -> None:
    log = log_of_steps(STORY + LATER)
    first = Machine(log, mapping_set())
    first.read_to(up_to(log, 6), up_to(log, 6))
    first.commit()
    second = Machine(log, mapping_set(**{"aggregate: Order": "aggregate: Sale"}), first.kept)
    second.read_to(log.ends, log.ends)
    second.finish()
    assert second.kept.published == []
    assert not any(name.startswith(b"mwindow") and value is not None for name, value in second.kept.changelog.items())


def test_a_column_of_another_mapping_keeps_no_window_open() -> None:
    """Whether another mapping reads a column is nothing to this one's windows."""
    other = """\
aggregate: Note
source: legacy
key: ord.no
tables:
  ord:
    table: public.ord
model:
  noteId: string = ord.no
  note: string? = ord.note
events:
  NoteTaken:
    topic: notes
    when: changed(note)
    data: [noteId]
"""
    own = MAPPING.partition("tests:")[0]
    steps: list[Step] = [*STORY, (1500, "update", "ord", {"no": 1, "note": "x"}, {}), (1000, "", "", {}, {})]
    both = load([("order.yaml", own), ("note.yaml", other)], "legacy")
    found = [one["type"] for one in events(plain_run(log_of_steps(steps), both)[0])]
    assert found == ["NoteTaken", "OrderCreated"]


# -- any arrival ---------------------------------------------------------------------------------------------------------

ROOTS, LINES = st.integers(1, 3), st.integers(11, 14)
CENTS = st.integers(1, 3)
STATEMENTS = st.one_of(
    st.tuples(st.just("insert"), st.just("ord"), st.fixed_dictionaries({"no": ROOTS, "st": st.sampled_from("NP")})),
    st.tuples(st.just("update"), st.just("ord"), st.fixed_dictionaries({"no": ROOTS, "st": st.sampled_from("NPSZ")})),
    st.tuples(st.just("delete"), st.just("ord"), st.fixed_dictionaries({"no": ROOTS})),
    st.tuples(
        st.sampled_from(["insert", "update"]),
        st.just("lines"),
        st.fixed_dictionaries({"id": LINES, "no": ROOTS, "cents": CENTS}),
    ),
    st.tuples(st.just("delete"), st.just("lines"), st.fixed_dictionaries({"id": LINES})),
    st.tuples(
        st.sampled_from(["insert", "update"]),
        st.just("taxes"),
        st.fixed_dictionaries({"id": st.integers(1, 2), "line_id": LINES, "cents": CENTS}),
    ),
)
REKEYS = st.tuples(ROOTS, ROOTS).map(lambda pair: ("rekey", "ord", {"no": pair[0]}, {"no": pair[1]}))
STEPS = st.lists(
    st.tuples(
        st.sampled_from([0, 400, 1000, 2000, 6000]),
        st.one_of(STATEMENTS.map(lambda one: (*one, {})), REKEYS, st.just(("", "", {}, {}))),
    ).map(lambda pair: (pair[0], *pair[1])),
    min_size=3,
    max_size=25,
)


@given(STEPS, st.integers(0, 3), st.lists(st.tuples(st.integers(0, 3), st.integers(1, 6), st.booleans()), max_size=40))
@settings(max_examples=150, deadline=None)
def test_any_batches_and_restarts_give_the_same(
    steps: list[Step], partitions: int, batches: list[tuple[int, int, bool]]
) -> None:
    """Cut the input anywhere, commit or die anywhere: the records are the same, and so is what stays open."""
    mappings, log = mapping_set(), log_of_steps(steps, partitions)
    plain = Machine(log, mappings)
    plain.read_to(log.ends, log.ends)
    plain.finish()
    machine = Machine(log, mappings)
    for queue, most, dies in batches:
        number = queue % len(log.ends)
        read = [
            min(one + most, end) if n == number else one
            for n, (one, end) in enumerate(zip(machine.read, log.ends, strict=True))
        ]
        machine.read_to(read, log.ends)
        if dies:
            machine = machine.after_crash()
        elif most > 2:
            machine.commit()
    machine.read_to(log.ends, log.ends)
    machine.finish()
    assert machine.kept.published == plain.kept.published
    assert open_windows(machine) == open_windows(plain)


def open_windows(machine: Machine) -> dict[bytes, bytes]:
    kept = machine.kept.changelog.items()
    return {name: value for name, value in kept if name.startswith(b"mwindow") and value is not None}


# -- commands ------------------------------------------------------------------------------------------------------------


def capture(log: Log, path: Path) -> str:
    """The log as a capture file."""
    path.write_bytes(b"\n".join(line_of(one) for queue in log.queues for one in queue))
    return str(path)


def test_explain_tells_which_transactions_a_window_folds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = log_of_steps(STORY + LATER)
    (tmp_path / "mappings").mkdir()
    (tmp_path / "mappings" / "order.yaml").write_text(MAPPING.partition("tests:")[0])
    (event,) = events(plain_run(log, mapping_set())[0])
    given = [capture(log, tmp_path / "c.jsonl"), "--mappings", str(tmp_path / "mappings"), "--format", "json"]
    assert main(["explain", *given, "--event", event["id"]]) == 0
    account = json.loads(capsys.readouterr().out)
    assert "a window of 3 transactions" in account["notes"][0]
    assert account["notes"][0].count("END at offset") == 3
    assert account["aggregates"][0]["outcome"] == "events"
    assert {net["table"] for net in account["net"]} == {"public.ord", "public.line"}
    assert main(["explain", *given, "--transaction", "3"]) == 0
    account = json.loads(capsys.readouterr().out)
    assert account["aggregates"] == []
    assert account["net"][0]["note"] == "in a window of Order, and told when it closes"


def test_transform_says_what_is_still_open(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    (tmp_path / "mappings").mkdir()
    (tmp_path / "mappings" / "order.yaml").write_text(MAPPING.partition("tests:")[0])
    name = capture(log_of_steps(STORY), tmp_path / "c.jsonl")
    assert main(["transform", name, "--mappings", str(tmp_path / "mappings"), "--source", "legacy"]) == 0
    said = capsysbinary.readouterr()
    assert said.out == b""
    assert b"1 window(s) still open" in said.err


@pytest.mark.parametrize(
    ("until", "found"),
    [("became(status, 'SHIPPED')", "M004"), ("before.total > 0", "M004"), ("total", "M016"), ("totl > 0", "M013")],
)
def test_until_asks_what_the_model_is(
    until: str, found: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = MAPPING.partition("tests:")[0].replace("status == 'SHIPPED'}", f'"{until}"}}')
    (tmp_path / "order.yaml").write_text(text)
    assert main(["check", "--mappings", str(tmp_path)]) == 78
    assert f" {found}: " in capsys.readouterr().err
