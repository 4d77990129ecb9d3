"""What a person would write instead of ``order.yaml``: the same decoding, model, rules and payloads, over Structs.

The yardstick of ``python -m deploy.bench.mapping``. It is plain Python with the checks that the mapping makes (types,
codes, ranges), written before the compiled mapping was measured, and not tuned since.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from bridge.errors import Untranslatable

STATUS = {"N": "NEW", "P": "PLACED", "S": "SHIPPED", "X": "CANCELLED"}
LIMIT = 10**12
NOTHING = Decimal("0.00")


class OrderRow(msgspec.Struct, gc=False):
    ord_no: int
    rec_typ: str | None
    ord_stat: str
    tot_cents: int
    cur: str | None
    cust_no: int


class LineRow(msgspec.Struct, gc=False):
    ord_no: int
    line_no: int
    itm_cd: str
    qty: int
    prc_cents: int


class PaymentRow(msgspec.Struct, gc=False):
    pay_no: int
    ord_no: int
    st: str | None
    del_flg: str | None


class CustomerRow(msgspec.Struct, gc=False):
    cust_no: int
    ctry_cd: str | None


class Line(msgspec.Struct, gc=False):
    sku: str
    quantity: int
    price: Decimal


class Order(msgspec.Struct, gc=False):
    order_id: str
    customer_id: str
    country: str
    total: Decimal
    currency: str
    status: str
    payment: str
    lines: list[Line]


DECODERS = {
    "t_ord": msgspec.json.Decoder(OrderRow).decode,
    "t_ord_line": msgspec.json.Decoder(LineRow).decode,
    "t_pay": msgspec.json.Decoder(PaymentRow).decode,
    "t_cust": msgspec.json.Decoder(CustomerRow).decode,
}


def order_of(
    header: OrderRow | None, lines: list[LineRow], payments: list[PaymentRow], customer: CustomerRow | None
) -> Order | None:
    """The canonical order of one image; None where there is no such order."""
    if header is None or header.rec_typ != "O":
        return None
    status = STATUS.get(header.ord_stat)
    if status is None:
        raise Untranslatable("an unknown status", field="status")
    currency = header.cur
    country = customer.ctry_cd if customer is not None else None
    return Order(
        order_id=str(header.ord_no),
        customer_id=str(header.cust_no),
        country=country.strip(" ") if country is not None else "unknown",
        total=money(header.tot_cents),
        currency=currency.strip(" ") if currency is not None else "EUR",
        status=status,
        payment=payment_of(payments),
        lines=[
            Line(line.itm_cd.strip(" "), line.qty, money(line.prc_cents))
            for line in sorted(lines, key=lambda line: line.line_no)
        ],
    )


def payment_of(payments: list[PaymentRow]) -> str:
    """What the last payment that is not deleted says."""
    current = [payment for payment in payments if payment.del_flg == "N"]
    if not current:
        return "NONE"
    payment = max(current, key=lambda payment: payment.pay_no)
    if payment.st == "C":
        return "CAPTURED"
    if payment.st in ("A", "I"):
        return "PENDING"
    raise Untranslatable("an unknown state of a payment", field="payment")


def money(cents: int) -> Decimal:
    """Cents as an amount of at most twelve digits."""
    if not -LIMIT < cents < LIMIT:
        raise Untranslatable("an amount out of range")
    return Decimal(cents).scaleb(-2)


def events_of(before: Order | None, after: Order | None) -> list[tuple[str, dict[str, Any]]]:
    """What happened in the business: (event type, payload)."""
    if after is None or before == after:
        return []
    found: list[tuple[str, dict[str, Any]]] = []
    changed = before is None or after.status != before.status
    if changed and after.status == "PLACED":
        found.append(("OrderPlaced", placed(after)))
    if after.payment == "CAPTURED" and (before is None or before.payment != "CAPTURED"):
        data = {"orderId": after.order_id, "total": str(after.total), "currency": after.currency}
        found.append(("OrderPaid", data))
    if changed and after.status == "SHIPPED":
        found.append(("OrderShipped", {"orderId": after.order_id, "customerId": after.customer_id}))
    if changed and after.status == "CANCELLED":
        refund = before.total if before is not None and before.payment == "CAPTURED" else NOTHING
        found.append(("OrderCancelled", {"orderId": after.order_id, "refundDue": str(refund)}))
    return found


def placed(order: Order) -> dict[str, Any]:
    """The payload of OrderPlaced."""
    return {
        "orderId": order.order_id,
        "customerId": order.customer_id,
        "country": order.country,
        "total": str(order.total),
        "currency": order.currency,
        "lines": [{"sku": line.sku, "quantity": line.quantity, "price": str(line.price)} for line in order.lines],
    }
