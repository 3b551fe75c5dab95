"""What is made once for a topic gives the same mail as what is made anew, octet for octet."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.mqtt.incoming import Reader
from connectors.mqtt.incoming.opening import Clock, Fields, Opening
from connectors.mqtt.incoming.reader import MAX_OPENINGS
from connectors.mqtt.topics import Filled
from gateway.contract import Mailbox, compose
from mappings.network import parse
from tests.connectors.mqtt.payload_kit import AT, HOST, arrived, mail, read, reader, subscribe

RULES: list[dict[str, Any]] = [
    {},
    {"subject": "Alert of {plant}: {unit}"},
    {"sender": "smtp:{plant}@things.example", "recipients": ["smtp:ops-{plant}@merged.example", "mqtt:copy/{unit}"]},
]
LEVELS = st.text("abé .-_" + "x" * 3, min_size=1, max_size=90).filter(lambda level: level.strip() == level)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(RULES[:2]),
    st.lists(st.tuples(LEVELS, st.text("abc é\n", max_size=200), st.booleans()), min_size=1, max_size=4),
    st.none() | st.integers(1, 90),
)
def test_a_reader_that_knows_the_topic_makes_the_same(
    options: dict[str, Any], messages: list[tuple[str, str, bool]], size: int | None
) -> None:
    rule = subscribe(**options)
    known = reader(rule)
    identifier = "" if size is None else "i" * size + "@gw"
    for level, text, has_property in [*messages, *messages]:
        message = arrived(text, f"alerts/{level}/pump", [("subject", "s")] if has_property else [])
        found = known.read(message, message_id=identifier)
        assert found == read(rule, message, message_id=identifier)
        octets = b"".join(found.content)
        assert max(map(len, octets.split(b"\r\n"))) <= 998


BOX = [Mailbox("Größe", parse("smtp:ann@acme.example"))]
FIELDS: list[Fields] = [
    [("From", BOX), ("To", BOX), ("Subject", "x"), ("Message-ID", "<a@b>"), ("X-MQTT-Topic", "a/b"), ("X-A", "v")],
    [("Message-ID", "<" + "i" * 65 + ">"), ("In-Reply-To", "<" + "i" * 64 + ">")],
    [("Message-ID", "<" + "i" * 899 + ">"), ("Message-ID", "no identifier"), ("In-Reply-To", "<a@b> <c@d>")],
    [("X-A", "1"), ("Subject", "grün"), ("X-B", ""), ("Subject", "grün " * 40), ("Date", "tomorrow"), ("X-C", "3")],
    [("Subject", "MIME-Version: 1.0\r\n"), ("X-D", "MIME-Version: 1.0"), ("Bcc\r\nX", "y"), ("To", "a@b;\r\nBcc: c")],
]


@pytest.mark.parametrize("fields", FIELDS)
def test_a_head_is_what_compose_makes(fields: Fields) -> None:
    opening = Opening("a/b", {}, None, (), Filled(""))
    [made] = compose(fields, "", hostname=HOST)
    expected = bytes(made).rpartition(b"MIME-Version: 1.0\r\n")[0]
    assert [opening.head(fields, HOST) for _ in range(3)] == [expected] * 3


def test_values_that_only_compare_equal_are_not_mistaken() -> None:
    opening = Opening("a/b", {}, None, (), Filled(""))
    one, other = ([Mailbox("", parse(f"smtp:{name}@acme.example"))] for name in ("Ann", "ann"))
    assert one == other
    assert opening.head([("To", one)], HOST) == b"To: Ann@acme.example\r\n"
    assert opening.head([("To", other)], HOST) == b"To: ann@acme.example\r\n"


def test_a_date_is_that_of_its_second() -> None:
    clock = Clock()
    dates = [clock.date(at) for at in (AT, AT + 0.9, AT + 1, AT)]
    assert dates[0] is dates[1]
    assert [str(date) for date in dates[1:]] == [
        "Tue, 24 Nov 2026 01:02:03 +0000", "Tue, 24 Nov 2026 01:02:04 +0000", "Tue, 24 Nov 2026 01:02:03 +0000",
    ]  # fmt: skip
    assert dates[2].line == b"Date: Tue, 24 Nov 2026 01:02:04 +0000\r\n"


def test_topics_that_are_known_are_bounded() -> None:
    known: Reader = reader(subscribe(topic="#"))
    for n in range(MAX_OPENINGS + 10):
        known._open(f"t/{n}")
    assert len(known._openings) == 10


@pytest.mark.parametrize("payload", ["json", "template"])
def test_other_kinds_begin_alike(payload: str) -> None:
    rule = subscribe(
        payload, recipients=["smtp:ops@merged.example"], **({"template": {}} if payload == "template" else {})
    )
    known = reader(rule)
    message = arrived(json.dumps({"text": "x"}))
    first, second = known.read(message), known.read(message)
    assert first == second
    assert mail(first).subject == "alerts/plant7/pump"
