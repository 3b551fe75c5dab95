"""The msmail network: its table, its refusals, its free-form text, and numbers for what has no room in ten signs."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.encapsulation import decode, encode
from mappings.network import Address, AddressError, Registry
from mappings.networks.msmail import Msmail, number_in, numbered_name
from mappings.networks.smtp import Smtp
from tests.mappings.strategies import nasty

MSMAIL, SMTP = Msmail(), Smtp()
GATE = MSMAIL.parse("NET1/GATEPO/GATEPOST")

_parts = st.text("abcxyzXYZ019-_'.&$éßŉ ", min_size=1, max_size=5).filter(str.strip)
addresses = st.lists(_parts, min_size=3, max_size=3).map(lambda parts: MSMAIL.parse("/".join(parts)))


@pytest.mark.parametrize(
    ("text", "value", "shown"),
    [
        ("Microsoft/WGA/JohnS", "MICROSOFT/WGA/JOHNS", "IMCEAMS-MICROSOFT_WGA_JOHNS"),
        ("[MS:NET1/PO2/ANN]", "NET1/PO2/ANN", "IMCEAMS-NET1_PO2_ANN"),
        (r"[PCM:Net1\Po2\Ann]", "NET1/PO2/ANN", "IMCEAMS-NET1_PO2_ANN"),
        ("net/po/a_b", "NET/PO/A_B", "IMCEAMS-NET_PO_A+5FB"),
        ("net/po/o'hara", "NET/PO/O'HARA", "IMCEAMS-NET_PO_O+27HARA"),
        ("Ann Lee [ms: net1/po2/ann ]", "NET1/PO2/ANN", "IMCEAMS-NET1_PO2_ANN"),
        (r"net \ po \ ann  lee", "NET/PO/ANN LEE", "IMCEAMS-NET_PO_ANN+20LEE"),
        ("net/po/grüß", "NET/PO/GRÜSS", "IMCEAMS-NET_PO_GR+C3+9CSS"),
    ],
)
def test_normal_form(text: str, value: str, shown: str) -> None:
    address = MSMAIL.parse(text)
    assert address.value == value
    assert f"IMCEA{MSMAIL.imcea_type}-{encode(address.value)}" == shown


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("NET/PO", "msmail.parts"),
        ("NET/PO/ANN/X", "msmail.parts"),
        ("ann", "msmail.parts"),
        ("ann@server", "msmail.parts"),
        ("NET/PO/ELEVENCHARS", "msmail.too-long"),
        ("ELEVENCHARS/PO/ANN", "msmail.too-long"),
        ("NET//ANN", "msmail.empty-part"),
        ("/PO/ANN", "msmail.empty-part"),
        ("NET/PO/ ", "msmail.empty-part"),
        ("NET/PO/a@b", "msmail.bad-char"),
        ("NET/PO/a]", "msmail.bad-char"),
        ("NET/PO/☃", "msmail.bad-char"),
        ("[FAX:5551234]", "msmail.other-type"),
        ("[MS:]", "addr.empty"),
        ("[MS:NET/PO]", "msmail.parts"),
        ("[MS:NET/PO/ANN", "msmail.bad-char"),
        ("A" * 1025, "addr.too-long"),
        (" ", "addr.empty"),
    ],
)
def test_refusal(text: str, rule: str) -> None:
    with pytest.raises(AddressError) as raised:
        MSMAIL.parse(text)
    assert raised.value.rule == rule
    assert raised.value.message


def test_a_refusal_shows_the_place() -> None:
    for text, at in (("NET//ANN", 4), ("NET/PO/", 7), ("NET/ELEVENCHARS/ANN", 4), ("NET/PO/a@b", 7)):
        with pytest.raises(AddressError) as raised:
            MSMAIL.parse(text)
        assert raised.value.position == at


def test_compares_without_case() -> None:
    assert MSMAIL.parse("net/po/ann") == MSMAIL.parse("NET/PO/ANN")
    assert MSMAIL.parse("net/po/ann") != MSMAIL.parse("net/po2/ann")


def test_the_prefixes_of_proxy_addresses_are_its_aliases() -> None:
    found = Registry([EntryPoint("msmail", "mappings.networks.msmail:Msmail", "gatepost.networks")])
    for text in ("MS:net/po/ann", r"pcm:net\po\ann", "msmail:NET/PO/ANN", "MS:[MS:net/po/ann]"):
        assert str(found.parse(text)) == "msmail:NET/PO/ANN"
    assert found.by_type("MS") is found.get("msmail")


def test_a_long_part_is_warned_of() -> None:
    assert MSMAIL.warnings(MSMAIL.parse("MICROSOFT/WGA/JOHNS"))
    assert not MSMAIL.warnings(MSMAIL.parse("NET1/PO2/ANN"))


def test_an_internet_address_has_no_room() -> None:
    inner = SMTP.parse("a@b.example")
    assert MSMAIL.through(GATE, inner) is None
    assert MSMAIL.behind(GATE, MSMAIL.parse("NET1/GATEPO/ANN")) is None


def test_a_number_is_a_mailbox_at_the_gates_post_office() -> None:
    made = MSMAIL.numbered(GATE, 99_999_999)
    assert made is not None
    assert made.value == "NET1/GATEPO/G5F5E0FF"
    assert MSMAIL.number_of(GATE, MSMAIL.parse("net1/gatepo/g5f5e0ff")) == 99_999_999
    for text in ("NET1/OTHER/G5F5E0FF", "NET1/GATEPO/GATEPOST", "NET1/GATEPO/G5F5E0F", "NET1/GATEPO/X5F5E0FF"):
        assert MSMAIL.number_of(GATE, MSMAIL.parse(text)) is None
    assert MSMAIL.numbered(SMTP.parse("gate@b.example"), 7) is None


@given(st.integers(0, 99_999_999))
def test_numbers_are_read_back(number: int) -> None:
    name = numbered_name(number)
    assert len(name) == 8
    assert number_in(name) == number
    made = MSMAIL.numbered(GATE, number)
    assert made is not None
    again = MSMAIL.parse(made.value)
    assert (again, again.value) == (made, made.value)
    assert MSMAIL.number_of(GATE, again) == number


@given(addresses)
def test_what_is_printed_is_read_back(address: Address) -> None:
    for text in (MSMAIL.format(address), f"Ann Lee [MS:{address.value}]", address.value.replace("/", "\\")):
        again = MSMAIL.parse(text)
        assert (again, again.value) == (address, address.value)


@given(addresses)
def test_what_is_carried_is_read_back(address: Address) -> None:
    encoded = encode(address.value)
    for peer in (str, str.lower, str.upper):
        assert MSMAIL.parse(decode(peer(encoded))) == address


@given(nasty, st.text(st.characters(categories=("L", "M", "N")), max_size=10))
def test_text_raises_nothing_but_address_error(text: str, letters: str) -> None:
    for tried in (text, f"NET/PO/{text[:10]}", f"NET/PO/{letters}", f"[MS:{text}]", f"{text}[MS:NET/PO/ANN]"):
        try:
            found = MSMAIL.parse(tried)
        except AddressError:
            continue
        assert MSMAIL.parse(found.value).value == found.value
        MSMAIL.number_of(GATE, found)
