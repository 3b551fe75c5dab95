"""Stored messages: one message a file, `<number>.msg`, as FidoNet programs keep netmail in a folder.

The octets behind the NUL of a name may be anything; the text ends at a NUL, at 0x1A or with the file. Zones and points
in the header stand where other programs keep dates, so what the text says of them goes first.
Source: FTS-0001, with the deviations it names.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from connectors.filedrop.formats.ftn.packets import DATE_OCTETS, PackedMessage

HEADER_OCTETS: Final = 190
_HEADER: Final = struct.Struct("<36s36s72s20s13H")
_NAME: Final = 36
_SUBJECT: Final = 72


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A stored message: what a packed one has, and what else its header tells. Zones and points are 0 if untold."""

    message: PackedMessage
    zones: tuple[int, int] = (0, 0)
    """(origin's, destination's)"""
    points: tuple[int, int] = (0, 0)
    times_read: int = 0
    reply_to: int = 0
    next_reply: int = 0
    """Numbers of other messages of the folder."""


def read_stored(octets: bytes) -> StoredMessage | None:
    """Read a stored message; None where there are fewer octets than its header has."""
    if len(octets) < HEADER_OCTETS:
        return None
    sender, to, subject, date, *words = _HEADER.unpack_from(octets)
    times_read, node, origin_node, cost, origin_net, net = words[:6]
    zone, origin_zone, point, origin_point, reply_to, attributes, next_reply = words[6:]
    text = octets[HEADER_OCTETS:]
    end = min((at for at in (text.find(b"\0"), text.find(b"\x1a")) if at >= 0), default=len(text))
    message = PackedMessage(
        (origin_net, origin_node),
        (net, node),
        attributes,
        cost,
        _string(date),
        _string(to),
        _string(sender),
        _string(subject),
        text[:end],
        0,
        len(octets),
    )
    return StoredMessage(message, (origin_zone, zone), (origin_point, point), times_read, reply_to, next_reply)


def _string(octets: bytes) -> bytes:
    """Return a field up to its NUL; what is behind it may be anything."""
    return octets.partition(b"\0")[0]


def write_stored(stored: StoredMessage) -> bytes:
    """Return the octets of a stored message's file. Names, subject and date are cut to their lengths."""
    message = stored.message
    header = _HEADER.pack(
        _string(message.sender)[: _NAME - 1],
        _string(message.to)[: _NAME - 1],
        _string(message.subject)[: _SUBJECT - 1],
        _string(message.date)[: DATE_OCTETS - 1],
        stored.times_read,
        message.destination[1],
        message.origin[1],
        message.cost,
        message.origin[0],
        message.destination[0],
        stored.zones[1],
        stored.zones[0],
        stored.points[1],
        stored.points[0],
        stored.reply_to,
        message.attributes,
        stored.next_reply,
    )
    return header + message.text.partition(b"\0")[0] + b"\0"
