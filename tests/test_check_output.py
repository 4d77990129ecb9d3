"""What `bridge check` prints: for people, for programs, for GitHub."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bridge.cli import main, output
from bridge.model import Diagnostic
from deploy.stack.process import running

GOLDEN = Path(__file__).parent / "golden" / "diagnostics"
ESCAPE = "\x1b["


@pytest.fixture(name="mistakes")
def _mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a mapping of two mistakes, and the catalog that shows them; the current directory is above."""
    monkeypatch.chdir(tmp_path)
    folder = Path("mappings")
    folder.mkdir()
    (folder / "order.yaml").write_text((GOLDEN / "M012.yaml").read_text())
    (folder / "catalog.yaml").write_text((GOLDEN / "catalog.yaml.txt").read_text())
    return folder


def check(folder: Path, *arguments: str) -> int:
    return main(["check", "--mappings", str(folder), "--catalog", str(folder / "catalog.yaml"), *arguments])


def warned(folder: Path) -> None:
    (folder / "order.yaml").write_text((GOLDEN / "M032.yaml").read_text())


# -- json ----------------------------------------------------------------------------------------------------------------


def test_json(mistakes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(mistakes, "--format", "json") == 78
    said = capsys.readouterr()
    first, *others = json.loads(said.out)
    assert first == {
        "code": "M012",
        "severity": "error",
        "message": "public.t_ord has no column 'tot_cent'",
        "hint": "did you mean 'tot_cents'?",
        "file": "mappings/order.yaml",
        "line": first["line"],
        "column": first["column"],
    }
    lines = (mistakes / "order.yaml").read_text().splitlines()
    assert lines[first["line"] - 1][first["column"] - 1 :].startswith("tot_cent")
    assert len(others) == (GOLDEN / "M012.txt").read_text().count("M012:") - 1
    assert said.err == ""


def test_json_of_what_is_right_is_an_empty_list(mistakes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (mistakes / "order.yaml").write_text((GOLDEN / "sound.yaml").read_text())
    assert check(mistakes, "--format", "json") == 0
    assert capsys.readouterr().out == "[]\n"


def test_json_of_a_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Mistakes of the config come in the same form; what has no place says so."""
    assert main(["check", "--config", str(tmp_path / "absent.yaml"), "--format", "json"]) == 78
    (one,) = json.loads(capsys.readouterr().out)
    assert (one["code"], one["line"], one["column"]) == ("C001", 0, 0)


def test_warnings(mistakes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    warned(mistakes)
    assert check(mistakes, "--format", "json") == 0
    assert {one["severity"] for one in json.loads(capsys.readouterr().out)} == {"warning"}
    assert check(mistakes, "--strict", "--format", "github") == 78
    assert capsys.readouterr().out.startswith("::warning file=mappings/order.yaml,line=")


# -- GitHub --------------------------------------------------------------------------------------------------------------


def test_github(mistakes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(mistakes, "--format", "github") == 78
    first = capsys.readouterr().out.splitlines()[0]
    assert re.fullmatch(
        r"::error file=mappings/order\.yaml,line=\d+,col=\d+,title=M012::"
        r"public\.t_ord has no column 'tot_cent'; did you mean 'tot_cents'\?",
        first,
    )


def test_github_is_escaped() -> None:
    """As the runner takes it apart: % and line ends everywhere, colons and commas in properties alone."""
    one = Diagnostic("M003", "100%: a, b\r\nc", "a,b:c%.yaml", 3, 1, hint="x::y")
    assert output.github([one]) == "::error file=a%2Cb%3Ac%25.yaml,line=3,col=1,title=M003::100%25: a, b%0D%0Ac; x::y\n"


def test_github_leaves_out_a_place_that_is_not_there() -> None:
    assert output.github([Diagnostic("M000", "nothing")]) == "::error title=M000::nothing\n"


# -- text ----------------------------------------------------------------------------------------------------------------


def test_text_is_plain_in_a_pipe(mistakes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(mistakes) == 78
    assert capsys.readouterr().err.startswith("mappings/order.yaml:")


@pytest.mark.parametrize(
    ("environment", "colour"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_text_has_colour_in_a_terminal_that_wants_it(
    mistakes: Path, environment: dict[str, str], *, colour: bool
) -> None:
    said = in_terminal(mistakes, environment)
    assert (ESCAPE in said) == colour
    plain = re.sub(r"\x1b\[\d*m", "", said)
    assert plain.startswith("mappings/order.yaml:")
    assert "did you mean 'tot_cents'?" in plain


def in_terminal(folder: Path, environment: dict[str, str]) -> str:
    """What the command writes to standard error where that is a terminal."""
    ours, theirs = pty.openpty()
    settings: dict[str, Any] = {
        "PATH": os.environ["PATH"],
        "TERM": "xterm",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    command = [
        sys.executable,
        "-m",
        "bridge",
        "check",
        "--mappings",
        str(folder),
        "--catalog",
        f"{folder}/catalog.yaml",
    ]
    with running(command, stdout=subprocess.DEVNULL, stderr=theirs, env=settings | environment) as process:
        os.close(theirs)
        said = b"".join(iter(lambda: read(ours), b""))
        assert process.wait() == 78
    os.close(ours)
    return said.decode().replace("\r\n", "\n")


def read(terminal: int) -> bytes:
    """Linux says EIO where the other side is closed."""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""


def test_a_catalog_may_lie_among_the_mappings(mistakes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (mistakes / "order.yaml").write_text((GOLDEN / "sound.yaml").read_text())
    (mistakes / "legacy.catalog.yaml").write_text("tables: {}\n")
    assert check(mistakes) == 0
    assert "1 mapping file(s), no mistakes" in capsys.readouterr().out
