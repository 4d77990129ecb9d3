"""Dead letters for people and for tools: one line each, or all that is known of one. Personal data masked, as in ``explain``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from bridge.core.encode import rfc3339
from bridge.explain.personal import MASKED, Personal
from bridge.mapping import load
from bridge.mapping.catalog import Catalog
from bridge.mapping.draft import Draft
from bridge.mapping.probes import Probes
from bridge.mapping.tokens import plain
from bridge.runtime.letters import Letter, Settled
from bridge.runtime.redrive import Tried

_RULE_LINES = 8


class Teller:
    """Tells letters by the mapping files as they are now, which say what is personal."""

    def __init__(
        self, files: Sequence[tuple[str, str]], source: str, catalog: Catalog | None, topic: str, *, show_data: bool
    ) -> None:
        probes = Probes()
        load(files, source, catalog, plain, probes)
        self._drafts: dict[str, Draft] = {draft.aggregate: draft for draft in probes.drafts}
        self._personal = Personal(probes.drafts, catalog, show=show_data)
        self._show_data = show_data
        self._files = dict(files)
        self._topic = topic

    def summary(self, letter: Letter, followers: int = 0, settled: Settled | None = None) -> dict[str, Any]:
        """What a line of the list says."""
        told: dict[str, Any] = {
            "letter": letter.at,
            "time": rfc3339(letter.time_ms).decode(),
            "code": letter.code,
            "aggregate": letter.aggregate,
            "aggregateId": self._identity(letter),
            "message": letter.message,
            "followers": followers,
        }
        if settled is not None and settled.covers(letter):
            told["settled"] = "given up" if letter.offset in settled.given_up else "told"
        return told

    def whole(self, letter: Letter, followers: int = 0, settled: Settled | None = None) -> dict[str, Any]:
        """All that is known of it."""
        told = self.summary(letter, followers, settled)
        told |= {"topic": self._topic, "hint": letter.hint, "field": letter.field}
        told |= {"mapping": letter.mapping, "rule": self._rule(letter.place)}
        if letter.is_record:
            told["record"] = {name: letter.headers[f"bridge_{name}"] for name in ("topic", "partition", "offset")}
            told["bytes"] = len(letter.value)
            if self._show_data:
                told["value"] = letter.value.decode(errors="replace")
            return told
        document = letter.document()
        names = ("transaction", "commitPosition", "incarnation", "end", "parkedBehind", "window", "oversize", "reduced")
        told |= {name: document[name] for name in names if document.get(name) is not None}
        told["changes"] = [self._change(change) for change in document.get("changes", ())]
        draft = self._drafts.get(letter.aggregate)
        root = "" if draft is None else draft.root
        told |= {name: self._image(draft, root, document.get(name)) for name in ("before", "after")}
        return told

    def now(self, tried: Tried) -> dict[str, Any]:
        """What becomes of it by the mapping files as they are now."""
        if tried.waits:
            return {"passes": False, "waits": "for an earlier letter of its aggregate"}
        if tried.problem is not None:
            problem = tried.problem
            told = {"passes": False, "code": problem.code, "message": problem.message, "hint": problem.hint}
            return told | {"field": getattr(problem, "field", ""), "rule": self._rule(getattr(problem, "place", ""))}
        return {"passes": True, "events": [self._event(dict(one.headers)) for one in tried.records]}

    @staticmethod
    def _event(headers: dict[str, bytes]) -> dict[str, str]:
        return {"type": headers["ce_type"].decode(), "id": headers["ce_id"].decode()}

    def name(self, letter: Letter) -> str:
        """The aggregate with its id."""
        return f"{letter.aggregate} {self._identity(letter)}".strip()

    def _identity(self, letter: Letter) -> str:
        if self._show_data:
            return letter.identity
        return (
            self._personal.identity(letter.aggregate, letter.identity) if letter.aggregate in self._drafts else MASKED
        )

    def _rule(self, place: str) -> dict[str, Any] | None:
        """A place in a mapping file, and the lines there: of the one that it names, and what is indented below it."""
        file, _, number = place.rpartition(":")
        lines = self._files.get(file, "").splitlines()
        if not number.isdecimal() or not 0 < int(number) <= len(lines):
            return {"place": place, "lines": []} if place else None
        first = int(number) - 1
        indent = _indent(lines[first])
        last = first + 1
        while last < min(len(lines), first + _RULE_LINES) and lines[last].strip() and _indent(lines[last]) > indent:
            last += 1
        return {"place": place, "lines": lines[first:last]}

    def _change(self, change: dict[str, Any]) -> dict[str, Any]:
        table, before, after = change["table"], change["before"] or {}, change["after"] or {}
        show = self._personal.column
        return {
            "table": table,
            "key": self._personal.row_key(table, change["key"].encode()),
            "what": "created" if change["before"] is None else "deleted" if change["after"] is None else "updated",
            "records": ["{}-{}@{}".format(*place) for place in change["records"]],
            "columns": [
                {
                    "name": name,
                    "before": show(table, name, before.get(name)),
                    "after": show(table, name, after.get(name)),
                    "changed": before.get(name) != after.get(name) or (name in before) != (name in after),
                }
                for name in before | after
            ],
        }

    def _image(self, draft: Draft | None, alias: str, image: dict[str, Any] | None) -> Any:
        """An alias that the mapping files do not have any more is masked whole: nobody says what it holds."""
        if image is None:
            return None
        known = None if draft is None else draft.aliases.get(alias)
        told: dict[str, Any] = {}
        for name, value in image.items():
            if name == "row":
                told[name] = {column: self._value(known, column, one) for column, one in (value or {}).items()}
            elif isinstance(value, list):
                told[name] = [self._image(draft, name, one) for one in value]
            else:
                told[name] = self._image(draft, name, value)
        return told

    def _value(self, alias: Any, column: str, value: Any) -> Any:
        if alias is None:
            return value if self._show_data or value is None else MASKED
        return self._personal.column(alias.table, column, value)


def line(told: dict[str, Any]) -> str:
    """A line of the list; a second one where it was tried."""
    who = f"{told['aggregate']} {told['aggregateId']}".strip()
    text = f"{told['letter']:<8} {told['time']} {told['code']} {who}: {told['message']}"
    if told["followers"]:
        text += f" (+{told['followers']} behind it)"
    if "settled" in told:
        text += f" [{told['settled']}]"
    return "\n".join([text, *_now(told)])


def page(told: dict[str, Any]) -> str:
    """All of one letter."""
    return "\n".join(_page(told))


def _page(told: dict[str, Any]) -> Iterator[str]:
    yield f"{told['topic']} {line({name: value for name, value in told.items() if name != 'now'})}"
    if told["hint"]:
        yield f"  hint: {told['hint']}"
    if told["field"]:
        yield f"  field: {told['field']}"
    yield from _rule(told["rule"])
    names = ("mapping", "transaction", "commitPosition", "incarnation", "end", "parkedBehind", "window", "record")
    for name in (*names, "bytes", "value", "oversize", "reduced"):
        value = told.get(name)
        if value is not None and value != "":
            yield f"  {name}: {value if isinstance(value, str) else _json(value)}"
    for change in told.get("changes", ()):
        yield f"  {change['what']} {change['table']} {_json(change['key'])} ({', '.join(change['records'])})"
        for column in change["columns"]:
            if column["changed"]:
                yield f"    {column['name']}: {_json(column['before'])} -> {_json(column['after'])}"
            else:
                yield f"    {column['name']}: {_json(column['after'])}"
    for name in ("before", "after"):
        if name in told:
            yield f"  {name}: {_json(told[name])}"
    yield from _now(told)


def _now(told: dict[str, Any]) -> Iterator[str]:
    now = told.get("now")
    if now is None:
        return
    if now["passes"]:
        events = ", ".join(f"{one['type']} {one['id']}" for one in now["events"])
        yield f"  now: passes, {events or 'without an event'}"
    elif "waits" in now:
        yield f"  now: waits {now['waits']}"
    else:
        yield f"  now: fails, {now['code']} {now['message']}; {now['hint']}"
        yield from _rule(now["rule"])


def _rule(rule: dict[str, Any] | None) -> Iterator[str]:
    if rule is None:
        return
    yield f"  rule: {rule['place']}" + ("" if rule["lines"] else " (not in these mapping files)")
    yield from [f"    | {text}" for text in rule["lines"]]


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _indent(text: str) -> int:
    return len(text) - len(text.lstrip())


def moment(text: str) -> int:
    """A time (RFC 3339) in ms since the epoch. Raises ValueError; one without a zone is UTC."""
    found = datetime.fromisoformat(text)
    return int((found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp() * 1000)
