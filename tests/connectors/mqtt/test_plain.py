"""The short way of plain texts gives the same mail as the long one."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.mqtt.bad import BadPayload
from connectors.mqtt.incoming import Reader
from connectors.mqtt.rules import SubscribeRule
from connectors.mqtt.wire.values import Arrived, Properties

NOW = 1_795_000_000.5
RULES: list[dict[str, Any]] = [
    {},
    {"subject": "Alert of {plant}: {rest}"},
    {"sender": "smtp:{plant}@things.example"},
    {"recipients": ["smtp:ops-{plant}@merged.example", "mqtt:copy/{plant}"]},
]


def readers(more: dict[str, Any], hostname: str) -> tuple[Reader, Reader]:
    given_ = {"topic": "a/{plant}/{rest...}", "recipients": ["smtp:ops@merged.example"]} | more
    rule = SubscribeRule.model_validate(given_)
    short, long = (Reader(rule, hostname, lambda: NOW) for _ in range(2))
    long._plain = None
    return short, long


def both(short: Reader, long: Reader, arrived: Arrived, message_id: str) -> None:
    try:
        expected = long.read(arrived, message_id=message_id)
    except BadPayload as bad:
        with pytest.raises(BadPayload, match=re.escape(str(bad))):
            short.read(arrived, message_id=message_id)
        return
    for _ in range(2):  # at the second time what is the same is known
        found = short.read(arrived, message_id=message_id)
        assert replace(found, content=(b"".join(found.content),)) == replace(
            expected, content=(b"".join(expected.content),)
        )


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(RULES),
    st.sampled_from(["p7", "p 8", "ä", "x" * 200, "", "a\x01b", "+", "=?x?=", '"q"']),
    st.text(max_size=20).filter(lambda text: "/" not in text and "\0" not in text and text.isprintable()),
    st.one_of(st.text(max_size=300).map(str.encode), st.binary(max_size=50)),
    st.sampled_from(["", "<gpr." + "A" * 100 + "@gw.example>", "<short@gw.example>"]),
    st.sampled_from(["gw.example", "gw." + "long-name." * 6 + "example"]),
)
def test_it_is_the_same_mail(
    more: dict[str, Any], plant: str, rest: str, payload: bytes, message_id: str, hostname: str
) -> None:
    short, long = readers(more, hostname)
    arrived = Arrived(f"a/{plant}/{rest}", payload, 1, False, False, Properties(), 1, "c:1:1", 1)
    both(short, long, arrived, message_id)


def test_it_is_short() -> None:
    short, _ = readers({}, "gw.example")
    assert short._plain is not None
    short.read(Arrived("a/p7/x", b"hot", 1, False, False, Properties(), 1, "c:1:1", 1))
    assert list(short._plain._topics) == ["a/p7/x"]
