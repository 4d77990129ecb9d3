"""Logs: one JSON object a line for machines, aligned text for people; and what may stand in them.

The law: **a log line holds only fields of the allow-list below.** Row values, record keys and secrets have no field
there, so they cannot reach a log by accident: a field that is not on the list is named under ``withheld``, its value
is gone. An exception is logged as its type and the places it passed; its text only where it is ours (a ``BridgeError``
never quotes row values). A value that is not plain data, a ``Secret`` of the config above all, is logged as its type.

Writing never stops the bridge: a reader that went away or fell asleep costs lines, not progress (see ``Outlet``).
"""

from __future__ import annotations

import hashlib
import os
import select
import sys
import threading
import traceback
from collections.abc import Iterable
from typing import Any, Final, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from bridge.errors import BridgeError
from bridge.model import InputOffset

# Where something is: offsets are Kafka's, positions the source database's.
PLACE_FIELDS = frozenset({"source", "topic", "partition", "offset", "position", "transaction", "incarnation", "table"})
# What it is about; counts and durations (in seconds) of whole batches.
SUBJECT_FIELDS = frozenset(
    """
    address aggregate attempt bytes changelog_offset column code command config duplicates end_offset error error_at
    error_type event_type events exit_code expected file generation got group hint key_hash limit line lines lag mapping
    mappings member missing offsets operation owner partitions path pid policy port progress reason records rows
    seconds seeds setting signal state step tables topics transactional_id transactions until version
    """.split()
)
STRUCTLOG_FIELDS = frozenset({"event", "level", "timestamp", "withheld"})
ALLOWED_FIELDS: Final = PLACE_FIELDS | SUBJECT_FIELDS | STRUCTLOG_FIELDS

PLAIN_TYPES: Final = frozenset({str, int, float, bool, type(None)})
TEXT_LIMIT: Final = 1000  # characters of one field
FRAMES: Final = 12  # places of a traceback that are logged, the innermost last
MASK: Final = "***"
LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
STALL_SECONDS: Final = 1.0  # how long one line may wait for a reader that sleeps
STDERR: Final = 2
CHUNK: Final = 4096  # PIPE_BUF: a pipe that polls writable takes this many bytes without waiting


class Outlet:
    """A file descriptor to write lines to, that cannot block for good.

    Each chunk is written only when the descriptor polls writable. A reader that sleeps holds up one line for
    ``STALL_SECONDS``; until it wakes the following lines are dropped at once, and then counted in a line of their own.
    A reader that went away costs nothing any more.
    """

    def __init__(self, descriptor: int, stall_seconds: float = STALL_SECONDS) -> None:
        self.dropped = 0
        self._descriptor = descriptor
        self._patience = int(stall_seconds * 1000)
        self._torn = False
        self._closed = False
        self._lock = threading.Lock()
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)

    def msg(self, line: str) -> None:
        """Write one line, or drop it."""
        with self._lock:
            if self._closed:
                return
            patience = 0 if self.dropped else self._patience
            if self.dropped:
                line = f'{{"event":"log_lines_dropped","level":"warning","lines":{self.dropped}}}\n{line}'
            if self._write((b"\n" if self._torn else b"") + line.encode("utf-8", "replace") + b"\n", patience):
                self.dropped, self._torn = 0, False
            else:
                self.dropped += 1

    debug = info = warning = error = msg  # what structlog calls

    def _write(self, data: bytes, patience: int) -> bool:
        try:
            rest = memoryview(data)
            while rest:
                if not self._poll.poll(patience):
                    self._torn = self._torn or len(rest) < len(data)
                    return False
                rest = rest[os.write(self._descriptor, rest[:CHUNK]) :]
        except OSError:  # nobody reads any more: a log is not worth dying for
            self._closed = True
            return False
        return True


def _allow_only(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    """Keep the fields of the allow-list, as plain data; name the others without their values."""
    kept = {name: _plain(value) for name, value in fields.items() if name in ALLOWED_FIELDS}
    if len(kept) != len(fields):
        kept["withheld"] = ",".join(sorted(str(name)[:40] for name in fields if name not in ALLOWED_FIELDS))
    return kept


def _plain(value: Any) -> Any:
    """Text, numbers and flat lists of them as they are; anything else, subclasses of str too, as its type's name."""
    kind = type(value)
    if kind is str:
        return value if len(value) <= TEXT_LIMIT else value[:TEXT_LIMIT] + "…"
    if kind in PLAIN_TYPES:
        return value
    if kind in (list, tuple):
        return [_plain(item) if type(item) in PLAIN_TYPES else _type_name(item) for item in value]
    return _type_name(value)


def _type_name(value: Any) -> str:
    return f"<{type(value).__name__}>"


def _describe_error(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    """``exc_info`` as type and places. Foreign texts may quote data, so they are left out."""
    info = fields.pop("exc_info", None)
    error = sys.exc_info()[1] if info is True else info[1] if isinstance(info, tuple) else info
    if not isinstance(error, BaseException):
        return fields
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
    fields["error_type"] = type(error).__name__
    fields["error_at"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    if isinstance(error, BridgeError):
        fields["code"], fields["error"] = error.code, error.message
        if error.hint:
            fields["hint"] = error.hint
    return fields


class _Masked:
    """Replaces secrets that stand inside of an allowed text, such as an error of the Kafka client."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = sorted((secret for secret in secrets if secret), key=len, reverse=True)

    def __call__(self, _logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
        return {name: self._masked(value) for name, value in fields.items()} if self._secrets else fields

    def _masked(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._masked(item) for item in value]
        if isinstance(value, str):
            for secret in self._secrets:
                value = value.replace(secret, MASK)
        return value


def configure(
    form: str = "json", level: str = "info", *, stream: TextIO | None = None, secrets: Iterable[str] = ()
) -> Outlet:
    """Set up all logging of the process. ``form`` is json or console; ``secrets`` are texts that never appear."""
    stream = sys.stderr if stream is None else stream
    stream.flush()
    try:
        outlet = Outlet(stream.fileno())
    except OSError:  # not a file: a test or an interpreter put an object of its own in stderr's place
        outlet = Outlet(STDERR)
    render: Processor = structlog.processors.JSONRenderer(ensure_ascii=False)
    if form == "console":
        render = structlog.dev.ConsoleRenderer(colors=stream.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _describe_error,
            _allow_only,
            _Masked(secrets),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=lambda *_: outlet,
        cache_logger_on_first_use=False,  # so that a test, or a second configure, reaches loggers made before
    )
    return outlet


def get_logger() -> structlog.typing.FilteringBoundLogger:
    """A logger; the first argument of its calls is the event: a word per step of the pipeline where there is one."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger


def where(offset: InputOffset, position: str = "") -> dict[str, str | int]:
    """The fields that say where a record is: in Kafka, and in the source database's log."""
    place: dict[str, str | int] = {"topic": offset.topic, "partition": offset.partition, "offset": offset.offset}
    if position:
        place["position"] = position
    return place


def key_hash(key: bytes) -> str:
    """A short name for a key, equal for equal keys, to find the lines about one row; 16 hexadecimal digits."""
    return hashlib.blake2b(key, digest_size=8).hexdigest()
