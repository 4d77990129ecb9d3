"""A source's dead letters as they lie in their topic, and what was decided about them in the changelog.

A letter is *open* until it is settled: told after all, or given up. Letters of one aggregate have one key, so they lie in one
partition in order, and are settled from the first on: ``settled``, NUL, aggregate, US, id says up to which offset. What parks
an aggregate says the position of its first open letter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec

from bridge.core.checkpoint import Checkpoint
from bridge.core.history import BITS
from bridge.core.oversize import REDUCED, Large
from bridge.core.pipeline import CHECKPOINT
from bridge.core.units import PARKED, unit_name
from bridge.model import Changelog, InboundRecord, Reader
from bridge.runtime.follow import read_to
from bridge.state.rows import meta_key

SETTLED: Final = b"settled\x00"
BEHIND: Final = "B211"
_WANTED: Final = tuple(meta_key(name) for name in (PARKED, SETTLED, Large.PREFIX, CHECKPOINT))


class _Head(msgspec.Struct, rename="camel"):
    """What is read of every unit's document; the rest waits until somebody wants it."""

    message: str
    aggregate: str
    aggregate_id: str
    commit_position: int
    incarnation: int
    commit_time: int
    mapping: str = ""
    place: str = ""
    hint: str = ""
    field: str = ""


class Letter(msgspec.Struct, frozen=True):
    """One dead letter. ``position``: with its history, as what parks an aggregate says it; of a record, its offset.

    ``aggregate`` is '' where the letter is a record, and ``identity`` then the record's key.
    """

    partition: int
    offset: int
    code: str
    aggregate: str
    identity: str
    position: int
    time_ms: int
    message: str
    mapping: str
    place: str
    hint: str
    field: str
    is_record: bool
    is_reduced: bool
    headers: dict[str, str]
    value: bytes

    @property
    def name(self) -> str:
        return unit_name(self.aggregate, self.identity)

    @property
    def at(self) -> str:
        return f"{self.partition}-{self.offset}"

    def document(self) -> dict[str, Any]:
        """All that it says; of a record nothing."""
        found: dict[str, Any] = {} if self.is_record else msgspec.json.decode(self.value)
        return found


def letter_of(record: InboundRecord) -> Letter | None:
    """None: no dead letter of a bridge."""
    headers = {name: (value or b"").decode(errors="replace") for name, value in record.headers() or ()}
    kind, value, place = headers.get("bridge_kind"), record.value() or b"", (record.partition(), record.offset())
    if kind == "record":
        where = f"{headers['bridge_topic']}-{headers['bridge_partition']}@{headers['bridge_offset']}"
        key = (record.key() or b"").decode(errors="backslashreplace")
        return Letter(
            *place,
            headers["bridge_code"],
            "",
            key,
            int(headers["bridge_offset"]),
            record.timestamp()[1],
            f"the record {where} could not be decoded",
            "",
            "",
            "its aggregate is parked until a later full change of the row makes it known again (T120)",
            "",
            is_record=True,
            is_reduced=REDUCED in headers,
            headers=headers,
            value=value,
        )
    if kind != "unit":
        return None
    head = msgspec.json.decode(value, type=_Head)
    return Letter(
        *place,
        headers["bridge_code"],
        head.aggregate,
        head.aggregate_id,
        head.commit_position + ((head.incarnation - 1) << BITS),
        head.commit_time,
        head.message,
        head.mapping,
        head.place,
        head.hint,
        head.field,
        is_record=False,
        is_reduced=REDUCED in headers,
        headers=headers,
        value=value,
    )


class Settled(msgspec.Struct, frozen=True):
    """Up to where an aggregate's letters are settled. ``given_up``: offsets of those that nothing was told of.

    ``position`` tells a letter from one that lay at its offset before the topic was deleted and made again.
    """

    partition: int
    offset: int
    position: int
    given_up: list[int] = []

    def covers(self, letter: Letter) -> bool:
        return letter.partition == self.partition and letter.offset <= self.offset and letter.position <= self.position


class Decided:
    """What the changelog says of letters, followed to its end."""

    def __init__(self, changelog: Changelog) -> None:
        self._changelog = changelog
        self._values: dict[bytes, bytes] = {}
        self._offset = changelog.bounds()[0]
        self.look()

    def look(self) -> None:
        """Read what was added since."""
        end = self._changelog.bounds()[1]
        for records, after in self._changelog.read(self._offset, end):
            for key, value in records:
                if not key.startswith(_WANTED):
                    continue
                if value is None:
                    self._values.pop(key, None)
                else:
                    self._values[key] = value
            self._offset = after

    def value(self, name: bytes) -> bytes | None:
        return self._values.get(meta_key(name))

    @property
    def checkpoint(self) -> Checkpoint:
        return Checkpoint.decode(self.value(CHECKPOINT))

    def settled(self, name: str) -> Settled | None:
        value = self.value(SETTLED + name.encode())
        return None if value is None else msgspec.json.decode(value, type=Settled)

    def is_open(self, letter: Letter) -> bool:
        settled = self.settled(letter.name)
        return settled is None or not settled.covers(letter)

    def is_parked(self, name: str) -> bool:
        return self.value(PARKED + name.encode()) is not None

    def parked(self) -> list[str]:
        start = meta_key(PARKED)
        return sorted(key[len(start) :].decode() for key in self._values if key.startswith(start))


class Wanted(msgspec.Struct, frozen=True):
    """Which letters are asked for. Times in ms, by commit time; ``at``: one letter's partition and offset."""

    code: str = ""
    aggregate: str = ""
    identity: str = ""
    since_ms: int | None = None
    until_ms: int | None = None
    at: tuple[int, int] | None = None

    def has(self, letter: Letter) -> bool:
        return (
            self.code in ("", letter.code)
            and self.has_name(letter.aggregate, letter.identity)
            and (self.since_ms is None or letter.time_ms >= self.since_ms)
            and (self.until_ms is None or letter.time_ms < self.until_ms)
            and self.at in (None, (letter.partition, letter.offset))
        )

    def has_name(self, aggregate: str, identity: str) -> bool:
        return self.aggregate in ("", aggregate) and self.identity in ("", identity)

    @property
    def is_by_name(self) -> bool:
        """Whether nothing else is asked for."""
        return not self.code and self.at is None and self.since_ms is None and self.until_ms is None


class Letters:
    """The letters of one source that ``keep`` takes, by aggregate in order, followed to the topic's end."""

    def __init__(self, reader: Reader, source: str, keep: Callable[[Letter], bool]) -> None:
        self._reader = reader
        self._source = source
        self._keep = keep
        self.of: dict[str, list[Letter]] = {}
        reader.seek(dict.fromkeys(reader.partitions(), -1))
        self.look()

    def look(self) -> None:
        """Read what was added since. Raises Retriable."""
        for records in read_to(self._reader, self._reader.ends(), "the dead-letter topic"):
            for letter in self._found(records):
                self.of.setdefault(letter.name, []).append(letter)

    def _found(self, records: Iterable[InboundRecord]) -> Iterator[Letter]:
        for record in records:
            letter = letter_of(record)
            if letter is not None and letter.headers.get("bridge_source") == self._source and self._keep(letter):
                yield letter

    def names(self, wanted: Wanted) -> list[str]:
        """Aggregates that have a letter that is asked for, in the order of their first ones."""
        found = [(one[0], name) for name, one in self.of.items() if any(wanted.has(letter) for letter in one)]
        return [name for _, name in sorted(found, key=lambda one: (one[0].offset, one[0].partition))]
