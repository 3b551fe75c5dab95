"""The bitnet network: its table, its refusals, its headers, and internet addresses behind a gateway node."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.encapsulation import decode, encode
from mappings.network import Address, AddressError, Registry
from mappings.networks.bitnet import Bitnet
from mappings.networks.smtp import Smtp
from tests.mappings.strategies import nasty, smtp

BITNET, SMTP = Bitnet(), Smtp()
GATE = BITNET.parse("GATEPOST@GPVM")

_nodes = st.text("abcXYZ019#$_-", min_size=1, max_size=8)
_users = st.text("abcXYZ019@#$_-.+:", min_size=1, max_size=8)
_beyond = st.builds(lambda local, host: f"{local}%{host}", st.text("aZ0.%!-", min_size=1), st.text("bY.9-", min_size=1))
addresses = st.builds(lambda user, node: BITNET.parse(f"{user}@{node}"), st.one_of(_users, _beyond), _nodes)


@pytest.mark.parametrize(
    ("text", "value", "shown"),
    [
        ("bob@CUNYVM.BITNET", "BOB@CUNYVM", "IMCEABITNET-BOB+40CUNYVM"),
        ("MAINT AT VM1", "MAINT@VM1", "IMCEABITNET-MAINT+40VM1"),
        ("maint(vm1)", "MAINT@VM1", "IMCEABITNET-MAINT+40VM1"),
        ("maint at vm1.bitnet", "MAINT@VM1", "IMCEABITNET-MAINT+40VM1"),
        ("INFO-MAC @ RICEVM1", "INFO-MAC@RICEVM1", "IMCEABITNET-INFO-MAC+40RICEVM1"),
        ("a@b@vm1", "A@B@VM1", "IMCEABITNET-A+40B+40VM1"),
        ("Bob%b.example@gate.bitnet.", "Bob%b.example@GATE", "IMCEABITNET-Bob+25b+2Eexample+40GATE"),
    ],
)
def test_normal_form(text: str, value: str, shown: str) -> None:
    address = BITNET.parse(text)
    assert address.value == value
    assert f"IMCEA{BITNET.imcea_type}-{encode(address.value)}" == shown


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("NINECHARS@VM1", "rscs.too-long"),
        ("BOB@NINECHARS", "rscs.too-long"),
        ("BOB@", "rscs.no-node"),
        ("BOB", "rscs.no-node"),
        ("BOB@.BITNET", "rscs.no-node"),
        ("BOB()", "rscs.no-node"),
        ("@CUNYVM", "rscs.no-user"),
        ("(CUNYVM)", "rscs.no-user"),
        ("BOB@a.b", "rscs.bad-char"),
        ("BOB(A@B)", "rscs.bad-char"),
        ("BO B@CUNYVM", "rscs.bad-char"),
        ("BÖB@CUNYVM", "rscs.bad-char"),
        ("BOB@ſUNYVM", "rscs.bad-char"),
        ("bob%@CUNYVM", "rscs.bad-char"),
        ("%b.example@CUNYVM", "rscs.bad-char"),
        ("bob%b example@CUNYVM", "rscs.bad-char"),
        (" ", "addr.empty"),
    ],
)
def test_refusal(text: str, rule: str) -> None:
    with pytest.raises(AddressError) as raised:
        BITNET.parse(text)
    assert raised.value.rule == rule
    assert raised.value.message


def test_compares_without_case() -> None:
    assert BITNET.parse("bob@cunyvm") == BITNET.parse("BOB(CUNYVM)")
    assert BITNET.parse("Bob%B.Example@GATE") == BITNET.parse("bob%b.example@gate")
    assert BITNET.parse("BOB@CUNYVM") != BITNET.parse("BOB@UICVM")


def test_rscs_is_an_alias() -> None:
    found = Registry([EntryPoint("bitnet", "mappings.networks.bitnet:Bitnet", "gatepost.networks")])
    assert str(found.parse("RSCS:maint(vm1)")) == "bitnet:MAINT@VM1"
    assert found.by_type("bitnet") is found.get("bitnet")


def test_addr_spec_is_at_a_lone_node_or_the_pseudo_domain() -> None:
    assert BITNET.from_addr_spec("bob", "cunyvm") == BITNET.parse("BOB@CUNYVM")
    assert BITNET.from_addr_spec("bob", "CUNYVM.BITNET") == BITNET.parse("BOB@CUNYVM")
    assert BITNET.from_addr_spec('"a@b"', "vm1") == BITNET.parse("A@B@VM1")
    for local, domain in (("bob", "b.example"), ("bob", "[192.0.2.1]"), ("bob", "a.cunyvm.bitnet"), ('"b b"', "vm1")):
        assert BITNET.from_addr_spec(local, domain) is None
    assert BITNET.to_addr_spec(BITNET.parse("bob@cunyvm")) == "BOB@CUNYVM.BITNET"


@given(addresses)
def test_addr_spec_is_read_back(address: Address) -> None:
    shown = BITNET.to_addr_spec(address)
    node = address.value.rpartition("@")[2]
    assert (shown is None) == (bool(set(node) & set("$#")) or node.strip("-") != node)
    if shown is not None:
        local, _, domain = shown.rpartition("@")
        assert BITNET.from_addr_spec(local, domain) == address
        SMTP.parse(shown)


def test_an_internet_address_is_a_percent_address_at_the_gates_node() -> None:
    made = BITNET.through(GATE, SMTP.parse("Bob.Ray@bücher.example"))
    assert made is not None
    assert made.value == "Bob.Ray%xn--bcher-kva.example@GPVM"
    assert BITNET.behind(GATE, BITNET.parse("BOB.RAY%XN--BCHER-KVA.EXAMPLE@GPVM")) == SMTP.parse(
        "bob.ray@bücher.example"
    )


def test_what_is_not_behind_the_gate_is_nothing_there() -> None:
    for text in ("bob%b.example@OTHER", "BOB@GPVM", "b..b%b.example@GPVM"):
        assert BITNET.behind(GATE, BITNET.parse(text)) is None
    assert BITNET.through(GATE, GATE) is None
    assert BITNET.through(SMTP.parse("gate@b.example"), SMTP.parse("bob@b.example")) is None
    for text in ('"bob ray"@b.example', "käthe@b.example", "bob@[192.0.2.1]", "postmaster"):
        assert BITNET.through(GATE, SMTP.parse(text)) is None


@given(smtp)
def test_what_lies_behind_our_gate_is_read_back(inner: Address) -> None:
    shown = BITNET.through(GATE, inner)
    local, _, domain = inner.value.rpartition("@")
    assert (shown is None) == (local.startswith('"') or domain.startswith("[") or not local.isascii())
    if shown is not None:
        again = BITNET.parse(shown.value)
        assert (again, again.value) == (shown, shown.value)
        behind = BITNET.behind(GATE, again)
        assert behind is not None
        assert (behind, behind.value.rpartition("@")[0]) == (inner, local)


@given(st.integers(0, 99_999_999))
def test_a_number_is_a_user_at_the_gates_node(number: int) -> None:
    made = BITNET.numbered(GATE, number)
    assert made is not None
    again = BITNET.parse(made.value.lower())
    assert (again, again.value) == (made, made.value)
    assert BITNET.number_of(GATE, again) == number
    assert BITNET.number_of(BITNET.parse("GATEPOST@OTHER"), again) is None
    assert BITNET.number_of(GATE, GATE) is None
    assert BITNET.numbered(SMTP.parse("gate@b.example"), number) is None


@given(addresses)
def test_what_is_printed_is_read_back(address: Address) -> None:
    user, _, node = address.value.rpartition("@")
    for text in (BITNET.format(address), f"{user}({node})", f"{user} AT {node}", f"{user}@{node}.bitnet"):
        again = BITNET.parse(text)
        assert (again, again.value) == (address, address.value)


@given(addresses)
def test_what_is_carried_is_read_back(address: Address) -> None:
    encoded = encode(address.value)
    for peer in (str, str.lower, str.upper):
        assert BITNET.parse(decode(peer(encoded))) == address


@given(nasty, nasty)
def test_text_raises_nothing_but_address_error(text: str, other: str) -> None:
    for tried in (text, f"{text[:8]}@VM1", f"BOB@{text[:8]}", f"{text[:8]} AT VM1", f"bob%{text}@GPVM", f"BOB({text})"):
        try:
            found = BITNET.parse(tried)
        except AddressError:
            continue
        assert BITNET.parse(found.value).value == found.value
        BITNET.behind(GATE, found)
    BITNET.from_addr_spec(text, other)
    BITNET.from_addr_spec(text, "VM1.BITNET")
