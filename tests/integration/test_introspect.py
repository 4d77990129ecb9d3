"""The catalog of real databases whose schemas are as bad as schemas get, and what it is good for afterwards."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest
import yaml
from pymysql.constants import CLIENT

from bridge.introspect.database import PASSWORD
from bridge.mapping.catalog import Catalog, read
from deploy.stack import Stack
from tests.integration.seen import run_command

pytestmark = pytest.mark.stack
NASTY = Path(__file__).with_name("nasty")
UPDATE = "UPDATE_GOLDEN" in os.environ


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """PostgreSQL and MariaDB with the nasty schemas."""
    home = tmp_path_factory.mktemp("databases")
    with Stack(home, services=("postgres", "mariadb"), progress=lambda _: None) as stack:
        execute(stack, "CREATE DATABASE nasty ENCODING 'UTF8'", database="shop")
        execute(stack, (NASTY / "postgresql.sql").read_text())
        execute_mariadb(stack, (NASTY / "mariadb.sql").read_text())
        yield stack


def execute(stack: Stack, statements: str, *, database: str = "nasty") -> None:
    where: dict[str, Any] = {**stack.postgres, "dbname": database, "autocommit": True}
    with psycopg.connect(**where) as connection:
        connection.execute(statements.encode())


def execute_mariadb(stack: Stack, statements: str) -> None:
    where: dict[str, Any] = {**stack.mariadb, "client_flag": CLIENT.MULTI_STATEMENTS, "autocommit": True}
    with pymysql.connect(**where) as connection:
        cursor = connection.cursor()
        cursor.execute(statements)
        while cursor.nextset():
            pass


def url(stack: Stack, connector: str) -> str:
    if connector == "postgresql":
        return f"postgresql://reader@127.0.0.1:{stack.postgres['port']}/nasty?sslmode=disable"
    return f"{connector}://root@127.0.0.1:{stack.mariadb['port']}"


def introspect(*arguments: Any, **environment: str) -> tuple[int, str, str]:
    done = run_command("introspect", *map(str, arguments), environment=environment)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def sound(text: str) -> Catalog:
    catalog, problems = read(text, "catalog.yaml")
    assert problems == []
    return catalog


# -- what is read ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("connector", ["postgresql", "mariadb"])
def test_the_whole_catalog(databases: Stack, tmp_path: Path, connector: str) -> None:
    """Read twice: into a file, and to standard output; by a user without any right on PostgreSQL's tables."""
    path, golden = tmp_path / "catalog.yaml", NASTY / f"{connector}.yaml"
    code, _, said = introspect("--url", url(databases, connector), "--output", path, **{PASSWORD: ""})
    assert code == 0, said
    if UPDATE:
        shutil.copy(path, golden)
    assert path.read_text() == golden.read_text()
    code, printed, _ = introspect("--url", url(databases, connector))
    assert sound(printed) == sound(path.read_text())
    assert [one.name for one in tmp_path.iterdir()] == ["catalog.yaml"]


def test_postgresql_in_words() -> None:
    """The golden file says what the schema means; nobody has to compare it by eye."""
    tables = sound((NASTY / "postgresql.yaml").read_text()).tables
    order, line = tables["public.t_ord"], tables["public.t_ord_line"]
    assert order.key == ("ord_no", "shop")
    assert order.columns["ord_stat"].values == ("N", "P", "it's", "späť")
    assert order.columns["old_stat"].values == order.columns["ord_stat"].values
    assert (order.columns["cd"].type, order.columns["cd"].nullable) == ("character(8)", False)
    assert order.columns["gross"].default == "generated always as ((tot * 1.2)) stored"
    assert order.replica_identity == "full"
    assert "dropped" not in order.columns
    assert line.key == ("itm Cd", "line_no")  # a unique index
    assert line.replica_identity == "nothing"
    assert tables["pg2_archive.events"].key == ()
    assert [(key.columns, key.to, key.on_delete) for key in line.foreign_keys] == [
        (("ord_no", "shop"), ("ord_no", "shop"), "cascade")
    ]
    customer = tables["public.t_cust"]
    assert customer.comment == 'it\'s the "customers"\nand # prospects: yes\ttabbed 🎉'
    assert customer.columns["email"].pii == "email"
    assert customer.columns["cust_no"].default == "generated always as identity"
    assert customer.foreign_keys[0].references == "public.t_cust"
    stock = tables["Old Stock.Größe des Lagers"]
    assert (stock.replica_identity, stock.key) == ("index", ("Nr.",))
    assert sorted(tables) == [
        "Old Stock.Größe des Lagers",
        "pg2_archive.events",
        "public.empty",
        "public.t_cust",
        "public.t_note",
        "public.t_ord",
        "public.t_ord_line",
    ]


def test_mariadb_in_words() -> None:
    tables = sound((NASTY / "mariadb.yaml").read_text()).tables
    order = tables["legacy.t_ord"]
    assert order.key == ("ord_no", "shop")
    assert order.columns["ord_no"].type == "bigint(20) unsigned zerofill"
    assert order.columns["ord_stat"].values == ("N", "P", "it's", "späť")
    assert order.columns["upd_ts"].default == "current_timestamp() on update current_timestamp()"
    assert order.columns["label"].default == "generated always as (concat(`cd`,': # ',`shop`)) virtual"
    assert order.columns["note"].default is None
    assert order.columns["cd"].default == "''"
    assert tables["legacy.t_cust"].columns["email"].pii == "email"
    (key,) = tables["Old Stock.Größe des Lagers"].foreign_keys
    assert (key.references, key.columns, key.on_delete) == ("legacy.t_ord", ("ord_no", "shop"), "cascade")
    assert sorted(tables) == ["Old Stock.Größe des Lagers", "legacy.hidden", "legacy.t_cust", "legacy.t_ord"]


def test_only_what_is_meant(databases: Stack, tmp_path: Path) -> None:
    where = ("--url", url(databases, "postgresql"))
    assert list(sound(introspect(*where, "--schema", "Old Stock")[1]).tables) == ["Old Stock.Größe des Lagers"]
    globs = ("--table", "public.t_ord*", "public.t_cust")
    wanted = ["public.t_cust", "public.t_ord", "public.t_ord_line"]
    assert list(sound(introspect(*where, *globs)[1]).tables) == wanted
    path = tmp_path / "catalog.yaml"
    introspect(*where, *globs, "--output", path)
    introspect(*where, "--table", "public.t_note", "--output", path)
    assert sorted(sound(path.read_text()).tables) == sorted([*wanted, "public.t_note"])
    in_url = introspect("--url", url(databases, "mariadb") + "/Old%20Stock")[1]
    assert list(sound(in_url).tables) == ["Old Stock.Größe des Lagers"]


def test_mariadb_shows_a_reader_what_it_may_read(databases: Stack) -> None:
    where = f"mysql://reader@127.0.0.1:{databases.mariadb['port']}"
    code, printed, _ = introspect("--url", where, **{PASSWORD: "open sesame"})
    assert code == 0
    catalog = sound(printed)
    assert catalog.connector == "mariadb"
    assert sorted(catalog.tables) == ["legacy.hidden", "legacy.t_cust", "legacy.t_ord"]


# -- what goes wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("connector", ["postgresql", "mariadb"])
def test_a_refused_database_is_told_without_the_password(databases: Stack, connector: str) -> None:
    user = url(databases, connector).replace("root@", "reader@").replace("/nasty?", "/nowhere?")
    code, _, said = introspect("--url", user, **{PASSWORD: "shut sesame"})
    assert code == 70
    assert "B531" in said
    assert "hint:" in said
    assert "sesame" not in said


def test_nothing_that_is_meant(databases: Stack) -> None:
    code, _, said = introspect("--url", url(databases, "postgresql"), "--table", "t_ord")
    assert (code, "B532" in said) == (70, True)


# -- the file, and what people write into it ---------------------------------------------------------------------------

SHOP = """
CREATE TABLE public.shop (no integer PRIMARY KEY, st character(1) NOT NULL, nm character varying(20), mail text);
COMMENT ON COLUMN public.shop.nm IS 'the name';
CREATE TABLE public.staff (id integer PRIMARY KEY, shop_no integer REFERENCES public.shop);
"""
MAPPING = """\
aggregate: Shop
source: legacy
key: s.no
tables:
  s:
    table: public.shop
model:
  shopNo: string = s.no
  state:
    type: enum
    from: s.st
    codes: {O: OPEN, C: CLOSED}
  name: string? = s.nm
events:
  ShopOpened:
    topic: shops
    when: became(state, 'OPEN')
    data: [shopNo, name]
"""


@pytest.fixture
def shop(databases: Stack, tmp_path: Path) -> Iterator[Path]:
    """A config whose source has a database, a catalog that is not there yet, and a mapping."""
    execute(databases, "DROP TABLE IF EXISTS public.staff, public.shop;" + SHOP)
    (tmp_path / "mappings").mkdir()
    (tmp_path / "mappings" / "shop.yaml").write_text(MAPPING)
    (tmp_path / "password").write_text("open sesame\n")
    database = {
        "host": "127.0.0.1",
        "port": databases.postgres["port"],
        "user": "reader",
        "password": f"${{file:{tmp_path / 'password'}}}",
        "database": "nasty",
        "tables": ["public.sh*", "public.staff"],
        "options": {"sslmode": "disable"},
    }
    source = {"connector": "postgresql", "log": "shop.log", "catalog": "catalog.yaml", "database": database}
    kafka = {"bootstrap.servers": "localhost:1"}
    config = {"kafka": kafka, "sources": {"legacy": source}, "mappings": "mappings"}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    yield path
    execute(databases, "DROP TABLE IF EXISTS public.staff, public.shop")


def test_a_config_names_database_and_file(shop: Path) -> None:
    assert b"C009" in run_command("check", "--config", str(shop)).stderr
    code, _, said = introspect("--config", shop, "--source", "legacy")
    assert code == 0, said
    assert list(sound((shop.parent / "catalog.yaml").read_text()).tables) == ["public.shop", "public.staff"]
    assert run_command("check", "--config", str(shop)).returncode == 0
    assert introspect("--config", shop, "--source", "other")[0] == 78


def test_what_people_wrote_stays(databases: Stack, shop: Path) -> None:
    path = shop.parent / "catalog.yaml"
    introspect("--config", shop)
    by_hand = path.read_text().replace(
        "mail: text null", "mail: {type: text, nullable: true, pii: email, comment: 'old: mail'}"
    )
    by_hand = by_hand.replace("connector:", "doc: ask the shop team\nconnector:").replace("the name", "my own words")
    by_hand = by_hand.replace("public.staff:\n    key: [id]", "public.staff:\n    key: [id, shop_no]")
    path.write_text(by_hand)
    execute(databases, "ALTER TABLE public.shop ALTER mail TYPE character varying(90), ADD added integer")
    execute(databases, "ALTER TABLE public.staff DROP CONSTRAINT staff_pkey")
    code, _, said = introspect("--config", shop)
    assert code == 0
    assert "public.staff: no primary key" in said
    catalog = sound(path.read_text())
    columns = catalog.tables["public.shop"].columns
    assert catalog.doc == "ask the shop team"
    assert catalog.tables["public.staff"].key == ("id", "shop_no")
    assert (columns["mail"].type, columns["mail"].pii, columns["mail"].comment) == (
        "character varying(90)",
        "email",
        "old: mail",
    )
    assert columns["nm"].comment == "the name"
    assert "added" in columns


def test_a_broken_file_is_not_overwritten(shop: Path) -> None:
    path = shop.parent / "catalog.yaml"
    path.write_text("tables:\n  public.shop: {colums: {}}\n")
    code, _, said = introspect("--config", shop)
    assert code == 78
    assert f"{path}:2:17: M001" in said
    assert path.read_text() == "tables:\n  public.shop: {colums: {}}\n"


# -- what changed ------------------------------------------------------------------------------------------------------


def test_nothing_changed(shop: Path) -> None:
    assert introspect("--config", shop, "--diff")[0] == 78  # there is no file yet
    introspect("--config", shop)
    before = (shop.parent / "catalog.yaml").stat()
    assert introspect("--config", shop, "--diff")[:2] == (0, "")
    assert introspect("--config", shop)[0] == 0
    after = (shop.parent / "catalog.yaml").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_changes_that_break_nothing(databases: Stack, shop: Path) -> None:
    introspect("--config", shop)
    execute(databases, "ALTER TABLE public.shop REPLICA IDENTITY FULL, ALTER mail SET NOT NULL, ALTER nm TYPE text")
    execute(
        databases, "ALTER TABLE public.staff DROP CONSTRAINT staff_shop_no_fkey; COMMENT ON TABLE public.staff IS 'us'"
    )
    execute(databases, "CREATE TABLE public.sheet (id integer)")
    code, printed, _ = introspect("--config", shop, "--diff")
    execute(databases, "DROP TABLE public.sheet")
    assert code == 1
    assert (
        printed
        == f"""\
+ public.sheet: table (id)
~ public.shop.nm: type character varying(20) → text
~ public.shop.mail: nullable null → not null
~ public.shop: replica identity default → full
+ public.staff: comment 'us'
- public.staff: foreign key (shop_no) references public.shop (no) on delete no action
{shop.parent}/mappings/shop.yaml:13:21: use: public.shop.nm changed
      name: string? = s.nm
                        ^
"""
    )


def test_a_mapping_that_breaks(databases: Stack, shop: Path) -> None:
    introspect("--config", shop)
    execute(databases, "ALTER TABLE public.shop DROP st, ALTER nm TYPE double precision USING 1")
    code, printed, _ = introspect("--config", shop, "--diff", "--format", "json")
    found = json.loads(printed)
    assert code == 78
    assert [(one["what"], one["column"]) for one in found["changes"]] == [("column", "st"), ("type", "nm")]
    assert [(one["code"], one["line"], one["column"]) for one in found["breaks"]] == [
        ("M012", 11, 13),
        ("M016", 13, 19),
    ]
    assert [(one["message"], one["line"]) for one in found["uses"]] == [("public.shop.nm changed", 13)]
    url_alone = ("--url", url(databases, "postgresql"), "--table", "public.sh*", "public.staff")
    file_alone = ("--output", shop.parent / "catalog.yaml", "--mappings", shop.parent / "mappings")
    assert introspect(*url_alone, *file_alone, "--diff", "--format", "json")[1] == printed
