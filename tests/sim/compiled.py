"""The mapping under test, compiled as ``bridge run`` compiles it."""

from __future__ import annotations

from msgspec import structs

from bridge.mapping import load
from bridge.mapping.catalog import Catalog, ForeignKey
from bridge.model import MappingSet
from tests.sim.mappings import mapping_text
from tests.sim.workload import Features

SQL = {"int": "bigint", "text": "text"}


def catalog_of(features: Features) -> Catalog:
    """What ``bridge introspect`` would have written."""
    types = {table.name: {column.name: SQL[column.kind] for column in table.columns} for table in features.tables()}
    catalog = Catalog.of(types)
    if features.mariadb:
        catalog = Catalog(dict(catalog.tables), "mariadb")
        for one in features.foreign_keys():
            key = ForeignKey(one.columns, one.parent, one.to, one.on_delete, "cascade")
            known = catalog.tables[one.table]
            catalog.tables[one.table] = structs.replace(known, foreign_keys=(*known.foreign_keys, key))
    return catalog


def compiled(features: Features) -> MappingSet:
    """With its catalog."""
    return load([("mappings/order.yaml", mapping_text(features))], "legacy", catalog_of(features))
