"""What is subscribed to for a list of rules: each message comes once."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.mqtt.rules import SubscribeRule
from connectors.mqtt.subscriptions import covers, overlap, subscriptions
from connectors.mqtt.topics import matches


def rule(topic: str, **more: object) -> SubscribeRule:
    return SubscribeRule.model_validate({"topic": topic, "recipients": ["smtp:ops@merged.example"], **more})


@pytest.mark.parametrize(
    ("general", "special", "expected"),
    [
        ("#", "a/b", True),
        ("#", "$SYS/a", False),
        ("+/a", "$SYS/a", False),
        ("$SYS/#", "$SYS/a", True),
        ("a/#", "a", True),
        ("a/#", "a/+/c", True),
        ("a/+", "a/#", False),
        ("a/+", "a/b", True),
        ("a/b", "a/+", False),
        ("a/#", "a/#", True),
        ("a", "a/#", False),
        ("a/+/c", "a/b/c/d", False),
    ],
)
def test_covers(general: str, special: str, expected: bool) -> None:
    assert covers(general, special) is expected


_FILTERS = st.lists(st.sampled_from(["a", "b", "+", ""]), min_size=1, max_size=3).flatmap(
    lambda levels: st.sampled_from(["/".join(levels) or "a", "/".join([*(levels if any(levels) else ["a"]), "#"])])
)
_TOPICS = ["/".join(each) for n in range(1, 5) for each in itertools.product(["a", "b", ""], repeat=n) if each != ("",)]


@given(_FILTERS, _FILTERS)
def test_they_say_what_matching_does(one: str, other: str) -> None:
    left = {topic for topic in _TOPICS if matches(one, topic)}
    right = {topic for topic in _TOPICS if matches(other, topic)}
    assert overlap(one, other) == bool(left & right)
    if covers(one, other):
        assert right <= left


def test_what_is_covered_is_not_subscribed_to() -> None:
    made = subscriptions([rule("alerts/{plant}/fire", qos=2), rule("alerts/#", qos=1), rule("other/{x}")])
    assert [(one.topic_filter, one.qos) for one in made] == [("alerts/#", 2), ("other/+", 1)]


def test_one_filter_by_two_names_is_one_subscription() -> None:
    made = subscriptions([rule("alerts/{a}", name="one"), rule("alerts/{b}", name="two", retained="take")])
    assert [(one.topic_filter, one.retain_handling) for one in made] == [("alerts/+", 0)]


def test_a_group_shares() -> None:
    assert subscriptions([rule("alerts/#")], "g")[0].topic_filter == "$share/g/alerts/#"


def test_overlaps_in_part_are_refused() -> None:
    with pytest.raises(ValueError, match="neither holds all of the other"):
        subscriptions([rule("a/{x}"), rule("{y}/b")])
