"""Commands, names and dates as they go over the wire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.imap.wire.commands import (
    Appending,
    Literal,
    append,
    astring,
    command,
    flag_list,
    folder,
    joined,
    numbers,
    read_numbers,
    string,
)
from connectors.imap.wire.dates import date_time, seconds
from connectors.imap.wire.names import from_wire, to_wire
from connectors.imap.wire.tokens import values
from gateway.contract import Content


@pytest.mark.parametrize(
    ("wanted", "text"),
    [([3], b"3"), ([1, 2, 3], b"1:3"), ([5, 1, 2, 9, 8], b"1:2,5,8:9"), ([4, 4], b"4")],
)
def test_sequence_sets(wanted: list[int], text: bytes) -> None:
    assert numbers(wanted) == text
    assert read_numbers(text) == sorted(set(wanted))


@given(st.sets(st.integers(1, 300), min_size=1))
def test_a_sequence_set_is_read_back(wanted: set[int]) -> None:
    assert read_numbers(numbers(wanted)) == sorted(wanted)


def test_what_is_no_sequence_set_is_refused() -> None:
    for text in (b"", b"*", b"1:*", b"1:99999999"):
        with pytest.raises(ValueError, match=r"set|invalid literal"):
            read_numbers(text)
    with pytest.raises(ValueError, match="a number at least"):
        numbers([])


@pytest.mark.parametrize(
    ("name", "wire"),
    [
        ("INBOX", b"INBOX"),
        ("Entwürfe", b"Entw&APw-rfe"),
        ("a & b", b"a &- b"),
        ("台北", b"&U,BTFw-"),
        ("~peter/mail/台北/日本語", b"~peter/mail/&U,BTFw-/&ZeVnLIqe-"),  # RFC 3501 §5.1.3
        ("\U0001f600", b"&2D3eAA-"),
        ("tab\there", b"tab&AAk-here"),
    ],
)
def test_names(name: str, wire: bytes) -> None:
    assert to_wire(name) == wire
    assert from_wire(wire) == name
    assert from_wire(to_wire(name, utf8=True), utf8=True) == name


@pytest.mark.parametrize(
    ("wire", "name"),
    [
        (b"R&D", "R&D"),
        (b"a&", "a&"),
        (b"&AGE", "a"),
        (b"caf\xc3\xa9", "café"),
        (b"caf\xe9", "caf\xe9"),
        (b"&2D0-", "&2D0-"),
    ],
)
def test_names_that_are_not_quite_utf7_are_taken_as_they_stand(wire: bytes, name: str) -> None:
    assert from_wire(wire) == name


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_name_is_read_back(name: str) -> None:
    assert from_wire(to_wire(name)) == name


@pytest.mark.parametrize(
    ("octets", "piece"),
    [
        (b"INBOX", b"INBOX"),
        (b"a b", b'"a b"'),
        (b'say "x" \\', b'"say \\"x\\" \\\\"'),
        (b"", b'""'),
        (b"NIL", b'"NIL"'),
        (b"50%", b'"50%"'),
        (b"a*", b'"a*"'),
        (b"(x)", b'"(x)"'),
        (b"]", b'"]"'),
    ],
)
def test_texts(octets: bytes, piece: bytes) -> None:
    assert astring(octets) == piece


@pytest.mark.parametrize("octets", [b"caf\xe9", b"a\r\nb", b"a\0", b"x" * 1001])
def test_what_cannot_be_quoted_is_a_literal(octets: bytes) -> None:
    made = string(octets)
    assert isinstance(made, Literal)
    assert made.content.octets() == octets


@given(st.binary(max_size=60))
def test_a_text_is_read_back(octets: bytes) -> None:
    made = astring(octets)
    parts = [b"", made.content.octets(), b""] if isinstance(made, Literal) else [made]
    assert values(parts) == [octets]


def test_no_flag_can_end_its_list() -> None:
    assert flag_list([b"b", b"\\Seen", b"$MDNSent"]) == b"($MDNSent \\Seen b)"
    for bad in (b"a b", b"x)", b"", b"\\", b"a\r\nb", b"x\\y"):
        with pytest.raises(ValueError, match="is no flag"):
            flag_list([bad])


def test_append_of_several() -> None:
    one = Appending(Content(b"a\r\n"), frozenset((b"\\Seen",)), 60.0)
    other = Appending(Content(b"bc"))
    made = append(folder("a b"), [one, other])
    assert made.pieces == (
        b'APPEND "a b" (\\Seen) "01-Jan-1970 00:01:00 +0000" ',
        Literal(one.content),
        b" ",
        Literal(other.content),
    )
    assert made.name == "APPEND"
    assert command(b"UID", b"FETCH", b"1").name == "UID FETCH"
    login = joined(b"LOGIN ", b"a", b" ", b"pass")
    assert login.pieces == (b"LOGIN a pass",)
    assert "pass" not in repr(login)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        (b" 1-Jan-1970 00:00:00 +0000", 0.0),
        (b"24-Nov-2026 01:02:03 +0100", 1795478523.0),
        (b"24-nov-2026 01:02:03 -0000", 1795482123.0),
        (b"30-Jun-1997 23:59:60 +0000", 867715199.0),
        (b"30-Dec-1899 00:00:00 +0000", None),
        (b"31-Feb-2026 00:00:00 +0000", None),
        (b"24-Foo-2026 00:00:00 +0000", None),
        (b"24-Nov-2026 01:02:03 +9999", None),
        (b"yesterday", None),
    ],
)
def test_dates(text: bytes, at: float | None) -> None:
    assert seconds(text) == at
    if at is not None and b":60" not in text:
        assert seconds(date_time(at).strip(b'"')) == at
