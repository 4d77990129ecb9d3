"""Which table refers to which: the foreign keys of the catalog, and for tables that declare none, what looks like one.

Legacy schemas often declare no foreign key at all. There, a column that is called and typed like another table's key
refers to it: a guess, refuted by a sample of all rows in which no value meets one, and always said to be one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bridge.mapping.catalog import Catalog, CatalogTable
from bridge.mapping.types import column_type
from bridge.scaffold.names import table_words, words
from bridge.scaffold.sample import Image, Sample, TableSample, of

ENOUGH: Final = 5  # values that must meet, where names alone say little


@dataclass(frozen=True, slots=True)
class Link:
    """``columns`` of ``table`` refer to the columns ``to`` of ``target``, pairwise. ``guess``: why, if nothing says so."""

    table: str
    columns: tuple[str, ...]
    target: str
    to: tuple[str, ...]
    cascade: bool = False
    guess: str = ""


Links = Mapping[str, tuple[Link, ...]]


def links(catalog: Catalog, sample: Sample) -> Links:
    """Per table, what it refers to, in the order of its columns."""
    found: dict[str, tuple[Link, ...]] = {}
    for name in sorted(catalog.tables):
        declared = [*_declared(name, catalog)]
        all_of_it = declared or [*_guessed(name, catalog, sample)]
        order = list(catalog.tables[name].columns)
        found[name] = tuple(
            sorted(all_of_it, key=lambda link: (order.index(link.columns[0]), link.target, link.columns))
        )
    return found


def required(link: Link, catalog: Catalog) -> bool:
    """Whether every row refers to one: none of the columns takes null, as far as anybody knows."""
    columns = catalog.tables[link.table].columns
    return all(columns[column].nullable is not True for column in link.columns)


def _declared(name: str, catalog: Catalog) -> Iterator[Link]:
    table = catalog.tables[name]
    seen = set()
    for key in table.foreign_keys:
        target = catalog.tables.get(key.references)
        known = target is not None and set(key.columns) <= set(table.columns) and set(key.to) <= set(target.columns)
        if known and (key.columns, key.references) not in seen:
            seen.add((key.columns, key.references))
            yield Link(name, key.columns, key.references, key.to, key.on_delete == "cascade")


# -- guesses -----------------------------------------------------------------------------------------------------------


def _guessed(name: str, catalog: Catalog, sample: Sample) -> Iterator[Link]:
    table = catalog.tables[name]
    taken: set[str] = set()
    targets = [(other, known) for other, known in catalog.tables.items() if known.key and other != name]
    for target, known in sorted(targets, key=lambda pair: (-len(pair[1].key or ()), pair[0])):
        key = known.key or ()
        columns = _alike(table, target, known, taken)
        if columns is None or columns == table.key or (len(key) == 1 and _rivals(columns[0], target, targets)):
            continue
        met, values = _meeting(of(sample, name), columns, of(sample, target), key)
        if values >= ENOUGH and not met and of(sample, target).whole:
            continue
        if columns != key and met < ENOUGH and not _is_called_after(columns[0], target):
            continue
        taken.update(columns)
        said = f"; {met} of {values} values in the sample are there" if values else ""
        yield Link(name, columns, target, key, guess=f"no foreign key is declared; named and typed like its key{said}")


def _alike(table: CatalogTable, target: str, known: CatalogTable, taken: set[str]) -> tuple[str, ...] | None:
    """The columns of a table that are called and typed like another table's key."""
    found = []
    for column in known.key or ():
        if column not in known.columns:
            return None
        kind = column_type(known.columns[column].type).kind
        same = [c for c in table.columns if c not in taken and column_type(table.columns[c].type).kind == kind]
        exact = [c for c in same if c.lower() == column.lower() and not _says_nothing(column)]
        after = [c for c in same if len(known.key or ()) == 1 and _names_key(words(c), target, words(column))]
        if not (exact or after):
            return None
        found.append((exact or after)[0])
    return tuple(found)


def _says_nothing(column: str) -> bool:
    return len(words(column)) < 2  # noqa: PLR2004 - 'id' or 'code' alone: every table has one


def _names_key(column: tuple[str, ...], target: str, key: tuple[str, ...]) -> bool:
    """``customer_id`` names the key ``id`` of ``customers``; ``bill_cust_no`` names the key ``cust_no``."""
    owner = table_words(target)
    full = key if key[: len(owner)] == owner else (*owner, *key)
    return len(full) > 1 and column[-len(full) :] == full


def _is_called_after(column: str, target: str) -> bool:
    owner = table_words(target)
    return words(column)[: len(owner)] == owner


def _rivals(column: str, target: str, targets: list[tuple[str, CatalogTable]]) -> bool:
    """Another table's key is called just so, and that table's name fits the column better."""
    owner = words(column)[:-1]
    same = [name for name, known in targets if tuple(c.lower() for c in known.key or ()) == (column.lower(),)]
    return len(same) > 1 and table_words(target) != owner


def _meeting(own: TableSample, columns: tuple[str, ...], other: TableSample, key: tuple[str, ...]) -> tuple[int, int]:
    """How many distinct values of the columns are keys of the other table's sample, of how many; (0, 0) without one."""
    values = {_of(row, columns) for row in own.rows if all(row.get(column) is not None for column in columns)}
    keys = {_of(row, key) for row in other.rows}
    return (len(values & keys), len(values)) if keys else (0, 0)


def _of(row: Image, columns: Sequence[str]) -> tuple[str, ...]:
    return tuple(repr(row.get(column)) for column in columns)
