"""Runners' places are shared between kinds and taken in turn."""

from __future__ import annotations

from gateway.dispatch import lane as lanes
from gateway.dispatch.lane import Lane, Limits
from gateway.dispatch.live import Kind, LiveLane
from gateway.dispatch.places import Places
from gateway.dispatch.queue import LaneQueue


def live(name: str, *, proven: bool = True, setbacks: int = 0) -> LiveLane:
    lane = Lane(Limits(), proven=proven, setbacks=setbacks)
    return LiveLane(("out", name), lane, LaneQueue(10, 10), 0.0)


def test_the_kind_follows_from_what_is_known_of_a_lane() -> None:
    assert live("a").kind is Kind.PROVEN
    assert live("a", proven=False).kind is Kind.UNPROVEN
    assert live("a", proven=False, setbacks=1).kind is Kind.PROBING
    assert LiveLane(("o", "h"), lanes.new(Limits(), 0.5), LaneQueue(1, 1), 0.0).kind is Kind.UNPROVEN


def test_unknown_and_dead_lanes_leave_places_free() -> None:
    places = Places(10, 5, 2)
    assert [places.take(Kind.UNPROVEN) for _ in range(6)] == [True] * 5 + [False]
    assert [places.take(Kind.PROBING) for _ in range(3)] == [True, True, False]
    assert [places.take(Kind.PROVEN) for _ in range(4)] == [True] * 3 + [False]
    assert places.total == 10
    assert not places.take(Kind.PROVEN)


def test_a_freed_place_goes_to_the_line_in_turn() -> None:
    places = Places(2, 1, 1)
    first, second, new = live("a"), live("b"), live("c", proven=False)
    assert places.take(Kind.PROVEN)
    assert places.take(Kind.PROVEN)
    for lane in (first, second, new, first):
        places.join(lane)
    assert places.wanted(Kind.PROVEN)
    assert places.next() is None
    places.give(Kind.PROVEN)
    served = []
    while (following := places.next()) is not None:
        served.append(following.key[1])
        assert places.take(following.kind)
        places.give(following.kind)
    assert served == ["a", "c", "b"]
    assert not places.wanted(Kind.PROVEN)


def test_a_kind_that_has_its_share_waits_though_places_are_free() -> None:
    places = Places(10, 1, 1)
    assert places.take(Kind.UNPROVEN)
    waiting = live("a", proven=False)
    places.join(waiting)
    assert places.next() is None
    assert places.wanted(Kind.UNPROVEN)
    assert not places.wanted(Kind.PROVEN)
    assert places.is_tight(Kind.UNPROVEN)
