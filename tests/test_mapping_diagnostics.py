"""Each code has a golden file: what a person who made this mistake reads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bridge.errors import MappingInvalid
from bridge.mapping import diagnose, load
from bridge.mapping.catalog import read
from bridge.mapping.diagnostics import CODES, did_you_mean

GOLDEN = Path(__file__).parent / "golden" / "diagnostics"
CATALOG, _ = read((GOLDEN / "catalog.yaml.txt").read_text(), "catalog.yaml")


@pytest.mark.parametrize("code", sorted(CODES))
def test_golden(code: str) -> None:
    known = None if code == "M041" else CATALOG  # what foreign keys do, only a catalog knows
    connector = "mariadb" if known is None else ""
    found = diagnose([(f"{code}.yaml", (GOLDEN / f"{code}.yaml").read_text())], known, connector)
    said = "".join(f"{diagnostic}\n" for diagnostic in found)
    expected = GOLDEN / f"{code}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        expected.write_text(said)
    assert code in {diagnostic.code for diagnostic in found}
    assert said == expected.read_text()


def test_every_golden_file_has_a_code() -> None:
    assert {path.stem for path in GOLDEN.glob("M*.yaml")} == set(CODES)


def test_the_base_of_the_golden_files_is_sound() -> None:
    files = [("sound.yaml", (GOLDEN / "sound.yaml").read_text())]
    assert diagnose(files, CATALOG) == []
    assert diagnose(files) == []


def test_all_mistakes_of_all_files_at_once() -> None:
    files = [(f"{code}.yaml", (GOLDEN / f"{code}.yaml").read_text()) for code in ("M012", "M016")]
    with pytest.raises(MappingInvalid) as caught:
        load(files, "legacy", CATALOG)
    assert {d.file for d in caught.value.diagnostics} == {"M012.yaml", "M016.yaml"}
    assert len(caught.value.diagnostics) >= 5


def test_another_sources_files_are_checked_without_this_catalog() -> None:
    text = (GOLDEN / "M012.yaml").read_text().replace("source: legacy", "source: other")
    assert (
        load([("a.yaml", text), ("sound.yaml", (GOLDEN / "sound.yaml").read_text())], "legacy", CATALOG).source
        == "legacy"
    )


@pytest.mark.parametrize("key", ["aggregate", "source", "key", "tables", "model", "events"])
def test_a_misspelt_key_is_one_mistake(key: str) -> None:
    """What it holds is read all the same: nothing else is missing, and mistakes in it are found."""
    sound = "\n" + (GOLDEN / "sound.yaml").read_text()
    found = diagnose([("a.yaml", sound.replace(f"\n{key}:", f"\n{key}l:"))], CATALOG)
    assert [str(one).partition("\n")[0].partition(" ")[2] for one in found] == [
        f"M001: unknown key '{key}l'; did you mean '{key}'?"
    ]


def test_one_aggregate_per_source() -> None:
    sound = (GOLDEN / "sound.yaml").read_text()
    assert [d.code for d in diagnose([("a.yaml", sound), ("b.yaml", sound)])] == ["M029"]


@pytest.mark.parametrize(
    "text", ["", "- a", "aggregate: [1]", "a: 1", "tables: 3\nmodel: x\nevents: []\n", "tables: {a: , b: {}}"]
)
def test_hopeless_files_are_diagnosed(text: str) -> None:
    assert diagnose([("f.yaml", text)])


@pytest.mark.parametrize(
    ("condition", "code", "hint"),
    [
        ("day == '9999-12-31'", "", ""),
        ("date(day) == date('9999-12-31')", "", ""),
        (
            "day == date('9999-12-31')",
            "M016",
            "a column's day compares as text, '2026-01-31', or made a date: date(column)",
        ),
        ("day == '31.12.9999'", "M019", "for example '2026-01-31'"),
        ("day < '20260131'", "M019", "for example '2026-01-31'"),
        ("day in ['2026-01-31', '2026-02-30']", "M019", "for example '2026-01-31'"),
    ],
)
def test_a_day_in_a_condition_over_columns(condition: str, code: str, hint: str) -> None:
    catalog, _ = read("tables: {public.a: {columns: {id: integer not null, day: date not null}}}", "catalog.yaml")
    text = f"""aggregate: A
source: legacy
key: a.id
tables:
  a:
    table: public.a
    when: {condition}
model: {{a: int = a.id}}
events: {{Made: {{topic: t, when: created(), data: [a]}}}}
"""
    assert [(one.code, one.hint) for one in diagnose([("a.yaml", text)], catalog)] == ([(code, hint)] if code else [])


def test_did_you_mean() -> None:
    assert did_you_mean("tot_cent", ["tot_cents", "x"]) == "did you mean 'tot_cents'?"
    assert did_you_mean("ORDERID", ["orderId"]) == "did you mean 'orderId'?"
    assert did_you_mean("zzz", ["a"]) == ""
