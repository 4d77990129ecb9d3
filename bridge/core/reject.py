"""Dead letters: what cannot be translated, with every coordinate, in the Kafka transaction that moves past it.

A record that cannot be decoded goes as its raw bytes; a unit that cannot be translated as one JSON document of its net
changes and images. Both hold row values, so the dead-letter topic needs the source's access rules; logs get neither.
"""

from __future__ import annotations

from typing import Any

import msgspec

from bridge.core.aggregate import Touched
from bridge.core.collapse import NetChange
from bridge.core.decode import ChangeEvent
from bridge.core.history import incarnation_of, own
from bridge.core.images import Told, pack
from bridge.core.large import records_of
from bridge.core.open_window import OpenWindow, Record
from bridge.core.oversize import REDUCED
from bridge.core.transaction import SourceTransaction
from bridge.errors import BridgeError, Oversize, Untranslatable
from bridge.model import UNKNOWN, InputPartition, Layout, Mapping, Node, OutboundRecord, Row, TableUse, TranslatedRecord

_encode = msgspec.json.Encoder(decimal_format="string").encode


class Reject:
    """Writes the dead letters of one source. ``tables``: layouts by table number."""

    def __init__(
        self, source: str, topic: str, tables: list[Layout], partitions: list[InputPartition], markers: int
    ) -> None:
        self._source = source
        self._topic = topic
        self._tables = tables
        self._partitions = partitions
        self._markers = markers

    def record(self, garbage: ChangeEvent) -> OutboundRecord:
        """A record that could not be decoded: its raw key and value."""
        raw = garbage.raw
        if isinstance(raw, TranslatedRecord):
            raw = raw.original
        place = self._partitions[garbage.partition]
        headers = [
            ("bridge_kind", b"record"),
            ("bridge_code", b"B201"),
            ("bridge_source", self._source.encode()),
            ("bridge_topic", place.topic.encode()),
            ("bridge_partition", b"%d" % place.partition),
            ("bridge_offset", b"%d" % garbage.offset),
        ]
        if raw is None:
            return OutboundRecord(self._topic, b"", b"", headers)
        return OutboundRecord(self._topic, raw.key() or b"", raw.value() or b"", headers)

    def unit(
        self,
        touched: Touched,
        identity: str,
        transaction: SourceTransaction,
        told: Told,
        error: Untranslatable | None,
        parked_behind: int | None,
        window: OpenWindow | None = None,
    ) -> OutboundRecord:
        """A unit that could not be translated (``error``), or that is parked behind one (its commit position)."""
        code = error.code if error is not None else "B211"
        markers = self._partitions[self._markers]
        document: dict[str, Any] = {
            "kind": "unit",
            "code": code,
            "message": error.message if error is not None else "an earlier unit of this aggregate is a dead letter",
            "hint": error.hint if error is not None else "mend that one first; this one follows it in order",
            "field": error.field if error is not None else "",
            "place": error.place if error is not None else "",
            "mapping": touched.mapping.file,
            "source": self._source,
            "aggregate": touched.mapping.aggregate,
            "aggregateId": identity,
            "transaction": transaction.group,
            "commitPosition": own(transaction.position),
            "incarnation": incarnation_of(transaction.position),
            "commitTime": transaction.ts_ms,
            "end": {"topic": markers.topic, "partition": markers.partition, "offset": transaction.offset},
            "parkedBehind": None if parked_behind is None else own(parked_behind),
            "changes": [
                self._change(change, self._records(change, transaction) if window is None else window.records(change))
                for change in touched.changes
            ],
            "before": self._image(touched.mapping, touched.before),
            "after": self._image(touched.mapping, touched.after),
        }
        if window is not None:
            document["window"] = self._window(window)
        if isinstance(error, Oversize):
            document["oversize"] = error.events
        document["packed"] = pack(touched, told, self._tables)
        headers = [
            ("bridge_kind", b"unit"),
            ("bridge_code", code.encode()),
            ("bridge_source", self._source.encode()),
            ("bridge_aggregate", touched.mapping.aggregate.encode()),
            ("bridge_position", b"%d" % own(transaction.position)),
            ("content-type", b"application/json"),
        ]
        return OutboundRecord(self._topic, identity.encode(), _encode(document), headers)

    def reduced(self, letter: OutboundRecord) -> OutboundRecord:
        """A dead letter that is itself too large for its topic: where everything is, and how much it was."""
        headers = [*letter.headers, (REDUCED, b"%d" % len(letter.value))]
        if dict(letter.headers)["bridge_kind"] != b"unit":
            return letter._replace(value=b"", headers=headers)
        document = msgspec.json.decode(letter.value)
        document["reduced"] = {"bytes": len(letter.value), "changes": len(document.pop("changes"))}
        for name in ("before", "after", "packed"):
            del document[name]
        return letter._replace(value=_encode(document), headers=headers)

    def _window(self, window: OpenWindow) -> dict[str, Any]:
        """Where it ends: the rest of the document says where it begins."""
        markers, last = self._partitions[self._markers], window.last
        return {
            "transactions": window.transactions,
            "lastTransaction": last.group,
            "lastCommitPosition": own(last.position),
            "lastEnd": {"topic": markers.topic, "partition": markers.partition, "offset": last.offset},
        }

    def _records(self, change: NetChange, transaction: SourceTransaction) -> list[Record]:
        return [(*self._partitions[number], offset) for number, offset in records_of(transaction.changes, change)]

    def _change(self, change: NetChange, records: list[Record]) -> dict[str, Any]:
        return {
            "table": self._tables[change.table].table,
            "key": change.row_key.decode(errors="replace"),
            "oldKey": change.old_key.decode(errors="replace"),
            "records": records,
            "before": self._row(change.table, change.before),
            "after": self._row(change.table, change.after),
        }

    def _row(self, table: int, row: Row | None) -> dict[str, Any] | None:
        return named(self._tables[table].columns, row)

    def _image(self, mapping: Mapping, node: Node | None, use: TableUse | None = None) -> dict[str, Any] | None:
        if node is None:
            return None
        use = use or mapping.tables[0]
        layout = next(layout for layout in self._tables if layout.table == use.table)
        image: dict[str, Any] = {"row": named(layout.columns, node[0])}
        for number, kid in zip(use.kids, node[1:], strict=True):
            kid_use = mapping.tables[number]
            if isinstance(kid, list):
                image[kid_use.alias] = [self._image(mapping, one, kid_use) for one in kid]
            else:
                image[kid_use.alias] = self._image(mapping, kid, kid_use)
        return image


def named(columns: tuple[str, ...], row: Row | None) -> dict[str, Any] | None:
    """A row as JSON: a column that is unknown is left out, which tells it from null."""
    if row is None:
        return None
    return {column: value for column, value in zip(columns, row, strict=True) if value is not UNKNOWN}


class Breaker:
    """Stops the bridge when too large a share of the latest units fails, instead of draining a topic into dead letters."""

    def __init__(self, max_share: float, of_last: int) -> None:
        self._limit = max_share * of_last
        self._of_last = of_last
        self._units = 0
        self._failures: list[int] = []

    def passed(self) -> None:
        self._units += 1

    def failed(self, error: BridgeError) -> None:
        """Raises Untranslatable (stop) when the share is too large."""
        self._units += 1
        self._failures.append(self._units)
        while self._failures[0] <= self._units - self._of_last:
            self._failures.pop(0)
        if len(self._failures) > self._limit:
            raise Untranslatable(
                f"{len(self._failures)} of the last {min(self._units, self._of_last)} units could not be translated; "
                f"the latest: {error.code} {error.message}",
                "mend the mapping and start again: nothing after the last commit was published; the limit is "
                "errors.max_share of errors.of_last units",
                code="B212",
            )
