"""Real records of a real Debezium, without a server: what they mean, whatever order and whatever pieces they come in.

- ``postgres``: one transaction of each kind (key changes, TOAST, truncate, DDL, an incremental snapshot …)
- ``crash``: Connect killed again and again under load, so that whole transactions come twice
- ``restart``: Connect killed twice inside a long transaction (``make_restart``)
"""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from bridge.core.pipeline import Pipeline
from bridge.mapping import load
from bridge.model import (
    ChangelogRecord,
    InboundRecord,
    InputPartition,
    MappingSet,
    OutboundRecord,
    PlainRecord,
    SourceSettings,
)
from bridge.runtime.transform import read_captures, settings_for
from bridge.state.rows import RowState
from bridge.state.store import MemoryStore

ROOT = Path(__file__).resolve().parents[1]
CAPTURES = ROOT / "tests" / "captures"
GOLDEN = ROOT / "tests" / "golden"
SOURCES = {"postgres": "shop", "crash": "crash", "restart": "depot", "mariadb": "shop", "mariadb-restart": "depot"}
CATALOGS = {name: CAPTURES / "mappings" / f"{name}.catalog.yaml" for name in ("postgres", "mariadb")}
SEEDS = 12

Row = dict[str, Any]
Told = tuple[str, str, str]  # type, key, payload


def transform(name: str, *captures: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """`bridge transform` as a user would run it."""
    command = [sys.executable, "-m", "bridge", "transform", *(captures or [str(CAPTURES / f"{name}.jsonl.gz")])]
    command += ["--mappings", str(CAPTURES / "mappings" / name), "--source", SOURCES[name]]
    command += ["--catalog", str(CATALOGS[name])] if name in CATALOGS else []
    return subprocess.run(command, cwd=ROOT, input=stdin, capture_output=True, check=False, timeout=120)


def records(name: str) -> Iterator[Row]:
    with gzip.open(CAPTURES / f"{name}.jsonl.gz") as lines:
        yield from map(json.loads, lines)


# -- as a user would -----------------------------------------------------------------------------------------------------


def test_every_kind_of_transaction() -> None:
    """The golden file was checked by hand against the SQL that was run."""
    done = transform("postgres")
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == (GOLDEN / "postgres.jsonl").read_bytes()
    assert b"347 row changes, 42 transactions, 22 events, 0 dead letters, 0 duplicates" in done.stderr


def kcat(record: Row) -> bytes:
    """The same record as `kcat -J` prints it."""
    flat = [text for header in record["headers"] for text in header]
    line = {"tstype": "create", "ts": record["timestamp"], "broker": 1, "headers": flat, "payload": record["value"]}
    return json.dumps({name: record[name] for name in ("topic", "partition", "offset", "key")} | line).encode() + b"\n"


def test_kcat_from_standard_input() -> None:
    """In any order of topics, and each record twice, as from two runs of kcat."""
    lines = [kcat(record) for record in records("postgres")] * 2
    random.Random(1).shuffle(lines)
    done = transform("postgres", "-", stdin=b"".join(lines))
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == (GOLDEN / "postgres.jsonl").read_bytes()


def test_a_file_for_each_topic(tmp_path: Path) -> None:
    """Some gzipped, some not."""
    topics: dict[str, list[bytes]] = {}
    for record in records("postgres"):
        topics.setdefault(record["topic"], []).append(json.dumps(record).encode())
    names = []
    for number, (topic, lines) in enumerate(topics.items()):
        path = tmp_path / (f"{topic}.jsonl.gz" if number % 2 else f"{topic}.jsonl")
        data = b"\n".join(lines)
        path.write_bytes(gzip.compress(data) if number % 2 else data)
        names.append(str(path))
    done = transform("postgres", *names)
    assert done.stdout == (GOLDEN / "postgres.jsonl").read_bytes(), done.stderr.decode()


def test_what_is_no_capture_is_named(tmp_path: Path) -> None:
    path = tmp_path / "no.jsonl"
    first = next(records("postgres"))
    path.write_text(json.dumps(first) + "\nthis is no record\n")
    done = transform("postgres", str(path))
    assert done.returncode == 70
    assert f"{path}:2: not a captured record" in done.stderr.decode()
    path.write_text(json.dumps(first) + "\n")
    done = transform("postgres", str(path))
    assert done.returncode == 70
    assert "one topic of the capture must hold the transactions' BEGIN and END, and none does" in done.stderr.decode()
    done = transform("postgres", str(tmp_path / "absent.jsonl"))
    assert done.returncode == 70
    assert "absent.jsonl: the capture cannot be read" in done.stderr.decode()


def test_a_capture_that_lacks_rows_says_which(tmp_path: Path) -> None:
    path = tmp_path / "short.jsonl"
    kept = [r for r in records("crash") if not (r["topic"] == "pgc.crash.b" and r["offset"] == 1300)]
    path.write_text("\n".join(json.dumps(record) for record in kept))
    done = transform("crash", str(path))
    assert done.returncode == 65
    assert "is short: crash.b: 4 of 5 rows" in done.stderr.decode()


# -- the truth, naively --------------------------------------------------------------------------------------------------


def transactions(name: str) -> Iterator[list[Row]]:
    """Distinct rows of each transaction in the order of ENDs. All is at hand, so that nothing has to be waited for."""
    groups: dict[str, dict[tuple[Any, ...], Row]] = {}
    ends: list[str] = []
    last = -1
    for record in records(name):
        value = json.loads(record["value"]) if record["value"] else {}
        if value.get("status") == "END":
            group, _, position = value["id"].partition(":")
            if int(position) > last:
                last = int(position)
                ends.append(group)
        elif value.get("transaction"):
            source = value["source"]
            row = value | {"key": record["key"], "table": source["table"]}
            identity = source["lsn"], source["table"], record["key"], value["op"]
            groups.setdefault(value["transaction"]["id"].partition(":")[0], {}).setdefault(identity, row)
    for group in ends:
        yield sorted(groups.get(group, {}).values(), key=lambda row: int(row["source"]["lsn"]))


def pairs() -> Iterator[Told]:
    for rows in transactions("crash"):
        values = {(row["table"], row["after"]["id"]): row["after"]["v"] for row in rows}
        for table, number in values:
            if table == "a":
                data = {"pairId": str(number), "a": values["a", number], "b": values["b", number]}
                yield "PairMade", str(number), json.dumps(data, separators=(",", ":"))


def parcels() -> Iterator[Told]:
    tables: dict[str, dict[str, Row]] = {"parcel": {}, "item": {}, "scan": {}}
    for record in records("restart"):
        value = json.loads(record["value"]) if record["value"] else {}
        if value.get("op") == "r" and value["source"]["table"] in tables:
            tables[value["source"]["table"]][record["key"]] = value["after"]
    for rows in transactions("restart"):
        touched: dict[str, None] = {}
        for row in rows:
            old = tables.get(row["table"], {}).get(row["key"])
            for image in (old, row["after"]):
                if image is not None and row["table"] in tables:
                    touched[str(image["id"] if row["table"] == "parcel" else image["parcel_id"])] = None
        was = {key: parcel(tables, key) for key in touched}
        for row in rows:
            if row["table"] in tables:
                tables[row["table"]].pop(row["key"], None)
                if row["after"] is not None:
                    tables[row["table"]][row["key"]] = row["after"]
        for key in touched:
            now = parcel(tables, key)
            if now is not None and now != was[key]:
                yield (
                    "ParcelPacked" if was[key] is None else "ParcelChanged",
                    key,
                    json.dumps(now, separators=(",", ":")),
                )


def parcel(tables: dict[str, dict[str, Row]], key: str) -> Row | None:
    row = tables["parcel"].get(f'{{"id":{key}}}')
    if row is None:
        return None
    # an item's and a scan's number follow from the parcel's: no need to look through all of them
    places = [tables["item"].get(f'{{"parcel_id":{key},"no":{number}}}') for number in (1, 2)]
    scans = [tables["scan"].get(f'{{"id":{number}}}') for number in (0, int(key), int(key) + 1)]
    return {
        "parcelId": key,
        "state": {"N": "NEW", "S": "SENT", "L": "LOST"}[row["state"]],
        "weight": row["weight"],
        "scans": sum(scan is not None and str(scan["parcel_id"]) == key for scan in scans),
        "items": [{"sku": item["sku"]} for item in places if item is not None],
    }


TRUTH: Mapping[str, Callable[[], Iterator[Told]]] = {"crash": pairs, "restart": parcels}


def by_key(told: Iterator[Told]) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for kind, key, data in told:
        found.setdefault(key, []).append((kind, data))
    return found


def test_the_restart_is_a_restart() -> None:
    """Connect began the long transaction three times and ended it once; rows of it came more than once."""
    states: dict[str, list[str]] = {}
    for record in records("restart"):
        value = json.loads(record["value"]) if record["value"] else {}
        if "status" in value:
            states.setdefault(value["id"].partition(":")[0], []).append(value["status"])
    assert ["BEGIN", "BEGIN", "BEGIN", "END"] in states.values()


@pytest.mark.parametrize("name", ["crash", "restart"])
def test_nothing_is_lost_or_doubled(name: str) -> None:
    done = transform(name)
    assert done.returncode == 0, done.stderr.decode()
    events = [json.loads(line) for line in done.stdout.splitlines()]
    told = [(e["type"], e["subject"], json.dumps(e["data"], separators=(",", ":"), ensure_ascii=False)) for e in events]
    assert by_key(iter(told)) == by_key(TRUTH[name]())
    assert len({event["id"] for event in events}) == len(events)
    assert b" 0 dead letters" in done.stderr


# -- in any pieces -------------------------------------------------------------------------------------------------------


class Drive:
    """The core, fed with a capture in pieces that a seed chooses, and killed on the way.

    ``live``: the topics grow while they are read, in the order of the records' timestamps; else all of it is there.
    """

    def __init__(self, name: str, captured: list[PlainRecord], mappings: MappingSet, seed: int) -> None:
        self.dice = random.Random(f"{name}-{seed}")
        self.settings: SourceSettings = settings_for(captured, SOURCES[name], "dead")
        self.mappings = mappings
        self.queues: dict[InputPartition, list[PlainRecord]] = {}
        for record in captured:
            self.queues.setdefault(InputPartition(record.topic_name, record.partition_number), []).append(record)
        self.live = self.dice.random() < 0.5
        self.changelog: list[ChangelogRecord] = []
        self.published: list[OutboundRecord] = []
        self.crashes = 0
        self.times = sorted({record.timestamp_ms for record in captured})
        self.ends = self._ends(0 if self.live else len(self.times) - 1)
        self._start()

    def _ends(self, number: int) -> dict[InputPartition, int]:
        """Where the partitions ended at one of the timestamps."""
        self.now = number
        time = self.times[number]
        return {
            place: next((r.offset_number for r in queue if r.timestamp_ms > time), queue[-1].offset_number + 1)
            for place, queue in self.queues.items()
        }

    def _start(self) -> None:
        """A process starts: state from the changelog, reading from the checkpoint."""
        self.state = RowState(MemoryStore(), self.mappings)
        self.state.restore(self.changelog, b"")
        self.pipeline = Pipeline(self.settings, self.mappings, self.state, list(self.queues))
        offsets = {place: self.pipeline.checkpoint.inputs().get(place, 0) for place in self.queues}
        self.pipeline.start_at(offsets, self.ends)
        self.positions = offsets

    def run(self) -> list[OutboundRecord]:
        while True:
            batch = self._batch()
            self.pipeline.receive(batch, dict(self.positions))
            while self.pipeline.wants_ends:
                self.pipeline.ends_are(self.ends)
            if not batch and self.now == len(self.times) - 1:
                self._commit()
                assert self.pipeline.waiting() is None
                return self.published
            if not batch:
                step = self.dice.choice((1, 10, 100, 1000))
                self.ends = self._ends(min(self.now + step, len(self.times) - 1))
            luck = self.dice.random()
            if luck < 0.3:
                self._commit()
            elif luck < 0.36:
                self.crashes += 1
                self._start()

    def _batch(self) -> list[InboundRecord]:
        """Some records of some partitions."""
        batch: list[InboundRecord] = []
        places = [place for place in self.queues if self.positions[place] < self.ends[place]]
        limit = self.dice.choice((1, 7, 50, 400, 3000))
        for place in self.dice.sample(places, self.dice.randint(min(1, len(places)), len(places))):
            start = self.positions[place]
            end = min(start + self.dice.randint(1, limit), self.ends[place])
            batch += [record for record in self.queues[place] if start <= record.offset_number < end]
            self.positions[place] = end
        return batch

    def _commit(self) -> None:
        output = self.pipeline.take()
        self.published += output.records
        self.changelog += output.changelog
        self.state.committed(b"")


def loaded(name: str) -> tuple[list[PlainRecord], MappingSet]:
    captured = read_captures([str(CAPTURES / f"{name}.jsonl.gz")])
    files = [(str(path), path.read_text()) for path in sorted((CAPTURES / "mappings" / name).glob("*.yaml"))]
    return captured, load(files, SOURCES[name])


def every_way(name: str, captured: list[PlainRecord], mappings: MappingSet) -> list[OutboundRecord]:
    """What is published in any interleaving, any batches, with any crashes: the same bytes in the same order."""
    first: list[OutboundRecord] = []
    crashes = 0
    for seed in range(SEEDS):
        drive = Drive(name, captured, mappings, seed)
        published = drive.run()
        crashes += drive.crashes
        first = first or published
        assert published == first, f"seed {seed} differs"
    assert crashes > 0
    return first


@pytest.mark.parametrize("name", ["crash", "restart"])
def test_any_interleaving_any_batches_any_crash(name: str) -> None:
    """Every way gives the same bytes in the same order, and they are the truth."""
    first = every_way(name, *loaded(name))
    told = [(dict(r.headers)["ce_type"].decode(), r.key.decode(), r.value.decode()) for r in first]
    assert by_key(iter(told)) == by_key(TRUTH[name]())
