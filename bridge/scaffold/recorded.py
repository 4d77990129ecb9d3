"""A first test for each drafted mapping: what the capture did to one aggregate, with personal data masked."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.core.connectors import CONNECTORS, refusal
from bridge.errors import BridgeError
from bridge.mapping import load
from bridge.model import Modes
from bridge.runtime.transform import read_captures, settings_for, transform
from bridge.scaffold.scaffold import Scaffold
from bridge.trial.log import DEAD_LETTERS
from bridge.trial.recorder import Wish, record
from bridge.trial.subject import subjects

MOST = 5  # transactions of a test

Told = dict[str, dict[str, list[str]]]  # aggregate → its id → the types of its events, in order


def with_tests(
    drafted: Scaffold, source: str, captures: Sequence[str], modes: Modes | None
) -> tuple[Scaffold, list[str]]:
    """The draft with a test in each file whose aggregate is created in the captures; and why others have none."""
    files = dict(drafted.files)
    connector = drafted.catalog.connector
    if not captures or not drafted.models:
        return drafted, []
    if connector not in ("", *CONNECTORS):
        return drafted, [f"no test was recorded: {refusal(connector)}"]
    try:
        told = _told(drafted, source, captures, modes)
    except BridgeError as error:
        return drafted, [f"no test was recorded: {error.message}"]
    notes = []
    for subject in subjects(list(files.items()), lambda _: drafted.catalog):
        name = subject.draft.aggregate
        chosen = _eventful(told.get(name, {}))
        if chosen is None:
            notes.append(f"{name}: no test was recorded, since the captures create none that the draft can translate")
            continue
        wish = Wish(captures, MOST, chosen, modes)
        try:
            files[subject.draft.file] = record(subject, list(files.items()), lambda _: drafted.catalog, wish).file
        except BridgeError as error:
            notes.append(f"{name}: no test was recorded: {error.message}")
    return drafted._replace(files=files), notes


def _told(drafted: Scaffold, source: str, captures: Sequence[str], modes: Modes | None) -> Told:
    """The events of the draft for the captures. Raises BridgeError."""
    records = read_captures(captures)
    settings = settings_for(records, source, DEAD_LETTERS, modes)
    mappings = load(list(drafted.files.items()), source, drafted.catalog)
    owners = {rule.type: mapping.aggregate for mapping in mappings.mappings for rule in mapping.events}
    told: Told = {}
    for output in transform(records, settings, mappings):
        for one in output.records:
            headers = {name: value.decode() for name, value in one.headers}
            if one.topic != DEAD_LETTERS and headers["ce_type"] in owners:
                events = told.setdefault(owners[headers["ce_type"]], {})
                events.setdefault(headers["ce_subject"], []).append(headers["ce_type"])
    return told


def _eventful(told: dict[str, list[str]]) -> str | None:
    """The id of the aggregate that was created and then had the most kinds of events; the first of several."""
    created = {subject: len(set(types)) for subject, types in told.items() if types[0].endswith("Created")}
    return max(created, key=lambda subject: created[subject], default=None)
