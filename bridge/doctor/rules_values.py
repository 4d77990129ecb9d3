"""Values on their way: converters, decimals, times, nulls, and what transforms do to records."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from bridge.doctor import filters
from bridge.doctor.facts import Connector, Facts
from bridge.doctor.finding import Found, Severity
from bridge.doctor.versions import number
from bridge.mapping.catalog import CatalogColumn
from bridge.model import MODES, Modes

JSON: Final = "org.apache.kafka.connect.json.JsonConverter"
SKIP_DDL: Final = "schema.history.internal.skip.unparseable.ddl"
CONVERTERS: Final = frozenset(
    {
        JSON,
        "io.confluent.connect.avro.AvroConverter",
        "io.confluent.connect.protobuf.ProtobufConverter",
        "io.apicurio.registry.utils.converter.AvroConverter",
        "io.apicurio.registry.utils.converter.ProtobufConverter",
    }
)
FLATTENING: Final = frozenset(
    {
        "io.debezium.transforms.ExtractNewRecordState",
        "io.debezium.transforms.ExtractChangedRecordState",
        "org.apache.kafka.connect.transforms.ExtractField$Value",
        "org.apache.kafka.connect.transforms.Flatten$Value",
        "org.apache.kafka.connect.transforms.HoistField$Value",
    }
)
FILTERS: Final = frozenset({"org.apache.kafka.connect.transforms.Filter", "io.debezium.transforms.Filter"})
# They leave key, value and Debezium's own headers as they are.
HARMLESS: Final = frozenset(
    {
        filters.REGEX_ROUTER,
        "org.apache.kafka.connect.transforms.InsertHeader",
        "io.debezium.transforms.tracing.ActivateTracingSpan",
    }
)
_DECIMAL: Final = re.compile(r"(numeric|decimal|dec|fixed|money)\b", re.IGNORECASE)
# PostgreSQL's default is six digits, MariaDB's none; with a time zone they are text in every mode.
_FINE_TIME: Final = re.compile(
    r"(?:timestamp|time)(?:\([456]\))? without time zone|(?:datetime|time)\([456]\)", re.IGNORECASE
)


# -- types -------------------------------------------------------------------------------------------------------------


def decimals_as_double(facts: Facts) -> Iterator[Found]:
    decimals = [name for name, column in facts.columns() if _DECIMAL.match(column.type)]
    for one in facts.ours:
        if one["decimal.handling.mode"].lower() == "double" and decimals:
            what = f"double cannot hold {', '.join(decimals)} exactly"
            yield Found(Severity.LOSES, one.at("decimal.handling.mode"), what, "decimal.handling.mode=precise")


def times_cut(facts: Facts) -> Iterator[Found]:
    fine = [name for name, column in facts.columns() if _FINE_TIME.fullmatch(column.type)]
    for one in facts.ours:
        if one["time.precision.mode"].lower() == "connect" and fine:
            what = f"connect cuts microseconds of {', '.join(fine)}"
            yield Found(
                Severity.LOSES, one.at("time.precision.mode"), what, "time.precision.mode=adaptive_time_microseconds"
            )


def other_mode(facts: Facts) -> Iterator[Found]:
    for name, (field, allowed) in MODES.items():
        told, usual = getattr(facts.source.modes, field), getattr(Modes(), field)
        for one in facts.ours:
            mode = one[name].lower() or usual
            if allowed and mode != told and not _has_schemas(one):
                mend = f"sources.{facts.source.name}.{name.replace('.', '_')}: {mode}"
                said = told or "the default"
                what = f"it is {mode or 'the default'}, the config says {said}, and records without schemas cannot tell"
                yield Found(Severity.LOSES, one.at(name), what, mend)


def unsigned_wrapped(facts: Facts) -> Iterator[Found]:
    wide = [name for name, column in facts.columns() if re.match(r"bigint\b.*unsigned", column.type, re.IGNORECASE)]
    for one in facts.ours:
        if one.kind in ("mariadb", "mysql") and wide and one["bigint.unsigned.handling.mode"].lower() in ("", "long"):
            what = f"values of {', '.join(wide)} above 2^63 come out negative"
            mend = "bigint.unsigned.handling.mode=precise"
            yield Found(Severity.LOSES, one.at("bigint.unsigned.handling.mode"), what, mend)


def inet6(facts: Facts) -> Iterator[Found]:
    """Measured on 3.5.0: the statement that makes such a table cannot be parsed, whether the table is captured or not."""
    if facts.mariadb is None:
        return
    for one in facts.ours:
        if one.kind != "mariadb" or number(one.version) != (3, 5, 0):
            continue
        for table, about in facts.mariadb.catalog.tables.items():
            names = [name for name, column in about.columns.items() if column.type.lower() == "inet6"]
            if names and (one.captures(table) or not one.flag(SKIP_DDL)):
                what = f"{table}.{names[0]} is of type inet6, which ends version {one.version}, captured or not"
                yield Found(Severity.STOPS, one.place, what, f"{SKIP_DDL}=true, and {table} not in table.include.list")


# -- converters --------------------------------------------------------------------------------------------------------


def other_converter(facts: Facts) -> Iterator[Found]:
    for one in facts.ours:
        for part in ("key", "value"):
            given, place = one[f"{part}.converter"], one.at(f"{part}.converter")
            if not given:
                what = "it is not set, so that the worker decides, which the doctor cannot see"
                yield Found(Severity.UNKNOWN, place, what, f"{part}.converter={JSON}")
            elif given not in CONVERTERS:
                yield Found(Severity.STOPS, place, f"the bridge cannot read {given}", f"{part}.converter={JSON}")


def null_replaced(facts: Facts) -> Iterator[Found]:
    hit = [name for name, column in facts.columns() if column.nullable and _has_default(column)]
    for one in facts.ours:
        for part in ("key", "value"):
            key = f"{part}.converter.replace.null.with.default"
            if one[f"{part}.converter"] not in ("", JSON) or not one.flag(key, default=True):
                continue
            if part == "value" and hit:
                yield Found(
                    Severity.LOSES, one.at(key), f"NULL in {', '.join(hit)} arrives as the DEFAULT", f"{key}=false"
                )
            else:
                what = "NULL in a column with a DEFAULT would arrive as the DEFAULT"
                yield Found(Severity.ADVICE, one.at(key), what, f"{key}=false")


def no_types(facts: Facts) -> Iterator[Found]:
    for one in facts.ours:
        if not _has_schemas(one) and facts.written_catalog is None:
            what = "records carry no schema, and the config names no catalog"
            mend = f"bridge introspect --config FILE, with sources.{facts.source.name}.catalog: catalog.yaml"
            yield Found(Severity.HURTS, one.at("value.converter.schemas.enable"), what, mend)


# -- transforms --------------------------------------------------------------------------------------------------------


def flattened(facts: Facts) -> Iterator[Found]:
    yield from _transforms(facts, FLATTENING, Severity.STOPS, "takes the envelope away")


def rows_dropped(facts: Facts) -> Iterator[Found]:
    yield from _transforms(facts, FILTERS, Severity.STOPS, "drops rows that END counts")


def other_router(facts: Facts) -> Iterator[Found]:
    yield from _transforms(facts, filters.ROUTERS, Severity.HURTS, "chooses topics or partitions by content")
    for one in facts.ours:
        for name, type_ in filters.transforms(one.config):
            if type_ == filters.REGEX_ROUTER and f"transforms.{name}.predicate" in one.config:
                what = f"{name} ({filters.REGEX_ROUTER}) routes some records and others not"
                yield Found(Severity.HURTS, one.at(f"transforms.{name}"), what, _without(one, name))
        if one["topic.naming.strategy"] not in ("", filters.DEFAULT_NAMING) or one["topic.delimiter"] not in ("", "."):
            what = "topics are not named <prefix>.<schema>.<table>"
            yield Found(
                Severity.HURTS,
                one.at("topic.naming.strategy"),
                what,
                "leave topic.naming.strategy and topic.delimiter out",
            )


def other_transform(facts: Facts) -> Iterator[Found]:
    for one in facts.ours:
        for name, type_ in filters.transforms(one.config):
            if type_ not in HARMLESS | FLATTENING | FILTERS | filters.ROUTERS:
                what = f"{name} ({type_}) may change or drop fields, keys or headers that the bridge reads"
                yield Found(Severity.HURTS, one.at(f"transforms.{name}"), what, _without(one, name))


def _transforms(facts: Facts, types: frozenset[str], severity: Severity, does: str) -> Iterator[Found]:
    for one in facts.ours:
        for name, type_ in filters.transforms(one.config):
            if type_ in types:
                yield Found(severity, one.at(f"transforms.{name}"), f"{name} ({type_}) {does}", _without(one, name))


def _without(one: Connector, name: str) -> str:
    rest = ",".join(other for other, _ in filters.transforms(one.config) if other != name)
    return f"transforms={rest}" if rest else "remove transforms; other readers can have a connector of their own"


def _has_schemas(one: Connector) -> bool:
    """Do rows carry their schema? A registry's formats do; so does JSON by default."""
    if one["value.converter"] not in ("", JSON):
        return True
    return one.flag("value.converter.schemas.enable", default=bool(one["value.converter"]))


def _has_default(column: CatalogColumn) -> bool:
    return column.default is not None and not column.default.startswith(("generated", "auto_increment", "on update"))
