"""``python -m deploy.bench.figures``: README.md's table and chart.svg anew, from results.json.

``python -m deploy.bench --peers --readme`` measures, writes results.json, and then does the same. The figures in README
are those of one run, and nobody types them.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from deploy.bench.measure import Result
from deploy.bench.verdict import Verdict
from deploy.stack.dist import java_version

HERE: Final = Path(__file__).parent
RESULTS: Final = HERE / "results.json"
CHART: Final = HERE / "chart.svg"
README: Final = HERE.parents[1] / "README.md"
BEGIN, END = "<!-- bench:begin -->\n", "<!-- bench:end -->\n"
SIZES: Final = ("cold", "warm")
PASSTHROUGH, BRIDGE = "pass-through", "bridge"

Figures = Mapping[str, Any]


class Score(NamedTuple):
    """What one run gave; of the pass-through there are no events to judge."""

    result: Result
    verdict: Verdict | None


def summary(scores: Mapping[str, Sequence[Score]], row_changes: int, events: int, *, cold: bool) -> dict[str, Any]:
    """One size's figures: medians of the runs. Cold: the seconds from the start of the process count too."""
    who = {name: _medians(runs, row_changes, cold=cold) for name, runs in scores.items()}
    return {"row_changes": row_changes, "events": events, "who": who}


def _medians(runs: Sequence[Score], row_changes: int, *, cold: bool) -> dict[str, Any]:
    results = [run.result for run in runs]
    verdicts = [run.verdict for run in runs if run.verdict is not None]
    seconds = statistics.median(result.wall_seconds + cold * result.start_seconds for result in results)
    cpu = statistics.median(result.cpu_seconds for result in results)
    figures: dict[str, Any] = {
        "runs": len(runs),
        "row_changes_per_s": round(row_changes / seconds),
        "cpu_us_per_row_change": round(cpu / row_changes * 1e6, 1),
        "peak_anonymous_mib": round(max(result.peak_anonymous_mib for result in results)),
    }
    if verdicts:
        for name in ("missing", "doubled", "wrong"):
            figures[name] = round(statistics.median(getattr(verdict, name) for verdict in verdicts))
    return figures


def machine() -> dict[str, Any]:
    """What was measured on, and how busy it was: to be asked before the bench itself does anything."""
    load = round(os.getloadavg()[0], 1)
    return {"cores": os.cpu_count(), "load": load, "python": platform.python_version(), "java": java_version()[0]}


def publish(results: Figures) -> None:
    """Write results.json, the chart, and README's block."""
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    CHART.write_text(chart(results))
    README.write_text(with_block(README.read_text(), block(results)))


def with_block(text: str, new: str) -> str:
    """A page with the text between its markers replaced."""
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"no {BEGIN.strip()} … {END.strip()} in the page")
    return before + BEGIN + new + END + after


def block(results: Figures) -> str:
    """What README says between its markers."""
    cold, warm, where = results["cold"], results["warm"], results["machine"]
    setting = (
        f"`make bench`, {where['cores']} cores shared with the broker (load average before it began: {where['load']}), "
        f"Python {where['python']}, Java {where['java']}: a chatty order stream in ten partitions. *Cold* is "
        f"{cold['row_changes']:,} row changes, counted from the start of the process; *warm* is {warm['row_changes']:,}, "
        "counted from its first read. Processor time is always that of the whole process, Java's compiler included. "
        "Medians of as many runs as stand there; a peer that takes more than a minute runs once."
    )
    account = (
        f"What was told, of {warm['events']:,} events that happened (warm) and {cold['events']:,} (cold), each held "
        "against the generator's own account by order, type and content; of the bridge byte by byte, with id and headers:"
    )
    lines = [
        setting,
        "",
        "| | row changes/s, cold | warm | CPU µs per row change, cold | warm | peak anonymous, warm | ratio, warm | runs |",
        "|---|---|---|---|---|---|---|---|",
        *(_speed(name, cold, warm) for name in warm["who"]),
        "",
        account,
        "",
        "| | missing, cold | warm | doubled, cold | warm | wrong, cold | warm |",
        "|---|---|---|---|---|---|---|",
        *(_truth(name, cold, warm) for name, figures in warm["who"].items() if "wrong" in figures),
        "",
        "![row changes per second](deploy/bench/chart.svg)",
    ]
    return "\n".join(lines) + "\n"


def _speed(name: str, cold: Figures, warm: Figures) -> str:
    one, other = cold["who"][name], warm["who"][name]
    base = warm["who"][PASSTHROUGH]["row_changes_per_s"]
    cells = [
        name,
        f"{one['row_changes_per_s']:,}",
        f"{other['row_changes_per_s']:,}",
        f"{one['cpu_us_per_row_change']}",
        f"{other['cpu_us_per_row_change']}",
        f"{other['peak_anonymous_mib']:,} MiB",
        f"{other['row_changes_per_s'] / base:.2f}",
        f"{one['runs']}, {other['runs']}",
    ]
    return f"| {' | '.join(cells)} |"


def _truth(name: str, cold: Figures, warm: Figures) -> str:
    kinds = ("missing", "doubled", "wrong")
    cells = [f"{size['who'][name][kind]:,}" for kind in kinds for size in (cold, warm)]
    return f"| {name} | {' | '.join(cells)} |"


# -- the chart -------------------------------------------------------------------------------------------------------

WIDTH, LEFT, BAR, GAP, TOP = 720, 130, 16, 16, 44
LONGEST = 330
COLORS: Final = {"cold": "#9ab8d8", "warm": "#2f5d8c"}


def chart(results: Figures) -> str:
    """Two bars of row changes per second for each, and what is amiss with its events."""
    names = list(results["warm"]["who"])
    most = max(results[size]["who"][name]["row_changes_per_s"] for size in SIZES for name in names)
    height = TOP + len(names) * (2 * BAR + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="22" font-weight="bold">Row changes per second</text>',
    ]
    for number, size in enumerate(SIZES):
        x = LEFT + 190 + number * 150
        parts.append(f'<rect x="{x}" y="12" width="12" height="12" fill="{COLORS[size]}"/>')
        parts.append(f'<text x="{x + 18}" y="22">{size}: {results[size]["row_changes"]:,}</text>')
    for number, name in enumerate(names):
        y = TOP + number * (2 * BAR + GAP)
        parts.append(f'<text x="{LEFT - 10}" y="{y + BAR + 4}" text-anchor="end">{name}</text>')
        for place, size in enumerate(SIZES):
            parts += _bar(results[size], name, size, y + place * BAR, most)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _bar(figures: Figures, name: str, size: str, y: int, most: int) -> list[str]:
    its = figures["who"][name]
    length = max(1, round(its["row_changes_per_s"] / most * LONGEST))
    amiss = its.get("missing", 0) + its.get("doubled", 0) + its.get("wrong", 0)
    text = f"{its['row_changes_per_s']:,}"
    if "wrong" in its:
        text += f" · {amiss / figures['events']:.0%} of events amiss" if amiss else " · every event right"
    return [
        f'<rect x="{LEFT}" y="{y}" width="{length}" height="{BAR - 2}" fill="{COLORS[size]}"/>',
        f'<text x="{LEFT + length + 6}" y="{y + BAR - 4}">{text}</text>',
    ]


if __name__ == "__main__":
    publish(json.loads(RESULTS.read_text()))
    sys.exit(0)
