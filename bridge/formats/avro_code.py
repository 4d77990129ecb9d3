"""An Avro schema as a function that reads its data: Python written for that schema alone, compiled once.

A general reader asks at each value what to read next; here that was answered when the code was written (a third of the time
of one that asks). Of the schema nothing gets into the code but quoted names. Torn data ends in an error of ``TORN``: an index
beyond the end, a length or branch that cannot be, or an end that is not the data's.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final

from bridge.formats.codec import float32, float64

TORN: Final = (IndexError, ValueError, struct.error, OverflowError)
_WIDEST: Final = 63  # bits of a number beyond its last byte


def reader(schema: Any, named: dict[str, Any]) -> Callable[[bytes], Any]:
    """``schema`` and ``named`` as fastavro parses them. Raises KeyError, ValueError for what is not read."""
    code = _Code(named)
    code.line("def read(b):")
    code.line("i = 0", 1)
    code.read(schema, "found", 1)
    code.line("if i != len(b): bad()", 1)
    code.line("return found", 1)
    scope: dict[str, Any] = {
        "__builtins__": {},
        "range": range,
        "len": len,
        "str": str,
        "bad": _bad,
        "more": _more,
        "float32": float32,
        "float64": float64,
        "unpack4": struct.Struct("<f").unpack_from,
        "unpack8": struct.Struct("<d").unpack_from,
    }
    exec(compile("\n".join(code.lines), "<Avro schema>", "exec"), scope)  # noqa: S102 - written below, names quoted
    read: Callable[[bytes], Any] = scope["read"]
    return read


def _bad() -> None:
    raise ValueError("not what the schema says")


def _more(data: bytes, place: int, value: int) -> tuple[int, int]:
    """The rest of a number whose first byte says that there is more."""
    value &= 0x7F
    shift = 7
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the bit that another byte follows
            return value, place
        shift += 7
        if shift > _WIDEST:
            raise ValueError("not a number")


class _Code:
    """Writes it. In the code ``b`` is the data, ``i`` the place in it, ``n`` and ``j`` are for a moment."""

    def __init__(self, named: dict[str, Any]) -> None:
        self.lines: list[str] = []
        self._named = named
        self._open: list[str] = []
        self._count = 0

    def line(self, text: str, depth: int = 0) -> None:
        self.lines.append(" " * depth + text)

    def _name(self) -> str:
        self._count += 1
        return f"v{self._count}"

    def read(self, schema: Any, target: str, depth: int) -> None:
        """Code that reads a value into ``target``."""
        if isinstance(schema, list):
            self._union(schema, target, depth)
            return
        if isinstance(schema, str):
            schema = self._named.get(schema, {"type": schema})
        kind = schema["type"]
        if isinstance(kind, (dict, list)):
            self.read(kind, target, depth)
            return
        write = getattr(self, f"_{kind}", None)
        if write is None:
            raise ValueError(f"type {kind!r}")
        write(schema, target, depth)

    def _raw(self, depth: int) -> None:
        self.line("n = b[i]", depth)
        self.line("i += 1", depth)
        self.line("if n > 127: n, i = more(b, i, n)", depth)

    def _long(self, _schema: Any, target: str, depth: int) -> None:
        self._raw(depth)
        self.line(f"{target} = (n >> 1) ^ -(n & 1)", depth)

    _int = _long

    def _length(self, depth: int) -> None:
        self._raw(depth)
        self.line("if n & 1: bad()", depth)
        self.line("j = i + (n >> 1)", depth)

    def _string(self, _schema: Any, target: str, depth: int) -> None:
        self._length(depth)
        self.line(f"{target} = str(b[i:j], 'utf-8')", depth)
        self.line("i = j", depth)

    def _bytes(self, _schema: Any, target: str, depth: int) -> None:
        self._length(depth)
        self.line(f"{target} = b[i:j]", depth)
        self.line("i = j", depth)

    def _fixed(self, schema: Any, target: str, depth: int) -> None:
        self.line(f"j = i + {int(schema['size'])}", depth)
        self.line(f"{target} = b[i:j]", depth)
        self.line("i = j", depth)

    def _enum(self, schema: Any, target: str, depth: int) -> None:
        self._raw(depth)
        self.line("if n & 1: bad()", depth)
        self.line(f"{target} = {tuple(schema['symbols'])!r}[n >> 1]", depth)

    def _null(self, _schema: Any, target: str, depth: int) -> None:
        self.line(f"{target} = None", depth)

    def _boolean(self, _schema: Any, target: str, depth: int) -> None:
        self.line("n = b[i]", depth)
        self.line("i += 1", depth)
        self.line("if n > 1: bad()", depth)
        self.line(f"{target} = n == 1", depth)

    def _float(self, _schema: Any, target: str, depth: int) -> None:
        self.line(f"{target} = float32(unpack4(b, i)[0])", depth)
        self.line("i += 4", depth)

    def _double(self, _schema: Any, target: str, depth: int) -> None:
        self.line(f"{target} = float64(unpack8(b, i)[0])", depth)
        self.line("i += 8", depth)

    def _union(self, members: list[Any], target: str, depth: int) -> None:
        self.line("n = b[i]", depth)
        self.line("i += 1", depth)
        for index, member in enumerate(members):
            self.line(f"{'el' if index else ''}if n == {2 * index}:", depth)
            self.read(member, target, depth + 1)
        self.line("else: bad()", depth)

    def _record(self, schema: Any, target: str, depth: int) -> None:
        if schema["name"] in self._open:
            raise ValueError(f"{schema['name']} holds itself")
        self._open.append(schema["name"])
        parts = []
        for field in schema["fields"]:
            part = self._name()
            self.read(field["type"], part, depth)
            parts.append(f"{field['name']!r}: {part}")
        self._open.pop()
        self.line(f"{target} = {{{', '.join(parts)}}}", depth)

    def _blocks(self, depth: int) -> str:
        """Opens a loop over all items, however they are blocked; the items' code follows, two deeper."""
        count = self._name()
        self.line("while True:", depth)
        self._long(None, count, depth + 1)
        self.line(f"if {count} == 0: break", depth + 1)
        self.line(f"if {count} < 0:", depth + 1)
        self.line(f"{count} = -{count}", depth + 2)
        self._raw(depth + 2)  # the block's size, for who skips it
        self.line(f"if {count} > len(b): bad()", depth + 1)
        self.line(f"for _ in range({count}):", depth + 1)
        return self._name()

    def _array(self, schema: Any, target: str, depth: int) -> None:
        self.line(f"{target} = []", depth)
        item = self._blocks(depth)
        self.read(schema["items"], item, depth + 2)
        self.line(f"{target}.append({item})", depth + 2)

    def _map(self, schema: Any, target: str, depth: int) -> None:
        self.line(f"{target} = {{}}", depth)
        item = self._blocks(depth)
        self._string(None, f"{item}k", depth + 2)
        self.read(schema["values"], item, depth + 2)
        self.line(f"{target}[{item}k] = {item}", depth + 2)
