"""``bridge init``: whatever the schema, the draft is sound; for known schemas it is what a careful engineer would write.

``UPDATE_GOLDEN=1 pytest tests/test_scaffold.py`` writes the golden drafts anew.
"""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.located_yaml import parse
from bridge.mapping import catalog as catalogs
from bridge.mapping import diagnose, load
from bridge.mapping.catalog import Catalog
from bridge.mapping.schema import MAPPING
from bridge.scaffold import codes, names, write
from bridge.scaffold.links import links
from bridge.scaffold.personal import marked
from bridge.scaffold.sample import Sample, TableSample
from bridge.scaffold.scaffold import Scaffold, scaffold
from tests import scaffold_catalogs
from tests.test_docs import History, line_of

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden" / "scaffold"
POSTGRES = ROOT / "tests" / "captures" / "postgres.jsonl.gz"
SEEDS = st.integers(0, 2**32)
SCHEMA = jsonschema.Draft202012Validator(MAPPING)

# What the demo's clerk does to the demo's schema, with the texts that its customers have.
DEMO = """
t_cust (cust_no) · t_ord (ord_no) · t_ord_line (ord_no, line_no) · t_pay (pay_no)
SNAPSHOT
{customers}
  INSERT t_ord      {{ord_no: 1, rec_typ: O, ord_stat: S, tot_cents: 2250, cur: 'EUR ', cust_no: 1, plc_dt: -2208988800000000}}
END
BEGIN
  INSERT t_ord      {{ord_no: 7, rec_typ: O, ord_stat: N, tot_cents: 0, cur: 'EUR ', cust_no: 1, plc_dt: null, rmk: call Ann}}
  INSERT t_ord_line {{ord_no: 7, line_no: 1, itm_cd: 'A-1     ', qty: 2, prc_cents: 1000}}
  UPDATE t_ord      {{ord_no: 7, tot_cents: 2000}}
  INSERT t_pay      {{pay_no: 7, ord_no: 7, st: I, amt_cents: 2000}}
  UPDATE t_ord      {{ord_no: 7, ord_stat: P, plc_dt: 1767603600123456}}
COMMIT
BEGIN
  UPDATE t_pay      {{pay_no: 7, st: C}}
  UPDATE t_ord      {{ord_no: 7, ord_stat: B}}
  INSERT t_ord      {{ord_no: 8, rec_typ: Q, ord_stat: N, tot_cents: 100, cur: 'EUR ', cust_no: 2}}
COMMIT
BEGIN
  UPDATE t_ord      {{ord_no: 8, rec_typ: O, ord_stat: X}}
COMMIT
""".strip()


def demo_history() -> History:
    customers = [
        f"  INSERT t_cust {{cust_no: {n}, cust_nm: Ann{n}, email: c{n}@example.com, cust_tier: {'G' if n % 5 == 0 else 'S'}}}"
        for n in range(1, 11)
    ]
    return History(DEMO.format(customers="\n".join(customers)))


def read(name: str) -> Catalog:
    path = GOLDEN / f"{name}.catalog.yaml"
    catalog, problems = catalogs.read(path.read_text(), str(path))
    assert problems == []
    return catalog


def sound(catalog: Catalog, sample: Sample) -> Scaffold:
    """The draft, which has no mistake and no warning, for an editor neither, compiles, and is the same again.

    A foreign key of a table that `init` leaves out may change rows unseen: that is for a person to look at (M041).
    """
    drafted = scaffold(catalog, "legacy", sample)
    files = list(drafted.files.items())
    for known in (drafted.catalog, catalog):
        assert [str(problem) for problem in diagnose(files, known) if problem.code != "M041"] == []
    assert [error.message for name, text in files for error in SCHEMA.iter_errors(parse(text, name).data)] == []
    if drafted.models:
        load(files, "legacy", drafted.catalog)
    assert scaffold(catalog, "legacy", sample).files == drafted.files
    return drafted


def bridge(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bridge", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False, text=True, timeout=120)


# -- any schema --------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(1, 14), st.sampled_from([0.0, 0.1, 0.4]))
def test_the_draft_of_any_schema_is_sound(seed: int, size: int, odd: float) -> None:
    catalog = scaffold_catalogs.catalog(seed, size, odd)
    sound(catalog, scaffold_catalogs.sample(seed, catalog))


@settings(max_examples=2, deadline=None)
@given(SEEDS)
def test_the_draft_of_200_tables_is_sound(seed: int) -> None:
    catalog = scaffold_catalogs.catalog(seed, 200, 0.05)
    drafted = sound(catalog, scaffold_catalogs.sample(seed, catalog))
    assert len(drafted.models) > 20
    seen = {alias.table for model in drafted.models for alias in model.aliases}
    unread = {table for model in drafted.models for table in model.unread}
    assert seen | unread | drafted.left.keys() == catalog.tables.keys()  # no table is lost in silence


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_every_text_is_read_as_it_was_written(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        return  # half of a character: no database has it
    found = parse(f"a: {write.scalar(text)}\nb: [{write.scalar(text, flow=True)}]\n{write.key(text + 'k')}: 1\n", "f")
    assert found.diagnostics == []
    assert found.data == {"a": text, "b": [text], text + "k": 1}


# -- known schemas -----------------------------------------------------------------------------------------------------


def golden(drafted: Path, name: str) -> None:
    """All drafted files, one after the other, against one golden file."""
    text = "\n".join(f"--- {path.name}\n{path.read_text()}" for path in sorted(drafted.glob("*.yaml")))
    expected = GOLDEN / f"{name}.txt"
    if "UPDATE_GOLDEN" in os.environ:
        expected.write_text(text)
    assert text == expected.read_text()


@pytest.mark.parametrize("name", ["demo", "insurance", "no-keys", "shop-mariadb", "shop-postgres"])
def test_golden_drafts(name: str, tmp_path: Path) -> None:
    """Through the command; the draft passes `check --strict` with the catalog that init marked, and its tests pass."""
    catalog, mappings, capture = tmp_path / "catalog.yaml", tmp_path / "mappings", tmp_path / "capture.jsonl"
    catalog.write_text((GOLDEN / f"{name}.catalog.yaml").read_text())
    sample: list[str | Path] = []
    if name == "demo":
        capture.write_bytes(b"\n".join(line_of(record) for record in demo_history().records))
        sample = ["--capture", capture, "--zone", "Europe/Paris"]
    elif name == "shop-postgres":
        sample = ["--capture", POSTGRES]
    done = bridge("init", "--catalog", catalog, "--source", "legacy", "--output", mappings, *sample)
    assert (done.returncode, done.stderr) == (0, "")
    golden(mappings, name)
    checked = bridge("check", "--strict", "--mappings", mappings, "--source", "legacy", "--catalog", catalog)
    assert checked.returncode == 0, checked.stderr
    if sample:
        tested = bridge("test", "--mappings", mappings, "--source", "legacy", "--catalog", catalog)
        assert "2 passed, 0 failed" in tested.stdout, tested.stdout


def test_the_first_test_is_what_the_capture_did_without_its_persons(tmp_path: Path) -> None:
    catalog, capture = tmp_path / "catalog.yaml", tmp_path / "capture.jsonl"
    catalog.write_text((GOLDEN / "demo.catalog.yaml").read_text())
    capture.write_bytes(b"\n".join(line_of(record) for record in demo_history().records))
    bridge("init", "--catalog", catalog, "--source", "legacy", "--output", tmp_path / "m", "--capture", capture)
    text = (tmp_path / "m" / "order.yaml").read_text()
    found = parse(text, "order.yaml").data["tests"]
    assert [next(iter(event)) for event in found[0]["expect"]] == [
        "OrderCreated", "OrderStatusChanged", "OrderCreated", "OrderStatusChanged", "OrderChanged",
    ]  # fmt: skip
    assert not [word for word in ("example.com", "Ann") if word in text]


def test_drafted_events_of_a_real_capture(tmp_path: Path) -> None:
    """The draft is not only sound: it runs, and says what happened."""
    catalog, mappings = tmp_path / "catalog.yaml", tmp_path / "mappings"
    catalog.write_text((GOLDEN / "shop-postgres.catalog.yaml").read_text())
    bridge("init", "--catalog", catalog, "--source", "shop", "--output", mappings, "--capture", POSTGRES)
    done = bridge("transform", POSTGRES, "--mappings", mappings, "--source", "shop", "--catalog", catalog)
    assert done.returncode == 0
    assert "311 events" in done.stderr
    assert '"type":"PaymentCreated"' in done.stdout
    assert "token:email:c1@x.test" in done.stdout  # without a key, a token is readable
    assert "\\u00fcstomer" not in done.stdout
    assert "Cüstomer" not in done.stdout  # a name
    assert "Street" not in done.stdout


# -- grouping ----------------------------------------------------------------------------------------------------------


def test_grouping_says_why_tables_are_left_out() -> None:
    left = scaffold(read("insurance"), "legacy", {}).left
    assert left["polis.TMP_IMPORT"] == "it has no primary key, so its rows cannot be told apart"
    assert left["polis.T_RISK"] == "reference data, looked up by polis.T_COV_RISK"


def test_a_table_named_is_a_root_alone() -> None:
    drafted = scaffold(read("demo"), "legacy", {}, roots=["public.t_ord"])
    assert [model.aggregate for model in drafted.models] == ["Order"]
    assert drafted.left["public.t_cust"] == "not among the tables that --table names"


def test_references_are_guessed_where_none_is_declared() -> None:
    found = links(read("no-keys"), {})
    assert {(name, link.columns, link.target) for name, all_of_it in found.items() for link in all_of_it} == {
        ("shop.auftrag", ("kunde_nr",), "shop.kunde"),
        ("shop.auftrag_position", ("auftrag_nr",), "shop.auftrag"),
        ("shop.auftrag_position", ("artikel_nr",), "shop.artikel"),
        ("shop.sessions", ("user_id",), "shop.users"),
    }
    assert all("no foreign key is declared" in link.guess for all_of_it in found.values() for link in all_of_it)


def test_a_sample_of_all_rows_refutes_a_guess() -> None:
    orders = TableSample([{"auftrag_nr": n, "kunde_nr": 100 + n} for n in range(9)], ("auftrag_nr",))

    def guessed(*, whole: bool) -> list[str]:
        customers = TableSample([{"kunde_nr": n} for n in range(9)], ("kunde_nr",), whole=whole)
        sample = {"shop.auftrag": orders, "shop.kunde": customers}
        return [link.target for link in links(read("no-keys"), sample)["shop.auftrag"]]

    assert guessed(whole=False) == ["shop.kunde"]
    assert guessed(whole=True) == []


def test_one_row_each_is_a_part_of_the_other() -> None:
    """Twelve orders, ten of them paid once: the payment belongs to the order; a second payment makes it its own."""
    orders = [{"ord_no": n, "cust_no": n % 3} for n in range(12)]
    paid = [{"pay_no": n, "ord_no": n, "st": "C", "amt_cents": 5} for n in range(10)]

    def roots(payments: list[dict[str, object]]) -> list[str]:
        sample = {"public.t_ord": TableSample(orders, ("ord_no",)), "public.t_pay": TableSample(payments, ("pay_no",))}
        return [model.aggregate for model in sound(read("demo"), sample).models]

    assert roots(paid) == ["Customer", "Order"]
    assert roots([*paid, paid[0] | {"pay_no": 99}]) == ["Customer", "Order", "Payment"]


def test_attributes_of_the_sample_are_read_one_by_one() -> None:
    rows = [{"MAND": 1, "POL_NR": "A", "ATTR_NM": name, "ATTR_VAL": "x"} for name in ("COLOR", "O'CLOCK", "EMAIL")]
    text = sound(read("insurance"), {"polis.T_POL_ATTR": TableSample(rows)}).files["policy.yaml"]
    assert "pivot: {name: ATTR_NM, value: ATTR_VAL}" in text
    assert "color: string? = attributes['COLOR']" in text
    assert "attributes['EMAIL']" not in text
    assert "left out: EMAIL (personal data)" in text


# -- columns -----------------------------------------------------------------------------------------------------------


def test_names() -> None:
    assert names.words("ORD_NO") == ("order", "number")
    assert names.words("custOrdStat2") == ("customer", "order", "status", "2")
    assert names.table_words("public.tbl_Addresses") == ("address",)
    assert [names.plural(word) for word in ("order", "country", "address", "day", "status")] == [
        "orders", "countries", "addresses", "days", "statuses",
    ]  # fmt: skip
    assert [names.singular(word) for word in ("orders", "countries", "addresses", "status", "boxes")] == [
        "order", "country", "address", "status", "box",
    ]  # fmt: skip
    assert [names.happened(value) for value in ("PLACED", "IN_REVIEW", "SENT", "ACTIVE", "ON_HOLD")] == [
        "Placed", "", "Sent", "Activated", "Held",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("comment", "expected"),
    [
        (
            'N new, P placed, B paid ("bezahlt"), X cancelled',
            {"N": "NEW", "P": "PLACED", "B": "PAID", "X": "CANCELLED"},
        ),
        ("1=yes 2=no", {"1": "YES", "2": "NO"}),
        ("A: active; I: inactive", {"A": "ACTIVE", "I": "INACTIVE"}),
        ("the state of the order, see JIRA", None),
    ],
)
def test_codes_from_a_comment(comment: str, expected: dict[str, str] | None) -> None:
    found = codes.codes("ord_stat", catalogs.CatalogColumn("char(1)", comment=comment), TableSample())
    assert (found and dict(found.values)) == expected


def test_personal_data_is_found_by_name_and_by_look() -> None:
    kinds = {
        (table, column): known.pii
        for table, one in marked(read("insurance"), {}).tables.items()
        for column, known in one.columns.items()
        if known.pii
    }
    assert kinds["polis.T_PERS", "GEB_DT"] == "birth_date"
    assert kinds["polis.T_PERS", "NAME"] == "name"
    assert ("polis.T_RISK", "DESCR") not in kinds
    rows = [{"v": f"DE8937040044053201{n:04}"} for n in range(10)]
    catalog = Catalog.of({"public.x": {"id": "integer", "v": "text"}})
    assert marked(catalog, {"public.x": TableSample(rows)}).tables["public.x"].columns["v"].pii == "iban"


# -- the command -------------------------------------------------------------------------------------------------------


def test_nothing_is_overwritten_without_force(tmp_path: Path) -> None:
    catalog, mappings = tmp_path / "catalog.yaml", tmp_path / "mappings"
    catalog.write_text((GOLDEN / "demo.catalog.yaml").read_text())
    mappings.mkdir()
    (mappings / "order.yaml").write_text("mine")
    again = ("init", "--catalog", catalog, "--source", "legacy", "--output", mappings)
    done = bridge(*again)
    assert done.returncode == 70
    assert "B504" in done.stderr
    assert (mappings / "order.yaml").read_text() == "mine"
    assert [path.name for path in mappings.iterdir()] == ["order.yaml"]
    assert catalog.read_text() == (GOLDEN / "demo.catalog.yaml").read_text()
    assert bridge(*again, "--force").returncode == 0
    assert (mappings / "order.yaml").read_text() != "mine"


def test_marks_are_written_into_a_catalog_of_introspect_alone(tmp_path: Path) -> None:
    """A person's comments in the file are worth more than the marks."""
    written, own = tmp_path / "written.yaml", tmp_path / "own.yaml"
    text = (GOLDEN / "demo.catalog.yaml").read_text()
    written.write_text(text)
    own.write_text(f"# ours\n{text}")
    for catalog in (written, own):
        done = bridge("init", "--catalog", catalog, "--source", "legacy", "--output", tmp_path / catalog.stem)
        assert done.returncode == 0
    assert "pii: email" in written.read_text()
    assert own.read_text() == f"# ours\n{text}"


def test_a_config_says_catalog_and_directory(tmp_path: Path) -> None:
    (tmp_path / "catalog.yaml").write_text((GOLDEN / "demo.catalog.yaml").read_text())
    source = (
        "connector: postgresql, topics: [shop.public.t_ord], transaction_topic: shop.transaction, catalog: catalog.yaml"
    )
    config = tmp_path / "config.yaml"
    config.write_text(f"kafka: {{bootstrap.servers: x}}\nsources:\n  legacy: {{{source}}}\nmappings: ours\n")
    done = bridge("init", "--config", config, "--source", "legacy")
    assert done.returncode == 0, done.stderr
    assert "aggregate: Order" in (tmp_path / "ours" / "order.yaml").read_text()
    assert "pii: email" in (tmp_path / "catalog.yaml").read_text()
    wrong = bridge("init", "--config", config, "--source", "legacies")
    assert (wrong.returncode, "C012" in wrong.stderr) == (78, True)


def test_without_a_catalog_there_is_nothing_to_draft() -> None:
    done = bridge("init", "--source", "legacy")
    assert done.returncode == 78
    assert "C012" in done.stderr


def test_wrong_arguments_are_mistakes_with_a_hint(tmp_path: Path) -> None:
    wrong = ["--table", "public.t_odr", "--zone", "Paris", "--source", "a/b"]
    done = bridge("init", "--catalog", GOLDEN / "demo.catalog.yaml", "--output", tmp_path, *wrong)
    assert done.returncode == 78
    assert "did you mean 'public.t_ord'?" in done.stderr
    assert "3 mistakes" in done.stderr
    assert not list(tmp_path.iterdir())


def test_rows_of_a_capture_with_other_columns_are_passed_over(tmp_path: Path) -> None:
    """A catalog that is younger than the capture, or a record that is no row: no reason to stop."""
    capture = tmp_path / "capture.jsonl.gz"
    with gzip.open(capture, "wb") as lines:
        lines.write(b'{"topic":"t","partition":0,"offset":0,"key":null,"value":"not JSON"}\n')
        lines.write(b"\n".join(line_of(record) for record in demo_history().records))
    done = bridge(
        "init",
        "--catalog",
        GOLDEN / "demo.catalog.yaml",
        "--source",
        "x",
        "--output",
        tmp_path / "m",
        "--capture",
        capture,
    )
    assert done.returncode == 0, done.stderr
    assert "codes: {" in (tmp_path / "m" / "order.yaml").read_text()
