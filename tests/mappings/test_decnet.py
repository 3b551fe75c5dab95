"""The decnet network: its table, its refusals, and internet addresses behind a gateway node."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.encapsulation import decode, encode
from mappings.network import Address, AddressError
from mappings.networks.decnet import Decnet
from mappings.networks.smtp import Smtp
from tests.mappings.strategies import nasty, smtp

DECNET, PSEUDO, SMTP = Decnet(), Decnet(percent_pseudo=True), Smtp()
GATE = DECNET.parse("RELAY::GATE::GATEPOST")
DOMAIN = "gw.example"

_ways = st.lists(st.text("abXY019", min_size=1, max_size=6), min_size=1, max_size=3).map("::".join)
_plain = st.text("abcXYZ019$_.-", min_size=1, max_size=14)
_quoted = st.builds(
    lambda protocol, text: f'{protocol}"{text}"',
    st.sampled_from(["", "IN%", "mx%", "PSI%"]),
    st.text("abcXYZ019@.:!%[] ", min_size=1, max_size=20),
)
addresses = st.builds(lambda way, user: DECNET.parse(f"{way}::{user}"), _ways, st.one_of(_plain, _quoted))


@pytest.mark.parametrize(
    ("text", "value", "shown"),
    [
        ("VAXA::SMITH", "VAXA::SMITH", "IMCEADECNET-VAXA+3A+3ASMITH"),
        ("a::b::smith", "A::B::SMITH", "IMCEADECNET-A+3A+3AB+3A+3ASMITH"),
        ("12345::j_smith$1", "12345::J_SMITH$1", "IMCEADECNET-12345+3A+3AJ+5FSMITH+241"),
        (
            'gate::"Bob@b.example"',
            'GATE::"Bob@b.example"',
            "IMCEADECNET-GATE+3A+3A+22Bob+40b+2Eexample+22",
        ),
        (
            'gate::in%"Bob@b.example"',
            'GATE::IN%"Bob@b.example"',
            "IMCEADECNET-GATE+3A+3AIN+25+22Bob+40b+2Eexample+22",
        ),
        ('a::b::"x::y"', 'A::B::"x::y"', "IMCEADECNET-A+3A+3AB+3A+3A+22x+3A+3Ay+22"),
    ],
)
def test_normal_form(text: str, value: str, shown: str) -> None:
    address = DECNET.parse(text)
    assert address.value == value
    assert f"IMCEA{DECNET.imcea_type}-{encode(address.value)}" == shown


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("VAXA:SMITH", "decnet.single-colon"),
        ("A:B::SMITH", "decnet.single-colon"),
        ("A:::SMITH", "decnet.single-colon"),
        ('VAXA:"smith"', "decnet.single-colon"),
        ('A:B::"smith"', "decnet.single-colon"),
        ("SEVENCH::SMITH", "decnet.node-length"),
        ("A::SEVENCH::SMITH", "decnet.node-length"),
        ("SMITH", "decnet.no-node"),
        ("ann@acme.example", "decnet.no-node"),
        ('"smith"', "decnet.no-node"),
        ('IN%"smith"', "decnet.no-node"),
        ('IN%"ann@acme.example"', "decnet.internet"),
        ('"ann@acme.example"', "decnet.internet"),
        ("::SMITH", "decnet.empty-node"),
        ("A::::SMITH", "decnet.empty-node"),
        ('::"smith"', "decnet.empty-node"),
        ("VAXA::", "decnet.no-user"),
        ('VAXA::"', "decnet.open-quote"),
        ('VAXA::""', "decnet.open-quote"),
        ('VAXA::"smith', "decnet.open-quote"),
        ('VAXA::"a"b"', "decnet.bad-char"),
        ('VAXA::"käthe@b.example"', "decnet.bad-char"),
        ('VAXA::SMITH "Jo"', "decnet.bad-char"),
        ("VAXA::ann@b.example", "decnet.bad-char"),
        ("VAXA::A B", "decnet.bad-char"),
        ("VAXA::ſMITH", "decnet.bad-char"),
        ("VA-A::SMITH", "decnet.bad-char"),
        (" ", "addr.empty"),
    ],
)
def test_refusal(text: str, rule: str) -> None:
    with pytest.raises(AddressError) as raised:
        DECNET.parse(text)
    assert raised.value.rule == rule
    assert raised.value.message


def test_an_internet_address_alone_is_told_as_one() -> None:
    with pytest.raises(AddressError, match=r"internet address ann@acme\.example; write smtp:ann@acme\.example,"):
        DECNET.parse('IN%"ann@ACME.example"')


def test_compares_without_case_and_without_idle_quotes() -> None:
    assert DECNET.parse("vaxa::smith") == DECNET.parse("VAXA::SMITH")
    assert DECNET.parse('ultrix::"smith"') == DECNET.parse("ULTRIX::SMITH")
    assert DECNET.parse('ultrix::"smith"').value == 'ULTRIX::"smith"'
    assert DECNET.parse('A::"b::c"') != DECNET.parse("A::B::C")
    assert DECNET.parse('A::IN%"c"') != DECNET.parse("A::C")


@pytest.mark.parametrize(
    ("local", "value", "shown"),
    [
        ('"VAXA::SMITH"', "VAXA::SMITH", "IMCEADECNET-VAXA+3A+3ASMITH"),
        ('"a::b::smith"', "A::B::SMITH", "IMCEADECNET-A+3A+3AB+3A+3ASMITH"),
    ],
)
def test_a_mailbox_of_older_gateways_is_read(local: str, value: str, shown: str) -> None:
    address = DECNET.from_gateway(local, "")
    assert address is not None
    assert address.value == value
    assert f"IMCEADECNET-{encode(address.value)}" == shown
    assert DECNET.at_gateway(address, DOMAIN) == f'"{value}"@{DOMAIN}'
    assert DECNET.from_gateway(local, "vax") is None


def test_the_pseudo_domain_is_read_where_it_is_wanted() -> None:
    address = PSEUDO.from_gateway("user%node.decnet", "")
    assert address is not None
    assert address.value == "NODE::USER"
    assert encode(address.value) == "NODE+3A+3AUSER"
    assert PSEUDO.from_gateway('"VAXA::SMITH"', "") == DECNET.parse("VAXA::SMITH")
    assert DECNET.from_gateway("user%node.decnet", "") is None
    for local in ("user%node.example", "a%b%node.decnet", "user%sevench.decnet", "user%a.b.decnet"):
        assert PSEUDO.from_gateway(local, "") is None


def test_other_mailboxes_are_no_address_here() -> None:
    for local in ("smith", '"VAXA:SMITH"', '"SEVENCH::SMITH"', r'"A::\"ann@b.example\""', "a!b", '"a@b"'):
        assert DECNET.from_gateway(local, "") is None
    assert DECNET.at_gateway(DECNET.parse('GATE::"ann@b.example"'), DOMAIN) is None


@given(addresses)
def test_what_is_shown_behind_a_gateway_is_read_back(address: Address) -> None:
    shown = DECNET.at_gateway(address, DOMAIN)
    if shown is not None:
        local, _, domain = SMTP.parse(shown).value.rpartition("@")
        assert domain == DOMAIN
        for peer in (str, str.lower, str.upper):
            assert DECNET.from_gateway(peer(local), "") == address


def test_an_internet_address_stands_in_quotes_at_the_gates_node() -> None:
    made = DECNET.through(GATE, SMTP.parse("Bob@bücher.example"))
    assert made is not None
    assert made.value == 'RELAY::GATE::"Bob@xn--bcher-kva.example"'
    for text in (
        'relay::gate::IN%"BOB@b.example"',
        'RELAY::GATE::smtp%"bob@b.example"',
        'relay::gate::"bob@b.example"',
    ):
        assert DECNET.behind(GATE, DECNET.parse(text)) == SMTP.parse("bob@b.example")


def test_what_is_not_behind_the_gate_is_nothing_there() -> None:
    for text in ('GATE::"bob@b.example"', 'RELAY::GATE::PSI%"b@b.example"', "RELAY::GATE::BOB", 'RELAY::GATE::"bob"'):
        assert DECNET.behind(GATE, DECNET.parse(text)) is None
    assert DECNET.behind(GATE, DECNET.parse('RELAY::GATE::X::"bob@b.example"')) is None
    assert DECNET.behind(GATE, DECNET.parse('RELAY::GATE::"bob@"')) is None
    assert DECNET.through(GATE, GATE) is None
    assert DECNET.through(DECNET.parse('GATE::"x"'), SMTP.parse("bob@b.example")) is None
    assert DECNET.through(SMTP.parse("gate@b.example"), SMTP.parse("bob@b.example")) is None
    for text in ('"bob ray"@b.example', "käthe@b.example", "postmaster"):
        assert DECNET.through(GATE, SMTP.parse(text)) is None


@given(smtp)
def test_what_lies_behind_our_gate_is_read_back(inner: Address) -> None:
    shown = DECNET.through(GATE, inner)
    local = inner.value.rpartition("@")[0]
    assert (shown is None) == ('"' in local or not local.isascii())
    if shown is not None:
        again = DECNET.parse(shown.value)
        assert (again, again.value) == (shown, shown.value)
        behind = DECNET.behind(GATE, again)
        assert behind is not None
        assert (behind, behind.value.rpartition("@")[0]) == (inner, local)


@given(st.integers(0, 99_999_999))
def test_a_number_is_a_user_at_the_gates_node(number: int) -> None:
    made = DECNET.numbered(GATE, number)
    assert made is not None
    again = DECNET.parse(made.value.lower())
    assert (again, again.value) == (made, made.value)
    assert DECNET.number_of(GATE, again) == number
    assert DECNET.number_of(DECNET.parse("GATE::GATEPOST"), again) is None
    assert DECNET.number_of(GATE, GATE) is None
    assert DECNET.numbered(DECNET.parse('GATE::"x"'), number) is None


def test_a_long_name_is_warned_of() -> None:
    assert DECNET.warnings(DECNET.parse("VAXA::THIRTEENCHARS"))
    assert not DECNET.warnings(DECNET.parse("VAXA::SMITH"))
    assert not DECNET.warnings(DECNET.parse('VAXA::"bob@long.example"'))


@given(addresses)
def test_what_is_printed_is_read_back(address: Address) -> None:
    again = DECNET.parse(DECNET.format(address))
    assert (again, again.value) == (address, address.value)


@given(addresses)
def test_what_is_carried_is_read_back(address: Address) -> None:
    encoded = encode(address.value)
    for peer in (str, str.lower, str.upper):
        assert DECNET.parse(decode(peer(encoded))) == address


@given(nasty, nasty)
def test_text_raises_nothing_but_address_error(text: str, other: str) -> None:
    for tried in (
        text,
        f"A::{text}",
        f"{text}::SMITH",
        f'A::"{text}"',
        f'A::{text}"x"',
        f'RELAY::GATE::"{text}@{other}"',
    ):
        try:
            found = DECNET.parse(tried)
        except AddressError:
            continue
        assert DECNET.parse(found.value).value == found.value
        DECNET.behind(GATE, found)
    for local in (text, f'"A::{text}"', f"{text}%node.decnet"):
        PSEUDO.from_gateway(local, "")
