"""Every column type of both servers: what Debezium wrote of it, in each mode, becomes the value that columns.yaml says.

The records are real ones (tests/types/make.py makes them again). Each is read with its inline schema, and without: by the
catalog that `bridge introspect` wrote and the modes that a config tells. Both give the same value.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from msgspec import Raw
from msgspec.structs import replace

from bridge.cli import main
from bridge.config import load
from bridge.core import wire
from bridge.core.connectors import POSTGRESQL
from bridge.core.decode import Decode
from bridge.introspect.capture import infer
from bridge.mapping import diagnose
from bridge.mapping.convert import MAX_INT64, converter
from bridge.mapping.given_values import canonical
from bridge.mapping.streamed import lost, may_be_nulled
from bridge.mapping.types import Type, column_type
from bridge.model import MODES, UNKNOWN, Layout, Modes
from tests.types.page import page
from tests.types.stored import HERE, SERVERS, STREAMED, Reader, Stored, catalog, columns, records, types

ROOT = Path(__file__).resolve().parents[1]
TABLES = [(server, table) for server in SERVERS for table in columns()[server]["tables"]]
SCHEMAS = {"postgresql": "public", "mariadb": "shop"}
WAYS = [
    pytest.param(server, name, inline, id=f"{server}-{name}-{'inline' if inline else 'catalog'}")
    for server in SERVERS
    for name in (*columns()[server]["sets"], "plain")
    for inline in (True, False)
    if not (inline and name == "plain")
]


def expected(about: dict[str, Any], record: Stored) -> list[Any]:
    """The canonical values of a column, in the order of its SQL values."""
    otherwise = about.get("except", {})
    names = [record.set]
    if record.op == "r":
        names = [f"{record.set} snapshot", record.set, "snapshot"]
    found = next((otherwise[name] for name in names if name in otherwise), about["canonical"])
    return list(found)


@pytest.mark.parametrize(("server", "name", "inline"), WAYS)
def test_each_value_is_what_the_table_says(server: str, name: str, inline: bool) -> None:  # noqa: FBT001
    checked = 0
    for table, about in columns()[server]["tables"].items():
        if table == "big":
            continue
        reader = Reader(server, name, table, inline=inline)
        for record in records(server):
            number = record.id % STREAMED - 1
            if (record.set, record.table) != (name, table) or record.id > 2 * STREAMED:
                continue
            row = reader.row(record)
            for column, said in about.items():
                values = expected(said, record) if "canonical" in said else []
                if number < len(values):
                    assert (column, record.op, row[column]) == (column, record.op, values[number])
                    assert type(row[column]) is type(values[number]), column  # 1, 1.0 and True are not the same
                    checked += 1
                elif values and said["type"] != "serial":
                    assert (column, row[column]) == (column, None)
    assert checked > 200


@pytest.mark.parametrize(("server", "name", "inline"), [way for way in WAYS if way.values[0] == "postgresql"])
def test_what_an_update_does_not_touch(server: str, name: str, inline: bool) -> None:  # noqa: FBT001
    """TOAST: the connector's marks are known; where it writes null instead, nobody can tell, and `check` warns of arrays."""
    reader = Reader(server, name, "big", inline=inline)
    (update,) = [record for record in records(server) if (record.set, record.op) == (name, "u")]
    row = reader.row(update)
    for column, about in columns()[server]["tables"]["big"].items():
        if "unchanged" in about:
            said = about.get("except", {}).get(name, about["unchanged"])
            assert (column, row[column]) == (column, UNKNOWN if said == "unknown" else None)


@pytest.mark.parametrize(("server", "table"), TABLES)
def test_what_the_stream_does_not_have_is_what_check_refuses(server: str, table: str) -> None:
    found = catalog(server)
    for column, about in columns()[server]["tables"][table].items():
        told = found.tables[f"{SCHEMAS[server]}.{table}"].columns[column]
        if "[]" in about["type"] and column == "c_amounts":
            continue  # an array of a domain has the name of one of an enum, which is sent
        assert (column, bool(lost(told, found))) == (column, about.get("lost", False))


def test_arrays_that_may_be_nulled_are_warned_of() -> None:
    found = catalog("postgresql")
    for column, about in columns()["postgresql"]["tables"]["big"].items():
        told = found.tables["public.big"].columns[column]
        if told.type.endswith("]"):
            assert (column, may_be_nulled(told, found, "public.big")) == (column, about["unchanged"] is None)


@pytest.mark.parametrize(("server", "table"), TABLES)
def test_a_mapping_can_use_each_type(server: str, table: str) -> None:
    """The first value of each column converts to the type that the language takes the column for."""
    for column, sql in types(server, table).items():
        about = columns()[server]["tables"][table].get(column, {})
        kind = column_type(sql)
        if kind.kind == "any" or "canonical" not in about:
            continue
        declared = Type("decimal", optional=True, precision=100, scale=30) if kind.kind == "decimal" else kind.maybe()
        value = about["canonical"][0]
        if kind.kind == "int" and value >= MAX_INT64:
            declared = Type("decimal", precision=20)
        made = converter(declared, "UTC")(value)
        assert made is not None, column


def test_only_arrays_intervals_and_what_is_lost_have_no_type() -> None:
    for server, table in TABLES:
        for column, sql in types(server, table).items():
            about = columns()[server]["tables"][table].get(column, {})
            if column_type(sql).kind == "any" and not about.get("lost"):
                assert sql.endswith("]") or sql == "interval", column


def test_what_stands_alone_in_an_inline_schema_needs_no_catalog() -> None:
    """But for bytes as text, and BIGINT UNSIGNED: nothing in a schema says what they are."""
    for server in SERVERS:
        for table in columns()[server]["tables"]:
            both, alone = (Reader(server, "micro", table, inline=True, known=known) for known in (True, False))
            for record in records(server):
                if (record.set, record.table) != ("micro", table):
                    continue
                told = alone.row(record)
                differ = {name for name, value in both.row(record).items() if value != told[name]}
                kinds = {types(server, table)[name].rstrip("[]").partition("(")[0] for name in differ}
                assert kinds <= {"bytea", "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "bigint"}


@pytest.mark.parametrize(("server", "name", "inline"), [way for way in WAYS if way.values[2]])
def test_a_catalog_inferred_from_schemas_says_the_same(server: str, name: str, inline: bool) -> None:  # noqa: FBT001
    """from_schema and from_catalog agree, by way of `bridge introspect --capture`."""
    chosen = [record for record in records(server) if record.set == name]
    found = infer([record.plain(SCHEMAS[server]) for record in chosen])
    for table in columns()[server]["tables"]:
        known = found.tables[f"{SCHEMAS[server]}.{table}"]
        sql = {column: about.type for column, about in known.columns.items()}
        by_schema = Reader(server, name, table, inline=inline, known=False)
        by_catalog = Reader(server, name, table, inline=False, sql=sql)
        for record in chosen:
            if record.table == table:
                told = by_catalog.row(record)
                unsigned = {column for column, name in types(server, table).items() if "unsigned" in name}
                for column, value in by_schema.row(record).items():
                    if column in sql and column not in unsigned:  # a schema cannot tell it from decimal(20,0)
                        assert (column, told[column]) == (column, value)


def test_year_zero_is_1900() -> None:
    years = {r.set: r.wire["c_year"] for r in records("mariadb") if r.id == 2 * STREAMED + 1}
    assert set(years.values()) == {1900}


@pytest.mark.parametrize(
    ("sql", "modes", "connector", "value", "canonical"),
    [
        ("timestamp", Modes(), "postgresql", 1_767_607_200_123_456, "2026-01-05T10:00:00.123456"),
        ("timestamp", Modes(), "mariadb", "2026-01-05T10:00:00Z", "2026-01-05T10:00:00.000000Z"),
        ("datetime(6)", Modes(time="connect"), "mysql", 1_767_607_200_123, "2026-01-05T10:00:00.123000"),
        ("time", Modes(), "postgresql", 36_000_500_000, "10:00:00.500000"),
        ("time", Modes(time="adaptive"), "mariadb", 36_000_500, "10:00:00.500000"),
        ("time(3)[]", Modes(), "postgresql", [36_000_500, None], ["10:00:00.500000", None]),
        ("NUMERIC ( 12 , 2 )", Modes(), "postgresql", "CAI=", "20.50"),
        ("bigint unsigned", Modes(), "mariadb", -1, 2**64 - 1),
        ("bigint unsigned", Modes(), "mariadb", "AP//////////", 2**64 - 1),
        ("bigint", Modes(), "mariadb", -1, -1),
        ("money", Modes(money_digits=4), "postgresql", "AeII", "12.3400"),
        ("enum('time','date')", Modes(), "mariadb", "time", "time"),
    ],
)
def test_types_as_people_write_them(sql: str, modes: Modes, connector: str, value: Any, canonical: Any) -> None:
    convert = wire.from_catalog(sql, modes, connector)
    assert (value if convert is None else convert(value)) == canonical


def test_the_page_is_what_was_measured() -> None:
    file = ROOT / "mappings" / "types.md"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(page(file.read_text()))
    assert file.read_text() == page(file.read_text())


# -- through the doors ---------------------------------------------------------------------------------------------------

MAPPING = """
aggregate: Every
source: legacy
key: every.id
tables:
  every:
    table: public.every
model:
  id: int = every.id
  amount: decimal(12,2)? = {amount}
  day: date? = every.c_date
  at: timestamp? = tz(every.c_timestamp, 'Europe/Paris')
  time: string? = every.c_time
  raw: string? = every.c_bytea
  bits: int? = every.c_bit_9
events:
  EverySeen:
    topic: every
    when: created()
    data: [id, amount, day, at, time, raw, bits]
"""
SEEN = {
    "id": 1001, "amount": "0.00", "day": "2026-01-05", "at": "2026-01-05T09:00:00.123456Z", "time": "23:59:59.999999",
    "raw": "AQL/", "bits": 257,
}  # fmt: skip


def written(path: Path, name: str) -> list[str]:
    """A capture of the first streamed row in a set's modes, without schemas; and the modes as `transform` takes them."""
    record = next(r for r in records("postgresql") if (r.set, r.table, r.id) == (name, "every", STREAMED + 1))
    transaction = json.loads(record.payload)["transaction"]["id"]
    counts = [{"data_collection": "public.every", "event_count": 1}]
    end = {"status": "END", "id": transaction, "event_count": 1, "data_collections": counts, "ts_ms": 1}
    values = [(json.dumps({"id": record.id}), record.payload), (None, json.dumps(end, separators=(",", ":")))]
    with path.open("w") as file:
        for offset, (key, value) in enumerate(values):
            line = {"topic": "log", "partition": 0, "offset": offset, "timestamp": 1, "key": key, "value": value}
            file.write(json.dumps(line | {"headers": []}) + "\n")
    given = columns()["postgresql"]["sets"][name]
    return [word for key, value in given.items() if key in MODES for word in ("--mode", f"{key}={value}")]


@pytest.mark.parametrize("name", columns()["postgresql"]["sets"])
def test_the_same_event_in_every_mode(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    amount = "round(every.c_numeric_12_2, 2)" if name == "double" else "every.c_numeric_12_2"
    (tmp_path / "every.yaml").write_text(MAPPING.format(amount=amount))
    told = written(tmp_path / "capture.jsonl", name)
    line = ["transform", str(tmp_path / "capture.jsonl"), "--mappings", str(tmp_path), "--source", "legacy", *told]
    assert main([*line, "--catalog", str(HERE / "postgresql.catalog.yaml")]) == 0
    found = json.loads(capsys.readouterr().out)["data"]
    coarse = {"at": "2026-01-05T09:00:00.123000Z", "time": "23:59:59.999000"} if name == "double" else {}
    assert found == SEEN | coarse


def test_a_config_tells_the_modes_and_money_from_a_double_is_refused(tmp_path: Path) -> None:
    shutil.copy(HERE / "postgresql.catalog.yaml", tmp_path / "catalog.yaml")
    config = {
        "kafka": {"bootstrap.servers": "k:9092"},
        "mappings": "m",
        "sources": {
            "legacy": {
                "connector": "postgresql",
                "log": "log",
                "catalog": "catalog.yaml",
                "decimal_handling_mode": "double",
                "time_precision_mode": "connect",
                "binary_handling_mode": "hex",
                "money_fraction_digits": 4,
            }
        },
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    source = load(tmp_path / "config.yaml").sources["legacy"]
    assert source.settings.modes == Modes("double", "connect", "hex", 4)
    said = diagnose([("every.yaml", MAPPING.format(amount="every.c_numeric_12_2"))], source.catalog)
    assert [(one.code, "double" in one.message) for one in said] == [("M016", True)]
    assert diagnose([("every.yaml", MAPPING.format(amount="round(every.c_numeric_12_2, 2)"))], source.catalog) == []


@pytest.mark.parametrize("mode", ["decimal.handling.mode=exact", "precise", "money.fraction.digits=99"])
def test_an_unknown_mode(mode: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["transform", "c", "--mappings", "m", "--source", "s", "--mode", mode])
    assert "argument --mode: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "sql", "connector", "expected"),
    [
        ("10:00", "time without time zone", "postgresql", "10:00:00.000000"),
        ("-838:59:59.5", "time(3)", "mariadb", "-838:59:59.500000"),
        ("10:00:00Z", "time with time zone", "postgresql", "10:00:00.000000Z"),
        ("infinity", "date", "postgresql", "infinity"),
        ("-infinity", "timestamp with time zone", "postgresql", "-infinity"),
        ("2026-01-05T10:00:00Z", "timestamp", "mariadb", "2026-01-05T10:00:00.000000Z"),
        ("2026-01-05T10:00:00", "timestamp", "postgresql", "2026-01-05T10:00:00.000000"),
        ("AQL/", "bytea", "postgresql", "AQL/"),
        ("257", "bit(9)", "postgresql", 257),
    ],
)
def test_a_test_writes_what_a_record_would_hold(value: str, sql: str, connector: str, expected: Any) -> None:
    assert canonical(value, value, sql, connector) == expected


def test_the_connector_says_whose_words_the_types_are() -> None:
    """A ``timestamp`` is a moment on MariaDB, and a time without zone on PostgreSQL."""
    layout = Layout("shop.t", ("at",), ("timestamp",))
    for connector, wire_form, value in (
        (POSTGRESQL, "1767607200000000", "2026-01-05T10:00:00.000000"),
        (replace(POSTGRESQL, name="mariadb"), '"2026-01-05T10:00:00Z"', "2026-01-05T10:00:00.000000Z"),
    ):
        table = Decode({"shop.t": layout}, connector).tables["shop.t"]
        assert table.row(Raw(f'{{"at":{wire_form}}}'.encode())) == (value,)


@pytest.mark.parametrize(
    ("kind", "value", "found"),
    [
        ("io.debezium.time.Date", 2_146_033_979, "infinity"),
        ("io.debezium.time.Timestamp", 9_223_372_036_825_200_000, "infinity"),
        ("io.debezium.time.MicroTimestamp", 9_223_372_036_854_775_807, "infinity"),
        ("io.debezium.time.MicroTimestamp", -9_223_372_036_854_775_808, "-infinity"),
        ("io.debezium.time.NanoTimestamp", 9_223_372_036_854_775_807, "infinity"),
        ("io.debezium.time.NanoTimestamp", -9_223_372_036_854_775_808, "-infinity"),
        ("io.debezium.time.NanoTimestamp", 9_223_372_036_000_000_000, "2262-04-11T23:47:16.000000"),
        ("io.debezium.time.IsoTimestamp", "+292278994-08-16T23:00:00Z", "infinity"),
        ("io.debezium.time.IsoTimestamp", "-292275055-05-16T23:00:00Z", "-infinity"),
        ("io.debezium.time.IsoDate", "+5877611-06-21Z", "infinity"),
    ],
)
def test_infinities_of_debezium_3_7(kind: str, value: int | str, found: str) -> None:
    """The stored records are 3.5's; these were seen on 3.7.0."""
    convert = wire.from_schema(kind, None)
    assert convert is not None
    assert convert(value) == found
