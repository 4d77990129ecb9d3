"""What is tested: one mapping file, compiled alone, and what each of its tests sends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bridge.errors import MappingInvalid
from bridge.mapping.cases import Case, Database
from bridge.mapping.catalog import Catalog
from bridge.mapping.check import check_files
from bridge.mapping.compile import compile_set
from bridge.mapping.draft import Draft
from bridge.mapping.probes import Probes
from bridge.model import Layout, MappingSet, SourceSettings
from bridge.runtime.transform import read_captures, settings_for
from bridge.trial.log import DEAD_LETTERS, Log, Shape, log_of, log_of_capture
from bridge.trial.stream import Sent, Stream


@dataclass(frozen=True, slots=True)
class Subject:
    """``mappings`` is what runs in production, except that a unit that cannot be translated never stops it; ``probed``
    is the same with ``probes``, which are told what its code does.
    """

    draft: Draft
    mappings: MappingSet
    probed: MappingSet
    probes: Probes

    @property
    def event_names(self) -> dict[tuple[str, str], str]:
        """(published type, version) → the name that the file and its tests use."""
        return {(event.type, str(event.version)): str(event.path[-1]) for event in self.draft.events}

    def for_case(self, case: Case, *, probed: bool = False) -> MappingSet:
        """Rows of statements stand in the records in canonical form: decode must not convert them again."""
        mappings = self.probed if probed else self.mappings
        if case.captures:
            return mappings
        layouts = {name: Layout(name, layout.columns) for name, layout in mappings.layouts.items()}
        return msgspec.structs.replace(mappings, layouts=layouts)


def subjects(
    files: Sequence[tuple[str, str]],
    catalog: Callable[[str], Catalog | None],
    chosen: Callable[[Draft], bool] = lambda _: True,
) -> list[Subject]:
    """The chosen mapping files. Raises MappingInvalid with every mistake in any."""
    drafts, found = check_files(files, catalog)
    drafts = [draft for draft in drafts if chosen(draft)]
    if any(not one.warning for one in found):
        raise MappingInvalid(found)
    return [_subject(draft, [pair for pair in files if pair[0] == draft.file], catalog) for draft in drafts]


def _subject(draft: Draft, file: list[tuple[str, str]], catalog: Callable[[str], Catalog | None]) -> Subject:
    probes = Probes()
    plain, probed = (
        compile_set([draft], draft.source, catalog(draft.source), file, probe=probe) for probe in (None, probes)
    )
    return Subject(draft, _never_stops(plain), _never_stops(probed), probes)


def _never_stops(mappings: MappingSet) -> MappingSet:
    """What ``on_error: stop`` would stop at is a dead letter here, so that a test can say which."""
    kept = tuple(
        msgspec.structs.replace(one, on_error="park") if one.on_error == "stop" else one for one in mappings.mappings
    )
    return msgspec.structs.replace(mappings, mappings=kept)


class Input:
    """What one test sends, to be laid out in any shape."""

    def __init__(self, subject: Subject, case: Case) -> None:
        self._source = subject.draft.source
        self._tables = sorted(subject.mappings.layouts)
        self._sent: list[Sent] = []
        self._capture: Log | None = None
        self.transactions = len(case.transactions)
        if case.captures:
            self._capture = _capture(subject, case)
        else:
            self._sent = sent_by(case, subject.mappings)

    @property
    def captured(self) -> bool:
        """A capture is what it is: it has one shape."""
        return self._capture is not None

    def log(self, shape: Shape) -> Log:
        """The records, in topics and partitions."""
        return self._capture or log_of(self._sent, self._source, self._tables, shape)


def sent_by(case: Case, mappings: MappingSet) -> list[Sent]:
    """What Debezium sends for the statements of a test; columns that are never given are null."""
    columns = {table: layout.columns for table, layout in mappings.layouts.items()}
    for statement in case.statements():
        known = (*columns.get(statement.table, ()), *statement.row, *statement.new)
        columns[statement.table] = tuple(dict.fromkeys(known))
    database = Database(case.keys, columns)
    stream = Stream()
    stream.snapshot([change for one in case.snapshot for change in database.run(one)])
    for transaction in case.transactions:
        changes = [database.run(one) for one in transaction.statements]
        stream.transaction(changes, transaction.at_ms, transaction.after_ms)
    return stream.sent


def _capture(subject: Subject, case: Case) -> Log:
    """Files are named from where the mapping file lies."""
    directory = Path(subject.draft.file).parent
    records = read_captures([str(directory / name) for name in case.captures])
    settings: SourceSettings = settings_for(records, subject.draft.source, DEAD_LETTERS)
    return log_of_capture(records, msgspec.structs.replace(settings, max_share=1.0))
