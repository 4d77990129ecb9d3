"""What reaches the topics: tables, columns, operations; keys and replica identity of the mapped tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from bridge.doctor import filters
from bridge.doctor.facts import Connector, Facts, Publication
from bridge.doctor.finding import Found, Severity
from bridge.mapping.catalog import CatalogColumn

DEFAULT_PUBLICATION: Final = "dbz_publication"
LONG_TEXT: Final = 500  # characters: four bytes each may make 2 kB, from which PostgreSQL stores values out of line
_HEARTBEAT: Final = re.compile(r"\b(?:into|update)\s+([\w.\"`$]+)", re.IGNORECASE)


def not_captured(facts: Facts) -> Iterator[Found]:
    for table in facts.mapped:
        if facts.ours and not any(one.captures(table) for one in facts.ours):
            mend = f"add {table} to table.include.list, then bring its rows in by an incremental snapshot"
            yield Found(Severity.LOSES, f"{_names(facts)}: table.include.list", f"{table} is mapped and left out", mend)


def topic_not_listed(facts: Facts) -> Iterator[Found]:
    for table in facts.mapped:
        topics = {one.topic(table) for one in facts.ours if one.captures(table)}
        if topics and None not in topics and not topics & set(facts.inputs):
            (topic, *_) = sorted(topic for topic in topics if topic is not None)
            mend = f"add {topic} to sources.{facts.source.name}.topics"
            yield Found(
                Severity.LOSES, topic, f"it holds {table}, which is mapped, and the config does not list it", mend
            )


def topic_nobody_writes(facts: Facts) -> Iterator[Found]:
    if not facts.ours or facts.database is None or facts.source.log:
        return
    tables = [*facts.database.catalog.tables, *facts.mapped]
    written = {one.topic(table) for one in facts.ours for table in tables if one.captures(table)}
    if None in written:
        return
    for topic in facts.source.topics:
        if topic not in written:
            mend = f"remove it from sources.{facts.source.name}.topics, or let the connector capture its table"
            yield Found(Severity.HURTS, topic, f"no table that {_names(facts)} captures goes there", mend)


def signal_table(facts: Facts) -> Iterator[Found]:
    wanted = facts.source.signal_table
    for one in facts.ours:
        named, place = one["signal.data.collection"], one.at("signal.data.collection")
        if not named:
            yield Found(
                Severity.ADVICE, place, "it is not set", f"make the table, then signal.data.collection=…{wanted}"
            )
            continue
        table = ".".join(named.split(".")[-2:])  # Debezium lets the database's name stand before it
        if wanted not in (named, table, table.partition(".")[2]):
            mend = f"sources.{facts.source.name}.signal_table: {table}"
            yield Found(Severity.HURTS, place, f"it is {named}, the config has signal_table: {wanted}", mend)
        yield from _unseen(facts, one, table)


def heartbeat_not_captured(facts: Facts) -> Iterator[Found]:
    for one in facts.ours:
        found = _HEARTBEAT.search(one["heartbeat.action.query"])
        if found is not None:
            table = re.sub(r"[\"`]", "", found[1])
            schema = "public" if one.kind == "postgresql" else one["database.include.list"]
            yield from _unseen(facts, one, table if "." in table else f"{schema}.{table}")


def _unseen(facts: Facts, one: Connector, table: str) -> Iterator[Found]:
    """A table that the connector leaves out, or that PostgreSQL does not send it."""
    published, name = _publication(facts, one), _publication_name(one)
    if not one.captures(table):
        yield Found(Severity.HURTS, one.place, f"{table} is not captured", f"add {table} to table.include.list")
    elif published is not None and table not in published.tables:
        mend = f'ALTER PUBLICATION "{name}" ADD TABLE {table}'
        yield Found(Severity.HURTS, one.place, f"publication {name} lacks {table}", mend)


def message_key_columns(facts: Facts) -> Iterator[Found]:
    for one in facts.ours:
        for table, about in facts.tables():
            chosen = _key_columns(one, table)
            if chosen and about.key and set(chosen) != set(about.key):
                what = f"{table} gets the key {', '.join(chosen)}; its primary key is {', '.join(about.key)}"
                mend = f"take {table} out of message.key.columns"
                yield Found(Severity.HURTS, one.at("message.key.columns"), what, mend)


def no_primary_key(facts: Facts) -> Iterator[Found]:
    for table, about in facts.tables():
        if about.key == () and not any(_key_columns(one, table) for one in facts.ours):
            mend = f"ALTER TABLE {table} ADD PRIMARY KEY (…), or message.key.columns={table}:… in the connector"
            yield Found(Severity.STOPS, table, "it has no primary key", mend)


def replica_identity_nothing(facts: Facts) -> Iterator[Found]:
    for table, about in facts.tables():
        if about.replica_identity == "nothing":
            yield Found(
                Severity.STOPS, table, "REPLICA IDENTITY NOTHING", f"ALTER TABLE {table} REPLICA IDENTITY DEFAULT"
            )
        elif about.replica_identity == "default" and about.key == ():
            what = "default replica identity and no primary key, which is as good as none"
            yield Found(Severity.STOPS, table, what, f"ALTER TABLE {table} REPLICA IDENTITY FULL")


def toast(facts: Facts) -> Iterator[Found]:
    for table, about in facts.tables():
        names = [one for one in facts.mapped[table] if one in about.columns and _is_long(about.columns[one])]
        if names and about.replica_identity in ("default", "index"):
            what = f"long values of {', '.join(names)} are not sent with updates that leave them alone"
            yield Found(
                Severity.ADVICE, table, what, f"ALTER TABLE {table} REPLICA IDENTITY FULL, if state may not supply them"
            )


def columns_left_out(facts: Facts) -> Iterator[Found]:
    for one in facts.ours:
        for column in (f"{table}.{name}" for table, names in facts.mapped.items() for name in names):
            for key, text in one.config.items():
                if key.startswith("column.") and filters.matches(text, column) != (key == "column.include.list"):
                    mend = f"take {column} {'into' if key == 'column.include.list' else 'out of'} {key}"
                    yield Found(Severity.LOSES, one.at(key), f"{column} is mapped, and changed or left out by it", mend)


def skipped_operations(facts: Facts) -> Iterator[Found]:
    for one in facts.ours:
        skipped = {part.strip() for part in (one["skipped.operations"] or "t").split(",")} - {"none"}
        if skipped:
            severity = Severity.HURTS if skipped == {"t"} else Severity.LOSES
            what = f"it skips {', '.join(sorted(skipped))} (t is truncate, and the default)"
            yield Found(severity, one.at("skipped.operations"), what, "skipped.operations=none")


# -- PostgreSQL's publication ------------------------------------------------------------------------------------------


def publication_lacks_table(facts: Facts) -> Iterator[Found]:
    for one in facts.ours:
        name, mode = _publication_name(one), one["publication.autocreate.mode"] or "all_tables"
        published = _publication(facts, one)
        if facts.postgresql is None or one.kind != "postgresql":
            continue
        if published is None:
            if mode == "disabled":
                mend = f'CREATE PUBLICATION "{name}" FOR TABLE {", ".join(facts.mapped)}'
                yield Found(Severity.STOPS, one.at("publication.name"), f"there is no publication {name}", mend)
            continue
        for table in facts.mapped:
            if one.captures(table) and table not in published.tables:
                what = f"publication {name} lacks {table} (publication.autocreate.mode={mode})"
                mend = f'ALTER PUBLICATION "{name}" ADD TABLE {table}'
                yield Found(Severity.LOSES, one.at("publication.name"), what, mend)


def publication_leaves_out(facts: Facts) -> Iterator[Found]:
    for one in facts.ours:
        published, name = _publication(facts, one), _publication_name(one)
        if published is None:
            continue
        missing = [what for what in Publication({}).operations if what not in published.operations]
        if missing:
            mend = f"ALTER PUBLICATION \"{name}\" SET (publish = 'insert, update, delete, truncate')"
            severity = Severity.HURTS if missing == ["truncate"] else Severity.LOSES
            yield Found(severity, f"publication {name}", f"it does not publish {', '.join(missing)}", mend)
        for table, columns in facts.mapped.items():
            about = published.tables.get(table)
            lost = [] if about is None or about.columns is None else [c for c in columns if c not in about.columns]
            if about is not None and (lost or about.filtered):
                what = f"it leaves out {', '.join(lost) or 'rows'} of {table}"
                mend = (
                    f'ALTER PUBLICATION "{name}" DROP TABLE {table}, then ADD TABLE {table} without WHERE and columns'
                )
                yield Found(Severity.LOSES, f"publication {name}", what, mend)


# -- inside ------------------------------------------------------------------------------------------------------------


def _names(facts: Facts) -> str:
    return "connector " + ", ".join(one.name for one in facts.ours)


def _publication_name(one: Connector) -> str:
    return one["publication.name"] or DEFAULT_PUBLICATION


def _publication(facts: Facts, one: Connector) -> Publication | None:
    if facts.postgresql is None or one.kind != "postgresql":
        return None
    return facts.postgresql.publications.get(_publication_name(one))


def _key_columns(one: Connector, table: str) -> list[str]:
    """What message.key.columns (``tables:column,column;…``) says of a table."""
    for part in one["message.key.columns"].split(";"):
        tables, _, columns = part.strip().rpartition(":")
        if tables and filters.matches(tables, table):
            return [column.strip() for column in columns.split(",")]
    return []


def _is_long(column: CatalogColumn) -> bool:
    """May PostgreSQL store its values out of line?"""
    limited = re.fullmatch(r"(?:character varying|character)\((\d+)\)", column.type)
    if limited is not None:
        return int(limited[1]) > LONG_TEXT
    return column.type.endswith("[]") or column.type in (
        "text",
        "character varying",
        "bytea",
        "json",
        "jsonb",
        "xml",
        "hstore",
    )
