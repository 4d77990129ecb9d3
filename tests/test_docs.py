"""What the pages say is true: each mapping in them is sound, each example's events are what the core makes of its rows.

Code blocks are told apart by what is in them (see ``kind_of``):

  mapping   a whole mapping file
  rows      what a database did, in a shorthand (see ``History``); the mappings right before it are run on it
  events    the events of those rows, one a line; members that a line leaves out are not compared
  letters   their dead letters, in the same way
  explain   what ``bridge explain`` prints for the example before it
  diff      an edit of the mapping before it, and
  plan      what ``bridge plan`` prints for it
  help      what a command prints for ``--help``

``UPDATE_GOLDEN=1 pytest tests/test_docs.py`` writes help texts and the table of functions anew.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

import bridge.cli
import bridge.config
from bridge.core.encode import cloudevent
from bridge.kafka.settings import DENIED
from bridge.located_yaml import CODES as YAML_CODES
from bridge.located_yaml import parse
from bridge.mapping import check, check_events, check_model, check_tables, diagnose, load
from bridge.mapping.cases import Change, Database, Statement
from bridge.mapping.diagnostics import CODES, RUNTIME_CODES
from bridge.mapping.functions import FUNCTIONS, PREDICATES, Function
from bridge.mapping.types import PLAIN, Type
from bridge.model import PlainRecord
from bridge.observe.metrics import Metrics
from bridge.runtime.transform import settings_for, transform
from bridge.trial.log import Shape, log_of
from bridge.trial.stream import Stream

ROOT = Path(__file__).resolve().parents[1]
README, LANGUAGE, OPERATING = ROOT / "README.md", ROOT / "mappings" / "README.md", ROOT / "deploy" / "README.md"
COMMANDS = ROOT / "deploy" / "commands.md"
PAGES = (README, LANGUAGE, OPERATING, COMMANDS)
DEAD_LETTERS = "dead letters"
EXIT_CODES = "## Exit codes\n"
UPDATE = "UPDATE_GOLDEN" in os.environ

Row = dict[str, Any]


# -- pages and their blocks ----------------------------------------------------------------------------------------------


class Block(NamedTuple):
    page: Path
    line: int
    kind: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def kind_of(language: str, text: str) -> str:
    if language == "yaml" and re.search("^(aggregate|enums|types):", text, re.MULTILINE):
        return "mapping"
    if language == "text" and re.search("^(BEGIN|SNAPSHOT)\\b", text, re.MULTILINE):
        return "rows"
    if language == "text" and text.startswith("$ bridge explain") and "--help" not in text.partition("\n")[0]:
        return "explain"
    if language == "text" and text.startswith("$ bridge plan") and "--help" not in text.partition("\n")[0]:
        return "plan"
    if language == "text" and text.startswith("$ bridge"):
        return "help"
    if language == "json" and text.startswith("{"):
        return "events" if '"type":' in text.partition("\n")[0] else "letters"
    return language


@cache
def blocks(page: Path) -> list[Block]:
    """All fenced code blocks of a page, in order; a fence may be indented."""
    found: list[Block] = []
    start, language, indent = 0, "", 0
    lines: list[str] = []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        fence = re.match(r"( *)```(.*)$", line)
        if fence and not start:
            start, indent, language, lines = number, len(fence[1]), fence[2], []
        elif fence:
            text = "".join(f"{one}\n" for one in lines)
            found.append(Block(page, start, kind_of(language, text), text))
            start = 0
        elif start:
            lines.append(line[indent:])
    assert not start, f"{page}:{start}: the fence is not closed"
    return found


class Example(NamedTuple):
    """Mappings, the rows that they are run on, and what must come out."""

    place: str
    mappings: list[str]
    rows: str
    events: str
    letters: str


def examples(page: Path) -> Iterator[Example]:
    mappings: list[str] = []
    found = blocks(page)
    for number, block in enumerate(found):
        if block.kind == "mapping":
            if number and found[number - 1].kind != "mapping":
                mappings = []
            mappings.append(block.text)
        elif block.kind == "rows":
            after: dict[str, str] = {}
            for one in found[number + 1 : number + 3]:
                if one.kind not in ("events", "letters"):
                    break
                after[one.kind] = one.text
            yield Example(block.place, mappings, block.text, after.get("events", ""), after.get("letters", ""))


ALL_EXAMPLES = [example for page in PAGES for example in examples(page)]
ALL_MAPPINGS = [block for page in PAGES for block in blocks(page) if block.kind == "mapping"]


# -- a database in shorthand ---------------------------------------------------------------------------------------------

STATEMENT = re.compile(r"\s*(INSERT|UPDATE|DELETE|REKEY|TRUNCATE)\s+(\w+)\s*(\{.*?\}(?= *\{|$))?\s*(\{.*\})?\s*")


class History:
    """The records that a Debezium for PostgreSQL writes for a ``text rows`` block.

    The first line names the tables and their primary keys: ``t_ord (ord_no) · t_ord_line (ord_no, line_no)``. Then
    SNAPSHOT … END, at most once, and BEGIN … COMMIT: rows as YAML; a column that is never given is null, an UPDATE says
    what changed, REKEY gives the old and the new key. ``BEGIN after 5s`` commits so long after the one before.
    """

    def __init__(self, text: str) -> None:
        first, *lines = text.splitlines()
        names = re.findall(r"(\w+) \(([^)]*)\)", first)
        self.keys = {f"public.{name}": tuple(re.findall(r"\w+", columns)) for name, columns in names}
        parts = [self._statement(line) for line in lines if line.strip()]
        statements = [part for part in parts if isinstance(part, Statement)]
        columns = {table: [c for one in statements if one.table == table for c in one.row] for table in self.keys}
        self._database, self._stream = Database(self.keys, columns), Stream()
        self._play(parts)
        log = log_of(self._stream.sent, "", sorted(self.keys), Shape())
        self.records = [record for queue in log.queues for record in queue]

    def _statement(self, line: str) -> Statement | str:
        if re.fullmatch(r"SNAPSHOT|END|COMMIT|BEGIN(?: after \d+s)?", line.strip()):
            return line.strip()
        found = STATEMENT.fullmatch(line)
        assert found, f"not a statement: {line}"
        assert f"public.{found[2]}" in self.keys, f"no such table: {line}"
        row, *more = [parse(row, line).data for row in found.groups()[2:] if row] or [{}]
        return Statement(found[1].lower(), f"public.{found[2]}", row, *more)

    def _play(self, parts: list[Statement | str]) -> None:
        done: list[list[Change]] = []
        after = 1000
        for part in parts:
            if isinstance(part, Statement):
                done.append(self._database.run(part))
            elif part == "END":
                self._stream.snapshot([change for changes in done for change in changes])
            elif part == "COMMIT":
                self._stream.transaction(done, after_ms=after)
            else:
                done, after = [], 1000 * int((re.findall(r"\d+", part) or ["1"])[0])


def mapping_files(mappings: list[str]) -> list[tuple[str, str]]:
    names = [yaml.safe_load(text).get("aggregate", "common").lower() for text in mappings]
    return [(f"mappings/{name}.yaml", text) for name, text in zip(names, mappings, strict=True)]


def run(mappings: list[str], rows: str) -> tuple[list[Row], list[Row]]:
    """Events and dead letters."""
    records = History(rows).records
    source = yaml.safe_load(mappings[-1])["source"]
    settings = settings_for(records, source, DEAD_LETTERS)
    events: list[Row] = []
    letters: list[Row] = []
    for output in transform(records, settings, load(mapping_files(mappings), source)):
        for record in output.records:
            if record.topic == DEAD_LETTERS:
                letters.append(json.loads(record.value))
            else:
                events.append(cloudevent(record))
    return events, letters


def compare(found: list[Row], text: str) -> None:
    """Each line of ``text`` says what it says of the result in its place."""
    wanted = [json.loads(line) for line in text.splitlines()]
    shown = [{name: one.get(name) for name in line} for one, line in zip(found, wanted, strict=False)]
    assert shown + found[len(wanted) :] == wanted


# -- examples ------------------------------------------------------------------------------------------------------------


def test_there_are_examples() -> None:
    assert any(example.letters for example in ALL_EXAMPLES)
    assert len({example.place.partition(":")[0] for example in ALL_EXAMPLES}) > 1


COMMON = [(block.place, block.text) for block in ALL_MAPPINGS if "aggregate:" not in block.text]


@pytest.mark.parametrize("block", ALL_MAPPINGS, ids=lambda block: block.place)
def test_mapping_is_sound(block: Block) -> None:
    files = dict([*COMMON, (block.place, block.text)])
    assert diagnose(list(files.items())) == []


@pytest.mark.parametrize("example", ALL_EXAMPLES, ids=lambda example: example.place)
def test_example(example: Example) -> None:
    assert example.mappings, f"{example.place}: no mapping stands right before these rows"
    events, letters = run(example.mappings, example.rows)
    compare(events, example.events)
    compare(letters, example.letters)


def shown(kind: str) -> Iterator[tuple[Example, Block]]:
    """What a command prints, each with the example before it."""
    known = {example.place: example for example in ALL_EXAMPLES}
    for page in (README, LANGUAGE):
        last: Example | None = None
        for block in blocks(page):
            last = known.get(block.place, last)
            if block.kind == kind and last is not None:
                yield last, block


@pytest.mark.parametrize("explanation", list(shown("explain")), ids=lambda one: one[1].place)
def test_explanation_is_as_shown(explanation: tuple[Example, Block], tmp_path: Path) -> None:
    example, block = explanation
    (tmp_path / "mappings").mkdir()
    for name, text in mapping_files(example.mappings):
        (tmp_path / name).write_text(text)
    (tmp_path / "capture.jsonl").write_bytes(b"\n".join(map(line_of, History(example.rows).records)))
    prints(block, tmp_path, 0)


@pytest.mark.parametrize("example_and_plan", list(shown("plan")), ids=lambda one: one[1].place)
def test_plan_is_as_shown(example_and_plan: tuple[Example, Block], tmp_path: Path) -> None:
    """The edited mapping is the example's with the lines of the diff before the plan."""
    example, block = example_and_plan
    diff = [one for one in blocks(block.page) if one.kind == "diff" and one.line < block.line][-1]
    lines = [one[1:] for one in diff.text.splitlines()]
    pairs = zip(lines[::2], lines[1::2], strict=True)
    (name, text), *_ = mapping_files(example.mappings)
    edited = text
    for was, now in pairs:
        assert edited.count(f"{was}\n") == 1, was
        edited = edited.replace(f"{was}\n", f"{now}\n")
    for directory, content in (("mappings", text), ("edited", edited)):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / Path(name).name).write_text(content)
    (tmp_path / "capture.jsonl").write_bytes(b"\n".join(map(line_of, History(example.rows).records)))
    prints(block, tmp_path, 1)


def prints(block: Block, home: Path, exit_code: int) -> None:
    """The command in a block's first line prints the others."""
    line = block.text.partition("\n")[0]
    command = [sys.executable, "-m", "bridge", *line.split()[2:]]
    environment = os.environ | {"COLUMNS": "100", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=home, capture_output=True, check=False, text=True, env=environment)
    assert done.returncode == exit_code, done.stderr
    printed = f"{line}\n{done.stdout}"
    if UPDATE and block.text != printed:
        rewrite(block.page, f"```text\n{block.text}```\n", f"```text\n{printed}```\n")
    else:
        assert block.text == printed


def test_readme_example_by_the_command(tmp_path: Path) -> None:
    """The first example as a user would run it, from a capture file; the page shows the whole line."""
    example = next(examples(README))
    (name, text), *_ = mapping_files(example.mappings)
    mapping = tmp_path / name
    mapping.parent.mkdir()
    mapping.write_text(text)
    capture = tmp_path / "capture.jsonl"
    capture.write_bytes(b"\n".join(line_of(record) for record in History(example.rows).records))
    done = bridge_command("transform", str(capture), "--mappings", str(mapping.parent), "--source", "legacy")
    assert done.stdout == example.events
    assert "10 row changes, 2 transactions, 1 events, 0 dead letters" in done.stderr


def line_of(record: PlainRecord) -> bytes:
    """A record as ``kcat -J`` prints it."""
    texts = {"key": record.key_bytes, "payload": record.value_bytes}
    line: Row = {"topic": record.topic_name, "partition": 0, "offset": record.offset_number, "headers": []}
    return json.dumps(line | {name: None if text is None else text.decode() for name, text in texts.items()}).encode()


def bridge_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bridge", *arguments]
    environment = os.environ | {"COLUMNS": "80"}
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True, env=environment)


# -- commands ------------------------------------------------------------------------------------------------------------


def rewrite(page: Path, old: str, new: str) -> None:
    text = page.read_text()
    assert text.count(old) == 1
    page.write_text(text.replace(old, new))
    blocks.cache_clear()


@pytest.mark.parametrize("command", ["", *bridge.cli.COMMANDS])
def test_help_is_as_shown(command: str) -> None:
    arguments = [command] if command else []
    title = " ".join(["$ bridge", *arguments, "--help\n"])
    shown = [one.text for one in blocks(COMMANDS) if one.kind == "help" and one.text.startswith(title)]
    printed = title + bridge_command(*arguments, "--help").stdout
    if UPDATE and shown != [printed]:
        old = f"```text\n{shown[0]}```\n" if shown else EXIT_CODES
        rewrite(COMMANDS, old, f"```text\n{printed}```\n" + ("" if shown else f"\n{EXIT_CODES}"))
    else:
        assert shown == [printed]


def test_captures_of_the_readme_are_there() -> None:
    commands = [one.text for one in blocks(README) if one.kind == "sh" and "transform" in one.text]
    for line in "".join(commands).replace("\\\n", "").splitlines():
        assert bridge_command(*line.split()[1:]).stdout.count("\n") > 20


# -- tables that the code knows better -----------------------------------------------------------------------------------

RESULTS = {
    "coalesce": "what it is given", "min": "what it is given", "max": "what it is given", "sum": "number",
    "abs": "number", "first": "element", "last": "element",
}  # fmt: skip
SIGNATURE = {"string": "text", "bools": "conditions", "step!": "key or index!"}
KEEPS_NULL = {
    "coalesce": "see meaning", "count": "counts it", "any": "counts as false", "all": "counts as false",
    "sum": "null inside: T108", "min": "null inside: T108", "max": "null inside: T108",
    "first": "gives it", "last": "gives it", "match": "false",
}  # fmt: skip


def function_row(function: Function) -> str:
    """``| signature | gives | meaning | null | example |``"""
    parts = []
    for kind in function.parameters:
        plain = kind.rstrip("*?")
        name = SIGNATURE.get(plain, plain)
        parts.append(name + ("…" if kind.endswith("*") else "?" if kind.endswith("?") else ""))
    gives = RESULTS.get(function.name) or str(function.result) if isinstance(function.result, Type) else ""
    gives = RESULTS.get(function.name, gives) + ("?" if function.nullable and not gives.endswith("?") else "")
    null = KEEPS_NULL.get(function.name, "through")
    call = f"`{function.name}({', '.join(parts)})`"
    return f"| {call} | {gives} | {function.meaning} | {null} | `{function.example}` → `{function.gives}` |"


def test_table_of_functions() -> None:
    """Every function, as the code has it; that each example gives what it says is tested with the language."""
    head = ["| call | gives | meaning | null | example |", "|---|---|---|---|---|"]
    table = "\n".join(["<!-- functions:begin -->", *head, *map(function_row, FUNCTIONS.values())])
    shown = LANGUAGE.read_text().partition("<!-- functions:begin -->")[2].partition("<!-- functions:end -->")[0]
    shown = "<!-- functions:begin -->" + shown
    if UPDATE and shown != table + "\n":
        rewrite(LANGUAGE, shown, table + "\n")
    else:
        assert shown == table + "\n"


@pytest.mark.parametrize("codes", [CODES, RUNTIME_CODES, YAML_CODES], ids=["M", "T", "Y"])
def test_tables_of_codes(codes: dict[str, str]) -> None:
    text = LANGUAGE.read_text()
    assert [code for code, meaning in codes.items() if f"| {code} | {meaning}" not in text] == []


def test_every_code_that_is_raised_is_explained() -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "bridge").rglob("*.py"))
    codes = set(re.findall(r"[\"\']([MYTCBD][0-9]{3})[\"\']", sources))
    pages = "\n".join(page.read_text() for page in PAGES)
    assert sorted(code for code in codes if not re.search(rf"\b{code}\b", pages)) == []


def test_every_key_and_word_of_the_language_is_explained() -> None:
    text = LANGUAGE.read_text()
    keys = {*check.FILE_KEYS, *check_tables.ALIAS_KEYS, *check_model.LONG_KEYS, *check_events.EVENT_KEYS}
    assert sorted(key for key in keys if f"| `{key}` |" not in text) == []
    assert [name for name in PREDICATES if f"| `{name}(" not in text] == []
    assert [name for name in (*PLAIN, "enum") if f"| `{name}` |" not in text] == []
    assert [
        name for name in (*check.POLICIES, *check_tables.TRIMS, *check_events.ELEMENT_RULES) if name not in text
    ] == []


def test_the_catalog_is_one(tmp_path: Path) -> None:
    (text,) = [one.text for one in blocks(LANGUAGE) if one.kind == "yaml" and one.text.startswith("tables:")]
    path = tmp_path / "catalog.yaml"
    path.write_text(text)
    catalog, problems = bridge.config.read_catalog(path)
    assert problems == []
    assert catalog.tables["public.t_ord"].columns["tot"].type == "numeric(12,2)"


def test_links_between_the_pages() -> None:
    for page in PAGES:
        for name, anchor in re.findall(r"\]\(([\w./-]*)(?:#([\w…-]+))?\)", page.read_text()):
            target = (page.parent / name).resolve() if name else page
            assert target.exists(), f"{page}: {name}"
            if anchor:
                titles = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
                anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
                assert anchor in anchors, f"{page}: {name}#{anchor}"


# -- the operator's page -------------------------------------------------------------------------------------------------


def config_keys(schema: Row, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, part in schema.get("properties", {}).items():
        others = part.get("additionalProperties")
        inner = {"properties": {"*": others}} if isinstance(others, dict) and "properties" in others else part
        if not inner.get("properties") or inner is not part:
            yield (*path, name)
        yield from config_keys(inner, (*path, name))


def test_every_config_key_and_its_default() -> None:
    text = OPERATING.read_text()
    for path in config_keys(bridge.config.SCHEMA):
        default: Any = bridge.config.DEFAULTS
        for name in path:
            default = default.get(name) if isinstance(default, dict) else None
        if path[-1] != "*":
            shown = "" if default is None or isinstance(default, dict) else f"`{default}` "
            row = f"| `{'.'.join(path)}` | {shown}"
            assert row in text, row
    assert [name for name in DENIED if f"`{name}`" not in text] == []


def test_every_metric() -> None:
    metrics = Metrics()
    metrics.declare("legacy", ["OrderPlaced"])
    text = OPERATING.read_text()
    for family in metrics.registry.collect():
        if not family.name.startswith(("process_", "python_")):
            name = family.name + ("_total" if family.type == "counter" else "")
            assert f"`{name}`" in text, name


def test_every_line_of_the_log() -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "bridge" / "runtime").glob("*.py"))
    events = set(re.findall(r"(?:log|get_logger\(\))\.(?:debug|info|warning|error)\(\s*\"(\w+)\"", sources))
    assert len(events) > 8
    assert sorted(event for event in events if f"`{event}`" not in OPERATING.read_text()) == []


def test_every_crash_point() -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "bridge").rglob("*.py"))
    points = set(re.findall(r"crash_point\(\"(\w+)\"\)", sources))
    assert points
    assert sorted(point for point in points if not re.search(rf"\b{point}\b", OPERATING.read_text())) == []
