"""Groups tables into aggregates: a root, and the tables whose rows live and die with it.

A table belongs to another where one of these says so, the first weighing most: its primary key holds the reference, its
name extends the other's, its rows are deleted with the other's (ON DELETE CASCADE, not null), or the sample has at most
one row of it for each of the other's. Everything else that a table refers to is a lookup.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from bridge.mapping.catalog import DEBEZIUM, Catalog, CatalogTable
from bridge.mapping.shape import DOTTED
from bridge.scaffold.columns import is_readable, is_technical
from bridge.scaffold.links import Link, Links, required
from bridge.scaffold.names import sayable, table_words
from bridge.scaffold.sample import Sample, of

DEEPEST: Final = 3  # levels below the root; what lies deeper is an aggregate of its own
ENOUGH: Final = 10  # rows of a sample that show that there is one each
FEW: Final = 4  # columns of a table that is only looked up
_LOGS: Final = frozenset(
    "audit backup bak changelog databasechangelog flyway history lock log migration queue session tmp temp".split()
)


@dataclass(slots=True)
class Member:
    """A table of an aggregate. ``link`` is how it joins on its parent, None for the root; ``why``: what says so."""

    table: str
    link: Link | None = None
    many: bool = False
    why: str = ""
    children: list[Member] = field(default_factory=list)
    lookups: list[Link] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Claim:
    """A table may belong to the target of a link: the stronger, the sooner it is decided."""

    link: Link
    strength: int
    why: str
    one: bool = False  # at most one row for each of the target's


def group(
    catalog: Catalog, refers: Links, sample: Sample, roots: Collection[str] = ()
) -> tuple[list[Member], dict[str, str]]:
    """The aggregates by the name of their root table, and the tables in none of them with the reason.

    ``roots``: tables that are the root of an aggregate whatever else speaks against it; if there are any, only theirs.
    """
    left = {name: why for name, table in catalog.tables.items() if (why := _unfit(name, table)) and name not in roots}
    usable = [name for name in sorted(catalog.tables) if name not in left]
    parents = _parents(catalog, refers, sample, usable, roots)
    members = {name: Member(name) for name in usable}
    for name, claim in parents.items():
        members[name].link, members[name].why = claim.link, claim.why
        members[name].many = not claim.one
        members[claim.link.target].children.append(members[name])
    for name in usable:
        members[name].lookups = [*_lookups(name, refers, parents, usable)]
    found = []
    for name in usable:
        if name in parents:
            continue
        why = "" if name in roots else _no_root(name, catalog, refers, members[name], roots)
        if why:
            left |= dict.fromkeys(_tables(members[name]), why)
        else:
            found.append(members[name])
    return found, left


def _tables(member: Member) -> Iterator[str]:
    yield member.table
    for child in member.children:
        yield from _tables(child)


# -- what is left out --------------------------------------------------------------------------------------------------


def _unfit(name: str, table: CatalogTable) -> str:
    """Why the rows of a table cannot be mapped at all; '' if they can."""
    if name.rpartition(".")[2] in DEBEZIUM:
        return "Debezium's own"
    if table.key == ():
        return "it has no primary key, so its rows cannot be told apart"
    if any(column not in table.columns for column in table.key or ()):
        return "its primary key names a column that it does not have"
    return ""


def _no_root(name: str, catalog: Catalog, refers: Links, member: Member, roots: Collection[str]) -> str:
    """Why a table that belongs to no other is no aggregate either; '' if it is one."""
    table = catalog.tables[name]
    if roots:
        return "not among the tables that --table names"
    if not table.key:
        return "nobody knows its primary key: add key: to the catalog"
    if unnamed := [column for column in table.key if not (_joins([column]) and sayable(column))]:
        return f"the language cannot name its key column {unnamed[0]!r}"
    if odd := [column for column in table.key if is_technical(column) or not is_readable(table.columns[column])]:
        return f"its key column {odd[0]} ({table.columns[odd[0]].type}) is no value that the language reads"
    if personal := [column for column in table.key if table.columns[column].pii]:
        return f"its key is personal data ({personal[0]}), and an aggregate id stands in every event"
    if member.children:
        return ""
    if _LOGS.intersection(table_words(name)):
        return "by its name, a log or a work table"
    return _reference_data(name, catalog, refers)


def _reference_data(name: str, catalog: Catalog, refers: Links) -> str:
    users = sorted(other for other, found in refers.items() for link in found if link.target == name != other)
    return f"reference data, looked up by {users[0]}" if users and _is_small(name, catalog, refers) else ""


def _is_small(name: str, catalog: Catalog, refers: Links) -> bool:
    """A few columns that tell of nobody and refer to nothing: countries, currencies, units."""
    columns = catalog.tables[name].columns
    business = [column for column in columns if not is_technical(column)]
    return not refers[name] and len(business) <= FEW and not any(column.pii for column in columns.values())


# -- who belongs to whom -----------------------------------------------------------------------------------------------


def _parents(
    catalog: Catalog, refers: Links, sample: Sample, usable: Collection[str], roots: Collection[str]
) -> dict[str, _Claim]:
    """The strongest claim on each table that makes no circle and does not go too deep."""
    claims = [
        claim
        for name in usable
        if name not in roots
        for link in refers[name]
        if link.target in usable and link.target != name and _joins(link.to)
        if (claim := _claim(link, catalog, refers, sample)) is not None
    ]
    claims.sort(key=lambda claim: (-claim.strength, claim.link.table, _place(claim.link, catalog), claim.link.target))
    parents: dict[str, _Claim] = {}
    for claim in claims:
        own, target = claim.link.table, claim.link.target
        line = [*_line(target, parents)]
        if own not in parents and own not in line and len(line) + _height(own, parents) <= DEEPEST:
            parents[own] = claim
    return parents


def _joins(columns: Sequence[str]) -> bool:
    """Can match: name them on the parent's side?"""
    return all(DOTTED.match(f"p.{column}") for column in columns)


def _place(link: Link, catalog: Catalog) -> int:
    """Where in the primary key the reference starts."""
    key = catalog.tables[link.table].key or ()
    return min((key.index(column) for column in link.columns if column in key), default=len(key))


def _claim(link: Link, catalog: Catalog, refers: Links, sample: Sample) -> _Claim | None:
    table, target = catalog.tables[link.table], catalog.tables[link.target]
    if set(link.to) != set(target.key or ()):
        return None  # a reference to something else than the key does not say whose row it is
    key, own, other = table.key or (), table_words(link.table), table_words(link.target)
    extends = other != own and own[: len(other)] == other
    if set(link.columns) <= set(key):
        strength = (
            10 * len(link.columns) + (5 if extends else 0) + (2 if key[: len(link.columns)] == link.columns else 0)
        )
        strength -= 3 if _is_small(link.target, catalog, refers) else 0  # rather a part of an order than of a currency
        return _Claim(link, strength, f"its key holds the key of {link.target}", one=set(key) == set(link.columns))
    if extends and required(link, catalog):
        return _Claim(link, 6, f"its name extends that of {link.target}")
    if link.cascade and required(link, catalog) and not _has_parts(link.table, catalog, refers):
        return _Claim(link, 5, f"its rows are deleted with those of {link.target}")
    if required(link, catalog) and not _has_parts(link.table, catalog, refers) and _one_each(link, refers, sample):
        return _Claim(link, 4, f"guess: no two of its rows in the sample name one row of {link.target}", one=True)
    return None


def _one_each(link: Link, refers: Links, sample: Sample) -> bool:
    """In the sample, does most of the target's rows have one row that names it, and none two?"""
    own, target = of(sample, link.table), of(sample, link.target)
    alone = all(other.target in (link.target, link.table) for other in refers[link.table])
    many = len(own.rows) >= ENOUGH and 2 * len(own.rows) >= len(target.rows) > 0
    return alone and many and own.most_rows_per(link.columns) == 1


def _has_parts(name: str, catalog: Catalog, refers: Links) -> bool:
    """Do rows of other tables have this one's key in theirs? Then it is more than a part itself."""
    return any(
        link.target == name and other != name and set(link.columns) < set(catalog.tables[other].key or ())
        for other, found in refers.items()
        for link in found
    )


def _line(name: str, parents: dict[str, _Claim]) -> Iterator[str]:
    """The table, its parent, its parent's parent …"""
    yield name
    while name in parents:
        name = parents[name].link.target
        yield name


def _height(name: str, parents: dict[str, _Claim]) -> int:
    """How many levels of children hang below a table already."""
    return max((1 + _height(own, parents) for own, claim in parents.items() if claim.link.target == name), default=0)


def _lookups(name: str, refers: Links, parents: dict[str, _Claim], usable: Collection[str]) -> Iterator[Link]:
    """What a table refers to outside of its own line of parents."""
    line = [*_line(name, parents)]
    for link in refers[name]:
        if link.target in usable and link.target not in line and _joins(link.columns):
            yield link
