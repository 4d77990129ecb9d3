"""Expressions as text, by chance: mostly well-typed, sometimes not, over the names of a ``Vocabulary``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

KINDS = ("number", "text", "bool", "any", "moment", "day")
WORDS = ("'A'", "'P'", "' x '", "'12'", "'1.50'", "''", "'NEW'", "'É'")
NUMBERS = ("0", "1", "2", "7", "-3", "0.5", "12.50", "100", "3.00", "1267650600228229401496703205376")
PATTERNS = ("'[A-Z]+'", "'[0-9]+'", "'A|P'", "'.*'", "'(x)'")
ONE_GROUP = ("'([A-Z])'", "'(\\\\w+)'", "'x?(1)'")
PATHS = ("'a'", "'a', 0", "'a', 1, 'b'", "'big'", "'n'")
UNITS = ("'s'", "'ms'", "'us'", "'ns'")
ZONES = ("'Europe/Paris'", "'UTC'", "'America/New_York'")


@dataclass(frozen=True)
class Vocabulary:
    """``names``: what gives a value, by kind. ``lists``: what a form goes over, with the columns of its elements."""

    names: dict[str, tuple[str, ...]]
    rows: tuple[str, ...] = ()  # what may be asked for being there
    lists: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict)
    predicates: tuple[str, ...] = ()
    forms: int = 0  # how deep in forms: each has a variable of its own

    def inside(self, elements: dict[str, tuple[str, ...]]) -> Vocabulary:
        variable = f"v{self.forms}"
        names = {
            kind: (*self.names.get(kind, ()), *(n if "." in n else f"{variable}.{n}" for n in elements.get(kind, ())))
            for kind in KINDS
        }
        return replace(self, names=names, forms=self.forms + 1)


def expression(dice: Random, words: Vocabulary, kind: str = "", depth: int = 4) -> str:
    """One expression that probably gives a value of ``kind``; "": of any."""
    kind = kind or dice.choice(KINDS)
    if dice.randrange(16) == 0:
        kind = dice.choice(KINDS)  # of a wrong type, maybe
    if depth <= 0 or dice.randrange(4) == 0:
        return _leaf(dice, words, kind)
    return dice.choice(_MAKERS[kind])(Maker(dice, words, depth - 1))


def _leaf(dice: Random, words: Vocabulary, kind: str) -> str:
    literals = {"number": NUMBERS, "text": WORDS, "bool": ("True", "false")}.get(kind, ())
    found = (*words.names.get(kind, ()), *words.names.get("any", ()), *literals)
    if not found:
        found = ("null", *(name for names in words.names.values() for name in names))
    return dice.choice(found)


class Maker:
    """What the constructs below draw from."""

    def __init__(self, dice: Random, words: Vocabulary, depth: int) -> None:
        self.dice = dice
        self.words = words
        self.depth = depth

    def of(self, kind: str, words: Vocabulary | None = None) -> str:
        return expression(self.dice, words or self.words, kind, self.depth)

    def one(self, *choices: str) -> str:
        return self.dice.choice(choices)

    def form(self, kind: str) -> str:
        """``element for variable in list if test``."""
        if not self.words.lists:
            return self.of(kind)
        name = self.one(*self.words.lists)
        inner = self.words.inside(self.words.lists[name])
        test = self.one("", f" if {self.of('bool', inner)}")
        return f"{self.of(kind, inner)} for v{self.words.forms} in {name}{test}"


def _arithmetic(m: Maker) -> str:
    return f"({m.of('number')} {m.one('+', '-', '*', '/', '//', '%')} {m.of('number')})"


def _compare(m: Maker) -> str:
    kind = m.one(*KINDS)
    return f"({m.of(kind)} {m.one('==', '!=', '<', '<=', '>', '>=')} {m.of(kind)})"


def _chain(m: Maker) -> str:
    return f"({m.of('number')} < {m.of('number')} <= {m.of('number')})"


def _contains(m: Maker) -> str:
    kind = m.one("text", "number")
    items = f"({m.one(*WORDS)}, {m.one(*WORDS)})" if kind == "text" else f"[{m.one(*NUMBERS)}, {m.one(*NUMBERS)}]"
    if m.one("constants", "constants", "form") == "form" and m.words.lists:
        items = f"({m.form(kind)})"
    return f"({m.of(kind)} {m.one('in', 'not in')} {items})"


def _is_null(m: Maker) -> str:
    what = m.one(*m.words.rows) if m.words.rows and m.one("row", "value") == "row" else m.of(m.one(*KINDS))
    return f"({what} {m.one('is', 'is not')} None)"


def _logic(m: Maker) -> str:
    return f"({m.of('bool')} {m.one('and', 'or')} {m.of('bool')})"


def _predicate(m: Maker) -> str:
    return m.one(*m.words.predicates) if m.words.predicates else _compare(m)


def _if(kind: str) -> Callable[[Maker], str]:
    return lambda m: f"({m.of(kind)} if {m.of('bool')} else {m.of(kind)})"


def _coalesce(kind: str) -> Callable[[Maker], str]:
    return lambda m: f"coalesce({m.of(kind)}, {m.of(kind)})"


def _over_list(name: str, kind: str) -> Callable[[Maker], str]:
    return lambda m: f"{name}({m.form(kind)})"


def _call(name: str, *kinds: str, constants: tuple[str, ...] = ()) -> Callable[[Maker], str]:
    """``name(arguments…, constant)``."""

    def make(m: Maker) -> str:
        arguments = [m.of(kind) for kind in kinds]
        constant = [m.one(*constants)] if constants else []
        return f"{name}({', '.join([*arguments, *[one for one in constant if one]])})"

    return make


_MAKERS: dict[str, tuple[Callable[[Maker], str], ...]] = {
    "number": (
        _arithmetic, _arithmetic, _arithmetic, lambda m: f"(-{m.of('number')})", _if("number"), _coalesce("number"),
        _call("abs", "number"), _call("round", "number", constants=("", "0", "2", "5")),
        _call("min", "number", "number"), _call("max", "number", "number"), _over_list("sum", "number"),
        _over_list("max", "number"), _over_list("min", "number"), _over_list("first", "number"),
        _over_list("last", "number"), _over_list("count", "any"), _call("len", "text"), _call("int", "any"),
        _call("decimal", "any"), _call("unscaled", "any", constants=("0", "2", "30")),
        _call("double", "number"),
    ),
    "text": (
        _if("text"), _coalesce("text"), _call("trim", "text"), _call("ltrim", "text"), _call("rtrim", "text"),
        _call("upper", "text"), _call("lower", "text"), _call("substring", "text", "number"),
        _call("substring", "text", "number", "number"), _call("replace", "text", constants=("'A', 'bb'", "' ', ''")),
        _call("concat", "text", "number"), _call("concat", "text", "text", "any"),
        _call("pad_left", "any", constants=("3, '0'", "12, ' '")), _call("extract", "text", constants=ONE_GROUP),
        _call("string", "number"), _call("string", "moment"), _call("string", "day"), _over_list("first", "text"),
        _over_list("max", "text"),
    ),
    "bool": (
        _compare, _compare, _compare, _chain, _contains, _is_null, _logic, _logic, _predicate, _predicate,
        lambda m: f"(not {m.of('bool')})", _if("bool"), _over_list("any", "bool"), _over_list("all", "bool"),
        _call("match", "text", constants=PATTERNS),
    ),
    "any": (
        _coalesce("any"), _if("any"), _call("parse_json", "any", constants=PATHS), _over_list("last", "any"),
        _call("string", "any"), _call("int", "any"),
    ),
    "moment": (
        _call("instant", "number", constants=UNITS), _call("instant", "any"), _call("tz", "any", constants=ZONES),
        _call("tz", "moment", constants=ZONES), _coalesce("moment"), _if("moment"), _over_list("max", "moment"),
    ),
    "day": (
        _call("date", "any"), _call("date", "moment", constants=ZONES), _call("date_from_days", "number"),
        _call("date", "any", constants=ZONES), _call("min", "day", "day"), _coalesce("day"),
    ),
}  # fmt: skip
