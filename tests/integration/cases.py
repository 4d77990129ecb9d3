# ruff: noqa: S608 - SQL of our own, for a database of our own
"""Everything that PostgreSQL and Debezium do to rows, as transactions of a real database; one order number per case."""

from __future__ import annotations

from typing import Any

import psycopg

TABLES = [f"public.c_{name}" for name in ("ord", "line", "part", "audit", "note", "item", "log")]
MAPPED = [name for name in TABLES if name != "public.c_log"]
DROPPED = "public.c_audit"  # a filter of the connector drops its rows, which END counts all the same
BIG = "(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 300) i)"  # so long that PostgreSQL keeps it apart
BIG_SIZE = 9600
MANY = 20_000  # lines of the order whose transaction Connect is killed in

SCHEMA = """
CREATE TABLE c_ord (ord_no int PRIMARY KEY, st text NOT NULL, note text, doc json, bin bytea, tags text[]);
CREATE TABLE c_line (ord_no int, line_no int, qty int, memo text, PRIMARY KEY (ord_no, line_no));
CREATE TABLE c_part (id int PRIMARY KEY, ord_no int, txt text, qty int);
CREATE TABLE c_audit (id int PRIMARY KEY, ord_no int, txt text);
CREATE TABLE c_note (id int PRIMARY KEY, ord_no int, txt text);
CREATE TABLE c_item (id int PRIMARY KEY, code text NOT NULL, name text, grade text DEFAULT 'J', txt text);
CREATE UNIQUE INDEX c_item_code ON c_item (code);
CREATE TABLE c_log (what text);
"""

MAPPINGS = {
    "order.yaml": """\
aggregate: Order
source: legacy
key: ord.ord_no
tables:
  ord: {table: public.c_ord}
  lines: {table: public.c_line, many: true, match: {ord_no: ord.ord_no}}
  parts: {table: public.c_part, many: true, match: {ord_no: ord.ord_no}}
  audits: {table: public.c_audit, many: true, match: {ord_no: ord.ord_no}}
  notes: {table: public.c_note, many: true, match: {ord_no: ord.ord_no}}
model:
  orderId: string = ord.ord_no
  status: string = ord.st
  noteSize: int? = len(ord.note)
  docSize: int? = len(ord.doc)
  binSize: int? = len(ord.bin)
  hasTags: bool = ord.tags is not None
  lines: int = count(x for x in lines)
  quantity: int = sum(x.qty for x in lines)
  memoSize: int? = max(len(x.memo) for x in lines if x.memo is not None)
  parts: {each: parts, order_by: id, fields: {id: int = id, size: int? = len(txt), quantity: int = qty}}
  audits: int = count(x for x in audits)
  audited: string? = first(x.txt for x in audits)
  notes: int = count(x for x in notes)
events:
  OrderChanged:
    topic: EVENTS
    when: not deleted()
    data: [orderId, status, noteSize, docSize, binSize, hasTags, lines, quantity, memoSize, parts, audits, notes]
  OrderRemoved: {topic: EVENTS, when: deleted(), data: {orderId: string = before.orderId, status: string = before.status}}
""",
    "item.yaml": """\
aggregate: Item
source: legacy
key: it.id
tables:
  it: {table: public.c_item}
model:
  itemId: string = it.id
  code: string = it.code
  name: string? = it.name
  grade: string? = it.grade
  size: int? = len(it.txt)
events:
  ItemChanged: {topic: EVENTS, when: not deleted(), data: [itemId, code, name, grade, size]}
  ItemRemoved:
    topic: EVENTS
    when: deleted()
    data:
      itemId: string = before.itemId
      code: string = before.code
      name: string? = before.name
      grade: string? = before.grade
      size: int? = before.size
""",
}


class Legacy:
    """A connection to the database; each call of `commit` is one transaction."""

    def __init__(self, where: dict[str, Any]) -> None:
        self._where = where

    def commit(self, *statements: str) -> None:
        with psycopg.connect(**self._where) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def begin(self) -> None:
        """What was there before the connector: the snapshot finds it."""
        self.commit(
            f"INSERT INTO c_ord VALUES (1, 'N', {BIG})",
            "INSERT INTO c_line VALUES (1, 1, 5, 'x')",
            f"INSERT INTO c_part VALUES (150, 150, {BIG}, 1)",
            "INSERT INTO c_item VALUES (1, 'a', 'seeded')",
        )

    def history(self) -> None:
        """The cases, in the order of their numbers."""
        self.keys()
        self.toast()
        self.identities()
        self.noise()

    def keys(self) -> None:
        commit = self.commit
        commit(f"INSERT INTO c_ord VALUES (100, 'N', {BIG})", f"INSERT INTO c_line VALUES (100, 1, 5, {BIG})")
        commit(
            "UPDATE c_ord SET ord_no = 1100 WHERE ord_no = 100", "UPDATE c_line SET ord_no = 1100 WHERE ord_no = 100"
        )
        commit("INSERT INTO c_ord VALUES (110, 'N')", "INSERT INTO c_line VALUES (110, 1, 5)")
        commit("UPDATE c_ord SET ord_no = 1110, st = 'K' WHERE ord_no = 110")
        commit("INSERT INTO c_ord VALUES (110, 'A')")
        commit("INSERT INTO c_ord VALUES (120, 'N')", "INSERT INTO c_line VALUES (120, 1, 5), (120, 2, 6)")
        commit(
            "UPDATE c_line SET line_no = line_no + 10 WHERE ord_no = 120",
            "UPDATE c_ord SET st = 'K' WHERE ord_no = 120",
        )
        commit("INSERT INTO c_ord VALUES (130, 'N'), (131, 'N')", f"INSERT INTO c_part VALUES (130, 130, {BIG}, 1)")
        commit("UPDATE c_part SET ord_no = 131 WHERE id = 130")
        commit("INSERT INTO c_ord VALUES (135, 'N')")
        commit(
            "UPDATE c_ord SET ord_no = 136 WHERE ord_no = 135",
            "UPDATE c_ord SET ord_no = 135, st = 'B' WHERE ord_no = 136",
        )
        commit("INSERT INTO c_ord VALUES (137, 'N')", "DELETE FROM c_ord WHERE ord_no = 137")
        commit("INSERT INTO c_ord VALUES (138, 'N')")
        commit("DELETE FROM c_ord WHERE ord_no = 138", "INSERT INTO c_ord VALUES (138, 'again')")
        commit("DELETE FROM c_ord WHERE ord_no = 138")

    def toast(self) -> None:
        commit = self.commit
        json, binary = f"json_build_object('k', {BIG})", f"decode({BIG}, 'hex')"
        tags = "(SELECT array_agg(md5(i::text)) FROM generate_series(1, 300) i)"
        commit(f"INSERT INTO c_ord VALUES (140, 'N', {BIG}, {json}, {binary}, {tags})")
        commit("UPDATE c_ord SET st = 'P' WHERE ord_no = 140")
        commit("UPDATE c_ord SET note = 'short' WHERE ord_no = 140")
        commit(f"INSERT INTO c_ord VALUES (141, 'N', {BIG})", "UPDATE c_ord SET st = 'P' WHERE ord_no = 141")
        commit("INSERT INTO c_ord VALUES (150, 'N')")
        commit("UPDATE c_part SET qty = 2 WHERE id = 150")
        commit("UPDATE c_ord SET st = 'P' WHERE ord_no = 1")

    def identities(self) -> None:
        commit = self.commit
        identity = "ALTER TABLE c_item REPLICA IDENTITY"
        for number in (10, 11, 12, 13):
            commit(f"INSERT INTO c_item VALUES ({number}, 'c{number}', 'n', 'A', {BIG})")
        commit("UPDATE c_item SET name = 'm' WHERE id = 10")
        commit("DELETE FROM c_item WHERE id = 10")
        commit(f"{identity} FULL")
        commit("UPDATE c_item SET name = 'm' WHERE id = 11")
        commit("UPDATE c_item SET id = 111 WHERE id = 11")
        commit("DELETE FROM c_item WHERE id = 111")
        commit(f"{identity} USING INDEX c_item_code")
        commit("UPDATE c_item SET name = 'm' WHERE id = 12")
        commit("DELETE FROM c_item WHERE id = 12")
        commit(f"{identity} DEFAULT")
        commit("INSERT INTO c_item VALUES (20, 'c20', NULL, NULL)")
        commit("DELETE FROM c_item WHERE id = 20")

    def noise(self) -> None:
        commit = self.commit
        message = "SELECT pg_logical_emit_message({}, 'app', 'loose')"
        commit(
            "INSERT INTO c_log VALUES ('no key')",
            "INSERT INTO c_ord VALUES (160, 'N')",
            "INSERT INTO c_log VALUES ('x')",
        )
        commit("UPDATE c_ord SET st = 'P' WHERE ord_no = 160", message.format("true"))
        commit(message.format("false"))
        signal = "INSERT INTO debezium_signal VALUES ('s1', 'log', '{\"message\": \"hello\"}')"
        commit(signal, "UPDATE c_ord SET st = 'S' WHERE ord_no = 160", "DELETE FROM debezium_signal")
        commit("ALTER TABLE c_ord ADD COLUMN unused text DEFAULT 'x'")
        commit("UPDATE c_ord SET st = 'T' WHERE ord_no = 160")
        commit("ALTER TABLE c_ord DROP COLUMN unused")
        commit("UPDATE c_ord SET st = 'U' WHERE ord_no = 160")
        commit("INSERT INTO c_ord VALUES (165, 'N')", "INSERT INTO c_note VALUES (1, 165), (2, 165)")
        commit("TRUNCATE c_note", "UPDATE c_ord SET st = 'P' WHERE ord_no = 165")
        commit("UPDATE c_ord SET st = 'S' WHERE ord_no = 165")

    def dropped(self, number: int) -> None:
        """A transaction of which the connector's filter drops a row that END counts."""
        self.commit(
            f"INSERT INTO c_ord VALUES ({number}, 'N')", f"INSERT INTO c_audit VALUES ({number}, {number}, 'x')"
        )

    def grow(self, number: int) -> None:
        """A transaction that takes Connect a while."""
        lines = f"INSERT INTO c_line SELECT {number}, i, 1 FROM generate_series(1, {MANY}) i"
        self.commit(f"INSERT INTO c_ord VALUES ({number}, 'N')", lines)
