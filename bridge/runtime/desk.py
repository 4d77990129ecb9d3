"""Where an operator looks into a source's dead letters: those asked for, tried by the mapping files as they are now."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from bridge.model import Clock, Kafka, MappingSet, Reader
from bridge.runtime.letters import BEHIND, Decided, Letter, Letters, Settled, Wanted
from bridge.runtime.redrive import Again, Redrive, Tried


class Desk:
    """``reader`` reads the dead-letter topic alone. ``everything``: letters too that are settled."""

    def __init__(
        self,
        kafka: Kafka,
        reader: Reader,
        source: str,
        mappings: MappingSet,
        wanted: Wanted,
        *,
        everything: bool = False,
    ) -> None:
        self._kafka = kafka
        self._reader = reader
        self._wanted = wanted
        self._again = Again(source, mappings)
        self._tried: dict[str, dict[tuple[int, int], Tried]] = {}
        self.decided = Decided(kafka.changelog())
        self._letters = Letters(reader, source, (lambda _: True) if everything else self.decided.is_open)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.close()

    def found(self) -> Iterator[tuple[Letter, int, Settled | None]]:
        """Letters that are asked for, how many wait behind each, and how far its aggregate is settled.

        One that only waits behind another is counted there, and told by its own code or place alone.
        """
        wanted = self._wanted
        for name in self._letters.names(wanted):
            settled = self.decided.settled(name)
            for letter, is_follower, behind in _followed(self._letters.of[name], self.decided.is_open):
                asked = wanted.code == BEHIND or wanted.at is not None
                if wanted.has(letter) and (asked or not is_follower):
                    yield letter, behind, settled

    def tried(self, letter: Letter) -> Tried | None:
        """What becomes of it now, its aggregate's earlier ones having been told; None where it is settled."""
        found = self._tried.get(letter.name)
        if found is None:
            letters = [one for one in self._letters.of[letter.name] if self.decided.is_open(one)]
            found = {(one.letter.partition, one.letter.offset): one for one in self._again.in_order(letters)}
            self._tried[letter.name] = found
        return found.get((letter.partition, letter.offset))

    def without_letters(self) -> list[tuple[str, str]]:
        """Aggregates, with their ids, that are parked although no letter of theirs is left."""
        names = [name.partition("\x1f") for name in self.decided.parked() if not self._letters.of.get(name)]
        return [(aggregate, identity) for aggregate, _, identity in names if self._wanted.has_name(aggregate, identity)]

    def redrive(
        self, clock: Clock, tell: Callable[[str], None], *, rate: float = 0.0, give_up: bool = False
    ) -> Redrive:
        """A replay of what is asked for."""
        return Redrive(
            self._kafka,
            self.decided,
            self._letters,
            self._again,
            self._wanted,
            clock,
            tell,
            rate=rate,
            give_up=give_up,
        )


def _followed(letters: list[Letter], is_open: Callable[[Letter], bool]) -> Iterator[tuple[Letter, bool, int]]:
    """Each letter of an aggregate, whether it only waits behind an open one, and how many wait behind it."""
    is_first = True
    for place, letter in enumerate(letters):
        open_ = is_open(letter)
        is_follower = open_ and not is_first and letter.code == BEHIND
        behind = 0
        if open_ and not is_follower:
            is_first = False
            while place + behind + 1 < len(letters) and letters[place + behind + 1].code == BEHIND:
                behind += 1
        yield letter, is_follower, behind
