"""The kit grades rightly: a sound connector passes, and each broken promise is found, by the test that names it."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from gateway.contract import Capabilities, Deferred, Delivered, Status
from gateway.testing import (
    Bench,
    Broken,
    DestinationSuite,
    ListBatch,
    SourceSuite,
    beyond,
    fixture_of,
    names,
    numbered,
    over_limits,
    parcel,
    sample,
)
from tests.gateway.testing import pigeon
from tests.gateway.testing.pigeon import Pigeon, PigeonDriver


class TestPigeon(SourceSuite, DestinationSuite):
    connector = fixture_of(Pigeon, config={"loft": "{tmp}/loft"}, driver=PigeonDriver)


BROKEN = [
    ("acknowledges-early", "test_acknowledges_after_the_commit_alone"),
    ("acknowledges-early", "test_source_killed_at_every_step_loses_nothing"),
    ("new-key", "test_source_killed_at_every_step_loses_nothing"),
    ("changes-content", "test_octets_arrive_as_they_were:dot-lines"),
    ("refuses-for-now", "test_unavailable_is_told_as_later"),
    ("forgets-refusals", "test_rejected_is_told_for_good"),
    ("dies", "test_a_fault_loses_nothing"),
    ("unbounded", "test_back_pressure_is_the_await"),
    ("never-ends", "test_stops_within_its_bound"),
    ("gives-up", "test_a_stop_finishes_what_is_being_accepted"),
    ("slow-stop", "test_stop_is_bounded_and_may_be_called_twice"),
    ("random-hop", "test_the_next_hop_is_pure"),
    ("strips-nul", "test_carries_what_it_declares:nul"),
    ("denies-newlines", "test_carries_what_it_declares:bare-lf"),
    ("claims-utf8", "test_carries_utf8_addresses_as_declared"),
    ("carries-utf8", "test_carries_utf8_addresses_as_declared"),
    ("delivered-early", "test_destination_killed_at_every_step_loses_nothing"),
    ("delivered-early", "test_destination_cancelled_at_every_await_stays_usable"),
    ("raises", "test_a_broken_next_hop_defers_as_a_whole"),
    ("fails", "test_a_broken_next_hop_defers_as_a_whole"),
    ("narrow-scope", "test_a_broken_next_hop_defers_as_a_whole"),
    ("strange-charset", "test_capabilities_and_health_answer"),
    ("refuses-reports", "test_takes_reports_as_it_declares"),
    ("sends-twice", "test_may_be_called_several_times_at_once"),
]


@pytest.mark.parametrize(("fault", "test"), BROKEN)
def test_a_broken_promise_is_found(fault: str, test: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pigeon, "fault", fault)
    monkeypatch.setattr("gateway.testing.bench.PATIENCE_S", 1.0)
    monkeypatch.setattr(Bench, "stop_s", 1.0)
    with pytest.raises((Broken, TimeoutError, RuntimeError)) as caught:
        _run(test, tmp_path)
    if caught.type is Broken:
        assert "the contract promises" in str(caught.value)


def test_what_is_altered_may_be_told_by_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside "strips-nul" above: the same loss is no broken promise where the outcome says it."""
    monkeypatch.setattr(Pigeon, "fault", "strips-nul-and-tells")
    _run("test_carries_what_it_declares:nul", tmp_path)


def _run(test: str, tmp: Path, kind: type[Pigeon] = Pigeon) -> None:
    name, _, argument = test.partition(":")
    bench = Bench(kind, {"loft": "{tmp}/loft"}, PigeonDriver, tmp)
    method = getattr(TestPigeon(), name)
    given: dict[str, Any] = {"connector": bench, "name": argument, "tmp_path": tmp}
    method(**{key: value for key, value in given.items() if key in inspect.signature(method).parameters})


@pytest.mark.parametrize(
    ("config", "test"),
    [
        (pigeon.Undescribed, "test_every_option_is_described"),
        (pigeon.Loose, "test_unknown_options_are_errors"),
    ],
)
def test_a_careless_config_is_found(config: Any, test: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pigeon, "Config", config)
    with pytest.raises((Broken, pytest.fail.Exception)):
        _run(test, tmp_path)


def test_no_test_of_one_suite_hides_one_of_another() -> None:
    ours = [name for suite in (SourceSuite, DestinationSuite) for name in vars(suite) if not name.startswith("__")]
    assert len(ours) == len(set(ours))


def test_a_batch_keeps_the_first_outcome_and_defers_what_is_unsettled() -> None:
    address = PigeonDriver.recipient(None, 1)  # type: ignore[arg-type]  # uses nothing of the driver
    batch = ListBatch([parcel(1, [address, address], numbered(1))])
    batch.settle((1, 0), Delivered())
    batch.settle((1, 0), Deferred(Status("4.0.0")))
    assert batch.outcomes[1, 0] == Delivered()
    assert isinstance(batch.outcomes[1, 1], Deferred)
    assert batch.settled_twice == 1


def test_samples_need_what_they_are_named_for() -> None:
    nothing = Capabilities(eight_bit=False, nul=False, max_line_octets=998, max_size_bytes=1024 * 1024)
    forms = {name: len(beyond(sample(name), nothing)) for name in names()}
    assert {name for name in names() if forms[name]} == {
        "nul",
        "bare-lf",
        "bare-cr",
        "eight-bit-body",
        "eight-bit-header",
    }
    limits = {name: len(over_limits(sample(name), nothing)) for name in names()}
    assert {name for name in names() if limits[name]} == {"long-lines", "header-line-1mib", "body-3mib"}
