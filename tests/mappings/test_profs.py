"""The profs network: its table, its refusals, and numbers for what has no room in eight signs."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.encapsulation import decode, encode
from mappings.network import Address, AddressError, Registry
from mappings.networks.profs import Profs
from mappings.networks.smtp import Smtp
from tests.mappings.strategies import nasty

PROFS, SMTP = Profs(), Smtp()
GATE = PROFS.parse("GPVM/GATEPOST")

_nodes = st.text("abcXYZ019@#$_-", min_size=1, max_size=8)
_users = st.text("abcXYZ019@#$_-.+:", min_size=1, max_size=8)
addresses = st.builds(lambda node, user: PROFS.parse(f"{node}/{user}"), _nodes, _users)


@pytest.mark.parametrize(
    ("text", "value", "shown"),
    [
        ("[PROFS:Profsgty/WGADiv/JohnS]", "WGADIV/JOHNS", "IMCEAPROFS-WGADIV_JOHNS"),
        ("SANFRAN(HOWARDS)", "SANFRAN/HOWARDS", "IMCEAPROFS-SANFRAN_HOWARDS"),
        ("HOWARDS at SANFRAN", "SANFRAN/HOWARDS", "IMCEAPROFS-SANFRAN_HOWARDS"),
        ("howards AT sanfran", "SANFRAN/HOWARDS", "IMCEAPROFS-SANFRAN_HOWARDS"),
        ("SANFRAN/HOWARDS", "SANFRAN/HOWARDS", "IMCEAPROFS-SANFRAN_HOWARDS"),
        ("Profsgty/WGADiv/JohnS", "WGADIV/JOHNS", "IMCEAPROFS-WGADIV_JOHNS"),
        ("John S [officevision:WGADiv/JohnS]", "WGADIV/JOHNS", "IMCEAPROFS-WGADIV_JOHNS"),
        (" sanfran ( howards ) ", "SANFRAN/HOWARDS", "IMCEAPROFS-SANFRAN_HOWARDS"),
        ("@#$_/a@#$_", "@#$_/A@#$_", "IMCEAPROFS-+40+23+24+5F_A+40+23+24+5F"),
    ],
)
def test_normal_form(text: str, value: str, shown: str) -> None:
    address = PROFS.parse(text)
    assert address.value == value
    assert f"IMCEA{PROFS.imcea_type}-{encode(address.value)}" == shown


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("NINECHARS/JOHNS", "rscs.too-long"),
        ("WGADIV/NINECHARS", "rscs.too-long"),
        ("HOWARDS", "rscs.no-node"),
        ("/HOWARDS", "rscs.no-node"),
        ("(HOWARDS)", "rscs.no-node"),
        ("SANFRAN/", "rscs.no-user"),
        ("SANFRAN()", "rscs.no-user"),
        ("gw/node/", "rscs.no-user"),
        ("/node/user", "profs.no-gateway"),
        ("a/b/c/d", "profs.parts"),
        ("SAN FRAN/HOWARDS", "rscs.bad-char"),
        ("SANFRAN/HÖWARD", "rscs.bad-char"),
        ("SANFRAN/ſmith", "rscs.bad-char"),
        ("SAN.FRAN/HOWARDS", "rscs.bad-char"),
        ("VM(A(B))", "rscs.bad-char"),
        ("[SNADS:gw/PSS/JohnS]", "profs.other-type"),
        ("[PROFS: ]", "addr.empty"),
        (" ", "addr.empty"),
    ],
)
def test_refusal(text: str, rule: str) -> None:
    with pytest.raises(AddressError) as raised:
        PROFS.parse(text)
    assert raised.value.rule == rule
    assert raised.value.message


def test_compares_without_case() -> None:
    assert PROFS.parse("wgadiv/johns") == PROFS.parse("WGADIV(JOHNS)")
    assert PROFS.parse("WGADIV/JOHNS") != PROFS.parse("JOHNS/WGADIV")


def test_the_later_product_is_an_alias() -> None:
    found = Registry([EntryPoint("profs", "mappings.networks.profs:Profs", "gatepost.networks")])
    assert str(found.parse("OfficeVision:sanfran(howards)")) == "profs:SANFRAN/HOWARDS"
    assert found.by_type("profs") is found.get("profs")


def test_an_internet_address_has_no_room() -> None:
    assert PROFS.through(GATE, SMTP.parse("a@b.example")) is None
    assert PROFS.numbered(SMTP.parse("gate@b.example"), 7) is None


@given(st.integers(0, 99_999_999))
def test_a_number_is_a_user_at_the_gates_node(number: int) -> None:
    made = PROFS.numbered(GATE, number)
    assert made is not None
    again = PROFS.parse(made.value.lower())
    assert (again, again.value) == (made, made.value)
    assert PROFS.number_of(GATE, again) == number
    assert PROFS.number_of(PROFS.parse("OTHER/GATEPOST"), again) is None
    assert PROFS.number_of(GATE, GATE) is None


@given(addresses)
def test_what_is_printed_is_read_back(address: Address) -> None:
    node, _, user = address.value.partition("/")
    for text in (PROFS.format(address), f"{node}({user})", f"{user} at {node}", f"John [PROFS:gw/{node}/{user}]"):
        again = PROFS.parse(text)
        assert (again, again.value) == (address, address.value)


@given(addresses)
def test_what_is_carried_is_read_back(address: Address) -> None:
    encoded = encode(address.value)
    for peer in (str, str.lower, str.upper):
        assert PROFS.parse(decode(peer(encoded))) == address


@given(nasty)
def test_text_raises_nothing_but_address_error(text: str) -> None:
    for tried in (text, f"VM1/{text[:8]}", f"VM1({text[:8]})", f"{text[:8]} AT VM1", f"[PROFS:{text}]"):
        try:
            found = PROFS.parse(tried)
        except AddressError:
            continue
        assert PROFS.parse(found.value).value == found.value
        PROFS.number_of(GATE, found)
