"""From a parcel to commands: what is said to which peer, and who fails before anything is sent."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.smtp.client_wire import Extensions
from connectors.smtp.transaction import ascii_domain, plan, xtext
from gateway.contract import Address, Content, Item, Notify, Parcel, Traits
from tests.connectors.smtp.client_kit import BODY, item, parcel, word

ALL = Extensions(
    pipelining=True, eight_bit=True, size_offered=True, size=10_000, utf8=True, dsn=True, enhanced_codes=True
)
NONE = Extensions()


def commands(made: Parcel, peer: Extensions, *, assume_8bit: bool = True) -> tuple[list[str], list[str]]:
    tx, outcomes = plan(made, made.items, peer, assume_8bit=assume_8bit)
    lines = [line.decode().removesuffix("\r\n") for line in (tx.mail, *tx.rcpts)] if tx else []
    return lines, [word(outcome) for _, outcome in outcomes]


def with_item(one: Item) -> Parcel:
    return replace(parcel(1), items=(one,))


def test_a_plain_message_to_a_peer_with_nothing() -> None:
    assert commands(parcel(1), NONE) == (["MAIL FROM:<a@x.example>", "RCPT TO:<b@y.example>"], [])


def test_a_plain_message_to_a_peer_with_all() -> None:
    expected = [f"MAIL FROM:<a@x.example> SIZE={len(BODY)}", "RCPT TO:<b@y.example>"]
    assert commands(parcel(1), ALL) == (expected, [])


def test_8bit_content_is_declared_where_that_can_be_heard() -> None:
    eight = parcel(1, content=BODY + b"\xe4\r\n")
    assert "BODY=8BITMIME" in commands(eight, ALL)[0][0]
    assert commands(eight, NONE)[0][0] == "MAIL FROM:<a@x.example>"
    assert commands(eight, NONE, assume_8bit=False) == ([], ["failed 5.6.3"])


def test_a_message_over_the_peers_size() -> None:
    assert commands(parcel(1, content=b"x" * 10_001), ALL) == ([], ["failed 5.3.4"])
    assert commands(parcel(1, content=b"x" * 10_000), ALL)[1] == []


# RFC 6531: (sender, recipient, header, the source asked for SMTPUTF8, the peer offers it) -> outcome or MAIL's end
UTF8: list[tuple[str, str, bytes, bool, bool, str]] = [
    ("a@x.example", "b@y.example", b"Subject: t", True, True, ""),
    ("a@x.example", "b@y.example", b"Subject: t", True, False, ""),
    ("a@x.example", "b@y.example", b"Subject: gr\xc3\xbcn", True, True, " SMTPUTF8"),
    ("a@x.example", "b@y.example", b"Subject: gr\xc3\xbcn", True, False, "failed 5.6.9"),
    # Raw 8-bit headers from a source that never heard of SMTPUTF8 are 8-bit content like any.
    ("a@x.example", "b@y.example", b"Subject: gr\xfcn", False, False, ""),
    ("jürgen@x.example", "b@y.example", b"Subject: t", True, True, " SMTPUTF8"),
    ("jürgen@x.example", "b@y.example", b"Subject: t", True, False, "failed 5.6.7"),
    ("a@bücher.example", "b@y.example", b"Subject: t", True, False, ""),
    ("a@x.example", "jürgen@y.example", b"Subject: t", True, True, " SMTPUTF8"),
    ("a@x.example", "jürgen@y.example", b"Subject: t", True, False, "failed 5.6.7"),
    ("a@x.example", "b@bücher.example", b"Subject: t", True, False, ""),
]


@pytest.mark.parametrize(("sender", "to", "header", "asked", "offered", "expected"), UTF8)
def test_utf8(sender: str, to: str, header: bytes, asked: bool, offered: bool, expected: str) -> None:
    made = parcel(1, to, sender=sender, content=header + b"\r\n\r\nx\r\n", smtputf8=asked)
    lines, failed = commands(made, Extensions(utf8=offered))
    if expected.startswith("failed"):
        assert (lines, failed) == ([], [expected])
    else:
        assert failed == []
        assert lines[0].endswith(">" + expected)
        assert offered or all(line.isascii() for line in lines)


DSN: list[tuple[Item, str]] = [
    (item("b@y.example"), ""),
    (item("b@y.example", notify=Notify.NEVER, orcpt="rfc822;x@z.example"), " NOTIFY=NEVER"),
    (item("b@y.example", notify=Notify.FAILURE), " NOTIFY=FAILURE"),
    (
        item("b@y.example", notify=Notify.SUCCESS | Notify.FAILURE | Notify.DELAY, orcpt="rfc822;x@z.example"),
        " NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;x@z.example",
    ),
    # Mapping changed the address: a report from further on names what the sender wrote.
    (item("b@y.example", original="ann@z.example"), " ORCPT=rfc822;ann@z.example"),
    (item("b@y.example", orcpt="x400;/S=Lee/G=Ann+x/"), " ORCPT=x400;/S+3DLee/G+3DAnn+2Bx/"),
    (item("b@y.example", orcpt="rfc822;jürgen@z.example"), " ORCPT=utf-8;j\\x{FC}rgen@z.example"),
]


@pytest.mark.parametrize(("one", "expected"), DSN)
def test_dsn_wishes(one: Item, expected: str) -> None:
    assert commands(with_item(one), ALL)[0][1] == "RCPT TO:<b@y.example>" + expected
    assert commands(with_item(one), NONE)[0][1] == "RCPT TO:<b@y.example>"


def test_dsn_of_the_message() -> None:
    made = parcel(1, ret="full", envid="a=b c")
    assert commands(made, Extensions(dsn=True))[0][0] == "MAIL FROM:<a@x.example> RET=FULL ENVID=a+3Db+20c"


@pytest.mark.parametrize(
    "value", ["b@y.example\r\nRCPT TO:<evil@x.example>", "b@y.example\n", "b\0@y.example", "\x7f@y.example", ""]
)
def test_no_address_can_smuggle_a_command(value: str) -> None:
    one = Item((1, 0), Address("smtp", value, value), Address("smtp", value, value))
    assert commands(with_item(one), ALL) == ([], ["failed 5.1.3"])


def test_an_address_of_another_network_fails() -> None:
    mhs = Address("mhs", "ann@sales", "ann@sales")
    assert commands(with_item(Item((1, 0), mhs, mhs)), ALL) == ([], ["failed 5.1.3"])
    made = parcel(1)
    assert commands(replace(made, envelope=replace(made.envelope, reverse_path=mhs)), ALL)[1] == ["failed 5.1.7"]


def test_a_content_file_nobody_looked_at_is_declared_8bit_without_a_look() -> None:
    class Unread:
        size = 100

        def read(self, offset: int, length: int) -> bytes:
            raise AssertionError("read in the event loop")

    assert "BODY=8BITMIME" in commands(parcel(1, content=Content(Unread())), ALL)[0][0]
    seven = Content(Unread(), traits=Traits(crlf_only=True, eight_bit=False))
    assert "BODY" not in commands(parcel(1, content=seven), ALL)[0][0]


@given(st.text(st.characters(max_codepoint=126, min_codepoint=32)))
def test_xtext_reads_back(text: str) -> None:
    """RFC 3461 §4."""
    encoded = xtext(text)
    assert re.fullmatch(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*", encoded)
    assert re.sub(r"\+([0-9A-F]{2})", lambda m: chr(int(m[1], 16)), encoded) == text


def test_domains_in_ascii() -> None:
    assert ascii_domain("Bücher.Example") == "xn--bcher-kva.example"
    assert ascii_domain("ACME.example") == "acme.example"
