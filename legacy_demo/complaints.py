"""The monolith's corner without transactions: each statement of the complaints' screen commits by itself.

Nobody outside may see a complaint that is half entered, so the bridge puts the pieces together in a window
(mappings/demo/complaint.yaml). What a clerk leaves lying is told when nothing more came.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import psycopg

from legacy_demo.clerk import BLOCK, ITEMS, Fact

Cursor = psycopg.Cursor[tuple[Any, ...]]
FIRST = 1_000 * BLOCK  # complaints' numbers are no order's


class Complaints:
    """One clerk at that screen. Which complaints follows from the seed alone."""

    def __init__(self, clerk: int, seed: int) -> None:
        self._dice = Random(f"complaints-{seed}-{clerk}")
        self._next = FIRST + clerk * BLOCK

    def adopt(self, db: Cursor) -> None:
        """Learn where this clerk's numbers stand."""
        db.execute(
            "SELECT max(cmpl_no) FROM t_cmpl WHERE cmpl_no >= %s AND cmpl_no < %s", (self._next, self._next + BLOCK)
        )
        for (number,) in db.fetchall():
            self._next = self._next if number is None else number + 1

    def take(self, db: Cursor, commit: Callable[[], None]) -> list[Fact]:
        """Somebody complains: header, lines, then the status; or is talked out of it; or hangs up."""
        dice, number, order = self._dice, self._next, self._dice.randrange(1, BLOCK)
        self._next += 1

        def run(statement: str, *values: Any) -> None:
            db.execute(statement, values)
            commit()

        run("INSERT INTO t_cmpl (cmpl_no, ord_no) VALUES (%s, %s)", number, order)
        lines: dict[int, list[Any]] = {}
        for line in range(1, dice.randint(2, 5)):
            lines[line] = [dice.choice(ITEMS), dice.randint(1, 3)]
            run("INSERT INTO t_cmpl_line VALUES (%s, %s, %s, %s)", number, line, *lines[line])
        if dice.choice((True, False)):
            line = dice.choice(list(lines))
            lines[line][1] += 1
            run("UPDATE t_cmpl_line SET qty = qty + 1 WHERE cmpl_no = %s AND line_no = %s", number, line)
        end = dice.choice(("registered", "registered", "registered", "left", "withdrawn"))
        if end == "withdrawn":
            run("DELETE FROM t_cmpl WHERE cmpl_no = %s", number)
            run("DELETE FROM t_cmpl_line WHERE cmpl_no = %s", number)
            return []
        if end == "registered":
            run("UPDATE t_cmpl SET st = 'R', upd_ts = now() WHERE cmpl_no = %s", number)
        items = [{"sku": item, "quantity": quantity} for item, quantity in lines.values()]
        data = {"complaintId": str(number), "orderId": str(order), "items": items}
        return [Fact("ComplaintRegistered" if end == "registered" else "ComplaintBegun", str(number), data)]
