"""YAML text → PyYAML's nodes, within limits: a file may not cost more than it is worth."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

MAX_DEPTH: Final = 50
MAX_EXACT: Final = 1 << 16  # characters of an unsound file that PyYAML's own parser looks at
STRING: Final = "tag:yaml.org,2002:str"
IMPLICIT: Final = {ScalarNode: "", MappingNode: "tag:yaml.org,2002:map", SequenceNode: "tag:yaml.org,2002:seq"}
_KINDS: Final[dict[type, type[ScalarNode | SequenceNode | MappingNode]]] = {
    yaml.ScalarEvent: ScalarNode,
    yaml.SequenceStartEvent: SequenceNode,
    yaml.MappingStartEvent: MappingNode,
}


class Limits(NamedTuple):
    """What one file may hold."""

    size: int = 1 << 18  # bytes
    nodes: int = 100_000
    entries: int = 2_000  # of one mapping or list
    text: int = 1 << 16  # characters of one scalar


class UnsoundError(Exception):
    """Nothing after this can be read. ``index``: the character of the text where it was found."""

    def __init__(self, code: str, message: str, index: int = 0, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.index = index
        self.hint = hint


class _Composer:
    """Nodes from a parser's events; counts depth and nodes before any recursion can hurt."""

    def __init__(self, event: Callable[[], Any], limits: Limits) -> None:
        self.event = event
        self.limits = limits
        self.anchors: dict[str, Node] = {}
        self.nodes = 0

    def document(self) -> Node:
        """The one document. Raises UnsoundError, and what the parser raises."""
        self.event()  # the stream starts
        if isinstance(self.event(), yaml.StreamEndEvent):
            raise UnsoundError("Y011", "the file is empty")
        found = self.node(self.event(), 1)
        self.event()  # the document ends
        after = self.event()
        if not isinstance(after, yaml.StreamEndEvent):
            raise UnsoundError("Y011", "more than one document", after.start_mark.index)
        return found

    def node(self, event: Any, depth: int) -> Node:
        self.nodes += 1
        if depth > MAX_DEPTH:
            raise UnsoundError("Y007", f"nested more than {MAX_DEPTH} levels deep", event.start_mark.index)
        if self.nodes > self.limits.nodes:
            raise UnsoundError("Y008", f"more than {self.limits.nodes} nodes", event.start_mark.index)
        kind = _KINDS.get(event.__class__)
        if kind is None:
            if event.anchor not in self.anchors:
                raise UnsoundError("Y005", f"found undefined alias {event.anchor!r}", event.start_mark.index)
            return self.anchors[event.anchor]
        tag = event.tag
        if tag is None:
            tag = STRING if kind is ScalarNode and not event.implicit[0] else IMPLICIT[kind]
        value, style = (event.value, event.style or None) if kind is ScalarNode else ([], event.flow_style)
        node = kind(tag, value, event.start_mark, None, style)
        if event.anchor is not None:
            if event.anchor in self.anchors:
                raise UnsoundError("Y001", "second occurrence", event.start_mark.index)
            self.anchors[event.anchor] = node
        if kind is not ScalarNode:
            self.children(node, depth + 1)
        return node

    def children(self, node: Node, depth: int) -> None:
        """Fill a collection."""
        next_event, append = self.event, node.value.append
        if isinstance(node, SequenceNode):
            while (event := next_event()).__class__ is not yaml.SequenceEndEvent:
                append(self.node(event, depth))
        else:
            while (event := next_event()).__class__ is not yaml.MappingEndEvent:
                append((self.node(event, depth), self.node(next_event(), depth)))


_OPTIONAL = re.compile(r"(?<=[\w)])\?(?=[ ]*[,}\]])")
_KEY: Final = "while scanning a simple key"  # that lacks its colon: the problem's mark is the line after it


def compose(text: str, limits: Limits) -> Node:
    """The node tree. Raises UnsoundError.

    libyaml's parser reads many times as fast as PyYAML's own, which says better what is wrong: of what is not sound, and
    not too big to wait for, it has the word. (A byte order mark inside of the file they do not count alike.)
    """
    if "\ufeff" in text and len(text) <= MAX_EXACT:
        return _composed(yaml.SafeLoader, text, limits)
    try:
        return _composed(yaml.CSafeLoader, text, limits)
    except UnsoundError as error:
        if error.code != "Y001" or len(text) > MAX_EXACT:
            raise
        exact = _OPTIONAL.sub("_", text)  # PyYAML would stumble over {type: date?}, which is no mistake
        found = _composed(yaml.SafeLoader, exact, limits)
        if exact != text:
            raise
        return found


def _composed(parser: Any, text: str, limits: Limits) -> Node:
    try:
        return _Composer(parser(text).get_event, limits).document()
    except _FOREIGN as error:
        raise _told(error) from None


_FOREIGN: Final = (yaml.YAMLError, ValueError, RecursionError)


def _told(error: Exception) -> UnsoundError:
    """A parser's error in our words."""
    if isinstance(error, yaml.MarkedYAMLError):
        mark = (error.context_mark if error.context == _KEY else None) or error.problem_mark or error.context_mark
        return UnsoundError("Y001", f"not valid YAML: {error.problem}", mark.index if mark else 0, _syntax_hint(error))
    if isinstance(error, yaml.reader.ReaderError):
        return UnsoundError("Y001", f"not valid YAML: {error.reason}", int(error.position))
    return UnsoundError("Y001", f"not valid YAML: {type(error).__name__}")


def _syntax_hint(error: yaml.MarkedYAMLError) -> str:
    """An expression that starts with a quote, or holds ': ', is the usual cause."""
    problem = str(error.problem)
    if "mapping values are not allowed" in problem:
        return "an expression that contains ': ' must be quoted"
    if "expected <block end>" in problem and "<scalar>" in problem:
        return "an expression that starts with a quote must be quoted as a whole: \"'a' == b\""
    if "','" in problem and "flow" in str(error.context):
        return "quote an expression inside { } or [ ]"
    return ""
