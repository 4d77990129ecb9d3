"""``bridge test`` as a person at a desk uses it: what it finds, how it says so, and what it writes."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml

from bridge.cli import main
from bridge.core.assemble import Assemble
from bridge.core.pipeline import Pipeline
from bridge.core.transaction import Pending
from bridge.errors import Fatal
from bridge.located_yaml import parse
from bridge.trial.difference import differences
from bridge.trial.mask import Mask
from bridge.trial.writing import flow, with_test
from deploy.stack.process import running

ROOT = Path(__file__).resolve().parents[1]
LANGUAGE = ROOT / "mappings" / "README.md"
ORDER = (ROOT / "mappings" / "demo" / "order.yaml").read_text()
CAPTURES = ROOT / "tests" / "captures"

BASE = """\
aggregate: Ticket
source: legacy
key: t.id
tables:
  t:
    table: public.ticket
  notes:
    table: public.note
    many: true
    match: {ticket_id: t.id}
model:
  ticketId: string = t.id
  state:
    type: enum
    from: t.st
    codes: {O: OPEN, C: CLOSED}
  price: decimal(12,2)? = t.price
  notes: int = count(notes)
events:
  TicketClosed:
    topic: tickets
    when: became(state, 'CLOSED') and notes > 0
    data: [ticketId, price, notes]
tests:
"""
NOTED = """\
  - name: a note, then closed
    given:
      - transaction:
          - insert: {notes: {id: 1, ticket_id: 7}}
          - insert: {t: {id: 7, st: C}}
    expect:
      - TicketClosed: {ticketId: '7', price: null, notes: 1}
"""
CATALOG = """\
tables:
  public.ticket:
    key: [id]
    columns:
      {id: integer not null, st: char(3), price: "numeric(12,2)", at: timestamp, tz: timestamptz, ok: boolean, d: date}
  public.note: {key: [id], columns: {id: integer not null, ticket_id: integer}}
  public.audit: {key: [id], columns: {id: integer}}
"""


class Desk:
    """A directory with mapping files, and the command."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.mappings = directory / "mappings"
        self.mappings.mkdir()
        self.catalog = directory / "catalog.yaml"
        self._capsys = capsys

    def write(self, text: str, name: str = "ticket.yaml") -> Path:
        path = self.mappings / name
        path.write_text(text)
        return path

    def test(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, output and complaints of ``bridge test``."""
        catalog = ["--catalog", str(self.catalog)] if self.catalog.exists() else []
        code = main(["test", "--mappings", str(self.mappings), *catalog, *arguments])
        said = self._capsys.readouterr()
        return code, said.out.replace(f"{self.mappings}/", ""), said.err.replace(f"{self.mappings}/", "")


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, capsys)


# -- what is there passes ------------------------------------------------------------------------------------------------


def test_the_tests_of_the_demo_pass(desk: Desk) -> None:
    desk.write(ORDER, "order.yaml")
    code, out, _ = desk.test()
    assert code == 0
    assert len(re.findall(r"^  ok .* 200 arrivals\)$", out, re.MULTILINE)) == 4


def consoles() -> Iterator[tuple[str, str]]:
    """The language page: each mapping with tests, and the sessions that follow it."""
    mapping = ""
    for kind, text in re.findall(r"^```(\w+)\n(.*?)^```", LANGUAGE.read_text(), re.DOTALL | re.MULTILINE):
        if kind == "yaml" and re.search("^tests:", text, re.MULTILINE):
            mapping = text
            yield mapping, ""
        elif kind == "console":
            yield mapping, text


@pytest.mark.parametrize(("mapping", "session"), list(consoles()))
def test_the_page_shows_what_happens(mapping: str, session: str, tmp_path: Path) -> None:
    (tmp_path / "mappings").mkdir()
    name = yaml.safe_load(mapping)["aggregate"].lower()
    (tmp_path / "mappings" / f"{name}.yaml").write_text(mapping)
    for part in re.split(r"^\$ ", session or "$ bridge test --mappings mappings/\n", flags=re.MULTILINE)[1:]:
        line, _, shown = part.partition("\n")
        words = shlex.split(line)
        command = [sys.executable, "-m", "bridge", *words[1:]] if words[0] == "bridge" else words
        done = subprocess.run(
            command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
        )
        if session:
            assert done.stdout == shown
            assert done.returncode == (", 0 failed" not in shown if shown else 0)
        else:
            assert done.returncode == 0, done.stdout


# -- what is wrong is found ----------------------------------------------------------------------------------------------

PLANTED = [
    ("tot_cents / 100", "tot_cents / 10", "total: expected '20.50', got '205.00'"),
    ("    columns: {itm_cd: trim}         # CHAR(8)\n", "", "lines[0].sku: expected 'A-1', got 'A-1     '"),
    ("rec_typ == 'O'", "rec_typ != 'X'", "- OrderPlaced"),
    (
        "became(payment, 'CAPTURED')",
        "payment == 'CAPTURED'",
        '+ OrderPaid {"orderId":"7","amount":"5.00"}: was not expected',
    ),
    ("total: decimal(12,2)", "total: decimal(3,2)", "+ dead letter T103 total order.yaml:32"),
    (", B: PAID", "", "M017"),
    ("became(status, 'SHIPPED')", "became(status, 'NEW')", '- OrderShipped {"orderId":"7"}: is missing'),
    ("    many: true\n", "", "M024"),
    ("before.total if", "total + 1 if", "refundDue: expected '5.00', got '6.00'"),
]


@pytest.mark.parametrize(("right", "wrong", "said"), PLANTED)
def test_a_planted_mistake_is_caught(desk: Desk, right: str, wrong: str, said: str) -> None:
    assert right in ORDER
    desk.write(ORDER.replace(right, wrong), "order.yaml")
    code, out, complaints = desk.test("--seeds", "0")
    assert code in (1, 78)
    assert said in out + complaints


def test_events_in_another_order_are_a_difference(desk: Desk) -> None:
    placed, paid = re.findall(r"^      - Order(?:Placed: .*STANDARD.*lines: \[\]|Paid: ).*\n", ORDER, re.MULTILINE)[:2]
    desk.write(ORDER.replace(placed + paid, paid + placed), "order.yaml")
    code, out, _ = desk.test("-k", "placed, paid", "--seeds", "0")
    assert code == 1
    assert sorted(re.findall(r"^ +([-+=!]) Order\w+", out, re.MULTILINE)) == ["+", "-", "=", "="]


def test_a_payload_is_compared_whole(desk: Desk) -> None:
    desk.write(BASE + NOTED.replace("{ticketId: '7', price: null, notes: 1}", "{ticketId: '7', notes: 1}"))
    assert "price: not expected, got null" in desk.test()[1]


@pytest.mark.parametrize(
    ("wanted", "got", "said"),
    [
        ({"a": True}, {"a": 1}, ["a: expected true, got 1"]),
        ({"a": 1}, {"a": 1.0}, []),
        ({"a": "1"}, {"a": 1}, ["a: expected '1', got 1"]),
        ({"a": [{"b": 1}]}, {"a": [{"b": 2}, 3]}, ["a[0].b: expected 1, got 2", "a[1]: not expected, got 3"]),
        ({"a": {"b": 1}}, {"a": None}, ['a: expected {"b":1}, got null']),
    ],
)
def test_payloads_are_compared_as_json(wanted: Any, got: Any, said: list[str]) -> None:
    assert list(differences(wanted, got)) == said


# -- mistakes in tests, all at once --------------------------------------------------------------------------------------

MISTAKES = [
    ("TicketClosed: {ticketId: '7', price: 5, notes: 1}", "M004", "decimals are text"),
    ("TicketClosed: {ticketId: 7, price: null, notes: 1}", "M004", "quote it: '7'"),
    ("TicketClosed: {ticketId: null, price: null, notes: 1}", "M004", "never null"),
    ("TicketClosed: {ticketID: '7'}", "M038", "did you mean 'ticketId'?"),
    ("TicketClose: {}", "M038", "did you mean 'TicketClosed'?"),
    ("dead_letter: {code: T999}", "M004", "no code"),
    ("dead_letter: {field: state}", "M002", "code"),
    ("dead_letter: {code: T102, fields: state}", "M001", "did you mean 'field'?"),
]


@pytest.mark.parametrize(("expected", "code", "hint"), MISTAKES)
def test_a_mistake_in_what_is_expected(desk: Desk, expected: str, code: str, hint: str) -> None:
    desk.write(BASE + NOTED.replace("TicketClosed: {ticketId: '7', price: null, notes: 1}", expected))
    exit_code, _, said = desk.test()
    assert exit_code == 78
    assert re.search(rf"^ticket\.yaml:31:\d+: {code}: ", said, re.MULTILINE), said
    assert hint in said


STATEMENTS = [
    ("insert: {tt: {id: 7}}", "M038", "did you mean 't'?"),
    ("upsert: {t: {id: 7}}", "M001", "did you mean 'insert'?|there are insert"),
    ("insert: {t: {id: 7, at: noon}}", "M004", "2026-01-05T09:00:00"),
    ("insert: {t: {id: 7, price: 1.234}}", "M004", r"does not fit numeric\(12,2\)"),
    ("insert: {t: {id: 7, ok: Y}}", "M004", "true or false"),
    ("insert: {t: {id: 7, tz: '2026-01-05T09:00:00'}}", "M004", "has a zone"),
    ("insert: {t: {id: seven}}", "M004", "whole number"),
    ("insert: {t: {id: 7, statt: C}}", "M012", "no column 'statt'"),
    ("insert: {t: {st: C}}", "M038", r"id is missing: the key of public.ticket is \(id\)"),
    ("update: {t: {id: 8, st: C}}", "M038", "no row of public.ticket with id 8"),
    ("insert: {notes: {id: 1}}", "M038", "with id 1 already"),
    ("delete: {notes: {id: 1, ticket_id: 8}}", "M038", "another ticket_id"),
    ("rekey: {notes: [{id: 1}]}", "M003", "old key and the new values"),
    ("rekey: {notes: [{id: 1}, {id: 1}]}", "M038", "the new key is the old one"),
    ("insert: [1]", "M003", "must be a mapping"),
    ("insert: {t: 7}", "M003", "a row is a mapping"),
]


@pytest.mark.parametrize(("statement", "code", "hint"), STATEMENTS)
def test_a_mistake_in_a_statement(desk: Desk, statement: str, code: str, hint: str) -> None:
    desk.catalog.write_text(CATALOG)
    desk.write(BASE + NOTED.replace("insert: {t: {id: 7, st: C}}", statement))
    exit_code, _, said = desk.test()
    assert exit_code == 78
    assert re.search(rf"^ticket\.yaml:29:\d+: {code}: ", said, re.MULTILINE), said
    assert re.search(hint, said), said


def test_shapes_and_names_of_tests(desk: Desk) -> None:
    desk.write(
        BASE
        + NOTED
        + NOTED
        + "  - {name: x, given: {captures: a}, expect: {golden: }}\n"
        + "  - {name: y, given: [], expect: [TicketClosed]}\n"
        + "  - {given: [{transaction: []}, {snapshot: []}, 3, {transaction: [], at: yesterday}], then: []}\n"
    )
    said = desk.test()[2]
    found = [(line.split(":")[1], line.split(":")[3].strip()) for line in said.splitlines() if ": M0" in line]
    assert found == [
        ("32", "M029"), ("39", "M001"), ("39", "M002"), ("40", "M003"),
        ("41", "M002"), ("41", "M002"), ("41", "M004"), ("41", "M003"), ("41", "M004"), ("41", "M001"),
    ]  # fmt: skip


def test_a_key_that_is_not_known_is_asked_for(desk: Desk) -> None:
    other = NOTED.replace("a note", "another note").replace("{id: 1, ticket_id: 7}", "{ticket_id: 7, txt: a, id: 1}")
    desk.write(BASE + NOTED + other)
    code, _, said = desk.test()
    assert code == 78
    assert "M002: the key of public.note is not known; name it in a catalog, or in the test: keys:" in said
    desk.write(BASE + NOTED + other.replace("    given:", "    keys: {notes: [id]}\n    given:"))
    assert desk.test("--seeds", "0")[0] == 0


def test_a_deduced_key_that_does_not_hold_is_said(desk: Desk) -> None:
    twice = NOTED.replace(
        "          - insert: {t:", "          - update: {notes: {id: 1, txt: x}}\n          - insert: {t:"
    )
    desk.write(BASE.replace("from: t.st", "from: trim(t.st)") + twice)
    code, _, said = desk.test()
    assert code == 78
    assert "the key is taken to be (ticket_id, id); if it is not, name it in a catalog" in said
    desk.catalog.write_text(CATALOG.replace("ticket_id: integer}", "ticket_id: integer, txt: text}"))
    assert desk.test()[0] == 0


# -- what can be given ---------------------------------------------------------------------------------------------------


def test_values_have_the_form_of_their_column(desk: Desk) -> None:
    """As decode gives them, so that a mapping that forgets to trim fails here as it would in production."""
    desk.catalog.write_text(CATALOG)
    desk.write(BASE + NOTED.replace("st: C}", "st: C, price: 20}"))
    assert "+ dead letter T102 state" in desk.test()[1]
    model = BASE.replace("from: t.st", "from: trim(t.st)")
    desk.write(model + NOTED.replace("st: C}", "st: C, price: 20}").replace("price: null", "price: '20.00'"))
    assert desk.test()[0] == 0


def test_tables_that_the_mapping_does_not_read(desk: Desk) -> None:
    desk.catalog.write_text(CATALOG)
    noise = "          - insert: {public.audit: {id: 1}}\n"
    text = BASE.replace("from: t.st", "from: trim(t.st)") + NOTED
    desk.write(text.replace("          - insert: {t:", noise + "          - insert: {t:"))
    assert desk.test()[0] == 0


def test_rekey_truncate_and_a_snapshot(desk: Desk) -> None:
    desk.write(
        BASE
        + """\
  - name: a ticket of the snapshot gets another number and is closed
    given:
      - snapshot:
          - t: {id: 7, st: O}
          - notes: [{id: 1, ticket_id: 7}, {id: 2, ticket_id: 7}]
      - transaction:
          - truncate: {notes: }
          - insert: {notes: [{id: 1, ticket_id: 8}]}
          - rekey: {t: [{id: 7}, {id: 8, st: C}]}
    expect:
      - TicketClosed: {ticketId: '8', price: null, notes: 1}
"""
    )
    code, out, _ = desk.test("--seeds", "50")
    assert code == 0, out


def test_what_the_snapshot_found_is_told(desk: Desk) -> None:
    """It is told in parts: also when the core dies between two of them."""
    found = "  TicketFound:\n    topic: tickets\n    trigger: snapshot\n    data: [ticketId]\ntests:\n"
    rows = "".join(f"          - t: {{id: {number}, st: O}}\n" for number in range(1, 6))
    given = "      - snapshot:\n" + rows + "      - transaction:\n          - insert: {t: {id: 9, st: O}}\n"
    expect = "".join(f"      - TicketFound: {{ticketId: '{number}'}}\n" for number in range(1, 6))
    desk.write(BASE.replace("tests:\n", found) + "  - name: five\n    given:\n" + given + "    expect:\n" + expect)
    code, out, _ = desk.test()
    assert code == 0, out
    assert "every arrival" in out


def test_aliases_that_share_a_table_are_named_by_it(desk: Desk) -> None:
    desk.write("""\
aggregate: Boss
source: legacy
key: boss.id
tables:
  boss:
    table: public.emp
    when: kind == 'B'
  team:
    table: public.emp
    many: true
    match: {boss_id: boss.id}
model:
  bossId: string = boss.id
  team: int = count(team)
events:
  TeamChanged:
    topic: staff
    when: changed(team)
    data: [bossId, team]
tests:
  - name: one more
    given:
      - transaction:
          - insert: {public.emp: {id: 1, kind: B}}
      - transaction:
          - insert: {team: {id: 2, kind: E, boss_id: 1}}
    expect:
      - TeamChanged: {bossId: '1', team: 1}
""")
    assert desk.test()[0] == 0


def test_two_versions_of_an_event_are_told_apart(desk: Desk) -> None:
    second = """\
  ClosedTwo:
    type: TicketClosed
    version: 2
    topic: tickets
    when: became(state, 'CLOSED')
    data: [ticketId]
tests:
"""
    desk.write(BASE.replace("tests:\n", second) + NOTED + "      - ClosedTwo: {ticketId: '7'}\n")
    code, out, _ = desk.test()
    assert code == 0, out


# -- every arrival -------------------------------------------------------------------------------------------------------

LONG = NOTED.replace(
    "          - insert: {t:", "".join(f"          - insert: {{notes: {{id: {n}, ticket_id: 8}}}}\n" for n in range(2, 12))
    + "          - insert: {t:",
)  # fmt: skip


def never_short(_self: Pending) -> bool:
    return False


def read_positions(self: Assemble) -> dict[int, int]:
    """Where a naive consumer would go on: behind what it has read, although it waits in memory."""
    return {partition: queue.position for partition, queue in enumerate(self._queues)}


@pytest.mark.parametrize(
    ("owner", "name", "broken"),
    [(Pending, "is_short", never_short), (Assemble, "resume_offsets", read_positions)],
    ids=["END taken for the whole transaction", "offsets committed as they were read"],
)
@pytest.mark.parametrize("test", [NOTED, LONG], ids=["short", "long"])
def test_a_naive_core_is_found_out(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, broken: Any, test: str
) -> None:
    """The rows lie in other topics than BEGIN and END, so that most arrivals give something else."""
    desk.write(BASE + test)
    assert desk.test()[0] == 0
    monkeypatch.setattr(owner, name, broken)
    code, out, _ = desk.test()
    assert code == 1
    assert "the events depend on how the records arrive" in out
    assert re.search(r"^ +topics of \d partition", out, re.MULTILINE)
    if test == LONG:
        found = re.search(r"--seed (\d+) --seeds 1", out)
        assert found
        again = desk.test("--seed", found[1], "--seeds", "1")
        assert again[0] == 1
        assert out.partition("arrive")[2].splitlines()[1:] == again[1].partition("arrive")[2].splitlines()[1:]


def test_a_short_test_meets_every_batch_of_every_order(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """One batch of one order in many: END and the ticket come together, the rest one by one, the note last."""
    receive = Pipeline.receive
    seen: dict[int, list[int]] = {}

    def picky(self: Pipeline, records: Any, positions: Any) -> None:
        sizes = seen.setdefault(id(self), [])
        sizes.append(len(records))
        names = sorted(record.topic().rpartition(".")[2] for record in records)
        if sizes[-2:] == [1, 2] and len(sizes) == 2 and names == ["ticket", "transaction"]:
            raise Fatal("this is the one")
        receive(self, records, positions)

    def remembering(self: Pipeline, *arguments: Any) -> None:
        seen.pop(id(self), None)
        init(self, *arguments)

    init = Pipeline.__init__
    monkeypatch.setattr(Pipeline, "__init__", remembering)
    monkeypatch.setattr(Pipeline, "receive", picky)
    desk.write(BASE + NOTED)
    code, out, _ = desk.test("--seeds", "0")
    assert code == 1
    assert "this is the one" in out
    assert "BEGIN 1 → commit\n            c ticket 7 | END 1 → commit" in out


# -- coverage ------------------------------------------------------------------------------------------------------------


def test_what_no_test_reached(desk: Desk) -> None:
    desk.write(BASE + NOTED)
    _, out, _ = desk.test()
    assert re.findall(r"^    (ticket.*)$", out, re.MULTILINE) == [
        "ticket.yaml:13: state: code O never comes",
        "ticket.yaml:17: price: is always null",
        "ticket.yaml:20: TicketClosed: always holds: became(state, 'CLOSED') and notes > 0",
        "ticket.yaml:20: TicketClosed: is never false: became(state, 'CLOSED')",
        "ticket.yaml:20: TicketClosed: is never false: notes > 0",
    ]
    assert "5 of 10 reached (50%)" in out


def test_too_little_is_reached(desk: Desk) -> None:
    desk.write(BASE + NOTED)
    assert desk.test("--fail-under", "51")[0] == 1
    assert desk.test("--fail-under", "50")[0] == 0


# -- choosing, and the forms of the report -------------------------------------------------------------------------------


def test_choosing(desk: Desk) -> None:
    first = desk.write(BASE + NOTED)
    desk.write(ORDER, "order.yaml")
    desk.write(
        BASE.replace("Ticket\n", "Empty\n").replace("TicketClosed", "EmptyClosed").replace("tests:\n", ""), "z.yaml"
    )
    _, out, _ = desk.test("--seeds", "1")
    assert "z.yaml\n  no tests\n" in out
    assert "6 passed" in out
    assert "1 passed" in desk.test(str(first), "--seeds", "1")[1]
    assert "1 passed" in desk.test("-k", "quote", "--seeds", "1")[1]
    assert desk.test("-k", "nothing like it")[0] == 2
    assert desk.test("elsewhere.yaml")[0] == 78


def test_reports_for_programs(desk: Desk) -> None:
    desk.write(BASE + NOTED + NOTED.replace("a note", "a price").replace("price: null", "price: '1.00'"))
    code, out, _ = desk.test("--format", "json")
    assert code == 1
    document = json.loads(out)
    assert (document["passed"], document["failed"]) == (1, 1)
    assert document["tests"][1]["events"][0]["differences"] == ["price: expected '1.00', got null"]
    code, out, _ = desk.test("--format", "junit")
    suites = ET.fromstring(out)  # noqa: S314 - what was written a line above
    assert [case.get("name") for case in suites.iter("testcase")] == ["a note, then closed", "a price, then closed"]
    failures = list(suites.iter("failure"))
    assert len(failures) == 1
    assert "price: expected '1.00', got null" in (failures[0].text or "")


def test_watching(tmp_path: Path) -> None:
    """It runs again when a file changes, mistakes and all, until Ctrl-C."""
    (tmp_path / "ticket.yaml").write_text(BASE + NOTED)
    command = [sys.executable, "-m", "bridge", "test", "--mappings", str(tmp_path), "--watch"]
    with running(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=1) as watching:
        assert watching.stdout
        until(watching.stdout, "1 passed, 0 failed")
        (tmp_path / "ticket.yaml").write_text(BASE + NOTED.replace("notes: 1}\n", "notes: 22}\n"))
        until(watching.stdout, "0 passed, 1 failed")
        (tmp_path / "ticket.yaml").write_text(BASE + NOTED + "  - nonsense\n")
        until(watching.stdout, "1 mistake")
        watching.send_signal(signal.SIGINT)
        assert watching.wait(30) == 0


def until(lines: Any, wanted: str) -> None:
    seen = []
    for line in lines:
        seen.append(line)
        if wanted in line:
            return
    pytest.fail("".join(seen))


# -- captures ------------------------------------------------------------------------------------------------------------


def test_a_capture_and_its_golden_events(desk: Desk) -> None:
    shutil.copy(CAPTURES / "crash.jsonl.gz", desk.mappings)
    text = (CAPTURES / "mappings" / "crash" / "pair.yaml").read_text()
    test = "tests:\n  - name: a real stream\n    given: {capture: crash.jsonl.gz}\n    expect: {golden: golden/pairs.jsonl}\n"
    desk.write(text + test, "pair.yaml")
    code, out, _ = desk.test()
    assert code == 1
    assert "--update-golden" in out
    assert desk.test("--update-golden")[0] == 0
    code, out, _ = desk.test()
    assert code == 0
    golden = desk.mappings / "golden" / "pairs.jsonl"
    lines = golden.read_text().splitlines(keepends=True)
    printed = subprocess.run(
        [sys.executable, "-m", "bridge", "transform", str(CAPTURES / "crash.jsonl.gz"), "--mappings",
         str(CAPTURES / "mappings" / "crash"), "--source", "crash"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert "".join(lines) == printed.stdout
    golden.write_text("".join(lines[:3] + lines[4:]))
    assert "was not expected" in desk.test()[1]


RECORDED = [
    ("postgres", "order", 12, 7),
    ("postgres", "customer", 1000, 11),
    ("postgres", "order", 3, 1),
    ("restart", "parcel", 12, 20),
    ("crash", "pair", 7, 35),
]


@pytest.mark.parametrize(("stream", "mapping", "most", "events"), RECORDED)
def test_a_test_from_a_capture(desk: Desk, stream: str, mapping: str, most: int, events: int) -> None:
    """It is added to the mapping file, has the capture's events, and passes."""
    catalog = CAPTURES / "mappings" / f"{stream}.catalog.yaml"
    if catalog.exists():
        shutil.copy(catalog, desk.catalog)
    path = desk.write((CAPTURES / "mappings" / stream / f"{mapping}.yaml").read_text(), f"{mapping}.yaml")
    capture = str(CAPTURES / f"{stream}.jsonl.gz")
    assert desk.test("--output", str(path), "--transactions", str(most), "--record", capture)[0] == 0
    assert desk.test("--output", str(path), "--transactions", "1", "--record", capture)[0] == 0
    first, second = yaml.safe_load(path.read_text())["tests"]
    assert first["name"] != second["name"]
    assert len(first["expect"]) == events
    code, out, _ = desk.test("--seeds", "20")
    assert code == 0, out


def test_one_aggregate_of_a_capture(desk: Desk) -> None:
    shutil.copy(CAPTURES / "mappings" / "postgres.catalog.yaml", desk.catalog)
    desk.write((CAPTURES / "mappings" / "postgres" / "order.yaml").read_text(), "order.yaml")
    capture = str(CAPTURES / "postgres.jsonl.gz")
    code, out, _ = desk.test("--aggregate", "3", "--record", capture)
    assert code == 0
    (test,) = yaml.safe_load(out)
    assert {row["id"] for part in test["given"][0]["snapshot"] for alias, row in part.items() if alias == "order"} == {
        3
    }
    assert test["expect"] == [{"OrderDeleted": {"orderId": "3"}}]
    code, _, said = desk.test("--aggregate", "no such order", "--record", capture)
    assert code == 70
    assert "no transaction of the capture changes Order no such order" in said


def test_no_mail_address_gets_out(desk: Desk, tmp_path: Path) -> None:
    shutil.copy(CAPTURES / "mappings" / "postgres.catalog.yaml", desk.catalog)
    desk.write((CAPTURES / "mappings" / "postgres" / "customer.yaml").read_text(), "customer.yaml")
    capture = str(CAPTURES / "postgres.jsonl.gz")
    output = tmp_path / "test.yaml"
    assert desk.test("--transactions", "1000", "--output", str(output), "--record", capture)[0] == 0
    addresses = set(re.findall(r"[\w.+-]+@[\w.-]+", output.read_text()))
    assert len(addresses) == 6
    assert all(re.fullmatch(r"person\d+@example\.com", address) for address in addresses)
    (test,) = yaml.safe_load(output.read_text())["tests"]
    given = {
        row["id"]: row["email"] for part in test["given"][0]["snapshot"] for row in part.values() if "email" in row
    }
    told = {data["customerId"]: data["email"] for event in test["expect"] for data in event.values()}
    assert told["2"] == given[2]


def test_columns_that_are_marked_are_masked(desk: Desk) -> None:
    catalog = (CAPTURES / "mappings" / "postgres.catalog.yaml").read_text()
    desk.catalog.write_text(catalog.replace("name: text", "name: {type: text, pii: name}"))
    text = (CAPTURES / "mappings" / "postgres" / "order.yaml").read_text()
    text = text.replace(
        "customerName: string? = customer.name", "customerName: {type: 'token?', from: customer.name, pii: name}"
    )
    desk.write(text, "order.yaml")
    code, out, said = desk.test("--record", str(CAPTURES / "postgres.jsonl.gz"))
    assert code == 0, said
    assert "Cüstomer" not in out
    assert "customerName: 'token:name:Name 3'" in out


def test_stand_ins() -> None:
    kinds = {
        ("t", "nm"): "name",
        ("t", "born"): "birthday",
        ("t", "ssn"): "number",
        ("t", "id"): "id",
        ("t", "n"): "age",
    }
    mask = Mask(kinds, {("t", "id")})
    row = {
        "id": "A-1",
        "nm": "Ann   ",
        "born": "1970-05-06",
        "ssn": "123-45-678",
        "n": 44,
        "rmk": "ask bob@corp.example",
    }
    assert mask.row("t", row) == {
        "id": "A-1", "nm": "Name 1", "born": "1970-01-02", "ssn": "000-00-001", "n": 1, "rmk": "ask person1@example.com",
    }  # fmt: skip
    assert mask.row("t", {"nm": "Bob", "rmk": "BOB@CORP.EXAMPLE"}) == {"nm": "Name 2", "rmk": "PERSON2@EXAMPLE.COM"}
    assert mask.row("u", {"nm": "Bob", "x": "bob@corp.example or +33 1 23 45 67 89"}) == {
        "nm": "Bob",
        "x": "person1@example.com or +00 0 00 00 00 01",
    }
    kept = {"at": "2026-01-05T09:00:00.000000", "day": "2026-01-05", "amount": "1234567890.12", "sku": "A-1234567890"}
    assert mask.row("t", kept) == kept


@pytest.mark.parametrize(
    "value",
    ["7", "07", "1e5", "true", "no", "null", "~", "", " a ", "a: b", "a # b", "it's", 'say "x"', "tab\there", "ä", "[x]",
     "{x}", "a,b", "-", "- a", "2026-01-05", "0x1F", "N", "line\nbreak", "\u2028", "back\\slash", "(x", "f(a, b", 12,
     -1.5, 1e20, True, None, ["a", {"b": None}], {"no": "yes"}],
)  # fmt: skip
def test_what_is_written_reads_the_same(value: Any) -> None:
    located = parse(f"a: {{b: {flow(value)}}}\n", "f.yaml")
    assert located.diagnostics == []
    assert located.data == {"a": {"b": value}}


def test_a_test_is_added_where_tests_stand() -> None:
    lines = ["- name: new", "  given: []"]
    assert with_test("a: 1\n", lines) == "a: 1\n\ntests:\n  - name: new\n    given: []\n"
    before = "tests:\n- name: old\n\non_error: park\n"
    assert with_test(before, lines) == "tests:\n- name: old\n\n- name: new\n  given: []\n\non_error: park\n"
