"""What `bridge plan` found: plain data, the same for people (``text``) and for tools (JSON, documented in mappings/README.md)."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET


class _Found(msgspec.Struct, rename="camel"):
    """Values are JSON-ready. What is not there is left out, which tells it from null."""


class Difference(_Found):
    """One field of an event: ``path`` as in ``data.lines[0].sku``, ``topic``, ``headers.ce_time``."""

    path: str
    old: Any = UNSET
    new: Any = UNSET


class Example(_Found):
    """``what``: changed, renamed, reordered, appearing or vanishing. ``data``: the payload, of one that one side alone has."""

    what: str
    id: str
    aggregate_id: str
    end: int  # the offset of the END in the transaction topic
    commit_position: int
    differences: list[Difference] = []
    data: Any = UNSET


class Event(_Found):
    """One event type. ``becomes``: its new name, where the edit gives it another; then ``renamed`` counts all that both have.

    ``fields``: in how many events each path differs; ``[]`` is any element of a list.
    """

    aggregate: str
    type: str
    version: int
    becomes: str = ""
    unchanged: int = 0
    changed: int = 0
    renamed: int = 0
    appearing: int = 0
    vanishing: int = 0
    reordered: int = 0
    fields: dict[str, int] = msgspec.field(default_factory=dict)
    examples: list[Example] = msgspec.field(default_factory=list)

    @property
    def compared(self) -> int:
        """How many of them both mappings tell."""
        return self.unchanged + self.changed + self.renamed

    @property
    def differs(self) -> bool:
        return bool(self.changed or self.renamed or self.appearing or self.vanishing or self.reordered)


class LetterExample(_Found):
    """``place``: of the unit's END, or of a record that cannot be decoded."""

    aggregate_id: str
    place: str
    commit_position: int


class Letters(_Found):
    """Dead letters of one cause that only one of the mappings has. ``what``: new or gone. B211: parked behind another."""

    what: str
    code: str
    aggregate: str
    mapping: str  # file:line
    field: str
    stops: bool = False  # on_error: stop, so that the bridge would not go on behind the first
    count: int = 0
    examples: list[LetterExample] = msgspec.field(default_factory=list)

    @property
    def is_parked(self) -> bool:
        """Whether they failed for no reason of their own."""
        return self.code == "B211"


class Pair(_Found):
    """A count under the mappings as they are, and under the edited ones."""

    old: int = 0
    new: int = 0


class Summary(_Found):
    """``parked_new`` and ``parked_gone``: units that only follow a dead letter of their aggregate; not in the others."""

    unchanged: int = 0
    changed: int = 0
    renamed: int = 0
    reordered: int = 0
    appearing: int = 0
    vanishing: int = 0
    dead_letters_unchanged: int = 0
    dead_letters_new: int = 0
    dead_letters_gone: int = 0
    parked_new: int = 0
    parked_gone: int = 0


class Stretch(_Found):
    """``first`` and ``last``: offsets of the first and last END in ``topic`` that were looked at, -1 where there was none.

    ``state``: what the two began with: nothing, at the topics' beginning, or a stored checkpoint's name.
    """

    topic: str
    state: str = "beginning"
    first: int = -1
    last: int = -1
    transactions: int = 0


class Plan(_Found):
    """``open_windows``: units that were not told since nothing committed after their deadline, up to the stretch's end.

    ``incomplete``: units of aggregates that are not known as a whole, which tell nothing.
    """

    source: str
    stretch: Stretch
    events: list[Event]
    dead_letters: list[Letters]
    open_windows: Pair
    incomplete: Pair
    summary: Summary

    @property
    def differs(self) -> bool:
        one = self.summary
        letters = one.dead_letters_new + one.dead_letters_gone + one.parked_new + one.parked_gone
        return bool(letters or any(event.differs for event in self.events))
