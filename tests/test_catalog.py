"""The catalog file: what is written is what is read, and any text of a database survives the way."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bridge.mapping.catalog import (
    ACTIONS,
    IDENTITIES,
    Catalog,
    CatalogColumn,
    CatalogTable,
    ForeignKey,
    read,
    short,
    write,
)

AWKWARD = (
    "yes", "no", "on", "null", "~", "true", "012", "08", "0o17", "1_000", "1e5", "1:30", "+1", "-", "?", "<<", "=", "", " ",
    ": ", "a: b", "#", "a #b", "it's", '"', "'", "\n", "a\nb\n\n", "a\tb", "\t", "f(a", "f(a, b)", "{", "}", "[x]", "&a", "*a",
    "!x", "|", ">", "%", "@", "`", "é", "日本", "🎉", "\x00", "\x1b", "\x7f", "\x85", "\u2028", "\ufeff", "\U0010ffff",
    "not null", "text not null", "text null", "enum('a null')", " padded ", "x" * 2000, "a " * 800, "2026-01-01", "\r\n",
)  # fmt: skip
TEXTS = st.one_of(st.sampled_from(AWKWARD), st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
NAMES = st.lists(TEXTS, max_size=3, unique=True).map(tuple)
COLUMNS = st.builds(
    CatalogColumn,
    type=st.one_of(TEXTS, st.sampled_from(["numeric(12,2)", "enum('N','P')", "timestamp(3) without time zone"])),
    nullable=st.none() | st.booleans(),
    default=st.none() | TEXTS,
    comment=TEXTS,
    pii=TEXTS,
)
PAIRS = st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=3)
FOREIGN_KEYS = st.builds(
    lambda pairs, references, action: ForeignKey(
        tuple(one for one, _ in pairs), references, tuple(other for _, other in pairs), action
    ),
    PAIRS,
    TEXTS,
    st.sampled_from(ACTIONS),
)
TABLES = st.builds(
    CatalogTable,
    columns=st.dictionaries(TEXTS, COLUMNS, max_size=4),
    key=st.none() | NAMES,
    foreign_keys=st.lists(FOREIGN_KEYS, max_size=2).map(tuple),
    replica_identity=st.sampled_from(IDENTITIES),
    comment=TEXTS,
)
CATALOGS = st.builds(Catalog, tables=st.dictionaries(TEXTS, TABLES, max_size=3), connector=TEXTS, doc=TEXTS)


@settings(max_examples=150, deadline=None)
@given(CATALOGS)
@example(Catalog({}))
def test_what_is_written_is_what_is_read(catalog: Catalog) -> None:
    text = write(catalog)
    again, problems = read(text, "catalog.yaml")
    assert problems == []
    assert again == catalog
    assert write(again) == text


@pytest.mark.parametrize("text", AWKWARD)
def test_every_awkward_text_everywhere(text: str) -> None:
    column = CatalogColumn(text, nullable=False, default=text, comment=text, pii=text)
    key = ForeignKey((text,), text, (text,), "cascade")
    catalog = Catalog({text: CatalogTable({text: column}, (text,), (key,), "full", text)}, text, text)
    assert read(write(catalog), "catalog.yaml") == (catalog, [])


def test_the_order_of_columns_is_the_tables_and_the_order_of_tables_is_the_alphabets() -> None:
    columns = {"b": short("text"), "a": short("integer not null")}
    one = Catalog({"s.z": CatalogTable(columns), "s.a": CatalogTable({})})
    other = Catalog({"s.a": CatalogTable({}), "s.z": CatalogTable(columns)})
    assert write(one) == write(other)
    assert list(read(write(one), "f")[0].tables["s.z"].columns) == ["b", "a"]


def test_the_text_is_for_people() -> None:
    catalog = Catalog(
        {
            "public.t_ord": CatalogTable(
                {
                    "ord_no": short("integer not null"),
                    "tot": short("numeric(12,2) null"),
                    "ord_stat": CatalogColumn(
                        "enum('N','P')", nullable=False, default="'N'::bpchar", comment="N: new\nP: placed"
                    ),
                    "email": CatalogColumn("character varying(80)", nullable=True, pii="email"),
                },
                ("ord_no",),
                (ForeignKey(("cust_no",), "public.t_cust", ("cust_no",), "cascade"),),
                "default",
                "orders # and quotes",
            )
        },
        "postgresql",
    )
    assert (
        write(catalog)
        == """\
connector: postgresql
tables:
  public.t_ord:
    comment: 'orders # and quotes'
    key: [ord_no]
    replica_identity: default
    columns:
      ord_no: integer not null
      tot: numeric(12,2) null
      ord_stat: {type: "enum('N','P')", nullable: false, default: "'N'::bpchar", comment: "N: new\\nP: placed"}
      email: {type: character varying(80), nullable: true, pii: email}
    foreign_keys:
    - {columns: [cust_no], references: public.t_cust, to: [cust_no], on_delete: cascade}
"""
    )


def test_a_catalog_may_be_larger_than_a_mapping() -> None:
    """1,500 tables of 30 columns: more than the limits of other files."""
    table = CatalogTable({f"column_{number:02}": short("character varying(20) not null") for number in range(30)}, ())
    catalog = Catalog({f"public.table_{number:04}": table for number in range(1_500)})
    assert read(write(catalog), "catalog.yaml") == (catalog, [])
