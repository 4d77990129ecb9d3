"""Checks ``tables:`` and ``key:``: aliases, joins, and the expressions over single rows."""

from __future__ import annotations

from typing import Final

from bridge.located_yaml import Path
from bridge.mapping.catalog import Catalog
from bridge.mapping.diagnostics import did_you_mean
from bridge.mapping.draft import Alias, Draft
from bridge.mapping.expression import check_bool
from bridge.mapping.scope import RowScope, columns_of
from bridge.mapping.shape import DOTTED, Section
from bridge.mapping.streamed import WITHOUT, lost
from bridge.mapping.types import column_type

TRIMS: Final = ("trim", "ltrim", "rtrim", "upper", "lower")
ALIAS_KEYS: Final = ("table", "lookup", "many", "match", "columns", "when", "pick", "pivot", "append", "allow", "doc")


def check_tables(top: Section, draft: Draft, catalog: Catalog | None) -> None:
    """Fill ``draft.aliases``, ``root`` and ``key``."""
    tables = top.section("tables", required=True)
    if tables is None:
        return
    for name in tables:
        section = tables.section(name)
        if section is not None and tables.name(name, "an alias"):
            draft.aliases[name] = _alias(name, section, catalog)
    _root(tables, draft)
    for alias in draft.aliases.values():
        _join(Section(top.report, alias.path, tables.data[alias.name]), alias, draft, catalog)
    _circles(tables, draft)
    for index, alias in enumerate(_root_first(draft)):
        alias.index = index
    draft.aliases = {alias.name: alias for alias in _root_first(draft)}
    for alias in draft.aliases.values():
        if alias.parent in draft.aliases:
            draft.aliases[alias.parent].kids.append(alias.name)
    for alias in draft.aliases.values():
        _row_expressions(Section(top.report, alias.path, tables.data[alias.name]), alias, draft, catalog)
    _key(top, draft, catalog)


def _root_first(draft: Draft) -> list[Alias]:
    return sorted(draft.aliases.values(), key=lambda a: a.name != draft.root)


def _alias(name: str, section: Section, catalog: Catalog | None) -> Alias:
    section.only(*ALIAS_KEYS)
    lookup = "lookup" in section
    if lookup and "table" in section:
        section.bad("M026", "lookup", "'table:' and 'lookup:' exclude each other")
    key = "lookup" if lookup else "table"
    table = section.text(key, required=True) or ""
    if catalog is not None and table and table not in catalog.tables:
        hint = did_you_mean(table, catalog.tables) or "add it to the catalog, if the source has it by now"
        section.bad("M022", key, f"the source has no table '{table}'", hint)
    many = section.flag("many")
    if many and lookup:
        section.bad("M026", "many", "a lookup is one row")
    if many and "pick" in section:
        section.bad("M026", "pick", "'pick:' chooses one row; this alias has many")
    append = section.flag("append")
    if append and (lookup or "match" in section):
        section.bad("M026", "append", "'append:' belongs to the root", "a child or a lookup has to be kept")
    _has_key(section, key, table, catalog)
    alias = Alias(name, table, section.path, section.place, many=many and not lookup, lookup=lookup, append=append)
    alias.narrowed = "when" in section or "pick" in section
    return alias


def _has_key(section: Section, key: str, table: str, catalog: Catalog | None) -> None:
    known = None if catalog is None else catalog.tables.get(table)
    if known is not None and known.key == ():
        hint = "give it one, or the connector's message.key.columns, and say so in the catalog: key: [column]"
        section.bad("M036", key, f"{table} has no primary key: its rows cannot be told apart", hint)


def _root(tables: Section, draft: Draft) -> None:
    roots = [alias.name for alias in draft.aliases.values() if "match" not in (tables.data[alias.name] or {})]
    if len(roots) != 1:
        message = "every table has 'match:'; the root has none" if not roots else f"several roots: {', '.join(roots)}"
        path = tables.at(roots[1]) if roots else tables.path
        tables.report.add("M020", path, message, "exactly one table, the root, has no 'match:'", key=True)
    draft.root = roots[0] if roots else next(iter(draft.aliases), "")
    if roots and (draft.aliases[draft.root].many or draft.aliases[draft.root].lookup):
        tables.report.add("M020", tables.at(draft.root), "the root cannot be many: or a lookup", key=True)


def column_exists(
    section: Section, path: Path, table: str, column: str, catalog: Catalog | None, *, key: bool = False
) -> bool:
    """Report M012 if the catalog knows the table and not the column, M039 if the change stream is without it."""
    columns = columns_of(catalog, table)
    if columns is None:
        return True
    if column in columns:
        reason = lost(columns[column], catalog)
        if reason:
            section.report.add("M039", path, f"no record has {table}.{column}: {reason}", WITHOUT, key=key)
        return not reason
    section.report.add("M012", path, f"{table} has no column '{column}'", did_you_mean(column, columns), key=key)
    return False


def _join(section: Section, alias: Alias, draft: Draft, catalog: Catalog | None) -> None:
    match = section.section("match")
    if match is None:
        return
    parents: list[str] = []
    for own in match:
        text = match.text(own, required=True)
        found = DOTTED.match(text or "")
        if found is None:
            if text is not None:
                match.bad("M003", own, "write alias.column", "match: {ord_no: order.ord_no}")
            continue
        parent, column = found.groups()
        if parent not in draft.aliases or parent == alias.name:
            match.bad("M021", own, f"there is no other alias '{parent}'", did_you_mean(parent, draft.aliases))
            continue
        column_exists(match, match.at(own), alias.table, own, catalog, key=True)
        column_exists(match, match.at(own), draft.aliases[parent].table, column, catalog)
        parents.append(parent)
        alias.match.append((own, column))
        if parent != parents[0]:
            match.bad(
                "M021", own, f"joins on both '{parents[0]}' and '{parent}'", "all columns must come from one alias"
            )
    alias.parent = parents[0] if parents else None
    alias.may_be_absent = _may_be_absent(alias, draft, catalog)
    if not match.data:
        section.bad("M003", "match", "'match:' is empty")


def _may_be_absent(alias: Alias, draft: Draft, catalog: Catalog | None) -> bool:
    """Whether the catalog, where it knows both tables, lets the parent of a to-one join be without a row."""
    parent = None if alias.parent is None or alias.many else draft.aliases[alias.parent]
    if catalog is None or parent is None or not {alias.table, parent.table} <= catalog.tables.keys():
        return False
    columns = catalog.tables[parent.table].columns
    pairs = {(theirs, own) for own, theirs in alias.match}
    guaranteed = any(
        key.references == alias.table and set(zip(key.columns, key.to, strict=False)) == pairs
        for key in catalog.tables[parent.table].foreign_keys
    )
    filled = all(column in columns and columns[column].nullable is False for column, _ in pairs)
    return not (guaranteed and filled) or alias.narrowed


def _circles(tables: Section, draft: Draft) -> None:
    for alias in draft.aliases.values():
        seen = {alias.name}
        parent = alias.parent
        while parent is not None:
            if parent in seen:
                tables.report.add(
                    "M021", (*tables.at(alias.name), "match"), f"'{alias.name}' joins in a circle", key=True
                )
                alias.parent = None
                break
            seen.add(parent)
            parent = draft.aliases[parent].parent
        if alias.lookup is False and (up := alias.parent) is not None and draft.aliases[up].lookup:
            hint = "make it a lookup too"
            tables.report.add(
                "M021", (*tables.at(alias.name), "match"), f"a child cannot join on the lookup '{up}'", hint, key=True
            )


def _row_expressions(section: Section, alias: Alias, draft: Draft, catalog: Catalog | None) -> None:
    """``when``, ``pick``, ``columns`` and ``pivot``."""
    scope = RowScope(draft.aliases, {alias.name: alias.name}, catalog, bare=alias.name, alone=True)
    if (source := section.source("when")) is not None:
        alias.when, alias.sources["when"] = check_bool(source, scope), source
    _columns(section, alias, catalog)
    pick = section.section("pick")
    if pick is not None:
        pick.only("where", "first", "last")
        if (source := pick.source("where")) is not None:
            alias.pick_where, alias.sources["where"] = check_bool(source, scope), source
        if "first" in pick and "last" in pick:
            pick.bad("M026", "last", "'first:' and 'last:' exclude each other")
        for end in ("first", "last"):
            column = pick.text(end)
            if column is not None and column_exists(pick, pick.at(end), alias.table, column, catalog):
                known = (columns_of(catalog, alias.table) or {}).get(column)
                number = known is not None and column_type(known.type).kind == "decimal"
                alias.pick_order = (end, column, number)
    pivot = section.section("pivot")
    if pivot is not None:
        pivot.only("name", "value")
        name, value = pivot.text("name", required=True), pivot.text("value", required=True)
        if not alias.many:
            section.bad("M026", "pivot", "a pivot needs many: true")
        for key, column in (("name", name), ("value", value)):
            if column is not None:
                column_exists(pivot, pivot.at(key), alias.table, column, catalog)
        if name and value:
            alias.pivot = (name, value)


def _columns(section: Section, alias: Alias, catalog: Catalog | None) -> None:
    columns = section.section("columns")
    for column in columns or ():
        assert columns is not None  # noqa: S101 - for the type checker
        column_exists(columns, columns.at(column), alias.table, column, catalog, key=True)
        names = []
        for name, path in columns.texts(column):
            if name in TRIMS:
                names.append(name)
            else:
                hint = did_you_mean(name, TRIMS) or f"there are {', '.join(TRIMS)}"
                section.report.add("M004", path, f"'{name}' cannot be done to a column", hint)
        alias.trims[column] = names


def _key(top: Section, draft: Draft, catalog: Catalog | None) -> None:
    if top.data.get("key") is None:
        top.missing("key", f"key: {draft.root}.…")
        return
    for text, path in top.texts("key"):
        found = DOTTED.match(text)
        if found is None or found.group(1) != draft.root:
            top.report.add("M023", path, "the key must be columns of the root", f"write {draft.root}.column")
            continue
        if column_exists(top, path, draft.aliases[draft.root].table, found.group(2), catalog):
            draft.key.append(found.group(2))
    if top.data["key"] == []:
        top.bad("M023", "key", "the key is empty")
