"""What the checker concludes about nulls, conditions, personal data and names, and what it must not claim."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.mapping import diagnose
from bridge.mapping.catalog import read
from bridge.mapping.lint import in_past_tense

CATALOG, _ = read((Path(__file__).parent / "golden" / "diagnostics" / "catalog.yaml.txt").read_text(), "catalog.yaml")
BASE = """
aggregate: Order
source: legacy
key: order.ord_no
tables:
  order:
    table: public.t_ord
  lines:
    table: public.t_ord_line
    many: true
    match: {ord_no: order.ord_no}
  payment:
    table: public.t_pay
    match: {ord_no: order.ord_no}
  customer:
    lookup: public.t_cust
    match: {cust_no: order.cust_no}
  notes:
    table: public.t_note
    many: true
    match: {ord_no: order.ord_no}
    pivot: {name: nm, value: txt}
    allow: {M034: read by some}
model:
  orderId: string = order.ord_no
  status:
    type: enum
    from: order.ord_stat
    codes: {N: NEW, P: PLACED, X: CANCELLED}
  total: decimal(12,2) = order.tot_cents / 100
  discount: decimal(12,2)? = order.dsc_cents / 100 if order.dsc_cents is not None else None
  paid: bool = payment.st == 'C'
  known: bool = customer.email is not None
  lines:
    each: lines
    fields:
      sku: string = itm_cd
      qty: int? = qty
MODEL
events:
  OrderPlaced:
    topic: sales.orders
    when: WHEN
    data: [orderId]
"""


def codes(text: str) -> list[str]:
    return [found.code for found in diagnose([("order.yaml", text)], CATALOG)]


def with_field(field: str) -> str:
    return BASE.replace("MODEL", f"  extra: {field}").replace("WHEN", "created()")


def with_when(when: str, *more: str) -> str:
    return BASE.replace("MODEL", "").replace("WHEN", "\n".join([f'"{when}"', *more]))


@pytest.mark.parametrize(
    "field",
    [
        "int? = order.dsc_cents",
        "int = coalesce(order.dsc_cents, 0)",
        "int = order.dsc_cents if order.dsc_cents is not None else 0",
        "int = 0 if order.dsc_cents is None else order.dsc_cents",
        "int = order.dsc_cents if order.dsc_cents is not None and order.dsc_cents > 0 else 0",
        "int = order.dsc_cents if not (order.dsc_cents is None or order.dsc_cents < 0) else 0",
        "decimal(12,2) = coalesce(order.dsc_cents, 0) / 100",
        "string = customer.email",
        "string? = payment.st",
        "string = coalesce(payment.st, '-')",
        "string = payment.st if payment is not None else '-'",
        "string = payment.st if payment.st == 'C' else '-'",
        "string = order.ord_stat",
        "bool = order.dsc_cents is not None and order.dsc_cents > 5",
        "bool = order.dsc_cents is None or order.dsc_cents > 5",
        "bool = order.dsc_cents == 5",
        "int = count(x for x in lines if x.qty is not None and x.qty > 1)",
        "int = sum(coalesce(x.qty, 0) for x in lines)",
        "string = trim(customer.email)",
    ],
)
def test_nulls_that_are_handled(field: str) -> None:
    assert codes(with_field(field)) == []


@pytest.mark.parametrize(
    "field",
    [
        "int = order.dsc_cents",
        "decimal(12,2)? = order.dsc_cents / 100",
        "decimal(12,2) = coalesce(order.dsc_cents / 100, 0)",
        "int = order.dsc_cents if order.tot_cents > 0 else 0",
        "int = order.dsc_cents if order.dsc_cents is None else 0",
        "int = order.dsc_cents if order.dsc_cents != 0 else 0",
        "string = payment.st",
        "string = trim(payment.st)",
        "string = customer.nm",
        "string = coalesce(customer.nm, payment.st)",
        "string = payment.st if payment is None or order.ord_stat == 'P' else '-'",
        "bool = order.dsc_cents > 5",
        "bool = order.dsc_cents > 5 or order.dsc_cents is None",
        "int = max(x.qty for x in lines)",
    ],
)
def test_nulls_that_are_not(field: str) -> None:
    assert set(codes(with_field(field))) == {"M028"}


def test_a_root_condition_speaks_for_its_rows() -> None:
    text = with_field("int = order.dsc_cents")
    assert codes(text) == ["M028"]
    assert codes(text.replace("table: public.t_ord\n", "table: public.t_ord\n    when: dsc_cents > 0\n", 1)) == ["M028"]
    assert (
        codes(text.replace("table: public.t_ord\n", "table: public.t_ord\n    when: dsc_cents is not None\n", 1)) == []
    )


def test_without_a_catalog_columns_are_not_suspected() -> None:
    text = with_field("int = order.dsc_cents")
    assert diagnose([("order.yaml", text)]) == []


@pytest.mark.parametrize(
    "when",
    [
        "became(status, 'PLACED')",
        "became(status, 'PLACED') and before.status == 'NEW'",
        "became(status, 'PLACED') and not before.paid",
        "status == 'PLACED' and before.status != 'PLACED'",
        "status in ('NEW', 'PLACED') and status != 'NEW'",
        "created() or deleted()",
        "created() or changed(total)",
        "not created() and not deleted()",
        "not (status == 'NEW' and paid)",
        "before is None or before.status == 'NEW'",
        "created() and not (before.status == 'NEW')",
        "discount is None and before.discount is not None",
        "deleted() and status == 'NEW'",
        "total > 5 and total < 2 or paid",
        "passed(status, 'PLACED') and status == 'CANCELLED'",
        "discount is not None and discount > 1",
        "before.total < total",
        "any(x.sku == 'A' for x in lines)",
        "status == 'NEW' if paid else status == 'PLACED'",
    ],
)
def test_conditions_that_can_hold(when: str) -> None:
    assert codes(with_when(when)) == []


@pytest.mark.parametrize(
    "when",
    [
        "false",
        "1 == 2",
        "'a' in ('b', 'c')",
        "created() and deleted()",
        "created() and changed(total)",
        "created() and before.status == 'NEW'",
        "created() and before is not None",
        "deleted() and became(status, 'NEW')",
        "became(status, 'PLACED') and status != 'PLACED'",
        "became(status, 'PLACED') and before.status == 'PLACED'",
        "became(status, 'PLACED') and became(status, 'NEW')",
        "status == 'NEW' and status == 'PLACED'",
        "status not in ('NEW', 'PLACED', 'CANCELLED')",
        "status != 'NEW' and status != 'PLACED' and not (status == 'CANCELLED')",
        "total is None",
        "discount is None and discount == 5",
        "paid and not paid",
        "not (status == 'NEW' or status != 'NEW')",
        "(status == 'NEW' or status == 'PLACED') and status == 'CANCELLED'",
        "after is None and not deleted()",
    ],
)
def test_conditions_that_never_hold(when: str) -> None:
    assert codes(with_when(when)) == ["M035"]


@pytest.mark.parametrize(
    ("when", "found"),
    [
        ("item_before.qty == 1", ["M035"]),
        ("item.sku != 'A'", []),
        ("item.qty > 1", ["M028"]),
        ("item.qty is not None and item.qty > 1", []),
    ],
)
def test_elements(when: str, found: list[str]) -> None:
    assert codes(with_when(when, "    each: added(lines, by=sku)")) == found


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("decimal(12,2) = before.total", ["M028"]),
        ("decimal(12,2) = before.total if before is not None else 0", []),
        ("decimal(12,2) = before.total if before.paid else 0", []),
        ("decimal(12,2) = before.total if before.status == 'NEW' else 0", []),
        ("decimal(12,2)? = before.total", []),
        ("decimal(12,2) = total - before.total", ["M028"]),
        ("decimal(12,2) = discount", ["M028"]),
    ],
)
def test_a_payload_knows_what_its_rule_says(value: str, found: list[str]) -> None:
    text = with_when("changed(total) or created()").replace(
        "data: [orderId]", f"data:\n      orderId:\n      v: {value}"
    )
    assert codes(text) == found
    text = with_when("changed(total)").replace("data: [orderId]", f"data:\n      orderId:\n      v: {value}")
    assert codes(text) == (["M028"] if "discount" in value else [])


@pytest.mark.parametrize(
    ("field", "found"),
    [
        ("string = customer.email", ["M033"]),
        ("string = concat('<', lower(customer.email), '>')", ["M033"]),
        ("string = customer.email if payment is None else '-'", ["M033"]),
        ("string = '-' if customer.email == 'x' else '+'", []),
        ("int = len(customer.email)", []),
        ("bool = match(customer.email, '.*@.*')", []),
        ("{type: token, from: customer.email, pii: email}", []),
        ("{fields: {mail: string = customer.email}}", ["M033"]),
        ("decimal(12,2) = customer.income * 12", ["M033"]),
        ("decimal(12,2) = -customer.income", ["M033"]),
        ("bool = not (customer.income > 5)", []),
        ("string? = notes['MAIL']", ["M033"]),
        ("{type: string, from: order.ord_no, pii: number}", ["M033"]),
    ],
)
def test_personal_data_in_payloads(field: str, found: list[str]) -> None:
    text = with_field(field).replace("data: [orderId]", "data: [orderId, extra]")
    assert codes(text) == found
    if found:
        assert codes(text + "    allow: {M033: the billing service may know}\n") == []
        assert codes(f"allow: {{M033: all of it is internal}}\n{text}") == []


def test_a_model_field_may_be_allowed_for_all_payloads() -> None:
    field = "{type: string, from: customer.email, pii: email, allow: {M033: an address of the company's own}}"
    assert codes(with_field(field).replace("data: [orderId]", "data: [orderId, extra]")) == []


def test_an_allowance_needs_a_reason_and_a_code() -> None:
    text = with_when("created()")
    assert codes(text + "    allow: {M033: ''}\n") == ["M002"]
    assert codes(text + "    allow: {M012: never mind}\n") == ["M004"]


@pytest.mark.parametrize("call", ["string(extra)", "concat(extra, 'x')", "coalesce(extra, 'x')", "len(extra)"])
def test_nothing_is_computed_from_a_token(call: str) -> None:
    text = with_field("{type: token, from: customer.email, pii: email}")
    assert codes(text.replace("data: [orderId]", f'data:\n      leak: "string = {call}"')) == ["M016"]


@pytest.mark.parametrize(
    ("name", "past"),
    [
        ("OrderPlaced", True),
        ("OrderPlacedByPhone", True),
        ("InvoicePaid", True),
        ("ParcelSent", True),
        ("SLABreached", True),
        ("OrderPlacement", False),
        ("OrderUpdate", False),
        ("Red", False),
        ("OrderNeed", False),
    ],
)
def test_the_past_tense(name: str, past: bool) -> None:  # noqa: FBT001 - the expectation
    assert in_past_tense(name) is past


OUTBOX = """
aggregate: Entry
source: legacy
key: entry.id
tables:
  entry:
    table: public.outbox
    append: true
model:
  entryId: string = entry.id
events:
  EntryWritten:
    topic: entries
    when: created()
    data: [entryId]
"""


def test_rows_that_are_not_kept_cannot_be_read_elsewhere() -> None:
    other = OUTBOX.replace("aggregate: Entry", "aggregate: Other").replace("EntryWritten", "OtherWritten")
    kept = other.replace("    append: true\n", "")
    assert diagnose([("a.yaml", OUTBOX)]) == []
    found = diagnose([("a.yaml", OUTBOX), ("b.yaml", kept)])
    assert [(one.code, one.file, one.line) for one in found] == [("M026", "a.yaml", 8)]
    elsewhere = kept.replace("source: legacy", "source: other")
    assert diagnose([("a.yaml", OUTBOX), ("b.yaml", elsewhere)]) == []


def test_only_a_root_may_be_appended() -> None:
    child = (
        BASE.replace("MODEL", "").replace("WHEN", "created()").replace("many: true", "many: true\n    append: true", 1)
    )
    assert codes(child) == ["M026"]


def test_names_of_events_across_files() -> None:
    other = OUTBOX.replace("aggregate: Entry", "aggregate: Other")
    found = diagnose(
        [("a.yaml", OUTBOX.replace("    append: true\n", "")), ("b.yaml", other.replace("    append: true\n", ""))]
    )
    assert [(one.code, one.file) for one in found] == [("M031", "b.yaml")]
    versioned = other.replace("    append: true\n", "").replace("    topic:", "    version: 2\n    topic:")
    assert diagnose([("a.yaml", OUTBOX.replace("    append: true\n", "")), ("b.yaml", versioned)]) == []


COMMON = """
enums:
  Kind: {A: ALPHA, null: NONE}
types:
  Money: decimal(12,2)
  Day: {type: 'date?', absent: ['1900-01-01']}
"""


@pytest.mark.parametrize(
    ("field", "found"),
    [
        ("Kind = entry.knd", []),
        ("Kind? = entry.knd", []),
        ("Money = entry.cents / 100", []),
        ("Money? = entry.cents", []),
        ("{type: Day, from: entry.day}", []),
        ("Mony = entry.cents", ["M025"]),
        ("{type: Kind, from: entry.knd, codes: {A: ALPHA}}", ["M026"]),
    ],
)
def test_shared_types(field: str, found: list[str]) -> None:
    text = OUTBOX.replace("events:", f"  extra: {field}\nevents:")
    assert [one.code for one in diagnose([("z-common.yaml", COMMON), ("a.yaml", text)])] == found
    assert diagnose([("a.yaml", text)])
