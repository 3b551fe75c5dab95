"""Figures of a node: plain counters that cost the hot path a dictionary's step, and their Prometheus form.

Promises: nothing of the Prometheus client runs before somebody asks; a snapshot is plain JSON values, so that the
workers of one gateway are summed for one answer. Known limit: counters start anew with the process, as Prometheus
expects of them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from prometheus_client.core import Metric

Kind = Literal["counter", "gauge", "largest", "histogram"]


@dataclass(frozen=True, slots=True)
class Declared:
    """One metric: `largest` is a gauge of which the worst worker's counts, the others are summed."""

    kind: Kind
    help: str


SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0, 86400.0)
"""The upper bounds of the histograms' buckets."""

METRICS: Final[Mapping[str, Declared]] = {
    "gatepost_accepted_total": Declared("counter", "Messages taken into the spool."),
    "gatepost_refused_total": Declared("counter", "Messages refused at intake."),
    "gatepost_delivered_total": Declared("counter", "Deliveries that the next hop has taken."),
    "gatepost_deferred_total": Declared("counter", "Attempts that failed for now."),
    "gatepost_failed_total": Declared("counter", "Deliveries that failed for good."),
    "gatepost_dropped_total": Declared("counter", "Deliveries removed by an operator."),
    "gatepost_reports_total": Declared("counter", "Delivery reports made."),
    "gatepost_duplicates_possible_total": Declared("counter", "Deliveries that a next hop may have got twice."),
    "gatepost_log_lines_dropped_total": Declared("counter", "Log lines lost since their reader was too slow."),
    "gatepost_commits_total": Declared("counter", "Transactions committed in the spool."),
    "gatepost_connector_restarts_total": Declared("counter", "Times that a connector was started anew after a fault."),
    "gatepost_connector_events_total": Declared("counter", "Events that a connector counts for itself."),
    "gatepost_delivery_seconds": Declared("histogram", "From arrival to the next hop's acceptance."),
    "gatepost_queued": Declared("gauge", "Deliveries in the spool, by state."),
    "gatepost_in_memory": Declared("gauge", "Deliveries in memory, queued or being sent."),
    "gatepost_in_memory_bytes": Declared("gauge", "Octets of content in memory."),
    "gatepost_lanes": Declared("gauge", "Lanes in memory, by state."),
    "gatepost_oldest_seconds": Declared("largest", "Age of the oldest queued message."),
    "gatepost_spool_free_bytes": Declared("largest", "Free room in the spool's file system."),
    "gatepost_spool_bytes": Declared("gauge", "Room that the spool takes."),
    "gatepost_spool_waiting": Declared("gauge", "Accepts that wait for a commit."),
    "gatepost_workers": Declared("gauge", "Workers that answer."),
    "gatepost_connector_healthy": Declared("gauge", "Workers on which a connector is well."),
    "gatepost_start_time_seconds": Declared("largest", "When the youngest worker was started, in seconds since 1970."),
}

Labels = tuple[tuple[str, str], ...]
Sample = list[Any]
"""[name, [[label, value], ...], number or {"buckets": [...], "sum": x}]"""


class Counters:
    """The counters of one node. Called in its event loop alone."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, Labels], float] = {}
        self._histograms: dict[tuple[str, Labels], tuple[list[int], list[float]]] = {}

    def count(self, name: str, value: float = 1, **labels: str) -> None:
        """Add to a counter."""
        key = (name, tuple(labels.items()))
        self._values[key] = self._values.get(key, 0.0) + value

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        """Add one span of time to a histogram."""
        key = (name, tuple(labels.items()))
        found = self._histograms.get(key)
        if found is None:
            found = self._histograms[key] = ([0] * (len(SECONDS) + 1), [0.0])
        buckets, total = found
        buckets[bisect_left(SECONDS, seconds)] += 1
        total[0] += seconds

    def of_connector(self, connector: str) -> ConnectorCounter:
        """Return the `count` that a connector is lent: its names become the label `event`."""
        return ConnectorCounter(self, connector)

    def snapshot(self) -> list[Sample]:
        """Return all values as plain JSON values."""
        samples: list[Sample] = [[name, [list(p) for p in labels], v] for (name, labels), v in self._values.items()]
        for (name, labels), (buckets, total) in self._histograms.items():
            samples.append([name, [list(p) for p in labels], {"buckets": list(buckets), "sum": total[0]}])
        return samples


class ConnectorCounter:
    """Counts a connector's own events, in bounded memory whatever labels it gives."""

    MOST: Final = 200

    def __init__(self, counters: Counters, connector: str) -> None:
        self._counters = counters
        self._connector = connector
        self._seen: set[tuple[str, Labels]] = set()

    def __call__(self, name: str, value: float = 1, **labels: str) -> None:
        pairs = tuple(sorted(labels.items()))
        if (name, pairs) not in self._seen:
            if len(self._seen) >= self.MOST:
                # A label that a stranger chooses (a host name) must not fill the memory, nor Prometheus.
                pairs = ()
            self._seen.add((name, pairs))
        detail = ",".join(f"{k}={v}" for k, v in pairs)
        self._counters.count(
            "gatepost_connector_events_total", value, connector=self._connector, event=name, detail=detail
        )


def gauge(name: str, value: float, **labels: str) -> Sample:
    """Return one sample of a figure that is looked up when asked for."""
    return [name, [list(pair) for pair in labels.items()], value]


def merge(snapshots: Iterable[Sequence[Sample]]) -> list[Sample]:
    """Add the workers' samples up."""
    merged: dict[tuple[str, Labels], Any] = {}
    for name, pairs, value in (sample for snapshot in snapshots for sample in snapshot):
        key = (name, tuple(sorted((str(k), str(v)) for k, v in pairs)))
        before = merged.get(key)
        if before is None:
            merged[key] = value
        elif isinstance(value, dict):
            buckets = [a + b for a, b in zip(before["buckets"], value["buckets"], strict=True)]
            merged[key] = {"buckets": buckets, "sum": before["sum"] + value["sum"]}
        elif name in METRICS and METRICS[name].kind == "largest":
            merged[key] = max(before, value)
        else:
            merged[key] = before + value
    return [[name, [list(p) for p in labels], value] for (name, labels), value in merged.items()]


class _Collector:
    """Gives samples to the Prometheus client."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        by_name: dict[str, list[tuple[dict[str, str], Any]]] = {}
        for name, pairs, value in self._samples:
            if name in METRICS:
                by_name.setdefault(name, []).append((dict(pairs), value))
        for name in METRICS:
            samples = by_name.get(name, [])
            declared = METRICS[name]
            labels = sorted({label for given, _ in samples for label in given})
            if declared.kind == "histogram":
                histogram = HistogramMetricFamily(name, declared.help, labels=labels)
                for given, value in samples:
                    histogram.add_metric([given.get(x, "") for x in labels], *_cumulative(value))
                yield histogram
                continue
            family = CounterMetricFamily if declared.kind == "counter" else GaugeMetricFamily
            metric = family(name, declared.help, labels=labels)
            for given, value in samples:
                metric.add_metric([given.get(x, "") for x in labels], value)
            yield metric


def _cumulative(value: Mapping[str, Any]) -> tuple[list[tuple[str, float]], float]:
    total = 0
    buckets: list[tuple[str, float]] = []
    for bound, n in zip((*map(str, SECONDS), "+Inf"), value["buckets"], strict=True):
        total += n
        buckets.append((bound, total))
    return buckets, value["sum"]


def render(samples: Sequence[Sample]) -> bytes:
    """Return the text that Prometheus reads (format 0.0.4)."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(samples))
    return generate_latest(registry)
