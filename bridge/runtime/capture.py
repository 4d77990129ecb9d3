"""Records a source's topics to a capture file: whole source transactions, as they stand in the topics, repeats and all.

What is whole the core's own assembly says, for every table that has a row with a key in the topics, mapped or not. Each
partition is recorded up to its first record of a transaction that is not whole: there a bridge would start to read.
"""

from __future__ import annotations

import gzip
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, Any, Final, Self, cast

import msgspec

from bridge.core.assemble import Assemble
from bridge.core.columns import TableDecoder
from bridge.core.connectors import CONNECTORS
from bridge.core.decode import Decode, WithSchema, envelope_of
from bridge.core.released import Released
from bridge.core.transaction import SourceTransaction
from bridge.errors import Fatal, HistoryWentBack, TransactionIncomplete, Undecodable
from bridge.model import InboundRecord, InputPartition, Layout, Reader, SourceSettings
from bridge.runtime.follow import Follow
from bridge.runtime.transform import BINARY

_ROWS_AHEAD: Final = 100_000  # of one partition, before it waits for the others
_with_schema = msgspec.json.Decoder(WithSchema).decode


class Wish(msgspec.Struct, frozen=True):
    """What to record. ``start``: the offset of the first END in the transaction topic (or log), or ``end`` for now;
    ``transactions``: how many, 0 for all; ``seconds``: how long to go on reading, 0 for up to the topics' ends.
    """

    start: str = "0"
    transactions: int = 0
    seconds: float = 0.0


class Summary(msgspec.Struct):
    """What was recorded. ``ends``: offsets of the first and last END; ``stopped``: why nothing after them, if for a fault."""

    records: int = 0
    transactions: int = 0
    ends: tuple[int, int] = (-1, -1)
    left_out: int = 0  # records that were read behind the last whole transaction
    not_text: int = 0  # keys, values and headers with bytes that are not UTF-8, which stand as base64
    stopped: str = ""


def capture(reader: Reader, settings: SourceSettings, wish: Wish, path: Path, tell: Callable[[str], None]) -> Summary:
    """Records to ``path``, which is replaced when all is there. ``tell``: progress, for people."""
    follow = Follow(reader, tell)
    whole = Whole(settings, list(follow.ends))
    start = follow.ends[whole.markers] if wish.start == "end" else int(wish.start)
    with CaptureFile(path) as file:
        recorded = _Recorded(whole, file, start, wish.transactions)
        try:
            for records in follow.records(wish.seconds):
                released = whole.receive(records, reader)
                recorded.receive(records, released)
                if recorded.is_full:
                    break
                follow.pace(*whole.crowded())
        except (HistoryWentBack, TransactionIncomplete) as error:
            recorded.summary.stopped = error.message
        recorded.finish()
    return recorded.summary


class Whole:
    """The core's first two steps for tables that it gets to know as their rows come: which transactions are whole."""

    def __init__(self, settings: SourceSettings, partitions: Sequence[InputPartition]) -> None:
        self.partitions = sorted(partitions)
        self.numbers = {partition: number for number, partition in enumerate(self.partitions)}
        self.markers = InputPartition(settings.log or settings.transaction_topic, 0)
        self._connector = CONNECTORS[settings.connector]
        self._envelope = envelope_of(self._connector)
        self._tables: dict[str, int] = {}
        self._decode = Decode({}, self._connector)
        self._assemble = Assemble(
            self._connector,
            self._tables,
            self.partitions,
            self.numbers[self.markers],
            source=settings,
            released=Released(settings.released_positions_max),
        )

    def receive(self, records: Sequence[InboundRecord], reader: Reader) -> list[SourceTransaction]:
        """The transactions that are whole now. Raises HistoryWentBack, TransactionIncomplete."""
        runs: dict[int, list[InboundRecord]] = {}
        for record in records:
            if self._is_readable(record):
                number = self.numbers[InputPartition(record.topic(), record.partition())]
                runs.setdefault(number, []).append(record)
        for number, run in runs.items():
            self._assemble.add(self._decoded(run, number), number)
        self._assemble.read_to({self.numbers[p]: offset for p, offset in reader.positions().items()})
        found = self._assemble.release()
        while self._assemble.wants_ends:
            self._assemble.ends_are({self.numbers[p]: end for p, end in reader.ends().items()})
            found += self._assemble.release()
        return [item for item in found if isinstance(item, SourceTransaction)]

    def _decoded(self, run: list[InboundRecord], number: int) -> list[Any]:
        """What the records say; one that is not Debezium's says nothing, and is recorded all the same."""
        try:
            return list(self._decode.records(run, number))
        except Undecodable:
            return [] if len(run) == 1 else [item for one in run for item in self._decoded([one], number)]

    def _is_readable(self, record: InboundRecord) -> bool:
        """Whether the assembly can use it: a marker, or a row of a table with keys, which it learns to know here."""
        value = record.value()
        if value is None:
            return False
        try:
            envelope = self._envelope(_with_schema(value).payload if value.startswith(b'{"schema":{') else value)
        except msgspec.DecodeError:
            return True  # garbage: decode knows best
        if envelope.source is None:
            return bool(envelope.status)
        name = self._connector.collection(envelope.source)
        if name not in self._tables:
            if record.key() is None:
                return False
            number = self._tables[name] = len(self._tables)
            self._decode.tables[name] = TableDecoder(Layout(name, ()), number)
        return record.key() is not None or envelope.op == "t"

    def resume(self) -> dict[int, int]:
        """Per partition the first record of what is not whole."""
        return self._assemble.resume_offsets()

    def crowded(self) -> tuple[set[InputPartition], set[InputPartition]]:
        pause, resume = self._assemble.crowded(_ROWS_AHEAD)
        return {self.partitions[number] for number in pause}, {self.partitions[number] for number in resume}


class _Recorded:
    """Holds records back until their transaction is whole."""

    def __init__(self, whole: Whole, file: CaptureFile, start: int, limit: int) -> None:
        self._whole = whole
        self._file = file
        self._start = start
        self._limit = limit
        self._held: list[deque[InboundRecord]] = [deque() for _ in whole.partitions]
        self._from = [0] * len(whole.partitions)
        self._to: list[int] | None = None
        self.summary = Summary()

    @property
    def is_full(self) -> bool:
        return self._to is not None

    def receive(self, records: Iterable[InboundRecord], released: list[SourceTransaction]) -> None:
        """A batch, and what is whole with it."""
        for record in records:
            self._held[self._whole.numbers[InputPartition(record.topic(), record.partition())]].append(record)
        for transaction in released:
            self._count(transaction)
        resume = self._whole.resume()
        self._flush([resume[number] for number in range(len(self._held))])

    def _count(self, transaction: SourceTransaction) -> None:
        summary, markers = self.summary, self._whole.numbers[self._whole.markers]
        if transaction.offset < self._start:
            for change in transaction.changes:
                self._from[change.partition] = max(self._from[change.partition], change.offset + 1)
            self._from[markers] = transaction.offset + 1
        elif self._limit and summary.transactions == self._limit:
            if self._to is None:
                resume = self._whole.resume()
                self._to = [resume[number] for number in range(len(self._held))]
                self._to[markers] = summary.ends[1] + 1
            for change in transaction.changes:
                self._to[change.partition] = min(self._to[change.partition], change.offset)
        else:
            summary.transactions += 1
            summary.ends = (transaction.offset if summary.ends[0] < 0 else summary.ends[0], transaction.offset)

    def _flush(self, ends: list[int]) -> None:
        """Write what lies before the first record that is not whole, and is wanted."""
        if self._to is not None:
            ends = [min(pair) for pair in zip(ends, self._to, strict=True)]
        for number, held in enumerate(self._held):
            first, end = self._from[number], ends[number]
            while held and held[0].offset() < end:
                record = held.popleft()
                if record.offset() >= first and (self.summary.transactions or not self._start):
                    self._file.write(record)

    def finish(self) -> None:
        self.summary.records = self._file.records
        self.summary.not_text = self._file.not_text
        self.summary.left_out = sum(len(held) for held in self._held)


class CaptureFile:
    """Writes records as ``bridge transform`` reads them; the file takes its name when all of it is there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(f".{path.name}.part")
        self.records = self.not_text = 0

    def __enter__(self) -> Self:
        try:
            self._raw = self._part.open("wb")
        except OSError as error:
            raise Fatal(f"{self._path}: the capture cannot be written: {error.strerror}", code="B511") from error
        zipped = self._path.name.endswith(".gz")
        self._out = cast("IO[bytes]", gzip.GzipFile("", "wb", fileobj=self._raw, mtime=0)) if zipped else self._raw
        return self

    def write(self, record: InboundRecord) -> None:
        line = {
            "topic": record.topic(),
            "partition": record.partition(),
            "offset": record.offset(),
            "timestamp": record.timestamp()[1],
            "headers": [[name, self._text(value)] for name, value in record.headers() or ()],
            "key": self._text(record.key()),
            "value": self._text(record.value()),
        }
        self._out.write(msgspec.json.encode(line) + b"\n")
        self.records += 1

    def _text(self, data: bytes | None) -> str | dict[str, bytes] | None:
        if data is None:
            return None
        try:
            return data.decode()
        except UnicodeDecodeError:
            self.not_text += 1
            return {BINARY: data}

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._out is not self._raw:
            self._out.close()
        if kind is None:
            self._raw.flush()
            os.fsync(self._raw.fileno())
        self._raw.close()
        if kind is None:
            self._part.replace(self._path)
        else:
            self._part.unlink(missing_ok=True)
