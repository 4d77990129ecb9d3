"""The bench's judge of events, and the README's figures: those of the run in results.json, and nobody's else."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from bridge.testing.expected import Event, Fact, events_of
from bridge.testing.stream import OrderStream
from deploy.bench import figures
from deploy.bench.figures import BEGIN, END, Score, block, chart, summary, with_block
from deploy.bench.measure import Result
from deploy.bench.verdict import Told, Verdict, judge, payload, whole
from deploy.stack.process import running

ROOT = Path(__file__).resolve().parents[1]
HAPPENED = [Told("1", "OrderPlaced", "a"), Told("1", "OrderPaid", "b"), Told("2", "OrderPlaced", "c")]


def told(*names: str) -> list[Told]:
    """``1 OrderPaid b``: order, event, content."""
    return [Told(*name.split()) for name in names]


@pytest.mark.parametrize(
    ("events", "verdict"),
    [
        (["2 OrderPlaced c", "1 OrderPaid b", "1 OrderPlaced a"], Verdict(3, 0, 0, 0)),  # in any order
        (["1 OrderPlaced a", "1 OrderPaid b"], Verdict(2, 1, 0, 0)),
        ([], Verdict(0, 3, 0, 0)),
        (["1 OrderPlaced a", "1 OrderPaid b", "1 OrderPaid b", "2 OrderPlaced c"], Verdict(4, 0, 1, 0)),
        (["1 OrderPlaced x", "1 OrderPaid b", "2 OrderPlaced c"], Verdict(3, 0, 0, 1)),
        (["1 OrderPlaced x", "1 OrderPlaced a", "1 OrderPaid b", "2 OrderPlaced c"], Verdict(4, 0, 1, 0)),
        (["1 OrderPlaced x", "1 OrderPlaced y", "1 OrderPaid b", "2 OrderPlaced c"], Verdict(4, 0, 1, 1)),
        # the right number of events, and yet not those that happened
        (["1 OrderPlaced a", "1 OrderPaid b", "3 OrderPlaced c"], Verdict(3, 1, 0, 1)),
        (["1 OrderPlaced a", "1 OrderPaid b", "1 OrderPaid b"], Verdict(3, 1, 1, 0)),
    ],
)
def test_missing_doubled_and_wrong_events_are_told_apart(events: list[str], verdict: Verdict) -> None:
    assert judge(HAPPENED, told(*events)) == verdict
    assert verdict.clean == (verdict == Verdict(3, 0, 0, 0))


def test_an_event_is_compared_whole_or_by_its_data() -> None:
    fact = Fact("OrderPaid", 17, 1_760_000_000_000, {"orderId": "1", "total": "2.00", "currency": "EUR"})
    event = events_of([fact])[0]
    later = events_of([fact._replace(position=18)])[0]  # another id
    other_order = Event(event.key, b'{"currency": "EUR", "total": "2.00", "orderId": "1"}', event.headers)
    cheaper = Event(event.key, event.value.replace(b"2.00", b"1.00"), event.headers)
    assert payload(event) == payload(later) == payload(other_order) != payload(cheaper)
    assert len({whole(event), whole(later), whole(other_order), whole(cheaper)}) == 4


def test_order_and_type_name_an_event_of_the_stream() -> None:
    """What the judge builds on."""
    stream = OrderStream("shop", 3_000)
    for _ in stream.records():
        pass
    names = [(fact.data["orderId"], fact.event) for fact in stream.facts]
    assert len(names) == len(set(names)) > 200


def test_a_process_does_not_outlive_its_block() -> None:
    with pytest.raises(KeyError), running(["sleep", "600"]) as process:
        raise KeyError
    assert process.returncode == -signal.SIGKILL


# -- the figures -----------------------------------------------------------------------------------------------------


def test_medians_and_the_start_of_a_process() -> None:
    runs = [
        Score(Result(wall, 3.0, 100 + wall, start), Verdict(5, 0, 0, 2)) for wall, start in ((8, 2), (1, 1), (4, 1))
    ]
    cold = summary({"bridge": runs}, row_changes=1000, events=5, cold=True)["who"]["bridge"]
    warm = summary({"bridge": runs}, row_changes=1000, events=5, cold=False)["who"]["bridge"]
    assert (cold["row_changes_per_s"], warm["row_changes_per_s"]) == (200, 250)
    figures_of_both = ("cpu_us_per_row_change", "peak_anonymous_mib", "wrong", "runs")
    assert [warm[name] for name in figures_of_both] == [3000.0, 108, 2, 3]


def test_readme_and_chart_are_those_of_the_run() -> None:
    results = json.loads(figures.RESULTS.read_text())
    between = (ROOT / "README.md").read_text().partition(BEGIN)[2].partition(END)[0]
    assert between == block(results), "write it anew: python -m deploy.bench.figures"
    assert figures.CHART.read_text() == chart(results), "write it anew: python -m deploy.bench.figures"


def test_the_chart_shows_each_at_its_place() -> None:
    results = json.loads(figures.RESULTS.read_text())
    drawing = ET.fromstring(chart(results))  # noqa: S314 - our own
    texts = [element.text for element in drawing.iter("{http://www.w3.org/2000/svg}text")]
    for name, its in results["warm"]["who"].items():
        assert name in texts
        assert any(text is not None and text.startswith(f"{its['row_changes_per_s']:,}") for text in texts)
    bottom = int(drawing.attrib["viewBox"].split()[-1])
    assert all(
        int(bar.attrib["y"]) < bottom for bar in drawing.iter("{http://www.w3.org/2000/svg}rect") if "y" in bar.attrib
    )


def test_only_what_is_between_the_markers_is_written() -> None:
    page = f"before\n{BEGIN}old\n{END}after\n"
    assert with_block(page, "new\n") == f"before\n{BEGIN}new\n{END}after\n"
    with pytest.raises(ValueError, match="bench:begin"):
        with_block("no markers\n", "new\n")


def test_peers_are_no_part_of_the_projects_environment() -> None:
    """The bridge does not come to depend on what it is compared with."""
    for lock in ("requirements.lock", "requirements-dev.lock"):
        assert "quixstreams" not in (ROOT / lock).read_text()
    answer = subprocess.run(
        [sys.executable, "-m", "deploy.bench", "--help"], cwd=ROOT, check=True, stdout=subprocess.PIPE
    )
    assert b"--peers" in answer.stdout
