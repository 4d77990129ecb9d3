"""The table of what was seen, for people, and the same as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from bridge.torture.faults import FAULTS
from bridge.torture.verdict import Verdict, total

COUNTS: Final = ("expected", "seen", "lost", "doubled", "reordered")


def text(verdicts: Mapping[str, Sequence[Verdict]]) -> str:
    """One line per fault; problems below."""
    rows: list[tuple[str, ...]] = [("fault", "runs", *COUNTS, "what happens")]
    for name, found in verdicts.items():
        sums = total(found)
        counts = [f"{getattr(sums, count):,}" for count in COUNTS]
        rows.append((name, str(len(found)), *counts, FAULTS[name].title))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if column in (0, len(row) - 1) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    problems = [f"{name}: {total(found).problem}" for name, found in verdicts.items() if total(found).problem]
    return "\n".join([*lines, *problems]) + "\n"


def json(verdicts: Mapping[str, Sequence[Verdict]], seed: int) -> str:
    """``{"seed": …, "faults": {name: {"runs": …, …}}}``."""
    faults = {name: {"runs": len(found), **msgspec.structs.asdict(total(found))} for name, found in verdicts.items()}
    return msgspec.json.encode({"seed": seed, "faults": faults}).decode() + "\n"
