"""The stretch of a source's history that a replay is of: what was asked for, as the ENDs that it begins and ends with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from bridge.core.checkpoint import Checkpoint
from bridge.errors import Fatal
from bridge.model import MappingSet
from bridge.runtime.position import NOW, Place


class Asked(msgspec.Struct, frozen=True):
    """What an operator asks for, as it was typed; positions as in ``bridge.runtime.position``."""

    name: str
    since: str
    until: str = NOW
    mappings: tuple[str, ...] = ()  # aggregates whose events are wanted; () means all
    ids: tuple[str, ...] = ()  # aggregate ids; () means all
    live: bool = False
    reissue: bool = False

    def wanted(self, mappings: MappingSet) -> MappingSet:
        """The mappings whose events are wanted; all the tables, so that rows are what they are. Raises Fatal."""
        names = {one.aggregate for one in mappings.mappings}
        unknown = sorted({*self.mappings} - names)
        if unknown:
            raise Fatal(
                f"no mapping of source {mappings.source} is of {', '.join(unknown)}",
                f"--mapping {' | '.join(sorted(names))}",
                code="B556",
            )
        chosen = tuple([one for one in mappings.mappings if not self.mappings or one.aggregate in self.mappings])
        return msgspec.structs.replace(mappings, mappings=chosen)

    def digest(self, mappings: MappingSet) -> str:
        """What must be the same when it goes on."""
        return blake2b(repr((self, mappings.digest)).encode(), digest_size=8).hexdigest()


class Told(msgspec.Struct, frozen=True):
    """How far it is, the one record of its topic. ``since``, ``until``: offsets of ENDs; ``count``: of the sequence."""

    asked: str
    since: int
    until: int
    count: int = 0
    events: int = 0
    letters: int = 0
    done: bool = False


class Stretch(NamedTuple):
    """Offsets of the first and the last END."""

    since: int
    until: int


def stretch_of(asked: Asked, locate: Callable[[str], Place], standing: Checkpoint) -> Stretch:
    """``standing``: where the bridge is, which is what `now` means for one who takes its place. Raises Fatal."""
    since = locate(asked.since).first
    until = standing.end_offset if asked.live and asked.until == NOW else locate(asked.until).last
    if since > until:
        raise Fatal(
            f"nothing lies between {asked.since} and {asked.until}: it would begin with the END at offset {since} and end "
            f"with that at {until}",
            "`bridge positions` shows where the source stands",
            code="B550",
        )
    return Stretch(since, until)


def refuse_live(asked: Asked, stretch: Stretch, standing: Checkpoint, digest: str, compacted: Sequence[str]) -> None:
    """Raises Fatal where events would come before their time, or take the place of newer or of other ones.

    ``digest``: of the mapping files; ``compacted``: topics of events that are.
    """
    if stretch.until > standing.end_offset:
        raise Fatal(
            f"--live to the END at offset {stretch.until} goes beyond {standing.end_offset}, where the bridge stands",
            "leave out --to: it runs to where the bridge stands",
            code="B554",
        )
    if compacted and asked.until != NOW:
        raise Fatal(
            f"compacted: {', '.join(compacted)}; an old event that is written last would take the place of newer ones",
            "leave out --to, so that the latest event of each key is written last; or replay to shadow topics",
            code="B554",
        )
    if standing.mappings != digest and not asked.reissue:
        raise Fatal(
            "the mapping files are not those that the bridge ran with: other content would come under ids that are known",
            "--reissue gives new ids, and says in each event which one it replaces",
            code="B555",
        )
