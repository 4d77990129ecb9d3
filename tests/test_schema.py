"""The schema that editors use says what the checker says: the same keys, and the same verdict on every change of a file."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest

from bridge.cli import schema as command
from bridge.cli.common import CATALOG as CATALOG_NAME
from bridge.config import check as check_config
from bridge.located_yaml import parse
from bridge.mapping import cases, catalog, check, check_events, check_model, check_tables, check_tests, diagnose, shared
from bridge.mapping.schema import ALIAS, COMMON, EVENT, FIELD, FILE, MAPPING, PAYLOAD_FIELD, WINDOW
from bridge.mapping.schema_catalog import CATALOG
from bridge.mapping.schema_tests import PART, STATEMENT, TEST
from tests.test_docs import ALL_MAPPINGS

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden"
COMMITTED = ROOT / "mappings" / "mapping.schema.json"
MODERN = jsonschema.Draft202012Validator(MAPPING)
OLD = jsonschema.Draft7Validator(MAPPING)  # as yaml-language-server reads it
SHAPE = {"M001", "M002", "M003", "M004"}

# Keywords of both drafts that mean the same in each, annotations, and what yaml-language-server adds.
KEYWORDS: Final = set(
    """
    $schema $defs $ref title description default examples defaultSnippets type enum pattern minLength minimum
    properties additionalProperties propertyNames required minProperties maxProperties items minItems maxItems
    anyOf oneOf allOf not if then else
    """.split()
)


def subschemas(node: Any) -> Iterator[dict[str, Any]]:
    """Every schema inside a schema."""
    if not isinstance(node, dict):
        return
    yield node
    for name, part in node.items():
        if name in ("properties", "$defs"):
            for one in part.values():
                yield from subschemas(one)
        elif name in ("items", "additionalProperties", "propertyNames", "not", "if", "then", "else"):
            yield from subschemas(part)
        elif name in ("anyOf", "oneOf", "allOf"):
            for one in part:
                yield from subschemas(one)


def data_of(text: str) -> Any:
    located = parse(text, "file.yaml")
    assert located.diagnostics == []
    return located.data


def verdict(data: Any) -> bool:
    """Both drafts must agree."""
    valid = MODERN.is_valid(data)
    assert OLD.is_valid(data) == valid
    return valid


# -- the schemas themselves ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", command.SCHEMAS)
def test_it_is_a_schema_in_both_drafts(what: str) -> None:
    schema = command.SCHEMAS[what]
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft7Validator.check_schema(schema)


@pytest.mark.parametrize("schema", [MAPPING, CATALOG], ids=["mapping", "catalog"])
def test_only_keywords_that_editors_know(schema: dict[str, Any]) -> None:
    found = list(subschemas(schema))
    assert {name for one in found for name in one} - KEYWORDS == set()
    assert not [one for one in found if "$ref" in one and len(one) > 1]  # draft-07 ignores what stands beside it


@pytest.mark.parametrize("schema", [MAPPING, CATALOG], ids=["mapping", "catalog"])
def test_every_key_has_a_description(schema: dict[str, Any]) -> None:
    keys = [
        pair
        for one in subschemas(schema)
        if "additionalProperties" in one
        for pair in one.get("properties", {}).items()
    ]
    assert keys
    assert [name for name, part in keys if "description" not in part and "$ref" not in part] == []


def test_it_has_the_checkers_keys() -> None:
    pairs = [
        (FILE, check.FILE_KEYS),
        (WINDOW, check.WINDOW_KEYS),
        (COMMON, shared.COMMON_KEYS),
        (ALIAS, check_tables.ALIAS_KEYS),
        (FIELD, check_model.LONG_KEYS),
        (PAYLOAD_FIELD, check_model.PAYLOAD_KEYS),
        (EVENT, check_events.EVENT_KEYS),
        (TEST, check_tests.TEST_KEYS),
        (PART, check_tests.GIVEN_KEYS),
        (STATEMENT, cases.STATEMENTS),
    ]
    for schema, keys in pairs:
        assert set(schema["properties"]) == set(keys)
    (one,) = [part for part in COMMON["properties"]["types"]["additionalProperties"]["anyOf"] if "properties" in part]
    assert set(one["properties"]) == set(shared.TYPE_KEYS)


def test_what_the_command_prints_is_committed() -> None:
    line = [sys.executable, "-m", "bridge", "schema", "mapping"]
    printed = subprocess.run(line, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    if os.environ.get("UPDATE_GOLDEN"):
        COMMITTED.write_text(printed)
    assert json.loads(printed) == MAPPING
    assert COMMITTED.read_text() == printed


# -- good files ----------------------------------------------------------------------------------------------------------

FILES = [path for folder in ("mappings", "tests/captures/mappings") for path in sorted((ROOT / folder).rglob("*.yaml"))]
CATALOGS = [path for path in FILES if CATALOG_NAME.fullmatch(path.name)]
MAPPINGS = [path for path in FILES if path not in CATALOGS] + [
    GOLDEN / "every_key.yaml",
    ROOT / "bridge/testing/order.yaml",
]


@pytest.mark.parametrize("path", MAPPINGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_mapping_files_are_valid(path: Path) -> None:
    assert [error.message for error in MODERN.iter_errors(data_of(path.read_text()))] == []
    assert verdict(data_of(path.read_text()))


@pytest.mark.parametrize(
    "path", [path for path in MAPPINGS if ROOT / "mappings" in path.parents], ids=lambda path: path.name
)
def test_mapping_files_name_their_schema(path: Path) -> None:
    first, _, _ = path.read_text().partition("\n")
    marker, _, where = first.partition("$schema=")
    assert marker == "# yaml-language-server: "
    assert (path.parent / where).resolve() == COMMITTED


@pytest.mark.parametrize("block", ALL_MAPPINGS, ids=lambda block: block.place)
def test_mappings_of_the_pages_are_valid(block: Any) -> None:
    assert verdict(data_of(block.text))


@pytest.mark.parametrize("path", CATALOGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_catalogs_are_valid(path: Path) -> None:
    text = path.read_text()
    known, problems = catalog.read(text, path.name)
    assert problems == []
    validator = jsonschema.Draft202012Validator(CATALOG)
    assert validator.is_valid(data_of(text))
    assert validator.is_valid(data_of(catalog.write(known)))


def test_a_config_is_judged_by_its_schema() -> None:
    located = parse((ROOT / "config.example.yaml").read_text(), "config.yaml")
    assert check_config(located) == []
    assert jsonschema.Draft202012Validator(command.SCHEMAS["config"]).is_valid(located.data)


# -- bad files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", sorted(SHAPE))
def test_mistakes_of_shape_are_refused(code: str) -> None:
    assert not verdict(data_of((GOLDEN / "diagnostics" / f"{code}.yaml").read_text()))


def changed(data: Any) -> Iterator[tuple[str, Any]]:
    """The data with one place changed: each value in turn, by each of some others, taken away, or with one key more."""
    for path in places(data):
        for value in (None, [], {}, 7, "x y", ["a"], {"a": "b"}, ...):
            other = copy.deepcopy(data)
            *way, last = path
            target = other
            for name in way:
                target = target[name]
            if value is ...:
                del target[last]
            else:
                target[last] = value
            yield f"{'.'.join(map(str, path))}: {value}", other


def places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path and path[-1] != "doc":
        yield path
    parts = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for name, part in parts:
        yield from places(part, (*path, name))


COMMON_FILE = (
    "types: {Money: 'decimal(12,2)', Day: {type: 'date?', absent: ['1900-01-01'], zone: UTC, pii: day, doc: a day}}\n"
)


@pytest.mark.parametrize("part", ["tables", "model", "events", "tests", ""])
def test_every_change_of_a_file(part: str) -> None:
    """What the checker takes, the schema takes; and where all that is wrong is shape, the schema refuses it too.

    Of tests the checker says with the same codes what rows and payloads can hold, which is no shape.
    """
    whole = data_of((GOLDEN / "every_key.yaml").read_text())
    if part != "tests":
        del whole["tests"]
    elsewhere = ("tables", "model", "events")
    parts = {name: data for name, data in whole.items() if name == part or (not part and name not in elsewhere)}
    differences = []
    for what, other in changed(parts):
        data = {name: part for name, part in (whole | other).items() if name in other or name not in parts}
        found = problems([("file.yaml", json.dumps(data)), ("common.yaml", COMMON_FILE)])
        if differ(found, data) and not (found and part == "tests"):
            differences.append((what, sorted(found)))
    assert differences == []


def test_every_change_of_a_common_file() -> None:
    whole = data_of(COMMON_FILE) | {"enums": {"Status": {"N": "NEW"}, "Kind": ["A", "B"]}, "doc": "shared"}
    differences = []
    for what, other in changed(whole):
        if "enums" in other or "types" in other:
            found = problems([("common.yaml", json.dumps(other))])
            if differ(found, other):
                differences.append((what, sorted(found)))
    assert differences == []


def problems(files: list[tuple[str, str]]) -> set[str]:
    return {one.code for one in diagnose(files) if not one.warning}


def differ(found: set[str], data: Any) -> bool:
    if found - SHAPE:
        return False
    return MODERN.is_valid(data) == bool(found)
