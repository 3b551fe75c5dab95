"""The pace holds for exactly as long as was said, for one mailbox or for all."""

from __future__ import annotations

from connectors.exchange.pace import Pace


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_it_holds_exactly_so_long() -> None:
    clock = Clock()
    pace = Pace(clock)
    assert pace.left("ann") == 0.0
    pace.hold(7.5)
    assert (pace.left("ann"), pace.left()) == (7.5, 7.5)
    clock.now += 7.25
    assert pace.left("ann") == 0.25
    clock.now += 0.25
    assert pace.left("ann") == 0.0


def test_a_mailbox_holds_nobody_else() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.hold(5, "ann")
    assert (pace.left("ann"), pace.left("bob"), pace.left()) == (5, 0, 0)
    pace.hold(2)
    assert (pace.left("ann"), pace.left("bob")) == (5, 2)
    clock.now += 3
    assert (pace.left("ann"), pace.left("bob")) == (2, 0)


def test_a_longer_hold_stays() -> None:
    pace = Pace(Clock())
    pace.hold(30)
    pace.hold(1)
    assert pace.left() == 30


def test_what_is_over_is_forgotten() -> None:
    clock = Clock()
    pace = Pace(clock)
    for n in range(30_000):
        pace.hold(1, f"m{n}")
        clock.now += 0.01
    assert len(pace._until) <= 10_000
