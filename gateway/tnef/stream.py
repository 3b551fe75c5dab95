"""The stream of TNEF itself: its attributes, the message's properties, its recipients and its attachments. Pure.

Promises: any octets are taken, and what is cut off is read as far as it goes; the number of things is bounded. What was
written is read back equal. Checksums are written and not judged: they are wrong in much that is sound besides.
Source: MS-OXTNEF §2.1.1 (structure), §2.1.3 (attributes), §2.2 (order).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from gateway.tnef.properties import Key, Property, read_list, write_list

SIGNATURE: Final = 0x223E9F78
VERSION: Final = 0x00010000
MAX_ATTRIBUTES: Final = 20_000
MAX_FILES: Final = 1000
MAX_RECIPIENTS: Final = 5000

OF_MESSAGE, OF_ATTACHMENT = 1, 2
TNEF_VERSION, CODE_PAGE, PROPERTIES, RECIPIENTS = 0x00089006, 0x00069007, 0x00069003, 0x00069004
NEW_FILE, FILE_PROPERTIES = 0x00069002, 0x00069005
FROM, SUBJECT, DATE_SENT, DATE_RECEIVED = 0x00008000, 0x00018004, 0x00038005, 0x00038006
MESSAGE_CLASS, MESSAGE_ID, BODY, PRIORITY = 0x00078008, 0x00018009, 0x0002800C, 0x0004800D
TITLE, DATA = 0x00018010, 0x0006800F

Attribute = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Held:
    """One attachment: what opened it (how it is shown), its attributes, its properties."""

    shown: bytes
    attributes: tuple[Attribute, ...] = ()
    properties: dict[Key, Property] = field(default_factory=dict)

    def get(self, attribute: int) -> bytes:
        return next((octets for id, octets in self.attributes if id == attribute), b"")


@dataclass(frozen=True, slots=True)
class Stream:
    """A TNEF stream. `key` is a number of the writer's own; `attributes` are those that have no place of their own."""

    key: int = 0
    code_page: int = 1252
    attributes: tuple[Attribute, ...] = ()
    properties: dict[Key, Property] = field(default_factory=dict)
    recipients: tuple[dict[Key, Property], ...] = ()
    attachments: tuple[Held, ...] = ()

    def get(self, attribute: int) -> bytes:
        return next((octets for id, octets in self.attributes if id == attribute), b"")

    @property
    def charset(self) -> str:
        """Return the name of the code page's charset."""
        return "utf-8" if self.code_page == 65001 else f"cp{self.code_page}"


def read(octets: bytes) -> Stream | None:
    """Return what a TNEF stream holds; None where it is none."""
    if len(octets) < 6 or int.from_bytes(octets[:4], "little") != SIGNATURE:
        return None
    code_page = 1252
    properties: dict[Key, Property] = {}
    recipients: list[dict[Key, Property]] = []
    attributes: list[Attribute] = []
    files: list[tuple[bytes, list[Attribute], dict[Key, Property]]] = []
    for attribute, data in _attributes(octets):
        if attribute == CODE_PAGE and len(data) >= 4:
            code_page = int.from_bytes(data[:4], "little")
        elif attribute == NEW_FILE:
            if len(files) < MAX_FILES:
                files.append((data, [], {}))
        elif attribute == PROPERTIES:
            properties = {**read_list(data)[0], **properties}
        elif attribute == RECIPIENTS:
            recipients.extend(_rows(data))
        elif attribute == FILE_PROPERTIES:
            if files:
                files[-1][2].update(read_list(data)[0])
        elif attribute != TNEF_VERSION:
            (files[-1][1] if files else attributes).append((attribute, data))
    return Stream(
        int.from_bytes(octets[4:6], "little"),
        code_page,
        tuple(attributes),
        properties,
        tuple(recipients[:MAX_RECIPIENTS]),
        tuple(Held(shown, tuple(of_file), listed) for shown, of_file, listed in files),
    )


def write(stream: Stream) -> bytes:
    """Return the octets of a stream. Raises: KeyError for a property of a type that has no form."""
    pieces = [struct.pack("<IH", SIGNATURE, stream.key)]
    pieces.append(_attribute(OF_MESSAGE, TNEF_VERSION, struct.pack("<I", VERSION)))
    pieces.append(_attribute(OF_MESSAGE, CODE_PAGE, struct.pack("<II", stream.code_page, 0)))
    pieces += [_attribute(OF_MESSAGE, id, octets) for id, octets in stream.attributes]
    if stream.recipients:
        rows = b"".join(map(write_list, stream.recipients))
        pieces.append(_attribute(OF_MESSAGE, RECIPIENTS, struct.pack("<I", len(stream.recipients)) + rows))
    pieces.append(_attribute(OF_MESSAGE, PROPERTIES, write_list(stream.properties)))
    for held in stream.attachments:
        pieces.append(_attribute(OF_ATTACHMENT, NEW_FILE, held.shown))
        pieces += [_attribute(OF_ATTACHMENT, id, octets) for id, octets in held.attributes]
        pieces.append(_attribute(OF_ATTACHMENT, FILE_PROPERTIES, write_list(held.properties)))
    return b"".join(pieces)


def _attribute(level: int, id: int, octets: bytes) -> bytes:
    return struct.pack("<BII", level, id, len(octets)) + octets + struct.pack("<H", sum(octets) & 0xFFFF)


def _attributes(octets: bytes) -> Iterator[Attribute]:
    """Yield (id, data) of each attribute of the stream; each is a level, an id, a length, data and a checksum."""
    at = 6
    for _ in range(MAX_ATTRIBUTES):
        if at + 9 > len(octets) or octets[at] not in (OF_MESSAGE, OF_ATTACHMENT):
            return
        attribute, length = struct.unpack_from("<II", octets, at + 1)
        yield attribute, octets[at + 9 : at + 9 + length]
        at += 9 + length + 2


def _rows(octets: bytes) -> Iterator[dict[Key, Property]]:
    """Yield each row of the table of recipients, as far as it can be read."""
    if len(octets) < 4:
        return
    at = 4
    for _ in range(min(int.from_bytes(octets[:4], "little"), MAX_RECIPIENTS)):
        row, at = read_list(octets, at)
        if row:
            yield row
        if at < 0:
            return
