"""The Kafka port on real brokers: makes the four ports of one source.

Every port is used from one thread, the source's; two sources have two of everything.
"""

from __future__ import annotations

from collections.abc import Callable

from bridge.kafka.changelog import TopicChangelog
from bridge.kafka.cluster import Cluster
from bridge.kafka.consume import PartitionReader
from bridge.kafka.errors import Notes
from bridge.kafka.membership import GroupMembership
from bridge.kafka.peek import written_at
from bridge.kafka.publish import TransactionalPublisher
from bridge.kafka.settings import ClientSettings, check_properties
from bridge.model import InputPartition, Membership, Reader


def _go_on(_point: str) -> None: ...


def _as_it_is(reader: Reader) -> Reader:
    return reader


class ConfluentKafka:
    """``Kafka`` of one source. ``crash_point``: see ``bridge.runtime.crash``, which hands its own in.

    ``translating``: puts a reader around the source's that translates records of a Schema Registry (``bridge.formats``).
    """

    def __init__(
        self,
        settings: ClientSettings,
        crash_point: Callable[[str], None] = _go_on,
        translating: Callable[[Reader], Reader] = _as_it_is,
    ) -> None:
        check_properties(settings)
        self._settings = settings
        self._crash_point = crash_point
        self._translating = translating
        self._notes = Notes()
        self.cluster = Cluster(settings, self._notes)

    def membership(self) -> GroupMembership:
        return GroupMembership(self._settings, self.cluster, self._notes)

    def reader(self) -> Reader:
        return self._translating(PartitionReader(self._settings, self.cluster, self._notes))

    def publisher(self, membership: Membership | None) -> TransactionalPublisher:
        if not isinstance(membership, GroupMembership | None):
            raise TypeError(f"a publisher needs the membership of this module, not {type(membership).__name__}")
        return TransactionalPublisher(self._settings, self.cluster, membership, self._notes, self._crash_point)

    def written_at(self, partition: InputPartition, offset: int) -> int | None:
        """See ``bridge.kafka.peek``."""
        return written_at(self._settings, self._notes, partition, offset)

    def changelog(self) -> TopicChangelog:
        return TopicChangelog(self._settings, self.cluster, self._notes)

    def is_owned(self) -> bool:
        """Whether a process is in the source's group, owner or standing by."""
        return self.cluster.members(self._settings.group) > 0
