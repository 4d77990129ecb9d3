"""What differs between Debezium's connectors: the identity, the position and the order of a source transaction.

PostgreSQL (Debezium reference, "Transaction metadata"; measured on 3.5): transaction ids are ``xid:lsn`` with the LSN of
*that* record, so rows, BEGIN and END of one transaction are grouped by the part before the colon. The commit position is
the LSN of END's id. ``source.sequence`` is a JSON text ``["<commit LSN of the preceding transaction>", "<lsn>"]``.

MariaDB (measured on 3.5 and 10.11): transaction ids are GTIDs, ``domain-server-sequence``, the same on BEGIN, rows and
END. The commit position is the GTID's sequence number, which rises within its domain whatever server wrote it. A row's
position is (file, pos, row) of the binary log; a GTID would not do, as a row can change twice in one transaction. Rows of
a whole snapshot have no GTID: what they are as of is a place in the binary log.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

import msgspec

from bridge.errors import Undecodable


class Source(msgspec.Struct, gc=False):
    """The parts of Debezium's ``source`` block that any step needs."""

    schema: str = ""
    table: str | None = ""
    lsn: int | None = None
    sequence: str | None = None
    snapshot: str | bool | None = None


class BinlogSource(Source, rename={"schema": "db"}, gc=False):
    """The same of a connector that reads a binary log: a database is what PostgreSQL calls a schema."""

    schema: str = ""
    gtid: str | None = None
    file: str = ""
    pos: int = 0
    row: int = 0


class Connector(msgspec.Struct, frozen=True):
    """One row of the table: how this connector names tables, groups rows and orders transactions."""

    name: str
    source: type[Source]
    collection: Callable[[Source], str]  # the table as END names it
    marker_place: Callable[[str], tuple[str, int]]
    """A marker's transaction id → the group that its rows have too, and END's commit position."""
    row_place: Callable[[Source, str], tuple[str, int]]
    """A row's source and transaction id → the same group, and its position, which orders rows inside a transaction."""
    predecessor: Callable[[Source], int]
    """The commit position before this row's transaction; a transaction at or before it committed earlier. -1: none."""
    shown: Callable[[int, str], str]
    """A commit position and its domain, as the database writes it."""
    domain: Callable[[str], str] | None = None
    """A marker's transaction id → the domain within which commit positions can be compared; None: there is but one."""
    ends_all: bool = True  # whether every BEGIN has an END: on MariaDB those of DDL and TRUNCATE have none
    one_scale: bool = True
    """Whether positions of rows, and what a whole snapshot is as of, compare with commit positions."""
    logs_cascades: bool = True  # whether the log has the rows that the actions of foreign keys change


def _predecessor(sequence: str | None) -> int:
    if not sequence:
        return -1
    first = msgspec.json.decode(sequence)[0]
    return -1 if first is None else int(first)


def _group_and_lsn(transaction_id: str) -> tuple[str, int]:
    group, _, lsn = transaction_id.partition(":")
    return group, int(lsn)


POSTGRESQL = Connector(
    name="postgresql",
    shown=lambda position, _: f"{position >> 32:X}/{position & 0xFFFFFFFF:X}",
    source=Source,
    collection=lambda source: f"{source.schema}.{source.table}",
    marker_place=_group_and_lsn,
    row_place=lambda source, transaction_id: (transaction_id.partition(":")[0], source.lsn or 0),
    predecessor=lambda source: _predecessor(source.sequence),
)


_GTID = re.compile(r"([0-9]+)-[0-9]+-([0-9]+)", re.ASCII)
_POS_BITS, _ROW_BITS = 32, 24


def _domain_and_sequence(gtid: str) -> tuple[str, int]:
    found = _GTID.fullmatch(gtid)
    if found is None:
        raise Undecodable(
            "a transaction's id is no GTID of MariaDB (domain-server-sequence)",
            "the topics are another connector's: with MariaDB use io.debezium.connector.mariadb.MariaDbConnector",
        )
    return found[1], int(found[2])


def _gtid_place(gtid: str) -> tuple[str, int]:
    return gtid, _domain_and_sequence(gtid)[1]


@lru_cache(maxsize=64)
def _file_number(file: str) -> int:
    """Binary logs are numbered: ``binlog.000017``."""
    return int(file.rpartition(".")[2] or 0)


def _binlog_place(source: Source, transaction_id: str) -> tuple[str, int]:
    if not isinstance(source, BinlogSource):
        raise TypeError(type(source).__name__)
    place = (_file_number(source.file) << _POS_BITS) + source.pos
    return transaction_id, (place << _ROW_BITS) + source.row


def _before_gtid(source: Source) -> int:
    """Sequence numbers rise from commit to commit, so what committed before is below."""
    gtid = source.gtid if isinstance(source, BinlogSource) else None
    return -1 if gtid is None else _domain_and_sequence(gtid)[1] - 1


MARIADB = Connector(
    name="mariadb",
    source=BinlogSource,
    collection=lambda source: f"{source.schema}.{source.table}",
    marker_place=_gtid_place,
    row_place=_binlog_place,
    predecessor=_before_gtid,
    shown=lambda position, domain: (
        f"{domain.rpartition(' ')[2] or '*'}-*-{position}"
    ),  # which server wrote it is not kept
    domain=lambda gtid: f"replication domain {_domain_and_sequence(gtid)[0]}",
    ends_all=False,
    one_scale=False,
    logs_cascades=False,
)

CONNECTORS = {connector.name: connector for connector in (POSTGRESQL, MARIADB)}

_MISSING = {
    "mysql": "the bridge was never tried against a real MySQL server and what its connector writes of GTIDs, "
    "positions and crashes",
}
_UNKNOWN = "the bridge does not know its transaction identity, commit position and row order"


def refusal(name: str) -> str:
    """Why a connector cannot be used: a sentence for ``bridge check``."""
    supported = ", ".join(sorted(CONNECTORS))
    return f"connector {name!r} is not supported: {_MISSING.get(name, _UNKNOWN)}; supported: {supported}"
