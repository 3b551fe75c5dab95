"""The snads network: its table, its refusals, and numbers for what has no room in eight signs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.encapsulation import decode, encode
from mappings.network import Address, AddressError
from mappings.networks.smtp import Smtp
from mappings.networks.snads import Snads
from tests.mappings.strategies import nasty

SNADS, SMTP = Snads(), Smtp()
GATE = SNADS.parse("GPGROUP.GATEPOST")

_names = st.text("abcXYZ019@#$_-", min_size=1, max_size=8)
addresses = st.builds(lambda group, entry: SNADS.parse(f"{group}.{entry}"), _names, _names)


@pytest.mark.parametrize(
    ("text", "value", "shown"),
    [
        ("[SNADS:gw/PSS/JohnS]", "PSS.JOHNS", "IMCEASNADS-PSS+2EJOHNS"),
        ("PSS.JOHNS", "PSS.JOHNS", "IMCEASNADS-PSS+2EJOHNS"),
        ("pss.johns", "PSS.JOHNS", "IMCEASNADS-PSS+2EJOHNS"),
        ("John S [snads: SMTPgtwy / PSS / JohnS ]", "PSS.JOHNS", "IMCEASNADS-PSS+2EJOHNS"),
        ("gw.x/PSS/JohnS", "PSS.JOHNS", "IMCEASNADS-PSS+2EJOHNS"),
        ("PSS/JohnS", "PSS.JOHNS", "IMCEASNADS-PSS+2EJOHNS"),
        ("[SNADS:PSS.JohnS]", "PSS.JOHNS", "IMCEASNADS-PSS+2EJOHNS"),
        ("@#$_.a@b", "@#$_.A@B", "IMCEASNADS-+40+23+24+5F+2EA+40B"),
    ],
)
def test_normal_form(text: str, value: str, shown: str) -> None:
    address = SNADS.parse(text)
    assert address.value == value
    assert f"IMCEA{SNADS.imcea_type}-{encode(address.value)}" == shown


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("JOHNS", "snads.parts"),
        ("A.B.C", "snads.parts"),
        ("a/b/c/d", "snads.parts"),
        ("PSS.NINECHARS", "snads.too-long"),
        ("NINECHARS.JOHNS", "snads.too-long"),
        (".JOHNS", "snads.empty-part"),
        ("PSS.", "snads.empty-part"),
        ("gw//JOHNS", "snads.empty-part"),
        ("/PSS/JOHNS", "snads.empty-part"),
        ("gw/P.S/JOHNS", "snads.bad-char"),
        ("P S.JOHNS", "snads.bad-char"),
        ("PSS.JÖHNS", "snads.bad-char"),
        ("[PROFS:gw/PSS/JohnS]", "snads.other-type"),
        (" ", "addr.empty"),
    ],
)
def test_refusal(text: str, rule: str) -> None:
    with pytest.raises(AddressError) as raised:
        SNADS.parse(text)
    assert raised.value.rule == rule
    assert raised.value.message


def test_compares_without_case() -> None:
    assert SNADS.parse("pss.JohnS") == SNADS.parse("PSS.JOHNS")
    assert SNADS.parse("PSS.JOHNS") != SNADS.parse("JOHNS.PSS")


def test_an_internet_address_has_no_room() -> None:
    assert SNADS.through(GATE, SMTP.parse("a@b.example")) is None
    assert SNADS.numbered(SMTP.parse("gate@b.example"), 7) is None


@given(st.integers(0, 99_999_999))
def test_a_number_is_an_entry_of_the_gates_group(number: int) -> None:
    made = SNADS.numbered(GATE, number)
    assert made is not None
    again = SNADS.parse(made.value.lower())
    assert (again, again.value) == (made, made.value)
    assert SNADS.number_of(GATE, again) == number
    assert SNADS.number_of(SNADS.parse("OTHER.GATEPOST"), again) is None
    assert SNADS.number_of(GATE, GATE) is None


@given(addresses)
def test_what_is_printed_is_read_back(address: Address) -> None:
    group, _, entry = address.value.partition(".")
    for text in (SNADS.format(address), f"John [SNADS:gw/{group}/{entry}]"):
        again = SNADS.parse(text)
        assert (again, again.value) == (address, address.value)


@given(addresses)
def test_what_is_carried_is_read_back(address: Address) -> None:
    encoded = encode(address.value)
    for peer in (str, str.lower, str.upper):
        assert SNADS.parse(decode(peer(encoded))) == address


@given(nasty)
def test_text_raises_nothing_but_address_error(text: str) -> None:
    for tried in (text, f"PSS.{text[:8]}", f"gw/PSS/{text[:8]}", f"[SNADS:{text}]"):
        try:
            found = SNADS.parse(tried)
        except AddressError:
            continue
        assert SNADS.parse(found.value).value == found.value
        SNADS.number_of(GATE, found)
