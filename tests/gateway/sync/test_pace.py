"""How hard a server is asked."""

from __future__ import annotations

import asyncio

import pytest

from gateway.mailbox import StoreFault
from gateway.outcome import Scope
from gateway.status import Status
from gateway.sync.pace import MOST_TRIES, Pace, Server

BUSY = Status("4.3.2", "busy")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def asked(clock: Clock, pace: Pace, *faults: StoreFault) -> str:
    left = list(faults)

    async def call() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return asyncio.run(pace.ask(call))


def test_a_servers_own_hint_is_kept_to_the_second() -> None:
    clock = Clock()
    pace = Pace(sleep=clock.sleep, clock=clock)
    assert asked(clock, pace, StoreFault(BUSY, Scope.HOP, retry_after_s=299.961)) == "done"
    assert sum(clock.slept) == pytest.approx(299.961)


def test_without_a_hint_each_wait_is_longer_and_less_is_asked_at_once() -> None:
    clock = Clock()
    pace = Pace(40, sleep=clock.sleep, clock=clock)
    assert asked(clock, pace, *[StoreFault(BUSY, Scope.HOP)] * 3) == "done"
    assert clock.slept == [0.5, 1.0, 2.0]
    assert pace.items == 6
    for _ in range(100):
        pace.good()
    assert pace.items == 40


def test_it_is_given_up_after_its_time_or_at_once_where_it_is_for_good() -> None:
    clock = Clock()
    pace = Pace(patience_s=100, sleep=clock.sleep, clock=clock)
    with pytest.raises(StoreFault):
        asked(clock, pace, *[StoreFault(BUSY, Scope.HOP)] * 50)
    assert 50 < sum(clock.slept) <= 100
    with pytest.raises(StoreFault):
        asked(Clock(), Pace(), StoreFault(Status("5.7.8", "wrong password")))


def test_what_fails_for_itself_is_not_tried_for_an_hour() -> None:
    clock = Clock()
    pace = Pace(sleep=clock.sleep, clock=clock)
    with pytest.raises(StoreFault):
        asked(clock, pace, *[StoreFault(BUSY, Scope.MESSAGE)] * MOST_TRIES)
    assert len(clock.slept) == MOST_TRIES - 1


@pytest.mark.parametrize(
    ("fault", "waits"),
    [
        (StoreFault(BUSY, Scope.HOP, retry_after_s=30.0), True),
        (StoreFault(BUSY, Scope.RECIPIENT, retry_after_s=30.0), False),
        (StoreFault(Status("4.4.2", "the connection ended"), Scope.HOP, retry_after_s=30.0), False),
    ],
)
def test_what_a_server_says_of_itself_all_its_mailboxes_heed(fault: StoreFault, waits: bool) -> None:
    clock, server = Clock(), Server()
    one, two = (Pace(server=server, clock=clock, sleep=clock.sleep) for _ in range(2))
    one.bad(fault)
    assert asked(clock, two) == "done"
    assert clock.slept == ([30.0] if waits else [])
    assert two.items == 50
