"""A bench on a Kafka of its own: what each of them does around its figures."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from deploy.bench.measure import BenchError
from deploy.stack import Stack, StackError

RUNS: Final = Path(__file__).resolve().parents[2] / ".stack" / "run"


def on_own_kafka(name: str, figures: Callable[[str, Path], Mapping[str, Any] | None]) -> int:
    """Start Kafka, let ``figures`` measure with its address in an empty directory, and print them in one line; the exit code."""
    try:
        with Stack(RUNS / name, services=("kafka",)) as stack, tempfile.TemporaryDirectory(prefix=f"{name}-") as place:
            found = figures(stack.bootstrap, Path(place))
            if found is not None:
                print(json.dumps(found))
    except (BenchError, StackError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0
