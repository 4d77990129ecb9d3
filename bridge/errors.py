"""Every error that leaves the bridge, and what happens next.

    BridgeError                      code, message, hint
    ├ Invalid                        do not start; print every Diagnostic (exit 78)
    │  ├ ConfigInvalid
    │  └ MappingInvalid
    ├ RecordRejected                 dead-letter and park, skip or stop, by policy
    │  ├ Undecodable                 a record that cannot be read
    │  └ Untranslatable              a unit that a mapping cannot translate
    │     └ Oversize                 a unit one of whose events does not fit into its topic
    ├ TransactionIncomplete          stop and name what is missing; an operator decides (exit 65)
    ├ HistoryWentBack                stop: the database's history is another one (exit 65)
    ├ SnapshotDiffers                stop, by policy: a snapshot shows that changes were missed (exit 65)
    ├ ColumnGone                     stop: a used column is not in the source's rows any more (exit 65)
    ├ Retriable                      abort the Kafka transaction, back off, restore from the checkpoint
    ├ Fenced                         another process owns the source: drop work, stand by
    ├ StateLost                      discard the local store, restore from the changelog
    └ Fatal                          stop with a non-zero exit and the command that helps (exit 70)
       └ RecordTooLarge              decide that its units are dead letters, and start over; stop where that helps nothing

Foreign errors (confluent_kafka, lmdb, OSError) are translated at one border: ``bridge.kafka.errors``, ``bridge.formats``
and ``bridge.state``.
Messages never quote row values: they may hold personal data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from bridge.model import Diagnostic, OutboundRecord


class BridgeError(Exception):
    """What happened (``message``), and what to do about it (``hint``). ``code`` is stable and documented."""

    code = "B000"
    exit_code = 70

    def __init__(self, message: str, hint: str = "", *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" + (f"\n  hint: {self.hint}" if self.hint else "")


class Invalid(BridgeError):
    """Config or mappings cannot be used. ``diagnostics`` holds every mistake that was found, not only the first."""

    code = "B100"
    exit_code = 78

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        super().__init__("\n".join(str(d) for d in diagnostics))
        self.diagnostics = tuple(diagnostics)

    def __str__(self) -> str:
        return self.message


class ConfigInvalid(Invalid):
    code = "B101"


class MappingInvalid(Invalid):
    code = "B102"


class RecordRejected(BridgeError):
    """One record or unit is bad; the policy (park, skip, stop) decides what follows it."""

    code = "B200"
    exit_code = 65


class Undecodable(RecordRejected):
    code = "B201"


class Untranslatable(RecordRejected):
    """A unit has no canonical form. ``field`` is the model field, ``place`` the ``file:line`` of the mapping."""

    code = "B202"

    def __init__(
        self, message: str, hint: str = "", *, code: str | None = None, field: str = "", place: str = ""
    ) -> None:
        super().__init__(message, hint, code=code)
        self.field = field
        self.place = place


class Oversize(Untranslatable):
    """``events``: what each of those events is known by (see ``bridge.core.oversize``)."""

    code = "B213"

    def __init__(self, events: Sequence[dict[str, Any]]) -> None:
        first = events[0]
        super().__init__(
            f"event {first['type']} takes {first['size']} bytes, and topic {first['topic']} takes {first['limit']}"
            + (f"; {len(events) - 1} more of this unit do not fit either" if len(events) > 1 else ""),
            f"raise max.message.bytes of {first['topic']}, then `bridge dlt replay`",
        )
        self.events = events


class TransactionIncomplete(BridgeError):
    code = "B301"
    exit_code = 65


class HistoryWentBack(BridgeError):
    code = "B302"
    exit_code = 65


class SnapshotDiffers(BridgeError):
    code = "B306"
    exit_code = 65


class ColumnGone(BridgeError):
    code = "B307"
    exit_code = 65


class Retriable(BridgeError):
    code = "B401"
    exit_code = 75


class Fenced(BridgeError):
    code = "B402"
    exit_code = 75


class StateLost(BridgeError):
    code = "B403"


class Fatal(BridgeError):
    code = "B500"


class TooLarge(NamedTuple):
    """One record that its topic does not take: both numbers in bytes."""

    record: OutboundRecord
    size: int
    limit: int


class RecordTooLarge(Fatal):
    """Records that their topics do not take. ``records``: events and dead letters; none, where it is the state's own."""

    code = "B501"

    def __init__(self, topic: str, size: int, limit: int, records: Sequence[TooLarge] = ()) -> None:
        super().__init__(
            f"a record of {size} bytes does not fit into topic {topic}, which takes {limit}",
            f"raise max.message.bytes of {topic}",
        )
        self.topic = topic
        self.size = size
        self.limit = limit
        self.records = records
