"""Restore, measured: a changelog of very many rows read into an empty local store, against merely consuming it.

The changelog holds what the bridge writes for orders: a root, its lines and a payment, each under its key. Both readers
are processes of their own, so that their memory is their own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from bridge.cli.common import mapping_set
from bridge.config import load
from bridge.core.packed import encode
from bridge.kafka.client import ConfluentKafka
from bridge.model import ChangelogRecord, MappingSet
from bridge.runtime.daemon import MonotonicClock
from bridge.runtime.report import Report
from bridge.runtime.restore import Restore
from bridge.runtime.wiring import kafka_for
from bridge.state.rows import RowState
from bridge.state.store import LmdbStore
from bridge.testing.stream import OrderStream
from deploy.bench import bridge_config
from deploy.bench.large import ROWS_PER_ORDER, Memory
from deploy.bench.topics import TIMEOUT_SECONDS

POSITION = 26_700_000
CREATED = 1
FIRST_ORDER = 100_000_000  # none of a stream that goes on meanwhile
STRIDE = 7_368_787  # a prime: each root once, the next one far away


def restore_figures(bootstrap: str, directory: Path, rows: int) -> dict[str, float]:
    """Write a changelog of ``rows`` rows; then consume it, and restore it."""
    setup = bridge_config.write(directory / "state", "state", bootstrap, OrderStream("state", 0))
    setup.prepare()
    config = load(setup.config)
    source = config.sources[bridge_config.SOURCE]
    mappings = mapping_set(config.mappings, bridge_config.SOURCE, None)
    fill(bootstrap, source.changelog_topic, changelog(mappings, rows))
    print(f"{rows:,} rows in the changelog")
    consumed, restored = (reader(setup.config, what) for what in ("consume", "restore"))
    return {
        "rows": rows,
        "consumed_per_s": round(rows / consumed["seconds"]),
        "restored_per_s": round(rows / restored["seconds"]),
        "share_of_consuming": round(consumed["seconds"] / restored["seconds"], 2),
        "anonymous_mib": restored["anonymous_mib"],
        "mapped_mib": restored["mapped_mib"],
        "store_mib": round(sum(one.stat().st_blocks * 512 for one in setup.state.rglob("data.mdb")) / 2**20),
    }


def changelog(mappings: MappingSet, rows: int) -> Iterator[ChangelogRecord]:
    """Orders with their lines and payments, in the columns that the mappings use.

    Once compacted, a changelog is in the order of last changes, which has nothing to do with the order of keys.
    """
    layouts = mappings.layouts
    orders = rows // ROWS_PER_ORDER
    for place in range(orders):
        number = FIRST_ORDER + place * STRIDE % orders
        order = {"ord_no": number, "rec_typ": "O", "cust_no": number % 5000, "ord_stat": "P", "tot_cents": number}
        yield stored_row(layouts, "t_ord", {"ord_no": number}, order | {"cur": "EUR", "plc_dt": POSITION * number})
        for line in range(1, ROWS_PER_ORDER - 1):
            key = {"ord_no": number, "line_no": line}
            yield stored_row(layouts, "t_ord_line", key, {"itm_cd": f"SKU-{number}   ", "qty": 2, "prc_cents": 1999})
        payment = {"ord_no": number, "st": "C", "amt_cents": number, "del_flg": "N"}
        yield stored_row(layouts, "t_pay", {"pay_no": number}, payment)


def stored_row(layouts: Any, table: str, key: dict[str, int], values: dict[str, Any]) -> ChangelogRecord:
    """A row in the changelog, of before any transaction of a stream."""
    name = f"public.{table}"
    row = [(key | values).get(column) for column in layouts[name].columns]
    row_key = json.dumps(key, separators=(",", ":")).encode()
    return ChangelogRecord(b"r" + name.encode() + b"\x00" + row_key, encode((POSITION, CREATED, 1, *row)))


def fill(bootstrap: str, topic: str, records: Iterator[ChangelogRecord]) -> None:
    """Write them to the one partition."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20, "compression.type": "lz4", "acks": "all"})
    for key, value in records:
        while True:
            try:
                producer.produce(topic, value, key, 0)
                break
            except BufferError:
                producer.poll(0.05)
    if producer.flush(TIMEOUT_SECONDS):
        raise TimeoutError("the broker did not take the changelog in time")


def reader(config: Path, what: str) -> dict[str, float]:
    """One reader as a process of its own."""
    command = [sys.executable, "-m", "deploy.bench.restore", what, "--config", str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process, Memory(process.pid) as memory:
        out, _ = process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    seconds = float(out.split()[-1])
    return {
        "seconds": seconds,
        "anonymous_mib": round(memory.anonymous),
        "mapped_mib": round(memory.mapped),
    }


def main() -> int:
    """What ``reader`` starts. The last word is the seconds that it took."""
    parser = argparse.ArgumentParser(prog="python -m deploy.bench.restore")
    parser.add_argument("what", choices=("consume", "restore"))
    parser.add_argument("--config", type=Path, required=True)
    options = parser.parse_args()
    config = load(options.config)
    source = config.sources[bridge_config.SOURCE]
    mappings = mapping_set(config.mappings, bridge_config.SOURCE, None)
    kafka: ConfluentKafka = kafka_for(config, source, mappings)
    log = kafka.changelog()
    started = time.monotonic()
    if options.what == "consume":
        for _ in log.read(*log.bounds()):
            pass
    else:
        state = RowState(LmdbStore(config.state_directory / "restored"), mappings, config.limits.state_cache_rows)
        Restore(log, state, MonotonicClock(), "bench", Report()).run()
        state.close()
    print(time.monotonic() - started)
    return 0


if __name__ == "__main__":
    sys.exit(main())
