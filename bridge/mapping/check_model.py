"""Checks ``model:``: declared types, and the expressions that give the fields."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from bridge.located_yaml import Path
from bridge.mapping.catalog import Catalog
from bridge.mapping.diagnostics import Report, Source, did_you_mean
from bridge.mapping.draft import Draft, ModelField
from bridge.mapping.expression import check, check_bool
from bridge.mapping.nodes import Column, Const, Expr, Pivot, RowRef, Rows, walk
from bridge.mapping.scope import RowScope, Scope
from bridge.mapping.shape import Section
from bridge.mapping.shared import SharedType, enum_codes, named, refine, symbols
from bridge.mapping.types import ANY, ROW, Type, fits

PAYLOAD_KEYS: Final = ("type", "from", "codes", "cases", "zone", "absent", "fields", "pii", "allow", "doc")
LONG_KEYS: Final = (*PAYLOAD_KEYS, "each", "order_by", "where")


def check_model(top: Section, draft: Draft, catalog: Catalog | None) -> None:
    """Fill ``draft.fields``."""
    model = top.section("model", required=True)
    if model is not None and draft.root:
        scope = RowScope(draft.aliases, {draft.root: draft.root}, catalog)
        draft.fields = fields_of(model, scope)


def fields_of(section: Section, scope: Scope) -> list[ModelField]:
    found = []
    for name in section:
        if not section.name(name, "a field"):
            continue
        value = section.data[name]
        if isinstance(value, dict):
            inner = Section(section.report, section.at(name), value)
            field = _long(inner, name, scope) if isinstance(scope, RowScope) else made(inner, name, scope)
        else:
            field = short(section, name, scope)
        # A field that could not be understood keeps its name, so that what uses it is not reported too.
        found.append(field if field is not None else ModelField(name, ANY, section.place))
    return found


def short(section: Section, name: str, scope: Scope) -> ModelField | None:
    """``name: type = expression``."""
    text = section.text(name, required=True)
    if text is None:
        return None
    parts = typed_expression(section.report, section, name, text)
    if parts is None:
        return None
    shared, source = parts
    field = _field(name, shared, section, section.at(name), source)
    field.value = check(source, scope)
    if field.value is None:
        return field
    if shared.codes is None:
        assignable(source, field.value, field.type)
    if field.type.kind == "enum" and shared.codes is None:
        hint = "write type: enum, from: … and codes: on lines of their own, or name an enum of a common file"
        section.bad("M025", name, "an enum has codes: or cases:", hint)
    if field.type.kind == "token" and not field.pii:
        section.bad(
            "M002", name, "a token says what kind of personal data it stands for", "type: token, from: … and pii: email"
        )
    return field


def _field(name: str, shared: SharedType, section: Section, path: Path, source: Source | None) -> ModelField:
    kind = replace(shared.type, pii=shared.pii) if shared.type.kind == "token" else shared.type
    field = ModelField(name, kind, section.report.located.place(path), path, {} if source is None else {"from": source})
    field.codes, field.zone, field.absent, field.pii = shared.codes, shared.zone, shared.absent, shared.pii
    return field


def typed_expression(report: Report, section: Section, name: str, text: str) -> tuple[SharedType, Source] | None:
    """Split ``type = expression``; None with a diagnostic if it is not that."""
    sign = text.find("=")
    while text.startswith("==", sign):
        sign += 1
    expression = text[sign + 1 :].lstrip()
    if sign < 0 or not expression:
        section.bad("M003", name, "write 'type = expression'", f"{name}: string = …")
        return None
    shared = named(section, name, text[:sign].strip())
    start = len(text) - len(expression)
    return None if shared is None else (shared, Source(report, section.at(name), expression, start))


def assignable(source: Source, value: Expr, kind: Type) -> None:
    """M016 if the types can never fit."""
    if not fits(value.type, kind):
        hint = {
            "string": "string(…)",
            "int": "int(…) of text",
            "decimal": "round(x, 2) of a double, decimal(…) of text",
        }.get(kind.kind, "")
        source.add("M016", 0, f"the field is {kind}, the expression gives {value.type}", hint)


def _long(section: Section, name: str, scope: RowScope) -> ModelField | None:
    section.only(*LONG_KEYS)
    return _each(section, name, scope) if "each" in section else made(section, name, scope)


def made(section: Section, name: str, scope: Scope) -> ModelField | None:
    """A field with keys of its own, of the model or of one payload."""
    if "fields" in section:
        return _record(section, name, scope)
    text = section.text("type", required=True)
    shared = named(section, "type", text) if text is not None else None
    if shared is None:
        return None
    refine(section, shared)
    source = section.source("from")
    field = _field(name, shared, section, section.path, source)
    if source is not None:
        field.value = check(source, scope)
        if field.value is not None and field.type.kind != "enum":
            assignable(source, field.value, field.type)
    if field.type.kind == "enum" and field.codes is None:
        _enum(section, field, scope)
    else:
        for key in ("codes", "cases"):
            if key in section:
                section.bad("M026", key, f"'{key}:' belongs to type enum")
        if source is None:
            section.missing("from")
    if field.type.kind == "token" and not field.pii:
        section.missing("pii", "the kind of personal data: pii: email")
    return field


def _enum(section: Section, field: ModelField, scope: Scope) -> None:
    if ("codes" in section) == ("cases" in section):
        if "codes" in section:
            section.bad("M026", "cases", "'codes:' and 'cases:' exclude each other")
        else:
            section.missing("codes", "an enum has codes: or cases:")
        return
    if "codes" in section:
        if section.data.get("from") is None:
            section.missing("from")
        field.codes = enum_codes(section, "codes")
        names = list(field.codes.values())
    else:
        if "from" in section:
            section.bad("M026", "from", "'cases:' and 'from:' exclude each other")
        field.cases = _cases(section, field, scope)
        names = [symbol for symbol, _ in field.cases]
    symbols(section, "codes" if "codes" in section else "cases", names)
    field.type = Type("enum", field.type.optional, symbols=tuple(dict.fromkeys(names)))


def _cases(section: Section, field: ModelField, scope: Scope) -> list[tuple[str, Expr]]:
    cases = section.section("cases")
    found: list[tuple[str, Expr]] = []
    for symbol in cases or ():
        source = cases.source(symbol) if cases is not None else None
        if source is None:
            section.report.add(
                "M003", (*section.at("cases"), symbol), "a case is a condition", "true for the last one", key=True
            )
        else:
            field.sources[symbol] = source
        test = check_bool(source, scope) if source is not None else None
        found.append((symbol, test if test is not None else Const(ROW, None)))
    return found


def _record(section: Section, name: str, scope: Scope) -> ModelField | None:
    for key in ("type", "from", "codes", "cases", "zone", "absent", "pii", "order_by", "where"):
        if key in section:
            section.bad("M026", key, f"a record has no '{key}:'")
    inner = section.section("fields", required=True)
    if inner is None:
        return None
    fields = fields_of(inner, scope)
    kind = Type("record", fields=tuple((field.name, field.type) for field in fields))
    return ModelField(name, kind, section.place, section.path, fields=fields)


def _each(section: Section, name: str, scope: RowScope) -> ModelField | None:
    for key in ("type", "from", "codes", "cases", "zone", "absent", "pii"):
        if key in section:
            section.bad("M026", key, f"a list has no '{key}:'")
    section.text("each", required=True)
    source, inner = section.source("each"), section.section("fields", required=True)
    rows = _rows(source, scope) if source is not None else None
    if rows is None or inner is None:
        return None
    below = scope.each(rows.alias)
    fields = fields_of(inner, below)
    item = Type("record", fields=tuple((field.name, field.type) for field in fields))
    field = ModelField(name, Type("list", item=item), section.place, section.path, each=rows, fields=fields)
    for text, path in section.texts("order_by"):
        found = check(Source(section.report, path, text), below)
        if isinstance(found, Column):
            field.order_by.append(found)
        elif found is not None:
            section.report.add("M004", path, "'order_by:' names columns")
    where = section.source("where")
    if where is not None:
        field.where, field.sources["where"] = check_bool(where, below), where
    return field


def _rows(source: Source, scope: RowScope) -> Rows | None:
    alias = scope.aliases.get(source.text.strip())
    if alias is None:
        source.add(
            "M013",
            0,
            f"there is no alias '{source.text.strip()[:60]}'",
            did_you_mean(source.text.strip(), scope.aliases),
        )
        return None
    parent = scope.reach(alias.parent or "")
    if not alias.many or parent is None or alias.name in scope.anchors.values():
        hint = (
            "each: needs an alias with many: true"
            if not alias.many
            else "put it inside the each: of the alias that it joins on"
        )
        source.add("M024", 0, f"'{alias.name}' is no list here", hint)
        return None
    return Rows(Type("list", item=ROW), parent, alias.name)


def root_only(fields: list[ModelField], root: str) -> frozenset[str]:
    """The fields that come from the root row alone: ``passed`` can see them at every step."""

    def alone(node: Any) -> bool:
        if isinstance(node, RowRef):
            return node.anchor == root and not node.chain
        return not isinstance(node, (Rows, Pivot))

    return frozenset(f.name for f in fields if all(alone(node) for e in f.expressions() for node in walk(e)))
