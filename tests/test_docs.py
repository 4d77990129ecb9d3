"""The pages are true: every whole mapping in them passes the check, and every function and code stands in the tables."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bridge.config import read_catalog
from bridge.located_yaml import CODES as YAML_CODES
from bridge.mapping import diagnose, load
from bridge.mapping.diagnostics import CODES, RUNTIME_CODES
from bridge.mapping.functions import FUNCTIONS, PREDICATES

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "mappings" / "README.md"]


def snippets(start: str) -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for number, block in enumerate(re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)):
            if block.startswith(start):
                found.append((f"{page.parent.name}/{page.name}#{number}", block))
    return found


@pytest.mark.parametrize(("name", "text"), snippets("aggregate:"), ids=lambda value: value.partition("\n")[0])
def test_whole_mappings_pass_the_check(name: str, text: str) -> None:
    assert diagnose([(name, text)]) == []
    assert load([(name, text)], "legacy").mappings


def test_there_are_whole_mappings() -> None:
    assert len(snippets("aggregate:")) >= 3


def test_the_catalog_is_one(tmp_path: Path) -> None:
    ((_, text),) = snippets("tables:\n  public.")
    path = tmp_path / "catalog.yaml"
    path.write_text(text)
    columns, problems = read_catalog(path)
    assert problems == []
    assert columns["public.t_ord"]["tot"] == "numeric(12,2)"


def test_every_function_and_code_is_in_the_tables() -> None:
    page = (ROOT / "mappings" / "README.md").read_text()
    functions = {function.name for function in FUNCTIONS.values()}
    assert {name for name in functions if f"| `{name}(" not in page} == set()
    assert {name for name in PREDICATES if f"`{name}(" not in page} == set()
    assert {code for code in (*CODES, *RUNTIME_CODES, *YAML_CODES) if f"| {code} |" not in page} == set()
