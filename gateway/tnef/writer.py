"""A message as Outlook would pack it: RFC 5322 octets to a TNEF stream, for peers that read nothing else.

Promises: the text, the page and every file of the message are in the stream, files octet for octet; a message in the
message is an enclosed one. What `unpack` reads of the stream is what went in. The header stays outside (the stream
names the subject, the sender and those it is to as well). Blocks on a Blob, and holds the message in memory.
Sources: MS-OXTNEF §2.2 (order), §3.1 (a message with an attachment), MS-OXCMAIL §2.1.3.4 (which properties).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from gateway.memo import Attachment, Memo, memo, name_of
from gateway.message import Content
from gateway.octets import no_controls
from gateway.tnef import names
from gateway.tnef.properties import OBJECT, Key, Property, binary, number, text, time
from gateway.tnef.reader import MAX_DEPTH
from gateway.tnef.stream import DATA, DATE_SENT, MESSAGE_CLASS, MESSAGE_ID, SUBJECT, TITLE, Held, Stream, write
from mappings.rewrite import mailboxes

_UTF8: Final = 65001
_SHOWN: Final = struct.pack("<HIHHI", 1, 0xFFFFFFFF, 32, 32, 0)
"""How a file is shown (MS-OXTNEF §2.1.3.3.15): as one, anywhere, by an icon."""
_TYPES: Final = ((b"to", 1), (b"cc", 2), (b"bcc", 3))
_MESSAGES: Final = ("message/rfc822", "message/global")
_MAX_RECIPIENTS: Final = 1000
_SHORT_NAME: Final = 256


def pack(content: Content, *, key: int = 1) -> bytes:
    """Return a message as a stream. `key` is a number of the writer's own, by which streams are told apart.

    Raises: OSError where a Blob cannot be read.
    """
    return write(_stream(memo(content), key, 0))


def _stream(of: Memo, key: int, depth: int) -> Stream:
    content = of.content
    subject, message_id, date = of.subject, of.get(b"message-id"), of.date
    properties: dict[Key, Property] = {
        names.MESSAGE_CLASS: text("IPM.Note"),
        names.SUBJECT: text(subject),
        names.CODE_PAGE: number(_UTF8),
        names.BODY: text(of.text.replace("\n", "\r\n")),
    }
    if of.page is not None and of.html:
        properties[names.HTML] = binary(of.html.replace("\n", "\r\n").encode("utf-8", "replace"))
    attributes = [(MESSAGE_CLASS, b"IPM.Microsoft Mail.Note\0"), (SUBJECT, _octets(subject))]
    if message_id:
        properties[names.MESSAGE_ID] = text(message_id)
        properties[names.CORRELATOR] = binary(_octets(message_id))  # and X-MS-TNEF-Correlator of the header is the same
        attributes.append((MESSAGE_ID, _octets(message_id)))
    for name, at in ((b"in-reply-to", names.IN_REPLY_TO), (b"references", names.REFERENCES)):
        if value := of.get(name):
            properties[at] = text(value)
    if date is not None and 0 <= date < 2**35:
        properties[names.SENT_AT] = time(date)
        attributes.append((DATE_SENT, _structured(date)))
    sender = next(_parties(content, b"from"), None)
    if sender is not None:
        for numbers in (names.SENDER, names.REPRESENTED):
            properties.update(_party(*sender, numbers))
    recipients = [
        {names.RECIPIENT_TYPE: number(kind), **_party(*party, names.PARTY)}
        for field, kind in _TYPES
        for party in _parties(content, field)
    ]
    files = [file for file in of.attachments if file is not of.page]
    return Stream(
        key,
        _UTF8,
        tuple(attributes),
        properties,
        tuple(recipients[:_MAX_RECIPIENTS]),
        tuple(_held(file, n, depth) for n, file in enumerate(files)),
    )


def _octets(value: str) -> bytes:
    return value.encode("utf-8", "replace") + b"\0"


def _parties(content: Content, field: bytes) -> Iterator[tuple[str, str]]:
    for value in content.get_all(field):
        for box in mailboxes(value):
            yield name_of(box.name), no_controls(f"{box.local}@{box.domain}")


def _party(name: str, address: str, numbers: tuple[int, int, int, int]) -> dict[Key, Property]:
    return dict(zip(numbers, map(text, (name or address, "SMTP", address, address)), strict=True))


def _held(file: Attachment, n: int, depth: int) -> Held:
    octets = b"".join(file.octets())
    properties: dict[Key, Property] = {
        names.FILE_NUMBER: number(n),
        names.RENDERING: number(-1),
        names.DISPLAY_NAME: text(file.name),
        names.LONG_NAME: text(file.name),
        names.MIME_TAG: text(file.type),
    }
    if file.content_id:
        properties[names.CONTENT_ID] = text(file.content_id)
    title = (TITLE, _octets(file.name[:_SHORT_NAME]))
    if file.type in _MESSAGES and depth < MAX_DEPTH:
        inner = write(_stream(memo(Content(octets)), n + 1, depth + 1))
        properties[names.FILE_METHOD] = number(names.EMBEDDED)
        properties[names.FILE_DATA] = Property(OBJECT, (names.MESSAGE_OBJECT.bytes_le + inner,))
        return Held(_SHOWN, (title,), properties)
    properties[names.FILE_METHOD] = number(names.BY_VALUE)
    return Held(_SHOWN, (title, (DATA, octets)), properties)


def _structured(seconds: float) -> bytes:
    moment = datetime.fromtimestamp(seconds, UTC)
    weekday = (moment.weekday() + 1) % 7
    return struct.pack("<7H", moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second, weekday)
