"""The catalog file: what people wrote into it stays, and it is replaced whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from bridge.config import read_catalog
from bridge.errors import ConfigInvalid, Fatal
from bridge.mapping import catalog
from bridge.mapping.catalog import Catalog, CatalogTable

HEAD: Final = """\
# Written by `bridge introspect`. What may be written by hand, and stays: `pii:` of a column, `comment:` and `key:` where the
# database has none, and `doc:`.
"""


def existing(path: Path) -> Catalog | None:
    """The catalog that is there; None if there is none yet. Raises ConfigInvalid: a broken file is not overwritten."""
    if not path.exists():
        return None
    found, problems = read_catalog(path)
    if problems:
        raise ConfigInvalid(problems)
    return found


def renewed(old: Catalog, found: Catalog, covered: Callable[[str], bool]) -> Catalog:
    """What was found, with the annotations of the old file. Tables that were not meant stay as they are there."""
    untouched = {name: table for name, table in old.tables.items() if not covered(name)}
    tables = {name: _annotated(old.tables.get(name), table) for name, table in found.tables.items()}
    return Catalog(untouched | tables, found.connector, old.doc)


def _annotated(old: CatalogTable | None, table: CatalogTable) -> CatalogTable:
    if old is None:
        return table
    columns = dict(table.columns)
    for name, column in table.columns.items():
        if name in old.columns:
            known = old.columns[name]
            columns[name] = msgspec.structs.replace(
                column, comment=column.comment or known.comment, pii=column.pii or known.pii
            )
    return msgspec.structs.replace(
        table, columns=columns, key=table.key or old.key or table.key, comment=table.comment or old.comment
    )


def replace(path: Path, found: Catalog) -> None:
    """Write the file anew: a reader, or a crash, sees the old one or the new one. Raises Fatal."""
    target = path.resolve()
    whole = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with whole.open("w", encoding="utf-8") as file:
            file.write(HEAD + catalog.write(found))
            file.flush()
            os.fsync(file.fileno())
        whole.replace(target)
    except OSError as error:
        with suppress(OSError):
            whole.unlink()
        raise Fatal(f"{path}: the catalog cannot be written: {error.strerror}", code="B534") from None
