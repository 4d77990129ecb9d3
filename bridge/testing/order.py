"""An order of a chatty legacy system: what its code does to the rows, and what that means to the business."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from bridge.testing.stream import OrderStream

NAME_LENGTH = 40

Row = dict[str, Any]


class Change(NamedTuple):
    """One row change inside of a transaction that is being put together."""

    table: str
    op: str  # c | u | d
    key: Row
    after: Row


def money(cents: int) -> str:
    """As events show it."""
    return f"{cents // 100}.{cents % 100:02d}"


class Order:
    """Each public method is one of its transactions."""

    def __init__(self, stream: OrderStream, number: int, lines: int) -> None:
        dice = stream.dice()
        self._stream = stream
        self._planned_lines = lines
        self._header: Row = {
            "ord_no": number,
            "rec_typ": "O",
            "cust_no": dice.randrange(1, stream.customers + 1),
            "ord_stat": "N",
            "tot_cents": 0,
            "cur": "EUR",
            "chan_cd": dice.choice(("WEB   ", "SHOP  ", "PHONE ")),
            "plc_dt": None,
            "shp_dt": None,
            "rmk": "created by order entry, please handle with care",
            "lck_flg": "N",
            "upd_cnt": 0,
            "upd_usr": "ORDENTRY",
            "upd_ts": 0,
        }
        self._lines: list[Row] = []
        self._payment: Row = {
            "pay_no": 1_000_000 + number,
            "ord_no": number,
            "st": "I",
            "amt_cents": 0,
            "meth_cd": dice.choice(("CC", "DD", "PP")),
            "del_flg": "N",
            "upd_ts": 0,
        }

    def save_draft(self) -> None:
        """Header and lines, nothing placed yet: no news."""
        self._insert_header()
        self._add_lines()

    def place(self) -> None:
        """Header and lines where no draft was saved, then the payment and the status."""
        if not self._lines:
            self._insert_header()
            self._add_lines()
        self._payment["amt_cents"] = self._header["tot_cents"]
        self._write_payment("c")
        self._header["ord_stat"] = "P"
        self._header["plc_dt"] = self._stream.timestamp()
        self._write_header("u")
        self.touch()
        self._stream.happened("OrderPlaced", self._placed())

    def import_placed(self) -> None:
        """An order that was placed elsewhere: each of its rows is written once."""
        self._header["ord_stat"] = "P"
        self._header["plc_dt"] = self._stream.timestamp()
        for number in range(1, self._planned_lines + 1):
            line = self._line(number)
            line["prc_cents"] = self._stream.dice().randrange(99, 20_000)
            self._header["tot_cents"] += line["qty"] * line["prc_cents"]
            self._write_line("c", line)
            self._lines.append(line)
        self._payment["amt_cents"] = self._header["tot_cents"]
        self._write_payment("c")
        self._insert_header()
        self._stream.happened("OrderPlaced", self._placed())

    def touch(self) -> None:
        """A screen was opened and closed: counter and time of the header change, nothing else."""
        self._write_header("u")

    def save_again(self) -> None:
        """The whole order is saved without a change: every line and the header are rewritten."""
        for line in self._lines:
            self._write_line("u", line)
        self._write_header("u")

    def rename_customer(self) -> None:
        """The customer's record changes beside the order: a lookup, so no news of any order."""
        customer = self._stream.customer(self._header["cust_no"])
        customer["cust_nm"] += "'" if len(customer["cust_nm"]) < NAME_LENGTH else ""
        customer["crd_lim"] += 1
        self._stream.change("t_cust", "u", {"cust_no": customer["cust_no"]}, customer)
        self._write_header("u")

    def pay(self) -> None:
        """The payment is authorised and captured at once, and the header touched."""
        for status in ("A", "C"):
            self._payment["st"] = status
            self._write_payment("u")
        self._write_header("u")
        self._stream.happened("OrderPaid", self._named("orderId", "total", "currency"))

    def ship(self) -> None:
        """Each line gets its flag, then the header its status."""
        for line in self._lines:
            line["shp_flg"] = "Y"
            self._write_line("u", line)
        self._header["ord_stat"] = "S"
        self._header["shp_dt"] = self._stream.timestamp()
        self._write_header("u")
        self._stream.happened("OrderShipped", self._named("orderId", "customerId"))

    def cancel(self) -> None:
        """Status, and a touch."""
        self._header["ord_stat"] = "X"
        self._write_header("u")
        self.touch()
        refund = self._header["tot_cents"] if self._payment["st"] == "C" else 0
        self._stream.happened("OrderCancelled", {**self._named("orderId"), "refundDue": money(refund)})

    def _placed(self) -> Row:
        lines = [
            {"sku": line["itm_cd"].rstrip(), "quantity": line["qty"], "price": money(line["prc_cents"])}
            for line in self._lines
        ]
        return {**self._named("orderId", "customerId", "country", "total", "currency"), "lines": lines}

    def _named(self, *names: str) -> Row:
        header = self._header
        known = {
            "orderId": str(header["ord_no"]),
            "customerId": str(header["cust_no"]),
            "country": self._stream.customer(header["cust_no"])["ctry_cd"].rstrip(),
            "total": money(header["tot_cents"]),
            "currency": header["cur"],
        }
        return {name: known[name] for name in names}

    def _insert_header(self) -> None:
        self._write_header("c")

    def _add_lines(self) -> None:
        """Each line is inserted, priced by an update, and added to the total of the header."""
        dice = self._stream.dice()
        for number in range(1, self._planned_lines + 1):
            line = self._line(number)
            self._lines.append(line)
            self._write_line("c", line)
            line["prc_cents"] = dice.randrange(99, 20_000)
            self._write_line("u", line)
            self._header["tot_cents"] += line["qty"] * line["prc_cents"]
            self._write_header("u")

    def _line(self, number: int) -> Row:
        dice = self._stream.dice()
        return {
            "ord_no": self._header["ord_no"],
            "line_no": number,
            "itm_cd": f"SKU-{dice.randrange(10_000)}".ljust(12),
            "qty": dice.randrange(1, 6),
            "prc_cents": 0,
            "shp_flg": "N",
            "whs_cd": "W01 ",
            "upd_ts": 0,
        }

    def _write_header(self, op: str) -> None:
        self._header["upd_cnt"] += 1
        self._header["upd_ts"] = self._stream.timestamp()
        self._stream.change("t_ord", op, {"ord_no": self._header["ord_no"]}, self._header)

    def _write_line(self, op: str, line: Row) -> None:
        line["upd_ts"] = self._stream.timestamp()
        self._stream.change("t_ord_line", op, {"ord_no": line["ord_no"], "line_no": line["line_no"]}, line)

    def _write_payment(self, op: str) -> None:
        self._payment["upd_ts"] = self._stream.timestamp()
        self._stream.change("t_pay", op, {"pay_no": self._payment["pay_no"]}, self._payment)
