"""Where the history of a plan is read: capture files, or a source's topics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from bridge.model import Modes
from bridge.plan.task import History, Known
from bridge.runtime.captured import CapturedReader
from bridge.runtime.published import Published, event_topics
from bridge.runtime.transform import read_captures, settings_for
from bridge.runtime.wiring import checkpoints_of, kafka_for, throwaway_reader, topics_reader

if TYPE_CHECKING:
    from bridge.config import Config, Source
    from bridge.model import MappingSet


def captured(names: Sequence[str], source: str, config: Source | None, told: dict[str, Any]) -> History:
    """Capture files; ``config``, if there is one, says what the connector does, and ``told`` more (see MODES)."""
    records = read_captures(names)
    modes = (Modes() if config is None else config.settings.modes).told(told)
    settings = settings_for(records, source, f"{source}.DLT", modes)
    if config is not None:
        known = config.settings
        settings = msgspec.structs.replace(settings, connector=known.connector, signal_table=known.signal_table)
    return History(settings, CapturedReader(records, settings), Known())


@contextmanager
def from_topics(config: Config, source: Source, mappings: MappingSet, tell: Callable[[str], None]) -> Iterator[History]:
    """A source's topics, read in nobody's name, with what its changelog and stored checkpoints say. ``tell``: for people."""
    name = source.settings.name
    changelog = kafka_for(config, source, mappings, "plan").changelog()
    known = Known.of(changelog, checkpoints_of(config, source))
    reader = throwaway_reader(config, source, "plan")
    events = topics_reader(config, source, tuple(event_topics(mappings)), "plan")
    try:
        yield History(source.settings, reader, known, Published(name, mappings, events, tell))
    finally:
        reader.close()
        events.close()
