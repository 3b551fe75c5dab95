"""Topics, filters and patterns: the examples of MQTT 5.0 §4.7, and what may not be published to."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.mqtt.topics import Allowed, Filled, Pattern, TopicError, check_filter, check_topic, matches


@pytest.mark.parametrize(
    ("topic_filter", "topic", "expected"),
    [
        # §4.7.1.2
        ("sport/tennis/player1/#", "sport/tennis/player1", True),
        ("sport/tennis/player1/#", "sport/tennis/player1/ranking", True),
        ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", True),
        ("sport/#", "sport", True),
        ("sport/#", "sports", False),
        ("#", "sport/tennis", True),
        # §4.7.1.3
        ("sport/tennis/+", "sport/tennis/player1", True),
        ("sport/tennis/+", "sport/tennis/player1/ranking", False),
        ("sport/+", "sport", False),
        ("sport/+", "sport/", True),
        ("+", "sport", True),
        ("+/tennis/#", "sport/tennis", True),
        ("+/+", "/finance", True),
        ("/+", "/finance", True),
        ("+", "/finance", False),
        # §4.7.2
        ("#", "$SYS/uptime", False),
        ("+/monitor/Clients", "$SYS/monitor/Clients", False),
        ("$SYS/#", "$SYS/uptime", True),
        ("$SYS/monitor/+", "$SYS/monitor/Clients", True),
        # §4.7.3
        ("ACCOUNTS", "Accounts", False),
        ("a.c", "abc", False),
        ("a//b", "a//b", True),
        ("a/+/b", "a//b", True),
        ("a/#", "a/\n", True),
    ],
)
def test_matches(topic_filter: str, topic: str, expected: bool) -> None:
    assert matches(topic_filter, topic) is expected


@pytest.mark.parametrize(
    ("text", "rule", "position"),
    [
        ("", "topic.empty", 0),
        ("a/+/b", "topic.wildcard", 2),
        ("a/b#", "topic.wildcard", 3),
        ("$SYS/broker", "topic.reserved", 0),
        ("$share/g/a", "topic.reserved", 0),
        ("/a", "topic.slash", 0),
        ("a/", "topic.slash", 1),
        ("/", "topic.slash", 0),
        ("a\0", "topic.character", 1),
        ("a\r\nb", "topic.character", 1),
        ("a\u2028", "topic.character", 1),
        ("a\ud800", "topic.character", 1),
        ("a\uffff", "topic.character", 1),
        ("a\U0001fffe", "topic.character", 1),
        ("é" * 32768, "topic.too-long", 65535),
    ],
)
def test_what_may_not_be_published_to(text: str, rule: str, position: int) -> None:
    with pytest.raises(TopicError) as caught:
        check_topic(text)
    assert (caught.value.rule, caught.value.position) == (rule, position)


@pytest.mark.parametrize("text", ["a", "a b/c", "a//b", "é/日本", "a" * 65535, "zigbee2mqtt/0x00158d/set", "a$b"])
def test_what_may_be_published_to(text: str) -> None:
    assert check_topic(text) == text


@pytest.mark.parametrize("text", ["/a", "a/", "/"])
def test_slashes_where_they_are_wanted(text: str) -> None:
    assert check_topic(text, slashes=True) == text


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("sport/tennis#", "topic.part-wildcard"),
        ("sport/tennis/#/ranking", "topic.hash-within"),
        ("sport+", "topic.part-wildcard"),
        ("", "topic.empty"),
        ("a\0b", "topic.character"),
    ],
)
def test_what_is_no_filter(text: str, rule: str) -> None:
    with pytest.raises(TopicError) as caught:
        check_filter(text)
    assert caught.value.rule == rule


@pytest.mark.parametrize("text", ["#", "+", "+/+", "a/+/#", "$SYS/#", "/", "a//b"])
def test_filters(text: str) -> None:
    assert check_filter(text) == text


@pytest.mark.parametrize(
    ("pattern", "topic_filter", "topic", "values"),
    [
        ("alerts/{plant}/{unit}", "alerts/+/+", "alerts/plant7/pump", {"plant": "plant7", "unit": "pump"}),
        ("alerts/{plant}/{unit}", "alerts/+/+", "alerts/plant7", None),
        ("z2m/{name}/{rest...}", "z2m/+/#", "z2m/door/a/b", {"name": "door", "rest": "a/b"}),
        ("z2m/{name}/{rest...}", "z2m/+/#", "z2m/door", {"name": "door", "rest": ""}),
        ("{all...}", "#", "a/b", {"all": "a/b"}),
        ("{first}", "+", "$SYS", None),
        ("a/+/{x}", "a/+/+", "a/b/c", {"x": "c"}),
        ("a.b/{x}", "a.b/+", "aXb/c", None),
    ],
)
def test_patterns(pattern: str, topic_filter: str, topic: str, values: dict[str, str] | None) -> None:
    made = Pattern(pattern)
    assert made.filter == topic_filter
    assert made.values(topic) == values


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("a/x-{plant}", "topic.part-name"),
        ("a/{Plant}", "topic.part-name"),
        ("a/{plant", "topic.part-name"),
        ("{a}/{a}", "topic.name-twice"),
        ("{rest...}/a", "topic.hash-within"),
        ("", "topic.empty"),
    ],
)
def test_what_is_no_pattern(text: str, rule: str) -> None:
    with pytest.raises(TopicError) as caught:
        Pattern(text)
    assert caught.value.rule == rule


def test_filling() -> None:
    filled = Filled("smtp:ops-{plant}@{wg}.example")
    assert filled.names == {"plant", "wg"}
    assert filled.fill({"plant": "7", "wg": "x{plant}"}) == "smtp:ops-7@x{plant}.example"
    assert filled.fill({"plant": "7"}) == "smtp:ops-7@{wg}.example"
    assert Filled("plain {}").fill({}) == "plain {}"


def test_nothing_is_allowed_by_default() -> None:
    assert not Allowed().permits("a")
    assert Allowed((Pattern("a/{x}"), Pattern("b/#"))).permits("b/c/d")
    assert not Allowed((Pattern("a/{x}"), Pattern("#"))).permits("$SYS/x")


_LEVELS = st.lists(st.text("ab+#$é", max_size=3), min_size=1, max_size=5)


@given(_LEVELS, st.lists(st.text("ab$é", max_size=3), min_size=1, max_size=5))
def test_matching_is_what_the_levels_say(levels: list[str], names: list[str]) -> None:
    topic_filter, topic = "/".join(levels), "/".join(names)
    try:
        check_filter(topic_filter)
    except TopicError:
        with pytest.raises(TopicError):
            matches(topic_filter, topic)
        return
    wanted = list(levels)
    if wanted[-1] == "#":
        wanted.pop()
        cut = names[: len(wanted)]
    else:
        cut = names
    expected = len(cut) == len(wanted) and all(one in ("+", other) for one, other in zip(wanted, cut, strict=True))
    if levels[0] in ("+", "#") and topic.startswith("$"):
        expected = False
    assert matches(topic_filter, topic) is expected


@given(st.text(max_size=20))
def test_whatever_passes_stands_for_itself(text: str) -> None:
    with suppress(TopicError):
        check_topic(text)
        assert matches(text, text)
        assert matches("#", text)
