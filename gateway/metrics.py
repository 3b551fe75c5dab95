"""The gateway's figures in the form that Prometheus reads.

Promises: the hot path counts in plain numbers of its own, and nothing here runs before somebody asks; samples are
plain JSON values, so that the workers of one gateway are summed for one answer. Known limit: counters start anew
with the process, as Prometheus expects of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from prometheus_client.core import Metric

Kind = Literal["counter", "gauge", "largest", "smallest"]


@dataclass(frozen=True, slots=True)
class Declared:
    """One metric. Workers are summed; of a `largest` or `smallest` figure one worker's counts."""

    kind: Kind
    help: str


METRICS: Final[Mapping[str, Declared]] = {
    "gatepost_accepted_total": Declared("counter", "Messages taken into the spool."),
    "gatepost_refused_total": Declared("counter", "Messages refused at intake."),
    "gatepost_delivered_total": Declared("counter", "Deliveries that the next hop has taken."),
    "gatepost_deferred_total": Declared("counter", "Attempts that failed for now."),
    "gatepost_failed_total": Declared("counter", "Deliveries that failed for good."),
    "gatepost_put_off_total": Declared("counter", "Deliveries put off without an attempt, their next hop being down."),
    "gatepost_connector_faults_total": Declared("counter", "Calls in which a connector raised or hung."),
    "gatepost_loop_stalls_total": Declared("counter", "Times that a connector blocked the event loop."),
    "gatepost_loop_stalled_seconds_total": Declared("counter", "Seconds for which it did."),
    "gatepost_lease_lost_total": Declared("counter", "Times that a worker lost its lease of the spool."),
    "gatepost_commits_total": Declared("counter", "Transactions committed in the spool."),
    "gatepost_reloads_total": Declared("counter", "Times that the configuration was read anew and put in force."),
    "gatepost_log_lines_dropped_total": Declared("counter", "Log lines dropped, their reader being too slow."),
    "gatepost_connector_events_total": Declared("counter", "Events that a connector counts for itself."),
    "gatepost_queued": Declared("gauge", "Deliveries in the spool, by state."),
    "gatepost_in_memory": Declared("gauge", "Deliveries in memory, queued or being sent."),
    "gatepost_in_memory_bytes": Declared("gauge", "Octets of content in memory."),
    "gatepost_lanes": Declared("gauge", "Lanes in memory, by state."),
    "gatepost_oldest_seconds": Declared("largest", "Age of the oldest queued message."),
    "gatepost_spool_free_bytes": Declared("smallest", "Free room in the spool's file system."),
    "gatepost_spool_bytes": Declared("gauge", "Room that the spool's database takes."),
    "gatepost_spool_waiting": Declared("gauge", "Messages that wait for a commit."),
    "gatepost_workers": Declared("gauge", "Workers that answer."),
    "gatepost_connector_healthy": Declared("smallest", "Whether a connector is well on every worker."),
    "gatepost_sync_mailboxes": Declared("gauge", "Mailboxes that are kept in step, by stage."),
    "gatepost_sync_items": Declared("gauge", "Items that are on both sides."),
    "gatepost_sync_problems": Declared("gauge", "Items and folders that did not get across."),
    "gatepost_sync_running": Declared("gauge", "Mailboxes of which a pass is under way."),
    "gatepost_sync_failing": Declared("gauge", "Mailboxes whose last pass was not done to the end."),
    "gatepost_sync_copied_total": Declared("counter", "Items copied to another mailbox."),
    "gatepost_sync_copied_bytes_total": Declared("counter", "Octets of the items copied."),
    "gatepost_sync_oldest_pass_seconds": Declared("largest", "Time since the pass that is longest ago of a mailbox."),
    "gatepost_start_time_seconds": Declared("largest", "Start of the youngest worker, in seconds since 1970."),
}

Sample = list[Any]
"""[name, [[label, value], ...], number]"""


def sample(name: str, value: float, **labels: str) -> Sample:
    """Return one sample."""
    return [name, [list(pair) for pair in labels.items()], value]


def merge(snapshots: Iterable[Sequence[Sample]]) -> list[Sample]:
    """Bring the workers' samples together."""
    merged: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for name, pairs, value in (s for snapshot in snapshots for s in snapshot):
        key = (name, tuple(sorted((str(k), str(v)) for k, v in pairs)))
        before = merged.get(key)
        kind = METRICS[name].kind if name in METRICS else "gauge"
        if before is None:
            merged[key] = value
        elif kind == "largest":
            merged[key] = max(before, value)
        elif kind == "smallest":
            merged[key] = min(before, value)
        else:
            merged[key] = before + value
    return [[name, [list(p) for p in labels], value] for (name, labels), value in merged.items()]


class _Collector:
    """Gives samples to the Prometheus client in the order of METRICS; names not declared there are left out."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        by_name: dict[str, list[tuple[dict[str, str], float]]] = {}
        for name, pairs, value in self._samples:
            by_name.setdefault(name, []).append((dict(pairs), value))
        for name, declared in METRICS.items():
            samples = by_name.get(name, [])
            if not samples:
                continue
            labels = sorted({label for given, _ in samples for label in given})
            family = CounterMetricFamily if declared.kind == "counter" else GaugeMetricFamily
            metric = family(name, declared.help, labels=labels)
            for given, value in samples:
                metric.add_metric([given.get(label, "") for label in labels], value)
            yield metric


def render(samples: Sequence[Sample]) -> bytes:
    """Return the text that Prometheus reads (format 0.0.4)."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(samples))
    return generate_latest(registry)
