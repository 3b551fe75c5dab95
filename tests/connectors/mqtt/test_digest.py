"""A digest's text: bounded, the same each time, and free of what could leave its line."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.mqtt.digest import Digest, Line, shown, when

AT = 1_750_000_000.0
DIGEST = Digest(
    "alerts/#", 7, 123, AT, AT + 60, (("alerts/a", 100), ("alerts/b", 3)), 20, (Line(AT, "alerts/a", "too hot"),)
)
TEXT = """\
123 messages came from 2025-06-15 15:06:40 UTC to 2025-06-15 15:07:40 UTC by the rule alerts/#,
more than are sent one by one.

Topics:
      100  alerts/a
        3  alerts/b
       20  of other topics

The first 1 of them:
  2025-06-15 15:06:40 UTC  alerts/a  too hot
"""


def test_what_it_tells() -> None:
    assert DIGEST.text() == TEXT
    assert DIGEST.subject() == "123 messages of 2 or more topics (alerts/#)"
    one = Digest("alerts/#", 8, 1, AT, AT, (("alerts/a", 1),), 0, (Line(AT, "alerts/a", "too hot"),))
    assert one.subject() == "1 message of alerts/a"
    assert "\nMessages:\n" in one.text()
    assert "Messages" not in Digest("r", 1, 2, AT, AT, (("a", 2),), 0, ()).text()


def test_keys_name_one_window_of_one_rule() -> None:
    numbers = [Digest(rule, number, 1, AT, AT, (), 1, ()) for rule in ("a", "b", "a:1") for number in (1, 11)]
    assert len({each.key for each in numbers}) == len(numbers)
    assert re.fullmatch(r"<digest\.7\.[0-9a-f]{32}@gw\.example>", DIGEST.message_id("gw.example"))
    assert DIGEST.key == Digest("alerts/#", 7, 5, 0, 0, (), 0, ()).key


def test_many_topics_are_told_with_the_most_first() -> None:
    text = Digest("r", 1, 9999, AT, AT, tuple((f"t/{n:05}", n) for n in range(1, 5001)), 7, ()).text()
    rows = text.partition("Topics:\n")[2].splitlines()
    assert len(rows) == 1001
    assert rows[0].split() == ["5000", "t/05000"]
    assert rows[-1].split() == [str(sum(range(1, 4001)) + 7), "of", "other", "topics"]


texts = st.text(max_size=3000) | st.text("\r\n\0\x85\u2028ab", max_size=50)
times = st.floats(allow_nan=True) | st.floats(0, 4e9)
digests = st.builds(
    Digest,
    rule=texts,
    number=st.integers(1, 1 << 60),
    count=st.integers(1, 10**9),
    first_at=times,
    last_at=times,
    topics=st.lists(st.tuples(texts, st.integers(1, 10**9)), max_size=5).map(tuple),
    others=st.integers(0, 10**9),
    lines=st.lists(st.builds(Line, times, texts, texts), max_size=5).map(tuple),
)


@settings(max_examples=80, deadline=None)
@given(digests)
def test_any_digest_is_plain_lines(digest: Digest) -> None:
    text = digest.text()
    assert text == digest.text()
    assert not re.search("[\0-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", text)
    assert not re.search("[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", digest.subject())
    assert text.count("\n") <= 8 + len(digest.topics) + len(digest.lines)
    assert len(digest.subject()) < 300
    assert max(map(len, text.split("\n"))) < 800


def test_what_is_cut_says_so() -> None:
    assert shown("a" * 10, 10) == "a" * 10
    assert shown("a" * 11, 10) == "a" * 9 + "…"
    assert shown("\r\n  a\r\nb\t", 10) == "a b"
    assert shown("ab" + " " * 90, 10).startswith("ab")
    assert when(float("inf")) == "inf"
