"""What a sound mapping may still get wrong; each finding may be allowed for a reason."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from bridge.mapping.catalog import Catalog
from bridge.mapping.diagnostics import Report
from bridge.mapping.draft import Alias, Draft, ModelField
from bridge.mapping.nodes import Binary, Call, Column, Each, Expr, Field, If, Pivot, RowRef, Rows, Unary, children, walk

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_NOUNS: Final = frozenset("bed bleed breed deed embed feed greed led need red reed seed shed speed steed weed".split())
_IRREGULAR: Final = frozenset(
    """
    become began begun bent bet bid bound bought broke broken brought built burst came caught chosen chose cut dealt done
    drawn driven fallen fed fell felt fit flown forbidden forgotten forgiven found frozen gave given gone got gotten grew
    grown had held hidden hit hurt kept known laid led left lent let lit lost made met overdrawn overridden paid put quit
    read rebuilt redone resent reset risen rung run said sat seen sent set shot shown shrunk shut sold sought spent split
    spread spun stolen stood struck sunk swapped swept sworn taken taught thrown told took torn understood undone upheld
    went withdrawn withheld won written wrote
    """.split()
)


def lint(report: Report, draft: Draft, catalog: Catalog | None, *, is_whole: bool) -> None:
    """Report what is worth a second thought. ``is_whole``: the draft lacks nothing for another mistake's sake."""
    for event in draft.events:
        if not in_past_tense(event.type):
            hint = "say what happened: OrderPlaced; or allow: {M032: reason}"
            report.add("M032", event.path, f"'{event.type}' is not in the past tense", hint, key=True)
    read = _read_aliases(draft) if is_whole else draft.aliases.keys()
    for alias in draft.aliases.values():
        if alias.name != draft.root and alias.name not in read:
            report.add(
                "M034", alias.path, f"nothing reads '{alias.name}'", "remove it, or use it in the model", key=True
            )
    _personal(report, draft, catalog)
    for field in _every(draft.fields):
        _codes(report, field, draft, catalog)


def in_past_tense(name: str) -> bool:
    """Does any word of ``OrderPlacedByPhone`` read as a past participle?"""
    words = [word.lower() for word in _WORD.findall(name)]
    return any((word.endswith("ed") and word not in _NOUNS) or word in _IRREGULAR for word in words)


def _every(fields: list[ModelField]) -> Iterator[ModelField]:
    for field in fields:
        yield field
        yield from _every(field.fields)


# -- tables that nothing reads -----------------------------------------------------------------------------------------


def _read_aliases(draft: Draft) -> set[str]:
    """Aliases that the model names, and those that they join through."""
    found: set[str] = set()
    for field in draft.fields:
        for expression in field.expressions():
            for node in walk(expression):
                if isinstance(node, RowRef):
                    found |= {node.alias, *node.chain}
                elif isinstance(node, Rows):
                    found.add(node.alias)
    for name in list(found):
        parent = draft.aliases[name].parent
        while parent is not None:
            found.add(parent)
            parent = draft.aliases[parent].parent
    return found


# -- personal data -----------------------------------------------------------------------------------------------------


def _personal(report: Report, draft: Draft, catalog: Catalog | None) -> None:
    kinds = {field.name: _kind(field) for field in draft.fields if not report.allows(field.path, "M033")}
    for event in draft.events:
        for item in event.data:
            if item.made is not None:
                kind = _kind(item.made, kinds)
            else:
                kind = _flows(item.value, kinds) if item.value is not None else ""
            if kind:
                hint = "make it type: token, leave it out, or allow: {M033: reason}"
                report.add("M033", item.path, f"'{item.name}' carries personal data ({kind})", hint)
    table = (
        None
        if catalog is None or draft.root not in draft.aliases
        else catalog.tables.get(draft.aliases[draft.root].table)
    )
    for column in draft.key if table is not None else ():
        if table is not None and table.columns[column].pii:
            hint = "choose another key, or allow: {M033: reason}"
            report.add("M033", ("key",), f"the aggregate id carries personal data ({table.columns[column].pii})", hint)


def _kind(field: ModelField, model: dict[str, str] | None = None) -> str:
    """The kind of personal data that a field shows; '' for none, or where it is a token."""
    if field.type.kind == "token":
        return ""
    inner = (_kind(one, model) for one in field.fields)
    return (
        field.pii
        or (_flows(field.value, model or {}) if field.value is not None else "")
        or next(filter(None, inner), "")
    )


def _flows(node: Expr, model: dict[str, str]) -> str:
    """The kind of personal data whose value reaches the expression's; comparing or counting shows nothing."""
    if isinstance(node, (Column, Pivot)):
        return node.pii
    if isinstance(node, Field):
        if node.type.kind == "token":
            return ""
        return _flows(node.base, model) if isinstance(node.base, Field) else model.get(node.name, "")
    if isinstance(node, (Binary, Unary)):
        return next(filter(None, (_flows(part, model) for part in children(node))), "")
    if isinstance(node, If):
        return _flows(node.then, model) or _flows(node.other, model)
    if isinstance(node, Each):
        return _flows(node.element, model)
    if isinstance(node, Call) and node.function.name not in {"match", "count", "len", "any", "all"}:
        return next(filter(None, (_flows(argument, model) for argument in node.args)), "")
    return ""


# -- codes and the database's own enum types ---------------------------------------------------------------------------


def _codes(report: Report, field: ModelField, draft: Draft, catalog: Catalog | None) -> None:
    values = _enum_values(field.value, draft.aliases, catalog)
    if field.codes is None or not values:
        return
    unknown = [code for code in field.codes if code is not None and code not in values]
    missing = [value for value in values if value not in field.codes]
    for codes, message in ((unknown, "the column's type has no"), (missing, "codes: leave out")):
        if codes:
            names = ", ".join(f"'{code}'" for code in codes[:5])
            report.add("M030", (*field.path, "codes"), f"{message} {names}", f"the column may be {', '.join(values)}")


def _enum_values(node: Expr | None, aliases: dict[str, Alias], catalog: Catalog | None) -> tuple[str, ...]:
    if not isinstance(node, Column) or catalog is None:
        return ()
    table = catalog.tables.get(aliases[node.row.alias].table)
    return table.columns[node.name].values if table is not None and node.name in table.columns else ()
