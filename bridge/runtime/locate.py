"""A position of a command line, resolved with all that the config names: topics, changelog, stored checkpoints, events."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bridge.core.history import ACCEPT, Decisions, decisions
from bridge.model import Changelog, MappingSet
from bridge.runtime.position import Ends, Place, needs_histories, resolve
from bridge.runtime.published import Published, event_topics
from bridge.runtime.wiring import checkpoints_of, kafka_for, throwaway_reader, topics_reader
from bridge.state.rows import meta_key

if TYPE_CHECKING:
    from bridge.config import Config, Source


def locate(config: Config, source: Source, mappings: MappingSet, text: str, tell: Callable[[str], None]) -> Place:
    """``tell``: what a person should know about how it was found. Raises Fatal, Retriable."""
    accepted = accepted_histories(kafka_for(config, source, mappings).changelog()) if needs_histories(text) else None
    reader = throwaway_reader(config, source, "locate")
    events = topics_reader(config, source, tuple(event_topics(mappings)), "locate")
    try:
        ends = Ends(source.settings, reader, accepted)
        published = Published(source.settings.name, mappings, events, tell)
        stored = checkpoints_of(config, source)
        return resolve(text, ends, lambda name: stored.get(name).end_offset, published)
    finally:
        reader.close()
        events.close()


def accepted_histories(changelog: Changelog) -> Decisions:
    """What `bridge accept` decided so far; it may stand anywhere in the changelog."""
    found: dict[bytes, bytes | None] = {}
    prefix = meta_key(ACCEPT)
    for records, _ in changelog.read(*changelog.bounds()):
        found |= {key[1:]: value for key, value in records if key.startswith(prefix)}
    return decisions([(name, value) for name, value in found.items() if value is not None], ACCEPT)
