"""The lane's state machine: every pair of state and event, and what outcomes make of a lane over time."""

from __future__ import annotations

import itertools
from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dispatch import lane as lanes
from gateway.dispatch.backoff import Backoff
from gateway.dispatch.lane import TRANSITIONS, Event, Lane, LaneState, Limits
from gateway.outcome import Deferred, Delivered, Failed, Outcome, Scope
from gateway.status import MAILBOX_FULL, NO_ANSWER, UNKNOWN_MAILBOX, Status

READY, THROTTLED, SUSPENDED = LaneState
LIMITS = Limits(window_start=2, window_limit=5, backoff=Backoff(60.0, 3600.0))
HOP = Deferred(NO_ANSWER, Scope.HOP)
HINT = Deferred(Status("4.7.0", "slow down"), Scope.HOP, retry_after_s=300.0)
WHY = Status("4.3.2", "held")


def fresh() -> Lane:
    return lanes.new(LIMITS, 0.0)


def in_state(state: LaneState, until: float = 100.0) -> Lane:
    return replace(fresh(), state=state, until=until, setbacks=0 if state is READY else 1, window=1)


ACTIONS = {
    Event.ALIVE: lambda lane: lanes.after(lane, Delivered(), 10.0),
    Event.FAULT: lambda lane: lanes.after(replace(lane, window=5, setbacks=0), HOP, 10.0),
    Event.DOWN: lambda lane: lanes.after(replace(lane, window=1), HOP, 10.0),
    Event.WAIT: lambda lane: lanes.after(lane, HINT, 10.0),
    Event.TOLD: lambda lane: lanes.told_down(lane, 500.0),
    Event.WAKE: lambda lane: lanes.wake(lane, 100.0),
    Event.OPEN: lanes.opened,
}


def test_the_table_has_every_pair() -> None:
    assert set(TRANSITIONS) == set(itertools.product(LaneState, Event))


def test_only_ready_reaches_every_state() -> None:
    for (state, _), after in TRANSITIONS.items():
        assert state is READY or after in (state, READY)
    assert {after for (state, _), after in TRANSITIONS.items() if state is READY} == set(LaneState)


@pytest.mark.parametrize(("state", "event"), [p for p in TRANSITIONS if p[1] is not Event.HOLD])
def test_every_pair_is_what_the_table_says(state: LaneState, event: Event) -> None:
    assert ACTIONS[event](in_state(state)).state is TRANSITIONS[state, event]


def test_hold_reaches_suspended_from_every_state() -> None:
    for state in LaneState:
        held = lanes.hold(in_state(state), WHY)
        assert held.state is SUSPENDED
        assert held.is_held
        assert lanes.wake(held, 10**12) is held
        assert lanes.opened(held).is_ready


@pytest.mark.parametrize(
    "outcome",
    [
        Delivered(),
        Failed(UNKNOWN_MAILBOX),
        Deferred(MAILBOX_FULL),
        Deferred(MAILBOX_FULL, Scope.MESSAGE),
        Deferred(MAILBOX_FULL, Scope.RECIPIENT, retry_after_s=9999.0),
    ],
)
def test_only_a_fault_of_the_hop_closes_a_lane(outcome: Outcome) -> None:
    lane = fresh()
    for _ in range(1000):
        lane = lanes.after(lane, outcome, 0.0)
    assert lane.is_ready
    assert lane.window == LIMITS.window_limit
    assert lane.proven


def test_the_window_grows_by_a_step_for_each_windowful() -> None:
    lane = fresh()
    sizes = []
    for _ in range(2 + 3 + 4):
        lane = lanes.after(lane, Delivered(), 0.0)
        sizes.append(lane.window)
    assert sizes == [2, 3, 3, 3, 4, 4, 4, 4, 5]


def test_at_full_width_an_answer_changes_nothing_and_costs_no_object() -> None:
    lane = fresh()
    for _ in range(20):
        lane = lanes.after(lane, Delivered(), 0.0)
    assert lanes.after(lane, Delivered(), 0.0) is lane


def test_a_cohort_of_faults_closes_a_lane_and_one_fault_does_not() -> None:
    lane = lanes.after(fresh(), HOP, 10.0)
    assert lane.is_ready
    assert lane.window == 1
    lane = lanes.after(lane, HOP, 10.0)
    assert lane.state is THROTTLED
    assert lane.until == 70.0
    assert lane.reason == NO_ANSWER


def test_an_answer_between_faults_forgives_them() -> None:
    lane = replace(fresh(), window=5)
    for _ in range(100):
        lane = lanes.after(lane, HOP, 0.0)
        lane = lanes.after(lane, Delivered(), 0.0)
        lane = lanes.after(lane, Delivered(), 0.0)
    assert lane.is_ready


def test_faults_of_the_same_cohort_count_once() -> None:
    down = lanes.after(in_state(READY), HOP, 10.0)
    assert lanes.after(down, HOP, 10.0) is down
    assert lanes.after(down, HOP, 9999.0) is down


def test_a_lane_that_stays_down_is_probed_rarer_and_rarer_by_one() -> None:
    lane = in_state(READY)
    waits = []
    now = 0.0
    for _ in range(10):
        lane = lanes.after(lane, HOP, now)
        waits.append(lane.until - now)
        now = lane.until
        assert lanes.wake(lane, now - 1.0) is lane
        lane = lanes.wake(lane, now)
        assert lane.is_probing
        assert lane.window == 1
    assert waits == [60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 2400.0, 2400.0, 2400.0, 2400.0]


def test_one_answer_after_a_probe_opens_slowly() -> None:
    lane = lanes.wake(lanes.after(in_state(READY), HOP, 0.0), 1000.0)
    lane = lanes.after(lane, Delivered(), 1000.0)
    assert (lane.setbacks, lane.window, lane.proven) == (0, 2, True)


def test_an_answer_still_in_flight_opens_a_throttled_lane() -> None:
    assert lanes.after(lanes.after(in_state(READY), HOP, 0.0), Delivered(), 1.0).is_ready


def test_a_hint_is_taken_at_its_word_until_it_repeats_itself() -> None:
    short = Deferred(Status("4.7.0"), Scope.HOP, retry_after_s=5.0)
    lane = fresh()
    waits = []
    for _ in range(6):
        lane = lanes.after(lane, short, 0.0)
        assert lane.state is SUSPENDED
        waits.append(lane.until)
        lane = lanes.wake(lane, lane.until)
    assert waits == [5.0, 5.0, 5.0, 60.0, 120.0, 240.0]


def test_a_second_hint_only_lengthens_the_pause() -> None:
    lane = lanes.after(fresh(), HINT, 0.0)
    assert lanes.after(lane, Deferred(NO_ANSWER, Scope.HOP, retry_after_s=10.0), 0.0).until == 300.0
    assert lanes.after(lane, Deferred(NO_ANSWER, Scope.HOP, retry_after_s=10**9), 0.0).until == 86_400.0


def test_what_another_node_says_is_believed_and_only_lengthens() -> None:
    lane = lanes.told_down(fresh(), 500.0)
    assert (lane.state, lane.until) == (THROTTLED, 500.0)
    assert lanes.told_down(lane, 400.0).until == 500.0
    assert lanes.told_down(lane, 900.0).until == 900.0
    assert lanes.wake(lane, 500.0).is_probing


@given(st.lists(st.sampled_from([Delivered(), HOP, HINT, Deferred(MAILBOX_FULL), "wake", "open", "told"]), max_size=60))
def test_whatever_happens_a_lane_is_sound(happens: list[object]) -> None:
    lane = fresh()
    now = 0.0
    for what in happens:
        now += 30.0
        before = lane.state
        if what == "wake":
            lane = lanes.wake(lane, now)
        elif what == "open":
            lane = lanes.opened(lane)
        elif what == "told":
            lane = lanes.told_down(lane, now + 100.0)
        else:
            lane = lanes.after(lane, what, now)  # type: ignore[arg-type]  # an Outcome, by the strategy
        assert 1 <= lane.window <= LIMITS.window_limit
        assert before is READY or lane.state in (before, READY)
        assert lane.is_ready or (lane.until < inf and lane.reason is not None)
