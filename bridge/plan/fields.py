"""Two records of one event, field by field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET

from bridge.explain.personal import MASKED
from bridge.model import OutboundRecord

Path = tuple[str | int, ...]
_DERIVED: Final = frozenset({"ce_id", "traceparent"})
_ORDER: Final = "(order of fields)"


class Field(NamedTuple):
    """One that differs; UNSET: not there."""

    path: Path
    old: Any
    new: Any

    @property
    def is_value(self) -> bool:
        """Whether it is the payload's data, which may be personal."""
        return self.path[0] == "data" and self.path[-1] != _ORDER


def differences(old: OutboundRecord, new: OutboundRecord) -> list[Field]:
    """What differs between two records of one id; none where they are the same bytes, but for what derives from the id."""
    found = [] if old.topic == new.topic else [Field(("topic",), old.topic, new.topic)]
    if old.headers != new.headers:
        was, now = dict(old.headers), dict(new.headers)
        found += [
            Field(("headers", name), _text(was, name), _text(now, name))
            for name in {**was, **now}
            if was.get(name) != now.get(name) and name not in _DERIVED
        ]
    if old.value != new.value:
        found += _of_values(("data",), msgspec.json.decode(old.value), msgspec.json.decode(new.value))
    return found


def _text(headers: dict[str, bytes], name: str) -> Any:
    return headers[name].decode() if name in headers else UNSET


def _of_values(path: Path, old: Any, new: Any) -> Iterator[Field]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in {**old, **new}:
            yield from _of_values((*path, name), old.get(name, UNSET), new.get(name, UNSET))
        shared = [name for name in old if name in new]
        if shared != [name for name in new if name in old]:
            yield Field((*path, _ORDER), list(old), list(new))
    elif isinstance(old, list) and isinstance(new, list):
        for number in range(max(len(old), len(new))):
            yield from _of_values((*path, number), _at(old, number), _at(new, number))
    elif type(old) is not type(new) or old != new:
        yield Field(path, old, new)


def _at(some: list[Any], number: int) -> Any:
    return some[number] if number < len(some) else UNSET


def text_of(path: Path, *, exact: bool) -> str:
    """``data.lines[0].sku``; not ``exact``: ``data.lines[].sku``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]" if exact else "[]"
        else:
            text += f".{part}" if text else part
    return text


def masked(field: Field, old: Any, new: Any) -> tuple[Any, Any]:
    """A payload field's values as they may be shown, out of both payloads masked as a whole."""
    shown = _down(old, field.path[1:]), _down(new, field.path[1:])
    return (_as(field.old), _as(field.new)) if MASKED in shown else shown


def _down(data: Any, path: Path) -> Any:
    for part in path:
        if data == MASKED:
            return MASKED
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return UNSET
    return data


def _as(value: Any) -> Any:
    return value if value is UNSET or value is None else MASKED
