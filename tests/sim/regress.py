"""Positions that go back to where nothing was released: the bridge must stop, and tell nothing more."""

from __future__ import annotations

from bridge.errors import HistoryWentBack
from tests.sim.database import Transaction
from tests.sim.scenario import PREFIX
from tests.sim.wire import Wire
from tests.sim.world import World

STEPS = 200


def refuses_another_history(world: World) -> bool:
    """After a run that is through. False where there is no such position: MariaDB's leave no gaps."""
    scenario = world.scenario
    transactions = scenario.database.transactions
    ends = {one.end_lsn for one in transactions}
    position = max(ends, default=0) - 1
    if scenario.features.mariadb or position in ends or position <= max(0, scenario.database.snapshot_lsn):
        return False
    wire = Wire(PREFIX, inline=scenario.inline)
    other = Transaction(len(transactions), scenario.database.now_ms, xid=1, begin_lsn=position, end_lsn=position)
    told = len(world.broker.history)
    for key, value, headers in (wire.begin(other), wire.end(other, {})):
        world.broker.append(world.topics.transaction, 0, key, value, headers)
    try:
        for _ in range(STEPS):
            world.machines[0].step()
    except HistoryWentBack:
        if any(one.records for one in world.broker.history[told:]):
            raise AssertionError("something of another history was told") from None
        return True
    raise AssertionError(f"went on although positions went back to {position}")
