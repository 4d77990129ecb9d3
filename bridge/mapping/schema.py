"""The shape of mapping files as JSON Schema, for editors: pure data.

``bridge check`` does not need it: the checker's messages say more. That the two agree is tested: the schema knows the
checker's keys and no others, takes every file that the checker takes, and refuses its mistakes of shape.

Draft 2020-12, but only keywords that mean the same in draft-07, which yaml-language-server knows best. Data are those of
``located_yaml``: keys are text, and a scalar that is written ``12`` or ``true`` is as good as text.
"""

from __future__ import annotations

from typing import Any, Final

from bridge.mapping.check import POLICIES
from bridge.mapping.check_events import MAX_TOPIC, TRIGGERS
from bridge.mapping.check_tables import TRIMS
from bridge.mapping.diagnostics import ALLOWABLE
from bridge.mapping.schema_parts import DOC, DRAFT, DURATION, SCALAR, Schema, mapping, one_or_list, record, ref, text
from bridge.mapping.schema_tests import TEST
from bridge.mapping.shape import RESERVED
from bridge.mapping.types import PLAIN

_NAME: Final = "[A-Za-z_][A-Za-z0-9_]*"
_COLUMN: Final = rf"^{_NAME}\.[A-Za-z_][A-Za-z0-9_$#]*$"
_SHARED: Final = "[A-Z][A-Za-z0-9_]*"
_PLAIN: Final = "|".join(("token", *PLAIN))
_TYPE: Final = rf"({_PLAIN}|decimal\(\s*[0-9]+\s*(,\s*[0-9]+\s*)?\)|{_SHARED})\??"
_TYPES: Final = [*PLAIN, "enum", "token", "decimal(12,2)"]


def _has(*keys: str) -> Schema:
    return {"required": list(keys)}


def _without(*keys: str) -> Schema:
    return {"not": {"anyOf": [_has(key) for key in keys]}}


def _filled(key: str) -> Schema:
    """There, and not empty."""
    return {"required": [key], "properties": {key: {"not": {"type": "null"}}}}


def _is_type(words: str) -> Schema:
    return {"required": ["type"], "properties": {"type": {"type": "string", "pattern": rf"^\s*({words})\??\s*$"}}}


_NAMES: Final[Schema] = {"pattern": f"^{_NAME}$", "not": {"enum": sorted(RESERVED)}}
_ALLOW: Final[Schema] = mapping(
    "Lints that are silenced from here on down, each with the reason why it is right here: {M033: reason}.",
    text("Why it is right here.", required=True, minLength=1),
    propertyNames={"enum": sorted(ALLOWABLE)},
)


def _name(doc: str, **more: Any) -> Schema:
    return {"description": doc, "type": ["string", "null"], "pattern": f"^{_NAME}$", **more}


def _condition(doc: str) -> Schema:
    return text(doc, examples=["rec_typ == 'O'"])


# -- tables ------------------------------------------------------------------------------------------------------------

_COLUMN_NAME: Final[Schema] = text("A column of this table.", required=True)

ALIAS: Final[Schema] = record(
    "One table under a name of your own. Exactly one alias, the root, has no match.",
    {
        "table": text("schema.table (database.table on MySQL and MariaDB).", examples=["public.t_ord"]),
        "lookup": text("Instead of table: one row that is read as of the commit and triggers nothing."),
        "many": {"description": "A list of rows; without it at most one row joins.", "type": "boolean"},
        "match": mapping(
            "How rows join: {own_column: alias.column}; several pairs, all of one other alias, for a composite key.",
            {"type": "string", "pattern": _COLUMN},
            minProperties=1,
        ),
        "columns": mapping(
            "What is done to a column's text before when, match, pick and the model see it: {itm_cd: trim}.",
            one_or_list("One step, or several in order.", {"enum": list(TRIMS)}),
        ),
        "when": _condition("A condition over the row's own columns; rows for which it is false do not exist here."),
        "pick": record(
            "Which row counts, where several match a to-one join.",
            {
                "where": _condition("A condition that the row must meet."),
                "first": text("The row with the lowest value of this column."),
                "last": text("The row with the highest value of this column."),
            },
        ),
        "pivot": record(
            "An attribute per row: alias['COLOR'] is then the value of the row with that name. Needs many: true.",
            {
                "name": text("The column with the attribute's name.", required=True),
                "value": text("The column with its value.", required=True),
            },
            "name",
            "value",
        ),
        "append": {
            "description": "Root only: rows are facts that are only ever inserted, as in an outbox; nothing is kept.",
            "type": "boolean",
        },
        "allow": _ALLOW,
        "doc": DOC,
    },
    anyOf=[
        _filled("table") | _without("lookup"),
        _filled("lookup") | _without("table"),
    ],
)

# -- model -------------------------------------------------------------------------------------------------------------


def _type_name(*, enum: bool) -> Schema:
    names = [name for name in _TYPES if enum or name != "enum"]
    return {
        "description": f"{', '.join(names)}, or a name of a common file; ? behind it allows null.",
        "anyOf": [
            {"enum": [name + end for name in names for end in ("", "?")]},
            {"type": "string", "pattern": rf"^\s*{_TYPE}\s*$"},
        ],
    }


_SYMBOL: Final[Schema] = {"type": ["string", "boolean"], "pattern": f"^{_NAME}$"}
_CODES: Final[Schema] = {
    "description": "{code: VALUE}, or a list of codes that are names already; null is the code of a null.",
    "anyOf": [
        {"type": "object", "additionalProperties": _SYMBOL},
        {"type": "array", "items": _SYMBOL},
    ],
}
_REFINEMENTS: Final[Schema] = {
    "zone": text("timestamp, date: the zone of values that have none.", examples=["Europe/Paris", "UTC"]),
    "absent": {
        "description": "Texts and whole numbers that mean null, such as sentinel dates.",
        "type": "array",
        "items": {"type": ["string", "integer", "boolean"]},
        "examples": [["1900-01-01"]],
    },
    "pii": _name("The kind of personal data; a token needs it.", examples=["email", "name"]),
}
_VALUE_KEYS: Final = ("from", "codes", "cases", *_REFINEMENTS)
_SHORT_FIELD: Final[Schema] = {
    "description": "type = expression",
    "type": "string",
    "pattern": rf"^\s*{_TYPE}\s*=(?!=)\s*\S",
    "examples": ["string = order.ord_no", "decimal(12,2) = order.tot_cents / 100"],
}
_ENUM_SNIPPET: Final[Schema] = {
    "label": "enum of codes",
    "body": {"type": "enum", "from": "${1:alias.column}", "codes": {"${2:N}": "${3:NEW}"}},
}
_VALUE: Final[Schema] = {
    "required": ["type"],
    "if": _is_type("enum"),
    "then": {
        "oneOf": [
            {"required": ["codes", "from"], **_without("cases")},
            {"required": ["cases"], **_without("codes", "from")},
        ]
    },
    "else": {"required": ["from"], **_without("codes", "cases")},
}
_VALUE_OR_RECORD: Final[Schema] = {"if": _has("fields"), "then": _without("type", *_VALUE_KEYS), "else": _VALUE}
_LIST: Final[Schema] = {"required": ["fields"], **_without("type", *_VALUE_KEYS)}
_TOKEN: Final[Schema] = {"if": _is_type("token"), "then": _filled("pii")}


def _long_field(doc: str, inner: str, shape: Schema, more: Schema) -> Schema:
    properties = {
        "type": _type_name(enum=True),
        "from": text("The expression that gives the value.", required=True),
        "codes": _CODES,
        "cases": mapping(
            "{VALUE: condition}: the first that holds; true as the last one holds always.",
            {"type": SCALAR},
            propertyNames={"pattern": f"^{_NAME}$"},
        ),
        **_REFINEMENTS,
        "fields": mapping("The fields below this one.", {"anyOf": [_SHORT_FIELD, ref(inner)]}, propertyNames=_NAMES),
        "allow": _ALLOW,
        "doc": DOC,
        **more,
    }
    return record(doc, properties, allOf=[_TOKEN, shape], defaultSnippets=[_ENUM_SNIPPET])


FIELD: Final = _long_field(
    "A field of the model: a value, an enum, a record (fields alone) or a list (each).",
    "field",
    {"if": _has("each"), "then": _LIST, "else": _VALUE_OR_RECORD},
    {
        "each": text("The alias with many: true whose rows are the elements.", required=True),
        "order_by": one_or_list("Columns; ascending, nulls last.", {"type": "string"}),
        "where": _condition("A condition that elements meet."),
    },
)
PAYLOAD_FIELD: Final = _long_field("A field of this payload alone.", "payloadField", _VALUE_OR_RECORD, {})

# -- events ------------------------------------------------------------------------------------------------------------

EVENT: Final = record(
    "A business event: the key is its type, in the past tense.",
    {
        "type": _name("The published type, where it is not the key: two versions side by side."),
        "version": {"description": "Of the payload's shape.", "type": "integer", "minimum": 1, "default": 1},
        "topic": {
            "description": "Where it is published.",
            "type": SCALAR,
            "pattern": f"^[A-Za-z0-9._-]{{1,{MAX_TOPIC}}}$",
        },
        "when": text(
            "The rule over the model before and after; required without each.",
            examples=["created()", "became(status, 'PLACED')", "changed(total, lines)", "deleted()"],
        ),
        "each": text(
            "One event per element that was added, removed or changed.",
            examples=["added(lines, by=sku)", "removed(lines, by=sku)", "changed(lines, by=sku)"],
        ),
        "data": {
            "description": "The payload: fields of the model, item.field with each, or name: type = expression.",
            "anyOf": [
                {"type": "array", "items": {"type": "string", "pattern": rf"^\s*{_NAME}(\.{_NAME})*\s*$"}},
                {
                    "type": "object",
                    "propertyNames": {"pattern": f"^{_NAME}$"},
                    "additionalProperties": {
                        "anyOf": [{"type": "null"}, _SHORT_FIELD, ref("payloadField")],
                    },
                },
            ],
        },
        "trigger": one_or_list(
            "What may fire it; change without this key.", {"enum": list(TRIGGERS)}, required=True, minItems=1
        ),
        "allow": _ALLOW,
        "doc": DOC,
    },
    "topic",
    "data",
    **{
        "if": {"required": ["trigger"], "properties": {"trigger": {"enum": ["snapshot", ["snapshot"]]}}},
        "else": {
            "anyOf": [_filled(key) for key in ("when", "each")],
        },
    },
    defaultSnippets=[
        {
            "label": "event",
            "body": {"topic": "${1:topic}", "when": "became(${2:status}, '${3:PLACED}')", "data": ["${4:orderId}"]},
        },
    ],
)

# -- files ------------------------------------------------------------------------------------------------------------

WINDOW: Final = record(
    "A window per aggregate, for code that commits after each statement.",
    {
        "quiet": {"description": "It ends so long after the last change …", **DURATION},
        "at_most": {"description": "… and so long after the first at the latest.", **DURATION},
        "until": _condition("It ends as soon as this holds of the model."),
    },
    "quiet",
    "at_most",
)

FILE: Final = record(
    "The mapping of one aggregate.",
    {
        "aggregate": {
            "description": "The aggregate's name; part of event ids.",
            "type": "string",
            "pattern": f"^{_NAME}$",
        },
        "source": text("A source of the bridge's config.", required=True),
        "key": one_or_list(
            "The aggregate id and record key: root.column, or a list of them.",
            {"type": "string", "pattern": _COLUMN},
            required=True,
            minItems=1,
        ),
        "collapse": {
            "description": "The unit of work: a source transaction, or a window.",
            "default": "transaction",
            "anyOf": [{"enum": ["transaction", None]}, WINDOW],
        },
        "tables": mapping(
            "The legacy side: aliases and their joins.", ref("alias"), propertyNames=_NAMES, minProperties=1
        ),
        "model": mapping(
            "The canonical fields: all that rules and payloads can see.",
            {"anyOf": [_SHORT_FIELD, ref("field")]},
            propertyNames=_NAMES,
        ),
        "events": mapping(
            "The business side, in the order in which events are published.",
            ref("event"),
            propertyNames={"pattern": f"^{_NAME}$"},
        ),
        "on_error": {
            "description": "What follows a unit that cannot be translated.",
            "enum": [*POLICIES, None],
            "default": "park",
        },
        "tests": {"description": "Run by `bridge test`.", "type": ["array", "null"], "items": ref("test")},
        "allow": _ALLOW,
        "doc": DOC,
    },
    "aggregate",
    "source",
    "key",
    "tables",
    "model",
    "events",
)
COMMON: Final = record(
    "Enums and types that all mapping files of the directory may name.",
    {
        "enums": mapping(
            "{Name: {code: VALUE}}, or a list of values.", _CODES, propertyNames={"pattern": f"^{_SHARED}$"}
        ),
        "types": mapping(
            "{Name: type}, or {Name: {type: …, zone: …}}.",
            {
                "anyOf": [
                    {"type": "string", "pattern": rf"^\s*{_TYPE}\s*$"},
                    record(
                        "A type and how its values are read.",
                        {"type": _type_name(enum=False), **_REFINEMENTS, "doc": DOC},
                        "type",
                    ),
                ]
            },
            propertyNames={"pattern": f"^{_SHARED}$"},
        ),
        "doc": DOC,
    },
)
MAPPING: Final[Schema] = {
    "$schema": DRAFT,
    "title": "A mapping file of the bridge",
    "type": "object",
    "if": {"anyOf": [_has("enums"), _has("types")], **_without("aggregate")},
    "then": ref("common"),
    "else": ref("file"),
    "$defs": {
        "file": FILE,
        "common": COMMON,
        "alias": ALIAS,
        "field": FIELD,
        "payloadField": PAYLOAD_FIELD,
        "event": EVENT,
        "test": TEST,
    },
}
