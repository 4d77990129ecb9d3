"""Drafts of one source → ``MappingSet``: layouts first, since all mappings share them, then the functions of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import Any

from bridge.mapping import support
from bridge.mapping.catalog import Catalog
from bridge.mapping.check_cascades import CHANGES, actions
from bridge.mapping.draft import Alias, Draft, Event
from bridge.mapping.emit import Emitter, Names
from bridge.mapping.model_code import ModelWriter
from bridge.mapping.nodes import Column, Expr, Field, Pivot, walk
from bridge.mapping.probes import Hooks, Probes
from bridge.mapping.rule_code import RuleWriter
from bridge.mapping.scope import columns_of
from bridge.mapping.table_code import table_use
from bridge.mapping.tokens import Tokenise, plain
from bridge.mapping.types import Type, has_tokens
from bridge.model import Cascade, Layout, Mapping, MappingSet, TableUse, Window


def compile_set(
    drafts: Sequence[Draft],
    source: str,
    catalog: Catalog | None,
    files: Sequence[tuple[str, str]],
    tokenise: Tokenise = plain,
    probe: Probes | None = None,
) -> MappingSet:
    """Compile sound drafts of one source. ``files`` are those drafts' and the common files, for the digest.

    ``probe``: see ``probes``.
    """
    layouts = _layouts(drafts, catalog)
    if probe is not None:
        probe.drafts.extend(drafts)
    mappings = tuple(_mapping(draft, layouts, tokenise, probe) for draft in drafts)
    return MappingSet(source, mappings, layouts, digest(files), tuple(_cascades(layouts, catalog)))


def digest(files: Sequence[tuple[str, str]]) -> str:
    """A hash of the files' names and content."""
    found = sha256()
    for part in (part for file in sorted(files) for part in file):
        data = part.encode()
        found.update(len(data).to_bytes(8, "big") + data)
    return found.hexdigest()


def _layouts(drafts: Sequence[Draft], catalog: Catalog | None) -> dict[str, Layout]:
    used: dict[str, set[str]] = {}
    for draft in drafts:
        for table, column in used_columns(draft):
            used.setdefault(table, set()).add(column)
    for table, key in actions(catalog, used):
        used[table].update(key.columns)
        used[key.references].update(key.to)
    found = {}
    for table in sorted(used):
        columns = tuple(sorted(used[table] - {""}))
        known = columns_of(catalog, table) or {}
        types = tuple(known[column].type if column in known else "" for column in columns)
        found[table] = Layout(table, columns, types)
    return found


def _cascades(layouts: dict[str, Layout], catalog: Catalog | None) -> Iterator[Cascade]:
    for table, key in actions(catalog, layouts):
        own, parent = layouts[table].columns, layouts[key.references].columns
        yield Cascade(
            table,
            tuple(own.index(column) for column in key.columns),
            key.columns,
            key.references,
            tuple(parent.index(column) for column in key.to),
            key.to,
            *(action if action in CHANGES else "" for action in (key.on_delete, key.on_update)),
        )


def used_columns(draft: Draft) -> set[tuple[str, str]]:
    """(table, column) of everything that the mapping reads; ('table', '') makes sure that a table is there at all."""
    aliases = draft.aliases
    found = {(aliases[draft.root].table, column) for column in draft.key}
    for alias in aliases.values():
        found.add((alias.table, ""))
        found |= {(alias.table, column) for column in alias.trims}
        found |= {(alias.table, own) for own, _ in alias.match}
        if alias.parent is not None:
            found |= {(aliases[alias.parent].table, column) for _, column in alias.match}
        if alias.pick_order is not None:
            found.add((alias.table, alias.pick_order[1]))
        found |= {(alias.table, column) for column in alias.pivot or ()}
    for expression in _row_expressions(draft):
        for node in walk(expression):
            if isinstance(node, Column):
                found.add((aliases[node.row.alias].table, node.name))
            elif isinstance(node, Pivot):
                found |= {(aliases[node.rows.alias].table, column) for column in aliases[node.rows.alias].pivot or ()}
    return found


def _row_expressions(draft: Draft) -> list[Expr]:
    found = [e for alias in draft.aliases.values() for e in (alias.when, alias.pick_where) if e is not None]
    return found + [e for field in draft.fields for e in field.expressions()]


def _mapping(draft: Draft, layouts: dict[str, Layout], tokenise: Tokenise, probe: Probes | None) -> Mapping:
    """Names and slots are fixed here; what the functions do is in the writers."""
    slots = {table: {column: i for i, column in enumerate(layout.columns)} for table, layout in layouts.items()}
    names = Names()
    nulls = (None,) * max(len(layout.columns) for layout in layouts.values())

    def slot(table: str, column: str) -> int:
        return slots[table][column]

    hooks = Hooks(probe, draft.aggregate, names.bind)
    emitter = Emitter(names, draft.aliases, slot, nulls, tokenise=tokenise, hooks=hooks)
    tables = tuple(table_use(emitter, alias, len(layouts[alias.table].columns)) for alias in draft.aliases.values())
    model = ModelWriter(emitter).function("model", draft.root, draft.fields)
    emitter.passed = _Steps(emitter, draft, tables[0]).passed
    kind = Type("record", fields=tuple((field.name, field.type) for field in draft.fields))
    rules = RuleWriter(emitter, kind)
    root: Alias = draft.aliases[draft.root]
    events = tuple(rules.rule(event, i) for i, event in enumerate(draft.events))
    return Mapping(
        aggregate=draft.aggregate,
        source=draft.source,
        tables=tables,
        key_columns=tuple(slot(root.table, column) for column in draft.key),
        fields=tuple(field.name for field in draft.fields),
        model=model,
        events=events,
        on_change=tuple(rule for rule in events if "change" in rule.triggers),
        on_snapshot=tuple(rule for rule in events if "snapshot" in rule.triggers),
        on_error=draft.on_error,
        file=draft.file,
        tokens=any(has_tokens(item.type) for event in draft.events for item in event.data),
        window=_window(draft, rules, slots),
    )


def _window(draft: Draft, rules: RuleWriter, slots: dict[str, dict[str, int]]) -> Window | None:
    """``until`` is written as an event's ``when`` is."""
    window = draft.window
    if window is None:
        return None
    until = None
    if window.until is not None and window.source is not None:
        event = Event("until", 1, "", window.source.place, window.source.path, when=window.until)
        with rules.emitter.hooks.silent():
            until = rules.when(event, "until", deleted=False)
    columns: dict[str, tuple[int, ...]] = {}
    for table, column in sorted(used_columns(draft)):
        columns[table] = (*columns.get(table, ()), slots[table][column]) if column else columns.get(table, ())
    return Window(window.quiet, window.at_most, until, columns)


class _Steps:
    """``passed(f, v)``: the one field, computed at every step of the root row."""

    def __init__(self, emitter: Emitter, draft: Draft, root: TableUse) -> None:
        self.emitter = emitter
        self.draft = draft
        self.root = root
        self.models: dict[str, Callable[[Any], Any]] = {}

    def passed(self, field: Field, value: Any) -> str:
        """The name of a function of the steps."""
        base = field
        path: list[int] = []
        while isinstance(base.base, Field):
            path.insert(0, base.index)
            base = base.base
        one = self.models.get(base.name)
        if one is None:
            outer = self.emitter.anchors
            chosen = [f for f in self.draft.fields if f.name == base.name]
            with self.emitter.hooks.silent():
                one = ModelWriter(self.emitter).function(self.emitter.names.fresh("step"), self.draft.root, chosen)
            self.emitter.anchors = outer
            self.models[base.name] = one
        one = self.emitter.hooks.steps(field, one)
        return self.emitter.names.bind(support.passed(one, path, value.value, self.root.normalise, self.root.when))
