"""Packets: FidoNet's packets and stored messages mutated field by field; random octets seldom get past their header."""

from __future__ import annotations

import struct
from dataclasses import replace
from random import Random
from typing import Final

from connectors.filedrop.files import InMemory
from connectors.filedrop.formats.ftn.packets import END, HEADER_OCTETS, PackedMessage, read_messages
from connectors.filedrop.formats.ftn.stored import StoredMessage, read_stored, write_stored
from tests.fuzz.mutate import MAX_OCTETS, Octets, moved
from tests.fuzz.promises import MARK

TOKENS: Final = (
    b"\r", b"\n", b"\x8d", b"\0", b"\x1a", b"\x01", b" ", b"@", b":", b"/", b".", b"#", b"~", b"\\", b"..", b"\xff",
    b"\xc3\xa9", b"\x01INTL 2:280/464 2:280/999\r", b"\x01INTL 65535:65535/65535 0:0/0\r", b"\x01FMPT 1\r",
    b"\x01TOPT 99999\r", b"\x01MSGID: 2:280/464 0000abcd\r", b'\x01MSGID: "a b@c" 1\r', b"\x01REPLY: <a@b> 2\r",
    b"\x01CHRS: CP866 2\r", b"\x01CHRS: UTF-8 4\r", b"\x01CHRS: UTF-7 2\r", b"\x01TZUTC: -9999\r",
    b"\x01TZUTC: 0530\r", b"\x01Via 2:280/999 @20261124.010203.UTC x\r", b"\x01REPLYADDR a@b.example\r",
    b"\x01REALNAME a\r", b"\x01SPLIT: 24 Nov 26 01:02:03 @280/464 1 02/03 +++\r", b"\x01PID: x\r", b"AREA:SYSOP_NL\r",
    b"SEEN-BY: 280/464 5\r", b" * Origin: x (2:280/464.1)\r", b"--- x\r", b"To: ann@acme.example\r",
    b"Cc: a@b, c@d\r", b"Bcc: e@f\r", b"Subject: x\r", b"From: x@y\r", b"begin 644 a.txt\r", b"#86)C\r", b"`\rend\r",
    b"UUCP", b"24 Nov 26  01:02:03", b"a.zip b.zip", b"^C:\\x\\y.zip", b"con.txt", b"Ann Lee",
)  # fmt: skip
_ODD: Final = (0, 1, 2, 7, 255, 256, 280, 464, 999, 0x7FFF, 0x8000, 0xFFFF)
_TEXTS: Final = ("date", "to", "sender", "subject", "text", "text", "text")
_octets: Final = Octets(TOKENS)


def mutated(octets: bytes, other: bytes, chance: Random) -> bytes:
    """Return another packet, stored message, or anything."""
    if chance.random() < 0.2:
        return _octets(octets, other, chance)
    file, mark, beside = octets.partition(MARK)
    if file[18:20] == b"\x02\x00":
        file = _packet(file, other, chance)
    else:
        stored = read_stored(file)
        file = _octets(file, other, chance) if stored is None else _stored(stored, chance)
    if chance.random() < 0.05:
        mark, beside = (b"", b"") if mark else (MARK, b"a file")
    return (file + mark + beside)[:MAX_OCTETS]


def _packet(file: bytes, other: bytes, chance: Random) -> bytes:
    header = _header(file[:HEADER_OCTETS], chance)
    messages, others = _messages(file), _messages(other)
    for _ in range(chance.choice((1, 1, 2, 4))):
        if messages and chance.random() < 0.8:
            n = chance.randrange(len(messages))
            messages[n] = _message(messages[n], chance.choice(others or messages), chance)
        else:
            packed = [_octets_of(each) for each in messages]
            made = moved(packed, [_octets_of(each) for each in others] or [b"\2\0"], chance)
            return header + b"".join(made) + END
    end = b"" if chance.random() < 0.05 else END
    return header + b"".join(map(_octets_of, messages)) + end


def _header(header: bytes, chance: Random) -> bytes:
    """Change a word of a packet's header, its type less often than the others."""
    if chance.random() < 0.7 or len(header) < HEADER_OCTETS:
        return header
    at = 2 * chance.randrange(HEADER_OCTETS // 2)
    if at == 18 and chance.random() < 0.8:
        return header
    return header[:at] + struct.pack("<H", chance.choice(_ODD)) + header[at + 2 :]


def _messages(file: bytes) -> list[PackedMessage]:
    if file[18:20] != b"\x02\x00":
        return []
    return [each for each in read_messages(InMemory(file), MAX_OCTETS) if isinstance(each, PackedMessage)]


def _message(message: PackedMessage, other: PackedMessage, chance: Random) -> PackedMessage:
    match chance.randint(0, 6):
        case 0:
            return replace(message, attributes=message.attributes ^ 1 << chance.randrange(16))
        case 1:
            return replace(message, origin=(chance.choice(_ODD), chance.choice(_ODD)))
        case 2:
            return replace(message, destination=(chance.choice(_ODD), chance.choice(_ODD)))
        case _:
            name = chance.choice(_TEXTS)
            made = _octets(getattr(message, name), getattr(other, chance.choice(_TEXTS)), chance)
            match name:
                case "date":
                    return replace(message, date=made)
                case "to":
                    return replace(message, to=made)
                case "sender":
                    return replace(message, sender=made)
                case "subject":
                    return replace(message, subject=made)
            return replace(message, text=made)


def _octets_of(message: PackedMessage) -> bytes:
    """Return a packed message whose fields are as long as they are."""
    (node, net), (to_node, to_net) = message.origin[::-1], message.destination[::-1]
    front = struct.pack("<7H", 2, node, to_node, net, to_net, message.attributes, message.cost)
    fields = (message.date, message.to, message.sender, message.subject, message.text)
    return front + b"".join(each + b"\0" for each in fields)


def _stored(stored: StoredMessage, chance: Random) -> bytes:
    if chance.random() < 0.2:
        return write_stored(replace(stored, zones=(chance.choice(_ODD), 2), points=(chance.choice(_ODD), 0)))
    return write_stored(replace(stored, message=_message(stored.message, stored.message, chance)))
