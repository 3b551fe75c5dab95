"""The tel, fax and sms networks: their table, their refusals, and the mailboxes that stand for numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.encapsulation import decode, encode
from mappings.network import Address, AddressError, Network
from mappings.networks.phone import Fax, Sms, Tel
from tests.mappings.strategies import nasty

TEL, FAX, SMS = Tel(), Fax(), Sms()
BY_NAME: dict[str, Network] = {"tel": TEL, "fax": FAX, "sms": SMS}
DOMAIN = "gw.example"

_separators = st.sampled_from(["", "", "-", ".", " ", " (", ") "])
_digits = st.text("0123456789", min_size=1, max_size=6)
_numbers = st.builds(
    lambda first, rest: "+" + first + "".join(f"{separator}{digit}" for separator, digit in rest),
    st.sampled_from("123456789"),
    st.lists(st.tuples(_separators, st.sampled_from("123456789")), min_size=6, max_size=14),
)
_added = st.one_of(st.just(""), _digits.map(lambda d: f";ext={d}"), _digits.map(lambda d: f";sub={d}"))
_added_to_fax = st.one_of(_added, _digits.map(lambda d: f";t33s={d}"), _digits.map(lambda d: f"/T33S={d};sub=1"))
addresses = st.one_of(
    st.builds(lambda n, a: TEL.parse(n + a), _numbers, _added),
    st.builds(lambda n, a: FAX.parse(n + a), _numbers, _added_to_fax),
    st.builds(lambda n, a: SMS.parse(n + a), _numbers, _added),
)


@pytest.mark.parametrize(
    ("network", "text", "value", "shown"),
    [
        ("tel", "+358-5-551234", "+3585551234", "VOICE=+3585551234"),
        ("tel", "+358 (5) 55 1234", "+3585551234", "VOICE=+3585551234"),
        ("fax", "FAX=+358.5.551234", "+3585551234", "FAX=+3585551234"),
        ("fax", "/FAX=+358-5-551234/T33S=1387/", "+3585551234;t33s=1387", "FAX=+3585551234/T33S=1387"),
        ("fax", "Ann@+3585551234", "+3585551234", "FAX=+3585551234"),
        ("sms", "SMS=+33-1-88335215", "+33188335215", "SMS=+33188335215"),
        ("tel", "+358-5-551234;ext=7;phone-context=x", "+3585551234;ext=7", "IMCEATEL-+2B3585551234+3Bext=7"),
        ("tel", "+358-5-551234;ISUB=1-2", "+3585551234;sub=12", "VOICE=+3585551234/ISUB=12"),
        (
            "tel",
            "+358-5-551234;ISUB=1-2;ext=(0)7",
            "+3585551234;ext=07;sub=12",
            "IMCEATEL-+2B3585551234+3Bext=07+3Bsub=12",
        ),
        ("fax", "+3585551234/ISUB=12/ATTN=Ann", "+3585551234;sub=12", "FAX=+3585551234/ISUB=12"),
        ("fax", "+3585551234;t33s=1;sub=2;", "+3585551234;sub=2;t33s=1", "FAX=+3585551234/ISUB=2/T33S=1"),
    ],
)
def test_normal_form(network: str, text: str, value: str, shown: str) -> None:
    address = BY_NAME[network].parse(text)
    assert (address.network, address.value, address.key) == (network, value, value)
    natural = BY_NAME[network].at_gateway(address, DOMAIN)
    encapsulated = f"IMCEA{BY_NAME[network].imcea_type}-{encode(value)}"
    assert (natural or encapsulated).removesuffix(f"@{DOMAIN}") == shown


@pytest.mark.parametrize(
    ("network", "text", "rule"),
    [
        ("tel", "12345", "tel.local-number"),
        ("tel", "05 551234", "tel.local-number"),
        ("tel", "7042;phone-context=example.com", "tel.local-number"),
        ("tel", "+35", "tel.too-short"),
        ("tel", "+", "tel.too-short"),
        ("tel", "+1234567890123456", "tel.too-long"),
        ("tel", "+358abc", "tel.letters"),
        ("sms", "+1-800-FLOWERS", "sms.letters"),
        ("tel", "+358 5 ٥٥١٢٣٤", "tel.bad-char"),
        ("tel", "++3585551234", "tel.bad-char"),
        ("tel", "*67+3585551234", "tel.bad-char"),
        ("tel", "+0585551234", "tel.no-country"),
        ("tel", "+358 (0)5 551234", "tel.trunk-zero"),
        ("fax", "+3585551234/T33S=12a", "fax.t33s-digits"),
        ("fax", "FAX=+3585551234/T33S=", "fax.t33s-digits"),
        ("fax", "FAX=+3585551234/T33S=1/T33S=2", "fax.t33s-twice"),
        ("tel", "+3585551234;ext=abc", "tel.ext-digits"),
        ("tel", "+3585551234;ext", "tel.ext-digits"),
        ("tel", "+3585551234;m-must=1", "tel.parameter"),
        ("tel", "FAX=+3585551234", "tel.service"),
        ("fax", "FAX=+3585551234@gw.example", "fax.domain"),
        ("tel", "Ann@+3585551234", "tel.domain"),
        ("sms", "voice+1", "sms.letters"),
        ("sms", "", "addr.empty"),
    ],
)
def test_refusal(network: str, text: str, rule: str) -> None:
    with pytest.raises(AddressError) as raised:
        BY_NAME[network].parse(text)
    assert raised.value.rule == rule
    assert raised.value.message


def test_a_local_number_is_completed_by_the_configured_country() -> None:
    finland = Tel(country="358")
    assert finland.parse("05 551234") == TEL.parse("+3585551234")
    assert finland.parse("+33188335215") == TEL.parse("+33188335215")
    assert Tel(country="39", trunk="").parse("6 5551234") == TEL.parse("+3965551234")
    for text in ("00358 5 551234", "0"):
        with pytest.raises(AddressError, match=r"with \+"):
            finland.parse(text)


def test_one_number_is_three_addresses() -> None:
    assert len({network.parse("+3585551234") for network in BY_NAME.values()}) == 3


@pytest.mark.parametrize(
    ("local", "below", "network", "value"),
    [
        ("FAX=+358.5.551234", "", "fax", "+3585551234"),
        ("fax=+3585551234/t33s=1387", "", "fax", "+3585551234;t33s=1387"),
        ("/FAX=+358-5-551234/T33S=1387/", "", "fax", "+3585551234;t33s=1387"),
        ('"SMS=+33 1 88335215"', "", "sms", "+33188335215"),
        ("VOICE=+3585551234", "", "tel", "+3585551234"),
        ("+3585551234", "", "", ""),
        ("FAX=12345", "", "", ""),
        ("FAX=+3585551234", "sub", "", ""),
        ("FAX", "", "", ""),
    ],
)
def test_a_mailbox_behind_a_gateway(local: str, below: str, network: str, value: str) -> None:
    found = [address for one in BY_NAME.values() if (address := one.from_gateway(local, below)) is not None]
    assert [(address.network, address.value) for address in found] == ([(network, value)] if network else [])


@given(addresses)
def test_what_is_printed_is_read_back(address: Address) -> None:
    network = BY_NAME[address.network]
    again = network.parse(network.format(address))
    assert (again, again.value) == (address, address.value)


@given(addresses)
def test_what_is_carried_is_read_back(address: Address) -> None:
    encoded = encode(address.value)
    for peer in (str, str.lower, str.upper):
        assert BY_NAME[address.network].parse(decode(peer(encoded))) == address


@given(addresses)
def test_what_is_shown_behind_a_gateway_is_read_back(address: Address) -> None:
    shown = BY_NAME[address.network].at_gateway(address, DOMAIN)
    assert (shown is None) == (";ext=" in address.value)
    if shown is not None:
        local = shown.removesuffix(f"@{DOMAIN}")
        for peer in (str, str.lower, str.upper):
            assert BY_NAME[address.network].from_gateway(peer(local), "") == address


@given(nasty)
def test_text_raises_nothing_but_address_error(text: str) -> None:
    for network in BY_NAME.values():
        for tried in (text, f"+3585551234{text}", f"{text}@+3585551234", f"FAX={text}", f"+3585551234;t33s={text}"):
            try:
                found = network.parse(tried)
            except AddressError:
                continue
            assert network.parse(found.value).value == found.value
        network.from_gateway(text, "")


@pytest.mark.parametrize("network", [Tel(), Fax(), Sms()], ids=lambda network: network.name)
def test_a_number_behind_our_own_line_is_read_back(network: Network) -> None:
    gate = network.parse("+3585551234")
    for number in (0, 7, 99_999_999):
        shown = network.numbered(gate, number)
        assert shown is not None
        assert network.parse(shown.value) == shown
        assert network.number_of(gate, shown) == number
    assert network.number_of(gate, gate) is None
    assert network.number_of(gate, network.parse("+3585559999;sub=00000001")) is None
