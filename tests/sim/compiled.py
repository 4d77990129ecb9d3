"""The mapping under test, compiled as ``bridge run`` compiles it."""

from __future__ import annotations

from bridge.mapping import load
from bridge.mapping.catalog import Catalog
from bridge.model import MappingSet
from tests.sim.mappings import mapping_text
from tests.sim.workload import Features

SQL = {"int": "bigint", "text": "text"}


def compiled(features: Features) -> MappingSet:
    """With the catalog that ``bridge introspect`` would have written."""
    types = {table.name: {column.name: SQL[column.kind] for column in table.columns} for table in features.tables()}
    return load([("mappings/order.yaml", mapping_text(features))], "legacy", Catalog.of(types))
