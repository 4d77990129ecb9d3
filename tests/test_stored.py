"""Stored checkpoints: what is in one, whole or damaged; what a schedule makes and deletes."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bridge.core.checkpoint import Checkpoint
from bridge.core.pipeline import CHECKPOINT
from bridge.errors import Fatal, Retriable
from bridge.mapping import load
from bridge.model import ChangelogRecord, MappingSet
from bridge.runtime import stored
from bridge.runtime.automatic import Automatic, Schedule
from bridge.runtime.evolve import MERGE
from bridge.runtime.replayable import Replayable
from bridge.runtime.stored import Checkpoints
from bridge.state.rows import LAYOUTS, meta_key
from bridge.testing import Broker, FakeChangelog, FakeKafka, Process, SourceTopics

TOPICS = SourceTopics("s.transaction", ("s.a",))
LAYOUT = {"public.a": ["id", "note"]}
HOUR_MS = 3_600_000


class Source:
    """A bridge that writes its changelog, one Kafka transaction at a time."""

    def __init__(self) -> None:
        self.broker = Broker(1)
        for topic in ("s.transaction", "s.a", "changelog"):
            self.broker.create_topic(topic)
        self.kafka = FakeKafka(self.broker, TOPICS, Process("one", 1))
        self._publisher = self.kafka.publisher(None)
        self._publisher.open()
        self._publisher.publish([], [ChangelogRecord(meta_key(LAYOUTS + b"00000001"), msgspec.json.encode(LAYOUT))], {})

    def commit(self, end: int, *records: ChangelogRecord) -> None:
        checkpoint = Checkpoint({"s.transaction-0": end + 1, "s.a-0": end}, end, 100 + end, 1_790_000_000_000)
        meta = ChangelogRecord(meta_key(CHECKPOINT), checkpoint.encode())
        self._publisher.publish([], [meta, *records], {})

    @property
    def changelog(self) -> FakeChangelog:
        return self.kafka.changelog()


def row(number: int, value: bytes | None = b"v") -> ChangelogRecord:
    return ChangelogRecord(b"rpublic.a\x00%d" % number, value)


def nobody(_done: int, _total: int) -> None: ...


@pytest.fixture
def source() -> Source:
    made = Source()
    made.commit(5, row(1), row(2))
    made.commit(9, row(1, None), row(3))
    return made


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "made" / "legacy", "legacy")


def test_it_holds_what_the_changelog_held_and_says_what_it_is(source: Source, checkpoints: Checkpoints) -> None:
    told: list[tuple[int, int]] = []
    made = checkpoints.create("night.1", source.changelog, 77, lambda *both: told.append(both))
    source.commit(20, row(4))
    records = [record for frame in made.records() for record in frame]
    assert [record for record in records if record.key[:1] == b"r"] == [row(1), row(2), row(1, None), row(3)]
    manifest = checkpoints.get("night.1").manifest
    assert manifest.checkpoint.end_offset == made.end_offset == 9
    assert (manifest.made_at_ms, manifest.records, manifest.layout) == (77, len(records), LAYOUT)
    assert told[-1][0] == told[-1][1] > 0
    assert [path.name for path in checkpoints.directory.iterdir()] == ["night.1"]


def test_only_the_directory_s_owner_may_read_it(source: Source, checkpoints: Checkpoints) -> None:
    """It holds row values."""
    assert checkpoints.create("a", source.changelog, 1, nobody).path.stat().st_mode & 0o077 == 0


def test_what_a_backfill_staged_is_left_out_and_its_taking_over_waited_for(
    source: Source, checkpoints: Checkpoints
) -> None:
    source.commit(10, ChangelogRecord(b"b12345678rpublic.a\x001", b"staged"))
    made = checkpoints.create("a", source.changelog, 1, nobody)
    assert not [one for frame in made.records() for one in frame if one.key.startswith(b"b")]
    source.commit(11, ChangelogRecord(meta_key(MERGE), b"{}"))
    with pytest.raises(Fatal, match="taking over") as caught:
        checkpoints.create("b", source.changelog, 1, nobody)
    assert caught.value.code == "B529"
    source.commit(12, ChangelogRecord(meta_key(MERGE), None))
    assert checkpoints.create("b", source.changelog, 1, nobody).end_offset == 12


def test_it_does_not_end_inside_a_kafka_transaction(source: Source, checkpoints: Checkpoints) -> None:
    """A backfill's, opened first, would hide the second half of the bridge's own."""
    epoch = source.broker.init_transactions("backfill")
    source.broker.begin("backfill", epoch, "two")
    source.broker.produce_changelog("backfill", epoch, "changelog", [ChangelogRecord(b"b1", b"x")])
    source.commit(30, row(30))
    with pytest.raises(Retriable):
        checkpoints.create("a", source.changelog, 1, nobody)
    source.broker.commit("backfill", epoch)
    assert checkpoints.create("a", source.changelog, 1, nobody).end_offset == 30


def test_what_is_compacted_away_while_it_is_read_was_read_anew(
    source: Source, checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bridge goes on, and the log's cleaner drops the row that the copy had not come to yet."""
    monkeypatch.setattr(stored, "_LAST_LAP", 3)
    changelog = source.changelog
    read = FakeChangelog.read

    def slowly(self: FakeChangelog, start: int, end: int) -> Iterator[tuple[list[ChangelogRecord], int]]:
        if source.broker.log("changelog").end() < 30:
            source.commit(40, row(3, b"newer"), *(row(n) for n in range(100, 120)))
            source.broker.compact("changelog", 12)
        return read(self, start, end)

    monkeypatch.setattr(FakeChangelog, "read", slowly)
    made = checkpoints.create("a", changelog, 1, nobody)
    records = dict(one for frame in made.records() for one in frame)
    assert records[row(3).key] == b"newer"
    assert made.end_offset == 40


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", ".hidden", "a\x00", "a\n", "-x", "é", "x" * 81, "/etc"])
def test_a_name_is_no_path(name: str, source: Source, checkpoints: Checkpoints, tmp_path: Path) -> None:
    (tmp_path / "made" / "x").mkdir(parents=True)
    for action in (lambda: checkpoints.create(name, source.changelog, 1, nobody), lambda: checkpoints.delete(name)):
        with pytest.raises(Fatal, match="no name of a checkpoint"):
            action()
    with pytest.raises(Fatal, match="no name of a checkpoint"):
        checkpoints.get(name)
    assert (tmp_path / "made" / "x").is_dir()


def test_a_name_is_given_once(source: Source, checkpoints: Checkpoints) -> None:
    checkpoints.create("a", source.changelog, 1, nobody)
    with pytest.raises(Fatal, match="there is a checkpoint a") as caught:
        checkpoints.create("a", source.changelog, 2, nobody)
    assert caught.value.code == "B526"
    assert checkpoints.get("a").manifest.made_at_ms == 1


def test_one_that_was_made_meanwhile_is_not_written_over(source: Source, checkpoints: Checkpoints) -> None:
    def other(_done: int, _total: int) -> None:
        if not (checkpoints.directory / "a").exists():
            Checkpoints(checkpoints.directory, "legacy").create("a", source.changelog, 1, nobody)

    with pytest.raises(Fatal, match="there is a checkpoint a"):
        checkpoints.create("a", source.changelog, 2, other)
    assert checkpoints.get("a").manifest.made_at_ms == 1
    assert len(list(checkpoints.directory.iterdir())) == 1


def test_without_state_there_is_none(checkpoints: Checkpoints) -> None:
    with pytest.raises(Fatal, match="no state yet") as caught:
        checkpoints.create("a", Source().changelog, 1, nobody)
    assert caught.value.code == "B529"
    assert not list(checkpoints.directory.iterdir())


def test_what_fails_on_the_way_leaves_nothing(source: Source, checkpoints: Checkpoints) -> None:
    def full(_done: int, _total: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(Fatal, match="No space left") as caught:
        checkpoints.create("a", source.changelog, 1, full)
    assert caught.value.code == "B526"
    assert not list(checkpoints.directory.iterdir())


def test_what_a_killed_process_left_is_no_checkpoint_and_goes_after_a_day(
    source: Source, checkpoints: Checkpoints
) -> None:
    made = checkpoints.create("a", source.changelog, 1, nobody)
    old, new = checkpoints.directory / ".b.x1.part", checkpoints.directory / ".c.x2.part"
    for litter in (old, new):
        shutil.copytree(made.path, litter)
    os.utime(old, (1, 1))
    assert [one.manifest.name for one in checkpoints.all()] == ["a"]
    checkpoints.create("d", source.changelog, 2, nobody)
    assert not old.exists()
    assert new.exists()


def test_every_damage_is_seen_and_named_and_ends_no_list(source: Source, checkpoints: Checkpoints) -> None:
    for name in ("good", "bad"):
        checkpoints.create(name, source.changelog, 1, nobody)
    manifest, data = (checkpoints.directory / "bad" / name for name in ("manifest.json", "changelog.gz"))
    whole = {path: path.read_bytes() for path in (manifest, data)}

    def seen_in_the_list() -> bool:
        found, wrong = checkpoints.look()
        assert [one.manifest.name for one in found][:1] in (["bad"], ["good"])
        return "bad" in wrong

    for path, content in whole.items():
        for size in range(len(content)):
            path.write_bytes(content[:size])
            assert seen_in_the_list(), (path.name, size)
        path.unlink()
        assert seen_in_the_list()
        path.write_bytes(content)
    for at in range(10, len(whole[data])):  # behind gzip's own head, of which some bytes say nothing
        data.write_bytes(whole[data][:at] + bytes([whole[data][at] ^ 1]) + whole[data][at + 1 :])
        with pytest.raises(Fatal) as caught:
            list(checkpoints.get("bad").records())
        assert caught.value.code == "B528"
    manifest.write_text("{}")
    checkpoints.delete("bad")
    assert checkpoints.look()[1] == {}


def test_the_nearest_before_an_end_of_the_same_changelog(source: Source, checkpoints: Checkpoints) -> None:
    for end in (20, 30, 25):
        if end != 25:
            source.commit(end)
        checkpoints.create(f"at{end}", source.changelog, end, nobody)
    changelog = source.changelog.identity()
    assert [one.manifest.name for one in checkpoints.before(31, changelog)] == ["at30", "at25", "at20"]
    assert [one.manifest.name for one in checkpoints.before(30, changelog)] == ["at20"]
    assert checkpoints.before(20, changelog) == []
    assert checkpoints.before(31, "another") == []


# -- whether a replay can start there ------------------------------------------------------------------------------------


def mappings(*columns: str) -> MappingSet:
    fields = ", ".join(f"{name}: string? = a.{name}" for name in columns)
    text = (
        "aggregate: A\nsource: legacy\nkey: a.id\ntables: {a: {table: public.a}}\n"
        f"model: {{{fields}}}\nevents: {{AChanged: {{topic: out, when: created(), data: [{columns[0]}]}}}}\n"
    )
    return load([("a.yaml", text)], "legacy", None)


def reason(source: Source, checkpoints: Checkpoints, used: MappingSet) -> str:
    kafka = FakeKafka(source.broker, TOPICS, Process("two", 1))
    replayable = Replayable(source.changelog.identity(), kafka.reader(), used)
    return replayable.reason_against(checkpoints.get("a").manifest)


def test_why_no_replay_can_start_there(source: Source, checkpoints: Checkpoints) -> None:
    for topic in ("s.transaction", "s.a"):
        for _ in range(20):
            source.broker.append(topic, 0, b"k", b"{}")
    checkpoints.create("a", source.changelog, 1, nobody)
    assert reason(source, checkpoints, mappings("id", "note")) == ""
    assert "public.a: extra" in reason(source, checkpoints, mappings("id", "extra"))
    source.broker.log("s.a").trim(9)
    assert reason(source, checkpoints, mappings("id")) == ""
    source.broker.log("s.a").trim(10)
    assert "s.a-0 begins at 10" in reason(source, checkpoints, mappings("id"))
    source.broker.create_topic("s.a")
    assert "made anew" in reason(source, checkpoints, mappings("id"))
    source.broker.create_topic("changelog")
    assert "changelog was made anew" in reason(source, checkpoints, mappings("id"))


# -- by schedule -----------------------------------------------------------------------------------------------------------


class Numbers:
    """The metrics."""

    def __init__(self) -> None:
        self.failures = 0
        self.age = -1.0

    def checkpoint_age(self, _source: str, seconds: float) -> None:
        self.age = seconds

    def checkpoint_failed(self, _source: str) -> None:
        self.failures += 1


def test_the_newest_automatic_one_says_when_the_next_is_due(source: Source, checkpoints: Checkpoints) -> None:
    """Also after a restart: a new schedule over the same directory. Those made by hand do not count, nor does the future."""

    def schedule() -> Schedule:
        return Schedule(checkpoints, 24, 3)

    now = 1_790_000_000_000
    checkpoints.create("by-hand", source.changelog, now, nobody)
    checkpoints.create("auto-mine", source.changelog, now, nobody)
    assert schedule().is_due(now)
    made = schedule().make(source.changelog, now, nobody)
    assert made.manifest.name == "auto-20260921T141320Z"
    assert not schedule().is_due(now + 24 * HOUR_MS - 1)
    assert schedule().is_due(now + 24 * HOUR_MS)
    assert schedule().is_due(now - 1)  # the clock went back
    schedule().make(source.changelog, now - HOUR_MS, nobody)
    assert not schedule().is_due(now - 1)


def test_retention_deletes_the_oldest_automatic_ones_and_nothing_made_by_hand(
    source: Source, checkpoints: Checkpoints
) -> None:
    schedule = Schedule(checkpoints, 24, 3)
    checkpoints.create("by-hand", source.changelog, 0, nobody)
    checkpoints.create("auto-mine", source.changelog, 0, nobody)
    for day in range(6):
        schedule.make(source.changelog, 1_790_000_000_000 + day * 24 * HOUR_MS, nobody)
    names = sorted(one.manifest.name for one in checkpoints.all())
    days = ["auto-20260924T141320Z", "auto-20260925T141320Z", "auto-20260926T141320Z"]
    assert names == [*days, "auto-mine", "by-hand"]


def automatic(source: Source, checkpoints: Checkpoints, numbers: Numbers, *, owner: bool = True) -> Automatic:
    schedule = Schedule(checkpoints, 24, 3)
    return Automatic("legacy", schedule, lambda: source.changelog, lambda: owner, numbers, threading.Event())


def test_only_the_owner_makes_them_once_per_period(source: Source, checkpoints: Checkpoints) -> None:
    numbers = Numbers()
    automatic(source, checkpoints, numbers, owner=False).round()
    assert checkpoints.all() == []
    for _ in range(3):
        automatic(source, checkpoints, numbers).round()
    assert len(checkpoints.all()) == 1
    assert numbers.failures == 0
    assert 0 <= numbers.age < 60


def test_a_failure_is_counted_and_tried_again_later(source: Source, checkpoints: Checkpoints) -> None:
    numbers = Numbers()
    checkpoints.directory.parent.mkdir(parents=True)
    checkpoints.directory.write_text("in the way")
    assert automatic(source, checkpoints, numbers).round() >= 60
    assert numbers.failures == 1


def test_a_source_without_state_is_no_failure(checkpoints: Checkpoints) -> None:
    numbers = Numbers()
    assert automatic(Source(), checkpoints, numbers).round() < 60
    assert numbers.failures == 0


def test_the_end_of_the_process_leaves_no_half(source: Source, checkpoints: Checkpoints) -> None:
    schedule, stop, numbers = Schedule(checkpoints, 24, 3), threading.Event(), Numbers()
    stop.set()
    Automatic("legacy", schedule, lambda: source.changelog, lambda: True, numbers, stop).round()
    assert list(checkpoints.directory.iterdir()) == []
    assert numbers.failures == 0
