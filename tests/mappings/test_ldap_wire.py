"""The answers of a directory server: by hand, by halves, and whatever comes."""

from __future__ import annotations

from contextlib import suppress
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings import ldap_wire as wire

NUMBER = "b0c904ae-7c47-1041-8ee6-c14fd9ad1354"


def element(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    if len(body) < 0x80:
        return bytes((tag, len(body))) + body
    length = len(body).to_bytes(4, "big")
    return bytes((tag, 0x84)) + length + body


def octets(text: str | bytes) -> bytes:
    return element(0x04, text.encode() if isinstance(text, str) else text)


def control(name: str, value: bytes) -> bytes:
    return element(0x30, octets(name), octets(value))


def message(number: int, answer: bytes, *controls: bytes) -> bytes:
    more = element(0xA0, *controls) if controls else b""
    return element(0x30, element(0x02, number.to_bytes(4, "big")), answer, more)


def entry(dn: str, **values: list[str | bytes]) -> bytes:
    found = (
        element(0x30, octets(name), element(0x31, *(octets(value) for value in each))) for name, each in values.items()
    )
    return element(0x64, octets(dn), element(0x30, *found))


def done(code: int = 0, text: str = "") -> bytes:
    return element(0x65, element(0x0A, code.to_bytes(2, "big")), octets(""), octets(text))


def told(value: bytes) -> bytes:
    return element(0x79, element(0x80, wire.SYNC_INFO.encode()), element(0x81, value))


def test_an_entry() -> None:
    state = element(0x30, element(0x0A, b"\x01"), octets(UUID(NUMBER).bytes))
    whole = message(7, entry("cn=Ann", mail=["ann@x.example"], photo=[b"\xff"]), control(wire.SYNC_STATE, state))
    number, found = wire.read(whole)
    assert number == 7
    assert isinstance(found, wire.Found)
    assert found.dn == "cn=Ann"
    assert found.values == [("mail", [b"ann@x.example"]), ("photo", [b"\xff"])]
    assert wire.sync_state(found) == (wire.State.ADD, NUMBER)


def test_the_end_of_a_result() -> None:
    pages = element(0x30, element(0x02, b"\x00"), octets("next"))
    synced = element(0x30, octets("cookie"), element(0x01, b"\xff"))
    whole = message(2, done(4, "too many"), control(wire.PAGED, pages), control(wire.SYNC_DONE, synced))
    _, found = wire.read(whole)
    assert isinstance(found, wire.Done)
    assert (found.code, found.text) == (4, "too many")
    assert wire.paged_cookie(found) == b"next"
    assert wire.sync_done(found) == (b"cookie", True)
    _, found = wire.read(message(2, done()))
    assert isinstance(found, wire.Done)
    assert wire.paged_cookie(found) == b""
    assert wire.sync_done(found) == (None, False)


def test_what_is_told_between() -> None:
    ids = element(0xA3, octets("cookie"), element(0x01, b"\xff"), element(0x31, octets(UUID(NUMBER).bytes)))
    _, found = wire.read(message(2, told(ids)))
    assert isinstance(found, wire.Told)
    assert wire.sync_ids(found) == wire.Ids(True, frozenset({NUMBER}))
    assert not wire.ends_presence(found)
    _, found = wire.read(message(2, told(element(0xA2, octets("cookie")))))
    assert isinstance(found, wire.Told)
    assert wire.sync_ids(found) is None
    assert wire.ends_presence(found)


def test_a_notice_and_a_reference() -> None:
    notice = element(0x78, element(0x0A, b"\x34"), octets(""), octets("going down"))
    assert wire.read(message(0, notice)) == (0, wire.Other("going down"))
    assert wire.read(message(3, element(0x73, octets("ldap://other.example/")))) == (3, wire.Referred())


def test_the_request_for_changes() -> None:
    assert wire.sync_request(None) == b"\x30\x03\x0a\x01\x01"
    assert wire.sync_request(b"abc") == b"\x30\x08\x0a\x01\x01\x04\x03abc"
    assert wire.sync_request(b"x" * 300)[:4] == b"\x30\x82\x01\x33"


def test_the_size_of_a_message_is_known_from_its_first_octets() -> None:
    whole = message(7, entry("cn=Ann", note=["x" * 300]))
    known = [wire.size_of(whole[:end]) for end in range(len(whole) + 1)]
    assert known[:6] == [None] * 6
    assert set(known[6:]) == {len(whole)}
    for bad in (b"\x31\x00", b"\x30\x80", b"\x30\x85\x01\x01\x01\x01\x01"):
        with pytest.raises(wire.WireError):
            wire.size_of(bad)


@given(st.binary(max_size=200))
def test_any_octets_are_an_answer_or_an_error(octets_: bytes) -> None:
    _try(octets_)


@given(st.data())
def test_an_answer_with_faults_is_an_answer_or_an_error(data: st.DataObject) -> None:
    state = element(0x30, element(0x0A, b"\x01"), octets(UUID(NUMBER).bytes))
    ids = element(0xA3, element(0x01, b"\xff"), element(0x31, octets(UUID(NUMBER).bytes)))
    whole = data.draw(
        st.sampled_from(
            [
                message(1, entry("cn=a", mail=["a@x.example"]), control(wire.SYNC_STATE, state)),
                message(1, done(), control(wire.PAGED, element(0x30, element(0x02, b"\x00"), octets("x")))),
                message(1, told(ids)),
            ]
        )
    )
    at = data.draw(st.integers(0, len(whole) - 1))
    _try(whole[:at] + data.draw(st.binary(max_size=3)) + whole[at + data.draw(st.integers(0, 3)) :])


def _try(octets_: bytes) -> None:
    with suppress(wire.WireError):
        wire.size_of(octets_)
    with suppress(wire.WireError):
        _, found = wire.read(octets_)
        if isinstance(found, wire.Found):
            wire.sync_state(found)
        elif isinstance(found, wire.Done):
            with suppress(wire.WireError):
                wire.paged_cookie(found)
            wire.sync_done(found)
        elif isinstance(found, wire.Told):
            with suppress(wire.WireError):
                wire.sync_ids(found)
            wire.ends_presence(found)
