"""The mapping under test, as its author would write it; ``naive`` says the same in plain Python."""

from __future__ import annotations

from tests.sim.workload import Features

EVENTS_TOPIC = "sales.orders"
LINES_TOPIC = "sales.order-lines"
DEAD_LETTERS = "legacy.DLT"
OUTPUTS = {EVENTS_TOPIC: 2, LINES_TOPIC: 1, DEAD_LETTERS: 1}


def mapping_text(features: Features) -> str:
    """The mapping file of one scenario: what its tables have, decides what the model has."""
    when = "\n    when: rec_typ == 'O'" if features.soft_delete else ""
    tables = model = data = events = ""
    line_tax = ""
    if features.taxes:
        tables += """
  taxes:
    table: public.t_line_tax
    many: true
    match: {ord_no: lines.ord_no, line_no: lines.line_no}"""
        line_tax = """
      tax: decimal(12,2) = sum(t.amt for t in taxes) / 100"""
    if features.payment:
        tables += """
  payment:
    table: public.t_pay
    match: {ord_no: order.ord_no}"""
        model += """
  payment:
    type: enum
    cases:
      CAPTURED: payment.st == 'C'
      PENDING: payment.st in ('A', 'I')
      NONE: payment is None"""
        data += ", payment"
    if features.customer:
        tables += """
  customer:
    lookup: public.t_cust
    match: {cust_no: order.cust_no}"""
        model += """
  group: string? = customer.grp"""
        data += ", group"
        events = f"""
  OrderReassigned:
    topic: {EVENTS_TOPIC}
    when: changed(group)
    data:
      orderId:
      was: string? = before.group"""
    if features.listed:
        events += f"""
  OrderListed:
    topic: {EVENTS_TOPIC}
    trigger: snapshot
    when: created() and status != 'CANCELLED'
    data: [orderId, total, lines]"""
    collapse = "transaction"
    if features.window is not None:
        quiet, at_most = features.window
        until = ", until: status == 'SHIPPED'" if features.until else ""
        collapse = f"{{quiet: {quiet}ms, at_most: {at_most}ms{until}}}"
    return f"""\
aggregate: Order
source: legacy
key: order.ord_no
collapse: {collapse}
tables:
  order:
    table: public.t_ord{when}
  lines:
    table: public.t_ord_line
    many: true
    match: {{ord_no: order.ord_no}}
    columns: {{itm_cd: trim}}{tables}
model:
  orderId: string = order.ord_no
  total: decimal(12,2) = order.tot_cents / 100
  currency: string = coalesce(order.cur, 'EUR')
  note: string? = order.note
  status:
    type: enum
    from: order.ord_stat
    codes: {{N: NEW, P: PLACED, S: SHIPPED, X: CANCELLED}}{model}
  lines:
    each: lines
    order_by: line_no
    fields:
      line: int = line_no
      sku: string = itm_cd
      quantity: int = qty
      price: decimal(12,2) = prc_cents / 100{line_tax}
events:
  OrderCreated:
    topic: {EVENTS_TOPIC}
    when: created()
    data: [orderId, status, total, lines]
  OrderPlaced:
    version: 2
    topic: {EVENTS_TOPIC}
    when: became(status, 'PLACED')
    data: [orderId, total, currency, lines{data}]
  OrderCancelled:
    topic: {EVENTS_TOPIC}
    when: became(status, 'CANCELLED') and before.status in ('NEW', 'PLACED')
    data:
      orderId:
      refund: decimal(12,2) = before.total if before.status == 'PLACED' else 0
  OrderLineAdded:
    topic: {LINES_TOPIC}
    each: added(lines, by=line)
    data: [orderId, item.sku, item.quantity]
  OrderRevised:
    topic: {EVENTS_TOPIC}
    when: not created() and not deleted()
    data: [orderId, status, total, currency, note, lines{data}]
  OrderRepriced:
    topic: {EVENTS_TOPIC}
    when: changed(total, currency)
    data:
      orderId:
      total:
      was: decimal(12,2)? = before.total{events}
  OrderDeleted:
    topic: {EVENTS_TOPIC}
    when: deleted()
    data: [orderId, lines]
on_error: park
"""
