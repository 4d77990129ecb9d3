"""Puts drafted files onto the disk, and says what a person must look at next."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import msgspec

from bridge.errors import Fatal
from bridge.introspect import committed
from bridge.mapping import catalog as catalogs
from bridge.mapping.catalog import Catalog
from bridge.mapping.schema import MAPPING
from bridge.scaffold import write
from bridge.scaffold.scaffold import Scaffold


class Written(NamedTuple):
    """``paths``: what was written. ``marks``: columns newly marked as personal data; ``marked``: in the catalog file too."""

    paths: list[Path]
    marks: list[str]
    marked: bool


def save(
    drafted: Scaffold, directory: Path, catalog: tuple[Path, Catalog] | None = None, *, force: bool = False
) -> Written:
    """Write the files into the directory, and the marks of personal data into the catalog's file.

    Nothing is written if one of the files is there already, but by ``force``. A catalog that ``bridge introspect`` would
    write otherwise (it has comments, or another layout) is left alone without ``force``. The schema for editors is put
    beside the files where there is none. Raises Fatal.
    """
    paths = {directory / name: text for name, text in drafted.files.items()}
    there = sorted(str(path) for path in paths if path.exists())
    if there and not force:
        raise Fatal(
            f"{', '.join(there[:3])}{' …' if len(there) > 3 else ''}: there already, nothing was written",  # noqa: PLR2004
            "--output DIR writes elsewhere, --table draws up single aggregates, --force overwrites",
            code="B504",
        )
    try:
        for path, text in paths.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        if not (schema := directory / write.SCHEMA).exists():
            schema.write_bytes(msgspec.json.format(msgspec.json.encode(MAPPING)) + b"\n")
            paths[schema] = ""
        marks = _marks(catalog[1], drafted.catalog) if catalog is not None else []
        marked = bool(marks) and catalog is not None and _mark(catalog[0], catalog[1], drafted.catalog, force=force)
    except OSError as error:
        raise Fatal(f"{error.filename}: the file cannot be written: {error.strerror}", code="B504") from error
    return Written([*paths, *([catalog[0]] if marked and catalog is not None else [])], marks, marked)


def _marks(old: Catalog, new: Catalog) -> list[str]:
    return [
        f"{name}.{column} ({known.pii})"
        for name, table in sorted(new.tables.items())
        for column, known in table.columns.items()
        if known.pii != old.tables[name].columns[column].pii
    ]


def _mark(path: Path, old: Catalog, new: Catalog, *, force: bool) -> bool:
    """Whether the catalog was written anew."""
    if not force and path.read_text(encoding="utf-8") not in (
        committed.HEAD + catalogs.write(old),
        catalogs.write(old),
    ):
        return False
    committed.replace(path, new)
    return True


def next_steps(drafted: Scaffold, written: Written, output: Path, catalog: Path, source: str) -> list[str]:
    """What is left for a person to do, the first thing first."""
    common = output / next(iter(drafted.files))
    guesses = sum(len(re.findall(r"# guess", text)) for text in drafted.files.values())
    steps = []
    if "SET THE ZONE" in drafted.files[common.name] and any("Time" in text for text in _mappings(drafted)):
        steps.append(f"{common}: set the zone in which the application writes its times")
    if guesses:
        steps.append(f"read the guesses, {guesses} in all: grep -n '# guess' {output}/*.yaml")
    if any("rows of the sample" in text for text in drafted.files.values()):
        steps.append("complete the codes that a sample gave: one that is not listed becomes a dead letter")
    if written.marks:
        done = f"marked in {catalog}" if written.marked else f"not marked in {catalog}, which introspect did not write"
        steps.append(f"personal data: {len(written.marks)} columns, {done}; {common} lists them, remove what is none")
    if drafted.left:
        steps.append(f"tables in no aggregate: {len(drafted.left)}, the reasons are in {common}")
    steps.append("give events the names that the business uses, and take fields out that nobody needs")
    tested = any("\ntests:" in text for text in drafted.files.values())
    steps.append(
        f"bridge check --mappings {output} --source {source} --catalog {catalog}{', then bridge test' if tested else ''}"
    )
    return steps


def _mappings(drafted: Scaffold) -> list[str]:
    return list(drafted.files.values())[1:]
