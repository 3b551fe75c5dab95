"""The smtp network: the table of its normal forms, and its refusals."""

from __future__ import annotations

import re

import pytest
from hypothesis import given

from mappings.network import AddressError, network, parse
from mappings.networks.smtp import domain_key
from tests.mappings.strategies import nasty, smtp

SMTP = network("smtp")


@pytest.mark.parametrize(
    ("text", "value", "key"),
    [
        ("Ann.Lee@ACME.Example", "Ann.Lee@acme.example", "ann.lee@acme.example"),
        ('"ann.lee"@acme.example', "ann.lee@acme.example", None),
        ('"ann lee"@acme.example', '"ann lee"@acme.example', None),
        ("ann(comment)@acme.example.", "ann@acme.example", None),
        ("käthe@bücher.example", "käthe@bücher.example", "käthe@xn--bcher-kva.example"),
        ("ann+x@acme.example", "ann+x@acme.example", None),
        ("ann@[192.0.2.1]", "ann@[192.0.2.1]", None),
        ("ann@[IPv6:2001:DB8:0::1]", "ann@[IPv6:2001:db8::1]", "ann@[ipv6:2001:db8::1]"),
        ('"a\\b\\"c\\\\"@acme.example', '"ab\\"c\\\\"@acme.example', None),
        ("ann . lee @ acme . example", "ann.lee@acme.example", None),
        ('"ann".lee@acme.example', "ann.lee@acme.example", None),
        ("ann@a_b.example", "ann@a_b.example", None),
        ("KÄTHE@BÜCHER.example", "KÄTHE@bücher.example", "käthe@xn--bcher-kva.example"),
        ("ann@faß.example", "ann@faß.example", "ann@xn--fa-hia.example"),
        ("ann@例え。example", "ann@例え.example", "ann@xn--r8jz45g.example"),
        ("POSTmaster", "POSTmaster", "postmaster"),
        ("user%host!x@acme.example", "user%host!x@acme.example", None),
    ],
)
def test_normal_form(text: str, value: str, key: str | None) -> None:
    address = SMTP.parse(text)
    assert (address.value, address.key) == (value, key or value)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("ann..lee@a.example", "smtp.empty-atom"),
        (".ann@a.example", "smtp.empty-atom"),
        ("ann.@a.example", "smtp.empty-atom"),
        ("ann@", "smtp.no-domain"),
        ("ann", "smtp.no-domain"),
        ("@", "smtp.source-route"),
        ("ann@-a.example", "smtp.bad-label"),
        ("ann@a-.example", "smtp.bad-label"),
        ("ann@a..example", "smtp.bad-label"),
        ("ann@\u0640.example", "smtp.bad-label"),
        ('"ann@a.example', "smtp.open-quote"),
        ("ann(x@a.example", "smtp.open-comment"),
        ("ann lee@a.example", "smtp.space"),
        ("ann@a b.example", "smtp.space"),
        ("<ann@a.example>", "smtp.bad-char"),
        ("ann@a.example,bob@b.example", "smtp.bad-char"),
        ("ann@b@a.example", "smtp.bad-char"),
        ("@relay.example:ann@a.example", "smtp.source-route"),
        ("ann@[192.0.2.256]", "smtp.bad-literal"),
        ("ann@[IPv6:fe80::1%eth0]", "smtp.bad-literal"),
        ("ann@[x-tag:anything]", "smtp.bad-literal"),
        ("ann@[192.0.2.1].example", "smtp.after-domain"),
        (f"ann@{'a' * 64}.example", "smtp.label-too-long"),
        (f"ann@{'.'.join(['a' * 60] * 5)}", "smtp.domain-too-long"),
    ],
)
def test_refusal(text: str, rule: str) -> None:
    with pytest.raises(AddressError) as raised:
        SMTP.parse(text)
    assert raised.value.rule == rule
    assert raised.value.message


def test_long_local_part_and_underscore_are_warned_of() -> None:
    assert not SMTP.warnings(parse("smtp:ann@acme.example"))
    assert "64 octets" in SMTP.warnings(SMTP.parse("a" * 65 + "@acme.example"))[0]
    assert "underscore" in SMTP.warnings(parse("smtp:ann@a_b.example"))[0]


def test_long_and_unseen_addresses_are_warned_of() -> None:
    long = f"ann@{'a' * 50}.{'b' * 50}.{'c' * 50}.{'d' * 50}.{'e' * 43}"
    assert not SMTP.warnings(SMTP.parse(f"{long}.ee"))
    assert "254 octets" in SMTP.warnings(SMTP.parse(f"{long}.eee"))[0]
    for text in ("an\u200bn@acme.example", "ann\u202e@acme.example", "ann\ue000@acme.example"):
        assert "cannot be seen" in SMTP.warnings(SMTP.parse(text))[0]


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("Ann+x@acme.example", ["ann+x@acme.example", "ann@acme.example"]),
        ("ann+x+y@acme.example", ["ann+x+y@acme.example", "ann@acme.example"]),
        ("+x@acme.example", ["+x@acme.example"]),
        ('"a n+x"@acme.example', ['"a n+x"@acme.example']),
        ("ann@acme.example", ["ann@acme.example"]),
        ("ann.+x@acme.example", ["ann.+x@acme.example"]),
    ],
)
def test_lookup_keys(text: str, keys: list[str]) -> None:
    assert list(SMTP.lookup_keys(SMTP.parse(text))) == keys


def test_a_tag_that_makes_an_address_too_long_is_left_out() -> None:
    long = SMTP.parse(f"{'a' * 1000}@acme.example")
    assert SMTP.carry(long, SMTP.parse(f"ann+{'x' * 20}@acme.example")) == long
    assert SMTP.carry(long, SMTP.parse("ann+x@acme.example")).value == f"{'a' * 1000}+x@acme.example"


def test_the_bare_postmaster_has_no_form_in_a_header() -> None:
    assert SMTP.to_addr_spec(SMTP.parse("PostMaster")) is None


def test_forms_for_peers_without_utf8() -> None:
    assert SMTP.format(parse("smtp:ann@bücher.example"), "ascii") == "ann@xn--bcher-kva.example"
    with pytest.raises(AddressError, match="SMTPUTF8"):
        SMTP.format(parse("smtp:käthe@bücher.example"), "ascii")


@given(smtp)
def test_keys_of_domains_are_stable(address: object) -> None:
    value = str(address).removeprefix("smtp:")
    key = domain_key(value.rpartition("@")[2])
    assert key.isascii()
    assert domain_key(key) == key


@given(nasty)
def test_a_parsed_address_can_stand_in_a_command(text: str) -> None:
    try:
        value = SMTP.parse(text).value
    except AddressError:
        return
    assert not re.search(r"[\0-\x1f\x7f]", value)
    outside_quotes = re.sub(r'^"(?:[^"\\]|\\.)*"', "", value)
    assert not re.search(r"[ <>,;()\"\\]", outside_quotes)


@pytest.mark.parametrize("text", ['"A\\\u0300"@a.example', '"A"(x).\u0300@a.example', 'A(x)"\u0300"@a.example'])
def test_a_letter_and_its_accent_that_come_together_are_one(text: str) -> None:
    try:
        address = SMTP.parse(text)
    except AddressError:
        return
    again = SMTP.parse(address.value)
    assert (again.value, again.key) == (address.value, address.key)
