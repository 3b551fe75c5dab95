"""Targets of the Exchange connectors: what is told of a mail's fate, and whom a mail that is sent names."""

from __future__ import annotations

from email.errors import HeaderParseError
from email.message import Message
from email.parser import BytesHeaderParser
from email.utils import getaddresses
from typing import Final

from connectors.exchange.letter import letter
from connectors.exchange.losses import differences, predict
from connectors.exchange.soundness import is_sound
from gateway.contract import Content, memo
from mappings.network import network
from tests.fuzz import adaptation
from tests.fuzz.mutate import Octets
from tests.fuzz.target import Target, same_octets
from tests.peers.ews.honest import remade

_MAX_SEED: Final = 20_000
_PEOPLE: Final = (
    b"To: ", b"Cc: ", b"Bcc: ", b"From: ", b"Sender: ", b"Resent-To: ", b"ann@acme.example", b"bob@far.example",
    b"x@y.example", b", ", b";", b"<", b">", b'"', b"(", b")", b":", b"\r\n ", b"all: ", b"=?utf-8?q?=2C?=", b"\\",
)  # fmt: skip
_TO: Final = {text: network("smtp").parse(text) for text in ("ann@acme.example", "o'bob+x@far.example")}
_SENDER: Final = network("smtp").parse("gateway@acme.example")


def check_losses(octets: bytes) -> str:
    """Check that what the honest peer makes of a message differs in nothing that was not told."""
    content = Content(octets)
    told = {note.what for note in predict(content)}
    try:
        back = remade(octets)
    except HeaderParseError:
        return "no such encoded word"  # by the library that the peer reads with
    found = {note.what for note in differences(content, Content(back))}
    assert found <= told, found - told
    return f"{is_sound(content)} {sorted(found)}"


def check_letter(octets: bytes) -> str:
    """Check that a mail names all whom it is for, and nobody else, also to another reader."""
    made, notes = letter(Content(octets), _TO, _SENDER, on_behalf=len(octets) % 2 == 0, hostname="gw.example")
    found = memo(made)
    names = [box.address.value.lower() for n in (b"to", b"cc", b"bcc") for box in found.mailboxes(n, ("smtp",))]
    assert sorted(names) == sorted(_TO), names
    parsed: Message = BytesHeaderParser().parsebytes(made.octets())
    fields = [str(value) for name in ("to", "cc", "bcc") for value in parsed.get_all(name, [])]
    other = sorted(address.lower() for _, address in getaddresses(fields) if address)
    assert other == sorted(_TO), other
    assert made.body() == Content(octets).body()
    return f"{[note.what for note in notes]}"


TARGETS: Final = tuple(
    Target(name, check, adaptation.messages, Octets(tokens), same_octets, same_octets, 5.0, _MAX_SEED)
    for name, check, tokens in (
        ("exchange-losses", check_losses, adaptation.MIME),
        ("exchange-letter", check_letter, _PEOPLE),
    )
)
