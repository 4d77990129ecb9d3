"""A letter's images are what translate had before it, whatever happened: rebuilt by the same mapping they are equal."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from bridge.core.aggregate import Touched
from bridge.core.images import Rebuild, Told, pack, unpack
from bridge.core.pipeline import Observed
from bridge.mapping import load
from bridge.mapping.catalog import read
from bridge.model import MappingSet, PlainRecord, SourceSettings
from bridge.runtime.transform import read_captures, settings_for, transform
from tests.sim.scenario import make_scenario
from tests.sim.world import source_settings
from tests.simulate import MARIADB_SHARE, mappings_for
from tests.test_captures import CAPTURES, CATALOGS, SOURCES


def rebuilt(records: list[PlainRecord], settings: SourceSettings, mappings: MappingSet) -> Counter[str]:
    """Every unit of these records is packed and rebuilt. How many of which kind there were."""
    seen: Counter[str] = Counter()
    layouts = [mappings.layouts[name] for name in sorted(mappings.layouts)]
    rebuild = Rebuild(mappings)

    def observe(observed: Observed) -> None:
        for touched in observed.touched:
            told = Told(observed.transaction.position, 1, 2, "/part", snapshot=observed.snapshot)
            images = unpack(pack(touched, told, layouts))
            assert images.told == told
            again = rebuild.touched(touched.mapping.aggregate, images)
            assert images_of(again) == images_of(touched)
            seen[kind_of(observed, touched)] += 1
            seen["units"] += 1

    for _ in transform(records, settings, mappings, observe):
        pass
    return seen


def images_of(touched: Touched) -> tuple[object, ...]:
    roots = (touched.root_before, touched.root_after)
    error = touched.error
    return touched.before, touched.after, *roots, touched.steps, error and (error.code, error.message)


def kind_of(observed: Observed, touched: Touched) -> str:
    if observed.window is not None:
        return "window"
    if observed.snapshot:
        return "snapshot"
    if any(change.old_key != change.row_key for change in touched.changes):
        return "key changed"
    return "deleted" if touched.after is None else "created" if touched.before is None else "changed"


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_units_of_captures(name: str) -> None:
    records = read_captures([str(CAPTURES / f"{name}.jsonl.gz")])
    files = [(str(path), path.read_text()) for path in sorted((CAPTURES / "mappings" / name).glob("*.yaml"))]
    catalog = read(CATALOGS[name].read_text(), str(CATALOGS[name]))[0] if name in CATALOGS else None
    mappings = load(files, SOURCES[name], catalog)
    assert rebuilt(records, settings_for(records, SOURCES[name], "x.DLT"), mappings)["units"] > 0


def test_units_of_simulated_histories() -> None:
    seen: Counter[str] = Counter()
    for seed in range(70):
        scenario = make_scenario(seed, mariadb=Random(f"dialect/{seed}").random() < MARIADB_SHARE)
        offsets: Counter[tuple[str, int]] = Counter()
        records = []
        for send in scenario.topics.sends():
            place = (send.topic, send.partition)
            records.append(PlainRecord(*place, offsets[place], send.key, send.value, send.headers))
            offsets[place] += 1
        settings = source_settings(scenario)
        if (settings.log or settings.transaction_topic, 0) not in offsets:
            continue  # a snapshot, and nothing after it
        seen += rebuilt(records, settings, mappings_for(scenario.features))
    assert all(seen[kind] > 10 for kind in ("window", "snapshot", "key changed", "deleted", "created", "changed")), seen
