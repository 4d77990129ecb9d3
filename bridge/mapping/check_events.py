"""Checks ``events:``: conditions, element rules and payloads over the model."""

from __future__ import annotations

import ast
from typing import Final

from bridge.mapping.check_model import PAYLOAD_KEYS, made, short
from bridge.mapping.diagnostics import Source, did_you_mean
from bridge.mapping.draft import DataItem, Draft, ElementRule, Event
from bridge.mapping.expression import Checker, check, check_bool
from bridge.mapping.nodes import Field, Root
from bridge.mapping.scope import RuleScope
from bridge.mapping.shape import NAME, Section
from bridge.mapping.syntax import parse
from bridge.mapping.types import Type

EVENT_KEYS: Final = ("type", "version", "topic", "when", "each", "data", "trigger", "allow", "doc")
TRIGGERS: Final = ("change", "snapshot")
ELEMENT_RULES: Final = ("added", "removed", "changed")
MAX_TOPIC: Final = 249  # Kafka's limit
_TOPIC: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def check_events(top: Section, draft: Draft, root_only: frozenset[str]) -> None:
    """Fill ``draft.events``."""
    events = top.section("events", required=True)
    model = Type("record", fields=tuple((field.name, field.type) for field in draft.fields))
    for name in events or ():
        section = events.section(name) if events is not None else None
        if section is None:
            continue
        if not NAME.match(name):
            section.report.add("M004", section.path, f"'{name}' cannot be an event's name", key=True)
        draft.events.append(_event(name, section, model, root_only))


def _event(name: str, section: Section, model: Type, root_only: frozenset[str]) -> Event:
    section.only(*EVENT_KEYS)
    version = section.data.get("version", 1)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        section.bad("M004", "version", "a version is a whole number from 1")
        version = 1
    topic = section.text("topic", required=True) or ""
    if topic and (not set(topic) <= _TOPIC or len(topic) > MAX_TOPIC):
        section.bad("M004", "topic", f"'{topic[:60]}' cannot be a topic", "letters, digits, '.', '_' and '-'")
    event = Event(_type(name, section), version, topic, section.place, section.path, _triggers(section))
    scope = RuleScope(model, None, root_only)
    if (source := section.source("each")) is not None:
        event.each = _element_rule(source, scope)
        if event.each is None:
            return event
        scope = RuleScope(model, event.each.list_field.type.item, root_only)
    elif section.data.get("when") is None and event.triggers != {"snapshot"}:
        section.missing("when", "when: created()")
    if (source := section.source("when")) is not None:
        event.when, event.source = check_bool(source, scope), source
    _data(section, event, scope)
    return event


def _type(name: str, section: Section) -> str:
    """The published type: the key, or ``type:`` where two versions stand side by side."""
    text = section.text("type")
    if text is not None and not NAME.match(text):
        section.bad("M004", "type", f"'{text[:60]}' cannot be an event's type", "letters, digits and _")
        return name
    return text or name


def _triggers(section: Section) -> frozenset[str]:
    found = section.texts("trigger") if "trigger" in section else [("change", section.path)]
    if not found:
        section.bad("M003", "trigger", "'trigger:' is empty", "trigger: snapshot")
    for text, path in found:
        if text not in TRIGGERS:
            hint = did_you_mean(text, TRIGGERS) or f"there are {', '.join(TRIGGERS)}"
            section.report.add("M004", path, f"there is no trigger '{text[:60]}'", hint)
    return frozenset(text for text, _ in found)


def _element_rule(source: Source, scope: RuleScope) -> ElementRule | None:
    """``added(lines, by=sku)``; by may be a tuple of fields."""
    parsed = parse(source)
    if parsed is None:
        return None
    checker, call = Checker(parsed, scope), parsed.tree
    usage = "each: added(lines, by=sku)"
    name = call.func.id if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) else ""
    if not isinstance(call, ast.Call) or name not in ELEMENT_RULES:
        hint = did_you_mean(name, ELEMENT_RULES) or usage
        checker.bad("M014", call, "each: is added, removed or changed of a list", hint)
        return None
    by = call.keywords[0].value if len(call.keywords) == 1 and call.keywords[0].arg == "by" else None
    if len(call.args) != 1 or by is None:
        checker.bad("M015", call, f"{name}() takes a list and by=", usage)
        return None
    found = checker.see(call.args[0])
    if checker.failed:
        return None
    if (
        not isinstance(found, Field)
        or found.root != "after"
        or not isinstance(found.base, Root)
        or found.type.kind != "list"
    ):
        checker.bad("M024", call.args[0], f"{name}() needs a list field of the model", usage)
        return None
    names = by.elts if isinstance(by, (ast.Tuple, ast.List)) else [by]
    rule = ElementRule(name, found, [])
    fields = dict(found.type.item.fields) if found.type.item is not None else {}
    for node in names:
        key = node.id if isinstance(node, ast.Name) else ""
        if key not in fields or fields[key].kind in {"list", "record"}:
            hint = did_you_mean(key, fields) or usage
            checker.bad("M013", node, "by= needs a plain field of the list's elements", hint)
        else:
            rule.by.append((list(fields).index(key), fields[key]))
    return rule if len(rule.by) == len(names) else None


def _data(section: Section, event: Event, scope: RuleScope) -> None:
    data = section.data.get("data")
    if data is None:
        section.missing("data", "data: [orderId]")
    elif isinstance(data, list):
        for text, path in section.texts("data"):
            _named(event, Source(section.report, path, text), scope)
    elif (items := section.section("data")) is not None:
        for name in items:
            if not NAME.match(name):
                items.bad("M004", name, f"'{name}' cannot be a payload field")
            elif items.data[name] is None:
                _named(event, Source(section.report, items.at(name), name), scope)
            else:
                _made(event, items, name, scope)


def _named(event: Event, source: Source, scope: RuleScope) -> None:
    """A model field, or ``item.field``, under its own name."""
    found = check(source, scope)
    if found is None:
        return
    if not isinstance(found, Field) or found.root not in {"after", "item"}:
        source.add(
            "M004", 0, "data names model fields, or item.field", "for anything else write  name: type = expression"
        )
        return
    if any(item.name == found.name for item in event.data):
        source.add("M029", 0, f"the payload has '{found.name}' twice")
    event.data.append(DataItem(found.name, found.type, source.place, source.path, found))


def _made(event: Event, items: Section, name: str, scope: RuleScope) -> None:
    """A member of its own: ``name: type = expression``, or a mapping of keys as in the model."""
    data = items.data[name]
    if isinstance(data, dict):
        inner = Section(items.report, items.at(name), data)
        inner.only(*PAYLOAD_KEYS)
        field = made(inner, name, scope)
    else:
        field = short(items, name, scope)
    if field is not None:
        event.data.append(DataItem(name, field.type, field.place, items.at(name), made=field))
