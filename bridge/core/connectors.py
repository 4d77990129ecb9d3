"""What differs between Debezium's connectors: the identity, the position and the order of a source transaction.

PostgreSQL (Debezium reference, "Transaction metadata"; measured on 3.5): transaction ids are ``xid:lsn`` with the LSN of
*that* record, so rows, BEGIN and END of one transaction are grouped by the part before the colon. The commit position is
the LSN of END's id. ``source.sequence`` is a JSON text ``["<commit LSN of the preceding transaction>", "<lsn>"]``.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec


class Source(msgspec.Struct, gc=False):
    """The parts of Debezium's ``source`` block that any step needs."""

    schema: str = ""
    table: str = ""
    lsn: int | None = None
    sequence: str | None = None
    snapshot: str | bool | None = None


class Connector(msgspec.Struct, frozen=True):
    """One row of the table: how this connector names tables, groups rows and orders transactions."""

    name: str
    collection: Callable[[Source], str]  # the table as END names it
    marker_place: Callable[[str], tuple[str, int]]
    """A marker's transaction id → the group that its rows have too, and END's commit position."""
    row_place: Callable[[Source, str], tuple[str, int]]
    """A row's source and transaction id → the same group, and its position, which orders rows inside a transaction."""
    predecessor: Callable[[Source], int]  # commit position of the transaction before this row's; -1: none


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
    collection=lambda source: f"{source.schema}.{source.table}",
    marker_place=_group_and_lsn,
    row_place=lambda source, transaction_id: (transaction_id.partition(":")[0], source.lsn or 0),
    predecessor=lambda source: _predecessor(source.sequence),
)

CONNECTORS = {connector.name: connector for connector in (POSTGRESQL,)}


def refusal(name: str) -> str:
    """Why a connector cannot be used: a sentence for ``bridge check``."""
    return (
        f"connector {name!r} is not supported: the bridge does not know its transaction identity, commit position and "
        f"row order; supported: {', '.join(sorted(CONNECTORS))}"
    )
