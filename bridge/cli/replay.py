"""``bridge replay``: a stretch of the source's history is published once more, to shadow topics or in the bridge's place."""

from __future__ import annotations

import argparse
import re
import signal
import sys
import threading
from types import FrameType

from bridge.cli.common import Subparsers, command, config_argument, mapping_set, rate, source_name
from bridge.cli.progress import Progress
from bridge.config import load
from bridge.runtime.daemon import spare_collections
from bridge.runtime.replay import Viewer
from bridge.runtime.replay_parts import Parts
from bridge.runtime.stretch import Asked, Told

_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")
_POSITION = "offset of an END, time, LSN or GTID, checkpoint:NAME, beginning or now"
_AGAIN = 75  # paused: the same command goes on


def add(subparsers: Subparsers) -> None:
    """The command's arguments."""
    parser = command(
        subparsers,
        "replay",
        "publish a stretch of history once more, with the ids and bytes of the first time, to shadow topics",
        "bridge replay --config config.yaml --source legacy --from 2026-11-25T03:00:00Z",
    )
    config_argument(parser)
    parser.add_argument("--source", metavar="NAME", required=True, help="the source, as the config names it")
    parser.add_argument("--from", dest="since", metavar="POSITION", required=True, help=f"where it begins: {_POSITION}")
    parser.add_argument("--to", metavar="POSITION", default="now", help="where it ends, that place too; default: now")
    parser.add_argument(
        "--name", type=_name, default="replay", help="of this replay, the end of its topics' names; default: replay"
    )
    parser.add_argument(
        "--mapping", metavar="AGGREGATE", action="append", default=[], help="only its events; may be repeated"
    )
    parser.add_argument(
        "--aggregate", metavar="ID", action="append", default=[], help="only records with this key; may be repeated"
    )
    parser.add_argument("--rate", metavar="N", type=rate, help="at most so many events per second")
    parser.add_argument(
        "--live", action="store_true", help="to the real topics, in the place of the bridge, which must be stopped"
    )
    parser.add_argument(
        "--reissue", action="store_true", help="with --live: under new ids; the header `replaces` has the old one"
    )
    parser.set_defaults(run=run)


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise argparse.ArgumentTypeError("letters, digits, _ and -, at most 40")
    return text


class _Watcher(Viewer):
    """On standard error: what happens, and how far each phase is."""

    def __init__(self) -> None:
        self._phase = ""
        self._progress: Progress | None = None

    def say(self, text: str) -> None:
        self.end()
        print(text, file=sys.stderr)

    def progress(self, phase: str, done: int, total: int) -> None:
        if phase != self._phase or self._progress is None:
            self.say(f"{phase}:")
            self._phase = phase
            self._progress = Progress("offsets of the transaction topic")
        self._progress(done, total)

    def end(self) -> None:
        if self._progress is not None:
            self._progress.end()
            self._progress = None


def run(arguments: argparse.Namespace) -> int:
    """Until it is done, or paused by SIGINT or SIGTERM."""
    if arguments.reissue and not arguments.live:
        print("--reissue goes with --live: in shadow topics ids are those of the first time", file=sys.stderr)
        return 2
    config = load(arguments.config)
    source = config.sources[source_name(config, arguments)]
    mappings = mapping_set(config.mappings, arguments.source, source.catalog, config.tokenise)
    asked = Asked(
        arguments.name,
        arguments.since,
        arguments.to,
        tuple(sorted(arguments.mapping)),
        tuple(sorted(arguments.aggregate)),
        arguments.live,
        arguments.reissue,
    )
    parts = Parts(config, source, mappings, asked)
    watcher = _Watcher()
    replay = parts.replay(arguments.rate, watcher)
    stop = _stop_by_signal()
    if not parts.is_begun():
        replay.check()
        parts.make_topics()
    spare_collections()
    told = replay.run(stop.is_set)
    watcher.end()
    if told.done:
        parts.forget_state()
    print(_summary(told, asked, parts.topics))
    return 0 if told.done else _AGAIN


def _stop_by_signal() -> threading.Event:
    """Set by the first SIGINT or SIGTERM; the second one ends the process, which is as safe as a crash."""
    stop = threading.Event()

    def ask(number: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    signal.signal(signal.SIGINT, ask)
    signal.signal(signal.SIGTERM, ask)
    return stop


def _summary(told: Told, asked: Asked, topics: list[str]) -> str:
    letters = f"{told.letters:,} dead letters" + (", which are in their topic already" if asked.live else "")
    if not told.done:
        return f"paused after {told.events:,} events and {letters}; the same command goes on"
    where = "in the topics of the bridge" if asked.live else f"in {', '.join(topics[1:])}"
    delete = "when you are done with it, delete " + ("its topic: " if asked.live else "its topics: ") + " ".join(topics)
    return f"{told.events:,} events of ENDs {told.since} to {told.until}, {where}; {letters}\n{delete}"
