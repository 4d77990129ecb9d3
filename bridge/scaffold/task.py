"""One draft: from which catalog and sample, into which directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bridge import config
from bridge.errors import ConfigInvalid
from bridge.introspect import database as databases
from bridge.introspect import task as introspection
from bridge.mapping.catalog import Catalog
from bridge.model import Database, Diagnostic, Modes
from bridge.runtime.transform import read_captures
from bridge.scaffold.database import ROWS, from_database
from bridge.scaffold.files import next_steps, save
from bridge.scaffold.recorded import with_tests
from bridge.scaffold.sample import Sample, from_captures
from bridge.scaffold.scaffold import scaffold


@dataclass(frozen=True, slots=True)
class Task:
    """``database``: to take a sample from, None for none. ``rows``: of each end of its tables. ``roots``: None but these."""

    source: str
    catalog: Path | None
    output: Path = Path("mappings")
    database: Database | None = None
    captures: tuple[str, ...] = ()
    modes: Modes | None = None
    roots: tuple[str, ...] = ()
    zone: str | None = None
    rows: int = ROWS
    force: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """``paths``: what was written. ``notes``: what could not be done. ``steps``: what a person does next."""

    paths: list[Path]
    notes: list[str]
    steps: list[str]


def of_config(path: Path, source: str) -> Task:
    """A source of the config. Raises ConfigInvalid."""
    about = introspection.of_config(path, source)
    modes = config.load(path, read_catalogs=False).sources[source].settings.modes
    return Task(source, about.file, about.mappings or Path("mappings"), about.database, modes=modes)


def of_url(url: str | None) -> Task:
    """A database without a config, or none at all. Raises ConfigInvalid."""
    return Task("", None, database=databases.of_url(url) if url else None)


def work(task: Task) -> Done:
    """Draft and write. Raises ConfigInvalid, MappingInvalid, Fatal."""
    if task.catalog is None:
        hint = "give --catalog, or --config of a source with catalog:; bridge introspect writes one"
        raise ConfigInvalid([Diagnostic("C012", "nothing says which catalog is meant", hint=hint)])
    catalog = _catalog(task.catalog)
    drafted = scaffold(catalog, task.source, _sample(task, catalog), roots=task.roots, zone=task.zone)
    drafted, notes = with_tests(drafted, task.source, task.captures, task.modes)
    written = save(drafted, task.output, (task.catalog, catalog), force=task.force)
    return Done(written.paths, notes, next_steps(drafted, written, task.output, task.catalog, task.source))


def _catalog(path: Path) -> Catalog:
    found, problems = config.read_catalog(path)
    if problems:
        raise ConfigInvalid(problems)
    return found


def _sample(task: Task, catalog: Catalog) -> Sample:
    """Of the database, and where a capture has rows of a table, of that: it also knows what rows were before."""
    found = {} if task.database is None else dict(from_database(task.database, catalog, task.rows))
    if task.captures:
        found |= from_captures(read_captures(task.captures), catalog, task.modes)
    return found
