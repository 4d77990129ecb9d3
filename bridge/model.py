"""The nouns. Frozen or plain data, no IO; every other module speaks in these.

*Transaction* is always the source database's; the other kind is a "Kafka transaction". *Offset* is Kafka's, *position*
the database's. A *change event* comes in, a *canonical event* goes out. A key is a row key, a record key or an aggregate id.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from enum import Enum
from typing import Any, Final, NamedTuple, Protocol

import msgspec

Row = tuple[Any, ...]  # the used columns of one table, in the order of its layout; values are canonical (see decode)


class _NoText:
    """An enum's member is encoded as its value: this one's must not become a text in silence."""


class Unknown(Enum):
    """The third kind of absence: not null, not a missing row, but a value that neither record nor state knows."""

    UNKNOWN = _NoText()

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = Unknown.UNKNOWN


class InputPartition(NamedTuple):
    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"


class InputOffset(NamedTuple):
    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}@{self.offset}"


class InboundRecord(Protocol):
    """One Kafka record as confluent_kafka's ``Message`` gives it, so that the hot path makes no second object."""

    def topic(self) -> str: ...
    def partition(self) -> int: ...
    def offset(self) -> int: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def headers(self) -> list[tuple[str, bytes | None]] | None: ...
    def timestamp(self) -> tuple[int, int]: ...


class PlainRecord(msgspec.Struct, gc=False):
    """An ``InboundRecord`` that did not come from a broker: a capture file's, a test's, the simulator's."""

    topic_name: str
    partition_number: int
    offset_number: int
    key_bytes: bytes | None
    value_bytes: bytes | None
    header_list: list[tuple[str, bytes | None]] | None = None
    timestamp_ms: int = 0

    def topic(self) -> str:
        return self.topic_name

    def partition(self) -> int:
        return self.partition_number

    def offset(self) -> int:
        return self.offset_number

    def key(self) -> bytes | None:
        return self.key_bytes

    def value(self) -> bytes | None:
        return self.value_bytes

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return self.header_list

    def timestamp(self) -> tuple[int, int]:
        return (1, self.timestamp_ms)


class TranslatedRecord(PlainRecord, kw_only=False, gc=False):
    """A record that came in another format than JSON: ``original`` holds its own bytes, for a dead letter."""

    original: InboundRecord | None = None


class OutboundRecord(NamedTuple):
    """What Kafka gets for a canonical event or a dead letter: the same bytes every time."""

    topic: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


class ChangelogRecord(NamedTuple):
    """One key of the state; ``value`` None deletes it."""

    key: bytes
    value: bytes | None


class Diagnostic(msgspec.Struct, frozen=True):
    """One mistake in a file that a person wrote. ``line`` and ``column`` count from 1; 0 where there is none."""

    code: str
    message: str
    file: str = ""
    line: int = 0
    column: int = 0
    source_line: str = ""
    hint: str = ""
    warning: bool = False  # nothing stops for it; `check --strict` does

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: " if self.line else f"{self.file}: " if self.file else ""
        text = f"{place}{self.code}: {'warning: ' if self.warning else ''}{self.message}"
        if self.hint:
            text += f"; {self.hint}"
        if self.source_line:
            text += f"\n    {self.source_line}\n    {' ' * (self.column - 1)}^"
        return text


# ---------------------------------------------------------------------------------------------------------------------
# The compiled mapping: what the language's compiler makes and the core runs.
#
# Image of an aggregate: a *node* is a tuple (row, kid, kid, ...) with one kid per alias that joins on this node's alias,
# in the order of ``TableUse.kids``: a node or None where the join is to-one or a lookup, a list of nodes where it is many.
# The absent aggregate is None. A model is a tuple of canonical values in the order of ``Mapping.fields``.
# Canonical values: str, int, bool, Decimal, datetime (aware, UTC), date, None, list (of tuples for ``each``).

Node = tuple[Any, ...]
Model = tuple[Any, ...]


class TableUse(msgspec.Struct, frozen=True):
    """One alias of a mapping: a table and how its rows join. Column numbers are slots of the table's layout."""

    alias: str
    table: str  # as Debezium names it in END: "schema.table" (PostgreSQL)
    many: bool = False
    lookup: bool = False
    parent: int | None = None  # index of the alias it joins on; None for the root, which is always index 0
    own_columns: tuple[int, ...] = ()  # match: this alias's side ...
    parent_columns: tuple[int, ...] = ()  # ... and the parent's side, pairwise
    kids: tuple[int, ...] = ()  # indexes of the aliases that join on this one
    when: Callable[[Row], bool] | None = None  # rows for which it is false do not exist for this alias
    pick: Callable[[list[tuple[bytes, Row]]], Row | None] | None = (
        None  # to-one: (row key, row) pairs, sorted by row key, to the one row
    )
    append: bool = False  # rows are facts: inserts alone are read, and nothing of them is kept
    normalise: Callable[[Row], Row] | None = None  # ``columns:``, applied to a row before when, match and model
    place: str = ""  # file:line


class EventRule(msgspec.Struct, frozen=True):
    """One canonical event. ``when`` and ``data`` get (before, after, item, item_before, steps); before/after may be None.

    ``steps``: the root row's successive *model scalars* inside the unit, for ``passed``: see ``Mapping.step_model``.
    ``each``: None, or (before, after) to [(element key, item or None, item before or None), ...], in a stable order.
    ``data`` gives the payload as a dict of JSON-ready values (Decimal, datetime and date already rendered as text).
    """

    type: str
    version: int
    topic: str
    when: Callable[..., bool]
    data: Callable[..., dict[str, Any]]
    each: Callable[[Model | None, Model | None], list[tuple[str, Any, Any]]] | None = None
    place: str = ""
    looks_at_steps: bool = False  # it says passed(): it may hold although the model is what it was
    triggers: frozenset[str] = frozenset({"change"})  # change: a source transaction; snapshot: found by the initial one


# Connectors that read a binary log: commit times are whole seconds, and what foreign keys do to other rows is not in it.
BINLOG: Final = frozenset({"mysql", "mariadb"})
LEAST_QUIET_MS: Final = 2000  # of a window there: less could close between two statements


class Window(msgspec.Struct, frozen=True):
    """The unit of work of code that commits after each statement. Times in ms of event time.

    ``until`` is called as an ``EventRule.when`` is, with the model as ``after`` and nothing else.
    """

    quiet: int  # it closes so long after its last change ...
    at_most: int  # ... and so long after its first
    until: Callable[..., bool] | None = None  # ... or with the commit after which this holds
    columns: dict[str, tuple[int, ...]] = {}  # by table: the slots whose changes count, those that the mapping uses


class Mapping(msgspec.Struct, frozen=True):
    """A compiled mapping file: one aggregate of one source."""

    aggregate: str
    source: str
    tables: tuple[TableUse, ...]
    key_columns: tuple[int, ...]  # slots of the root row whose values are the aggregate id
    fields: tuple[str, ...]
    model: Callable[[Node], Model]  # raises Untranslatable
    events: tuple[EventRule, ...]
    on_error: str = "park"  # park | skip | stop
    file: str = ""
    tokens: bool = False  # its events hold tokens, which need a key
    on_change: tuple[EventRule, ...] = ()  # those of ``events`` that a source transaction asks
    on_snapshot: tuple[EventRule, ...] = ()  # those that are asked once of what the initial snapshot found
    window: Window | None = None  # None: the unit of work is a source transaction


class Layout(msgspec.Struct, frozen=True):
    """The columns of one table that any mapping uses, in slot order; all mappings share it."""

    table: str
    columns: tuple[str, ...]
    types: tuple[str, ...] = ()  # declared source types (catalog), "" where unknown; same length as columns


class Cascade(msgspec.Struct, frozen=True):
    """A foreign key of the catalog whose action changes rows, ``columns`` of ``table`` referring to ``to`` of ``parent``.

    Column numbers are slots of the tables' layouts, pairwise, ``names`` what they are called. Actions: cascade, set null,
    '' for none that changes rows.
    """

    table: str
    columns: tuple[int, ...]
    names: tuple[str, ...]
    parent: str
    to: tuple[int, ...]
    to_names: tuple[str, ...]
    on_delete: str
    on_update: str


class MappingSet(msgspec.Struct, frozen=True):
    """Every mapping of one source, compiled together because they share the layouts."""

    source: str
    mappings: tuple[Mapping, ...]
    layouts: dict[str, Layout]
    digest: str  # hash of the mapping files' content, for the checkpoint
    cascades: tuple[Cascade, ...] = ()  # of a source whose log does not have them


class Modes(msgspec.Struct, frozen=True):
    """How the connector writes what JSON does not show: needed where records have no inline schema.

    ``time``: "" is the connector's default. BIGINT UNSIGNED, intervals and hstore show by themselves in which mode they are.
    """

    decimal: str = "precise"
    time: str = ""
    binary: str = "bytes"
    money_digits: int = 2

    def told(self, given: dict[str, Any]) -> Modes:
        """With what is given by the connector's own property names."""
        return msgspec.structs.replace(self, **{MODES[name][0]: value for name, value in given.items()})


# The connector's properties: the field of Modes, and what it may be; () for a small number.
MODES: dict[str, tuple[str, tuple[str, ...]]] = {
    "decimal.handling.mode": ("decimal", ("precise", "string", "double")),
    "time.precision.mode": (
        "time",
        ("adaptive", "adaptive_time_microseconds", "connect", "isostring", "microseconds", "nanoseconds"),
    ),
    "binary.handling.mode": ("binary", ("bytes", "base64", "base64-url-safe", "hex")),
    "money.fraction.digits": ("money_digits", ()),
}
MONEY_DIGITS_MAX = 18


class SourceSettings(msgspec.Struct, frozen=True):
    """One source as the core needs it; bridge.config makes it. ``log`` is set in single-log mode, else ``topics``."""

    name: str
    connector: str
    topics: tuple[str, ...] = ()
    transaction_topic: str = ""
    log: str = ""
    signal_table: str = "debezium_signal"
    modes: Modes = Modes()
    dead_letter_topic: str = ""
    released_positions_max: int = 1_000_000
    max_share: float = 0.5
    of_last: int = 200
    transaction_rows_in_memory_max: int = 20_000  # of one source transaction; more go through temporary files
    filtered: frozenset[str] = frozenset()  # tables whose rows the connector drops some of: END's counts say nothing
    truncate: dict[str, str] = {}  # tables whose policy is not `report`: stop | forget
    snapshot_changes: str = "report"  # what becomes of a seed that is not what the state says: report | publish | stop
    found_at_once: int = 10_000  # aggregates of the initial snapshot that one Kafka transaction tells of


class Database(msgspec.Struct, frozen=True):
    """How to reach a source's database, and which of its tables are meant. '' and None: the driver's default.

    ``schemas``, and ``tables`` as globs over ``schema.table``, narrow it down; () means all. ``options`` are the driver's.
    """

    connector: str
    host: str = ""
    port: int | None = None
    user: str = ""
    password: str = ""
    database: str = ""
    schemas: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    options: dict[str, str] = {}

    def __repr__(self) -> str:
        """Without the password."""
        return f"Database({self.connector}://{self.user}@{self.host}:{self.port or ''}/{self.database})"


class ConnectRest(msgspec.Struct, frozen=True):
    """Kafka Connect's REST interface."""

    url: str
    user: str = ""
    password: str = ""

    def __repr__(self) -> str:
        """Without the password."""
        return f"ConnectRest({self.url})"


# ---------------------------------------------------------------------------------------------------------------------
# The runtime's ports: the runtime is written against these; bridge.kafka implements them on a broker,
# bridge.testing on a simulated one.


class Membership(Protocol):
    """Ownership of one source: this process in the source's consumer group, subscribed to its transaction topic."""

    def poll(self) -> bool:
        """Drive heartbeats and rebalances without waiting. True while this process owns the source. Raises Retriable, Fatal."""

    def wait(self, seconds: float) -> bool:
        """The same, but wait up to ``seconds`` for a change."""

    def close(self) -> None: ...


class Reader(Protocol):
    """Reads the source's partitions, ``read_committed``, by manual assignment."""

    def partitions(self) -> list[InputPartition]:
        """All partitions of the source's topics now.

        Raises Fatal for a missing topic, or a transaction topic with other than one partition.
        """

    def seek(self, offsets: dict[InputPartition, int]) -> dict[InputPartition, int]:
        """(Re)assign and start at these offsets; missing or negative: the log's start. Returns where each begins.

        Raises Fatal when an offset is below the log's start.
        """

    def read(self, limit: int, seconds: float) -> Sequence[InboundRecord]:
        """Up to ``limit`` records, after at most ``seconds``. Raises Retriable, Fatal."""

    def positions(self) -> dict[InputPartition, int]:
        """Per partition the offset before which ``read`` returned all that is visible.

        It steps over markers and aborted records.
        """

    def ends(self) -> dict[InputPartition, int]:
        """Per partition the end of what a read_committed reader can see now (the last stable offset). Raises Retriable."""

    def written(self) -> dict[InputPartition, int]:
        """Per partition the end of what was written, visible or not (the high watermark). Raises Retriable."""

    def pause(self, partitions: Iterable[InputPartition]) -> None: ...
    def resume(self, partitions: Iterable[InputPartition]) -> None: ...
    def close(self) -> None: ...


class Publisher(Protocol):
    """The transactional producer of one source, under its one transactional.id."""

    def open(self) -> None:
        """``init_transactions``: abort the predecessor and fence it. Raises Retriable, Fenced, Fatal."""

    def publish(
        self,
        records: Collection[OutboundRecord],
        changelog: Collection[ChangelogRecord],
        offsets: dict[InputPartition, int],
    ) -> int:
        """One Kafka transaction: events and dead letters, changelog, group offsets. Reads both more than once, in order.

        Returns the changelog offset after its last record. On any exception nothing of it is visible, or its fate is
        unknown: open() anew and restore. Raises Retriable, Fenced, Fatal.
        """

    def close(self) -> None: ...


class Changelog(Protocol):
    """The compacted changelog topic of one source (one partition)."""

    def identity(self) -> str:
        """Changes when the topic is deleted and made again; a local store stamped with another identity is foreign."""

    def bounds(self) -> tuple[int, int]:
        """(log start offset, last stable offset) now."""

    def settled(self) -> tuple[int, int]:
        """The same, where no Kafka transaction was open: none that lies before the end goes on behind it. Raises Retriable."""

    def read(self, start: int, end: int) -> Iterable[tuple[list[ChangelogRecord], int]]:
        """Batches of committed records from ``start`` to ``end`` with the offset after each batch; the last is ``end``."""


class Kafka(Protocol):
    """Makes the ports for one source; called again after every loss of ownership or Retriable error."""

    def membership(self) -> Membership: ...
    def reader(self) -> Reader: ...
    def publisher(self, membership: Membership | None) -> Publisher:
        """None: a decision's, which belongs to no member and commits no offsets."""

    def changelog(self) -> Changelog: ...


class Clock(Protocol):
    """Monotonic seconds; only the runtime has one. The simulator moves its own."""

    def now(self) -> float: ...
    def sleep(self, seconds: float) -> None: ...
