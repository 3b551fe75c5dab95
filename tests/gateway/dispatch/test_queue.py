"""The queue of a lane: bounded, by priority, fair between senders."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dispatch.queue import Entry, LaneQueue

from .simulated import stored


def entry(sender: str = "a", priority: int = 0, recipients: int = 1, size: int = 100) -> Entry:
    message = stored(sender=sender, priority=priority, recipients=recipients, now=0.0, body=b"x" * size)
    return Entry(message, message.deliveries)


def queue(count: int = 100, octets: int = 10**9) -> LaneQueue:
    return LaneQueue(count, octets)


def drained(q: LaneQueue) -> list[Entry]:
    return [q.pop() for _ in range(sum(1 for _ in q))]


def test_senders_take_turns() -> None:
    q = queue()
    for sender in "aaaabbc":
        q.push(entry(sender))
    assert "".join(e.sender for e in drained(q)) == "abcabaa"
    assert (q.count, q.octets, len(q)) == (0, 0, 0)


def test_a_higher_priority_goes_first() -> None:
    q = queue()
    for priority in (0, -3, 5, 0):
        q.push(entry("a", priority))
    assert [e.priority for e in drained(q)] == [5, 0, 0, -3]


def test_one_senders_flood_leaves_room_for_another() -> None:
    q = queue(1000)
    back = [e for _ in range(50_000) for e in q.push(entry("flood"))]
    assert (q.count, len(back)) == (1000, 49_000)
    out = q.push(entry("small"))
    assert [e.sender for e in out] == ["flood"]
    assert q.count == 1000
    assert [q.pop().sender for _ in range(2)].count("small") == 1


def test_the_newest_of_the_largest_sender_leaves() -> None:
    q = queue(4)
    flood = [entry("flood") for _ in range(4)]
    for e in flood:
        q.push(e)
    assert q.push(entry("b")) == [flood[3]]


def test_an_even_crowd_is_left_alone() -> None:
    q = queue(50)
    for i in range(50):
        assert q.push(entry(f"s{i}")) == []
    late = entry("late")
    assert q.push(late) == [late]


def test_a_lower_priority_pushes_nobody_of_a_higher_one_out() -> None:
    q = queue(4)
    for _ in range(4):
        q.push(entry("flood", 5))
    low = entry("b", 0)
    assert q.push(low) == [low]


def test_octets_are_bounded_but_one_message_always_fits() -> None:
    q = queue(100, 10_000)
    assert q.push(entry("a", size=50_000)) == []
    second = entry("a")
    assert q.push(second) == [second]


def test_recipients_count_one_by_one() -> None:
    q = queue(10)
    q.push(entry("a", recipients=8))
    three = entry("a", recipients=3)
    assert q.push(three) == [three]
    assert q.push(entry("a", recipients=2)) == []
    assert q.count == 10


def test_remove_takes_single_deliveries() -> None:
    q = queue()
    first, second = entry("a", recipients=3), entry("b")
    q.push(first)
    q.push(second)
    gone = [first.deliveries[1].id, second.deliveries[0].id]
    assert q.remove(set(gone)) == gone
    assert [d.id for e in drained(q) for d in e.deliveries] == [first.deliveries[0].id, first.deliveries[2].id]
    assert q.octets == 0


def test_pop_of_nothing_is_an_error() -> None:
    with pytest.raises(KeyError):
        queue().pop()


steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from("aaabcde"), st.integers(-1, 2), st.integers(1, 4), st.integers(0, 3000)),
        st.just("pop"),
    ),
    max_size=120,
)


@given(steps, st.integers(1, 20), st.integers(3000, 20_000))
def test_nothing_is_lost_and_the_bounds_hold(happens: list[object], count: int, octets: int) -> None:
    q = LaneQueue(count, octets)
    inside: set[int] = set()
    for what in happens:
        if isinstance(what, tuple):
            e = entry(*what)
            inside.add(e.message.id)
            inside -= {out.message.id for out in q.push(e)}
        elif q.count:
            inside.remove(q.pop().message.id)
        assert {e.message.id for e in q} == inside
        assert q.count == sum(len(e.deliveries) for e in q)
        assert q.octets == sum(e.octets for e in q)
        assert len(inside) <= 1 or (q.count <= count and q.octets <= octets)
