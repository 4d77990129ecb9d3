"""``bridge explain``: what it tells is what the core did, and why.

``UPDATE_GOLDEN=1 pytest tests/test_explain.py`` writes the golden files anew.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bridge.core.pipeline import Observed
from bridge.explain.account import Account, Aggregate, Condition, Rule
from bridge.explain.explanation import Explanation
from bridge.explain.history import over_records
from bridge.explain.personal import Personal
from bridge.explain.teller import Teller, is_letter
from bridge.explain.text import render
from bridge.explain.wanted import Wanted
from bridge.mapping import load
from bridge.mapping.catalog import Catalog, CatalogColumn, CatalogTable
from bridge.mapping.probes import Probes
from bridge.mapping.tokens import plain
from bridge.model import InputPartition, OutboundRecord, PlainRecord
from bridge.runtime.lenient import lenient
from bridge.runtime.transform import read_captures, settings_for, transform
from tests.test_docs import History, line_of

ROOT = Path(__file__).resolve().parents[1]
CAPTURES, GOLDEN = ROOT / "tests" / "captures", ROOT / "tests" / "golden"
SOURCES = {"postgres": "shop", "crash": "crash", "restart": "depot"}
POSTGRES = [
    "tests/captures/postgres.jsonl.gz", "--mappings", "tests/captures/mappings/postgres", "--source", "shop",
    "--catalog", "tests/captures/mappings/postgres.catalog.yaml",
]  # fmt: skip
EVENT = "9e75d8a4-3bc8-50d4-9281-eb4c8f6db9f9"


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "bridge", "explain", *arguments]
    return subprocess.run(
        line, cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "100"} | environment
    )


def golden(name: str, text: str) -> None:
    path = GOLDEN / name
    if "UPDATE_GOLDEN" in os.environ:
        path.write_text(text)
    assert text == path.read_text()


# -- as a user would -----------------------------------------------------------------------------------------------------


def test_text() -> None:
    done = command(*POSTGRES, "--event", EVENT)
    assert done.returncode == 0, done.stderr
    golden("explain.txt", done.stdout)


def test_json() -> None:
    done = command(*POSTGRES, "--event", EVENT, "--format", "json")
    golden("explain.json", done.stdout)
    msgspec.json.decode(done.stdout, type=Account)


def test_a_transaction_by_each_of_its_names() -> None:
    told = json.loads(command(*POSTGRES, "--event", EVENT, "--format", "json").stdout)
    offset = told["end"].partition("@")[2]
    position = told["commitPosition"]
    lsn = f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"
    names = [told["transaction"], f"{told['transaction']}:{position}", str(position), offset, lsn]
    found = [json.loads(command(*POSTGRES, "--transaction", name, "--format", "json").stdout) for name in names]
    assert found[0]["commitPosition"] == position
    assert [one for one in found if one != found[0]] == []


def test_what_is_not_there_is_said_with_what_is_near() -> None:
    done = command(*POSTGRES, "--event", "00000000-0000-5000-8000-000000000000")
    assert (done.returncode, done.stdout) == (70, "")
    assert (
        "B510: event 00000000-0000-5000-8000-000000000000 is not in tests/captures/postgres.jsonl.gz: 42" in done.stderr
    )
    assert "22 events" in done.stderr
    near = command(*POSTGRES, "--event", "1").stderr
    assert re.search(rf"events of 1:.*{EVENT} OrderChanged 1, of transaction 774:26795904", near, re.DOTALL)
    far = command(*POSTGRES, "--transaction", "26795903").stderr
    assert re.search(r"transaction 26795903 is not in .*those before it:.*773:26795", far, re.DOTALL) is None
    assert "those before it:" in far


def test_nothing_to_search() -> None:
    done = command("--mappings", "mappings/demo", "--event", EVENT)
    assert done.returncode == 70
    assert "B510: there is nothing to search" in done.stderr


# -- true to the core ----------------------------------------------------------------------------------------------------


def files_of(name: str) -> list[tuple[str, str]]:
    return [(str(path), path.read_text()) for path in sorted((CAPTURES / "mappings" / name).glob("*.yaml"))]


@pytest.mark.parametrize("name", ["crash", "restart"])
def test_the_told_events_are_the_published_ones(name: str) -> None:
    """Of every transaction, in order: nothing is told that did not happen, and nothing is left out."""
    records = read_captures([str(CAPTURES / f"{name}.jsonl.gz")])
    settings = settings_for(records, SOURCES[name], "dead")
    mappings, probes = load(files_of(name), SOURCES[name]), Probes()
    probed = load(files_of(name), SOURCES[name], probe=probes)
    partitions = sorted({InputPartition(r.topic_name, r.partition_number) for r in records})
    teller = Teller(probed, probes, Personal(probes.drafts, None, show=False), partitions, "end")
    told: list[tuple[str, Any]] = []

    def observe(observed: Observed) -> None:
        account = teller.tell(observed, Wanted(transaction="any"))
        told.extend((r.event.id, r.event.data) for a in account.aggregates for r in a.rules if r.event is not None)
        assert len(account.rows) == len(observed.transaction.changes)

    published = [r for output in transform(records, settings, mappings, observe) for r in output.records]
    assert told == [(dict(r.headers)["ce_id"].decode(), json.loads(r.value)) for r in published]
    assert told


# -- why -----------------------------------------------------------------------------------------------------------------

MAPPING = """
aggregate: Order
source: legacy
key: order.no
tables:
  order:
    table: public.ord
    when: typ == 'O'
  customer:
    lookup: public.cust
    match: {no: order.cust}
  lines:
    table: public.line
    many: true
    match: {ord: order.no}
model:
  total: decimal(12,2) = order.cents / 100
  status:
    type: enum
    from: order.st
    codes: {N: NEW, P: PLACED}
  email: string? = lower(customer.email)
  contact:
    type: token?
    from: customer.phone
    pii: phone
  lines:
    each: lines
    fields:
      sku: string = sku
      note: string? = note
events:
  OrderPlaced:
    topic: orders
    when: became(status, 'PLACED') and (total > 10 or count(lines) > 1) and email != 'nobody@x.test'
    data: [total, email, contact, lines]
    allow: {M033: tested here}
  LineAdded:
    topic: lines
    each: added(lines, by=sku)
    when: item.sku != 'SECRET' and any(x.sku == 'A' for x in lines)
    data: [item.sku]
"""
KEYS = "ord (no) · cust (no) · line (no)"
FIRST = """
BEGIN
  INSERT cust {no: 1, email: Ann@X.test, phone: '555-1234'}
  INSERT ord  {no: 7, typ: O, st: N, cents: 900, cust: 1}
  INSERT line {no: 1, ord: 7, sku: A, note: for Ann}
COMMIT
"""


def catalog_with(**personal: str) -> Catalog:
    """``table_column``: the kind of personal data."""
    columns = {"ord": "no typ st cents cust", "cust": "no email phone", "line": "no ord sku note"}
    return Catalog(
        {
            f"public.{table}": CatalogTable(
                {
                    name: CatalogColumn(
                        "integer" if name == "cents" else "text", pii=personal.get(f"{table}_{name}", "")
                    )
                    for name in names.split()
                }
            )
            for table, names in columns.items()
        }
    )


CATALOG = catalog_with(cust_email="email", line_note="name")


def explain(
    rows: str,
    transaction: str = "",
    event: str = "",
    *,
    text: str = MAPPING,
    catalog: Catalog | None = None,
    show_data: bool = False,
) -> Account:
    """Of a history in shorthand, first transaction 701."""
    records = History(f"{KEYS}\n{rows.strip()}").records
    wanted = Wanted(event, transaction)
    explanation = Explanation([("order.yaml", text)], "legacy", catalog, wanted, plain, show_data=show_data)
    settings, mappings = lenient(settings_for(records, "legacy", "dead"), explanation.mappings)
    return explanation.tell(settings, over_records(records, settings, mappings, wanted), "the history")


def rule(account: Account, name: str, element: str = "") -> Rule:
    return next(r for r in only(account).rules if r.type == name and r.element in ("", element))


def only(account: Account) -> Aggregate:
    (aggregate,) = account.aggregates
    return aggregate


def tree(condition: Condition | None) -> Any:
    """(text, holds, values, parts) of a condition."""
    assert condition is not None
    return condition.text, condition.holds, dict(condition.values), [tree(part) for part in condition.parts]


def test_a_rule_that_holds_not_says_where_it_stopped() -> None:
    account = explain(FIRST + "BEGIN\n  UPDATE ord {no: 7, st: P}\nCOMMIT", "702")
    placed = rule(account, "OrderPlaced")
    assert not placed.holds
    assert placed.event is None
    text, holds, _, parts = tree(placed.why)
    assert text == ("became(status, 'PLACED') and (total > 10 or count(lines) > 1) and email != 'nobody@x.test'")
    assert not holds
    assert parts[0] == ("became(status, 'PLACED')", True, {"status": "PLACED", "before.status": "NEW"}, [])
    assert parts[1][1] is False
    assert [part[:3] for part in parts[1][3]] == [
        ("total > 10", False, {"total": Decimal("9.00")}),
        ("count(lines) > 1", False, {"count(lines)": 1, "lines": "1 element(s)"}),
    ]
    assert parts[2] == ("email != 'nobody@x.test'", None, {}, [])
    changed = {change.name: (change.before, change.after) for change in only(account).model if change.changed}
    assert changed == {"status": ("NEW", "PLACED")}
    assert rule(account, "LineAdded").why_not == "its each: found no element"


def test_an_event_alone_is_told_with_what_concerns_it() -> None:
    rows = (
        FIRST
        + "BEGIN\n  INSERT ord {no: 8, typ: O, st: P, cents: 5000, cust: 1}\n  UPDATE ord {no: 7, cents: 1}\nCOMMIT"
    )
    whole = explain(rows, "702")
    assert [one.id for one in whole.aggregates] == ["8", "7"]
    event = whole.aggregates[0].rules[0].event
    assert event is not None
    account = explain(rows, event=event.id)
    assert [one.id for one in account.aggregates] == ["8"]
    assert [row.row_key for row in account.rows] == [{"no": 8}]
    assert "1 of the transaction's 2 row changes" in account.notes[0]
    assert event.headers["ce_type"] == "OrderPlaced"
    assert (event.topic, event.record_key, event.data["total"]) == ("orders", "8", "50.00")


def test_each_element_is_asked() -> None:
    account = explain(
        FIRST + "BEGIN\n  INSERT line {no: 2, ord: 7, sku: B}\n  INSERT line {no: 3, ord: 7, sku: SECRET}\nCOMMIT",
        "702",
    )
    assert rule(account, "LineAdded", "B").holds
    secret = rule(account, "LineAdded", "SECRET")
    assert tree(secret.why)[3][0] == ("item.sku != 'SECRET'", False, {"item.sku": "SECRET"}, [])
    assert tree(secret.why)[3][1][1] is None
    seen = tree(rule(account, "LineAdded", "B").why)[3][1]
    assert seen[:3] == ("any(x.sku == 'A' for x in lines)", True, {"lines": "3 element(s)", "x.sku": "A"})


def test_nothing_happened_in_the_business() -> None:
    account = explain(
        FIRST + "BEGIN\n  UPDATE ord {no: 7, cust: 2, cents: 900}\n  UPDATE ord {no: 7, cust: 1}\nCOMMIT", "702"
    )
    assert (account.net, account.aggregates) == ([], [])
    account = explain(
        FIRST + "BEGIN\n  UPDATE ord {no: 7, typ: Q}\n  UPDATE line {no: 1, ord: 7, sku: A, note: For Ann}\nCOMMIT",
        "702",
    )
    assert only(account).outcome == "nothing"  # it is gone for this mapping, and no rule says deleted()
    assert rule(account, "OrderPlaced").why_not == "the aggregate is gone, and the rule does not mention deleted()"
    lookup = explain(FIRST + "BEGIN\n  UPDATE cust {no: 1, email: b@x.test}\nCOMMIT", "702")
    assert lookup.aggregates == []
    assert lookup.net[0].note == "a lookup: its changes trigger nothing"
    orphan = explain("BEGIN\n  INSERT line {no: 1, ord: 9, sku: A}\nCOMMIT", "701")
    assert orphan.net[0].note == "no root row joins it"


def test_an_unchanged_model_asks_no_rule() -> None:
    account = explain(
        FIRST.replace("N,", "N, x: 1,") + "BEGIN\n  UPDATE line {no: 1, ord: 7}\n  UPDATE ord {no: 7, cust: 2}\nCOMMIT",
        "702",
    )
    assert only(account).outcome in {"unchanged", "nothing"}
    text = MAPPING.replace(
        "  email: string? = lower(customer.email)\n", "  email: string? = 'x' if customer is None else 'x'\n"
    )
    text = text.replace(
        "    type: token?\n    from: customer.phone\n    pii: phone", "    type: string?\n    from: \"'a'\""
    )
    text = text.replace("    allow: {M033: tested here}\n", "")
    account = explain(FIRST + "BEGIN\n  UPDATE ord {no: 7, cust: 2}\nCOMMIT", "702", text=text)
    assert only(account).outcome == "unchanged"
    assert {r.why_not for r in only(account).rules} == {"the model did not change"}


def test_a_row_that_does_not_count_says_why() -> None:
    account = explain("BEGIN\n  INSERT ord {no: 9, typ: Q, st: N, cents: 1}\nCOMMIT", "701")
    aggregate = only(account)
    assert (aggregate.outcome, aggregate.rules, aggregate.model) == ("absent", [], [])
    (ignored,) = aggregate.ignored
    assert (ignored.alias, ignored.image) == ("order", "after")
    assert tree(ignored.why) == ("order.typ == 'O'", False, {"order.typ": "Q"}, [])


def test_dead_letters_and_what_parks_behind_them() -> None:
    rows = FIRST + "BEGIN\n  UPDATE ord {no: 7, st: Z}\nCOMMIT\nBEGIN\n  UPDATE ord {no: 7, st: P}\nCOMMIT"
    rejected = only(explain(rows, "702"))
    assert rejected.outcome == "rejected"
    assert rejected.reason.startswith("T102: order.yaml:")
    assert ": status: " in rejected.reason
    behind = explain(rows, "702").commit_position
    parked = only(explain(rows, "703"))
    assert parked.outcome == "parked"
    assert f"--transaction {behind}" in parked.hint
    assert all(r.event is None for r in parked.rules)
    stopped = only(explain(rows, "702", text=MAPPING + "on_error: stop\n"))
    assert stopped.outcome == "rejected"


def test_an_aggregate_that_is_not_complete() -> None:
    account = explain(
        "BEGIN\n  UPDATE ord {no: 7, typ: O, st: P, cents: 5000}\nCOMMIT".replace("UPDATE", "INSERT"), "701"
    )
    assert only(account).outcome == "events"
    rows = "SNAPSHOT\n  INSERT ord {no: 7, typ: O, st: N, cents: 1}\nEND\nBEGIN\n  UPDATE ord {no: 7, st: P}\nCOMMIT"
    records = History(f"{KEYS}\n{rows}").records
    late = [r for r in records if b'"snapshot":"last"' not in (r.value_bytes or b"")]
    assert len(late) < len(records)
    wanted = Wanted(transaction="701")
    explanation = Explanation([("order.yaml", MAPPING)], "legacy", None, wanted, plain, show_data=False)
    settings, mappings = lenient(settings_for(late, "legacy", "dead"), explanation.mappings)
    account = explanation.tell(settings, over_records(late, settings, mappings, wanted), "the history")
    assert only(account).outcome == "incomplete"


# -- personal data -------------------------------------------------------------------------------------------------------

PLACED = FIRST + "BEGIN\n  UPDATE ord {no: 7, st: P, cents: 2000}\n  UPDATE cust {no: 1, email: Bea@X.test}\nCOMMIT"


def everything(account: Account) -> str:
    text = render(account, 200, colour=False)
    return text + msgspec.json.encode(account).decode()


def test_personal_data_is_masked() -> None:
    """Columns and fields that are marked, what is computed of them, what conditions saw, payloads, and tokens."""
    text = everything(explain(FIRST, "701", catalog=CATALOG)) + everything(explain(PLACED, "702", catalog=CATALOG))
    assert not re.search(r"(?i)ann|bea|555-1234", text)
    assert "email = '***'" in text
    assert "nobody@x.test" in text  # the mapping's own text
    account = explain(PLACED, "702", catalog=CATALOG)
    event = rule(account, "OrderPlaced").event
    assert event is not None
    assert event.data == {
        "total": "20.00", "email": "***", "contact": "***", "lines": [{"sku": "A", "note": "***"}],
    }  # fmt: skip
    assert {c.name: (c.before, c.after, c.changed) for n in account.net for c in n.columns}["email"] == (
        "***",
        "***",
        True,
    )


def test_personal_data_is_shown_on_demand() -> None:
    event = rule(explain(PLACED, "702", catalog=CATALOG, show_data=True), "OrderPlaced").event
    assert event is not None
    assert event.data["email"] == "bea@x.test"
    assert event.data["contact"] == "token:phone:555-1234"
    assert event.data["lines"] == [{"sku": "A", "note": "for Ann"}]


def test_a_personal_key_is_masked_wherever_it_stands() -> None:
    text = MAPPING + "allow: {M033: tested here}\n"
    account = explain(PLACED.replace("7", "4711"), "702", text=text, catalog=catalog_with(ord_no="id"))
    assert "4711" not in everything(account)
    assert account.aggregates[0].id == "***"


# -- a page --------------------------------------------------------------------------------------------------------------


def test_colour_is_for_terminals() -> None:
    account = explain(PLACED, "702")
    plain_text, coloured = render(account, 80, colour=False), render(account, 80, colour=True)
    assert "\x1b[" not in plain_text
    assert "\x1b[32m" in coloured
    assert re.sub(r"\x1b\[\d+m", "", coloured) == plain_text


@pytest.mark.parametrize("width", [40, 60, 100])
def test_lines_fit(width: int) -> None:
    assert max(map(len, render(explain(PLACED, "702"), width, colour=False).splitlines())) <= width


def test_data_steers_no_terminal() -> None:
    rows = FIRST.replace("sku: A", 'sku: "\\u001b[31mA"')
    assert "\x1b" not in render(explain(rows, "701"), 100, colour=False)


def _record(records: Sequence[PlainRecord], path: Path) -> str:
    path.write_bytes(b"\n".join(line_of(record) for record in records))
    return str(path)


def test_a_number_that_names_two_transactions(tmp_path: Path) -> None:
    """Here 3 is an xid, and the offset of another one's END."""
    records = History(f"{KEYS}\n{PLACED}").records
    for record in records:
        record.value_bytes = (record.value_bytes or b"").replace(b'"id":"701:', b'"id":"3:')
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "order.yaml").write_text(MAPPING)
    arguments = [_record(records, tmp_path / "c.jsonl"), "--mappings", str(tmp_path / "m")]
    done = command(*arguments, "--transaction", "3")
    assert done.returncode == 70
    assert "2 transactions have this number: 3:1050 (END at offset 1); 702:" in done.stderr
    assert command(*arguments, "--transaction", "3:1050").stdout.startswith("Transaction 3 of legacy")


def test_letters_are_told_from_events() -> None:
    assert is_letter(OutboundRecord("t", b"", b"", [("bridge_kind", b"unit")]))
    assert not is_letter(OutboundRecord("t", b"", b"", [("ce_id", b"1")]))
