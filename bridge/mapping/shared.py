"""Common files: enums and types that all mapping files of the directory may name.

A file without ``aggregate:`` that has ``enums:`` or ``types:``:

```yaml
enums:
  OrderStatus: {N: NEW, P: PLACED}          # code: VALUE, or a list of codes that are names already
types:
  Money: decimal(12,2)
  Day: {type: 'date?', absent: ['1900-01-01'], zone: Europe/Paris}
```
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final

from bridge.mapping.diagnostics import Report, did_you_mean
from bridge.mapping.library import zone
from bridge.mapping.shape import NAME, Section
from bridge.mapping.types import Type, parse_type

COMMON_KEYS: Final = ("enums", "types", "doc")
TYPE_KEYS: Final = ("type", "zone", "absent", "pii", "doc")


@dataclass(slots=True)
class SharedType:
    """What the name of a type stands for; a plain type has no more than ``type``."""

    type: Type
    codes: dict[str | None, str] | None = None
    zone: str = ""
    absent: list[Any] = field(default_factory=list)
    pii: str = ""


def is_common(data: dict[str, Any]) -> bool:
    return "aggregate" not in data and ("enums" in data or "types" in data)


def check_common(top: Section, known: dict[str, SharedType]) -> None:
    """Add the file's enums and types to ``known``."""
    top.only(*COMMON_KEYS)
    for name, codes in _named(top, "enums", known):
        found = enum_codes(codes, name)
        symbols(codes, name, list(found.values()))
        known[name] = SharedType(enum_type(found), found)
    for name, types in _named(top, "types", known):
        made = _type(types, name)
        known[name] = SharedType(Type("any", optional=True)) if made is None else made


def _named(top: Section, key: str, known: dict[str, SharedType]) -> list[tuple[str, Section]]:
    found: list[tuple[str, Section]] = []
    section = top.section(key)
    for name in section or ():
        assert section is not None  # noqa: S101 - for the type checker
        if not NAME.match(name) or parse_type(name)[0] is not None or not name[0].isupper():
            section.report.add(
                "M037",
                section.at(name),
                f"'{name[:60]}' cannot be a shared name",
                "a capital, letters, digits and _",
                key=True,
            )
        elif name in known or any(name == one for one, _ in found):
            section.report.add("M037", section.at(name), f"'{name}' is defined twice", "rename or remove one", key=True)
        else:
            found.append((name, section))
    return found


def _type(section: Section, name: str) -> SharedType | None:
    if not isinstance(section.data[name], dict):
        text = section.text(name, required=True)
        return None if text is None else plain(section, name, text)
    inner = Section(section.report, section.at(name), section.data[name])
    inner.only(*TYPE_KEYS)
    text = inner.text("type", required=True)
    found = plain(inner, "type", text) if text is not None else None
    if found is not None:
        refine(inner, found)
    return found


def plain(section: Section, key: str, text: str) -> SharedType | None:
    """A type of the language itself, for a shared type."""
    kind, hint = parse_type(text)
    if kind is None:
        section.bad("M025", key, f"unknown type '{text[:60]}'", hint)
    elif kind.kind == "enum":
        section.bad("M037", key, "a shared enum stands under 'enums:'", "enums: {Name: {code: VALUE}}")
    return None if kind is None or kind.kind == "enum" else SharedType(kind)


def named(section: Section, key: str, text: str) -> SharedType | None:
    """What a type's text stands for: of the language, or shared. None with a diagnostic."""
    report: Report = section.report
    name = text.strip()
    optional = name.endswith("?")
    shared = report.shared.get(name.rstrip("?"))
    if shared is not None:
        kind = shared.type.maybe() if optional else shared.type
        return replace(shared, type=kind, absent=list(shared.absent))
    found, hint = parse_type(text)
    if found is not None:
        return SharedType(found)
    hint = did_you_mean(name.rstrip("?"), report.shared) or hint
    section.bad("M025", key, f"unknown type '{text[:60]}'", hint)
    return None


def refine(section: Section, found: SharedType) -> None:
    """``zone:``, ``absent:`` and ``pii:`` of a field or of a shared type."""
    if "absent" in section:
        _absent(section, found)
    if (name := section.text("zone")) is not None:
        _zone(section, found, name)
    if (kind := section.text("pii")) is not None:
        if not NAME.match(kind):
            section.bad(
                "M004", "pii", f"'{kind[:60]}' cannot be a kind of personal data", "for example email, name, iban"
            )
        found.pii = kind


def _absent(section: Section, found: SharedType) -> None:
    if not found.type.optional:
        section.bad("M028", "absent", "what is absent becomes null", f"declare it {found.type}?")
    values = section.data["absent"]
    if not isinstance(values, list) or any(isinstance(value, (dict, list, float)) or value is None for value in values):
        section.bad("M003", "absent", "'absent:' is a list of texts and whole numbers", "absent: ['1900-01-01']")
        return
    found.absent = list(values)


def _zone(section: Section, found: SharedType, name: str) -> None:
    if found.type.kind not in {"timestamp", "date"}:
        section.bad("M026", "zone", "'zone:' belongs to type timestamp or date")
        return
    try:
        zone(name)
    except ValueError as error:
        section.bad("M019", "zone", str(error), "for example Europe/Paris")
        return
    found.zone = name


def enum_codes(section: Section, key: str) -> dict[str | None, str]:
    """Code → symbol. Keys are text as written; ``null`` is the code of a null; a list names codes that are symbols."""
    found: dict[str | None, str] = {}
    if isinstance(section.data[key], list):
        return {text: text for text, _ in section.texts(key)}
    codes = section.section(key)
    for code in codes or ():
        symbol = codes.text(code, required=True) if codes is not None else None
        if symbol is not None:
            found[None if code == "null" else code] = symbol
    return found


def symbols(section: Section, key: str, names: list[str]) -> None:
    """Report names that cannot be an enum's values."""
    for name in names:
        if not NAME.match(name):
            section.bad("M004", key, f"'{name[:60]}' cannot be an enum's value", "letters, digits and _")


def enum_type(codes: dict[str | None, str], *, optional: bool = False) -> Type:
    return Type("enum", optional, symbols=tuple(dict.fromkeys(codes.values())))
