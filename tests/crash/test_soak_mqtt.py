"""The short form of `python -m tests.crash.soak_mqtt`: each fault once, over both versions and both qualities."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.soak_mqtt import FLOOR_PER_FAULT, Count, soak


@pytest.mark.parametrize(
    ("version", "qos", "faults"),
    [
        ("5", 2, ["gateway", "cut", "silent", "gateway"]),
        ("3.1.1", 1, ["gateway", "stop"]),
        ("3.1.1", 2, ["gateway", "broker"]),
    ],
    ids=["5 at QoS 2", "3.1.1 at QoS 1", "3.1.1 at QoS 2"],
)
@pytest.mark.timeout(300)
def test_nothing_is_lost_and_no_more_doubled_than_may_be(
    tmp_path: Path, version: str, qos: int, faults: list[str]
) -> None:
    for count in soak(tmp_path, qos, version, faults, seed=3, pause_s=(0.1, 0.5), quiet_s=1.0):
        print(count)
        assert not count.lost
        assert count.doubled <= count.bound
        assert count.accepted >= FLOOR_PER_FAULT * len(faults)
        assert "broker" in faults or not count.by_broker


def test_a_count_judges() -> None:
    good = Count("in", 1, faults=2, accepted=100, doubled=3, in_flight=[1, 2])
    assert good.is_good
    assert str(good) == (
        "in QoS 1: kills 2, accepted 100, lost 0, doubled 3 (in flight at kill at most 3); "
        "by the broker itself lost 0, doubled 0"
    )
    assert not Count("in", 1, faults=2, accepted=100, lost=["x"], in_flight=[9]).is_good
    assert not Count("in", 1, faults=2, accepted=100, doubled=4, in_flight=[1, 2]).is_good
    assert not Count("in", 2, faults=2, accepted=100, doubled=1, in_flight=[1, 2]).is_good
    assert not Count("in", 2, faults=2, accepted=99).is_good
