"""``bridge schema``: JSON Schemas for editors."""

from __future__ import annotations

import argparse

import msgspec

from bridge.cli.common import Subparsers, command
from bridge.config import SCHEMA
from bridge.mapping.schema import MAPPING
from bridge.mapping.schema_catalog import CATALOG
from bridge.mapping.schema_parts import DRAFT

SCHEMAS = {
    "mapping": MAPPING,
    "catalog": CATALOG,
    "config": {"$schema": DRAFT, "title": "The bridge's config", **SCHEMA},
}


def add(subparsers: Subparsers) -> None:
    """The command's arguments."""
    parser = command(
        subparsers,
        "schema",
        "print the JSON Schema of mapping files, catalogs or the config, for completion in an editor",
        "bridge schema mapping > mappings/mapping.schema.json",
    )
    parser.add_argument("what", choices=tuple(SCHEMAS), help="the kind of file")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """The schema on standard output."""
    print(text(arguments.what), end="")
    return 0


def text(what: str) -> str:
    """One schema as it is committed."""
    return msgspec.json.format(msgspec.json.encode(SCHEMAS[what])).decode() + "\n"
