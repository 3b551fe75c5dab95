"""Packets: the files in which FidoNet systems hand messages to each other, types 2, 2+ and 2.2, read and written.

Everything is a 16-bit word, low octet first, or a string that a NUL ends. Reading takes what is common though not
allowed: dates that end early, a missing end mark, names over their length, octets behind the end mark. It holds one
message in memory at a time, and none over the limits given.
Sources: FTS-0001 (type 2), FSC-0039 and FSC-0048 (type 2+), FSC-0045 (type 2.2). A header of type 2.2 was tried
against no program of another's.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from connectors.filedrop.formats.ftn.node import Node
from gateway.contract import Blob

PacketType = Literal["2", "2+", "2.2"]
PointStyle = Literal["fsc39", "fsc48"]

HEADER_OCTETS: Final = 58
MESSAGE_OCTETS: Final = 34
"""The fixed part of a packed message, its date included."""
END: Final = b"\0\0"
DATE_OCTETS: Final = 20
NAME_OCTETS: Final = 35
SUBJECT_OCTETS: Final = 71
PASSWORD_OCTETS: Final = 8
DOMAIN_OCTETS: Final = 8
READ_OCTETS: Final = 255
"""The longest name or subject that is read; FTS-0001 allows 35 and 71."""

_WORDS: Final = struct.Struct("<12H")
_MESSAGE: Final = struct.Struct("<7H")
_PLUS: Final = struct.Struct("<H")
_FROM_A_POINT: Final = 0xFFFF
_WINDOW: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class PacketHeader:
    """What stands on top of a packet. `at` is (year, month 1..12, day, hour, minute, second); all 0 in type 2.2."""

    origin: Node
    destination: Node
    kind: PacketType
    at: tuple[int, int, int, int, int, int] = (0, 1, 0, 0, 0, 0)
    password: bytes = b""
    product: int = 0xFE
    revision: tuple[int, int] = (0, 0)
    """The program that made it: FTS-0001 gives 0xFE to those without a number of their own."""
    baud: int = 0


@dataclass(frozen=True, slots=True)
class PackedMessage:
    """One message as a packet holds it. Nodes are numbers within a net: zones and points stand in the text."""

    origin: tuple[int, int]
    """(net, node)"""
    destination: tuple[int, int]
    attributes: int
    cost: int
    date: bytes
    to: bytes
    sender: bytes
    subject: bytes
    text: bytes
    start: int = 0
    end: int = 0
    """Where it stands in the file; 0 in one that is to be written."""
    names: int = 0
    """Where its date ends, which may be a short one, and its names begin."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A place where a packet cannot be read. The octets [start, end) are what it spoils."""

    rule: str
    offset: int
    start: int
    end: int
    text: str
    mend: str
    found: bytes = b""


def read_header(octets: bytes) -> PacketHeader | Fault:
    """Read a packet's first 58 octets; a zone that is not told is 0."""
    if len(octets) < HEADER_OCTETS:
        text = f"a packet begins with {HEADER_OCTETS} octets of header, here are {len(octets)}"
        return Fault("header", 0, 0, len(octets), text, "have the file written anew", octets[:32])
    words = _WORDS.unpack_from(octets)
    if words[9] != 2:
        text = f"the packet's type is {words[9]}, not 2"
        return Fault("packet-type", 18, 0, len(octets), text, "have it written as type 2, 2+ or 2.2", octets[18:20])
    password = octets[26:34].partition(b"\0")[0]
    revision = (octets[25], 0)
    if words[8] == 2 and not any(octets[8:16]) and _is_domain(octets[38:46]) and _is_domain(octets[46:54]):
        zones = struct.unpack_from("<2H", octets, 34)
        origin = Node(zones[0], words[10], words[0], words[2], _domain(octets[38:46]))
        destination = Node(zones[1], words[11], words[1], words[3], _domain(octets[46:54]))
        return PacketHeader(origin, destination, "2.2", (0, 1, 0, 0, 0, 0), password, octets[24], revision)
    at = (words[2], words[3] + 1, words[4], words[5], words[6], words[7])
    if is_type_2plus(octets):
        net, revision = words[10], (octets[25], octets[43])
        zones = struct.unpack_from("<4H", octets, 46)
        if zones[2] and net == _FROM_A_POINT:  # FSC-0048: a point's own net stands elsewhere, for old programs
            net = _PLUS.unpack_from(octets, 38)[0]
        if not (zones[0] and zones[1]):
            zones = (*struct.unpack_from("<2H", octets, 34), *zones[2:])
        origin = Node(zones[0], net, words[0], zones[2])
        destination = Node(zones[1], words[11], words[1], zones[3])
        product = octets[24] | octets[42] << 8
        return PacketHeader(origin, destination, "2+", at, password, product, revision, words[8])
    zones = struct.unpack_from("<2H", octets, 34)
    origin = Node(zones[0], words[10], words[0])
    destination = Node(zones[1], words[11], words[1])
    return PacketHeader(origin, destination, "2", at, password, octets[24], revision, words[8])


def is_type_2plus(octets: bytes) -> bool:
    """Say whether a header of type 2 is of 2+: both copies of its capability word agree (FSC-0048)."""
    word = octets[44:46]
    return bool(word[0] & 1) and word == octets[41:39:-1]


def _is_domain(octets: bytes) -> bool:
    name, _, rest = octets.partition(b"\0")
    return bool(name) and all(0x21 <= o < 0x7F for o in name) and not any(rest)


def _domain(octets: bytes) -> str:
    return octets.partition(b"\0")[0].decode("ascii").lower()


def write_header(header: PacketHeader, style: PointStyle = "fsc39") -> bytes:
    """Return the 58 octets of a packet's header.

    `style` is how a type 2+ packet from a point names its net: both as they are, or as FSC-0048 hides them from
    programs that know no points.
    """
    origin, destination = header.origin, header.destination
    password = header.password[:PASSWORD_OCTETS].ljust(PASSWORD_OCTETS, b"\0")
    tail = struct.pack("<BB", header.product & 0xFF, header.revision[0]) + password
    zones = struct.pack("<2H", origin.zone, destination.zone)
    if header.kind == "2.2":
        front = struct.pack("<4H8xHH", origin.node, destination.node, origin.point, destination.point, 2, 2)
        nets = struct.pack("<2H", origin.net, destination.net)
        domains = b"".join(
            node.domain.encode("ascii", "replace")[:DOMAIN_OCTETS].ljust(DOMAIN_OCTETS, b"\0")
            for node in (origin, destination)
        )
        return front + nets + tail + zones + domains + b"\0\0\0\0"
    year, month, day, hour, minute, second = header.at
    net = origin.net
    extra = b"\0" * 20
    if header.kind == "2+":
        hidden = style == "fsc48" and origin.point != 0
        net = _FROM_A_POINT if hidden else net
        extra = (
            struct.pack("<H", origin.net if hidden else 0)
            + b"\x00\x01"  # the capability word, high octet first
            + struct.pack("<BBH", header.product >> 8, header.revision[1], 1)
            + zones
            + struct.pack("<2H", origin.point, destination.point)
            + b"\0\0\0\0"
        )
    front = _WORDS.pack(
        origin.node, destination.node, year, month - 1, day, hour, minute, second, header.baud, 2, net, destination.net
    )
    return front + tail + zones + extra


def write_message(message: PackedMessage) -> bytes:
    """Return a packed message. Names, subject and date are cut to their lengths, and end where they hold a NUL."""
    front = _MESSAGE.pack(
        2,
        message.origin[1],
        message.destination[1],
        message.origin[0],
        message.destination[0],
        message.attributes,
        message.cost,
    )
    fields = (
        (message.date, DATE_OCTETS - 1),
        (message.to, NAME_OCTETS),
        (message.sender, NAME_OCTETS),
        (message.subject, SUBJECT_OCTETS),
        (message.text, len(message.text)),
    )
    return front + b"".join(octets.partition(b"\0")[0][:most] + b"\0" for octets, most in fields)


class _Window:
    """A Blob read forwards, without the whole of it in memory."""

    def __init__(self, file: Blob, at: int) -> None:
        self._file = file
        self.at = at
        self._held = b""
        self._held_at = at

    def peek(self, length: int) -> bytes:
        """Return the next octets, fewer at the end of the file."""
        if self.at < self._held_at:  # gone back to the start of a string without an end
            self._held, self._held_at = b"", self.at
        have = self._held_at + len(self._held) - self.at
        if have < length:
            self._held = self._held[self.at - self._held_at :] + self._file.read(
                self.at + have, max(length - have, _WINDOW)
            )
            self._held_at = self.at
        start = self.at - self._held_at
        return self._held[start : start + length]

    def skip(self, length: int) -> None:
        self.at += length

    def string(self, most: int) -> bytes | None:
        """Return the octets before the next NUL and go behind it; None where more than `most` come first."""
        pieces: list[bytes] = []
        size = 0
        begin = self.at
        while True:
            piece = self.peek(min(_WINDOW, most + 1 - size))
            found = piece.find(b"\0")
            if found >= 0:
                pieces.append(piece[:found])
                self.skip(found + 1)
                return b"".join(pieces)
            size += len(piece)
            if not piece or size > most:
                self.at = begin
                return None
            pieces.append(piece)
            self.skip(len(piece))

    def after_string(self) -> bool:
        """Go behind the next NUL, however far; False where there is none."""
        while piece := self.peek(_WINDOW):
            found = piece.find(b"\0")
            self.skip(found + 1 if found >= 0 else len(piece))
            if found >= 0:
                return True
        return False


def read_messages(file: Blob, max_text_bytes: int) -> Iterator[PackedMessage | Fault]:
    """Yield the messages behind a packet's header, in order.

    After a Fault with which the next message can still be found the reading goes on; else the Fault is the last, and
    spoils the rest of the file. Raises: OSError where the Blob cannot be read.
    """
    window = _Window(file, HEADER_OCTETS)
    while True:
        start = window.at
        front = window.peek(MESSAGE_OCTETS)
        if not front or front[:2] == END:  # where the end mark is missing, all messages are whole
            return
        if front[:2] != b"\x02\x00":
            yield _rest(file, start, "message-type", start, "no message begins here: its first word is not 2", front)
            return
        if len(front) < MESSAGE_OCTETS - DATE_OCTETS + 1:
            yield _rest(file, start, "cut-off", start, "the file ends within a message", front)
            return
        found = _read_message(window, max_text_bytes)
        if isinstance(found, PackedMessage):
            yield found
        elif found == "text" and window.after_string():
            text = f"the message's text has more than {max_text_bytes} octets"
            mend = "have it sent in parts, or raise max_file_bytes"
            yield Fault("text-too-long", start, start, window.at, text, mend)
        elif found == "text" or file.size - window.at <= READ_OCTETS:
            yield _rest(file, start, "cut-off", start, "the file ends within a message", front)
            return
        else:
            text = f"the {found} has more than {READ_OCTETS} octets, so that it is not known where the text begins"
            yield _rest(file, start, "field-too-long", window.at, text, window.peek(32))
            return


def _rest(file: Blob, start: int, rule: str, offset: int, text: str, found: bytes) -> Fault:
    return Fault(rule, offset, start, file.size, text, "have the packet sent again", found[:32])


def _read_message(window: _Window, max_text_bytes: int) -> PackedMessage | str:
    """Return the message that begins here, or the name of the string that has no end within its limit."""
    start = window.at
    front = window.peek(MESSAGE_OCTETS)
    _, origin_node, node, origin_net, net, attributes, cost = _MESSAGE.unpack_from(front)
    date, nul, padding = front[_MESSAGE.size :].partition(b"\0")
    # A shorter date ends at its NUL, unless it is filled up with more of them.
    window.skip(MESSAGE_OCTETS if not nul or not any(padding) else _MESSAGE.size + len(date) + 1)
    names = window.at
    strings: list[bytes] = []
    for name, most in (("to", READ_OCTETS), ("from", READ_OCTETS), ("subject", READ_OCTETS), ("text", max_text_bytes)):
        found = window.string(most)
        if found is None:
            return name
        strings.append(found)
    to, sender, subject, text = strings
    return PackedMessage(
        (origin_net, origin_node),
        (net, node),
        attributes,
        cost,
        date,
        to,
        sender,
        subject,
        text,
        start,
        window.at,
        names,
    )
