"""The x500 network: Exchange's names as they are written, kept, and carried under the type EX."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.encapsulation import Encapsulation, EncapsulationError, Key, decode, encode
from mappings.network import GROUP, Address, AddressError, Registry
from mappings.networks.x500 import X500
from tests.mappings.strategies import nasty

NET = X500()
INSTALLED = Registry(
    EntryPoint(name, f"mappings.networks.{name}:{kind}", GROUP) for name, kind in (("smtp", "Smtp"), ("x500", "X500"))
)

_values = st.text("abcXYZ019 -_.'&()=,:@+é日ß\u0338", min_size=1, max_size=12)
_parts = st.tuples(st.sampled_from(["o", "OU", "Cn", "2.5.4.3", "x-1"]), _values.filter(lambda v: v.strip()))


def _made(parts: list[tuple[str, str]], blank: str) -> Address:
    return NET.parse("".join(f"/{blank}{name}{blank}=x{value}{blank}" for name, value in parts))


addresses = st.builds(_made, st.lists(_parts, min_size=1, max_size=5), st.sampled_from(["", " ", "  "]))


@pytest.mark.parametrize(
    ("text", "value", "encoded"),
    [
        (
            "/O=Acme/OU=First Administrative Group/CN=Recipients/CN=ann",
            "/o=Acme/ou=First Administrative Group/cn=Recipients/cn=ann",
            "_o=Acme_ou=First+20Administrative+20Group_cn=Recipients_cn=ann",
        ),
        (
            "/o=ExchangeLabs/ou=Exchange Administrative Group (FYDIBOHF23SPDLT)/cn=Recipients/cn=0a1b-Ann Lee",
            "/o=ExchangeLabs/ou=Exchange Administrative Group (FYDIBOHF23SPDLT)/cn=Recipients/cn=0a1b-Ann Lee",
            "_o=ExchangeLabs_ou=Exchange+20Administrative+20Group+20+28FYDIBOHF23SPDLT+29_cn=Recipients"
            "_cn=0a1b-Ann+20Lee",
        ),
        ("/o=Acme/ou=HQ/cn=ann.lee", "/o=Acme/ou=HQ/cn=ann.lee", "_o=Acme_ou=HQ_cn=ann+2Elee"),
        ("/o=A_B/ou=x+y/cn=z", "/o=A_B/ou=x+y/cn=z", "_o=A+5FB_ou=x+2By_cn=z"),
        ("/o=Ácme/cn=ann", "/o=Ácme/cn=ann", "_o=+C3+81cme_cn=ann"),
        ("/O=ACME/OU=HQ/CN=ANN", "/o=ACME/ou=HQ/cn=ANN", "_o=ACME_ou=HQ_cn=ANN"),
        (" / o = Acme / cn = a=b ", "/o=Acme/cn=a=b", "_o=Acme_cn=a=b"),
    ],
)
def test_normal_form(text: str, value: str, encoded: str) -> None:
    address = NET.parse(text)
    assert address.value == value
    assert f"IMCEA{NET.imcea_type}-{encode(value)}" == f"IMCEAEX-{encoded}"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("o=Acme/cn=x", "x500.no-slash"),
        ("/o=Acme//cn=x", "x500.empty-rdn"),
        ("/o=Acme/ /cn=x", "x500.empty-rdn"),
        ("/o=Acme/", "x500.empty-rdn"),
        ("/", "x500.empty-rdn"),
        ("/o=Acme/cn", "x500.no-value"),
        ("/o=Acme/cn=", "x500.no-value"),
        ("/o=R/D/cn=x", "x500.no-value"),
        ("/=Acme", "x500.bad-attribute"),
        ("/o u=Acme", "x500.bad-attribute"),
        ("/ö=Acme", "x500.bad-attribute"),
        ("/o= \u0338x", "x500.bad-char"),
        ("/o=a\nb", "addr.control"),
        (" ", "addr.empty"),
    ],
)
def test_refusal(text: str, rule: str) -> None:
    with pytest.raises(AddressError) as raised:
        NET.parse(text)
    assert raised.value.rule == rule
    assert raised.value.message


def test_both_prefixes_of_exchange_are_read() -> None:
    assert str(INSTALLED.parse("X500:/o=Acme/ou=HQ/cn=ann.lee")) == "x500:/o=Acme/ou=HQ/cn=ann.lee"
    assert INSTALLED.parse("EX:/O=ACME/OU=HQ/CN=ANN.LEE") == INSTALLED.parse("x500:/o=Acme/ou=HQ/cn=ann.lee")


def test_what_exchange_encapsulates_is_read_in_our_domain_alone() -> None:
    ours = Encapsulation(["acme.example"], [Key("a", b"test")], networks=INSTALLED)

    def read(text: str) -> Address | None:
        return ours.decapsulate(INSTALLED.parse(f"smtp:{text}"), unsigned=lambda _: True)

    found = read("IMCEAEX-_O=ACME_OU=HQ_CN=ANN@acme.example")
    assert found is not None
    assert str(found) == "x500:/o=ACME/ou=HQ/cn=ANN"
    assert read("IMCEAEX-_O=ACME_OU=HQ_CN=ANN@other.example") is None
    with pytest.raises(EncapsulationError, match="ill-formed"):
        read("IMCEAEX-_o=A+2_cn=b@acme.example")
    with pytest.raises(AddressError) as raised:
        decode("_o=A+2_cn=b")
    assert raised.value.rule == "imcea.bad-escape"
    with pytest.raises(EncapsulationError, match="no network X500"):
        read("IMCEAX500-_o=Acme_cn=ann@acme.example")


def test_nothing_is_reached_through_such_a_name() -> None:
    gate = NET.parse("/o=Acme/cn=gate")
    assert NET.through(gate, INSTALLED.parse("smtp:ann@acme.example")) is None
    assert NET.behind(gate, gate) is None


@given(addresses)
def test_what_is_printed_is_read_back(address: Address) -> None:
    again = NET.parse(NET.format(address))
    assert (again, again.value) == (address, address.value)
    assert NET.parse(address.key).key == address.key


@given(addresses)
def test_what_is_carried_is_read_back(address: Address) -> None:
    encoded = encode(address.value)
    for peer in (str, str.lower, str.upper):
        assert NET.parse(decode(peer(encoded))) == address


@given(nasty)
def test_text_raises_nothing_but_address_error(text: str) -> None:
    for tried in (text, f"/o={text}", f"/{text}=x", f"/o=a/cn=b{text}"):
        try:
            found = NET.parse(tried)
        except AddressError:
            continue
        assert NET.parse(found.value).value == found.value
