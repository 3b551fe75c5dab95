"""The notes network: hierarchical names, their short forms, domains, and the way to the internet."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.encapsulation import decode, encode
from mappings.network import GROUP, Address, AddressError, Registry, parse
from mappings.networks.notes import Notes
from tests.mappings.strategies import nasty, smtp

NET = Notes()
GATE = NET.parse("CN=Gateway@Inet")

_values = st.text("abcXYZ019 -_.'&=+,é日ßİ\u0345", min_size=1, max_size=10).map(lambda t: "x" + t)
_units = st.lists(_values, max_size=4)
_domains = st.lists(st.sampled_from(["AcmeNet", "Hub 2", "a.b", "Ünet"]), max_size=3)


def _canonical(name: str, personal: list[str], units: list[str], org: str, country: str, domains: list[str]) -> Address:
    given_name = "".join(f"/{key}=x" for key in personal)
    name = f"cn = {name}{given_name}{''.join(f'/Ou={u}' for u in units)} / O={org}{country}"
    return NET.parse("@".join((name, *domains)))


def _short(names: list[str], domains: list[str]) -> Address:
    return NET.parse(" @ ".join(("/".join(names), *(d.replace(".", "") for d in domains))))


addresses = st.one_of(
    st.builds(
        _canonical,
        _values,
        st.lists(st.sampled_from("GISQ"), unique=True),
        _units,
        _values,
        st.sampled_from(["", "/C=US", " / c = fi"]),
        _domains,
    ),
    st.builds(_short, st.lists(st.one_of(_values, st.just("US")), min_size=1, max_size=6), _domains),
)


@pytest.mark.parametrize(
    ("text", "value", "encoded"),
    [
        (
            "Ann Lee/Sales/Acme@AcmeNet",
            "CN=Ann Lee/OU=Sales/O=Acme@AcmeNet",
            "CN=Ann+20Lee_OU=Sales_O=Acme+40AcmeNet",
        ),
        ("CN=Ann Lee/O=Acme", "CN=Ann Lee/O=Acme", "CN=Ann+20Lee_O=Acme"),
        ("Ann Lee/Acme/US@AcmeNet", "CN=Ann Lee/O=Acme/C=US@AcmeNet", "CN=Ann+20Lee_O=Acme_C=US+40AcmeNet"),
        ("Ann Lee @ AcmeNet", "CN=Ann Lee@AcmeNet", "CN=Ann+20Lee+40AcmeNet"),
        ("Bob.Ray/R&D/Acme@A@B", "CN=Bob.Ray/OU=R&D/O=Acme@A@B", "CN=Bob+2ERay_OU=R+26D_O=Acme+40A+40B"),
        ("Ann Lee", "CN=Ann Lee", "CN=Ann+20Lee"),
        ("ann@acme.example@Inet", "CN=ann@acme.example@Inet", "CN=ann+40acme+2Eexample+40Inet"),
    ],
)
def test_normal_form(text: str, value: str, encoded: str) -> None:
    address = NET.parse(text)
    assert address.value == value
    assert f"IMCEA{NET.imcea_type}-{encode(value)}" == f"IMCEANOTES-{encoded}"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("cn = Ann  Lee / ou = Sales / o = Acme", "CN=Ann Lee/OU=Sales/O=Acme"),
        ("CN=Ann/S=Lee/G=Ann/Q=Jr/O=Acme", "CN=Ann/G=Ann/S=Lee/Q=Jr/O=Acme"),
        ("Ann/US", "CN=Ann/C=US"),
        ("Ann/a/b/c/d/Acme/US", "CN=Ann/OU=a/OU=b/OU=c/OU=d/O=Acme/C=US"),
        ("CN=Ann/Sales/O=Acme", "CN=Ann/OU=Sales/O=Acme"),
        ("R=D/x=1/Acme", "CN=R=D/OU=x=1/O=Acme"),
        ("Ann Lee/Acme@acme.example", "CN=Ann Lee/O=Acme@acme.example"),
    ],
)
def test_other_spellings(text: str, value: str) -> None:
    assert NET.parse(text).value == value
    assert NET.parse(value).value == value


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("/Sales/Acme", "notes.no-cn"),
        ("OU=Sales/O=Acme", "notes.no-cn"),
        ("CN=/O=Acme", "notes.no-cn"),
        ("@AcmeNet", "notes.no-cn"),
        ("CN=A/O=B/OU=C", "notes.order"),
        ("CN=A/O=B/G=C", "notes.order"),
        ("CN=A/C=US/O=B", "notes.order"),
        ("a/1/2/3/4/5/Acme", "notes.too-many-ou"),
        ("CN=a/OU=1/OU=2/OU=3/OU=4/OU=5/O=x", "notes.too-many-ou"),
        ("Ann/Acme@", "notes.empty-domain"),
        ("Ann@@B", "notes.empty-domain"),
        ("Ann@A/B", "notes.bad-domain"),
        ("Ann//Acme", "notes.empty-part"),
        ("Ann/", "notes.empty-part"),
        ("CN=A/CN=B", "notes.twice"),
        ("CN=A/O=B/O=C", "notes.twice"),
        ("CN= \u0338x", "notes.bad-char"),
        ("ann@acme.example", "notes.internet"),
        ("CN=ann@[192.0.2.1]", "notes.internet"),
        ("Ann\r\n/Acme", "addr.control"),
        (" ", "addr.empty"),
    ],
)
def test_refusal(text: str, rule: str) -> None:
    with pytest.raises(AddressError) as raised:
        NET.parse(text)
    assert raised.value.rule == rule
    assert raised.value.message


def test_a_key_has_letters_of_ascii() -> None:
    assert NET.parse("Ann/\u0130=D").value == "CN=Ann/O=\u0130=D"


def test_two_letters_need_not_be_a_country() -> None:
    assert Notes(two_letter_country=False).parse("Ann Lee/Sales/HQ").value == "CN=Ann Lee/OU=Sales/O=HQ"
    assert Notes(two_letter_country=False).parse("Ann Lee/O=HQ/C=US").value == "CN=Ann Lee/O=HQ/C=US"


def test_compares_without_case() -> None:
    assert NET.parse("ANN  LEE/sales/ACME@acmenet") == NET.parse("CN=Ann Lee/OU=Sales/O=Acme@AcmeNet")
    assert NET.parse("Ann@A@B") != NET.parse("Ann@B@A")


def test_people_are_shown_the_short_form_where_it_says_the_same() -> None:
    assert NET.format(NET.parse("CN=Ann Lee/OU=Sales/O=Acme@AcmeNet"), "display") == "Ann Lee/Sales/Acme@AcmeNet"
    assert NET.format(NET.parse("CN=Ann/O=US"), "display") == "CN=Ann/O=US"
    assert NET.format(NET.parse("CN=Ann/G=Ann/O=Acme"), "display") == "CN=Ann/G=Ann/O=Acme"
    with pytest.raises(AddressError):
        NET.format(NET.parse("Jörg/Acme"), "ascii")


def test_the_form_of_domino_is_read_where_it_is_asked_for() -> None:
    domino = Notes(domino_style=True)
    assert domino.from_gateway("Ann_Lee/Sales/Acme%AcmeNet", "") == NET.parse("Ann Lee/Sales/Acme@AcmeNet")
    assert domino.from_gateway('"Ann Lee%AcmeNet"', "") == NET.parse("Ann Lee@AcmeNet")
    assert domino.from_gateway("ann_lee", "") is None
    assert domino.from_gateway("Ann_Lee/Acme", "x") is None
    assert domino.from_gateway("/Acme", "") is None
    assert NET.from_gateway("Ann_Lee/Sales/Acme%AcmeNet", "") is None


def test_the_prefix_is_read() -> None:
    installed = Registry([EntryPoint("notes", "mappings.networks.notes:Notes", GROUP)])
    assert str(installed.parse("NOTES:Ann Lee/Sales/Acme@Acme")) == "notes:CN=Ann Lee/OU=Sales/O=Acme@Acme"


def test_the_internet_lies_behind_the_gates_domains() -> None:
    inner = parse("smtp:ann@acme.example")
    shown = NET.through(GATE, inner)
    assert shown is not None
    assert shown.value == "CN=ann@acme.example@Inet"
    assert NET.behind(GATE, NET.parse("ANN@acme.example @ INET")) == inner
    far = NET.parse("Gateway/Acme@Inet@Hub")
    shown = NET.through(far, inner)
    assert shown is not None
    assert shown.value == "CN=ann@acme.example@Inet@Hub"
    assert NET.behind(far, shown) == inner
    assert NET.behind(GATE, shown) is None


def test_what_is_no_internet_address_is_not_behind_the_gate() -> None:
    for text in ("Gateway@Inet", "postmaster@Inet", "Ann/Acme@acme.example@Inet", "ann lee@acme.example@Inet", "Ann"):
        assert NET.behind(GATE, NET.parse(text)) is None
    inner = parse("smtp:ann@acme.example")
    assert NET.behind(NET.parse("Gateway/Acme"), NET.parse("CN=ann@acme.example@Inet")) is None
    assert NET.through(NET.parse("Gateway/Acme"), inner) is None
    assert NET.through(GATE, parse("mhs:ann@sales")) is None
    assert NET.through(GATE, parse("smtp:a/b@acme.example")) is None


@given(smtp)
def test_what_lies_behind_our_gate_is_read_back(inner: Address) -> None:
    shown = NET.through(GATE, inner)
    if shown is not None:
        assert NET.parse(shown.value).value == shown.value
        assert NET.behind(GATE, shown) == inner
        assert NET.behind(NET.parse("CN=Gateway@Other"), shown) is None
    else:
        assert "/" in inner.value or '"' in inner.value


@given(addresses)
def test_what_is_printed_is_read_back(address: Address) -> None:
    again = NET.parse(NET.format(address))
    assert (again, again.value) == (address, address.value)
    assert NET.parse(NET.format(address, "display")).value == address.value


@given(addresses)
def test_what_is_carried_is_read_back(address: Address) -> None:
    encoded = encode(address.value)
    for peer in (str, str.lower, str.upper):
        assert NET.parse(decode(peer(encoded))) == address


@given(nasty)
def test_text_raises_nothing_but_address_error(text: str) -> None:
    for net in (NET, Notes(domino_style=True, two_letter_country=False)):
        for tried in (text, f"CN={text}/O=x", f"Ann/{text}/x", f"Ann/x@{text}", f"{text}@Inet"):
            try:
                found = net.parse(tried)
            except AddressError:
                continue
            assert net.parse(found.value).value == found.value
            net.behind(GATE, found)
        net.from_gateway(text, "")
