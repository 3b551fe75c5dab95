"""A sent mail names those it is for, all of them, and nobody else; whatever its header said."""

from __future__ import annotations

import email.policy
from email import message_from_bytes
from email.utils import getaddresses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.exchange.letter import letter
from gateway.contract import Content, memo
from mappings.network import Address, network

SENDER = network("smtp").parse("gateway@acme.example")
ANN, BOB, EVE = "ann@acme.example", "bob@far.example", "o'eve+x@far.example"


def addresses(*names: str) -> dict[str, Address]:
    return {each: network("smtp").parse(each) for each in names}


def written(octets: bytes, *to: str, on_behalf: bool = False) -> bytes:
    content, _ = letter(Content(octets), addresses(*to), SENDER, on_behalf=on_behalf, hostname="gw.example")
    return content.octets()


def named(octets: bytes) -> list[str]:
    """Return all whom another program would send this to."""
    parsed = message_from_bytes(octets, policy=email.policy.compat32)
    fields = [str(value) for name in ("to", "cc", "bcc") for value in parsed.get_all(name, [])]
    return sorted(address.lower() for _, address in getaddresses(fields) if address)


def ours(octets: bytes) -> list[str]:
    found = memo(Content(octets))
    return sorted(
        box.address.value.lower() for name in (b"to", b"cc", b"bcc") for box in found.mailboxes(name, ("smtp",))
    )


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"To: ann@acme.example\r\n",
        b"To: Ann <ANN@acme.example>, Bob <bob@far.example>, o'eve+x@far.example\r\n",
        b"To: ann@acme.example\r\nCc: ann@acme.example, x@y.example\r\nBcc: z@y.example\r\n",
        b"To: undisclosed-recipients:;\r\n",
        b"To: all: ann@acme.example, x@y.example;\r\nTo: bob@far.example\r\n",
        b'To: "a@b.example, c@d.example" <ann@acme.example>\r\n',
        b"To: Bob, Ann, Eve\r\n",
        b"To: <ann@acme.example\r\nCc: @\r\n",
        b"To: =?utf-8?q?J=C3=B6rg?= <bob@far.example>,\r\n ann@acme.example (that one)\r\n",
        b"To : ann@acme.example\r\nCC:\tbob@far.example\n",
        b"X: a\rTo: x@y.example\r\nTo: ann@acme.example\rBcc: x@y.example\r\n",
        b"X: a\0\nTo: x@y.example\n",
        b"Resent-Bcc: x@y.example\r\nReturn-Path: <x@y.example>\r\nX-Gatepost-Original-To: x@y.example\r\n",
    ],
)
@pytest.mark.parametrize("to", [(ANN,), (ANN, BOB), (ANN, BOB, EVE)])
def test_it_names_those_alone(head: bytes, to: tuple[str, ...]) -> None:
    octets = written(b"From: p@q.example\r\n" + head + b"Subject: s\r\n\r\nTo: x@y.example\r\n", *to)
    assert ours(octets) == sorted(to)
    assert named(octets) == sorted(to)
    assert octets.endswith(b"\r\n\r\nTo: x@y.example\r\n")
    assert b"Subject: s\r\n" in octets


def test_what_stood_there_is_kept_beside_it() -> None:
    octets = written(
        b"To: Ann <ann@acme.example>,\r\n x@y.example\r\nCc: bob@far.example\r\nFrom: p@q.example\r\n\r\n", ANN
    )
    found = memo(Content(octets))
    assert found.get(b"x-gatepost-original-to") == "Ann <ann@acme.example>, x@y.example"
    assert found.get(b"x-gatepost-original-cc") == "bob@far.example"
    whole = b"To: Ann <ann@acme.example>\r\nFrom: p@q.example\r\n\r\nhi"
    assert written(whole, ANN) == whole, "what needs no change has none"


def test_somebody_has_written_it() -> None:
    assert memo(Content(written(b"Subject: s\r\n\r\nx", ANN))).get(b"from") == "gateway@acme.example"
    behalf = memo(Content(written(b"From: p@q.example\r\nSender: x@y.example\r\n\r\nx", ANN, on_behalf=True)))
    assert behalf.get_all(b"sender") == ("gateway@acme.example",)
    assert written(b"no header at all\r\n", ANN).endswith(b"\r\n\r\nno header at all\r\n")


PIECES = [
    b"To: ", b"Cc: ", b"Bcc: ", b"From: ", b"X: ", b"ann@acme.example", b"bob@far.example", b"x@y.example", b", ", b";",
    b"<", b">", b'"', b"(", b")", b":", b"\r\n", b"\r\n ", b"\n", b"\r", b"\0", b"\xc3\xa4", b"=?utf-8?q?=2C?=", b"\\",
    b"@",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join), st.sampled_from([(ANN,), (ANN, BOB)]))
def test_any_header_names_those_alone(head: bytes, to: tuple[str, ...]) -> None:
    octets = written(b"Subject: s\r\n" + head + b"\r\n\r\nbody\r\n", *to)
    assert ours(octets) == sorted(to)
    assert named(octets) == sorted(to)
