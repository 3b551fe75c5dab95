"""The sip network: its table, its refusals, and internet addresses behind a gateway."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.encapsulation import decode, encode
from mappings.network import MAX_OCTETS, Address, AddressError
from mappings.networks.sip import Sip
from mappings.networks.smtp import Smtp
from tests.mappings.strategies import LABEL, nasty, smtp

SIP = Sip()
SMTP = Smtp()
GATE = SIP.parse("mail@gate.example:5070")

_users = st.lists(
    st.one_of(
        st.text("abcXYZ019-_.!~*'()&=+$,;?/éß日", min_size=1, max_size=4),
        st.sampled_from(["%41", "%2f", "%C3%a9", "%00", "%ff"]),
    ),
    min_size=1,
    max_size=4,
).map("".join)
_hosts = st.one_of(
    st.lists(LABEL, min_size=1, max_size=4).map(".".join),
    st.sampled_from(["bücher.example", "ACME.example:5070", "192.0.2.1", "[2001:DB8::1]:5060", "host"]),
)
_parameters = st.sampled_from(["", ";transport=tcp", ";lr?subject=x", "?user=phone"])
addresses = st.builds(lambda user, host, more: SIP.parse(f"{user}@{host}{more}"), _users, _hosts, _parameters)


@pytest.mark.parametrize(
    ("text", "value", "encoded"),
    [
        ("Ann@Acme.Example;transport=tcp", "Ann@acme.example", "IMCEASIP-Ann+40acme+2Eexample"),
        ("ann@acme.example", "ann@acme.example", "IMCEASIP-ann+40acme+2Eexample"),
        ("%41nn%2bx@acme.example", "Ann%2Bx@acme.example", "IMCEASIP-Ann+252Bx+40acme+2Eexample"),
        ("ann@acme.example?subject=x&user=phone", "ann@acme.example", None),
        ("ann@ACME.example:05070;lr", "ann@acme.example:5070", None),
        ("käthe@bücher.example", "k%C3%A4the@xn--bcher-kva.example", None),
        ("ann@192.0.2.1", "ann@192.0.2.1", None),
        ("ann@[2001:DB8:0::1]:5060", "ann@[2001:db8::1]:5060", None),
        ("+3585551234@gw.example", "+3585551234@gw.example", None),
        ("4711;phone-context=acme.example@gw.example", "4711;phone-context=acme.example@gw.example", None),
    ],
)
def test_normal_form(text: str, value: str, encoded: str | None) -> None:
    address = SIP.parse(text)
    assert (address.value, address.key) == (value, value)
    if encoded is not None:
        assert f"IMCEA{SIP.imcea_type}-{encode(value)}" == encoded


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "sip.empty"),
        (" ", "sip.empty"),
        ("ann", "sip.no-host"),
        ("acme.example;transport=tcp", "sip.no-host"),
        ("@acme.example", "sip.no-user"),
        ("ann@", "sip.bad-host"),
        ("ann@;lr", "sip.bad-host"),
        ("ann@b@acme.example", "sip.bad-host"),
        ("ann@a b", "sip.bad-host"),
        ("ann@-a.example", "sip.bad-host"),
        ("ann@(c)a.example", "sip.bad-host"),
        ("ann@[192.0.2.1]", "sip.bad-host"),
        ("ann@[fe80::1%25eth0]", "sip.bad-host"),
        ("ann@acme.example:0", "sip.bad-port"),
        ("ann@acme.example:70000", "sip.bad-port"),
        ("ann@acme.example:x", "sip.bad-host"),
        ("ann:secret@acme.example", "sip.password"),
        ("ann%4@acme.example", "sip.bad-escape"),
        ("ann lee@acme.example", "sip.bad-char"),
        ('"ann"@acme.example', "sip.bad-char"),
        ("+3585551234@gw.example;user=phone", "sip.telephone"),
        ("4711@gw.example;transport=tcp;User=Phone?x", "sip.telephone"),
    ],
)
def test_refusal(text: str, rule: str) -> None:
    with pytest.raises(AddressError) as raised:
        SIP.parse(text)
    assert raised.value.rule == rule
    assert raised.value.message


def test_a_telephone_number_is_told_how_it_is_written() -> None:
    with pytest.raises(AddressError, match=r"write tel:\+3585551234 "):
        SIP.parse("+3585551234;ext=7@gw.example;user=phone")
    with pytest.raises(AddressError, match="country"):
        SIP.parse("4711@gw.example;user=phone")
    with pytest.raises(AddressError, match="is written %20") as raised:
        SIP.parse("ann lee@acme.example")
    assert raised.value.position == 3


def test_the_user_compares_with_its_case() -> None:
    assert SIP.parse("Ann@ACME.example") == SIP.parse("Ann@acme.example")
    assert SIP.parse("Ann@acme.example") != SIP.parse("ann@acme.example")
    assert SIP.parse("ann@acme.example") != SIP.parse("ann@acme.example:5060")


@pytest.mark.parametrize(
    ("inner", "shown"),
    [
        ("Bob@b.example", "Bob%40b.example@gate.example:5070"),
        ("bob+x@b.example", "bob%2Bx%40b.example@gate.example:5070"),
        ('"bob ray"@b.example', "%22bob%20ray%22%40b.example@gate.example:5070"),
        ("käthe@b.example", "k%C3%A4the%40b.example@gate.example:5070"),
        ("100%@b.example", "100%25%40b.example@gate.example:5070"),
    ],
)
def test_an_internet_address_behind_a_gate(inner: str, shown: str) -> None:
    made = SIP.through(GATE, SMTP.parse(inner))
    assert made is not None
    assert made.value == shown


def test_what_is_not_behind_the_gate_is_nothing_there() -> None:
    for text in (
        "bob%40b.example@gate.example",
        "bob@gate.example:5070",
        "%40b.example@gate.example:5070",
        "%FF%40b.example@gate.example:5070",
    ):
        assert SIP.behind(GATE, SIP.parse(text)) is None
    assert SIP.through(GATE, SIP.parse("ann@acme.example")) is None
    assert SIP.through(GATE, SMTP.parse("postmaster")) is None
    assert SIP.through(GATE, SMTP.parse("ä" * 300 + "@b.example")) is None


@given(smtp)
def test_what_lies_behind_our_gate_is_read_back(inner: Address) -> None:
    shown = SIP.through(GATE, inner)
    assert shown is not None
    assert len(shown.value) <= MAX_OCTETS
    again = SIP.parse(shown.value)
    assert (again, again.value) == (shown, shown.value)
    assert SIP.behind(GATE, again) == inner
    assert SIP.behind(GATE, SIP.parse(shown.value.replace("%2B", "%2b"))) == inner


@given(addresses)
def test_what_is_printed_is_read_back(address: Address) -> None:
    again = SIP.parse(SIP.format(address))
    assert (again, again.value) == (address, address.value)
    assert address.value.isascii()


@given(addresses)
def test_what_is_carried_is_read_back(address: Address) -> None:
    assert SIP.parse(decode(encode(address.value))) == address


@given(nasty)
def test_text_raises_nothing_but_address_error(text: str) -> None:
    for tried in (text, f"{text}@acme.example", f"ann@{text}", f"ann@acme.example{text}"):
        try:
            found = SIP.parse(tried)
        except AddressError:
            continue
        assert SIP.parse(found.value).value == found.value
        SIP.behind(GATE, found)
