"""Catalogs as legacy databases have them, and worse: made of a seed, for ``test_scaffold``."""

from __future__ import annotations

import random
from typing import Any, Final

from bridge.mapping.catalog import Catalog, CatalogColumn, CatalogTable, ForeignKey
from bridge.scaffold.sample import Sample, TableSample

SANE: Final = """
id ord_no cust_no line_no pos name nm status ord_stat st type rec_typ email phone iban street city birth_dt del_flg
deleted_at valid_from valid_to attr_nm attr_val upd_ts created_at tot_cents amt qty price cur is_active blk_flg note
doc_id parent_id user_id order_id customer_id code
""".split()
ODD: Final = [
    "from", "in", "is", "class", "None", "True", "true", "null", "before", "after", "item", "order", "lines", "a$b",
    "a#b", "two words", "größe", "Straße", "имя", "名前", "e-mail", "value", "key", "1x", "_", "__class__", "a.b", "a:b",
    "a'b", 'a"b', "{a}", "[a]", "- a", "# a", "a\tb", "a\nb", "no", "on", "012", "1e3", "sum", "match", "count", "date",
    "ORD_NO", "ordNo", "ﬁ", "e\u0301", "\U00048c01", "very_" + "long_" * 15, "lambda", "x_flg",
]  # fmt: skip
TABLES: Final = """
t_ord t_ord_line ord_line orders order_lines order orders_hist cust tbl_customers class from before status t_pay user
user_role role t x x_attr audit_log item 1st lines customer_type ord_stat debezium_signal null none item_price
""".split()
ODD_TABLES: Final = [
    "übung",
    "имя",
    "a b",
    "a$b",
    "X",
    "t_",
    "_",
    "a.b",
    "a:b",
    "{x}",
    "T_ORD",
    "\U00048c01",
    "#",
    "x\ny",
]
TYPES: Final = """
integer|integer|bigint|bigint|smallint|int(11)|tinyint(1)|numeric(12,2)|numeric|decimal(10,0)|double precision|boolean|
char(1)|char(1)|character(4)|varchar(20)|varchar(20)|character varying(80)|text|date|date|timestamp|timestamp(3)|
timestamp without time zone|timestamp with time zone|datetime(6)|enum('N','P')
""".replace("\n", "").split("|")
ODD_TYPES: Final = [
    "numeric(45,3)", "decimal(65,30)", "number", "real", "bit(1)", "bit(8)", "uuid", "jsonb", "time", "interval", "bytea",
    "blob", "integer[]", "enum('a b','c:d','e#f','','null','true','12')", "enum('O''Neil','ß')", "set('a','b')", "money",
    "order_status", "year", "tsvector", "inet", "",
]  # fmt: skip
COMMENTS: Final = [
    "N new, P placed", "1=yes, 2=no # x: y", "A: a; B: b", "it's {a} [b]: \n\t c", "\x00\u2028\U00048c01", "J or N", "x" * 999,
]  # fmt: skip
VALUES: Final[list[Any]] = [
    None, True, 0, 1, 7, 2.5, "N", "P", "Y", "J", "A ", "a b", "null", "true", "", "1900-01-01", "COLOR", "e-mail", "x'y", "a:b",
    "9999-12-31T00:00:00.000000", "ü", "x\ny", "#a", "a@example.com", "012", "3.14", "\U00048c01", "in progress", [1], {"a": 1},
]  # fmt: skip


def catalog(seed: int, size: int, odd: float) -> Catalog:
    """So many tables; ``odd``: how likely a name or type is a strange one. Foreign keys go anywhere, in circles too."""
    dice = random.Random(seed)

    def one(sane: list[str], strange: list[str]) -> str:
        return dice.choice(strange if dice.random() < odd else sane)

    names: dict[str, None] = {}
    while len(names) < size:
        number = dice.choice(["", "", str(len(names))])
        names[f"{dice.choice(['public', 'public', 'old', 'a b'])}.{one(TABLES, ODD_TABLES)}{number}"] = None
    columns = {name: [*dict.fromkeys(one(SANE, ODD) for _ in range(dice.randint(2, 11)))] for name in names}
    keys = {name: _key(dice, columns[name]) for name in names}
    tables = {}
    for name in names:
        foreign = [
            _foreign_key(dice, name, target, columns, keys) for target in dice.choices([*names], k=dice.randint(0, 3))
        ]
        tables[name] = CatalogTable(
            {column: _column(dice, one(TYPES, ODD_TYPES)) for column in columns[name]},
            keys[name],
            tuple(key for key in foreign if key is not None),
            comment=dice.choice(["", "", *COMMENTS]),
        )
    return Catalog(tables, dice.choice(["", "postgresql", "mariadb"]))


def _key(dice: random.Random, columns: list[str]) -> tuple[str, ...] | None:
    if dice.random() < 0.1:
        return dice.choice([None, ()])
    return tuple(columns[: dice.choice([1, 1, 1, 2, 2, 3])])


def _column(dice: random.Random, kind: str) -> CatalogColumn:
    return CatalogColumn(
        kind,
        dice.choice([None, True, False, False]),
        dice.choice([None, None, None, "'N'", "'1900-01-01'", "9999-12-31 00:00:00", "0"]),
        dice.choice(["", "", "", *COMMENTS]),
        dice.choice([*[""] * 12, "email", "name"]),
    )


def _foreign_key(
    dice: random.Random,
    name: str,
    target: str,
    columns: dict[str, list[str]],
    keys: dict[str, tuple[str, ...] | None],
) -> ForeignKey | None:
    to = keys[target] or ()
    if dice.random() < 0.1:
        to = tuple(columns[target][-1:])
    if not to or len(to) > len(columns[name]):
        return None
    own = columns[name] if dice.random() < 0.6 else dice.sample(columns[name], len(columns[name]))
    return ForeignKey(tuple(own[: len(to)]), target, to, dice.choice(["no action", "cascade", "set null"]))


def sample(seed: int, catalog: Catalog) -> Sample:
    """Rows for some of the tables; each column has few values, so that guesses are made."""
    dice = random.Random(seed)
    found = {}
    for name, table in catalog.tables.items():
        pools = {column: dice.sample(VALUES, dice.choice([1, 2, 3, 8])) for column in table.columns}
        count = dice.choice([0, 1, 3, 25])
        rows = [{column: dice.choice(pool) for column, pool in pools.items()} for _ in range(count)]
        if rows:
            found[name] = TableSample(rows, table.key)
    return found
