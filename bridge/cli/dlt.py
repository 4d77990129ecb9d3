"""``bridge dlt``: what failed, whether it would pass now, and telling it after all."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from bridge.cli.common import Subparsers, command, config_argument, mapping_files, mapping_set, rate, source_name

if TYPE_CHECKING:
    from bridge.explain.letters import Teller
    from bridge.runtime.desk import Desk
    from bridge.runtime.letters import Letter, Settled
    from bridge.runtime.redrive import Tried

_ADDRESS = "PARTITION-OFFSET"


def add(subparsers: Subparsers) -> None:
    """The command's arguments."""
    parser = command(
        subparsers,
        "dlt",
        "dead letters: what failed, whether it would pass with the mapping files as they are now, and replay",
        "bridge dlt list --config config.yaml --would-pass",
    )
    commands = parser.add_subparsers(dest="what", required=True, metavar="COMMAND")
    listing = command(commands, "list", "open dead letters, a line each", "bridge dlt list --config config.yaml")
    _filters(listing)
    _looks(listing)
    listing.add_argument("--all", action="store_true", help="those too that are settled")
    listing.set_defaults(run=list_letters)
    showing = command(
        commands,
        "show",
        "everything about some dead letters: coordinates, row changes, images, the rule",
        "bridge dlt show --config config.yaml 0-17",
    )
    showing.add_argument(
        "letter",
        metavar=_ADDRESS,
        type=_address,
        nargs="?",
        help="its place in the dead-letter topic, as the list says",
    )
    _filters(showing)
    _looks(showing)
    showing.set_defaults(run=show_letters)
    replaying = command(
        commands,
        "replay",
        "tell dead letters by the mapping files as they are now, each aggregate's in order, as if they had never failed",
        "bridge dlt replay --config config.yaml --code T102",
    )
    _filters(replaying)
    replaying.add_argument("--rate", metavar="N", type=rate, default=0.0, help="events per second (default: no limit)")
    replaying.add_argument(
        "--give-up",
        action="store_true",
        help="settle letters that still fail without events, and let their aggregates go on; needs a filter",
    )
    replaying.set_defaults(run=replay_letters)


def _filters(parser: argparse.ArgumentParser) -> None:
    config_argument(parser)
    parser.add_argument("--source", metavar="NAME", help="the source, where the config has several")
    parser.add_argument("--code", default="", help="letters with this error code")
    parser.add_argument("--mapping", metavar="AGGREGATE", default="", help="letters of this aggregate's mapping")
    parser.add_argument("--id", default="", help="letters of the aggregate with this id")
    parser.add_argument("--from", dest="since", metavar="TIME", type=_time, help="committed then or later (RFC 3339)")
    parser.add_argument("--until", metavar="TIME", type=_time, help="committed before (RFC 3339)")


def _looks(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=("text", "json"), default="text", help="for people (default) or for tools")
    parser.add_argument(
        "--would-pass",
        action="store_true",
        help="try each with the mapping files as they are now, in order per aggregate; nothing is written",
    )
    parser.add_argument("--mappings", metavar="DIR", type=Path, help="other mapping files than the config's, to try")
    parser.add_argument(
        "--show-data", action="store_true", help="do not mask personal data (pii in catalog and mapping)"
    )


def _address(text: str) -> tuple[int, int]:
    partition, _, offset = text.partition("-")
    if not (partition.isdecimal() and offset.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not {_ADDRESS}, such as 0-17")
    return int(partition), int(offset)


def _time(text: str) -> int:
    from bridge.explain.letters import moment  # noqa: PLC0415 - few commands need it

    try:
        return moment(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time, such as 2026-11-23T07:37:25Z") from None


def list_letters(arguments: argparse.Namespace) -> int:
    """A line each; what only waits behind another is counted."""
    from bridge.explain.letters import line  # noqa: PLC0415

    with _desk(arguments, everything=arguments.all) as (desk, teller):
        _print(arguments, [_told(arguments, desk, teller.summary, teller, one) for one in desk.found()], line)
        for aggregate, identity in desk.without_letters():
            hint = f"--give-up --mapping {aggregate} --id {identity} lets it go on"
            print(f"parked, and its dead letters are gone: {aggregate} {identity}; {hint}", file=sys.stderr)
    return 0


def show_letters(arguments: argparse.Namespace) -> int:
    """A page each."""
    from bridge.errors import Fatal  # noqa: PLC0415
    from bridge.explain.letters import page  # noqa: PLC0415

    with _desk(arguments, everything=arguments.letter is not None) as (desk, teller):
        found = [_told(arguments, desk, teller.whole, teller, one) for one in desk.found()]
    if not found:
        raise Fatal("there is no such dead letter", "`bridge dlt list --all` lists what there is", code="B523")
    _print(arguments, found, page)
    return 0


def replay_letters(arguments: argparse.Namespace) -> int:
    """Tell what can be told; exit code 1 where letters still fail."""
    from bridge.runtime.daemon import MonotonicClock  # noqa: PLC0415

    if arguments.give_up and not _is_filtered(arguments):
        print("--give-up needs a filter: --code, --mapping, --id, --from or --until", file=sys.stderr)
        return 2
    with _desk(arguments, replays=True) as (desk, teller):
        redrive = desk.redrive(MonotonicClock(), _tell, rate=arguments.rate, give_up=arguments.give_up)
        done = redrive.run()
        failing = redrive.failing()
        print(f"told {done.told} letter(s) with {done.events} event(s); {len(failing)} aggregate(s) still fail")
        if done.late:
            print(f"late: {done.late} of them, whose aggregates had gone on without them (on_error: skip)")
        for letter in done.given_up:
            print(f"given up: {letter.at} {letter.code} {teller.name(letter)}")
        for name in done.unparked:
            print(f"goes on without dead letters: {name}")
        for one in failing:
            print(_line(teller, one))
    return 1 if failing else 0


def _line(teller: Teller, one: Tried) -> str:
    from bridge.explain.letters import line  # noqa: PLC0415

    return line(teller.summary(one.letter) | {"now": teller.now(one)})


def _told(
    arguments: argparse.Namespace,
    desk: Desk,
    tell: Callable[[Letter, int, Settled | None], dict[str, Any]],
    teller: Teller,
    found: tuple[Letter, int, Settled | None],
) -> dict[str, Any]:
    told = tell(*found)
    tried = desk.tried(found[0]) if arguments.would_pass else None
    return told if tried is None else told | {"now": teller.now(tried)}


def _print(arguments: argparse.Namespace, found: list[dict[str, Any]], text: Callable[[dict[str, Any]], str]) -> None:
    if arguments.format == "json":
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
        return
    for one in found:
        print(text(one))


def _is_filtered(arguments: argparse.Namespace) -> bool:
    return bool(arguments.code or arguments.mapping or arguments.id) or arguments.since or arguments.until


@contextmanager
def _desk(
    arguments: argparse.Namespace, *, everything: bool = False, replays: bool = False
) -> Iterator[tuple[Desk, Teller]]:
    """Raises ConfigInvalid, MappingInvalid; Fatal where a replay would be in vain."""
    from bridge.config import load as load_config  # noqa: PLC0415 - brings Kafka's client, which few commands need
    from bridge.explain.letters import Teller  # noqa: PLC0415
    from bridge.runtime.desk import Desk  # noqa: PLC0415
    from bridge.runtime.letters import Wanted  # noqa: PLC0415
    from bridge.runtime.redrive import refuse_other_mappings  # noqa: PLC0415
    from bridge.runtime.wiring import kafka_for, letters_reader  # noqa: PLC0415

    config = load_config(arguments.config)
    directory = getattr(arguments, "mappings", None) or config.mappings
    name = source_name(config, arguments)
    source = config.sources[name]
    found = mapping_set(directory, name, source.catalog, config.tokenise)
    topic = source.settings.dead_letter_topic
    at = getattr(arguments, "letter", None)
    wanted = Wanted(arguments.code, arguments.mapping, arguments.id, arguments.since, arguments.until, at)
    shows = getattr(arguments, "show_data", False)
    teller = Teller(mapping_files(directory), name, source.catalog, topic, show_data=shows)
    kafka = kafka_for(config, source, found)
    reader = letters_reader(config, source)
    with Desk(kafka, reader, name, found, wanted, everything=everything) as desk:
        if replays:
            digest = desk.decided.checkpoint.mappings
            _tell(refuse_other_mappings(digest, found, is_running=kafka.is_owned()))
        yield desk, teller


def _tell(text: str) -> None:
    if text:
        print(text, file=sys.stderr)
