"""YAML with places: data as JSON has it, every trap refused, every place exact."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from yaml.nodes import ScalarNode

from bridge.located_yaml import CODES, MAX_FOUND, Located, parse
from bridge.yaml_nodes import Limits

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(
    path for part in ("mappings", "tests", "legacy_demo", "deploy") for path in (ROOT / part).rglob("*.yaml")
)


def codes(text: str) -> list[str]:
    return [d.code for d in parse(text, "f.yaml").diagnostics]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"), ("on", "on"), ("Yes", "Yes"), ("1:30", "1:30"),
        ("2026-01-31", "2026-01-31"), ("~", None), ("", None),
        ("true", True), ("True", "True"), ("-7", -7), ("0", 0), ("1.50", 1.5), ("1e3", 1000.0),
        (".inf", ".inf"), ("'012'", "012"),
        ("1.2.3", "1.2.3"), ("0.0.0.0:80", "0.0.0.0:80"), ('"a\\tb"', "a\tb"),
    ],
)  # fmt: skip
def test_scalars_are_json_or_text(text: str, value: object) -> None:
    located = parse(f"a: {text}\n", "f.yaml")
    assert located.diagnostics == []
    assert located.data == {"a": value}
    assert type(located.data["a"]) is type(value)


BAD = {
    "Y001": "a: [1\n",
    "Y002": "a: 1\na: 2\n",
    "Y003": "a: 012\n",
    "Y004": "a: !thing 1\n",
    "Y005": "a: &x [1, *x]\n",
    "Y006": "a: " + "x" * (1 << 20),
    "Y007": "a: " + "[" * 60 + "]" * 60,
    "Y008": "a: [" + "1, " * 2_001 + "]",
    "Y009": "a:\n\tb: 1\n",
    "Y010": "a: {from: f(a, b)}\n",
    "Y011": "- 1\n",
    "Y012": "{[1]: 2}\n",
}


@pytest.mark.parametrize("code", sorted(CODES))
def test_each_code(code: str) -> None:
    assert code in codes(BAD[code])


@pytest.mark.parametrize("text", ["a: 0x1F\n", "a: 1_000\n", "a: 0o7\n", "a: [007]\n", "012: 1\n"])
def test_number_traps(text: str) -> None:
    assert codes(text) == ["Y003"]


def test_alias_bomb_is_refused_before_it_grows() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"] + [
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)
    ]
    assert codes("\n".join(lines)) == ["Y005"]


def test_small_aliases_are_fine() -> None:
    assert parse("a: &x {b: 1}\nc: *x\n", "f").data == {"a": {"b": 1}, "c": {"b": 1}}


def test_everything_at_once_and_in_place() -> None:
    found = parse("a: 012\na: 3\nc: {from: f(a, b)}\nd: !x 3\n", "f.yaml").diagnostics
    assert [(d.code, d.line, d.column) for d in found] == [
        ("Y003", 1, 4),
        ("Y002", 2, 1),
        ("Y010", 3, 11),
        ("Y004", 4, 4),
    ]
    assert str(found[1]) == "f.yaml:2:1: Y002: the key 'a' stands twice; remove one\n    a: 3\n    ^"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: {type: date?, from: x}\nb: 1\n- c\n", 3),  # the ? is no mistake
        ("a: 1\nb = c\nd: 2\n", 2),  # PyYAML would say: at the next line
        ("a: 1\nb = c\n", 2),
    ],
)
def test_what_is_not_yaml_is_said_where_it_stands(text: str, line: int) -> None:
    assert [(one.code, one.line) for one in parse(text, "f").diagnostics] == [("Y001", line)]


def test_an_optional_type_in_a_flow_mapping() -> None:
    assert parse("a: {type: date?, x: [string?]}\n", "f").data == {"a": {"type": "date?", "x": ["string?"]}}


def spot(located: Located, path: tuple[str | int, ...], part: str) -> str:
    """What stands in the file where ``part`` of the value of ``path`` is said to be."""
    value = located.data
    for step in path:
        value = value[step]
    index = located.index(path, value.index(part))
    return located.text[index : index + len(part)]


@pytest.mark.parametrize(
    "text",
    [
        "a: x == TARGET\n",
        "a: 'it''s a TARGET'\n",
        'a: "q \\" \\u00e9 TARGET"\n',
        "a: |\n  one\n    two TARGET\n",
        "a: >\n  one\n  two TARGET\n",
        "a: one\n   two\n   TARGET\n",
        "a: 'one\n\n   two TARGET'\n",
        "a:   é TARGET\n",
    ],
)
def test_offsets_inside_every_style(text: str) -> None:
    assert spot(parse(text, "f"), ("a",), "TARGET") == "TARGET"


@pytest.mark.parametrize("text", ['a: "\\ud800"\n', '"\\udfff": 1\n', 'a: ["x\\ud83c\\udf89"]\n'])
def test_half_characters_are_refused(text: str) -> None:
    assert codes(text) == ["Y001"]


def test_a_missing_path_gives_its_parent() -> None:
    located = parse("a:\n  b: 1\n", "f")
    assert located.position(located.index(("a", "c"))) == (1, 1)
    assert located.place(("a", "b")) == "f:2"


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "a: 1\n---\nb: 2\n", "a: *x\n", "a: 'x' == y\n", "a: b: c\n", "a: \x01\n", "]", "? a\n"]
)
def test_never_raises(text: str) -> None:
    parse(text, "f")


def place_of(node: Any) -> tuple[Any, ...]:
    """Where a node starts (of nothing at all the parsers differ), its tag and style."""
    if isinstance(node, ScalarNode):
        return (node.start_mark.index if node.value or node.style else None, node.tag, node.style)
    return (node.start_mark.index, node.tag, bool(node.flow_style))


def everything(text: str) -> tuple[Any, ...]:
    """Data, diagnostics, and where each part stands, in which style."""
    located = parse(text, "f")
    places = {path: place_of(node) for path, node in located._nodes.items()}
    keys = {path: node.start_mark.index for path, node in located._keys.items()}
    scalars = {path: located.scalar(path) for path in places}
    return located.data, located.diagnostics, places, keys, scalars


def both(text: str) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """By libyaml's parser where the file is sound, and by PyYAML's alone."""
    with pytest.MonkeyPatch.context() as patch:
        fast = everything(text)
        patch.setattr(yaml, "CSafeLoader", yaml.SafeLoader)
        return fast, everything(text)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_both_parsers_see_the_same_in_our_files(path: Path) -> None:
    fast, exact = both(path.read_text())
    assert fast == exact


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(
    st.lists(
        st.sampled_from(
            [
                *BAD.values(),
                "a",
                "b",
                ": ",
                " ",
                "\n",
                "- ",
                "'",
                '"',
                "é",
                "🎉",
                "{",
                "}",
                "[",
                "]",
                ", ",
                "#",
                "|",
                ">",
                "&x",
                "*x",
                "?",
                "\\",
                "no",
                "012",
                "\r\n",
                "\u2028",
                "\ufeff",
                "! ",
                "!x",
                "---",
            ]
        ),
        max_size=9,
    ).map("".join)
)
def test_both_parsers_see_the_same_in_rubble(text: str) -> None:
    """But for what libyaml takes and PyYAML does not (``|#``)."""
    fast, exact = both(text[:2000])
    lenient = fast != exact and "Y001" in {one.code for one in exact[1]} - {one.code for one in fast[1]}
    assert fast == exact or lenient


def test_a_big_unsound_file_is_told_by_libyaml() -> None:
    """PyYAML's own parser would take seconds."""
    text = "a: [" + "1, " * 30_000 + "\n  b: c: d\n"
    (found,) = parse(text, "f.yaml").diagnostics
    assert (found.code, found.line) == ("Y001", 2)


def test_limits_are_the_readers() -> None:
    assert parse(BAD["Y008"], "f", Limits(entries=3_000)).diagnostics == []
    assert parse(BAD["Y006"], "f", Limits(size=1 << 21, text=1 << 21)).diagnostics == []
    assert [one.code for one in parse("a: [1, 2]", "f", Limits(nodes=4)).diagnostics] == ["Y008"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a: " + "x" * 70_000, "Y006"),
        ("? " + "k" * 70_000 + "\n: 1\n", "Y006"),
        ("".join(f"k{i}: 1\n" for i in range(2_001)), "Y008"),
        ("a: " + "[" * 100_000, "Y007"),
        ("- " * 100_000, "Y007"),
        ("".join(" " * i + "a:\n" for i in range(500)), "Y007"),
        ("a: &x " + "y" * 65_000 + "\nb: [" + "*x, " * 1_900 + "]\nc: 1\nc: 2\n", "Y002"),
    ],
    ids=["line", "key", "keys", "brackets", "dashes", "indent", "long-alias"],
)
def test_what_is_too_much_is_told_at_once(text: str, code: str) -> None:
    start = time.process_time()
    found = parse(text, "f.yaml").diagnostics
    assert time.process_time() - start < 1
    assert code in {one.code for one in found}
    assert sum(len(str(one)) for one in found) < 5_000


def test_many_mistakes_end_somewhere() -> None:
    text = "a:\n" + "".join(f"  - {{x{i}: 012, y: 012}}\n" for i in range(1_900))
    assert len(parse(text, "f.yaml").diagnostics) == MAX_FOUND
