"""What a connector's settings do to names: its lists of tables and columns, its routers, its topics.

Debezium's lists are regular expressions of Java, parted by commas, each for the whole name, whatever the case
(Debezium reference, "table.include.list"). One that Python cannot read matches nothing.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final

KINDS: Final = {"postgresql": "postgresql", "mariadb": "mariadb", "mysql": "mysql"}
REGEX_ROUTER: Final = "org.apache.kafka.connect.transforms.RegexRouter"
# Transforms that send records elsewhere, or to other partitions.
ROUTERS: Final = frozenset(
    {
        "org.apache.kafka.connect.transforms.TimestampRouter",
        "io.debezium.transforms.ByLogicalTableRouter",
        "io.debezium.transforms.ContentBasedRouter",
        "io.debezium.transforms.SchemaTopicRouter",
        "io.debezium.transforms.outbox.EventRouter",
        "io.debezium.transforms.partitions.PartitionRouting",
    }
)
DEFAULT_NAMING: Final = "io.debezium.schema.SchemaTopicNamingStrategy"


def kind(connector_class: str) -> str:
    """``io.debezium.connector.postgresql.PostgresConnector`` → ``postgresql``."""
    package = connector_class.removeprefix("io.debezium.connector.").partition(".")[0]
    return KINDS.get(package, "") if connector_class.startswith("io.debezium.connector.") else ""


def patterns(text: str) -> list[str]:
    """A list's regular expressions; a comma behind a backslash is part of one."""
    parts = (part.strip().replace("\\,", ",") for part in re.split(r"(?<!\\),", text))
    return [part for part in parts if part]


def matches(text: str, name: str) -> bool:
    """Does any expression of the list match the whole name?"""
    return any(_full(pattern, name) is not None for pattern in patterns(text))


def _full(pattern: str, name: str, flags: int = re.IGNORECASE) -> re.Match[str] | None:
    compiled = _compiled(pattern, flags)
    return None if compiled is None else compiled.fullmatch(name)


@lru_cache(maxsize=1000)
def _compiled(pattern: str, flags: int) -> re.Pattern[str] | None:
    """None where Python cannot read it; what Python only wonders about is Java's."""
    with warnings.catch_warnings(action="ignore"):
        try:
            return re.compile(pattern, flags)
        except (re.error, OverflowError, RecursionError):
            return None


def captures(config: Mapping[str, str], table: str) -> bool:
    """Is ``schema.table`` (on MariaDB ``database.table``) captured?"""
    schema = table.partition(".")[0]
    for scope, name in (("schema", schema), ("table", table)):
        included, excluded = config.get(f"{scope}.include.list", ""), config.get(f"{scope}.exclude.list", "")
        if (included and not matches(included, name)) or (excluded and matches(excluded, name)):
            return False
    if kind(config.get("connector.class", "")) == "postgresql":  # its database has no place in a table's name
        return True
    included, excluded = config.get("database.include.list", ""), config.get("database.exclude.list", "")
    return (not included or matches(included, schema)) and not (excluded and matches(excluded, schema))


def transforms(config: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(name, class) in their order."""
    for name in config.get("transforms", "").split(","):
        if name.strip():
            yield name.strip(), config.get(f"transforms.{name.strip()}.type", "")


def routed(config: Mapping[str, str], topic: str) -> str | None:
    """The topic that a record for ``topic`` reaches; None where that cannot be said from the settings."""
    if (
        config.get("topic.naming.strategy", DEFAULT_NAMING) != DEFAULT_NAMING
        or config.get("topic.delimiter", ".") != "."
    ):
        return None
    for name, type_ in transforms(config):
        if type_ in ROUTERS:
            return None
        if type_ != REGEX_ROUTER:
            continue
        if f"transforms.{name}.predicate" in config:
            return None
        found = _full(config.get(f"transforms.{name}.regex", ""), topic, 0)
        if found is not None:
            replacement = re.sub(r"\$(\d)", r"\\g<\1>", config.get(f"transforms.{name}.replacement", ""))
            try:
                topic = found.expand(replacement)
            except (re.error, IndexError):
                return None
    return topic


def sanitised(topic: str) -> str:
    """As Debezium does: what Kafka allows in no topic becomes an underscore."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", topic)
