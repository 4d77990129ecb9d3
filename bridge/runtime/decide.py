"""An operator's decision: named values put into a source's changelog, so that every replay decides the same.

The one who decides opens the source's transactional producer, which fences the owner if there is one. A fenced owner
drops what it had not committed, owns the source again, restores, and finds the decision: so does a bridge that is
started later. Nothing else tells a running bridge anything.
"""

from __future__ import annotations

from collections.abc import Mapping

from bridge.model import ChangelogRecord, Kafka
from bridge.state.rows import meta_key


def decide(kafka: Kafka, values: Mapping[bytes, bytes | None]) -> None:
    """Write named values (see ``RowState.meta``) in one Kafka transaction; None deletes one. Raises Retriable, Fatal."""
    publisher = kafka.publisher(None)
    try:
        publisher.open()
        publisher.publish([], [ChangelogRecord(meta_key(name), value) for name, value in values.items()], {})
    finally:
        publisher.close()
