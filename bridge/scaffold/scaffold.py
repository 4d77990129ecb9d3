"""Drafts the mappings of a whole schema: catalog and sample in, files out. The same input gives the same bytes."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final, NamedTuple

from bridge.errors import MappingInvalid
from bridge.mapping import library
from bridge.mapping.catalog import Catalog
from bridge.mapping.diagnostics import did_you_mean
from bridge.model import Diagnostic
from bridge.scaffold import write
from bridge.scaffold.aggregates import Member, group
from bridge.scaffold.draft import Drafter, Model
from bridge.scaffold.events import events, topic
from bridge.scaffold.links import links
from bridge.scaffold.names import free, pascal, table_words, words
from bridge.scaffold.personal import marked
from bridge.scaffold.sample import Sample

ZONE: Final = "UTC"
_SOURCE: Final = re.compile(r"[A-Za-z0-9_-]{1,80}\Z")


class Scaffold(NamedTuple):
    """``files``: name → text. ``catalog``: with the marks of personal data. ``left``: tables in no aggregate, and why."""

    files: dict[str, str]
    catalog: Catalog
    left: dict[str, str]
    models: list[Model]


def scaffold(
    catalog: Catalog, source: str, sample: Sample, *, roots: Collection[str] = (), zone: str | None = None
) -> Scaffold:
    """Mappings for every aggregate of the catalog, or for those whose root tables are named.

    ``zone``: of times without one, if anybody knows it. Raises MappingInvalid for a source, root or zone that cannot be.
    """
    _refuse(source, catalog, roots, zone)
    catalog = marked(catalog, sample)
    refers = links(catalog, sample)
    members, left = group(catalog, refers, sample, roots)
    local = f"{pascal(words(source), 'Source')}Time"
    files: dict[str, str] = {}
    models: list[Model] = []
    published: set[str] = set()
    for member, name in _named(members):
        model = Drafter(catalog, refers, sample, local, member).draft(name)
        if not model.fields:
            left[member.table] = "each of its columns is one that a draft leaves out"
            continue
        rules = [(event, topic(source, name)) for event in events(model, published)]
        files[f"{'-'.join(word for word in words(name))}.yaml"] = write.mapping(model, rules, source)
        models.append(model)
    common = write.common(source, (local, zone or ZONE, zone is not None), left, _personal(catalog))
    return Scaffold({f"{source}.common.yaml": common} | files, catalog, left, models)


def _refuse(source: str, catalog: Catalog, roots: Collection[str], zone: str | None) -> None:
    found = []
    if not _SOURCE.match(source):
        found.append(
            Diagnostic(
                "M004", f"'{source[:60]}' cannot be a source's name", "--source", hint="letters, digits, _ and -"
            )
        )
    for root in roots:
        if root not in catalog.tables:
            hint = did_you_mean(root, catalog.tables)
            found.append(Diagnostic("M022", f"the source has no table '{root[:60]}'", "--table", hint=hint))
    try:
        library.zone(zone or ZONE)
    except ValueError as error:
        found.append(Diagnostic("M019", str(error), "--zone", hint="for example Europe/Paris"))
    if found:
        raise MappingInvalid(found)


def _personal(catalog: Catalog) -> list[str]:
    return [
        f"{name}.{column}: {known.pii}"
        for name, table in sorted(catalog.tables.items())
        for column, known in table.columns.items()
        if known.pii
    ]


def _named(members: list[Member]) -> list[tuple[Member, str]]:
    """Each aggregate with a name of its own: the table's, with its schema where two are called alike."""
    found: list[tuple[Member, str]] = []
    taken: set[str] = set()
    plain = [pascal(table_words(member.table), "Table") for member in members]
    for member, short in zip(members, plain, strict=True):
        schema = words(member.table.rpartition(".")[0]) if plain.count(short) > 1 else ()
        name = free(pascal((*schema, *table_words(member.table)), "Table"), taken)
        taken.add(name)
        found.append((member, name))
    return found
