"""One introspection: from where, into which file, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import msgspec

from bridge import config
from bridge.errors import ConfigInvalid
from bridge.introspect import capture, committed, database
from bridge.introspect.diff import Change, Difference, changes, difference
from bridge.mapping.catalog import Catalog
from bridge.model import Database, Diagnostic
from bridge.runtime.transform import read_captures


class Task(NamedTuple):
    """``database``: to be read, None if nobody said which. ``file``: the catalog's, None: standard output."""

    database: Database | None
    schemas: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    file: Path | None = None
    mappings: Path | None = None
    source: str | None = None

    def covered(self, table: str) -> bool:
        """Is a table, named ``schema.table``, among those that are meant?"""
        in_schema = not self.schemas or any(table.startswith(f"{schema}.") for schema in self.schemas)
        return in_schema and (not self.tables or any(fnmatchcase(table, glob) for glob in self.tables))


def of_config(path: Path, source: str | None) -> Task:
    """A source of the config; the only one needs no name. Raises ConfigInvalid."""
    found = config.load(path, read_catalogs=False)
    if source is None and len(found.sources) == 1:
        (source,) = found.sources
    if source not in found.sources:
        hint = f"--source is one of {', '.join(found.sources)}"
        raise ConfigInvalid([Diagnostic("C012", f"there is no source {source or 'named'!r}", str(path), hint=hint)])
    about = found.sources[source]
    where = about.database
    schemas, tables = (where.schemas, where.tables) if where else ((), ())
    return Task(where, schemas, tables, about.catalog_file, found.mappings, source)


def of_url(url: str | None) -> Task:
    """A database without a config, or none at all. Raises ConfigInvalid."""
    return Task(database.of_url(url) if url else None)


class Renewal(NamedTuple):
    """The catalog as it is in the file, None if there is none yet, and as it should be."""

    file: Path | None
    old: Catalog | None
    new: Catalog
    keyless: tuple[str, ...] = ()
    """Tables that have no key of their own any more, or never had; the one that the file gives them stays."""

    def write(self) -> list[Change]:
        """Replace the file, if there is one to be, where anything changed; what did. Raises Fatal."""
        if self.file is not None and self.old != self.new:
            committed.replace(self.file, self.new)
        return [] if self.old is None else changes(self.old, self.new)

    def compare(self, files: Sequence[tuple[str, str]], source: str | None) -> Difference:
        """What changed since the file, and what that does to mappings. Raises ConfigInvalid without a file."""
        if self.old is None:
            hint = "give it as --output or as catalog: of the source; bridge introspect without --diff makes it"
            raise ConfigInvalid(
                [Diagnostic("C012", "there is no catalog file to compare with", str(self.file or ""), hint=hint)]
            )
        return difference(self.old, self.new, files, source)


def renew(task: Task, captures: Sequence[str]) -> Renewal:
    """Read the database, or the captures where there are any. Raises ConfigInvalid, Fatal."""
    old = committed.existing(task.file) if task.file is not None else None
    if captures:
        inferred = capture.infer(read_captures(captures))
        found = Catalog(
            {name: table for name, table in inferred.tables.items() if task.covered(name)}, inferred.connector
        )
        covered: Callable[[str], bool] = found.tables.__contains__
        if old is not None:
            found = capture.completed(old, found)
    elif task.database is None:
        hint = "give --url, --capture, or --config of a source with database:"
        raise ConfigInvalid([Diagnostic("C012", "nothing says which database is meant", hint=hint)])
    else:
        given = msgspec.structs.replace(task.database, schemas=task.schemas)
        found = database.read(given, task.covered)
        covered = task.covered
    new = committed.renewed(old or Catalog({}), found, covered)
    keyless = [name for name, table in found.tables.items() if new.tables[name].key != table.key]
    return Renewal(task.file, old, new, tuple(keyless))
