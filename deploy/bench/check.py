"""``python -m deploy.bench.check``: how long ``bridge check`` takes on many mappings and a big catalog.

Writes 100 mapping files and a catalog of 1,000 tables, the same each time, and runs the command as a process of its
own. The last line is one JSON object; ``seconds`` is the median of the runs, start of Python included.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bridge.mapping.catalog import Catalog, CatalogColumn, CatalogTable, ForeignKey, write

COLUMNS: Final = (
    ("st_cd", "character(1)"), ("typ_cd", "character(2)"),
    ("tot_cents", "bigint"), ("cur_cd", "character(3)"),
    ("cre_ts", "timestamp without time zone"), ("upd_ts", "timestamp with time zone"), ("nm", "character varying(80)"),
    ("rmk", "text"), ("qty", "integer"), ("prc", "numeric(12,2)"), ("act_flg", "character(1)"), ("itm_cd", "character(12)"),
    ("vld_dt", "date"), ("cnt", "smallint"), ("ref_no", "character varying(20)"), ("seq_no", "integer"),
    ("usr_cd", "character(8)"),
)  # fmt: skip
LEAST: Final = 12
TABLES_PER_MAPPING: Final = 3

MAPPING: Final = """\
# Aggregate {n} of the bench of bridge check.
aggregate: Thing{n}
source: legacy
key: root.id

tables:
  root:
    table: {root}
    when: typ_cd == 'AB'
  lines:
    table: {lines}
    many: true
    match: {{par_id: root.id}}
    columns: {{itm_cd: trim}}
  other:
    lookup: {other}
    match: {{id: root.oth_id}}
    columns: {{nm: trim}}

model:
  thingId: string = root.id
  name: string = coalesce(trim(other.nm), 'unknown')
  total: decimal(12,2) = coalesce(root.tot_cents, 0) / 100
  currency: string = coalesce(trim(root.cur_cd), 'EUR')
  open: bool = root.st_cd == 'O' and root.tot_cents is not None
  status:
    type: enum
    from: coalesce(root.st_cd, 'N')
    codes: {{N: NEW, O: OPEN, C: CLOSED, X: CANCELLED}}
  size:
    type: enum
    cases:
      LARGE: coalesce(root.tot_cents, 0) > 100000 and coalesce(root.typ_cd, '') in ('AB', 'CD')
      SMALL: true
  createdAt:
    type: timestamp?
    from: root.cre_ts
    zone: Europe/Paris
    absent: ['1900-01-01']
  pieces: int = sum(coalesce(x.qty, 0) for x in lines if x.act_flg == 'Y')
  lines:
    each: lines
    order_by: id
    fields:
      sku: string? = itm_cd
      quantity: int = coalesce(qty, 1)
      price: decimal(12,2)? = round(coalesce(prc, 0) * 1.2, 2)

events:
  ThingOpened:
    topic: bench.things
    type: Thing{n}Opened
    when: became(status, 'OPEN') and total > 0
    data: [thingId, name, total, currency, lines]
  ThingClosed:
    topic: bench.things
    type: Thing{n}Closed
    when: became(status, 'CLOSED') and before.status in ('NEW', 'OPEN')
    data:
      thingId:
      total:
      refund: decimal(12,2) = before.total if before.size == 'LARGE' else 0
  ThingLineAdded:
    topic: bench.lines
    type: Thing{n}LineAdded
    each: added(lines, by=sku)
    when: status == 'OPEN' and not created()
    data: [thingId, item.sku, item.quantity]
"""


def catalog(tables: int) -> Catalog:
    """Tables of 15 to 20 columns, with keys, nulls, comments and foreign keys."""
    dice = random.Random(1)  # noqa: S311 - the same each time
    found = {}
    for number in range(tables):
        more = dice.sample(COLUMNS[LEAST:], dice.randrange(len(COLUMNS) - LEAST + 1))
        columns = {name: CatalogColumn("integer", nullable=False) for name in ("id", "par_id", "oth_id")}
        for name, kind in (*COLUMNS[:LEAST], *more):
            comment = f"{name} of table {number}, as the old manual has it" if dice.randrange(8) == 0 else ""
            columns[name] = CatalogColumn(kind, nullable=True, comment=comment)
        keys = tuple(
            ForeignKey((column,), name_of(dice.randrange(tables)), ("id",), "cascade")
            for column in ("par_id", "oth_id")
        )
        found[name_of(number)] = CatalogTable(columns, ("id",), keys, "default", f"Table {number}")
    return Catalog(found, "postgresql")


def name_of(number: int) -> str:
    """The table's name as Debezium gives it."""
    return f"legacy.t_{number:04d}"


def generate(directory: Path, mappings: int, tables: int) -> tuple[Path, Path]:
    """Write mappings and catalog; where they are."""
    files = directory / "mappings"
    files.mkdir()
    for number in range(mappings):
        root, lines, other = (name_of((TABLES_PER_MAPPING * number + i) % tables) for i in range(TABLES_PER_MAPPING))
        text = MAPPING.format(n=number, root=root, lines=lines, other=other)
        (files / f"thing{number:03d}.yaml").write_text(text)
    path = directory / "catalog.yaml"
    path.write_text(write(catalog(tables)))
    return files, path


def seconds(command: list[str]) -> float:
    """One run, from the start of Python to its end. Raises CalledProcessError if the files are not sound."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main(arguments: Sequence[str] | None = None) -> int:
    """Generate, run, print."""
    parser = argparse.ArgumentParser(prog="python -m deploy.bench.check", description=__doc__.partition("\n")[0])
    parser.add_argument("--mappings", type=int, default=100, help="mapping files (default: 100)")
    parser.add_argument("--tables", type=int, default=1000, help="tables of the catalog (default: 1000)")
    parser.add_argument("--runs", type=int, default=5, help="runs (default: 5)")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as directory:
        files, path = generate(Path(directory), given.mappings, given.tables)
        command = [sys.executable, "-m", "bridge", "check", "--mappings", str(files), "--catalog", str(path)]
        spent = [seconds(command) for _ in range(given.runs)]
        size = path.stat().st_size
    print(
        f"{given.mappings} mapping files, a catalog of {given.tables:,} tables ({size / 1024:,.0f} KiB), {given.runs} runs"
    )
    print(json.dumps({"seconds": round(statistics.median(spent), 2), "worst": round(max(spent), 2)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
