"""The mappings that a reader learns from: each directory below mappings/ passes `check`, and its tests reach everything."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bridge.cli import main

ROOT = Path(__file__).resolve().parents[1]
MAPPINGS = ROOT / "mappings"
DIRECTORIES = sorted(path for path in MAPPINGS.iterdir() if path.is_dir())
WINDOWS = MAPPINGS / "insurance_windows"  # what `bridge test` cannot run yet
CATALOGS = {WINDOWS: MAPPINGS / "insurance" / "catalog.yaml"}  # of the same database


def arguments(directory: Path) -> list[str]:
    catalog = CATALOGS.get(directory, directory / "catalog.yaml")
    return ["--mappings", str(directory), *(["--catalog", str(catalog)] if catalog.exists() else [])]


@pytest.mark.parametrize("directory", DIRECTORIES, ids=lambda path: path.name)
def test_check_finds_no_mistake(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", *arguments(directory)]) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert [line for line in warnings if "M005" not in line] == []
    assert bool(warnings) == (directory == WINDOWS)


@pytest.mark.parametrize("directory", [one for one in DIRECTORIES if one != WINDOWS], ids=lambda path: path.name)
def test_their_tests_pass_and_reach_everything(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["test", *arguments(directory), "--seeds", "20", "--fail-under", "100"])
    assert code == 0, capsys.readouterr().out


def test_windows_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", *arguments(WINDOWS)]) == 78
    assert "M005" in capsys.readouterr().err


def test_the_page_names_every_file_and_only_those() -> None:
    """In the insurance example's page, and with commands that name what is there."""
    page = (MAPPINGS / "insurance" / "README.md").read_text()
    files = {path.name for one in (MAPPINGS / "insurance", WINDOWS) for path in one.glob("*.yaml")}
    assert set(re.findall(r"\b([a-z_]+\.yaml)\b", page)) == files
    assert [path for path in re.findall(r"\bmappings/\S+", page) if not (ROOT / path).exists()] == []
