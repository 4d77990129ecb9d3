"""Foreign keys whose actions change rows where no record says so: what the bridge can know of them, and what not."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from typing import Final

from bridge.mapping.catalog import DEBEZIUM, Catalog, ForeignKey
from bridge.mapping.diagnostics import Report
from bridge.mapping.draft import Draft
from bridge.model import BINLOG

CHANGES: Final = ("cascade", "set null")  # actions that change rows


def actions(catalog: Catalog | None, used: Container[str]) -> Iterator[tuple[str, ForeignKey]]:
    """(table, foreign key) of those that change rows unseen, both of whose tables are used; in a stable order."""
    for table, key in _all_actions(catalog, used):
        if key.references in used and catalog is not None and _is_known(catalog, key):
            yield table, key


def _all_actions(catalog: Catalog | None, used: Container[str]) -> Iterator[tuple[str, ForeignKey]]:
    if catalog is None or catalog.connector not in BINLOG:
        return
    for table in sorted(catalog.tables):
        if table in used:
            for key in catalog.tables[table].foreign_keys:
                if key.on_delete in CHANGES or key.on_update in CHANGES:
                    yield table, key


def _is_known(catalog: Catalog, key: ForeignKey) -> bool:
    parent = catalog.tables.get(key.references)
    return parent is not None and all(column in parent.columns for column in key.to)


def check_cascades(
    reports: dict[str, Report],
    drafts: Sequence[Draft],
    catalog: Callable[[str], Catalog | None],
    connector: Callable[[str], str],
) -> None:
    """Warn where rows may change unseen: a child whose foreign keys nobody knows, or whose parent nobody reads."""
    for source in sorted({draft.source for draft in drafts}):
        mine = [draft for draft in drafts if draft.source == source]
        used = {alias.table for draft in mine for alias in draft.aliases.values()}
        known = catalog(source)
        if known is None:
            if connector(source) in BINLOG:
                _unknown(reports, mine)
            continue
        read = used | {table for table in known.tables if table.rpartition(".")[2] in DEBEZIUM}
        unread = [(table, key) for table, key in _all_actions(known, used) if key.references not in read]
        for table, key in unread:
            _unread(reports, mine, table, key)


def _unknown(reports: dict[str, Report], drafts: Sequence[Draft]) -> None:
    hint = "let bridge introspect write the source's catalog, or allow: {M041: reason}"
    for draft in drafts:
        for alias in draft.aliases.values():
            if alias.parent is not None and not alias.lookup:
                message = (
                    f"foreign keys may delete or change rows of {alias.table}, and the source's log does not say so"
                )
                reports[draft.file].add("M041", alias.path, message, hint, key=True)


def _unread(reports: dict[str, Report], drafts: Sequence[Draft], table: str, key: ForeignKey) -> None:
    hint = f"join {key.references} in a mapping of this source, or allow: {{M041: reason}}"
    for draft in drafts:
        for alias in draft.aliases.values():
            if alias.table == table:
                message = f"rows of {table} change with those of {key.references}, which no mapping reads"
                reports[draft.file].add("M041", alias.path, message, hint, key=True)
                return
