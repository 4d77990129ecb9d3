"""What changed between two catalogs, and what that means for mappings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from bridge.mapping import examine
from bridge.mapping.catalog import Catalog, CatalogColumn, CatalogTable, ForeignKey
from bridge.model import Diagnostic


class Change(msgspec.Struct, frozen=True):
    """``what``: table, column, type, nullable, default, comment, pii, key, replica_identity, foreign_key or connector.

    ``before`` is None for what is new, ``after`` for what is gone; ``column`` is '' for what concerns the table.
    """

    table: str
    column: str
    what: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        name = f"{self.table}.{self.column}" if self.column else self.table or "the catalog"
        what = self.what.replace("_", " ")
        if self.before is None:
            return f"+ {name}: {what} {self.after}".rstrip()
        if self.after is None:
            return f"- {name}: {what} {self.before}".rstrip()
        return f"~ {name}: {what} {self.before} → {self.after}"


class Difference(msgspec.Struct, frozen=True):
    """``breaks``: diagnostics that the mappings did not have before. ``uses``: where they use columns that changed."""

    changes: list[Change]
    breaks: list[Diagnostic]
    uses: list[Diagnostic]

    @property
    def exit_code(self) -> int:
        """0: nothing changed; 78: a mapping breaks; 1: anything else."""
        broken = any(not problem.warning for problem in self.breaks)
        return 78 if broken else 1 if self.changes else 0


def changes(old: Catalog, new: Catalog) -> list[Change]:
    """Everything that differs, table by table."""
    found = [Change("", "", "connector", old.connector, new.connector)] if old.connector != new.connector else []
    for name in sorted({*old.tables, *new.tables}):
        before, after = old.tables.get(name), new.tables.get(name)
        if before is not None and after is not None:
            found += _table(name, before, after)
        else:
            gone, come = (None if one is None else _names(one.columns) for one in (before, after))
            found.append(Change(name, "", "table", gone, come))
    return found


def _table(name: str, old: CatalogTable, new: CatalogTable) -> Iterator[Change]:
    for column in dict.fromkeys([*old.columns, *new.columns]):
        before, after = old.columns.get(column), new.columns.get(column)
        if before is not None and after is not None:
            yield from _column(name, column, before, after)
        else:
            gone, come = (None if one is None else _text(one) for one in (before, after))
            yield Change(name, column, "column", gone, come)
    yield from _plain(name, "", "key", _names(old.key), _names(new.key))
    yield from _plain(name, "", "replica_identity", old.replica_identity or None, new.replica_identity or None)
    yield from _plain(name, "", "comment", _quoted(old.comment), _quoted(new.comment))
    for key in old.foreign_keys:
        if key not in new.foreign_keys:
            yield Change(name, "", "foreign_key", _foreign_key(key), None)
    for key in new.foreign_keys:
        if key not in old.foreign_keys:
            yield Change(name, "", "foreign_key", None, _foreign_key(key))


def _column(table: str, name: str, old: CatalogColumn, new: CatalogColumn) -> Iterator[Change]:
    yield from _plain(table, name, "type", old.type, new.type)
    yield from _plain(table, name, "nullable", _null(old.nullable), _null(new.nullable))
    yield from _plain(table, name, "default", old.default, new.default)
    yield from _plain(table, name, "comment", _quoted(old.comment), _quoted(new.comment))
    yield from _plain(table, name, "pii", old.pii or None, new.pii or None)


def _plain(table: str, column: str, what: str, old: str | None, new: str | None) -> Iterator[Change]:
    if old != new:
        yield Change(table, column, what, old, new)


def _names(columns: Iterable[str] | None) -> str | None:
    return None if columns is None else "({})".format(", ".join(columns))


def _null(nullable: bool | None) -> str | None:  # noqa: FBT001 - a column's own word
    return None if nullable is None else "null" if nullable else "not null"


def _quoted(text: str) -> str | None:
    return repr(text) if text else None


def _text(column: CatalogColumn) -> str:
    return " ".join(filter(None, (column.type, _null(column.nullable))))


def _foreign_key(key: ForeignKey) -> str:
    update = f" on update {key.on_update}" if key.on_update != "no action" else ""
    return f"{_names(key.columns)} references {key.references} {_names(key.to)} on delete {key.on_delete}{update}"


# -- what it means for mappings ----------------------------------------------------------------------------------------


def difference(old: Catalog, new: Catalog, files: Sequence[tuple[str, str]], source: str | None = None) -> Difference:
    """Changes, and what they do to the mappings of a source (all of ``files``, where none is named)."""
    found = changes(old, new)
    if not found or not files:
        return Difference(found, [], [])
    known, _ = examine(files, lambda _: old, source)
    problems, _ = examine(files, lambda _: new, source)
    breaks = [problem for problem in problems if problem not in known]
    altered = [(change.table, change.column) for change in found if change.what in {"type", "nullable"}]
    return Difference(found, breaks, list(_uses(new, dict.fromkeys(altered), files, source, problems)))


def _uses(
    new: Catalog,
    altered: Iterable[tuple[str, str]],
    files: Sequence[tuple[str, str]],
    source: str | None,
    problems: list[Diagnostic],
) -> Iterator[Diagnostic]:
    """Where altered columns are used: exactly where ``check`` would miss them if they were gone."""
    for table, column in altered:
        without = _without(new, table, column)
        missed, _ = examine(files, lambda _, catalog=without: catalog, source)  # type: ignore[misc]
        for problem in missed:
            if problem.code == "M012" and problem not in problems:
                yield msgspec.structs.replace(
                    problem, code="use", message=f"{table}.{column} changed", hint="", warning=False
                )


def _without(catalog: Catalog, table: str, column: str) -> Catalog:
    found = catalog.tables[table]
    columns = {name: one for name, one in found.columns.items() if name != column}
    changed: dict[str, Any] = {table: msgspec.structs.replace(found, columns=columns)}
    return msgspec.structs.replace(catalog, tables=catalog.tables | changed)
