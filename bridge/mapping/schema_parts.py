"""What the JSON Schemas of mapping files and catalogs are made of."""

from __future__ import annotations

from typing import Any, Final

Schema = dict[str, Any]

DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
SCALAR: Final = ["string", "number", "boolean"]
DOC: Final[Schema] = {"description": "Text for people."}
DURATION: Final[Schema] = {"type": "string", "pattern": "^0*[1-9][0-9]{0,8}(ms|s|m|h)$", "examples": ["2s", "30s"]}


def text(doc: str, *, required: bool = False, **more: Any) -> Schema:
    """A scalar; an optional one may be left empty."""
    return {"description": doc, "type": SCALAR if required else [*SCALAR, "null"], **more}


def record(doc: str, properties: Schema, *required: str, **more: Any) -> Schema:
    made = {"description": doc, "type": "object", "properties": properties, "additionalProperties": False, **more}
    return made | {"required": list(required)} if required else made


def mapping(doc: str, values: Schema, **more: Any) -> Schema:
    """A mapping of names that the writer chooses."""
    return {"description": doc, "type": "object", "additionalProperties": values, **more}


def one_or_list(doc: str, item: Schema, *, required: bool = False, **more: Any) -> Schema:
    alone = item if required else {"anyOf": [item, {"type": "null"}]}
    return {"description": doc, "anyOf": [alone, {"type": "array", "items": item, **more}]}


def ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}
