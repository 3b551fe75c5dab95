"""The ftn network: its table, its refusals, and the form in which the internet knows its people."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.encapsulation import decode, encode
from mappings.network import Address, AddressError
from mappings.networks.ftn import Ftn
from tests.mappings.strategies import nasty

FTN = Ftn()
DOMAIN = "ftn.gw.example"

_names = st.lists(st.text("abcXYZ0189-_.'&éß@", min_size=1, max_size=8), min_size=1, max_size=3).map(" ".join)
_numbers = st.integers(0, 32767)
_places = st.builds(
    lambda zone, net, node, point: f"{zone}:{net}/{node}{point}",
    st.integers(1, 32767),
    _numbers,
    _numbers,
    st.one_of(st.just(""), st.just(".0"), st.integers(1, 65535).map(lambda p: f".{p}")),
)
_networks = st.sampled_from(["", "@fidonet", "@OtherNet", "@fsxnet", "@a.b-c"])
addresses = st.builds(lambda name, place, network: FTN.parse(f"{name}@{place}{network}"), _names, _places, _networks)


def natural(address: Address) -> tuple[str, str] | None:
    """Return (local part, labels) of the form behind a gateway, None where there is none."""
    shown = FTN.at_gateway(address, DOMAIN)
    if shown is None:
        return None
    local, _, domain = shown.rpartition("@")
    return local, domain.removesuffix(f".{DOMAIN}")


@pytest.mark.parametrize(
    ("text", "value", "shown"),
    [
        ("Ann Lee@2:280/464.1", "Ann Lee@2:280/464.1", "Ann.Lee@p1.f464.n280.z2.ftn.gw.example"),
        ("ann lee @ 2:280/464.0", "ann lee@2:280/464", "ann.lee@f464.n280.z2.ftn.gw.example"),
        ("Ann Lee@2:280/464@fidonet", "Ann Lee@2:280/464", "Ann.Lee@f464.n280.z2.ftn.gw.example"),
        ("J. Doe@3:712/848", "J. Doe@3:712/848", "IMCEAFTN-J+2E+20Doe+403+3A712_848"),
        ("Sysop@1:123/4@othernet", "Sysop@1:123/4@othernet", "IMCEAFTN-Sysop+401+3A123_4+40othernet"),
        ("Ann.Lee@p1.f464.n280.z2.fidonet.org", "Ann Lee@2:280/464.1", "Ann.Lee@p1.f464.n280.z2.ftn.gw.example"),
        ("Ann_Lee@F464.N280.Z2.FidoNet.ORG.", "Ann Lee@2:280/464", "Ann.Lee@f464.n280.z2.ftn.gw.example"),
        ('"J. Doe"@f848.n712.z3.fidonet.org', "J. Doe@3:712/848", "IMCEAFTN-J+2E+20Doe+403+3A712_848"),
        ("Ann  Lee@002:0280/0464@FIDOnet", "Ann Lee@2:280/464", "Ann.Lee@f464.n280.z2.ftn.gw.example"),
        ("Ann@21:1/100@fsxNet", "Ann@21:1/100@fsxnet", "IMCEAFTN-Ann+4021+3A1_100+40fsxnet"),
        ("bob@b.example@2:280/464", "bob@b.example@2:280/464", "IMCEAFTN-bob+40b+2Eexample+402+3A280_464"),
        ("bob@2:1/2@2:280/464", "bob@2:1/2@2:280/464", "IMCEAFTN-bob+402+3A1_2+402+3A280_464"),
        ("Jörg Lee@2:280/464", "Jörg Lee@2:280/464", "IMCEAFTN-J+C3+B6rg+20Lee+402+3A280_464"),
    ],
)
def test_normal_form(text: str, value: str, shown: str) -> None:
    address = FTN.parse(text)
    assert address.value == value
    assert (FTN.at_gateway(address, DOMAIN) or f"IMCEA{FTN.imcea_type}-{encode(value)}") == shown


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("Ann@280/464", "ftn.no-zone"),
        ("Ann@f464.n280.fidonet.org", "ftn.no-zone"),
        ("2:280", "ftn.no-node"),
        ("Ann@2:280", "ftn.no-node"),
        ("Ann@2:", "ftn.no-node"),
        ("Ann@2:280/99999", "ftn.range"),
        ("Ann@0:280/464", "ftn.range"),
        ("Ann@32768:280/464", "ftn.range"),
        ("Ann@2:-1/464", "ftn.range"),
        ("Ann@2:280/464.65536", "ftn.range"),
        ("Ann@2:280/" + "9" * 900, "ftn.range"),
        ("a" * 40 + "@2:280/464", "ftn.name-length"),
        ("@2:1/2", "ftn.no-name"),
        ("2:280/464.1@fidonet", "ftn.no-name"),
        ("2:280/464", "ftn.no-name"),
        ("Ann", "ftn.no-address"),
        ("Ann Lee@acme.example", "ftn.no-address"),
        ("Ann@2:280/464@", "ftn.bad-domain"),
        ("Ann@2:280/464@-net", "ftn.bad-domain"),
        ("Ann@2:280/464@a b", "ftn.bad-domain"),
        ("Ann@2:280/464@" + "n" * 61, "ftn.bad-domain"),
        ("@", "ftn.no-address"),
        (" ", "addr.empty"),
    ],
)
def test_refusal(text: str, rule: str) -> None:
    with pytest.raises(AddressError) as raised:
        FTN.parse(text)
    assert raised.value.rule == rule
    assert raised.value.message


def test_options_complete_an_address() -> None:
    made = Ftn(default_zone=2, domains={21: "fsxNet"}, sysop=True)
    assert made.parse("Ann@280/464").value == "Ann@2:280/464"
    assert made.parse("Ann@f464.n280.fidonet.org").value == "Ann@2:280/464"
    assert made.parse("Ann@21:1/100@fsxnet").value == "Ann@21:1/100"
    assert made.parse("Ann@2:280/464@fidonet").value == "Ann@2:280/464"
    assert made.parse("2:280/464.1@fidonet").value == "Sysop@2:280/464.1"
    assert made.parse("@2:1/2") == made.parse("SYSOP@2:1/2")


def test_names_compare_without_case() -> None:
    assert FTN.parse("ANN  LEE@2:280/464") == FTN.parse("ann lee@2:280/464.0")
    assert FTN.parse("Straße@2:280/464") == FTN.parse("STRASSE@2:280/464")
    assert FTN.parse("Ann@2:280/464") != FTN.parse("Ann@2:280/464.1")


def test_other_labels_are_no_node() -> None:
    for below in ("", "z2", "n280.z2", "f464.n280.z2.x", "p1.n280.z2", "f464.n280", "f99999.n280.z2"):
        assert FTN.from_gateway("ann", below) is None
    assert FTN.from_gateway("Ann_Lee", "P1.F464.N280.Z2") == FTN.parse("Ann Lee@2:280/464.1")
    assert FTN.from_gateway('"O.K. Lee"', "f464.n280.z2") == FTN.parse("O.K. Lee@2:280/464")


def test_what_some_systems_refuse_is_warned_of() -> None:
    assert not FTN.warnings(FTN.parse("Ann Lee@2:280/464.1"))
    assert "35 octets" in FTN.warnings(FTN.parse("ö" * 20 + "@2:280/464"))[0]
    assert "8 characters" in FTN.warnings(FTN.parse("Ann@21:1/1@longername"))[0]
    assert "32767" in FTN.warnings(FTN.parse("Ann@2:280/464.40000"))[0]


@given(addresses)
def test_what_is_printed_is_read_back(address: Address) -> None:
    again = FTN.parse(FTN.format(address))
    assert (again, again.value) == (address, address.value)


@given(addresses)
def test_what_is_carried_is_read_back(address: Address) -> None:
    encoded = encode(address.value)
    for peer in (str, str.lower, str.upper):
        assert FTN.parse(decode(peer(encoded))) == address


@given(st.one_of(addresses, st.builds(lambda p: FTN.parse(f"Ann Van-Lee@{p}"), _places)))
def test_what_is_shown_behind_a_gateway_is_read_back(address: Address) -> None:
    shown = natural(address)
    if shown is not None:
        for peer in (str, str.lower, str.upper):
            assert FTN.from_gateway(peer(shown[0]), peer(shown[1])) == address


@given(nasty, nasty)
def test_text_raises_nothing_but_address_error(text: str, other: str) -> None:
    for tried in (text, f"{text}@2:280/464", f"Ann@2:280/464@{text}", f"{text}@f1.n2.z3.fidonet.org"):
        try:
            found = FTN.parse(tried)
        except AddressError:
            continue
        assert FTN.parse(found.value).value == found.value
    FTN.from_gateway(text, other)
    FTN.from_gateway(text, "f1.n2.z3")
