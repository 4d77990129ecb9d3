"""Makes the functions of one alias: its row condition, its column clean-up and its pick."""

from __future__ import annotations

from collections.abc import Callable

from bridge.mapping import support
from bridge.mapping.draft import Alias
from bridge.mapping.emit import Anchor, Emitter
from bridge.mapping.model_code import ModelWriter, indented
from bridge.mapping.nodes import Expr
from bridge.model import Row, TableUse

_METHODS = {
    "trim": "strip(' ')",
    "ltrim": "lstrip(' ')",
    "rtrim": "rstrip(' ')",
    "upper": "upper()",
    "lower": "lower()",
}


def table_use(emitter: Emitter, alias: Alias, width: int) -> TableUse:
    """The compiled form of one entry of ``tables:``; ``width`` is its layout's number of columns."""

    def slot(column: str) -> int:
        return emitter.slot(alias.table, column)

    parent = emitter.aliases[alias.parent] if alias.parent is not None else None
    number = alias.index
    pick = None
    if parent is not None and not alias.many:
        where = _condition(emitter, alias, f"pick{number}", alias.pick_where, "pick")
        order = (
            (alias.pick_order[0], slot(alias.pick_order[1]), alias.pick_order[2])
            if alias.pick_order is not None
            else None
        )
        pick = support.picker(where, order, alias.name, alias.place)
    return TableUse(
        alias=alias.name,
        table=alias.table,
        many=alias.many,
        lookup=alias.lookup,
        parent=parent.index if parent is not None else None,
        own_columns=tuple(slot(own) for own, _ in alias.match),
        parent_columns=tuple(emitter.slot(parent.table, column) for _, column in alias.match)
        if parent is not None
        else (),
        kids=tuple(emitter.aliases[kid].index for kid in alias.kids),
        append=alias.append,
        when=_condition(emitter, alias, f"exists{number}", alias.when, "row"),
        pick=pick,
        normalise=_normalise(emitter, alias, width),
        place=alias.place,
    )


def _condition(emitter: Emitter, alias: Alias, name: str, test: Expr | None, kind: str) -> Callable[[Row], bool] | None:
    if test is None:
        return None
    emitter.anchors = {alias.name: Anchor("None", "r")}
    with emitter.hooks.subject(alias.name, alias.place):
        found = emitter.truth(test, kind)
    body = ModelWriter(emitter).guarded([f"return {found}"], alias.name, alias.place)
    made: Callable[[Row], bool] = emitter.names.define(name, [f"def {name}(r):", *indented(body)])
    return made


def _normalise(emitter: Emitter, alias: Alias, width: int) -> Callable[[Row], Row] | None:
    """``columns:``. Only text is touched: null and unknown stay what they are."""
    if not any(alias.trims.values()):
        return None
    steps = {emitter.slot(alias.table, column): names for column, names in alias.trims.items()}
    text = emitter.names.bind(str)
    parts = []
    columns = [f"c{i}" for i in range(width)]
    for i, column in enumerate(columns):
        calls = "".join(f".{_METHODS[name]}" for name in steps.get(i, ()))
        parts.append(f"{column}{calls} if {column}.__class__ is {text} else {column}" if calls else column)
    name = f"normalise{alias.index}"
    lines = [f"def {name}(r):", f" {', '.join(columns)}, = r", f" return ({', '.join(parts)},)"]
    made: Callable[[Row], Row] = emitter.names.define(name, lines)
    return made
