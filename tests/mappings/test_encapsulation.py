"""Encapsulated addresses: the published vector, keys, refusals, and that nothing is lost on the way."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import assume, given

from mappings.encapsulation import MAX_ENCODED, Encapsulation, EncapsulationError, Key, decode, encode, new_key
from mappings.network import Address, AddressError, parse
from tests.mappings.company import ENCAPSULATION, KEY, OLD_KEY
from tests.mappings.strategies import mhs, nasty

VECTOR = "GPacf6qi6jk23zm-FTN-Ann+20Lee+402+3A280_464+2E1@gw.example"


def test_vector() -> None:
    made = Encapsulation(["gw.example"], [Key("a", b"test")])
    assert made.encapsulate(parse("ftn:Ann Lee@2:280/464.1")).value == VECTOR
    assert made.decapsulate(parse(f"smtp:{VECTOR}")) == parse("ftn:ann lee@2:280/464.1")


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        ("ann@sales", "ann+40sales"),
        ("JohnS@Maingate", "JohnS+40Maingate"),
        ("User@gate {NET/PO/JohnS}", "User+40gate+20+7BNET_PO_JohnS+7D"),
        ("Fax@MHSNTFAX {FAX:5551234}", "Fax+40MHSNTFAX+20+7BFAX+3A5551234+7D"),
        ("/o=A_B/ou=x+y/cn=z", "_o=A+5FB_ou=x+2By_cn=z"),
        ("alerts/Ünit 7", "alerts_+C3+9Cnit+207"),
    ],
)
def test_encoding(value: str, encoded: str) -> None:
    assert encode(value) == encoded
    assert decode(encoded) == value
    assert decode(encoded.replace("+7B", "+7b").replace("+3A", "+3a")) == value


def test_unescaped_characters_of_lax_senders_stay() -> None:
    assert decode("ann.lee+40sales") == "ann.lee@sales"
    assert decode("a%3Db") == "a%3Db"
    assert decode("a%3Db", percent=True) == "a=b"


@pytest.mark.parametrize("encoded", ["a+2", "a+", "a+zz", "+FF", "a+C3"])
def test_a_bad_escape_is_not_guessed_at(encoded: str) -> None:
    with pytest.raises(AddressError) as raised:
        decode(encoded)
    assert raised.value.rule == "imcea.bad-escape"


@given(nasty)
def test_decode_raises_nothing_but_address_error(text: str) -> None:
    with suppress(AddressError):
        decode(text.encode("utf-8", "replace").decode(), percent=True)


@given(mhs)
def test_what_is_carried_is_read_back(address: Address) -> None:
    assume(len(encode(address.value)) <= MAX_ENCODED)
    carried = ENCAPSULATION.encapsulate(address)
    assert parse(str(carried)) == carried
    assert ENCAPSULATION.decapsulate(carried) == address
    for peer in (str.lower, str.upper):
        assert ENCAPSULATION.decapsulate(parse(f"smtp:{peer(carried.value)}")) == address


def test_it_signs_with_the_first_key_that_is_not_retired() -> None:
    assert ENCAPSULATION.encapsulate(parse("mhs:ann@sales")).value.startswith("GPa")


def test_a_retired_key_verifies_and_a_revoked_one_does_not() -> None:
    before = Encapsulation(["gw.merged.example"], [Key(OLD_KEY.id, OLD_KEY.secret)])
    shown = before.encapsulate(parse("mhs:joe@sales"))
    assert ENCAPSULATION.decapsulate(shown) == parse("mhs:joe@sales")
    with pytest.raises(EncapsulationError, match=r"5\.7\.1"):
        Encapsulation(["gw.merged.example"], [KEY]).decapsulate(shown)


def test_key_sets_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="no encapsulation key can sign"):
        Encapsulation(["gw.example"], [OLD_KEY])
    with pytest.raises(ValueError, match="share an id"):
        Encapsulation(["gw.example"], [KEY, Key("a", b"another")])
    with pytest.raises(ValueError, match="not a key id"):
        Key("A1", b"x")
    with pytest.raises(ValueError, match="empty"):
        Key("a", b"")
    with pytest.raises(ValueError, match="domain"):
        Encapsulation([], [KEY])
    assert new_key("c").secret != new_key("c").secret
    assert "secret" not in repr(KEY)


SHOWN = ENCAPSULATION.encapsulate(parse("mhs:joe@sales")).value.partition("@")[0]


@pytest.mark.parametrize(
    ("local", "code"),
    [
        (SHOWN.replace("joe", "jim"), "5.7.1"),
        (SHOWN[:5] + ("2" if SHOWN[5] != "2" else "3") + SHOWN[6:], "5.7.1"),
        ("GPz" + SHOWN[3:], "5.7.1"),
        (SHOWN + "+2", "5.7.1"),
        (SHOWN.replace("MHS", "PIGEON"), "5.1.2"),
        (SHOWN.replace("MHS", "BITNET"), "5.7.1"),
        ("GPaaaaaaaaaaaaa-SMTP-ann+40victim.example", "5.1.2"),
        ("IMCEASMTP-ann+40victim.example", "5.1.2"),
        ("IMCEAX500-x", "5.1.2"),
        ("IMCEAZORK-x", "5.1.2"),
        ("IMCEAMHS-joe+40sales", "5.7.1"),
        ("imceamhs-joe+40sales", "5.7.1"),
        ("IMCEAMHS-joe+4", "5.1.3"),
        ("IMCEAMHS-joe", "5.1.3"),
    ],
)
def test_what_was_not_issued_is_refused(local: str, code: str) -> None:
    with pytest.raises(EncapsulationError) as raised:
        ENCAPSULATION.decapsulate(parse(f"smtp:{local}@gw.merged.example"))
    assert raised.value.code == code
    assert raised.value.text


@pytest.mark.parametrize("local", ["ann", "gp", "GPS-receiver", "gpaaaa-mhs-x", "imcea", "IMCEA-x", "imcea lover"])
def test_other_local_parts_are_ordinary(local: str) -> None:
    quoted = f'"{local}"' if " " in local else local
    assert ENCAPSULATION.decapsulate(parse(f"smtp:{quoted}@gw.merged.example")) is None


@pytest.mark.parametrize("text", ["mqtt:alerts/Plant7", "mqtt:alerts", "sip:Ann@acme.example", "uucp:Alpha!ann"])
def test_case_that_counts_outlives_peers_that_fold_it(text: str) -> None:
    shown = ENCAPSULATION.encapsulate(parse(text)).value
    for told in (shown, shown.lower(), shown.upper()):
        assert ENCAPSULATION.decapsulate(parse(f"smtp:{told}")) == parse(text)


def test_letters_that_fold_to_others_are_no_signature() -> None:
    for local in ("gpa" + "\u017f" * 12 + "-mhs-x", "gpaaaaaaaaaaaa\u017f-mhs-x", "\u0130mcea-x"):
        assert ENCAPSULATION.decapsulate(parse(f"smtp:{local}@gw.merged.example")) is None


def test_elsewhere_it_is_an_ordinary_address() -> None:
    assert ENCAPSULATION.decapsulate(parse(f"smtp:{SHOWN}@other.example")) is None
    assert ENCAPSULATION.decapsulate(parse(f"smtp:{SHOWN}@gw.acme.example")) == parse("mhs:joe@sales")
    assert ENCAPSULATION.decapsulate(parse("mhs:joe@sales")) is None


def test_unsigned_is_taken_where_anyone_may_name_it() -> None:
    address = parse("smtp:IMCEAMHS-ann+40sales@gw.merged.example")
    assert ENCAPSULATION.decapsulate(address, unsigned=lambda a: a.key == "ann@sales") == parse("mhs:ann@sales")


def test_too_long_an_address_is_a_clear_error() -> None:
    with pytest.raises(AddressError, match="too long to be carried") as raised:
        ENCAPSULATION.encapsulate(parse("mhs:ann@sales {" + "x" * 250 + "}"))
    assert raised.value.rule == "encapsulation.too-long"


def test_an_smtp_address_is_never_carried() -> None:
    address = parse("smtp:ann@victim.example")
    assert ENCAPSULATION.encapsulate(address) is address
