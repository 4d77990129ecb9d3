"""Programs from Debian's packages, installed where one is missing, which only root can."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from deploy.stack.process import Command, StackError, run

APT_SECONDS = 600
# Servers lie in /usr/sbin, which is not on the path of every user.
PATH = os.environ.get("PATH", "") + ":/usr/sbin"


def install(
    name: str, programs: Sequence[str], packages: Sequence[str], log: Path, progress: Callable[[str], None]
) -> None:
    """Install `packages` unless all `programs` are there. `name`: what they make together, with its download's size."""
    if all(shutil.which(program, path=PATH) for program in programs):
        return
    command = f"apt-get install --no-install-recommends {' '.join(packages)}"
    apt = shutil.which("apt-get")
    if os.geteuid() != 0 or apt is None:
        raise StackError(f"{name} is missing: install {' and '.join(programs)} (Debian, as root: {command})")
    progress(f"installing {name} from Debian (once)")
    environment = {"DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages]):
        run(Command("apt-get", [apt, *arguments], log, Path("/"), environment=environment), timeout=APT_SECONDS)


def program(name: str) -> str:
    """Where an installed program lies."""
    found = shutil.which(name, path=PATH)
    if found is None:
        raise StackError(f"{name} is missing")
    return found
