"""Catalogs from captures that a real Debezium wrote, URLs and configs, and what the SQL types of a catalog mean."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from bridge.cli import main
from bridge.config import load as load_config
from bridge.core.encode import cloudevent
from bridge.errors import ConfigInvalid, Fatal
from bridge.introspect import capture, mysql
from bridge.introspect.database import PASSWORD, of_url
from bridge.introspect.diff import changes, difference
from bridge.mapping import load
from bridge.mapping.catalog import Catalog, CatalogColumn, CatalogTable, ForeignKey, read
from bridge.mapping.types import column_type
from bridge.model import PlainRecord
from bridge.runtime.transform import read_captures, settings_for, transform
from tests.sim.compiled import SQL
from tests.sim.scenario import make_scenario

TESTS = Path(__file__).parent
INLINE, PLAIN = (str(TESTS / "captures" / f"{name}.jsonl.gz") for name in ("inline", "plain"))
DATABASE, _ = read((TESTS / "integration" / "nasty" / "postgresql.yaml").read_text(), "postgresql.yaml")
NOT_STREAMED = {"gross", "ship_to"}  # a generated column, and one of a type that Debezium does not know


DECIMAL = "org.apache.kafka.connect.data.Decimal"


# -- captures ----------------------------------------------------------------------------------------------------------


def test_a_capture_says_what_the_database_says() -> None:
    """Tables, columns, keys, nulls and kinds; of the same tables, read once from the topics and once from the server."""
    inferred = capture.infer(read_captures([INLINE]))
    assert inferred.connector == "postgresql"
    assert sorted(inferred.tables) == [
        "Old Stock.Größe des Lagers",
        "public.t_cust",
        "public.t_ord",
        "public.t_ord_line",
    ]
    for name, table in inferred.tables.items():
        known = DATABASE.tables[name]
        assert list(table.columns) == [column for column in known.columns if column not in NOT_STREAMED]
        for column, found in table.columns.items():
            assert column_type(found.type) == column_type(known.columns[column].type), column
            assert found.values == known.columns[column].values
            if column != "cd":  # NOT NULL of a domain is not told
                assert found.nullable == known.columns[column].nullable, column
        assert set(table.key or ()) == set(known.key or ())
        assert table.key
    order = inferred.tables["public.t_ord"].columns
    assert (order["tot"].type, order["plc_dt"].type) == ("numeric(12,2)", "timestamp(3) without time zone")
    assert (order["ord_stat"].default, order["shp_dt"].default) == ("'N'", "'1900-01-01'")
    assert (order["upd_ts"].default, order["ord_no"].default) == (None, None)  # now() and a sequence come as zeros


EVERYTHING = """\
aggregate: Order
source: legacy
key: [o.shop, o.ord_no]
tables:
  o: {table: public.t_ord}
  cust: {lookup: public.t_cust, match: {cust_no: o.cust_no}}
model:
  number: int = o.ord_no
  total: decimal(12,2)? = o.tot
  vat: decimal(6,4)? = o.vat
  price: decimal(12,2)? = o.price
  state: string = o.ord_stat
  code: string? = trim(o.cd)
  flag: bool? = o.flag
  bit: bool? = o.bits
  placed: {type: 'timestamp?', from: o.plc_dt, zone: Europe/Paris}
  updated: timestamp? = o.upd_ts
  shipped: date? = o.shp_dt
  doc: string? = o.doc
  id: string? = o.id
  short: string? = o.short
  mail: string? = cust.email
events:
  OrderChanged:
    topic: orders
    allow: {M033: a test}
    when: not deleted()
    data: [number, total, vat, price, state, code, flag, bit, placed, updated, shipped, doc, id, short, mail]
"""


def events(name: str, catalog: Catalog | None) -> list[dict[str, Any]]:
    records = read_captures([name])
    mappings = load([("mappings/order.yaml", EVERYTHING)], "legacy", catalog)
    outputs = transform(records, settings_for(records, "legacy", "letters"), mappings)
    return [cloudevent(record) for output in outputs for record in output.records]


def test_with_the_databases_catalog_plain_records_say_what_inline_schemas_say() -> None:
    from_schemas = events(INLINE, None)
    assert [event["data"]["total"] for event in from_schemas] == ["21.00", None]
    first = from_schemas[0]["data"]
    assert (first["vat"], first["price"], first["bit"]) == ("0.1950", "12.34", True)
    assert (first["placed"], first["shipped"]) == ("2026-01-05T09:00:00.123000Z", "2026-01-06")
    assert first["updated"] == "2026-01-05T09:00:00.123456Z"
    assert events(PLAIN, DATABASE) == from_schemas
    assert events(PLAIN, capture.infer(read_captures([INLINE]))) == from_schemas


def test_the_file_keeps_what_a_capture_cannot_say() -> None:
    inferred = capture.infer(read_captures([INLINE]))
    completed = capture.completed(DATABASE, inferred)
    for name, table in completed.tables.items():
        known = DATABASE.tables[name]
        assert (table.foreign_keys, table.replica_identity) == (known.foreign_keys, known.replica_identity)
        for column, found in table.columns.items():
            if column != "bits":
                assert found.type == known.columns[column].type
    older = {"tot": "numeric(10,2)", "plc_dt": "timestamp without time zone", "flag": "text", "email": "integer"}
    changed = capture.completed(Catalog.of({"public.t_ord": older}), inferred).tables["public.t_ord"].columns
    assert changed["tot"].type == "numeric(12,2)"
    assert changed["plc_dt"].type == "timestamp(3) without time zone"
    assert changed["flag"].type == "boolean"


def test_the_last_schema_of_a_table_counts(tmp_path: Path) -> None:
    """A column that is added in the middle of a capture."""
    lines = [json.loads(line) for line in gzip.decompress(Path(INLINE).read_bytes()).splitlines()]
    (customer, *_), last = [line for line in lines if '"t_cust"' in line["value"]], lines[-1]["offset"]
    value = json.loads(customer["value"])
    for image in value["schema"]["fields"][:2]:
        image["fields"] = [*image["fields"][:2], {"type": "int16", "optional": True, "field": "rank"}]
    added = customer | {"offset": last + 1, "value": json.dumps(value)}
    path = tmp_path / "capture.jsonl"
    path.write_text("\n".join(map(json.dumps, [added, *lines])))
    columns = capture.infer(read_captures([str(path)])).tables["public.t_cust"].columns
    assert columns == {
        "cust_no": CatalogColumn("integer", nullable=False),
        "email": CatalogColumn("text", nullable=True),
        "rank": CatalogColumn("smallint", nullable=True),
    }


def test_the_simulators_inline_schemas() -> None:
    """Its tables have what its records say: a connector's log with repeats, tombstones, markers and messages."""
    scenario = next(one for seed in range(100) if (one := make_scenario(seed)).inline)
    sends = enumerate(scenario.topics.sends())
    inferred = capture.infer(PlainRecord(send.topic, send.partition, n, send.key, send.value) for n, send in sends)
    tables = {table.name: table for table in scenario.features.tables()}
    assert len(inferred.tables) > 2
    for name, found in inferred.tables.items():
        assert found.key == tables[name].key
        assert {column: (one.type, one.nullable) for column, one in found.columns.items()} == {
            column.name: (SQL[column.kind], column.nullable) for column in tables[name].columns
        }


def test_a_capture_without_schemas_is_refused() -> None:
    with pytest.raises(Fatal) as caught:
        capture.infer(read_captures([PLAIN]))
    assert caught.value.code == "B533"


@pytest.mark.parametrize(
    ("connector", "field", "sql"),
    [
        ("postgresql", {"type": "string", "name": "io.debezium.time.ZonedTime"}, "time with time zone"),
        ("postgresql", {"type": "struct", "name": "io.debezium.data.geometry.Point"}, "point"),
        ("postgresql", {"type": "map", "name": ""}, "hstore"),
        ("mysql", {"type": "string", "name": "io.debezium.time.ZonedTimestamp"}, "timestamp"),
        ("mysql", {"type": "int64", "name": "io.debezium.time.MicroTimestamp"}, "datetime(6)"),
        ("mysql", {"type": "int32", "name": "io.debezium.time.Year"}, "year"),
        ("mariadb", {"type": "string", "name": "io.debezium.data.EnumSet", "parameters": {"allowed": "a,b"}}, "set('a','b')"),
        ("mariadb", {"type": "float64"}, "double"),
        ("mysql", {"type": "bytes", "name": DECIMAL, "parameters": {"scale": "4"}}, "decimal(38,4)"),
        (
            "postgresql",
            {
                "type": "string",
                "parameters": {"__debezium.source.column.type": "BPCHAR", "__debezium.source.column.length": "8"},
            },
            "bpchar(8)",
        ),
    ],
)  # fmt: skip
def test_types_of_inline_schemas(connector: str, field: dict[str, Any], sql: str) -> None:
    assert capture.sql_type(field, connector) == sql


# -- what SQL types mean -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("character varying(20)", "string"), ("character(8)", "string"), ('"char"', "string"), ("citext", "string"),
        ("timestamp(3) without time zone", "timestamp"), ("timestamp with time zone", "timestamp"), ("date", "date"),
        ("time without time zone", "string"), ("interval year to month", "any"), ("bit(1)", "bool"), ("bit(8)", "int"),
        ("bit varying(9)", "int"), ("numeric", "decimal"), ("numeric(12,2)", "decimal"), ("money", "decimal"),
        ("double precision", "double"), ("real", "double"), ("bytea", "string"), ("uuid", "string"), ("jsonb", "string"),
        ("inet", "string"), ("xml", "string"), ("int4range", "string"), ("public.addr", "any"), ("text[]", "any"),
        ("integer[]", "any"), ("timestamp without time zone[]", "any"), ("enum('N','P')", "string"), ("ord_state[]", "any"),
        ("datetime(6)", "timestamp"), ("decimal(10,2) unsigned", "decimal"), ("tinyint(1)", "int"), ("year(4)", "int"),
        ("bigint(20) unsigned zerofill", "int"), ("int unsigned", "int"), ("set('a','b')", "string"), ("longtext", "string"),
        ("double", "double"), ("float(7,2) unsigned", "double"), ("longblob", "string"), ("oid", "int"),
    ],
)  # fmt: skip
def test_the_kind_of_a_type(sql: str, kind: str) -> None:
    assert column_type(sql).kind == kind


@pytest.mark.parametrize(
    ("sql", "default", "extra", "generated", "mariadb", "text"),
    [
        ("varchar(9)", "it's", "", "", False, "'it''s'"),
        ("varchar(9)", "0", "", "", False, "'0'"),
        ("int", "0", "", "", False, "0"),
        ("bit(1)", "b'1'", "", "", False, "b'1'"),
        ("date", "1900-01-01", "", "", False, "'1900-01-01'"),
        ("datetime(3)", "CURRENT_TIMESTAMP(3)", "DEFAULT_GENERATED on update CURRENT_TIMESTAMP(3)", "", False,
         "CURRENT_TIMESTAMP(3) on update current_timestamp(3)"),
        ("timestamp", "CURRENT_TIMESTAMP", "", "", False, "CURRENT_TIMESTAMP"),
        ("timestamp", None, "on update CURRENT_TIMESTAMP", "", False, "on update current_timestamp"),
        ("varchar(36)", "uuid()", "DEFAULT_GENERATED", "", False, "uuid()"),
        ("int", None, "VIRTUAL GENERATED", "(`a` + 1)", False, "generated always as ((`a` + 1)) virtual"),
        ("int", None, "auto_increment", "", False, "auto_increment"),
        ("int", "NULL", "", "", True, None),
        ("varchar(9)", "NULL", "", "", False, "'NULL'"),
        ("int", None, "", "", False, None),
    ],
)  # fmt: skip
def test_defaults_of_mysql_and_mariadb(
    sql: str,
    default: str | None,
    extra: str,
    generated: str,
    mariadb: bool,  # noqa: FBT001
    text: str | None,
) -> None:
    """There is no MySQL among the servers of the tests; what information_schema shows is in its manual."""
    assert mysql._default(sql, default, extra, generated, mariadb=mariadb) == text


# -- which database ----------------------------------------------------------------------------------------------------


def test_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD, "open sesame")
    found = of_url("postgresql://re%40der@db.example:5433/Old%20Stock?sslmode=require&options=-c%20x%3Dy")
    assert (found.connector, found.host, found.port, found.user) == ("postgresql", "db.example", 5433, "re@der")
    assert (found.database, found.password) == ("Old Stock", "open sesame")
    assert found.options == {"sslmode": "require", "options": "-c x=y"}
    assert "sesame" not in repr(found)
    assert (of_url("mysql://root@h").database, of_url("mariadb://h/shop").connector) == ("", "mariadb")


@pytest.mark.parametrize(
    "url",
    ["oracle://h/x", "postgresql://a:open-sesame@h/x", "postgresql://h", "postgresql://h:99999/x", "h:5432/x", ""],
)
def test_a_url_that_cannot_be_used(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["introspect", "--url", url]) == 78
    said = capsys.readouterr().err
    assert ("C011" if url else "C012") in said
    assert "sesame" not in said


def test_an_option_that_the_driver_does_not_have(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["introspect", "--url", "mysql://h/x?sslmode=require"]) == 78
    assert "there are ssl_ca, ssl_cert, ssl_key" in capsys.readouterr().err


CONFIG = """\
kafka: {bootstrap.servers: "localhost:9092"}
sources:
  legacy:
    connector: postgresql
    log: shop.log
    catalog: not-there-yet.yaml
    database: {host: db.example, user: reader, password: "${env:LEGACY_PASSWORD}", database: shop, schemas: [public]}
  other: {connector: postgresql, log: other.log}
mappings: mappings/
"""


def test_a_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("LEGACY_PASSWORD", "open sesame")
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    with pytest.raises(ConfigInvalid):
        load_config(path)
    config = load_config(path, read_catalogs=False)
    source = config.sources["legacy"]
    assert source.database is not None
    assert (source.database.password, source.database.schemas) == ("open sesame", ("public",))
    assert source.catalog_file == tmp_path / "not-there-yet.yaml"
    assert config.secrets == ("open sesame",)
    for arguments in ([], ["--source", "nobody"], ["--source", "other"]):
        assert main(["introspect", "--config", str(path), *arguments]) == 78
        assert "C012" in capsys.readouterr().err


# -- the file ----------------------------------------------------------------------------------------------------------


def test_capture_to_file_and_diff(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "catalog.yaml"
    where = ["introspect", "--capture", INLINE, "--table", "public.t_cust", "--output", str(path)]
    assert main(where) == 0
    assert main([*where, "--diff"]) == 0
    catalog, _ = read(path.read_text(), str(path))
    assert list(catalog.tables) == ["public.t_cust"]
    path.write_text(path.read_text().replace("email: text null", "email: {type: text, nullable: false, pii: email}"))
    capsys.readouterr()
    assert main([*where, "--diff", "--format", "json"]) == 1
    change = {"table": "public.t_cust", "column": "email", "what": "nullable", "before": "not null", "after": "null"}
    assert json.loads(capsys.readouterr().out) == {"changes": [change], "breaks": [], "uses": []}


def test_a_file_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a file").touch()
    assert main(["introspect", "--capture", INLINE, "--output", str(tmp_path / "a file" / "catalog.yaml")]) == 70
    assert "B534" in capsys.readouterr().err


def test_everything_that_can_change() -> None:
    old = Catalog(
        {
            "s.a": CatalogTable(
                {
                    "x": CatalogColumn("integer", nullable=True, default="0", comment="old", pii="name"),
                    "y": CatalogColumn("text"),
                },
                ("x",),
                (ForeignKey(("x",), "s.b", ("x",), "cascade"),),
                "default",
                "a's",
            ),
            "s.gone": CatalogTable({}),
        },
        "mysql",
    )
    new = Catalog(
        {
            "s.a": CatalogTable(
                {"x": CatalogColumn("bigint"), "z": CatalogColumn("text", nullable=False)}, None,
                (ForeignKey(("x",), "s.b", ("x",)),), "full",
            )
        },
        "mariadb",
    )  # fmt: skip
    assert list(map(str, changes(old, new))) == [
        "~ the catalog: connector mysql → mariadb",
        "~ s.a.x: type integer → bigint",
        "- s.a.x: nullable null",
        "- s.a.x: default 0",
        "- s.a.x: comment 'old'",
        "- s.a.x: pii name",
        "- s.a.y: column text",
        "+ s.a.z: column text not null",
        "- s.a: key (x)",
        "~ s.a: replica identity default → full",
        '- s.a: comment "a\'s"',
        "- s.a: foreign key (x) references s.b (x) on delete cascade",
        "+ s.a: foreign key (x) references s.b (x) on delete no action",
        "- s.gone: table ()",
    ]
    assert changes(old, old) == []


def test_a_mistake_that_was_there_before_is_no_break() -> None:
    """And without a mapping nothing breaks, whatever changes."""
    text = EVERYTHING.replace("o.vat", "o.vta")
    changed = {**DATABASE.tables, "public.t_note": CatalogTable({})}
    found = difference(DATABASE, Catalog(changed, "postgresql"), [("order.yaml", text)])
    assert (found.breaks, found.exit_code) == ([], 1)
    dropped = {name: table for name, table in DATABASE.tables.items() if name != "public.t_cust"}
    found = difference(DATABASE, Catalog(dropped, "postgresql"), [("order.yaml", text)])
    assert ([one.code for one in found.breaks], found.exit_code) == (["M022"], 78)
    assert difference(DATABASE, Catalog(dropped, "postgresql"), []).exit_code == 1
