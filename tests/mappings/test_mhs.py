"""The mhs network: its table, its headers, and what lies behind a gate."""

from __future__ import annotations

import pytest
from hypothesis import given

from mappings.network import Address, AddressError, network, parse
from tests.mappings.strategies import mhs, smtp

MHS = network("mhs")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("ann@sales", "ann@sales"),
        ("JohnS @ Maingate", "JohnS@Maingate"),
        ("User@gate {NET/PO/JohnS} (John)", "User@gate {NET/PO/JohnS}"),
        ("ann@sales (Ann Lee)", "ann@sales"),
        ("Fax@MHSNTFAX {FAX:5551234}", "Fax@MHSNTFAX {FAX:5551234}"),
        ("ann.sales.acme@hq", "ann.sales.acme@hq"),
        ("u@g{x}", "u@g {x}"),
    ],
)
def test_normal_form(text: str, value: str) -> None:
    assert MHS.parse(text).value == value


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("ann", "mhs.no-workgroup"),
        ("ann@", "mhs.no-workgroup"),
        ("@sales", "mhs.no-user"),
        ("u@g { N/P/U }", "mhs.blank-in-braces"),
        ("u@g {x", "mhs.open-brace"),
        ("u@g {}", "mhs.open-brace"),
        ("u@g {x} y", "mhs.open-brace"),
        ("u@g@h", "mhs.bad-char"),
        ("u<x@g", "mhs.bad-char"),
    ],
)
def test_refusal(text: str, rule: str) -> None:
    with pytest.raises(AddressError) as raised:
        MHS.parse(text)
    assert raised.value.rule == rule


def test_compares_without_case() -> None:
    assert parse("mhs:Ann@SALES") == parse("mhs:ann@sales")


def test_a_long_name_is_warned_of() -> None:
    assert MHS.warnings(parse("mhs:verylongname@wg"))
    assert not MHS.warnings(parse("mhs:ann@verylongworkgroup"))


def test_addr_spec_has_no_dot_after_the_sign() -> None:
    assert MHS.from_addr_spec("ann", "sales") == parse("mhs:ann@sales")
    assert MHS.from_addr_spec("ann", "acme.example") is None
    assert MHS.from_addr_spec("ann", "[192.0.2.1]") is None
    assert MHS.to_addr_spec(parse("mhs:User@gate {NET/PO/JohnS}")) is None


def test_a_refusal_names_the_place_in_the_text_it_shows() -> None:
    with pytest.raises(AddressError) as raised:
        MHS.parse("\u0958")  # two characters in their normal form
    assert (raised.value.text, raised.value.position) == ("\u0915\u093c", 2)


def test_a_gate_compares_in_its_normal_form() -> None:
    gate, inner = parse("mhs:\u03aa\u0301@q"), parse("smtp:ann@acme.example")
    shown = MHS.through(gate, inner)
    assert shown is not None
    assert MHS.behind(gate, shown) == inner


@given(mhs)
def test_addr_spec_is_read_back(address: Address) -> None:
    shown = MHS.to_addr_spec(address)
    if shown is not None:
        local, _, domain = shown.rpartition("@")
        assert MHS.from_addr_spec(local, domain) == address


@given(smtp)
def test_what_lies_behind_our_gate_is_read_back(inner: Address) -> None:
    gate = parse("mhs:GATE@GP")
    shown = MHS.through(gate, inner)
    assert shown is not None
    assert MHS.parse(shown.value) == shown
    assert MHS.behind(gate, shown) == inner
    assert MHS.behind(gate, MHS.parse(shown.value.lower())) == inner
    assert MHS.behind(parse("mhs:OTHER@GP"), shown) is None
