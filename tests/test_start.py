"""A start takes what it needs and no more: counted in modules, since seconds depend on the machine."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Final

HEAVY: Final = (  # what a bridge without a registry, and every command but its own, can do without
    "fastavro",
    "google.protobuf",
    "psycopg",
    "pymysql",
    "hypothesis",
    "bridge.formats.avro",
    "bridge.formats.protobuf",
    "bridge.introspect",
    "bridge.doctor",
    "bridge.explain",
    "bridge.plan",
    "bridge.scaffold",
    "bridge.testing",
    "bridge.torture",
    "bridge.trial",
)
OWN_MODULES: Final = 125  # today 116


def loaded_by_run() -> list[str]:
    """The modules that are loaded before ``bridge run`` does anything."""
    code = "import json, sys; from bridge.cli import parser; parser(['run']); print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return list(json.loads(done.stdout))


def test_run_loads_no_more_than_it_needs() -> None:
    loaded = loaded_by_run()
    assert [name for name in HEAVY if name in loaded] == []
    assert "bridge.runtime.daemon" in loaded  # else nothing was shown
    assert sum(name.startswith("bridge.") for name in loaded) <= OWN_MODULES
