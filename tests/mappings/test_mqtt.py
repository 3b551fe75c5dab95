"""The mqtt network: its table, its refusals, and internet addresses behind a gateway."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.encapsulation import decode, encode
from mappings.network import Address, AddressError
from mappings.networks.mqtt import Mqtt
from mappings.networks.smtp import Smtp
from tests.mappings.strategies import nasty, smtp

MQTT = Mqtt()
SMTP = Smtp()
GATE = MQTT.parse("mail/out")

addresses = (
    st.text("abcXYZ019/-_.% éÜ日$@", min_size=1, max_size=20)
    .filter(lambda t: t.strip() != "" and not t.strip().startswith("$"))
    .map(MQTT.parse)
)


@pytest.mark.parametrize(
    ("text", "value", "encoded"),
    [
        ("alerts/plant7", "alerts/plant7", "IMCEAMQTT-alerts_plant7"),
        ("alerts/Ünit 7", "alerts/Ünit 7", "IMCEAMQTT-alerts_+C3+9Cnit+207"),
        ("/a//b", "/a//b", "IMCEAMQTT-_a__b"),
        ("/", "/", "IMCEAMQTT-_"),
        ("a/$b", "a/$b", "IMCEAMQTT-a_+24b"),
    ],
)
def test_normal_form(text: str, value: str, encoded: str) -> None:
    address = MQTT.parse(text)
    assert (address.value, address.key) == (value, value)
    assert f"IMCEA{MQTT.imcea_type}-{encode(value)}" == encoded


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("alerts/#", "mqtt.wildcard"),
        ("+/plant7", "mqtt.wildcard"),
        ("alerts/plant+", "mqtt.wildcard"),
        ("$SYS/x", "mqtt.reserved"),
        ("$share/g/x", "mqtt.reserved"),
        ("", "addr.empty"),
        ("a\0b", "addr.control"),
        ("a" * 1025, "addr.too-long"),
    ],
)
def test_refusal(text: str, rule: str) -> None:
    with pytest.raises(AddressError) as raised:
        MQTT.parse(text)
    assert raised.value.rule == rule
    assert raised.value.message


def test_a_topic_compares_with_its_case_and_its_empty_levels() -> None:
    assert len({MQTT.parse(text) for text in ("a/b", "A/b", "/a/b", "a/b/", "a//b")}) == 5


@pytest.mark.parametrize(
    ("inner", "shown"),
    [
        ("Bob@b.example", "mail/out/Bob@b.example"),
        ("bob+x/y#@b.example", "mail/out/bob%2Bx%2Fy%23@b.example"),
        ("100%2B@b.example", "mail/out/100%252B@b.example"),
        ('"bob ray"@b.example', 'mail/out/"bob ray"@b.example'),
    ],
)
def test_an_internet_address_behind_a_gate(inner: str, shown: str) -> None:
    made = MQTT.through(GATE, SMTP.parse(inner))
    assert made is not None
    assert made.value == shown


def test_what_is_not_behind_the_gate_is_nothing_there() -> None:
    for text in ("mail/out", "mail/out/", "mail/out/bob", "mail/out/x/bob@b.example", "mail/outer/bob@b.example"):
        assert MQTT.behind(GATE, MQTT.parse(text)) is None
    assert MQTT.through(GATE, MQTT.parse("a/b")) is None
    assert MQTT.through(MQTT.parse("x" * 1020), SMTP.parse("bob@b.example")) is None
    # The dot above would become one character with the B of the escape %2B.
    assert MQTT.through(GATE, SMTP.parse("bob+\u0307@b.example")) is None


@given(smtp)
def test_what_lies_behind_our_gate_is_read_back(inner: Address) -> None:
    shown = MQTT.through(GATE, inner)
    assert shown is not None
    again = MQTT.parse(shown.value)
    assert (again, again.value) == (shown, shown.value)
    assert MQTT.behind(GATE, again) == inner


@given(addresses)
def test_what_is_printed_is_read_back(address: Address) -> None:
    again = MQTT.parse(MQTT.format(address))
    assert (again, again.value) == (address, address.value)


@given(addresses)
def test_what_is_carried_is_read_back(address: Address) -> None:
    assert MQTT.parse(decode(encode(address.value))) == address


@given(nasty)
def test_text_raises_nothing_but_address_error(text: str) -> None:
    for tried in (text, f"mail/out/{text}"):
        try:
            found = MQTT.parse(tried)
        except AddressError:
            continue
        assert MQTT.parse(found.value).value == found.value
        MQTT.behind(GATE, found)
