"""The gwise network: its table, what the configuration completes, and what lies behind a gateway."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.encapsulation import decode, encode
from mappings.network import GROUP, Address, AddressError, Registry, parse
from mappings.networks.gwise import Gwise
from tests.mappings.strategies import nasty, smtp

NET = Gwise()
COMPLETED = Gwise(default_domain="ACME", default_post_office="PO1")

_names = st.text("abcXYZ019-_'&+/=é日ßİ", min_size=1, max_size=10)
addresses = st.one_of(
    st.lists(_names, min_size=3, max_size=3).map(".".join),
    st.builds(lambda d, u: f"{d}:{u}", _names, _names),
    st.builds(lambda d, a: f'{d}:"{a}"', _names, st.text("abXY @.:é", min_size=1).filter(lambda t: t.strip())),
).map(NET.parse)


@pytest.mark.parametrize(
    ("text", "value", "encoded"),
    [
        ("ACME.Production.RickLi", "ACME.Production.RickLi", "ACME+2EProduction+2ERickLi"),
        ("Production.RickLi", "ACME.Production.RickLi", "ACME+2EProduction+2ERickLi"),
        ("RickLi", "ACME.PO1.RickLi", "ACME+2EPO1+2ERickLi"),
        ("acme.po1.ann", "acme.po1.ann", "acme+2Epo1+2Eann"),
        ("acme.po1.o'hara", "acme.po1.o'hara", "acme+2Epo1+2Eo+27hara"),
        ("acme.po_2.bob", "acme.po_2.bob", "acme+2Epo+5F2+2Ebob"),
        ("fido: ann", "fido:ann", "fido+3Aann"),
        ('inet : "ann@acme.example"', 'inet:"ann@acme.example"', "inet+3A+22ann+40acme+2Eexample+22"),
        ('x400:"G=Ann; S=Lee"', 'x400:"G=Ann; S=Lee"', "x400+3A+22G=Ann+3B+20S=Lee+22"),
    ],
)
def test_normal_form(text: str, value: str, encoded: str) -> None:
    address = COMPLETED.parse(text)
    assert address.value == value
    assert f"IMCEA{NET.imcea_type}-{encode(value)}" == f"IMCEAGWISE-{encoded}"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("acme..ann", "gwise.empty-part"),
        (".po.ann", "gwise.empty-part"),
        ("acme.po.", "gwise.empty-part"),
        ("a.b.c.d", "gwise.too-many-parts"),
        ("acme.po.a b", "gwise.space"),
        ("acme. po.ann", "gwise.space"),
        ("acme.po.a\u00a0b", "gwise.space"),
        ("po.ann", "gwise.no-domain"),
        ("ann", "gwise.no-post-office"),
        ("ann@acme.example", "gwise.bad-char"),
        ("acme.po.(ann)", "gwise.bad-char"),
        ("inet:ann@acme.example", "gwise.bad-char"),
        ("a.b:ann", "gwise.bad-char"),
        (":ann", "gwise.empty-part"),
        ("inet:", "gwise.empty-part"),
        ('inet:"', "gwise.open-quote"),
        ('inet:""', "gwise.open-quote"),
        ('inet:"a"b"', "gwise.open-quote"),
        ('inet:"a" b', "gwise.open-quote"),
        ('"a:b"', "gwise.bad-char"),
        ("", "addr.empty"),
    ],
)
def test_refusal(text: str, rule: str) -> None:
    with pytest.raises(AddressError) as raised:
        NET.parse(text)
    assert raised.value.rule == rule
    assert raised.value.message


def test_a_refusal_names_the_place() -> None:
    with pytest.raises(AddressError) as raised:
        NET.parse("acme.po.a b")
    assert raised.value.position == 9


def test_a_default_that_cannot_stand_in_an_address_is_refused() -> None:
    with pytest.raises(AddressError):
        Gwise(default_domain="acme.example")
    with pytest.raises(AddressError):
        Gwise(default_post_office="")


def test_the_prefix_of_exchange_and_the_full_name_are_read() -> None:
    installed = Registry([EntryPoint("gwise", "mappings.networks.gwise:Gwise", GROUP)])
    assert str(installed.parse("GWISE:acme.po1.ann")) == "gwise:acme.po1.ann"
    assert installed.parse("GroupWise:Acme.PO1.Ann") == installed.parse("gwise:acme.po1.ann")


def test_an_internet_address_stands_in_quotes_after_the_gateway() -> None:
    gate = NET.parse("Inet:postmaster")
    shown = NET.through(gate, parse("smtp:ann@acme.example"))
    assert shown is not None
    assert shown.value == 'Inet:"ann@acme.example"'
    assert NET.behind(gate, NET.parse('INET:"Ann@Acme.Example"')) == parse("smtp:ann@acme.example")
    assert NET.behind(NET.parse("other:postmaster"), shown) is None
    assert NET.behind(gate, gate) is None
    assert NET.behind(gate, NET.parse('inet:"ann"')) is None
    assert NET.through(NET.parse("acme.po.gate"), parse("smtp:ann@acme.example")) is None
    assert NET.through(gate, parse('smtp:"ann lee"@acme.example')) is None
    assert NET.through(gate, parse("mhs:ann@sales")) is None


@given(smtp)
def test_what_lies_behind_our_gate_is_read_back(inner: Address) -> None:
    gate = NET.parse("inet:postmaster")
    shown = NET.through(gate, inner)
    if shown is not None:
        assert NET.parse(shown.value).value == shown.value
        assert NET.behind(gate, shown) == inner
    else:
        assert '"' in inner.value


@given(addresses)
def test_what_is_printed_is_read_back(address: Address) -> None:
    again = NET.parse(NET.format(address))
    assert (again, again.value) == (address, address.value)


@given(addresses)
def test_what_is_carried_is_read_back(address: Address) -> None:
    encoded = encode(address.value)
    for peer in (str, str.lower, str.upper):
        assert NET.parse(decode(peer(encoded))) == address


@given(nasty)
def test_text_raises_nothing_but_address_error(text: str) -> None:
    for net in (NET, COMPLETED):
        for tried in (text, f"a.b.{text}", f"inet:{text}", f'inet:"{text}"'):
            try:
                found = net.parse(tried)
            except AddressError:
                continue
            assert net.parse(found.value).value == found.value
            net.behind(net.parse("inet:x"), found)
