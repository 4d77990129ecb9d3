"""python -m tests.captures.make_inline: the same rows from two Debezium connectors, with and without inline schemas.

Needs Java and Maven. The tables are those of tests/integration/nasty/postgresql.sql.
"""

from __future__ import annotations

import gzip
import sys
import tempfile
from pathlib import Path

import psycopg

from deploy.stack import Stack
from deploy.stack.process import wait_until
from tests.captures.make_restart import lines
from tests.integration.seen import visible

NASTY = Path(__file__).parents[1] / "integration" / "nasty" / "postgresql.sql"
TABLES = ("public.t_cust", "public.t_ord", "public.t_ord_line", "Old Stock.Größe des Lagers")
ROWS = """
INSERT INTO public.t_cust (email, nick) VALUES ('ann@example.org', 'Ann'), (NULL, NULL);
INSERT INTO public.t_ord (ord_no, cust_no, old_stat, cd, tot, vat, flag, plc_dt, upd_ts, shp_dt, shp_tm, bits, many_bits,
    tags, states, amounts, doc, raw, price, id, short, span)
  VALUES (7, 1, 'späť', 'A-1', 20.50, 0.195, true, '2026-01-05 10:00:00.123', '2026-01-05 10:00:00.123456+01', '2026-01-06',
    '23:59:59.5', B'1', B'101', '{a,"b c",NULL}', '{N,P}', '{1.10,2}', '{"a": 1}', '\\x0102', '12.34',
    '7c9e6679-7425-40de-944b-e07fc1f90ae7', 'x', '14 months');
INSERT INTO public.t_ord (ord_no, cust_no, flag, upd_ts, shp_dt, doc) VALUES (8, 1, NULL, NULL, NULL, NULL);
INSERT INTO public.t_ord_line (shop, ord_no, "itm Cd") VALUES (1, 7, 'B-2');
INSERT INTO "Old Stock"."Größe des Lagers" VALUES (1, DEFAULT, 'x', 'y');
UPDATE public.t_ord SET tot = 21.00 WHERE ord_no = 7;
"""
# Debezium 3.5 dies of a domain over an enum (TypeRegistry, NullPointerException).
TOO_NASTY = {
    "CREATE DOMAIN public.state AS public.ord_state;": "",
    "old_stat public.state": "old_stat public.ord_state",
}
CAPTURES = {"inline": True, "plain": False}


def main() -> None:
    """Play it; all records of both logs."""
    with tempfile.TemporaryDirectory() as home, Stack(Path(home) / "stack") as stack:
        with psycopg.connect(**stack.postgres, autocommit=True) as connection:  # type: ignore[arg-type]
            schema = NASTY.read_text()
            for old, new in TOO_NASTY.items():
                schema = schema.replace(old, new)
            connection.execute(schema.encode())
            # or PostgreSQL refuses updates: with FULL because of the generated column, which is not published
            connection.execute("ALTER TABLE public.t_ord REPLICA IDENTITY DEFAULT")
            for name, schemas in CAPTURES.items():
                stack.register(name, stack.debezium_postgres(name, TABLES, single_log=True, schemas=schemas))
            with connection.transaction():
                connection.execute(ROWS.encode())
        for name in CAPTURES:
            topic = f"{name}.log"
            if not wait_until(lambda topic=topic: b'"END"' in _last(stack, topic), 60):  # type: ignore[misc]
                raise SystemExit(f"Debezium did not write END to {topic}")
            records = [
                one for one in visible(stack.bootstrap, topic) if b"debezium_heartbeat" not in (one.value or b"")
            ]
            path = Path(__file__).with_name(f"{name}.jsonl.gz")
            with path.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as file:
                file.writelines(lines(records))
            print(f"{path}: {len(records)} records, {path.stat().st_size} bytes", file=sys.stderr)


def _last(stack: Stack, topic: str) -> bytes:
    """All ENDs that count a row of ours."""
    values = [record.value or b"" for record in visible(stack.bootstrap, topic)]
    return b"".join(value for value in values if b"t_ord_line" in value and b"event_count" in value)


if __name__ == "__main__":
    main()
