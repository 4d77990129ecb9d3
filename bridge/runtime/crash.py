"""Places where a test kills this process: ``BRIDGE_CRASH_AT=<point>[:n]`` at the n-th pass, the first without ``n``.

``BRIDGE_CRASH_SIGNAL`` is KILL, or STOP to make a zombie that a test wakes later. Read once, when the process starts;
without it a point costs one empty call.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping


def crash_at(environment: Mapping[str, str]) -> Callable[[str], None]:
    """The function that is called with the name of each point that the process passes."""
    point, _, count = environment.get("BRIDGE_CRASH_AT", "").partition(":")
    if not point:
        return _go_on
    name = environment.get("BRIDGE_CRASH_SIGNAL", "KILL")
    crash_signal = {"KILL": signal.SIGKILL, "STOP": signal.SIGSTOP}[name]
    left = int(count or 1)

    def pass_point(passed: str) -> None:
        nonlocal left
        if passed == point:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), crash_signal)

    return pass_point


def _go_on(_point: str) -> None: ...


crash_point = crash_at(os.environ)
