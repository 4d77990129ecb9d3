"""The simulated Debezium sends what the real one does: its topics hold exactly what the database committed."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from tests.sim.database import Change, Transaction
from tests.sim.scenario import Scenario, make_scenario

SEEDS = range(120)


def parsed(scenario: Scenario) -> list[tuple[str, dict[str, Any], dict[str, Any] | None]]:
    """(kind, value, key) of everything that was sent, in an order that keeps each partition's."""
    found = []
    for send in scenario.topics.sends():
        value = json.loads(send.value) if send.value is not None else {}
        key = json.loads(send.key) if send.key is not None else None
        if scenario.inline:
            value, key = value.get("payload", value), key["payload"] if key else None
        found.append((send.kind, value, key))
    return found


def rows_sent(scenario: Scenario) -> dict[int, dict[tuple[Any, ...], dict[str, Any]]]:
    """Distinct rows by xid: the union of all runs."""
    found: dict[int, dict[tuple[Any, ...], dict[str, Any]]] = {}
    for kind, value, key in parsed(scenario):
        if kind != "row" or not value or value["op"] == "m":
            continue
        source = value["source"]
        identity: tuple[Any, ...] = (
            source["lsn"],
            f"{source['schema']}.{source['table']}",
            json.dumps(key),
            value["op"],
        )
        if key is None:
            identity = (*identity, value["transaction"]["total_order"], json.dumps(value["after"]))
        found.setdefault(source["txId"], {})[identity] = value
    return found


def identities(transaction: Transaction) -> set[tuple[int, str, str, str]]:
    def key(change: Change) -> str:
        values = change.key()
        assert values is not None
        return json.dumps(dict(zip(change.table.key, values, strict=True)))

    return {(c.lsn, c.table.name, key(c), c.op) for c in transaction.changes if c.table.key}


@pytest.mark.parametrize("seed", SEEDS)
def test_the_union_of_all_runs_is_what_was_committed(seed: int) -> None:
    scenario = make_scenario(seed)
    sent = rows_sent(scenario)
    for transaction in scenario.database.transactions:
        places = {change.lsn for change in transaction.changes}  # an xid may come again
        with_key = {one for one in sent.get(transaction.xid, {}) if len(one) == 4 and one[0] in places}
        assert with_key == identities(transaction)
        assert {f"{value['transaction']['id']}".split(":")[0] for value in sent.get(transaction.xid, {}).values()} <= {
            str(transaction.xid)
        }


@pytest.mark.parametrize("seed", SEEDS)
def test_first_ends_are_in_commit_order_and_every_transaction_has_one(seed: int) -> None:
    scenario = make_scenario(seed)
    ends: list[str] = [value["id"] for kind, value, _ in parsed(scenario) if kind == "end"]
    first = list(dict.fromkeys(ends))
    assert first == [f"{t.xid}:{t.end_lsn}" for t in scenario.database.transactions]
    positions = [int(identity.split(":")[1]) for identity in first]
    assert positions == sorted(set(positions))


@pytest.mark.parametrize("seed", SEEDS)
def test_an_end_counts_the_rows_of_its_run(seed: int) -> None:
    scenario = make_scenario(seed)
    in_run: dict[tuple[int, int], Counter[str]] = {}
    complete = {send.run for send in scenario.topics.sends()}
    last = max(complete, default=0)
    for send, (kind, value, _) in zip(scenario.topics.sends(), parsed(scenario), strict=True):
        if send.run != last:
            continue  # a dead run's rows have holes
        place = (send.run, send.place[0])
        if kind == "row" and value and value["op"] != "m":
            in_run.setdefault(place, Counter())[f"{value['source']['schema']}.{value['source']['table']}"] += 1
        if kind == "end":
            counts = {c["data_collection"]: c["event_count"] for c in value["data_collections"]}
            counts = {name: count for name, count in counts.items() if not name.startswith("io.debezium")}
            assert counts == dict(in_run.get(place, Counter()))


def test_the_hard_things_happen() -> None:
    """Over some hundred seeds: concurrency, repeats, restarts, empty second runs, overlapping seeds."""
    seen: Counter[str] = Counter()
    for seed in range(400):
        scenario = make_scenario(seed)
        seen += scenario.topics.reached
        transactions = scenario.database.transactions
        xids = Counter(t.xid for t in transactions)
        seen["an xid again"] += any(count > 1 for count in xids.values())
        seen["xids over the end"] += any(b < 100 < 1 << 31 < a for a, b in pairwise(xids))
        seen["xids out of order"] += any(b.xid < a.xid for a, b in pairwise(transactions))
        seen["rows before the previous commit"] += any(b.changes[0].lsn < a.end_lsn for a, b in pairwise(transactions))
        seen["row on the previous commit's position"] += any(
            b.changes[0].lsn == a.end_lsn for a, b in pairwise(transactions)
        )
        seen["seeds overlap"] += scenario.seeds_overlap_live_changes()
        ends = Counter(value["id"] for kind, value, _ in parsed(scenario) if kind == "end")
        begins = Counter(value["id"] for kind, value, _ in parsed(scenario) if kind == "begin")
        seen["three runs of one transaction"] += any(count >= 3 for count in begins.values())
        seen["an END twice"] += any(count >= 2 for count in ends.values())
        seen["an END that counts nothing"] += any(
            kind == "end" and value["event_count"] == 0 for kind, value, _ in parsed(scenario)
        )
        seen["parked"] += bool(scenario.truth.parked)
        seen["events"] += bool(scenario.truth.events)
    for name, least in {
        "connector death": 100,
        "repeat": 50,
        "restart inside a transaction": 50,
        "xids out of order": 50,
        "an xid again": 20,
        "xids over the end": 50,
        "rows before the previous commit": 100,
        "row on the previous commit's position": 100,
        "three runs of one transaction": 10,
        "an END twice": 50,
        "an END that counts nothing": 20,
        "seeds overlap": 30,
        "parked": 10,
        "events": 350,
    }.items():
        assert seen[name] >= least, (name, seen)


def test_a_seed_gives_the_same_topics_again() -> None:
    first, second = make_scenario(3), make_scenario(3)
    assert [send.value for send in first.topics.sends()] == [send.value for send in second.topics.sends()]
    assert [event.data for event in first.truth.events] == [event.data for event in second.truth.events]
