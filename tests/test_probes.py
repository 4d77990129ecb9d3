"""Probes: what compiled mappings tell a recorder, and that they change nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from bridge.mapping import diagnose, load
from bridge.mapping.probes import Probe, Probes
from bridge.runtime.transform import read_captures, settings_for, transform

ROOT = Path(__file__).parent.parent

MAPPING = """
aggregate: Order
source: legacy
key: order.no
tables:
  order:
    table: public.ord
    when: typ == 'O'
  pay:
    table: public.pay
    match: {no: order.no}
    pick: {where: gone == 'N', last: id}
  lines:
    table: public.line
    many: true
    match: {no: order.no}
model:
  total: decimal(12,2) = order.cents / 100
  status:
    type: enum
    from: order.st
    codes: {N: NEW, P: PLACED}
  paid:
    type: enum
    cases:
      'YES': pay.st == 'C' and not (order.cents > 500)
      LATER: pay is None
      NEVER: true
  note: string? = order.note
  lines:
    each: lines
    where: qty > 0
    fields:
      color: string? = colr
events:
  Placed:
    topic: orders
    when: (became(status, 'PLACED') or passed(status, 'NEW')) and before.total > 10 and any(x.color == 'R' for x in lines)
    data:
      refund: decimal(12,2) = total if paid == 'YES' else 0
"""


def _compiled(text: str = MAPPING) -> tuple[Any, Probes]:
    probes = Probes()
    return load([("order.yaml", text)], "legacy", probe=probes).mappings[0], probes


def _hits(probes: Probes, *kinds: str) -> list[tuple[str, str, Any]]:
    """(kind, name or text, value) since the last call."""
    found = [(probes.probes[number], value) for number, value in probes.hits]
    probes.hits.clear()
    return [(p.kind, p.text or p.name, value) for p, value in found if not kinds or p.kind in kinds]


def _node(cents: int, status: str, pay: str | None, lines: list[tuple[int, str | None]]) -> Any:
    """An image in the layouts' columns, which are in alphabetical order."""
    order = (cents, 7, None, status, "O")
    kid = None if pay is None else (("N", 1, 7, pay),)
    return (order, kid, [((color, 7, quantity),) for quantity, color in lines])


def test_every_place_has_a_probe_with_text_and_place() -> None:
    _, probes = _compiled()
    assert [p.number for p in probes.probes] == list(range(len(probes.probes)))
    whole = next(p for p in probes.probes if p.kind == "when")
    assert whole == Probe(
        whole.number,
        "when",
        "order.yaml:36",
        "Order",
        "Placed",
        "(became(status, 'PLACED') or passed(status, 'NEW')) and before.total > 10 and any(x.color == 'R' for x in lines)",
    )
    parts = [p for p in probes.probes if p.parent == whole.number]
    assert [(p.kind, p.text) for p in parts] == [
        ("part", "became(status, 'PLACED') or passed(status, 'NEW')"),
        ("part", "before.total > 10"),
        ("part", "any(x.color == 'R' for x in lines)"),
    ]
    inner = [p.text for p in probes.probes if p.parent == parts[0].number]
    assert inner == ["became(status, 'PLACED')", "passed(status, 'NEW')"]
    told = {(p.kind, p.name, p.text, p.values) for p in probes.probes}
    assert ("row", "order", "order.typ == 'O'", ()) in told
    assert ("pick", "pay", "pay.gone == 'N'", ()) in told
    assert ("codes", "status", "", ("N", "P")) in told
    assert ("case", "paid", "pay.st == 'C' and not order.cents > 500", ("YES",)) in told
    assert ("case", "paid", "True", ("NEVER",)) in told
    assert ("optional", "note", "", ()) in told
    assert ("where", "lines", "lines.qty > 0", ()) in told
    assert ("optional", "lines.color", "", ()) in told
    assert ("if", "Placed.refund", "paid == 'YES'", ()) in told
    assert ("event", "Placed", "", ()) in told


def test_a_model_says_its_codes_cases_and_nulls() -> None:
    mapping, probes = _compiled()
    mapping.model(_node(1000, "P", "C", [(1, "R"), (0, "G"), (2, None)]))
    assert _hits(probes) == [
        ("codes", "status", "P"),
        ("operand", "pay.st", "C"),
        ("part", "pay.st == 'C'", True),
        ("operand", "order.cents", 1000),
        ("part", "order.cents > 500", True),
        ("part", "not order.cents > 500", False),
        ("case", "pay.st == 'C' and not order.cents > 500", False),
        ("case", "pay is None", False),
        ("case", "True", True),
        ("optional", "note", True),
        ("operand", "lines.qty", 1),
        ("where", "lines.qty > 0", True),
        ("optional", "lines.color", False),
        ("operand", "lines.qty", 0),
        ("where", "lines.qty > 0", False),
        ("operand", "lines.qty", 2),
        ("where", "lines.qty > 0", True),
        ("optional", "lines.color", True),
    ]


def test_a_rule_says_what_it_asked_and_stops_where_it_was_decided() -> None:
    mapping, probes = _compiled()
    before, after = mapping.model(_node(1200, "N", "C", [])), mapping.model(_node(900, "P", None, [(1, "R")]))
    small = mapping.model(_node(300, "N", None, []))
    rule = mapping.events[0]
    probes.hits.clear()
    assert rule.when(before, after, None, None, [])
    assert _hits(probes) == [
        ("operand", "status", "PLACED"),
        ("operand", "before.status", "NEW"),
        ("part", "became(status, 'PLACED')", True),
        ("part", "became(status, 'PLACED') or passed(status, 'NEW')", True),
        ("operand", "before.total", before[0]),
        ("part", "before.total > 10", True),
        ("operand", "lines", [("R",)]),
        ("operand", "x.color", "R"),
        ("part", "any(x.color == 'R' for x in lines)", True),
        ("when", probes.probes[rule_number(probes)].text, True),
    ]
    assert not rule.when(small, after, None, None, [])
    assert ("part", "before.total > 10", False) in (told := _hits(probes))
    assert not [entry for entry in told if "any(" in entry[1] and entry[0] == "part"]
    steps = [(500, 7, None, "P", "O"), (500, 7, None, "N", "O")]
    assert not rule.when(after, after, None, None, steps)
    assert [value for kind, what, value in _hits(probes, "operand") if what == "status"] == ["PLACED", "PLACED", "NEW"]
    assert rule.data(before, after, None, None, [])
    assert _hits(probes) == [
        ("operand", "paid", "LATER"),
        ("if", "paid == 'YES'", False),
        ("event", "Placed", {"refund": "0.00"}),
    ]


def rule_number(probes: Probes) -> int:
    return next(p.number for p in probes.probes if p.kind == "when")


def test_rows_that_do_not_exist_and_picks_say_why() -> None:
    mapping, probes = _compiled()
    assert not mapping.tables[0].when((1, 7, None, "N", "Q"))
    assert _hits(probes) == [("operand", "order.typ", "Q"), ("row", "order.typ == 'O'", False)]
    mapping.tables[1].pick([(b"1", ("J", 1, 7, "C")), (b"2", ("N", 2, 7, "C"))])
    assert _hits(probes, "pick") == [("pick", "pay.gone == 'N'", False), ("pick", "pay.gone == 'N'", True)]


BLOCKS = re.findall(r"```yaml\n(aggregate.*?)```", (ROOT / "mappings/README.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("text", [MAPPING, *(text for text in BLOCKS if not diagnose([("a.yaml", text)]))])
def test_without_a_recorder_there_is_no_hook(text: str) -> None:
    """The hook is a bound name of the generated code's namespace."""
    bare = load([("a.yaml", text)], "legacy")
    probes = Probes()
    hooked = load([("a.yaml", text)], "legacy", probe=probes)
    assert all(probes.hit not in mapping.model.__globals__.values() for mapping in bare.mappings)
    assert all(probes.hit in mapping.model.__globals__.values() for mapping in hooked.mappings)
    assert bare.digest == hooked.digest


@pytest.mark.parametrize("name", ["postgres", "crash"])
def test_probes_change_no_event(name: str) -> None:
    source = {"postgres": "shop", "crash": "crash"}[name]
    directory = ROOT / "tests/captures/mappings" / name
    files = [(str(path), path.read_text()) for path in sorted(directory.glob("*.yaml"))]
    records = read_captures([str(ROOT / f"tests/captures/{name}.jsonl.gz")])
    settings = settings_for(records, source, "dead")
    probes = Probes()
    plain, hooked = (
        [
            record
            for output in transform(records, settings, load(files, source, probe=probe))
            for record in output.records
        ]
        for probe in (None, probes)
    )
    assert plain == hooked
    assert {probes.probes[number].kind for number, _ in probes.hits} >= {"when", "event"}
