"""Which rows belong together: by values that are known, as each mapping reads them."""

from __future__ import annotations

import pytest

from bridge.core.joins import Indexes, values_of
from bridge.mapping import load
from bridge.model import UNKNOWN, Cascade, MappingSet, Row

TEXT = """
aggregate: {name}
source: legacy
key: order.ord_no
tables:
  order:
    table: public.t_ord
  lines:
    table: public.t_line
    many: true
    match: {{ord_no: order.ord_no, firm: order.firm}}
    columns: {{{normalised}}}
  customer:
    lookup: public.t_cust
    match: {{cust_no: order.cust_no}}
model:
  orderId: string = order.ord_no
  country: string = customer.country
  lines:
    each: lines
    order_by: line_no
    fields:
      sku: string = sku
events:
  {name}Changed:
    topic: t
    when: changed(lines)
    data: [orderId, country]
"""


def mappings(**normalised: str) -> MappingSet:
    """By name; ``columns:`` of their lines."""
    texts = [(f"{name}.yaml", TEXT.format(name=name, normalised=columns)) for name, columns in normalised.items()]
    return load(texts, "legacy", None)


def indexes_of(found: MappingSet) -> Indexes:
    return Indexes(found, {name: number for number, name in enumerate(found.layouts)})


def row_of(found: MappingSet, table: str, **values: object) -> Row:
    return tuple(values.get(column) for column in found.layouts[table].columns)


@pytest.mark.parametrize("nothing", [None, UNKNOWN])
def test_what_is_null_or_unknown_joins_nothing(nothing: object) -> None:
    assert values_of((nothing, 1), (0,)) is None
    assert values_of((1, nothing), (0, 1)) is None
    assert values_of((nothing, 1), (0, 1)) is None
    assert values_of((nothing, 1), (1,)) == (1,)
    assert values_of((2, 1), (1, 0)) == (1, 2)
    assert values_of((0, ""), (0, 1)) == (0, ""), "nought and nothing written are values"


def test_indexes_have_names_that_stay() -> None:
    """They stand in the stamp of the local state: under other names it is read anew from the changelog."""
    found = mappings(A="", B="sku: trim")
    names = {index.name for index in indexes_of(found).all}
    assert names == {
        "public.t_line(ord_no,firm)",
        "public.t_line(ord_no,firm)@B.lines",
        "public.t_ord(ord_no,firm)",
        "public.t_cust(cust_no)",
    }


def test_mappings_that_read_a_column_in_their_own_way_join_in_their_own_way() -> None:
    found = mappings(A="firm: trim", B="firm: upper", C="", D="")
    indexes = indexes_of(found)
    row = row_of(found, "public.t_line", ord_no="1", line_no=1, firm=" x ")
    joins = [indexes.down(mapping, mapping.tables[1]).join(row) for mapping in found.mappings]
    assert joins == [("1", "x"), ("1", " X "), ("1", " x "), ("1", " x ")]
    assert indexes.down(found.mappings[2], found.mappings[2].tables[1]) is indexes.down(
        found.mappings[3], found.mappings[3].tables[1]
    )


def test_a_row_moves_in_the_indexes_whose_columns_changed() -> None:
    found = mappings(A="", B="firm: trim")
    rule = Cascade("public.t_line", (0,), ("x",), "public.t_ord", (0,), ("x",), "cascade", "")
    indexes = indexes_of(found)
    cascade = indexes.cascade(rule)
    assert cascade.number == len(indexes.all) - 1
    numbers = {name: number for number, name in enumerate(found.layouts)}
    table = numbers["public.t_line"]
    of_table = [index for index in indexes.all if index.name.startswith("public.t_line")]
    assert [one.table for one in of_table] == [table] * 3
    before = row_of(found, "public.t_line", ord_no="1", line_no=1, firm="x", sku="a")
    for column, value in (("firm", "y"), ("sku", "b"), ("ord_no", "2")):
        slot = found.layouts["public.t_line"].columns.index(column)
        after = (*before[:slot], value, *before[slot + 1 :])
        moves = indexes.moves(table, before, after)
        expected = [(one.number, one.join(before), one.join(after)) for one in of_table if slot in one.columns]
        assert moves == expected
    assert indexes.moves(table, before, before) == []
    everywhere = [(one.number, one.join(before), one.join(before)) for one in of_table]
    assert indexes.moves(table, before, before, rekeyed=True) == everywhere
    assert indexes.moves(table, None, before) == [(number, None, join) for number, join, _ in everywhere]
    assert indexes.moves(table, before, None) == [(number, join, None) for number, join, _ in everywhere]
    blank = row_of(found, "public.t_line", ord_no="1", firm=" x ", line_no=1)
    assert indexes.moves(table, before, blank) == [
        (one.number, one.join(before), one.join(blank)) for one in of_table if "@" not in one.name
    ], "with blanks around it, it moves for the mapping alone that does not trim them"
    assert indexes.moves(99, before, None) == []
