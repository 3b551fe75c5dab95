"""Figures: the workers' samples become one text that Prometheus reads."""

from __future__ import annotations

import json

from prometheus_client.parser import text_string_to_metric_families

from gateway.metrics import METRICS, merge, render, sample


def test_workers_are_brought_together() -> None:
    one = [
        sample("gatepost_accepted_total", 3),
        sample("gatepost_oldest_seconds", 10.0),
        sample("gatepost_spool_free_bytes", 500),
        sample("gatepost_queued", 1, state="held"),
    ]
    other = [
        sample("gatepost_accepted_total", 4),
        sample("gatepost_oldest_seconds", 90.0),
        sample("gatepost_spool_free_bytes", 400),
        sample("gatepost_queued", 2, state="queued"),
    ]
    merged = merge([json.loads(json.dumps(one)), other])
    assert sorted(merged, key=str) == [
        ["gatepost_accepted_total", [], 7],
        ["gatepost_oldest_seconds", [], 90.0],
        ["gatepost_queued", [["state", "held"]], 1],
        ["gatepost_queued", [["state", "queued"]], 2],
        ["gatepost_spool_free_bytes", [], 400],
    ]


def test_the_text_is_read_back() -> None:
    samples = [
        sample("gatepost_accepted_total", 7),
        sample("gatepost_queued", 2, state="queued"),
        sample("gatepost_connector_events_total", 1, connector="x", event="y", detail='hop="a"\n'),
        sample("gatepost_not_declared", 1),
    ]
    families = {f.name: f for f in text_string_to_metric_families(render(samples).decode())}
    assert families["gatepost_accepted"].type == "counter"
    assert families["gatepost_accepted"].documentation == METRICS["gatepost_accepted_total"].help
    assert families["gatepost_queued"].samples[0].labels == {"state": "queued"}
    assert families["gatepost_connector_events"].samples[0].labels["detail"] == 'hop="a"\n'
    assert "gatepost_not_declared" not in families


def test_names_follow_the_customs() -> None:
    for name, declared in METRICS.items():
        assert name.startswith("gatepost_")
        assert name.endswith("_total") == (declared.kind == "counter")
