"""The ccmail network: its table, its refusals, and internet addresses behind a gateway post office."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.encapsulation import decode, encode
from mappings.network import Address, AddressError
from mappings.networks.ccmail import Ccmail
from mappings.networks.smtp import Smtp
from tests.mappings.strategies import nasty, smtp

CCMAIL, SMTP = Ccmail(), Smtp()
GATE = CCMAIL.parse("Gatepost at SMTP LINK")

_words = st.one_of(st.text("abcXYZ019-_.,'&éßİ/#()[]:", min_size=1, max_size=8), st.sampled_from(["at", "AT", "At"]))
_names = st.lists(_words, min_size=1, max_size=4).map(" ".join)
_offices = _names.filter(lambda name: "at" not in name.lower().split())
addresses = st.builds(lambda name, office: CCMAIL.parse(f"{name} at {office}"), _names, _offices)


@pytest.mark.parametrize(
    ("text", "value", "shown"),
    [
        ("Lee, Ann at HQ", "Lee, Ann at HQ", "IMCEACCMAIL-Lee+2C+20Ann+20at+20HQ"),
        ("Lee,  Ann  AT HQ", "Lee, Ann at HQ", "IMCEACCMAIL-Lee+2C+20Ann+20at+20HQ"),
        ("Bob Ray at SALES-1", "Bob Ray at SALES-1", "IMCEACCMAIL-Bob+20Ray+20at+20SALES-1"),
        ("At Home at HQ", "At Home at HQ", "IMCEACCMAIL-At+20Home+20at+20HQ"),
        ("#BULLETIN at HQ", "#BULLETIN at HQ", "IMCEACCMAIL-+23BULLETIN+20at+20HQ"),
        ("at at HQ", "at at HQ", "IMCEACCMAIL-at+20at+20HQ"),
        ("Ann at PO2 AT PO1", "Ann at PO2 at PO1", "IMCEACCMAIL-Ann+20at+20PO2+20at+20PO1"),
        ("Jörg at R/D", "Jörg at R/D", "IMCEACCMAIL-J+C3+B6rg+20at+20R_D"),
    ],
)
def test_normal_form(text: str, value: str, shown: str) -> None:
    address = CCMAIL.parse(text)
    assert address.value == value
    assert f"IMCEA{CCMAIL.imcea_type}-{encode(address.value)}" == shown


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("Lee, Ann", "ccmail.no-post-office"),
        ("Lee, Ann at", "ccmail.no-post-office"),
        (" at HQ", "ccmail.no-name"),
        ("at", "ccmail.no-name"),
        ("\u3000", "ccmail.no-name"),
        ("x" * 1022 + " at H", "addr.too-long"),
        (" ", "addr.empty"),
        ("Ann\nat HQ", "addr.control"),
    ],
)
def test_refusal(text: str, rule: str) -> None:
    with pytest.raises(AddressError) as raised:
        CCMAIL.parse(text)
    assert raised.value.rule == rule
    assert raised.value.message


def test_a_default_post_office_completes_a_name() -> None:
    made = Ccmail(default_post_office="HQ")
    assert made.parse("Lee,  Ann").value == "Lee, Ann at HQ"
    assert made.parse("Bob at SALES").value == "Bob at SALES"
    for text, rule in (("Ann at", "no-post-office"), ("at HQ", "no-name"), ("x" * 1020, "too-long")):
        with pytest.raises(AddressError, match=rule):
            made.parse(text)


def test_compares_without_case() -> None:
    assert CCMAIL.parse("LEE, ANN AT HQ") == CCMAIL.parse("lee, ann at hq")
    assert CCMAIL.parse("Straße at HQ") == CCMAIL.parse("STRASSE at HQ")
    assert CCMAIL.parse("Ann at HQ") != CCMAIL.parse("Ann at HQ2")


def test_an_internet_address_is_a_name_at_the_gates_post_office() -> None:
    made = CCMAIL.through(GATE, SMTP.parse("Bob@b.example"))
    assert made is not None
    assert made.value == "Bob@b.example at SMTP LINK"
    assert CCMAIL.behind(GATE, CCMAIL.parse("BOB@B.EXAMPLE AT smtp link")) == SMTP.parse("bob@b.example")


def test_what_is_not_behind_the_gate_is_nothing_there() -> None:
    for text in ("bob@b.example at HQ", "Bob Ray at SMTP LINK", "postmaster at SMTP LINK", "Bob @ at SMTP LINK"):
        assert CCMAIL.behind(GATE, CCMAIL.parse(text)) is None
    assert CCMAIL.through(GATE, GATE) is None
    assert CCMAIL.through(SMTP.parse("gate@b.example"), SMTP.parse("bob@b.example")) is None
    assert CCMAIL.through(GATE, SMTP.parse("postmaster")) is None
    assert CCMAIL.through(GATE, SMTP.parse('"two  blanks"@b.example')) is None
    assert CCMAIL.through(GATE, SMTP.parse(f'"{"x" * 1005}"@b.example')) is None


@given(smtp)
def test_what_lies_behind_our_gate_is_read_back(inner: Address) -> None:
    shown = CCMAIL.through(GATE, inner)
    assert shown is not None or "  " in inner.value or '" ' in inner.value or ' "' in inner.value
    if shown is not None:
        again = CCMAIL.parse(shown.value)
        assert (again, again.value) == (shown, shown.value)
        behind = CCMAIL.behind(GATE, again)
        assert behind is not None
        assert (behind, behind.value) == (inner, inner.value)


@given(addresses)
def test_what_is_printed_is_read_back(address: Address) -> None:
    again = CCMAIL.parse(CCMAIL.format(address))
    assert (again, again.value) == (address, address.value)


@given(addresses)
def test_what_is_carried_is_read_back(address: Address) -> None:
    encoded = encode(address.value)
    for peer in (str, str.lower, str.upper):
        assert CCMAIL.parse(decode(peer(encoded))) == address


@given(nasty)
def test_text_raises_nothing_but_address_error(text: str) -> None:
    for tried in (text, f"{text} at HQ", f"Ann at {text}", f"{text} at SMTP LINK"):
        for network in (CCMAIL, Ccmail(default_post_office="HQ")):
            try:
                found = network.parse(tried)
            except AddressError:
                continue
            assert CCMAIL.parse(found.value).value == found.value
            CCMAIL.behind(GATE, found)
