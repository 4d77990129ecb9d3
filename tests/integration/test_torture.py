"""``bridge torture`` on a real broker: its short form is the test of many faults, and it leaves nothing behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from deploy.stack import Stack
from deploy.stack.process import running
from tests.integration.seen import ROOT, run_command

pytestmark = [pytest.mark.stack, pytest.mark.slow]

FAULTS = ["takeover", "frozen", "lost", "late", "blackhole", "repeats"]  # the others are tested in test_exactly_once


def left_behind(stack: Stack) -> list[str]:
    admin = AdminClient({"bootstrap.servers": stack.bootstrap, "log_level": 0})
    groups = [group.group_id for group in admin.list_consumer_groups(request_timeout=20).result().valid]
    files = [str(path) for path in Path(tempfile.gettempdir()).glob("bridge-torture-*")]
    names = [*admin.list_topics(timeout=20).topics, *groups, *files]
    return [name for name in names if "bridge-torture" in name]


@pytest.mark.timeout(300)
def test_nothing_is_lost_doubled_or_reordered(kafka_stack: Stack) -> None:
    words = ["torture", "--bootstrap", kafka_stack.bootstrap, "--faults", ",".join(FAULTS), "--seed", "4"]
    found = subprocess.run(
        [sys.executable, "-m", "bridge", *words, "--format", "json"], cwd=ROOT, capture_output=True, check=False
    )
    assert found.returncode == 0, found.stderr.decode()
    faults = json.loads(found.stdout)["faults"]
    assert list(faults) == FAULTS
    assert all(counts["expected"] == counts["seen"] > 0 for counts in faults.values())
    assert left_behind(kafka_stack) == []


def test_interrupted_it_cleans_up(kafka_stack: Stack) -> None:
    words = [sys.executable, "-m", "bridge", "torture", "--bootstrap", kafka_stack.bootstrap, "--faults", "none,kill"]
    with running(words, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert any(line.startswith("round 1  none") for line in process.stderr)  # by now the next run has begun
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=90)
    assert process.returncode == 130
    assert output.splitlines()[1].split()[:2] == ["none", "1"]
    assert left_behind(kafka_stack) == []


def test_a_cluster_that_is_not_there() -> None:
    found = run_command("torture", "--bootstrap", "127.0.0.1:1", "--faults", "none")
    assert found.returncode == 75
    assert b"B401" in found.stderr
