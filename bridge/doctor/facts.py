"""What was read of one source, by realm; None where it could not be read. Rules see nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from bridge.doctor import filters
from bridge.kafka.topics import Topic
from bridge.mapping.catalog import Catalog, CatalogColumn, CatalogTable
from bridge.model import SourceSettings


class Unread(msgspec.Struct, frozen=True):
    """A realm that could not be read: the code that says so, why, and what to set."""

    code: str
    place: str
    reason: str
    mend: str


class Connector(msgspec.Struct, frozen=True):
    """One Debezium connector. ``config`` holds only settings that rules ask for: no secret is among them.

    ``states``: of the connector and its tasks, each with the first line of its trace. ``version`` '' where nobody knows.
    """

    name: str
    config: dict[str, str]
    states: tuple[tuple[str, str, str], ...] = ()
    version: str = ""

    def __getitem__(self, key: str) -> str:
        return self.config.get(key, "")

    def flag(self, key: str, *, default: bool = False) -> bool:
        return self.config.get(key, str(default)).strip().lower() == "true"

    @property
    def place(self) -> str:
        return f"connector {self.name}"

    def at(self, key: str) -> str:
        return f"connector {self.name}: {key}"

    @property
    def kind(self) -> str:
        """``postgresql``, ``mariadb``, ``mysql``; '' for another one."""
        return filters.kind(self["connector.class"])

    @property
    def prefix(self) -> str:
        return self["topic.prefix"]

    @property
    def transaction_topic(self) -> str | None:
        """Where BEGIN and END go; None where a router that is not understood decides."""
        return filters.routed(self.config, f"{self.prefix}.{self['topic.transaction'] or 'transaction'}")

    def topic(self, table: str) -> str | None:
        """Where a table's rows go."""
        return filters.routed(self.config, filters.sanitised(f"{self.prefix}.{table}"))

    def captures(self, table: str) -> bool:
        """Do the include and exclude lists let ``schema.table`` through?"""
        return filters.captures(self.config, table)


class TopicFacts(msgspec.Struct, frozen=True):
    """A topic that exists. ``config`` is empty where this process may not ask; ``starts`` are the partitions' first offsets."""

    partitions: int
    config: dict[str, str] = {}
    starts: tuple[int, ...] = ()


class Topics(msgspec.Struct, frozen=True):
    """``found``: those that exist of the source's inputs and of ``plan``, what the bridge writes."""

    found: dict[str, TopicFacts]
    plan: tuple[Topic, ...] = ()
    broker: dict[str, str] = {}
    has_checkpoint: bool = False


class Slot(msgspec.Struct, frozen=True):
    active: bool
    wal_status: str = ""  # '' before PostgreSQL 13
    lag_bytes: int | None = None


class PublishedTable(msgspec.Struct, frozen=True):
    """``columns`` None: all. ``filtered``: a WHERE leaves rows out."""

    columns: tuple[str, ...] | None = None
    filtered: bool = False


class Publication(msgspec.Struct, frozen=True):
    tables: dict[str, PublishedTable]
    operations: tuple[str, ...] = ("insert", "update", "delete", "truncate")


class PostgreSql(msgspec.Struct, frozen=True):
    catalog: Catalog
    settings: dict[str, str] = {}
    slots: dict[str, Slot] = {}
    publications: dict[str, Publication] = {}


class MariaDb(msgspec.Struct, frozen=True):
    """MariaDB or MySQL; ``settings`` are its global variables."""

    catalog: Catalog
    settings: dict[str, str] = {}


class Facts(msgspec.Struct, frozen=True):
    """Everything about one source. ``connectors`` are those that write, or seem to write, its topics; None: unread.

    ``mapped``: the columns that mappings use, by table. ``written_catalog``: the file that the config names.
    """

    source: SourceSettings
    mapped: dict[str, tuple[str, ...]] = {}
    transaction_timeout_ms: int = 60_000
    kafka: dict[str, str] = {}
    written_catalog: Catalog | None = None
    connectors: tuple[Connector, ...] | None = None
    topics: Topics | None = None
    database: PostgreSql | MariaDb | None = None
    unread: tuple[Unread, ...] = ()

    @property
    def ours(self) -> tuple[Connector, ...]:
        return self.connectors or ()

    @property
    def inputs(self) -> tuple[str, ...]:
        """The topics that the config says are read, that of transactions first."""
        return tuple(dict.fromkeys((self.owner_topic, *self.source.topics)))

    @property
    def owner_topic(self) -> str:
        return self.source.log or self.source.transaction_topic

    @property
    def postgresql(self) -> PostgreSql | None:
        return self.database if isinstance(self.database, PostgreSql) else None

    @property
    def mariadb(self) -> MariaDb | None:
        return self.database if isinstance(self.database, MariaDb) else None

    @property
    def catalog(self) -> Catalog | None:
        """Of the database itself, else the file's."""
        return self.written_catalog if self.database is None else self.database.catalog

    def tables(self) -> Iterator[tuple[str, CatalogTable]]:
        """The mapped tables that the catalog knows."""
        known: Any = {} if self.catalog is None else self.catalog.tables
        for name in self.mapped:
            if name in known:
                yield name, known[name]

    def columns(self) -> Iterator[tuple[str, CatalogColumn]]:
        """The mapped columns that the catalog knows, as ``schema.table.column``."""
        for name, table in self.tables():
            for column in self.mapped[name]:
                if column in table.columns:
                    yield f"{name}.{column}", table.columns[column]
