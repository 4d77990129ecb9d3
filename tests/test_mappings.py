"""The mappings that a reader learns from: each directory below mappings/ passes `check`, and its tests reach everything."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bridge.cli import main

ROOT = Path(__file__).resolve().parents[1]
MAPPINGS = ROOT / "mappings"
DIRECTORIES = sorted(path for path in MAPPINGS.iterdir() if path.is_dir())


def arguments(directory: Path) -> list[str]:
    catalog = directory / "catalog.yaml"
    return ["--mappings", str(directory), *(["--catalog", str(catalog)] if catalog.exists() else [])]


@pytest.mark.parametrize("directory", DIRECTORIES, ids=lambda path: path.name)
def test_check_finds_no_mistake(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", *arguments(directory)]) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert warnings == []


@pytest.mark.parametrize("directory", DIRECTORIES, ids=lambda path: path.name)
def test_their_tests_pass_and_reach_everything(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["test", *arguments(directory), "--seeds", "20", "--fail-under", "100"])
    assert code == 0, capsys.readouterr().out


def test_the_page_names_every_file_and_only_those() -> None:
    """In the insurance example's page, and with commands that name what is there."""
    page = (MAPPINGS / "insurance" / "README.md").read_text()
    files = {path.name for path in (MAPPINGS / "insurance").glob("*.yaml")}
    assert set(re.findall(r"\b([a-z_]+\.yaml)\b", page)) == files
    assert [path for path in re.findall(r"\bmappings/\S+", page) if not (ROOT / path).exists()] == []
