"""The shape of a mapping's ``tests:`` as JSON Schema: what ``bridge.mapping.check_tests`` reads."""

from __future__ import annotations

from typing import Final

from bridge.mapping.cases import DELETE, INSERT, REKEY, TRUNCATE, UPDATE
from bridge.mapping.check_expected import DEAD_LETTER
from bridge.mapping.schema_parts import DOC, DURATION, SCALAR, Schema, mapping, one_or_list, record, text

_ROW: Final[Schema] = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": {"type": [*SCALAR, "null", "array"]},
}
_ROWS: Final[Schema] = {"anyOf": [_ROW, {"type": "array", "items": _ROW, "minItems": 1}]}
_FILES: Final = one_or_list(
    "Files of captured records, beside the mapping file.", {"type": SCALAR}, required=True, minItems=1
)

STATEMENT: Final = record(
    "A statement on rows, by alias: {insert: {order: {ord_no: 7}}}.",
    {
        INSERT: mapping("New rows; a column that is not given is null.", _ROWS),
        UPDATE: mapping("The key's columns, and what changes.", _ROWS),
        DELETE: mapping("The key's columns.", _ROWS),
        REKEY: mapping(
            "A changed primary key: [old key, new values].",
            {"type": "array", "items": _ROW} | {"minItems": 2, "maxItems": 2},
        ),
        TRUNCATE: {"description": "All rows of a table: {order: }.", "type": "object"},
    },
)
PART: Final = record(
    "A source transaction; the first may be the connector's initial snapshot.",
    {
        "snapshot": {
            "description": "Rows that were there before: - order: {ord_no: 7}.",
            "type": "array",
            "items": {"type": "object", "additionalProperties": _ROWS},
        },
        "transaction": {"description": "Statements, in the order of the log.", "type": "array", "items": STATEMENT},
        "at": text("The time of the commit, with its zone.", examples=["2026-01-05T09:00:00Z"]),
        "after": {
            "description": "It commits so long after the one before it; without transaction: something else does.",
            **DURATION,
        },
    },
    anyOf=[{"required": ["snapshot"]}, {"required": ["transaction"]}, {"required": ["after"]}],
    **{
        "if": {"required": ["snapshot"]},
        "then": {"not": {"anyOf": [{"required": ["transaction"]}, {"required": ["after"]}]}},
    },
)
LETTER: Final = record(
    "A unit that cannot be translated.",
    {"code": text("Its code.", required=True, examples=["T102"]), "field": text("The field of the model.")},
    "code",
)
TEST: Final = record(
    "Rows in, events out.",
    {
        "name": text("What it shows; unique in the file.", required=True),
        "given": {
            "description": "What the database did, in the order of its commits; or {capture: FILE}.",
            "anyOf": [{"type": "array", "items": PART}, record("Captured records.", {"capture": _FILES}, "capture")],
        },
        "expect": {
            "description": "The events, in order, whole: - OrderPlaced: {orderId: '7'}; or {golden: FILE}.",
            "anyOf": [
                {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "minProperties": 1,
                        "maxProperties": 1,
                        "properties": {DEAD_LETTER: LETTER},
                        "additionalProperties": {"type": ["object", "null"]},
                    },
                },
                record(
                    "Events in a file.", {"golden": text("As `bridge transform` prints them.", required=True)}, "golden"
                ),
            ],
        },
        "keys": {
            "description": "Primary keys that no catalog tells: {lines: [ord_no, line_no]}.",
            "type": "object",
            "additionalProperties": one_or_list("Columns.", {"type": SCALAR}),
        },
        "doc": DOC,
    },
    "name",
    "given",
    "expect",
)
