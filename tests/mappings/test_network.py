"""The registry: plugins found by entry points, and what it promises whatever they do."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest
from hypothesis import given

from mappings.network import Address, AddressError, Network, NetworkError, Opaque, Registry, network, parse, registry
from tests.mappings.strategies import any_address, nasty

HERE = "tests.mappings.test_network"


class Pigeon(Network):
    name = "pigeon"
    imcea_type = "PIGEON"
    aliases = ("dove",)

    def parse(self, text: str) -> Address:
        return Address("pigeon", text, text.lower()[int(text == "") :])


class Faulty(Network):
    name = "faulty"
    imcea_type = "FAULTY"

    def parse(self, text: str) -> Address:
        raise IndexError("a bug")


class OtherPigeon(Pigeon):
    name = "squab"
    imcea_type = "SQUAB"


def entry(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, f"{HERE}:{value}", "gatepost.networks")


def test_our_own_networks_are_found() -> None:
    assert {"smtp", "mhs"} <= set(registry().names)
    assert network("SMTP") is network("smtp")


def test_two_claims_on_one_name_stop_the_start_with_both_named() -> None:
    with pytest.raises(NetworkError, match=r"'pigeon' is claimed by both .*Pigeon.* and .*Faulty"):
        Registry([entry("pigeon", "Pigeon"), entry("pigeon", "Faulty")])


def test_one_distribution_seen_twice_is_no_clash() -> None:
    assert Registry([entry("pigeon", "Pigeon"), entry("pigeon", "Pigeon")]).names == ("pigeon",)


def test_two_claims_on_one_alias_are_a_clash() -> None:
    with pytest.raises(NetworkError, match="'dove' is claimed by both"):
        Registry([entry("pigeon", "Pigeon"), entry("squab", "OtherPigeon")]).canonical_name("x")


def test_an_alias_is_accepted_on_input() -> None:
    found = Registry([entry("pigeon", "Pigeon")])
    assert str(found.parse("Dove:Loft 7")) == "pigeon:Loft 7"
    assert found.by_type("pigeon") is found.get("dove")


def test_a_network_is_imported_only_when_asked_for() -> None:
    found = Registry([entry("pigeon", "Pigeon"), entry("ghost", "NoSuchClass")])
    assert found.get("pigeon").name == "pigeon"
    with pytest.raises(NetworkError, match=r"network 'ghost' of .*NoSuchClass cannot be loaded"):
        found.get("ghost")


def test_a_class_under_a_wrong_name_is_refused() -> None:
    with pytest.raises(NetworkError, match="not a Network named 'crow'"):
        Registry([entry("crow", "Pigeon")]).get("crow")


def test_whatever_a_plugin_raises_leaves_as_address_error() -> None:
    with pytest.raises(AddressError, match="parser failed: IndexError") as raised:
        Registry([entry("faulty", "Faulty")]).parse("faulty:x")
    assert isinstance(raised.value.__cause__, IndexError)


@pytest.mark.parametrize("text", ["pigeon:Ann Lee@2:280/464.1", "zork: two  blanks ", "zork:Ünï\u0301"])
def test_an_address_of_an_uninstalled_network_prints_back(text: str) -> None:
    assert str(parse(text)) == text
    assert not registry().is_installed(parse(text).network)
    assert isinstance(network(parse(text).network), Opaque)


@pytest.mark.parametrize(
    ("text", "at"), [(" \tan\tn", 4), ("\u0958\x85", 1), ("\u0958\u0958\udce9", 2), ("a\u2028", 1), ("\x7f", 0)]
)
def test_the_place_of_what_no_network_takes(text: str, at: int) -> None:
    with pytest.raises(AddressError) as raised:
        network("mhs").parse(text)
    assert (raised.value.text, raised.value.position) == (text, at)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("ann@acme.example", "addr.no-network"),
        ("smtp:", "addr.empty"),
        ("smtp:a\0b@acme.example", "addr.control"),
        ("smtp:ann@acme.example\r\nbob@acme.example", "addr.control"),
        ("mhs:" + "a" * 1025, "addr.too-long"),
        ("mhs:ann\x85@sales", "addr.control"),
        ("smtp:\udce9@acme.example", "addr.not-unicode"),
        ("zork:a\nb", "addr.control"),
    ],
)
def test_rules_for_all_networks(text: str, rule: str) -> None:
    with pytest.raises(AddressError) as raised:
        parse(text)
    assert raised.value.rule == rule


@given(nasty)
def test_text_raises_nothing_but_address_error(text: str) -> None:
    for prefix in ("", "smtp:", "mhs:", "zork:"):
        try:
            found = parse(prefix + text)
        except AddressError:
            continue
        assert parse(str(found)).value == found.value


@given(any_address)
def test_what_is_printed_is_read_back(address: Address) -> None:
    assert parse(str(address)) == address
    assert str(parse(str(address))) == str(address)
    assert network(address.network).parse(network(address.network).format(address)) == address


def test_a_network_for_another_contract_is_refused_or_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pigeon, "contract_version", 2)
    with pytest.raises(NetworkError, match=r"network 'pigeon' of .*Pigeon is made for version 2 .*; upgrade gatepost"):
        Registry([entry("pigeon", "Pigeon")]).get("pigeon")
    monkeypatch.setattr(Pigeon, "contract_version", 1)
    monkeypatch.setattr("mappings.network.deprecation", lambda what, made: f"{what} is of version {made}")
    found = Registry([entry("pigeon", "Pigeon")])
    assert found.get("pigeon").name == "pigeon"
    assert found.deprecations == {"pigeon": f"network 'pigeon' of {HERE}:Pigeon is of version 1"}
