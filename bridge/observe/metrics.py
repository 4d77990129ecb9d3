"""Metrics: every number that the bridge shows, by one class with a typed method for each.

All times are in seconds. Methods are called once per batch, never per row, so that they cost nothing that a profile
would show. Label ``source`` is the source's name in the config, ``step`` is read or one of the pipeline's words.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, ProcessCollector
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

STEPS: Final = ("read", "decode", "assemble", "collapse", "aggregate", "window", "translate", "encode", "publish")
OUTCOMES: Final = ("committed", "aborted", "ambiguous")
STEP_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
EVENT_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class EventDurations(Collector):
    """A histogram that takes many equal observations in one call: all events of a batch become visible together."""

    NAME = "event_processing_duration_seconds"
    HELP = "From the reading of an event's batch to the commit that made the event visible."

    def __init__(self, registry: CollectorRegistry) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str], list[int]] = {}
        self._sums: dict[tuple[str, str], float] = {}
        registry.register(self)

    def observe(self, source: str, event_type: str, seconds: float, count: int) -> None:
        """``count`` events of one type that took ``seconds`` each."""
        labels = (source, event_type)
        with self._lock:
            buckets = self._counts.setdefault(labels, [0] * (len(EVENT_BUCKETS) + 1))
            buckets[bisect_left(EVENT_BUCKETS, seconds)] += count
            self._sums[labels] = self._sums.get(labels, 0.0) + seconds * count

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """One sample per bucket, as Prometheus wants them: each with everything below it."""
        family = HistogramMetricFamily(self.NAME, self.HELP, labels=("source", "event_type"))
        with self._lock:
            for labels, counts in self._counts.items():
                family.add_metric(labels, list(_cumulated(counts)), self._sums[labels])
        yield family

    def describe(self) -> Iterable[HistogramMetricFamily]:
        """The name, for the registry's check that no other metric has it."""
        yield HistogramMetricFamily(self.NAME, self.HELP, labels=("source", "event_type"))


def _cumulated(counts: list[int]) -> Iterator[tuple[str, float]]:
    total = 0
    for bound, count in zip((*map(str, EVENT_BUCKETS), "+Inf"), counts, strict=True):
        total += count
        yield bound, total


class Metrics:
    """The bridge's metrics, in a registry of their own; ``bridge.observe.http`` serves it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._event_durations = EventDurations(self.registry)
        self._steps = Histogram(
            "batch_duration_seconds",
            "Time that one step took for one batch.",
            ("source", "step"),
            buckets=STEP_BUCKETS,
            registry=self.registry,
        )
        self._lag = self._gauge(
            "kafka_consumer_lag_sum", "Committed records not yet processed, all partitions together."
        )
        self._open_age = self._gauge(
            "open_transaction_age_seconds",
            "How long the oldest transaction waits for its rows or its END; 0: none does.",
        )
        self._blocked = self._gauge(
            "lso_blocked_seconds",
            "How long an open Kafka transaction of the source's writer has hidden what is behind it; 0: none does.",
        )
        self._checkpoint_age = self._gauge(
            "checkpoint_age_seconds", "Age of the newest automatic checkpoint; 0: there is none."
        )
        self._checkpoint_failures = self._counter(
            "checkpoint_failures", "Automatic checkpoints that could not be made."
        )
        self._windows = self._gauge("open_windows", "Windows that wait for their end.")
        self._owned = self._gauge("source_owned", "1 while this process owns the source, 0 while it stands by.")
        self._restore = self._gauge("restore_progress_ratio", "Share of the changelog that was read back; 1: done.")
        self._duplicates = self._counter("event_duplicates", "Row changes and markers dropped as repeats.")
        self._row_changes = self._counter("row_changes", "Row changes of released source transactions.")
        self._transactions = self._counter("transactions", "Source transactions released.")
        self._events = self._counter("events", "Canonical events published and committed.", "event_type")
        self._dead_letters = self._counter("dead_letters", "Records and units sent to the dead-letter topic.", "code")
        self._seeds = self._counter("seeds", "Snapshot rows applied to the state.")
        self._seed_differences = self._counter("seed_differences", "Snapshot rows that differed from the known state.")
        self._commits = self._counter("kafka_transactions", "Kafka transactions, by how they ended.", "outcome")

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, ("source", *labels), registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, ("source",), registry=self.registry)

    def declare(self, source: str, event_types: Iterable[str] = ()) -> None:
        """Show a source's metrics as 0 from the start: an absent series alarms nobody."""
        for gauge in (
            self._lag,
            self._open_age,
            self._blocked,
            self._checkpoint_age,
            self._windows,
            self._owned,
            self._restore,
        ):
            gauge.labels(source)
        for counter in (
            self._duplicates,
            self._row_changes,
            self._transactions,
            self._seeds,
            self._seed_differences,
            self._checkpoint_failures,
        ):
            counter.labels(source)
        for event_type in event_types:
            self._events.labels(source, event_type)
            self._event_durations.observe(source, event_type, 0.0, 0)
        for step in STEPS:
            self._steps.labels(source, step)
        for outcome in OUTCOMES:
            self._commits.labels(source, outcome)

    def step(self, source: str, step: str, seconds: float) -> None:
        """One step of one batch took this long."""
        self._steps.labels(source, step).observe(seconds)

    def batch_read(
        self, source: str, *, row_changes: int, transactions: int, duplicates: int = 0, seeds: int = 0
    ) -> None:
        """What a batch held, counted when its Kafka transaction is committed, so that a retry counts once."""
        self._row_changes.labels(source).inc(row_changes)
        self._transactions.labels(source).inc(transactions)
        if duplicates:
            self._duplicates.labels(source).inc(duplicates)
        if seeds:
            self._seeds.labels(source).inc(seeds)

    def events_published(self, source: str, counts: Mapping[str, int], seconds: float) -> None:
        """Events by type of one Kafka transaction, ``seconds`` from reading their batch to its commit."""
        for event_type, count in counts.items():
            self._events.labels(source, event_type).inc(count)
            self._event_durations.observe(source, event_type, seconds, count)

    def dead_letters(self, source: str, code: str, count: int = 1) -> None:
        """Dead letters of one error code, committed."""
        self._dead_letters.labels(source, code).inc(count)

    def seed_differences(self, source: str, count: int) -> None:
        """Snapshot rows that were not what the state said."""
        self._seed_differences.labels(source).inc(count)

    def kafka_transaction(self, source: str, outcome: str) -> None:
        """A Kafka transaction ended as one of ``OUTCOMES``; an ambiguous one was committed, and counted so before."""
        self._commits.labels(source, outcome).inc()

    def lag(self, source: str, records: int) -> None:
        """Records behind the end that a read_committed consumer sees."""
        self._lag.labels(source).set(records)

    def open_transaction_age(self, source: str, seconds: float) -> None:
        """Age of the oldest transaction that waits; 0 where none does."""
        self._open_age.labels(source).set(seconds)

    def lso_blocked(self, source: str, seconds: float) -> None:
        """How long the last stable offset of some input has stood still below its end."""
        self._blocked.labels(source).set(seconds)

    def checkpoint_age(self, source: str, seconds: float) -> None:
        """Age of the newest automatic checkpoint."""
        self._checkpoint_age.labels(source).set(seconds)

    def checkpoint_failed(self, source: str) -> None:
        """An automatic checkpoint could not be made."""
        self._checkpoint_failures.labels(source).inc()

    def open_windows(self, source: str, count: int) -> None:
        """Windows that are open now."""
        self._windows.labels(source).set(count)

    def owned(self, source: str, *, owner: bool) -> None:
        """This process owns the source, or does not any more."""
        self._owned.labels(source).set(1 if owner else 0)

    def restore_progress(self, source: str, done: int, total: int) -> None:
        """Changelog records read back, of so many."""
        self._restore.labels(source).set(done / total if total else 1.0)
