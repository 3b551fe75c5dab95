"""Lines longer than SMTP allows come in, and never go out (RFC 5321 §4.5.3.1.6)."""

from __future__ import annotations

from email import message_from_bytes
from email.policy import default

from tests.peers.gateway import Gateway
from tests.peers.raw import send
from tests.peers.sink import Sink

LIMIT = 998
HEAD = b"From: <ann@source.example>\r\nTo: <bob@target.example>\r\nSubject: long\r\n"
MIME = b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"


def longest(octets: bytes) -> int:
    return max(map(len, octets.split(b"\r\n")))


def crossed(gateway: Gateway, sink: Sink, content: bytes) -> bytes:
    assert send(gateway.port, "ann@source.example", ["bob@target.example"], content).code == 250
    sink.wait_for(1)
    octets = sink.taken()[0].octets
    assert octets is not None
    return octets


def test_a_long_header_line_is_folded_and_nothing_else_changed(gateway: Gateway, sink: Sink) -> None:
    field = b"Authentication-Results: mx.example; " + b"; ".join(
        b"dkim=pass header.d=d%d.example" % n for n in range(200)
    )
    body = b"first\r\n\r\n  second\r\n"
    octets = crossed(gateway, sink, HEAD + field + b"\r\n\r\n" + body)
    assert longest(octets) <= LIMIT
    head, _, got = octets.partition(b"\r\n\r\n")
    assert got == body
    unfolded = head.replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ")
    assert b" ".join(field.split()) in b" ".join(unfolded.split())


def test_a_long_line_of_text_is_encoded_and_read_as_it_was(gateway: Gateway, sink: Sink) -> None:
    text = "caf\u00e9 " * 2000
    octets = crossed(gateway, sink, HEAD + MIME + b"\r\n" + text.encode() + b"\r\n")
    assert longest(octets) <= LIMIT
    assert message_from_bytes(octets, policy=default).get_content().rstrip("\r\n") == text


def test_a_line_of_a_mebibyte_is_taken(gateway: Gateway, sink: Sink) -> None:
    octets = crossed(gateway, sink, HEAD + MIME + b"\r\n" + b"x" * (1 << 20) + b"\r\n")
    assert longest(octets) <= LIMIT
    assert message_from_bytes(octets, policy=default).get_content().rstrip("\r\n") == "x" * (1 << 20)
