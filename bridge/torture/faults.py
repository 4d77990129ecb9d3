"""The faults, by name: each starts bridges, lets something happen to them, and leaves one that can finish."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from bridge.testing.frames import Api
from bridge.testing.proxy import Action, Rule
from bridge.torture.process import BridgeProcess, Stuck, wait_until
from bridge.torture.run import Run

CRASH_POINTS: Final = (
    "after_restore",
    "after_read",
    "after_receive",
    "after_begin",
    "after_produce",
    "after_send_offsets",
    "before_commit",
    "after_commit",
    "before_store",
)
IN_A_TRANSACTION: Final = ("after_begin", "after_produce", "after_send_offsets", "before_commit")
WRITING: Final = (
    Api.INIT_PRODUCER_ID,
    Api.ADD_PARTITIONS_TO_TXN,
    Api.PRODUCE,
    Api.ADD_OFFSETS_TO_TXN,
    Api.TXN_OFFSET_COMMIT,
    Api.END_TXN,
)
APIS: Final = (*WRITING, Api.FETCH, Api.HEARTBEAT, Api.JOIN_GROUP, Api.METADATA, Api.FIND_COORDINATOR)
FIRE_SECONDS: Final = 60.0
ONCE: Final = frozenset({Api.INIT_PRODUCER_ID, Api.JOIN_GROUP, Api.METADATA, Api.FIND_COORDINATOR})  # seldom asked


class Fault(NamedTuple):
    """``title`` says what happens; ``repeats``: on an input in which transactions stand twice."""

    title: str
    happen: Callable[[Run], None]
    repeats: bool = False


def crash(run: Run) -> None:
    points = list(CRASH_POINTS)
    run.dice.shuffle(points)
    for point in points:
        nth = 1 if point == "after_restore" else run.dice.randint(1, 3)
        run.start(crash_at=f"{point}:{nth}", static=True).wait_dead()
    run.start(static=True)


def kill(run: Run) -> None:
    for share in (0.15, 0.4, 0.65):
        bridge = run.start(static=True)
        run.wait_share(share + run.dice.uniform(0, 0.2))
        bridge.kill()
    run.start(static=True)


def takeover(run: Run) -> None:
    first = run.start("a")
    first.wait_for("owner")
    second = run.start("b")
    second.wait_for("standby")
    run.wait_share(run.dice.uniform(0, 0.5))
    first.kill()
    second.wait_for("owner")
    third = run.start("a")
    third.wait_for("standby")
    run.wait_share(run.dice.uniform(0.5, 0.8))
    second.stop()
    third.wait_for("owner")


def zombie(run: Run) -> None:
    point = run.dice.choice(IN_A_TRANSACTION)
    sleeper = run.start("a", f"{point}:{run.dice.randint(2, 9)}", "STOP")
    sleeper.wait_stopped()
    successor = run.start("b")
    successor.wait_for("owner")
    run.wait_progress()
    sleeper.send(signal.SIGCONT)
    sleeper.wait_for("standby")


def frozen(run: Run) -> None:
    """Longer than the Kafka transaction may take, shorter than the session."""
    point = run.dice.choice(("after_produce", "after_send_offsets", "before_commit"))
    nth = run.dice.randint(2, 9)
    sleeper = run.start("a", f"{point}:{nth}", "STOP", session_timeout_seconds=60, transaction_timeout_seconds=3)
    sleeper.wait_stopped()
    run.wait_decided()
    sleeper.send(signal.SIGCONT)


def lost(run: Run) -> None:
    """Requests take effect, and nobody hears of it."""
    rules = _add(run, Action.DROP_RESPONSE, (Api.END_TXN, *run.dice.sample(WRITING, 2)))
    run.start()
    for rule in rules:
        _await(rule)


def reset(run: Run) -> None:
    for action in (Action.RESET_AFTER, Action.RESET_BEFORE):
        _add(run, action, APIS)
    run.start()
    for share in (0.3, 0.6):
        run.wait_share(share)
        run.proxy.reset_all()


def late(run: Run) -> None:
    """The end of a Kafka transaction, and what belongs into it, arrive when the next ones are under way."""
    api = run.dice.choice((Api.ADD_PARTITIONS_TO_TXN, Api.PRODUCE, Api.TXN_OFFSET_COMMIT))
    rules = _add(run, Action.HOLD_REQUEST, (Api.END_TXN, api))
    run.start()
    for rule in rules:
        _await(rule)
        run.wait_progress()
        run.wait_progress()
        rule.release()


def latency(run: Run) -> None:
    run.proxy.delay_seconds = run.dice.uniform(0.02, 0.08)
    run.start(read_records_max=600, commit_rows=400)


def slow(run: Run) -> None:
    run.proxy.bytes_per_second = 150_000.0
    run.start(read_records_max=600, commit_rows=400)


def black_hole(run: Run) -> None:
    bridge = run.start()
    run.wait_share(run.dice.uniform(0.1, 0.7))
    run.proxy.black_hole()
    _wait_aborted(bridge)
    run.proxy.heal()


def storm(run: Run) -> None:
    """Members come and go; the source moves each time."""
    members = [run.start("a")]
    members[0].wait_for("owner")
    for share, name in ((0.1, "b"), (0.25, "c"), (0.4, "a"), (0.55, "b"), (0.7, "c")):
        coming = run.start(name)
        coming.wait_for("standby")
        run.wait_share(share)
        members.pop().stop()
        coming.wait_for("owner")
        members.append(coming)


def _add(run: Run, action: Action, apis: Iterable[Api]) -> list[Rule]:
    """A rule for each API, at an occurrence that every run has."""
    return [
        run.proxy.add(Rule(action, api, nth=1 if api in ONCE else run.dice.randint(2, 12)))
        for api in dict.fromkeys(apis)
    ]


def _await(rule: Rule) -> None:
    if not rule.wait(FIRE_SECONDS):
        raise Stuck(f"no request {Api(rule.api).name} was met")


def _wait_aborted(bridge: BridgeProcess) -> None:
    """Until it gave up what it could not commit."""
    wait_until(lambda: any(line.get("event") == "aborted" for line in bridge.log()), "a bridge gave up a transaction")


def none(run: Run) -> None:
    run.start()


FAULTS: Final = {
    "none": Fault("nothing fails", none),
    "crash": Fault("kill -9 at each of nine points", crash),
    "kill": Fault("kill -9 at random, three times", kill),
    "takeover": Fault("the owner is killed, the next one leaves", takeover),
    "zombie": Fault("SIGSTOP inside a Kafka transaction, woken after a take-over", zombie),
    "frozen": Fault("SIGSTOP longer than the Kafka transaction may take", frozen),
    "storm": Fault("members join and leave, the source moves", storm),
    "lost": Fault("answers of transactional requests are lost", lost),
    "late": Fault("requests arrive after they were given up", late),
    "reset": Fault("connections are reset, before and after each kind of request", reset),
    "latency": Fault("every frame is delayed by 20 to 80 ms", latency),
    "slow": Fault("150 kB/s on each connection", slow),
    "blackhole": Fault("nothing goes through for a while, and nobody is told", black_hole),
    "repeats": Fault("the input holds transactions twice", kill, repeats=True),
}
