"""`bridge plan` over the simulator's histories: what it says is what two whole runs, compared record by record, say.

The topics are read from a simulated Kafka in which a bridge has worked, so that there are a changelog and a checkpoint.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import NamedTuple

from msgspec import structs

from bridge.core.pipeline import Pipeline
from bridge.mapping.tokens import plain
from bridge.model import ChangelogRecord, InboundRecord, MappingSet, OutboundRecord, SourceSettings
from bridge.plan.edition import Edition
from bridge.plan.report import Plan
from bridge.plan.task import History, Known, Wish
from bridge.runtime.position import Ends
from bridge.runtime.stored import Checkpoints, Stored
from bridge.state.rows import RowState
from bridge.state.store import MemoryStore
from bridge.testing import FakeKafka, Process
from bridge.testing.broker import Log
from tests.sim.chaos import Chaos
from tests.sim.compiled import catalog_of, compiled
from tests.sim.mappings import DEAD_LETTERS, EVENTS_TOPIC, LINES_TOPIC, mapping_text
from tests.sim.scenario import Scenario, make_scenario
from tests.sim.verdict import Seen
from tests.sim.world import World, source_settings

SEEDS = 61  # five of each edit
EDITS = {
    "nothing": (),
    "a field by another name": ((r"\n  total: decimal\(12,2\) = ", "\n  sum: decimal(12,2) = "), (r"\btotal\b", "sum")),
    "a wider number": ((r"price: decimal\(12,2\)", "price: decimal(12,4)"),),
    "a condition": ((r"when: became\(status, 'PLACED'\)", "when: status == 'PLACED'"),),
    "an event less": ((r"  OrderRepriced:\n(    .*\n)+?(?=  \w|on_error)", ""),),
    "an event more": (
        (
            r"events:\n",
            f"events:\n  OrderSeen:\n    topic: {EVENTS_TOPIC}\n    when: not deleted()\n    data: [orderId]\n",
        ),
    ),
    "a code less": ((r"S: SHIPPED, ", ""), (r", until: status == 'SHIPPED'", "")),
    "another topic": ((rf"(OrderCreated:\n    topic: ){EVENTS_TOPIC}", rf"\g<1>{LINES_TOPIC}"),),
    "another order of events": ((r"(  OrderCreated:\n(?:    .*\n)+)((?:.*\n)*)(?=on_error)", r"\2\1"),),
    "no window, or one": (
        (r"collapse: \{.*\}", "collapse: transactions"),
        (r"collapse: transaction\n", "collapse: {quiet: 3s, at_most: 9s}\n"),
        (r"collapse: transactions", "collapse: transaction"),
    ),
    "a longer window": ((r"at_most: (\d+)ms", r"at_most: \g<1>9ms"),),
    "what fails is skipped": ((r"on_error: park", "on_error: skip"),),
}


def edited(text: str, edit: str) -> str:
    for pattern, replacement in EDITS[edit]:
        text = re.sub(pattern, replacement, text)
    return text


def edition(scenario: Scenario, text: str) -> Edition:
    return Edition("", [("mappings/order.yaml", text)], "legacy", catalog_of(scenario.features), plain, show_data=True)


# -- a Kafka in which a bridge has worked --------------------------------------------------------------------------------


class Worked(NamedTuple):
    """A scenario's topics, and what a bridge with its mapping left behind."""

    scenario: Scenario
    settings: SourceSettings
    world: World
    checkpoints: Checkpoints

    def kafka(self) -> FakeKafka:
        return FakeKafka(self.world.broker, self.world.topics, Process("plan", "plan", self.world.faults))

    def history(self) -> History:
        kafka = self.kafka()
        return History(self.settings, kafka.reader(), Known.of(kafka.changelog(), self.checkpoints))

    @property
    def logs(self) -> list[Log]:
        return [log for topic in self.world.topics.inputs() for log in self.world.broker.topics[topic]]


@contextmanager
def worked(seed: int, directory: Path) -> Iterator[Worked]:
    """A checkpoint is stored somewhere on the way, if anything was committed by then."""
    scenario = make_scenario(seed, mariadb=seed % 3 == 0)
    settings = source_settings(scenario)
    world = World(scenario, compiled(scenario.features), settings, Chaos.calm(), f"{seed}/plan")
    one = Worked(scenario, settings, world, Checkpoints(directory / str(seed), "legacy"))
    world.feeder.feed(int(world.feeder.left * Random(f"checkpoint/{seed}").uniform(0.1, 0.9)))
    for _ in range(20):  # with nothing new it commits what it has
        world.machines[0].step()
    if world.broker.history:
        one.checkpoints.create("half-way", one.kafka().changelog(), 0, lambda _done, _total: None)
    world.run()
    yield one


# -- two runs, compared record by record ---------------------------------------------------------------------------------


def whole_run(
    one: Worked, mappings: MappingSet, stored: Stored | None = None, until: int | None = None
) -> list[OutboundRecord]:
    state = RowState(MemoryStore(), mappings)
    changes: list[ChangelogRecord] = [] if stored is None else [each for some in stored.records() for each in some]
    state.restore(changes, b"")
    state.adopt()
    logs = one.logs
    pipeline = Pipeline(one.settings, mappings, state, [log.name for log in logs], until=until)
    ends = {log.name: log.end() for log in logs}
    starts = dict.fromkeys(ends, 0) | pipeline.checkpoint.inputs()
    pipeline.start_at(starts, ends)
    stops = ends if until is None or not one.settings.log else {logs[0].name: until + 1}
    records: list[InboundRecord] = [
        each for log in logs for each in log.records[starts[log.name] : stops[log.name]] if each is not None
    ]
    pipeline.receive(records, stops)
    found: list[OutboundRecord] = []
    while True:
        while pipeline.wants_ends:
            pipeline.ends_are(ends)
        found += pipeline.take().records
        state.committed(b"")
        if not pipeline.is_held:
            return found
        pipeline.receive((), stops)


def split(records: Sequence[OutboundRecord]) -> tuple[dict[str, OutboundRecord], Counter[tuple[object, ...]]]:
    events = {Seen(one, 0).header("ce_id"): one for one in records if one.topic != DEAD_LETTERS}
    letters = [json.loads(one.value) for one in records if one.topic == DEAD_LETTERS]
    names = ("code", "aggregate", "aggregateId", "commitPosition", "incarnation")
    return events, Counter(tuple(one[name] for name in names) for one in letters)


def sequences(
    events: dict[str, OutboundRecord], other: dict[str, OutboundRecord]
) -> dict[tuple[str, bytes], list[str]]:
    found: dict[tuple[str, bytes], list[str]] = {}
    for identity, one in events.items():
        if identity in other and other[identity].topic == one.topic:
            found.setdefault((one.topic, one.key), []).append(identity)
    return found


def agrees(plan: Plan, old: Sequence[OutboundRecord], new: Sequence[OutboundRecord]) -> None:
    was, was_dead = split(old)
    now, now_dead = split(new)
    both = was.keys() & now.keys()
    changed = {identity for identity in both if was[identity] != now[identity]}
    come, gone = now_dead - was_dead, was_dead - now_dead
    summary = plan.summary
    assert (summary.unchanged, summary.changed) == (len(both) - len(changed), len(changed))
    assert (summary.appearing, summary.vanishing) == (len(now.keys() - both), len(was.keys() - both))
    assert bool(summary.reordered) == (sequences(was, now) != sequences(now, was))
    assert summary.dead_letters_new + summary.parked_new == come.total()
    assert summary.dead_letters_gone + summary.parked_gone == gone.total()
    assert summary.parked_new == sum(count for letter, count in come.items() if letter[0] == "B211")
    assert summary.dead_letters_unchanged == (was_dead & now_dead).total()
    types = {Seen(one, 0).header("ce_type") for one in [*was.values(), *now.values()]}
    assert types <= {event.type for event in plan.events}
    totals = Counter(Seen(one, 0).header("ce_type") for one in was.values())
    assert {e.type: e.compared + e.vanishing for e in plan.events if e.compared + e.vanishing} == totals
    assert all(event.fields for event in plan.events if event.changed)


def ends_of(one: Worked) -> list[int]:
    """Offsets of all ENDs in the transaction topic."""
    ends = Ends(one.settings, one.kafka().reader())
    return [marker.offset for marker in ends.between(ends.start, ends.end) if not marker.begin]


def quiet(_done: int, _total: int) -> None:
    """Nobody watches."""


# -- the properties ------------------------------------------------------------------------------------------------------


def test_every_edit_is_one() -> None:
    scenario = next(one for seed in range(1, 50) if (one := make_scenario(seed)).features.window is not None)
    text = mapping_text(scenario.features)
    assert [name for name in EDITS if edited(text, name) == text] == ["nothing"]


def test_a_plan_says_what_two_whole_runs_say(tmp_path: Path) -> None:
    told: Counter[str] = Counter()
    for seed in range(1, SEEDS):
        edit = list(EDITS)[seed % len(EDITS)]
        with worked(seed, tmp_path) as one:
            text = mapping_text(one.scenario.features)
            old, new = edition(one.scenario, text), edition(one.scenario, edited(text, edit))
            try:
                if not ends_of(one):
                    continue
                plan = one.history().plan(old, new, Wish(), quiet)
                agrees(plan, whole_run(one, old.mappings), whole_run(one, new.mappings))
            except BaseException as error:
                error.add_note(f"seed {seed}: {edit}")
                raise
            assert not (plan.differs and edit == "nothing")
            told.update(name for name, count in structs.asdict(plan.summary).items() if count)
    reached = {"unchanged", "changed", "appearing", "vanishing", "reordered", "dead_letters_new", "parked_new"}
    assert reached <= set(told), told


def test_a_stretch_is_planned_from_the_nearest_checkpoint_and_nothing_else_is_compared(tmp_path: Path) -> None:
    states: Counter[str] = Counter()
    for seed in range(1, SEEDS):
        edit = list(EDITS)[seed % len(EDITS)]
        rng = Random(f"stretch/{seed}")
        with worked(seed, tmp_path) as one:
            ends = ends_of(one)
            if len(ends) < 2 or one.scenario.features.window is not None or "window" in edit:
                continue
            stored = one.checkpoints.all()
            places = [end for end in ends if stored and end > stored[0].end_offset]
            first = rng.choice(places if places and rng.random() < 0.7 else ends)
            last = rng.choice([end for end in ends if end >= first])
            began = next((each for each in stored if 0 <= each.end_offset < first), None)
            text = mapping_text(one.scenario.features)
            old, new = edition(one.scenario, text), edition(one.scenario, edited(text, edit))
            try:
                plan = one.history().plan(old, new, Wish(str(first), str(last)), quiet)
                runs = [
                    whole_run(one, each.mappings, began, last)[len(whole_run(one, each.mappings, began, first - 1)) :]
                    for each in (old, new)
                ]
                agrees(plan, *runs)
            except BaseException as error:
                error.add_note(f"seed {seed}: {edit}, {first} to {last}")
                raise
            assert plan.stretch.state == ("beginning" if began is None else "half-way")
            assert not plan.stretch.transactions or first <= plan.stretch.first <= plan.stretch.last <= last
            states[plan.stretch.state] += 1
    assert min(states["beginning"], states["half-way"]) > 5, states
