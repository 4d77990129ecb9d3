"""The house rules that a test can hold: what the README, the example config and the lock files say is true."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import bridge.cli
import bridge.config
from bridge.errors import BridgeError

ROOT = Path(__file__).resolve().parents[1]
TREE_NAME = re.compile(r"[\w.*-]+(/[\w.*-]+)*/?")
TREE_DRAWING = "│├└─ \t"


def documentation() -> str:
    """README.md and the pages under deploy/, as one text."""
    pages = [ROOT / "README.md", *sorted((ROOT / "deploy").rglob("*.md"))]
    return "\n".join(page.read_text() for page in pages)


# -- the tree in the README ------------------------------------------------------------------------------------------


def readme_tree() -> list[str]:
    """The paths of the README's file tree: the code block that has a line for ``bridge/``."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    trees = [block for block in blocks if re.search(r"^[│├└─\s]*bridge/", block, re.MULTILINE)]
    assert trees, "README.md has no file tree: a code block with a line that starts with bridge/"
    return list(tree_paths(trees[0]))


def tree_paths(block: str) -> Iterator[str]:
    """Each name with its parents; several names may share a line, and prose follows after two blanks."""
    parents: list[tuple[int, str]] = []
    for line in block.splitlines():
        text = line.lstrip(TREE_DRAWING)
        depth = len(line) - len(text)
        while parents and parents[-1][0] >= depth:
            parents.pop()
        prefix = parents[-1][1] if parents else ""
        names = [name for name in re.split(r"\s{2,}|#", text)[0].split() if TREE_NAME.fullmatch(name)]
        for name in names:
            yield prefix + name
        if len(names) == 1 and names[0].endswith("/"):
            parents.append((depth, prefix + names[0]))


def test_tree_names_only_what_is_there() -> None:
    missing = [path for path in readme_tree() if not any(ROOT.glob(path.rstrip("/")))]
    assert not missing


def test_tree_names_every_part() -> None:
    """Every directory of the top level and every module or package of bridge/ that git knows."""
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, stdout=subprocess.PIPE
    ).stdout.decode()
    parts = set()
    for file in map(Path, files.splitlines()):
        if len(file.parts) > 1 and not file.parts[0].startswith("."):
            parts.add(file.parts[0] + "/")
        if file.parts[0] == "bridge" and not file.name.startswith("__"):
            parts.add("/".join(file.parts[:2]) + ("/" if len(file.parts) > 2 else ""))
    assert sorted(parts - set(readme_tree())) == []


# -- the example config ----------------------------------------------------------------------------------------------


def schema_keys(schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every key that the schema knows; the name of a source or the like is ``*``."""
    for name, part in schema.get("properties", {}).items():
        yield (*path, name)
        yield from schema_keys(part, (*path, name))
    others = schema.get("additionalProperties")
    if isinstance(others, dict) and "properties" in others:
        yield from schema_keys(others, (*path, "*"))


def leaves(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The path and value of everything in nested mappings that is no mapping itself."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name), value


def test_example_config_has_every_key() -> None:
    """Also as a comment: some keys exclude each other."""
    text = (ROOT / "config.example.yaml").read_text()
    keys = {path[-1] for path in schema_keys(bridge.config.SCHEMA)}
    assert sorted(key for key in keys if not re.search(rf"^[ #]*{re.escape(key)}:", text, re.MULTILINE)) == []


def test_example_config_shows_the_defaults() -> None:
    shown = dict(leaves(yaml.safe_load((ROOT / "config.example.yaml").read_text())))
    other = {path: (shown.get(path), default) for path, default in leaves(bridge.config.DEFAULTS)}
    assert {path: pair for path, pair in other.items() if pair[0] != pair[1]} == {}


def test_example_config_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "config.example.yaml").read_text()
    for name in re.findall(r"\$\{env:([^}]+)\}", text):
        monkeypatch.setenv(name, "x")
    bridge.config.load(ROOT / "config.example.yaml")


# -- codes and commands ----------------------------------------------------------------------------------------------


def error_classes(root: type[BridgeError] = BridgeError) -> Iterator[type[BridgeError]]:
    for child in root.__subclasses__():
        yield child
        yield from error_classes(child)


def test_every_error_code_is_documented() -> None:
    text = documentation()
    missing = sorted({kind.code for kind in error_classes() if not re.search(rf"\b{kind.code}\b", text)})
    assert missing == []


def test_error_codes_tell_errors_apart() -> None:
    codes = [kind.code for kind in error_classes() if "code" in vars(kind) and kind.__module__ == "bridge.errors"]
    assert len(codes) == len(set(codes))


def test_every_command_is_documented() -> None:
    names = bridge.cli.COMMANDS
    text = documentation()
    assert names
    assert [name for name in names if f"bridge {name}" not in text] == []


@pytest.mark.parametrize("command", bridge.cli.COMMANDS)
def test_help_of_every_command_has_an_example(command: str) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "bridge", command, "--help"], cwd=ROOT, check=True, stdout=subprocess.PIPE
    )
    assert f"bridge {command}" in answer.stdout.decode().partition("example:")[2]


def test_every_make_target_is_explained() -> None:
    text = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert phony
    assert [name for name in phony[1].split() if not re.search(rf"^{name}:.*  ## \S", text, re.MULTILINE)] == []


# -- the supply chain ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_lock_file_pins_everything_with_hashes(name: str) -> None:
    text = (ROOT / name).read_text()
    requirements = re.split(r"\n(?=[a-z0-9])", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).strip())
    assert all("==" in entry and "--hash=sha256:" in entry for entry in requirements)
    assert "://" not in text


def test_this_file_reads_trees() -> None:
    plain_tree = "bridge/      the product\n  cli/       commands\n    run.py\n  a.py b.py  two\ndeploy/  # servers\n"
    drawn_tree = "bridge/\n├── cli/\n│   └── run.py\n└── a.py  one\n"
    assert (
        list(tree_paths(plain_tree)) == "bridge/ bridge/cli/ bridge/cli/run.py bridge/a.py bridge/b.py deploy/".split()
    )
    assert list(tree_paths(drawn_tree)) == "bridge/ bridge/cli/ bridge/cli/run.py bridge/a.py".split()
