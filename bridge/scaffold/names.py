"""Names: from what a legacy schema calls things to what people call them. ``t_ord_line`` → order line → ``OrderLine``.

A name of the mapping language is made of ASCII letters, digits and ``_``; other scripts are spelled in Latin letters
where Unicode knows how, else numbered.
"""

from __future__ import annotations

import keyword
import re
import unicodedata
from collections.abc import Collection, Iterable
from typing import Final

from bridge.mapping.lint import in_past_tense
from bridge.mapping.shape import RESERVED

PREFIXES: Final = frozenset({"t", "tb", "tbl", "tab", "table", "mst", "mstr"})  # say only that it is a table
IDS: Final = frozenset(
    {"id", "number", "key", "code", "uuid", "guid", "pk", "fk", "oid"}
)  # end the name of a key column
LONGEST: Final = 60

ABBREVIATIONS: Final = dict(
    pair.split(":")
    for pair in """
    acc:account acct:account act:active addr:address agt:agent adr:address amt:amount art:article attr:attribute bal:balance
    beg:begin bld:building cat:category cd:code chg:changed clm:claim cnt:count coll:collection cov:coverage
    crt:created ctry:country cty:city cur:currency curr:currency cust:customer del:deleted dept:department
    desc:description descr:description dest:destination det:detail dob:birthday doc:document dt:date dtl:detail
    eff:effective emp:employee exp:expiry flg:flag geb:birth fname:firstname grp:group hdr:header hist:history
    inv:invoice itm:item lang:language lname:lastname ln:line lvl:level loc:location mgr:manager mod:modified
    msg:message nbr:number nm:name no:number nr:number num:number ord:order org:organization pat:patient
    pay:payment pct:percent pers:person ph:phone plc:placed plz:zip pmt:payment pol:policy pos:position prc:price prem:premium
    pri:priority prod:product pty:party pwd:password qty:quantity rcpt:receipt rec:record ref:reference reg:region rmk:remark
    sal:salary seq:sequence shp:shipped src:source st:status stat:status str:street sup:supplier tel:phone
    tm:time tot:total trx:transaction ts:time txn:transaction txt:text typ:type upd:updated usr:user val:value
    vend:vendor ver:version whs:warehouse wrh:warehouse
    """.split()
)
_LATIN: Final = str.maketrans({"ß": "ss", "æ": "ae", "ø": "o", "ł": "l", "đ": "d", "œ": "oe"})
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_UNCOUNTED: Final = ("ss", "us", "is")  # address, status, analysis: no plurals, though they end in s
_SIBILANT: Final = ("s", "x", "z", "ch", "sh")
_PLURAL_ES: Final = ("sses", "uses", "xes", "zes", "ches", "shes")

# -- words -------------------------------------------------------------------------------------------------------------


def words(name: str) -> tuple[str, ...]:
    """The words of a table's or column's name, in full and in small letters: ``ORD_NO``, ``ordNo`` → order, number."""
    text = unicodedata.normalize("NFKD", name.translate(_LATIN)).encode("ascii", "ignore").decode()
    return tuple(ABBREVIATIONS.get(word.lower(), word.lower()) for word in _WORD.findall(text))


def table_words(table: str) -> tuple[str, ...]:
    """The words of a table without its schema and without what only says that it is a table; the last one singular."""
    found = words(table.rpartition(".")[2])
    while len(found) > 1 and found[0] in PREFIXES:
        found = found[1:]
    while len(found) > 1 and found[-1] in PREFIXES:
        found = found[:-1]
    return (*found[:-1], singular(found[-1])) if found else ()


def singular(word: str) -> str:
    if word.endswith("ies") and len(word) > len("ties"):
        return word[:-3] + "y"
    if word.endswith(_PLURAL_ES):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith(_UNCOUNTED) and len(word) > 1 else word


def plural(word: str) -> str:
    if word.endswith("y") and word[-2:-1] not in ("", *"aeiou"):
        return word[:-1] + "ies"
    if word.endswith(_SIBILANT):
        return word if singular(word) != word else word + "es"
    return word + "s"


def without_prefix(column: tuple[str, ...], table: tuple[str, ...]) -> tuple[str, ...]:
    """``ord_stat`` of ``t_ord`` is its status: the table's own words in front say nothing."""
    short = column[len(table) :]
    return short if table and column[: len(table)] == table and short and short[0].isalpha() else column


# -- spelling ----------------------------------------------------------------------------------------------------------


def pascal(parts: Iterable[str], fallback: str) -> str:
    text = "".join(part.capitalize() for part in parts)[:LONGEST]
    return text if text[:1].isalpha() else (fallback + text)[:LONGEST]


def camel(parts: Iterable[str], fallback: str) -> str:
    text = pascal(parts, fallback)
    return text[0].lower() + text[1:]


def constant(text: str) -> str:
    """``in progress`` → ``IN_PROGRESS``; '' if nothing of it can be spelled."""
    plain = unicodedata.normalize("NFKD", text.translate(_LATIN)).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Z0-9]+", "_", re.sub(r"([a-z])(?=[A-Z])", r"\1_", plain).upper()).strip("_")[:LONGEST]


def free(name: str, taken: Collection[str], otherwise: str = "Value") -> str:
    """The name itself, or one like it that is neither a word of the language nor taken."""
    name = name + otherwise if name in RESERVED else name
    number, found = 2, name
    while found in taken:
        found, number = f"{name}{number}", number + 1
    return found


def sayable(column: str) -> bool:
    """Can an expression name this column? No blanks, no ``$`` or ``#``, no keyword, and spelled as Python reads it."""
    return column.isidentifier() and not keyword.iskeyword(column) and unicodedata.normalize("NFKC", column) == column


# -- the past tense ----------------------------------------------------------------------------------------------------

_BECAME: Final = {  # a state → what happened when it was reached
    "active": "activated", "inactive": "deactivated", "open": "opened", "done": "completed", "complete": "completed",
    "draft": "drafted", "valid": "validated", "invalid": "invalidated", "archive": "archived",
    "hold": "held", "on_hold": "held", "running": "started",
}  # fmt: skip


def happened(value: str) -> str:
    """What happened when a status reached this value, as one word (``PLACED`` → ``Placed``); '' if it does not say."""
    parts = [part for part in value.lower().split("_") if part]
    whole = _BECAME.get("_".join(parts))
    if whole is not None:
        return whole.capitalize()
    return pascal(parts, "") if parts and in_past_tense(parts[-1]) else ""
