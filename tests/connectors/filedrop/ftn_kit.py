"""What the tests of FidoNet files share: a codec, parcels, and messages read back."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Sequence
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from connectors.filedrop.files import InMemory
from connectors.filedrop.formats.ftn.codec import Ftn
from connectors.filedrop.formats.ftn.packets import PackedMessage, read_messages
from connectors.filedrop.formats.ftn.settings import FtnSettings
from connectors.filedrop.formats.ftn.text import MessageText, read_text
from connectors.filedrop.formats.values import Bad, Encoded, Options, Part, Span, Stamp
from gateway.contract import Content, Envelope, Item, Notify, Origin, Parcel, Recipient
from mappings.network import parse

DATA = Path(__file__).parents[2] / "data" / "filedrop" / "ftn"
STEM = "20261124T000203000Z-7-0"
AT = 1795482123.0  # 24 Nov 2026 01:02:03 UTC


def codec(**settings: Any) -> Ftn:
    """Return the codec of a gateway at 2:280/999."""
    return Ftn("ftn", Options(network="ftn", hostname="gw.example"), FtnSettings(**{"aka": "2:280/999", **settings}))


def read(octets: bytes, name: str = "1a2b3c4d.pkt", **settings: Any) -> list[Part | Bad]:
    """Return what is in a file."""
    return list(codec(**settings).decode(InMemory(octets), Stamp("00ff", AT, name)))


def read_one(octets: bytes, name: str = "1a2b3c4d.pkt", **settings: Any) -> tuple[Part, EmailMessage]:
    """Return the one message of a file, and its content as Python's own parser reads it."""
    [part] = read(octets, name, **settings)
    assert isinstance(part, Part), part
    return part, parsed(part)


def parsed(part: Part) -> EmailMessage:
    pieces = [piece for piece in part.content if isinstance(piece, bytes)]
    return email.message_from_bytes(b"".join(pieces), policy=email.policy.default)


def text_of(message: EmailMessage) -> str:
    body = message.get_body(("plain",))
    assert body is not None
    return str(body.get_content()).replace("\r\n", "\n")


def parcel(
    octets: bytes | str, to: str = "ftn:Bob Ray@2:280/464", *, notify: Notify = Notify.UNSET, priority: int = 0
) -> Parcel:
    """Return a message on its way to one recipient."""
    if isinstance(octets, str):
        octets = octets.replace("\n", "\r\n").encode()
    address = parse(to)
    sender = parse("smtp:ann@acme.example")
    envelope = Envelope(sender, (Recipient(address, notify),), Origin("internet"), priority=priority)
    return Parcel(7, envelope, Content(octets), (Item((7, 0), address, address, notify),), AT)


def encode(made: Ftn, parcel: Parcel, stem: str = STEM) -> Encoded:
    return made.encode(parcel, parcel.items, stem)


def packet(made: Ftn, encoded: Encoded) -> bytes:
    return made.opening(encoded) + b"".join(encoded.octets()) + made.closing()


def packed(octets: bytes) -> list[PackedMessage]:
    """Return the messages of a packet, all of which can be read."""
    found = list(read_messages(InMemory(octets), 1 << 24))
    assert all(isinstance(each, PackedMessage) for each in found), found
    return [each for each in found if isinstance(each, PackedMessage)]


def written(made: Ftn, parcel: Parcel) -> tuple[PackedMessage, MessageText]:
    """Return the one netmail that a message becomes, and its text taken apart."""
    [message] = packed(packet(made, encode(made, parcel)))
    return message, read_text(message.text, made.settings.codec)


def joined(pieces: Sequence[bytes | Span], file: bytes) -> bytes:
    """Return the octets of a Bad's item."""
    return b"".join(p if isinstance(p, bytes) else file[p.start : p.end] for p in pieces)
