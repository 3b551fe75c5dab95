"""The ldap network: distinguished names in all their spellings, and what they compare by."""

from __future__ import annotations

import re
import unicodedata
from importlib.metadata import EntryPoint

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ldap3.utils.dn import parse_dn  # type: ignore[import-untyped]

from mappings.encapsulation import decode, encode
from mappings.network import GROUP, Address, AddressError, Registry, parse
from mappings.networks.ldap import Ldap
from tests.mappings.strategies import nasty

NET = Ldap()

_text = st.text('abcXYZ019 ,+"\\<>;=#éß日\u0338\u0323\u0301\r\0\u2028', max_size=10)
_attributes = st.sampled_from(["cn", "OU", "uid", "2.5.4.3", "x-y"])


def _in_digits(text: str) -> str:
    return "".join(f"\\{octet:02x}" for octet in text.encode())


def _by_signs(text: str) -> str:
    return "".join(
        _in_digits(c) if not c.isprintable() or c > "~" else f"\\{c}" if c in ' ,+"\\<>;=#' else c for c in text
    )


_written = st.one_of(
    _text.map(_in_digits),
    _text.map(_by_signs),
    st.text("abcXYZ é", max_size=8),
    st.text("ab ,+;=<>#é", max_size=8).map(lambda t: f'"{t}"'),
    st.binary(min_size=1, max_size=6).map(lambda b: f"#{b.hex()}"),
)
_levels = st.lists(st.builds(lambda a, v: f"{a} = {v}", _attributes, _written), min_size=1, max_size=3).map("+".join)
addresses = st.lists(_levels, min_size=1, max_size=4).map(lambda levels: NET.parse(" , ".join(levels)))


@pytest.mark.parametrize(
    ("text", "value", "encoded"),
    [
        (
            "CN=Ann Lee, OU=Sales, DC=acme, DC=example",
            "cn=Ann Lee,ou=Sales,dc=acme,dc=example",
            "cn=Ann+20Lee+2Cou=Sales+2Cdc=acme+2Cdc=example",
        ),
        (r"CN=Lee\, Ann,OU=HQ,O=Acme", r"cn=Lee\, Ann,ou=HQ,o=Acme", "cn=Lee+5C+2C+20Ann+2Cou=HQ+2Co=Acme"),
        (r"cn=a\2Cb,o=x", r"cn=a\,b,o=x", "cn=a+5C+2Cb+2Co=x"),
        ("uid=ann+cn=Ann,o=x", "cn=Ann+uid=ann,o=x", "cn=Ann+2Buid=ann+2Co=x"),
        (
            "1.2.840.113556.1.4.221=ann,dc=x",
            "1.2.840.113556.1.4.221=ann,dc=x",
            "1+2E2+2E840+2E113556+2E1+2E4+2E221=ann+2Cdc=x",
        ),
    ],
)
def test_normal_form(text: str, value: str, encoded: str) -> None:
    address = NET.parse(text)
    assert address.value == value
    assert f"IMCEA{NET.imcea_type}-{encode(value)}" == f"IMCEALDAP-{encoded}"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('cn="Lee, Ann" ; o=x', r"cn=Lee\, Ann,o=x"),
        (r'cn="a\"b",o=x', r"cn=a\"b,o=x"),
        ("OID.2.5.4.3=Ann", "2.5.4.3=Ann"),
        (r"CN=James \"Jim\" Smith\, III,DC=example", r"cn=James \"Jim\" Smith\, III,dc=example"),
        (r"CN=Before\0dAfter,DC=example", r"cn=Before\0DAfter,dc=example"),
        ("1.3.6.1.4.1.1466.0=#04024869 , o=x", "1.3.6.1.4.1.1466.0=#04024869,o=x"),
        ("cn=#0AfF", "cn=#0aff"),
        (r"CN=Lu\C4\8Di\C4\87", "cn=Lučić"),
        (r"cn=\#1\=2", r"cn=\#1\=2"),
        ("cn=a=b,o=x", r"cn=a\=b,o=x"),
        ("cn=a\\ ", r"cn=a\20"),
        (r"cn=\ a,o=x", r"cn=\20a,o=x"),
        (r"cn=a\\,o=x", r"cn=a\\,o=x"),
        ("cn=,o=x", "cn=,o=x"),
        (r"cn=\CC\B8x,o=x", r"cn=\CC\B8x,o=x"),
    ],
)
def test_other_spellings(text: str, value: str) -> None:
    assert NET.parse(text).value == value
    assert NET.parse(value).value == value


@pytest.mark.parametrize(
    ("text", "rule", "position"),
    [
        ("cn=Ann,", "ldap.trailing-comma", 6),
        ("cn=Ann, ", "ldap.trailing-comma", 6),
        ("Ann,o=x", "ldap.no-attribute", 0),
        ("o=x,Ann", "ldap.no-attribute", 4),
        ("=x", "ldap.no-attribute", 0),
        ("c n=x", "ldap.no-attribute", 0),
        ("cn=a\\", "ldap.open-escape", 4),
        ('cn=a"b"c', "ldap.bare-quote", 4),
        ('cn="a"b', "ldap.bare-quote", 6),
        ('cn="a', "ldap.open-quote", 3),
        ('cn="a\\', "ldap.open-escape", 5),
        ("cn=a,,o=x", "ldap.empty-rdn", 5),
        (",cn=a", "ldap.empty-rdn", 0),
        ("cn=a+", "ldap.empty-rdn", 5),
        (r"cn=a\x", "ldap.bad-escape", 4),
        (r"cn=a\4", "ldap.bad-escape", 4),
        (r"cn=a\C4", "ldap.bad-escape", 4),
        ("cn=a<b", "ldap.bad-char", 4),
        ("cn=#", "ldap.bad-hex", 3),
        ("cn=#0", "ldap.bad-hex", 3),
        ("cn=#0a x", "ldap.bad-hex", 3),
        ("\t", "addr.empty", 0),
    ],
)
def test_refusal(text: str, rule: str, position: int) -> None:
    with pytest.raises(AddressError) as raised:
        NET.parse(text)
    assert (raised.value.rule, raised.value.position) == (rule, position)
    assert raised.value.message


def test_compares_without_case_order_of_parts_and_number_of_blanks() -> None:
    assert NET.parse("CN=ANN  LEE+UID=ann,O=Straße") == NET.parse("uid=Ann+cn=ann lee,o=STRASSE")
    assert NET.parse(r"cn=\20Ann\20,o=x") == NET.parse("cn=ann,o=x")
    assert NET.parse("cn=#0A") == NET.parse("cn=#0a")
    assert NET.parse("cn=#0a") != NET.parse(r"cn=\#0a")
    assert NET.parse("cn=a,cn=b") != NET.parse("cn=b,cn=a")
    assert NET.parse(r"cn=a\,o=b") != NET.parse("cn=a,o=b")


def test_the_prefix_is_read_and_nothing_is_reached_through_a_name() -> None:
    installed = Registry([EntryPoint("ldap", "mappings.networks.ldap:Ldap", GROUP)])
    gate = installed.parse("LDAP:cn=gate,o=x")
    assert str(gate) == "ldap:cn=gate,o=x"
    assert NET.through(gate, parse("smtp:ann@acme.example")) is None


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


@given(_text)
def test_one_value_in_all_spellings_is_one_address(text: str) -> None:
    made = NET.parse(f"cn={_in_digits(text)},o=x")
    assert NET.parse(f"cn={_by_signs(text)},o=x").value == made.value


# ldap3 refuses what RFC 4514 allows: an empty value, a bare # and the number of an attribute.
_agreed = st.tuples(st.sampled_from(["cn", "OU"]), _text.filter(lambda text: bool(text) and "#" not in text))


@given(st.lists(_agreed, min_size=1, max_size=4))
def test_another_reader_finds_the_same_values(parts: list[tuple[str, str]]) -> None:
    made = NET.parse(",".join(f"{attribute}={_in_digits(text)}" for attribute, text in parts))

    def unescaped(value: str) -> str:
        octets = re.sub(
            rb"\\([0-9A-F]{2})|\\(.)", lambda m: bytes.fromhex(m[1].decode()) if m[1] else m[2], value.encode()
        )
        return octets.decode()

    wanted = [(attribute.lower(), unicodedata.normalize("NFC", text)) for attribute, text in parts]
    assert [(attribute, unescaped(value)) for attribute, value, _ in parse_dn(made.value)] == wanted


@given(nasty)
def test_text_raises_nothing_but_address_error(text: str) -> None:
    for tried in (text, f"cn={text}", f"cn=a,{text}=b", f'cn="{text}",o=x', f"cn=\\{text}"):
        try:
            found = NET.parse(tried)
        except AddressError:
            continue
        assert NET.parse(found.value).value == found.value
