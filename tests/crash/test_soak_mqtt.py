"""The short form of `python -m tests.crash.soak_mqtt`: each fault once, over both versions and both qualities."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from tests.crash.soak_mqtt import FLOOR_PER_FAULT, Count, Row, soak, table


@pytest.mark.parametrize(
    ("version", "qos", "faults"),
    [
        ("5", 2, ["gateway", "cut", "silent"]),
        ("3.1.1", 1, ["gateway", "stop"]),
        ("3.1.1", 2, ["gateway", "broker"]),
    ],
    ids=["5 at QoS 2", "3.1.1 at QoS 1", "3.1.1 at QoS 2"],
)
@pytest.mark.timeout(300)
def test_nothing_is_lost_and_no_more_doubled_than_may_be(
    tmp_path: Path, version: str, qos: int, faults: list[str]
) -> None:
    for count in soak(tmp_path, qos, version, faults, seed=3, pause_s=(0.1, 0.5), quiet_s=1.0, load_pause_s=0.05):
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


def test_the_table_has_a_line_for_each_way_and_their_sum() -> None:
    good = Row("5", "cut", (Count("in", 1, 3, 200, doubled=2, in_flight=[4]), Count("out", 1, 3, 300)))
    bad = Row("3.1.1", "broker", (Count("in", 2, 3, 150, ["x"], by_broker=7, again=8), Count("out", 2, 3, 150)))
    broken = Row("5", "stop", broken="QoS 2: TimeoutError()")
    assert good.is_good
    assert not bad.is_good
    assert not broken.is_good
    assert [Row.read(asdict(row)) for row in (good, bad, broken)] == [good, bad, broken]
    assert table([good, bad, broken]).splitlines() == [
        "MQTT  QoS  fault   way  kills  accepted  lost  doubled  at most  broker lost  again",
        "5       1  cut     in       3       200     0        2        4            0      0",
        "5       1  cut     out      3       300     0        0        0            0      0",
        "3.1.1   2  broker  in       3       150     1        0        0            7      8  BAD",
        "3.1.1   2  broker  out      3       150     0        0        0            0      0",
        "5          stop    BROKEN: QoS 2: TimeoutError()",
        "kills 6, accepted 800, lost 1, doubled 2 (in flight at kill at most 4)",
    ]
