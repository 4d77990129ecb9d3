"""``python -m deploy.bench.profiled FILE THREAD ARGUMENTS…``: the bridge, with one of its threads under cProfile.

The bridge works in a thread per source, and cProfile sees only the thread that it was started in.
"""

from __future__ import annotations

import cProfile
import sys
import threading

from bridge.cli import main


class ProfiledThread(threading.Thread):
    """A thread that writes its profile when it ends, if it has the wanted name."""

    wanted = ""
    file = ""

    def run(self) -> None:
        """What the thread does, profiled."""
        if self.name != self.wanted:
            super().run()
            return
        profile = cProfile.Profile()
        try:
            profile.runcall(super().run)
        finally:
            profile.dump_stats(self.file)


if __name__ == "__main__":
    ProfiledThread.file, ProfiledThread.wanted = sys.argv[1:3]
    threading.Thread = ProfiledThread  # type: ignore[misc]
    sys.exit(main(sys.argv[3:]))
