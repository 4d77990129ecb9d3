"""The aliases of one aggregate: what its tables are called, how they join, and which of their rows count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bridge.mapping.catalog import Catalog
from bridge.scaffold import shapes
from bridge.scaffold.aggregates import Member
from bridge.scaffold.columns import needs_trim
from bridge.scaffold.links import Link
from bridge.scaffold.names import IDS, camel, free, plural, table_words, words
from bridge.scaffold.sample import Sample, of


@dataclass(slots=True)
class Alias:
    """An entry of ``tables:``. ``comment`` stands beside its table, ``hints`` are lines of comment below."""

    name: str
    table: str
    lookup: bool = False
    many: bool = False
    match: dict[str, str] = field(default_factory=dict)
    trims: list[str] = field(default_factory=list)
    when: tuple[str, str] | None = None  # condition, comment
    pick: tuple[str, str] | None = None  # column of last:, comment
    pivot: tuple[str, str] | None = None
    comment: str = ""
    hints: list[str] = field(default_factory=list)
    read: bool = False  # something in the model reads it


class Aliases:
    """All are made before the first column is read: a bare column that is called like one of them would be it."""

    def __init__(self, catalog: Catalog, sample: Sample, root: Member) -> None:
        self._catalog = catalog
        self._sample = sample
        self.all: list[Alias] = []
        self.members: dict[str, Alias] = {}  # by table
        self.lookups: dict[Link, Alias] = {}
        self._member(root, None, camel(table_words(root.table), "root"), "Row")
        self.root = self.all[0]

    @property
    def names(self) -> set[str]:
        return {alias.name for alias in self.all}

    def trim(self, alias: Alias, columns: Sequence[str]) -> None:
        """The columns are used: take the blanks off those that are padded."""
        known, seen = self._catalog.tables[alias.table].columns, of(self._sample, alias.table)
        for column in columns:
            if column not in alias.trims and needs_trim(known[column], column, seen, self._catalog.connector):
                alias.trims.append(column)

    def _member(self, member: Member, parent: Alias | None, name: str, otherwise: str) -> None:
        """A table of the aggregate, what it looks up, and all below it."""
        alias = Alias(free(name, self.names, otherwise), member.table, many=member.many, comment=member.why)
        self.all.append(alias)
        self.members[member.table] = alias
        if member.link is not None and parent is not None:
            self._join(alias, parent, member.link.columns, member.link.to)
            if member.link.guess:
                alias.comment = f"guess: {member.link.guess}; {alias.comment.removeprefix('guess: ')}"
            self._shape(member, alias, member.link)
        self._alive(alias)
        for link in member.lookups:
            self._lookup(link, alias)
        for child in member.children:
            self._member(child, alias, self._called(child, table_words(member.table)), "Rows")

    def _called(self, child: Member, owner: tuple[str, ...]) -> str:
        """``t_ord_line`` of ``t_ord``: lines."""
        own = table_words(child.table)
        own = own[len(owner) :] if own[: len(owner)] == owner and len(own) > len(owner) else own
        one = not child.many or self._versions(child)
        return camel((*own[:-1], own[-1] if one else plural(own[-1])) if own else (), "part")

    def _lookup(self, link: Link, alias: Alias) -> None:
        """Called after the column that refers to it: ``bill_cust_no`` gives billCustomer."""
        stem = words(link.columns[0])
        is_id = len(link.columns) == 1 and len(stem) > 1 and stem[-1] in IDS
        name = camel(stem[:-1] if is_id else table_words(link.target), "lookup")
        comment = f"guess: {link.guess}" if link.guess else ""
        found = Alias(free(name, self.names, "Row"), link.target, lookup=True, comment=comment)
        self._join(found, alias, link.to, link.columns)
        self.all.append(found)
        self.lookups[link] = found

    def _join(self, alias: Alias, parent: Alias, own: Sequence[str], other: Sequence[str]) -> None:
        alias.match = {mine: f"{parent.name}.{theirs}" for mine, theirs in zip(own, other, strict=True)}
        self.trim(alias, own)
        self.trim(parent, other)

    def _shape(self, member: Member, alias: Alias, link: Link) -> None:
        """Versions of a row, of which one is picked; attributes, one per row."""
        table, seen = self._catalog.tables[member.table], of(self._sample, member.table)
        start = shapes.since(table)
        if self._versions(member) and start is not None:
            alias.many = False
            alias.pick = (start, "versions of one row: the latest; a version that starts later is already taken")
        elif alias.many and start is not None:
            alias.hints.append(
                f"versions? {start} says from when a row is valid; without many: true, pick: {{last: {start}}}"
            )
        found = shapes.attributes(member.table, table, link.columns, seen)
        if alias.many and found is not None and found.found:
            alias.pivot = (found.name, found.value)
            self.trim(alias, (found.name, found.value))
        elif alias.many and found is not None:
            alias.hints.append(
                f"attributes? pivot: {{name: {found.name}, value: {found.value}}} reads {alias.name}['NAME']"
            )

    def _versions(self, member: Member) -> bool:
        """Does only the day from which it is valid tell a row from its sisters?"""
        table = self._catalog.tables[member.table]
        joins = member.link.columns if member.link is not None else ()
        return member.many and [column for column in table.key or () if column not in joins] == [shapes.since(table)]

    def _alive(self, alias: Alias) -> None:
        found = shapes.alive(self._catalog.tables[alias.table], of(self._sample, alias.table))
        if found is not None:
            alias.when = (found[0], f"guess: {found[1]} marks rows that the application calls deleted")
