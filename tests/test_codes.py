"""Every code is explained, in one place, and its examples are run: the wrong one yields the code, the right one nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from msgspec import structs

from bridge.cli import main
from bridge.codes import explain, explanations
from bridge.located_yaml import CODES as YAML_CODES
from bridge.located_yaml import parse
from bridge.mapping import catalog, diagnose
from bridge.mapping.diagnostics import CODES, RUNTIME_CODES

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "mappings" / "README.md", ROOT / "deploy" / "README.md"]
CATALOG, PROBLEMS = catalog.read((ROOT / "tests" / "golden" / "explain.catalog.yaml").read_text(), "catalog.yaml")
# The same of a MariaDB, where orders are deleted with their customer.
ORDERS = CATALOG.tables["public.t_ord"]
CASCADES = catalog.ForeignKey(("cust_no",), "public.t_cust", ("cust_no",), "cascade")
MARIADB = catalog.Catalog(
    CATALOG.tables | {"public.t_ord": structs.replace(ORDERS, foreign_keys=(CASCADES,))}, "mariadb"
)
BASE = (ROOT / "tests" / "golden" / "explain.yaml").read_text()
EXPLAINED = explanations()
SHOWN = sorted(code for code, found in EXPLAINED.items() if found.wrong)


# -- the texts -----------------------------------------------------------------------------------------------------------


def test_every_code_that_is_raised_is_explained() -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "bridge").rglob("*.py"))
    raised = set(re.findall(r"[\"\']([MYTCBD][0-9]{3})[\"\']", sources))
    assert raised - set(EXPLAINED) == set()
    assert set(EXPLAINED) - raised == set()


@pytest.mark.parametrize("codes", [CODES, RUNTIME_CODES, YAML_CODES], ids=["M", "T", "Y"])
def test_a_code_has_one_meaning(codes: dict[str, str]) -> None:
    assert {code: EXPLAINED[code].meaning for code in codes} == codes


def test_the_tables_of_the_pages_say_the_same() -> None:
    pages = "\n".join(page.read_text() for page in PAGES)
    rows = dict(re.findall(r"^\| ([MYTCBD][0-9]{3}) \| (.*) \|$", pages, re.MULTILINE))
    assert {code for code in EXPLAINED if code[0] in "MYTCD"} <= set(rows)
    assert [code for code in rows if not rows[code].startswith(EXPLAINED[code].meaning)] == []


# -- the examples --------------------------------------------------------------------------------------------------------


def test_every_mistake_of_a_mapping_has_an_example() -> None:
    limits = {"Y006", "Y007", "Y008"}  # of the file's size: no short text shows them
    assert set(SHOWN) == (set(CODES) | set(YAML_CODES)) - limits
    assert all(EXPLAINED[code].right for code in SHOWN)


def test_the_base_of_the_examples_is_sound() -> None:
    assert PROBLEMS == []
    assert diagnose([("base.yaml", BASE)], CATALOG) == []


@pytest.mark.parametrize("code", SHOWN)
def test_example(code: str) -> None:
    assert {one.code for one in found_in(EXPLAINED[code].wrong, code)} == {code}
    assert found_in(EXPLAINED[code].right, code) == []


def found_in(text: str, code: str) -> list[Any]:
    """What is wrong with the base after a fragment's entries took the place of its own; YAML's codes need no base."""
    located = parse(text, "example.yaml")
    if code in YAML_CODES or located.diagnostics:
        return located.diagnostics
    if "enums" in located.data:
        return diagnose([("common.yaml", text), ("base.yaml", BASE)], CATALOG)
    data = parse(BASE, "base.yaml").data
    for key, part in located.data.items():
        is_section = isinstance(part, dict) and isinstance(data.get(key), dict)
        data[key] = data[key] | part if is_section else part
    known = MARIADB if code == "M041" else CATALOG
    return diagnose([("example.yaml", yaml.safe_dump(data, sort_keys=False))], known)


# -- the command ---------------------------------------------------------------------------------------------------------


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "bridge", "check", *arguments]
    return subprocess.run(line, cwd=ROOT, capture_output=True, check=False, text=True)


def test_explain() -> None:
    done = command("--explain", "m012")
    assert done.returncode == 0
    assert done.stdout == explain("M012")
    assert EXPLAINED["M012"].wrong.strip() in done.stdout.replace("\n    ", "\n")
    assert "To mend it:" in done.stdout


def test_an_unknown_code() -> None:
    done = command("--explain", "M0112")
    assert done.returncode == 2
    assert done.stderr == "there is no code 'M0112'; did you mean M012?\n"


# -- what a person reads -------------------------------------------------------------------------------------------------

GOLDEN = ROOT / "tests" / "golden" / "diagnostics"
TOO_MUCH = {"Y006": "doc: " + "x" * (2 << 20), "Y008": "doc:\n" + f"- [{'1,' * 1990}1]\n" * 60}
COMMANDS = {
    "M000": ["check", "--mappings", "absent"],
    "C001": ["check", "--config", "absent.yaml"],
    "C011": ["introspect", "--url", "oracle://legacy/shop"],
    "C012": ["introspect"],
    "C020": ["check", "--strict", "--config", "C020.yaml"],
}


@pytest.mark.parametrize("code", sorted(YAML_CODES))
def test_yaml_golden(code: str) -> None:
    file = GOLDEN / f"{code}.yaml"
    found = parse(TOO_MUCH[code] if code in TOO_MUCH else file.read_text(), file.name).diagnostics
    assert {one.code for one in found} == {code}
    is_as_shown(code, "".join(f"{one}\n" for one in found))


@pytest.mark.parametrize("code", sorted(code for code in EXPLAINED if code[0] == "C" or code == "M000"))
def test_golden_of_the_command(code: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(GOLDEN)
    assert main(COMMANDS.get(code, ["check", "--config", f"{code}.yaml"])) == 78
    said = capsys.readouterr().err
    assert set(re.findall(r"\b([MC][0-9]{3}): ", said)) == {code}
    is_as_shown(code, said)


def is_as_shown(code: str, said: str) -> None:
    expected = GOLDEN / f"{code}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        expected.write_text(said)
    assert said == expected.read_text()
