"""The model of one aggregate: a field for each column that says something, with what a person should know beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bridge.mapping.catalog import Catalog
from bridge.scaffold import shapes
from bridge.scaffold.aggregates import Member
from bridge.scaffold.aliases import Alias, Aliases
from bridge.scaffold.columns import Field, Place, drafted, id_names
from bridge.scaffold.links import Link, Links
from bridge.scaffold.names import camel, free, sayable, table_words, words
from bridge.scaffold.sample import Sample, of

SHOWN: Final = 2  # fields of a lookup
_CONSTANTS: Final = ("true", "false", "null")  # a bare column of such a name would be the constant
_TELLING: Final = frozenset({"name", "description", "title", "label", "symbol"})
_UNREAD: Final = "nothing but keys and columns that are left out"


@dataclass(frozen=True, slots=True)
class Model:
    """What becomes of one aggregate's tables. ``key``: the aggregate id's columns, ``unread``: tables without a field."""

    aggregate: str
    table: str
    key: tuple[str, ...]
    aliases: list[Alias]
    fields: list[Field]
    omitted: list[str]
    unread: dict[str, str]


class Drafter:
    """Drafts one aggregate. ``local``: the shared type of times without a zone."""

    def __init__(self, catalog: Catalog, refers: Links, sample: Sample, local: str, root: Member) -> None:
        self.catalog = catalog
        self.refers = refers
        self.sample = sample
        self.local = local
        self.root = root
        self.aliases = Aliases(catalog, sample, root)

    def draft(self, aggregate: str) -> Model:
        """Its aliases without those of which nothing is read."""
        top, columns = self.aliases.root, self.catalog.tables[self.root.table].key or ()
        top.read = True
        self.aliases.trim(top, columns)
        fields, omitted = self._fields(self.root, table_words(self.root.table))
        key = tuple(f"{top.name}.{column}" for column in columns)
        used = [alias for alias in self.aliases.all if alias.read]
        unread = {alias.table: _UNREAD for alias in self.aliases.members.values() if not alias.read}
        return Model(aggregate, self.root.table, key, used, fields, omitted, unread)

    def _fields(
        self, member: Member, owner: tuple[str, ...], *, bare: bool = False, optional: bool = False
    ) -> tuple[list[Field], list[str]]:
        """The fields of a member's row, and comments on the columns that are left out."""
        alias, table = self.aliases.members[member.table], self.catalog.tables[member.table]
        taken = {*_CONSTANTS, *self.aliases.names}
        place = Place(
            member.table, table, of(self.sample, member.table), alias.name, self._ids(member, owner), self.local, bare,
            optional, taken,
        )  # fmt: skip
        hidden = {*(member.link.columns if member.link is not None else ()), *self._hidden(alias)}
        fields: list[Field] = []
        left: dict[str, list[str]] = {}
        key = (table.key or ()) if member.link is None else ()
        for column in (*key, *(column for column in table.columns if column not in key)):
            made = "" if column in hidden else drafted(place, column)
            if isinstance(made, Field):
                made.key = column in key
                self._add(fields, made)
                self.aliases.trim(alias, [column])
                if made.codes and len(made.codes) > 1 and not made.state and member.link is None:
                    self._kinds(alias, column, made)
            elif made:
                left.setdefault(made, []).append(column)
        for link in member.lookups:
            self._lookup(link, fields)
        for child in member.children:
            self._child(child, fields)
        alias.read = alias.read or bool(fields)
        return fields, [f"{', '.join(columns)} ({why})" for why, columns in left.items()]

    def _add(self, fields: list[Field], made: Field) -> None:
        made.name = free(made.name, {one.name for one in fields})
        fields.append(made)

    def _ids(self, member: Member, owner: tuple[str, ...]) -> dict[str, str]:
        """Columns that refer to something, and the aggregate's own key."""
        key = (self.catalog.tables[member.table].key or ()) if member.link is None else ()
        found = {c: name for link in self.refers[member.table] for c, name in _references(link).items()}
        own = id_names([column for column in key if column not in found or len(key) == 1], owner)
        if len(key) == 1:
            own = {key[0]: camel((*owner, "id"), "key")}
        return found | own

    def _hidden(self, alias: Alias) -> list[str]:
        """Columns that serve to find rows; they say nothing about them."""
        columns = self.catalog.tables[alias.table].columns
        marks = [column for column in columns if alias.when is not None and alias.when[0].startswith(f"{column} ")]
        return [*marks, *(alias.pivot or ())]

    def _kinds(self, alias: Alias, column: str, made: Field) -> None:
        """A table may hold several kinds of things; which of them this aggregate is, only a person knows."""
        if alias.when is None and words(column)[-1:] == ("type",) and words(column)[:-1] in ((), ("record",)):
            first = next(iter(made.codes or {}))
            alias.hints.append(
                f"when: {column} == '{first}'   # if the table holds several kinds of things, keep this one's"
            )

    def _lookup(self, link: Link, fields: list[Field]) -> None:
        """What a looked-up row tells: its codes first, then what it is called. Its status would change without an event."""
        alias, table = self.aliases.lookups[link], self.catalog.tables[link.target]
        place = Place(link.target, table, of(self.sample, link.target), alias.name, {}, self.local, optional=True)
        ids = {*link.to, *(table.key or ()), *(c for one in self.refers[link.target] for c in one.columns)}
        shown = {column: drafted(place, column) for column in table.columns if column not in ids}
        ranked = [
            (0 if made.codes else 1, column, made)
            for column, made in shown.items()
            if isinstance(made, Field)
            and not (made.pii or made.state)
            and (made.codes or _TELLING.intersection(words(column)[-1:]))
        ]
        for _, column, made in sorted(ranked, key=lambda one: one[0])[:SHOWN]:
            made.name = camel((*words(alias.name), *words(made.name)), "looked")
            made.looked_up = True
            self._add(fields, made)
            self.aliases.trim(alias, [column])
            alias.read = True

    def _child(self, child: Member, fields: list[Field]) -> None:
        alias = self.aliases.members[child.table]
        if alias.pivot is not None:
            self._attributes(child, alias, fields)
            return
        inner, omitted = self._fields(child, table_words(child.table), bare=alias.many, optional=not alias.many)
        if not inner:
            return
        made = Field(alias.name, fields=inner, omitted=omitted)
        if alias.many:
            made.each = alias.name
            joins = child.link.columns if child.link is not None else ()
            key = [column for column in self.catalog.tables[child.table].key or () if column not in joins]
            hidden = {*_CONSTANTS, *self.aliases.names}
            made.order_by = tuple(f"{alias.name}.{c}" if c in hidden else c for c in key if sayable(c))
        self._add(fields, made)

    def _attributes(self, child: Member, alias: Alias, fields: list[Field]) -> None:
        joins = child.link.columns if child.link is not None else ()
        table, seen = self.catalog.tables[child.table], of(self.sample, child.table)
        found = shapes.attributes(child.table, table, joins, seen)
        inner: list[Field] = []
        for one in found.found if found is not None else ():
            self._add(inner, Field(camel(words(one), "attribute"), "string?", f"{alias.name}[{quoted(one)}]"))
        why = (
            f"guess: the attributes that the sample has; the type of each is {table.columns[alias.pivot[1]].type}"
            if alias.pivot
            else ""
        )
        omitted = [f"{', '.join(found.personal)} (personal data)"] if found is not None and found.personal else []
        self._add(fields, Field(alias.name, fields=inner, comment=why, omitted=omitted))
        alias.read = bool(inner)


def quoted(text: str) -> str:
    """A text as an expression's literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _references(link: Link) -> dict[str, str]:
    return id_names(link.columns, table_words(link.target))
