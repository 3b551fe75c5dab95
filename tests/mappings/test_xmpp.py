"""The xmpp network: its table, its refusals, and internet addresses behind a gateway."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.encapsulation import decode, encode
from mappings.network import Address, AddressError
from mappings.networks.smtp import Smtp
from mappings.networks.xmpp import Xmpp
from tests.mappings.strategies import LABEL, nasty, smtp

XMPP = Xmpp()
SMTP = Smtp()
GATE = XMPP.parse("gate.example")

_locals = st.text("abcXYZ019!#$%*+-.=?^_`{|}~\\éüßΣσ日łأب", min_size=1, max_size=12)
_domains = st.one_of(
    st.lists(LABEL, min_size=2, max_size=4).map(".".join),
    st.sampled_from(["bücher.example", "xn--bcher-kva.example", "例え.example", "192.0.2.1", "[2001:db8::1]", "HOST"]),
)


def _parsed(text: str) -> Address | None:
    try:
        return XMPP.parse(text)
    except AddressError:  # such as letters from both directions in one name
        return None


addresses = st.one_of(
    st.builds(lambda local, domain: _parsed(f"{local}@{domain}"), _locals, _domains),
    st.builds(lambda domain: _parsed(domain + ".example"), LABEL),
).filter(lambda address: address is not None)


@pytest.mark.parametrize(
    ("text", "value", "encoded"),
    [
        ("Ann@Chat.Example/phone", "ann@chat.example", "IMCEAXMPP-ann+40chat+2Eexample"),
        ("d\\27artagnan@x.example", "d\\27artagnan@x.example", "IMCEAXMPP-d+5C27artagnan+40x+2Eexample"),
        ("Chat.Example", "chat.example", "IMCEAXMPP-chat+2Eexample"),
        ("ann@localhost", "ann@localhost", "IMCEAXMPP-ann+40localhost"),
        ("ann@chat.example./Home at/night@x", "ann@chat.example", "IMCEAXMPP-ann+40chat+2Eexample"),
        ("KÄTHE@BÜCHER.example", "käthe@bücher.example", None),
        ("ann@xn--bcher-kva.example", "ann@bücher.example", None),
        ("Ａｎｎ@chat.example", "ann@chat.example", None),
        ("ΣΑΣ@chat.example", "σας@chat.example", None),
        ("fußball@chat.example", "fußball@chat.example", None),
        ("أب@chat.example", "أب@chat.example", None),
        ("ann@[2001:DB8:0::1]/x", "ann@[2001:db8::1]", None),
        ("ann@192.0.2.1", "ann@192.0.2.1", None),
        ("ann@xn--0.example", "ann@xn--0.example", None),
    ],
)
def test_normal_form(text: str, value: str, encoded: str | None) -> None:
    address = XMPP.parse(text)
    assert (address.value, address.key) == (value, value)
    if encoded is not None:
        assert f"IMCEA{XMPP.imcea_type}-{encode(value)}" == encoded


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("ann@", "xmpp.no-domain"),
        ("ann@/phone", "xmpp.no-domain"),
        ("ann", "xmpp.no-domain"),
        ("/phone", "xmpp.no-domain"),
        ("ann.", "xmpp.no-domain"),
        ("@chat.example", "xmpp.no-local"),
        ("an:n@x", "xmpp.bad-char"),
        ("ann lee@x", "xmpp.bad-char"),
        ("ann@b@x", "xmpp.bad-char"),
        ("a&b@x", "xmpp.bad-char"),
        ("ann☃@x", "xmpp.bad-char"),
        ("ﬁnn@x", "xmpp.bad-char"),
        ("a\u200db@x", "xmpp.bad-char"),
        ("a\u0640b@x", "xmpp.bad-char"),
        ("＆@x", "xmpp.bad-char"),
        ("aأ@x", "xmpp.bidi"),
        ("ann@x/", "xmpp.no-resource"),
        ("ann@-x", "xmpp.bad-domain"),
        ("ann@a b", "xmpp.bad-domain"),
        ("ann@(c)x.example", "xmpp.bad-domain"),
        ("ann@chat.example?message", "xmpp.bad-domain"),
        ("ann@chat.example:5222", "xmpp.bad-domain"),
        ("ann@[192.0.2.1]", "xmpp.bad-domain"),
        ("ann@[fe80::1%eth0]", "xmpp.bad-domain"),
        ("", "addr.empty"),
    ],
)
def test_refusal(text: str, rule: str) -> None:
    with pytest.raises(AddressError) as raised:
        XMPP.parse(text)
    assert raised.value.rule == rule
    assert raised.value.message


def test_the_refusal_of_a_character_says_how_it_is_written() -> None:
    with pytest.raises(AddressError, match=r"it is written \\27") as raised:
        XMPP.parse("d'artagnan@x.example")
    assert raised.value.position == 1


@pytest.mark.parametrize(
    ("inner", "shown"),
    [
        ("Bob@b.example", "bob\\40b.example@gate.example"),
        ("bob@bücher.example", "bob\\40bücher.example@gate.example"),
        ('"bob ray"@b.example', "\\22bob\\20ray\\22\\40b.example@gate.example"),
        ("o'hara/x@b.example", "o\\27hara\\2fx\\40b.example@gate.example"),
        ('"a\\\\20b"@b.example', "\\22a\\\\5c20b\\22\\40b.example@gate.example"),
        ("bob@[192.0.2.1]", "bob\\40[192.0.2.1]@gate.example"),
        ("☃@b.example", None),  # a sign, which no local part may hold
        ("ｂob@b.example", None),  # the width would be lost
    ],
)
def test_an_internet_address_behind_a_gate(inner: str, shown: str | None) -> None:
    made = XMPP.through(GATE, SMTP.parse(inner))
    assert (made and made.value) == shown


def test_a_gate_may_be_a_user_of_its_domain() -> None:
    gate = XMPP.parse("mail@gate.example")
    made = XMPP.through(gate, SMTP.parse("bob@b.example"))
    assert made == XMPP.through(GATE, SMTP.parse("bob@b.example"))
    assert made is not None
    assert XMPP.behind(gate, made) == SMTP.parse("bob@b.example")


def test_what_is_not_behind_the_gate_is_nothing_there() -> None:
    for text in ("bob\\40b.example@other.example", "bob@gate.example", "gate.example", "\\40b.example@gate.example"):
        assert XMPP.behind(GATE, XMPP.parse(text)) is None
    assert XMPP.through(GATE, XMPP.parse("ann@chat.example")) is None
    assert XMPP.through(SMTP.parse("a@gate.example"), SMTP.parse("bob@b.example")) is None


@given(smtp)
def test_what_lies_behind_our_gate_is_read_back(inner: Address) -> None:
    shown = XMPP.through(GATE, inner)
    if inner.value.isascii():
        assert shown is not None
    if shown is not None:
        assert XMPP.parse(shown.value) == shown
        for peer in (str, str.lower, str.upper):
            assert XMPP.behind(GATE, XMPP.parse(peer(shown.value) if shown.value.isascii() else shown.value)) == inner


@given(addresses)
def test_what_is_printed_is_read_back(address: Address) -> None:
    again = XMPP.parse(XMPP.format(address))
    assert (again, again.value) == (address, address.value)


@given(addresses)
def test_what_is_carried_is_read_back(address: Address) -> None:
    encoded = encode(address.value)
    for peer in (str, str.lower, str.upper):
        assert XMPP.parse(decode(peer(encoded))) == address


@given(nasty)
def test_text_raises_nothing_but_address_error(text: str) -> None:
    for tried in (text, f"{text}@chat.example", f"ann@{text}", f"ann@{text}.example", f"ann@chat.example/{text}"):
        try:
            found = XMPP.parse(tried)
        except AddressError:
            continue
        assert XMPP.parse(found.value).value == found.value
        XMPP.behind(GATE, found)
