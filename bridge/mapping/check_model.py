"""Checks ``model:``: declared types, and the expressions that give the fields."""

from __future__ import annotations

import re
from typing import Any, Final

from bridge.mapping.catalog import Catalog
from bridge.mapping.diagnostics import Report, Source, did_you_mean
from bridge.mapping.draft import Draft, ModelField
from bridge.mapping.expression import check, check_bool
from bridge.mapping.library import zone
from bridge.mapping.nodes import Call, Column, Const, Expr, Field, If, Pivot, RowRef, Rows, walk
from bridge.mapping.scope import RowScope, Scope
from bridge.mapping.shape import NAME, Section
from bridge.mapping.types import ANY, ROW, Type, fits, parse_type

_LONG: Final = ("type", "from", "codes", "cases", "zone", "absent", "each", "order_by", "where", "fields", "pii", "doc")
_SHORT: Final = re.compile(r"\s*(.*?)\s*=(?!=)\s*", re.DOTALL)


def check_model(top: Section, draft: Draft, catalog: Catalog | None) -> None:
    """Fill ``draft.fields``."""
    model = top.section("model", required=True)
    if model is not None and draft.root:
        scope = RowScope(draft.aliases, {draft.root: draft.root}, catalog)
        draft.fields = fields_of(model, scope)


def fields_of(section: Section, scope: RowScope) -> list[ModelField]:
    found = []
    for name in section:
        if not section.name(name, "a field"):
            continue
        value = section.data[name]
        if isinstance(value, dict):
            field = _long(Section(section.report, section.at(name), value), name, scope)
        else:
            field = _short(section, name, scope)
        # A field that could not be understood keeps its name, so that what uses it is not reported too.
        found.append(field if field is not None else ModelField(name, ANY, section.place))
    return found


def _short(section: Section, name: str, scope: Scope) -> ModelField | None:
    """``name: type = expression``."""
    text = section.text(name, required=True)
    if text is None:
        return None
    parts = typed_expression(section.report, section, name, text)
    if parts is None:
        return None
    kind, source = parts
    value = check(source, scope)
    if value is None:
        return ModelField(name, kind, source.place)
    assignable(source, value, kind)
    if kind.kind == "enum":
        section.bad(
            "M025", name, "an enum has codes: or cases:", "write type: enum, from: … and codes: on lines of their own"
        )
    return ModelField(name, kind, source.place, value)


def typed_expression(report: Report, section: Section, name: str, text: str) -> tuple[Type, Source] | None:
    """Split ``type = expression``; None with a diagnostic if it is not that."""
    match = _SHORT.match(text)
    if match is None or match.end() == len(text):
        section.bad("M003", name, "write 'type = expression'", f"{name}: string = …")
        return None
    kind = declared(section, name, match.group(1))
    if kind is None:
        return None
    return kind, Source(report, section.at(name), text[match.end() :], match.end())


def declared(section: Section, key: str, text: str) -> Type | None:
    kind, hint = parse_type(text)
    if kind is None:
        section.bad("M025", key, f"unknown type '{text[:60]}'", hint)
    elif kind.kind == "token":
        section.bad("M005", key, "type token is not supported yet")
        return None
    return kind


def assignable(source: Source, value: Expr, kind: Type) -> None:
    """M016 if the types can never fit, M028 if a null is certain to be possible."""
    if not fits(value.type, kind):
        hint = {
            "string": "string(…)",
            "int": "int(…) of text",
            "decimal": "round(x, 2) of a double, decimal(…) of text",
        }.get(kind.kind, "")
        source.add("M016", 0, f"the field is {kind}, the expression gives {value.type}", hint)
    elif not kind.optional and nullable(value):
        hint = f"coalesce(…, default), or declare it {kind}?"
        source.add("M028", 0, f"this may be null, and {kind} may not", hint)


def nullable(value: Expr) -> bool:
    """Null is possible by the expression's own form; columns are not asked (the catalog does not say)."""
    if isinstance(value, Const):
        return value.value is None
    if isinstance(value, If):
        return any(isinstance(part, Const) and part.value is None for part in (value.then, value.other))
    if isinstance(value, Call):
        of_list = value.function.name in {"min", "max"} and value.args[0].type.kind == "list"
        return value.function.nullable or of_list
    return isinstance(value, Field) and value.type.optional and value.root in {"after", "item"}


def _long(section: Section, name: str, scope: RowScope) -> ModelField | None:
    section.only(*_LONG)
    if "pii" in section:
        section.bad("M005", "pii", "'pii:' is not supported yet")
    if "each" in section:
        return _each(section, name, scope)
    if "fields" in section:
        return _record(section, name, scope)
    text = section.text("type", required=True)
    kind = declared(section, "type", text) if text is not None else None
    if kind is None:
        return None
    field = ModelField(name, kind, section.place)
    source = section.source("from")
    if source is not None:
        field.value = check(source, scope)
        if field.value is not None and kind.kind != "enum":
            assignable(source, field.value, kind)
    if kind.kind == "enum":
        _enum(section, field, scope)
    else:
        for key in ("codes", "cases"):
            if key in section:
                section.bad("M026", key, f"'{key}:' belongs to type enum")
        if source is None:
            section.missing("from")
    _absent(section, field)
    _zone(section, field)
    return field


def _enum(section: Section, field: ModelField, scope: RowScope) -> None:
    if ("codes" in section) == ("cases" in section):
        if "codes" in section:
            section.bad("M026", "cases", "'codes:' and 'cases:' exclude each other")
        else:
            section.missing("codes", "an enum has codes: or cases:")
        return
    if "codes" in section:
        if "from" not in section:
            section.missing("from")
        field.codes = _codes(section)
        symbols = list(field.codes.values())
    else:
        if "from" in section:
            section.bad("M026", "from", "'cases:' and 'from:' exclude each other")
        field.cases = []
        cases = section.section("cases")
        symbols = list(cases.data) if cases is not None else []
        for symbol in cases or ():
            source = cases.source(symbol) if cases is not None else None
            if source is None:
                section.report.add(
                    "M003", (*section.at("cases"), symbol), "a case is a condition", "true for the last one", key=True
                )
                continue
            test = check_bool(source, scope)
            field.cases.append((symbol, test if test is not None else Const(ROW, None)))
    _symbols(section, symbols)
    field.type = Type("enum", field.type.optional, symbols=tuple(dict.fromkeys(symbols)))


def _codes(section: Section) -> dict[str | None, str]:
    """Code → symbol. Keys are text as written; ``null`` is the code of a null."""
    found: dict[str | None, str] = {}
    data = section.data["codes"]
    if isinstance(data, list):
        return {text: text for text, _ in section.texts("codes")}
    codes = section.section("codes")
    for code in codes or ():
        symbol = codes.text(code, required=True) if codes is not None else None
        if symbol is not None:
            found[None if code == "null" else code] = symbol
    return found


def _symbols(section: Section, symbols: list[str]) -> None:
    key = "codes" if "codes" in section else "cases"
    for symbol in symbols:
        if not NAME.match(symbol):
            section.bad("M004", key, f"'{symbol}' cannot be an enum's value", "letters, digits and _")


def _absent(section: Section, field: ModelField) -> None:
    if "absent" not in section:
        return
    if not field.type.optional:
        section.bad("M028", "absent", "what is absent becomes null", f"declare it {field.type}?")
    values = section.data["absent"]
    if not isinstance(values, list) or any(isinstance(value, (dict, list, float)) or value is None for value in values):
        section.bad("M003", "absent", "'absent:' is a list of texts and whole numbers", "absent: ['1900-01-01']")
        return
    field.absent = list(values)


def _zone(section: Section, field: ModelField) -> None:
    name = section.text("zone")
    if name is None:
        return
    if field.type.kind not in {"timestamp", "date"}:
        section.bad("M026", "zone", "'zone:' belongs to type timestamp or date")
        return
    try:
        zone(name)
    except ValueError as error:
        section.bad("M019", "zone", str(error), "for example Europe/Paris")
        return
    field.zone = name


def _record(section: Section, name: str, scope: RowScope) -> ModelField | None:
    for key in ("type", "from", "codes", "cases", "zone", "absent", "order_by", "where"):
        if key in section:
            section.bad("M026", key, f"a record has no '{key}:'")
    inner = section.section("fields", required=True)
    if inner is None:
        return None
    fields = fields_of(inner, scope)
    kind = Type("record", fields=tuple((field.name, field.type) for field in fields))
    return ModelField(name, kind, section.place, fields=fields)


def _each(section: Section, name: str, scope: RowScope) -> ModelField | None:
    for key in ("type", "from", "codes", "cases", "zone", "absent"):
        if key in section:
            section.bad("M026", key, f"a list has no '{key}:'")
    source, inner = section.source("each"), section.section("fields", required=True)
    rows = _rows(source, scope) if source is not None else None
    if rows is None or inner is None:
        return None
    below = scope.each(rows.alias)
    fields = fields_of(inner, below)
    item = Type("record", fields=tuple((field.name, field.type) for field in fields))
    field = ModelField(name, Type("list", item=item), section.place, each=rows, fields=fields)
    for text, path in section.texts("order_by"):
        found = check(Source(section.report, path, text), below)
        if isinstance(found, Column):
            field.order_by.append(found)
        elif found is not None:
            section.report.add("M004", path, "'order_by:' names columns")
    where = section.source("where")
    if where is not None:
        field.where = check_bool(where, below)
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
