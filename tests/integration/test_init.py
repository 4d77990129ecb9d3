"""From an unknown database to mappings: introspect, init with a sample of the database, check."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest
from pymysql.constants import CLIENT

from deploy.stack import Stack
from tests.integration.seen import run_command

pytestmark = pytest.mark.stack
ROOT = Path(__file__).resolve().parents[2]
MARIADB = """
CREATE DATABASE ins;
CREATE TABLE ins.t_pol (pol_nr varchar(10) PRIMARY KEY, stat char(1) NOT NULL, end_dt date, prem decimal(10,2), pic blob);
CREATE TABLE ins.t_pol_attr (pol_nr varchar(10), attr_nm varchar(20), attr_val varchar(50), PRIMARY KEY (pol_nr, attr_nm));
CREATE TABLE ins.`odd ``%s` (`a%s` int PRIMARY KEY, v time);
INSERT INTO ins.t_pol VALUES ('A', 'A', '9999-12-31', 1.50, x'00'), ('B', 'X', '2020-01-01', NULL, NULL);
INSERT INTO ins.t_pol VALUES ('C', 'A', NULL, 2, NULL);
INSERT INTO ins.t_pol_attr VALUES ('A', 'COLOR', 'red'), ('A', 'EMAIL', 'x@example.com'), ('B', 'COLOR', 'blue');
INSERT INTO ins.`odd ``%s` VALUES (1, '10:00:00');
"""


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The demo's schema on PostgreSQL, some insurance without foreign keys on MariaDB."""
    with Stack(tmp_path_factory.mktemp("init"), services=("postgres", "mariadb"), progress=lambda _: None) as stack:
        where: dict[str, Any] = {**stack.postgres, "autocommit": True}
        with psycopg.connect(**where) as connection:
            connection.execute((ROOT / "legacy_demo" / "schema.sql").read_bytes())
            connection.execute("CREATE USER reader")
            connection.execute("GRANT SELECT ON t_cust, t_ord, t_ord_line TO reader")
        where = {**stack.mariadb, "client_flag": CLIENT.MULTI_STATEMENTS, "autocommit": True}
        with pymysql.connect(**where) as mariadb:
            cursor = mariadb.cursor()
            cursor.execute(MARIADB)
            while cursor.nextset():
                pass
        yield stack


def drafted(url: str, directory: Path) -> dict[str, str]:
    """The files that introspect and init make of a database; they pass the check without a warning."""
    catalog, mappings = directory / "catalog.yaml", directory / "mappings"
    for command in (
        ("introspect", "--url", url, "--output", catalog),
        ("init", "--url", url, "--catalog", catalog, "--source", "legacy", "--output", mappings),
        ("check", "--strict", "--mappings", mappings, "--source", "legacy", "--catalog", catalog),
    ):
        done = run_command(*map(str, command))
        assert done.returncode == 0, (done.stdout.decode(), done.stderr.decode())
    return {path.name: path.read_text() for path in mappings.glob("*.yaml")}


def test_postgresql(databases: Stack, tmp_path: Path) -> None:
    """The user may not read t_pay, which is drafted without a sample."""
    files = drafted(f"postgresql://reader@127.0.0.1:{databases.postgres['port']}/shop?sslmode=disable", tmp_path)
    assert "codes: {B: STATUS_B, N: STATUS_N, P: STATUS_P, S: STATUS_S}" in files["order.yaml"]
    assert "looks like a code" in files["payment.yaml"]
    assert "codes: {G: TIER_G, S: TIER_S}" in files["customer.yaml"]
    assert "example.com" not in "".join(files.values())
    assert "pii: email" in (tmp_path / "catalog.yaml").read_text()


def test_mariadb(databases: Stack, tmp_path: Path) -> None:
    files = drafted(f"mariadb://root@127.0.0.1:{databases.mariadb['port']}/ins", tmp_path)
    assert "codes: {A: STATUS_A, X: STATUS_X}" in files["policy.yaml"]
    assert "absent: ['9999-12-31']" in files["policy.yaml"]
    assert "color: string? = attributes['COLOR']" in files["policy.yaml"]
    assert "attributes['EMAIL']" not in files["policy.yaml"]


def test_a_database_that_does_not_answer(tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text("tables:\n  public.t:\n    key: [id]\n    columns: {id: integer}\n")
    url = "postgresql://reader@127.0.0.1:1/shop"
    done = run_command(
        "init", "--url", url, "--catalog", str(catalog), "--source", "x", "--output", str(tmp_path / "m")
    )
    assert done.returncode == 70
    assert b"B531" in done.stderr
