"""What a TNEF stream says: its texts, its files, who sent it to whom, and what kind of thing it is. Pure.

Promises: those of the package; a message in a message is read to `MAX_DEPTH` levels, and is a file beyond.
Sources: MS-OXTNEF §2.1.3.2 (attributes), §2.1.3.3 (older names of classes, TRP structures), MS-OXCMSG §2.2 (properties
of messages and attachments), MS-OXOMSG §2.2.1 (sender, recipients).
"""

from __future__ import annotations

import re
import struct
from calendar import timegm
from dataclasses import dataclass, field
from typing import Final

from gateway.charsets import decoded
from gateway.octets import no_controls
from gateway.parameters import media_type
from gateway.tnef import names
from gateway.tnef.properties import OBJECT, Key, Properties, number_of, octets_of, text_of, time_of
from gateway.tnef.rtf import body_of, unpacked_rtf
from gateway.tnef.stream import (
    BODY,
    DATA,
    DATE_RECEIVED,
    DATE_SENT,
    FROM,
    MESSAGE_CLASS,
    MESSAGE_ID,
    SUBJECT,
    TITLE,
    Held,
    Stream,
    read,
)  # fmt: skip

MAX_DEPTH: Final = 5
_OLDER: Final = {
    "IPM.Microsoft Mail.Note": "IPM.Note",
    "IPM.Microsoft Mail.Read Receipt": "Report.IPM.Note.IPNRN",
    "IPM.Microsoft Mail.Non-Delivery": "Report.IPM.Note.NDR",
    "IPM.Microsoft Schedule.MtgReq": "IPM.Schedule.Meeting.Request",
    "IPM.Microsoft Schedule.MtgRespP": "IPM.Schedule.Meeting.Resp.Pos",
    "IPM.Microsoft Schedule.MtgRespN": "IPM.Schedule.Meeting.Resp.Neg",
    "IPM.Microsoft Schedule.MtgRespA": "IPM.Schedule.Meeting.Resp.Tent",
    "IPM.Microsoft Schedule.MtgCncl": "IPM.Schedule.Meeting.Canceled",
}
_META: Final = re.compile(rb"(?i)<meta[^>]{0,200}?charset[ \t]*=[ \t\"']*([A-Za-z0-9._:+-]{1,40})")


@dataclass(frozen=True, slots=True)
class Party:
    """Somebody who sends or gets. `routing` is the kind of `address`: SMTP, EX or another; both may be empty.

    `type` is 1 for To, 2 for Cc, 3 for Bcc (and rooms), 0 for an organizer or where it isn't said.
    """

    name: str
    address: str
    routing: str = "SMTP"
    type: int = 0

    @property
    def smtp(self) -> str:
        """Return the SMTP address; empty where it is of another kind."""
        return self.address if self.routing == "SMTP" and "@" in self.address else ""


@dataclass(frozen=True, slots=True)
class Packed:
    """One file that was packed. `name` may be empty, and is no path to trust.

    `content_id` is that by which a page shows it. Where it is a message, `enclosed` is what that says.
    """

    name: str
    type: str
    octets: bytes
    content_id: str = ""
    enclosed: Unpacked | None = None


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What a stream held. `rtf` is the text as Outlook formatted it; `rtf_alone` where neither text nor page was beside
    it, so that they are made of it. Times are in seconds since 1970."""

    text: str = ""
    html: str = ""
    rtf: bytes = b""
    files: tuple[Packed, ...] = ()
    message_class: str = ""
    subject: str = ""
    sender: Party | None = None
    """Who sent it; where it was sent for another, that one."""
    recipients: tuple[Party, ...] = ()
    sent_at: int | None = None
    message_id: str = ""
    properties: Properties = field(default_factory=dict, repr=False)
    charset: str = "cp1252"
    rtf_alone: bool = False


def unpack(octets: bytes) -> Unpacked | None:
    """Return what a TNEF stream holds; None where it is none."""
    return _unpack(octets, 0)


def _unpack(octets: bytes, depth: int) -> Unpacked | None:
    stream = read(octets)
    if stream is None:
        return None
    properties, charset = stream.properties, stream.charset

    def text(*keys: Key) -> str:
        return next((found for key in keys if (found := text_of(properties, key, charset))), "")

    body = text(names.BODY) or decoded(stream.get(BODY).partition(b"\0")[0], charset)
    html = _html(properties, charset)
    rtf = unpacked_rtf(octets_of(properties, names.PACKED_RTF))
    rtf_alone = bool(rtf) and not (body.strip() or html.strip())
    if rtf_alone:
        said = body_of(rtf)
        body, html = said.text, said.html
    subject = text(names.SUBJECT) or _subject(stream, text(names.SUBJECT_PREFIX), text(names.NORMALIZED_SUBJECT))
    return Unpacked(
        body.replace("\r\n", "\n"),
        html,
        rtf,
        tuple(packed for held in stream.attachments if (packed := _packed(held, charset, depth)) is not None),
        _message_class(text(names.MESSAGE_CLASS) or _legacy(stream, MESSAGE_CLASS)),
        no_controls(subject),
        _sender(stream),
        tuple(party for row in stream.recipients if (party := _party(row, names.PARTY, charset)) is not None),
        time_of(properties, names.SENT_AT) or _date(stream.get(DATE_SENT)) or _date(stream.get(DATE_RECEIVED)),
        no_controls(text(names.MESSAGE_ID)) or _identifier(_legacy(stream, MESSAGE_ID)),
        properties,
        charset,
        rtf_alone,
    )


def _html(properties: Properties, charset: str) -> str:
    """Return the page. Its octets are in the message's own code page, whatever its first lines say."""
    value = properties.get(names.HTML)
    if value is None:
        return ""
    if text := text_of(properties, names.HTML, charset):
        return text
    octets = octets_of(properties, names.HTML).partition(b"\0")[0]
    code_page = number_of(properties, names.CODE_PAGE)
    if code_page is not None:
        charset = "utf-8" if code_page == 65001 else f"cp{code_page}"
    elif (named := _META.search(octets, 0, 4096)) is not None:
        charset = named[1].decode("ascii")
    return decoded(octets, charset)


def _legacy(stream: Stream, attribute: int) -> str:
    return decoded(stream.get(attribute).partition(b"\0")[0], stream.charset)


def _subject(stream: Stream, prefix: str, normalized: str) -> str:
    if normalized:
        return prefix + normalized
    return _legacy(stream, SUBJECT)


def _message_class(name: str) -> str:
    return _OLDER.get(name, no_controls(name))


def _identifier(text: str) -> str:
    """Return an older message's identifier where it was one of mail's; most are but numbers of the mail program's."""
    return no_controls(text) if text.startswith("<") else ""


def _date(octets: bytes) -> int | None:
    """Return the time that a DTR structure (MS-OXTNEF §2.1.3.3.1) tells, taken for UTC."""
    if len(octets) < 12:
        return None
    year, month, day, hour, minute, second = struct.unpack_from("<6H", octets)
    if not (1970 <= year <= 9999 and 1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 61):
        return None
    return timegm((year, month, day, hour, minute, second))


def _sender(stream: Stream) -> Party | None:
    for numbers in (names.REPRESENTED, names.SENDER):
        party = _party(stream.properties, numbers, stream.charset)
        if party is not None and (party.address or numbers is names.SENDER):
            return party
    return _triple(stream.get(FROM), stream.charset)


def _triple(octets: bytes, charset: str) -> Party | None:
    """Return whom a TRP structure (MS-OXTNEF §2.1.3.3.3) names: `kind:address` behind the name."""
    if len(octets) < 8:
        return None
    _, _, size, more = struct.unpack_from("<4H", octets)
    name = decoded(octets[8 : 8 + size].partition(b"\0")[0], charset)
    kind, _, address = decoded(octets[8 + size : 8 + size + more].partition(b"\0")[0], charset).rpartition(":")
    if not (name or address):
        return None
    return Party(no_controls(name), no_controls(address), no_controls(kind).upper() or "SMTP")


def _party(row: Properties, numbers: tuple[int, int, int, int], charset: str) -> Party | None:
    name, kind, address, smtp = (no_controls(text_of(row, number, charset)) for number in numbers)
    type = number_of(row, names.RECIPIENT_TYPE) or 0
    if "@" in smtp:
        return Party(name, smtp, "SMTP", type & 0xF)
    if not (name or address):
        return None
    return Party(name, address, kind.upper() or "SMTP", type & 0xF)


def _packed(held: Held, charset: str, depth: int) -> Packed | None:
    properties = held.properties
    value = properties.get(names.FILE_DATA)
    octets = octets_of(properties, names.FILE_DATA)
    enclosed = None
    if value is not None and value.type == OBJECT:
        interface, octets = octets[:16], octets[16:]
        if interface == names.MESSAGE_OBJECT.bytes_le and depth < MAX_DEPTH:
            enclosed = _unpack(octets, depth + 1)
    name = next(
        (
            text
            for number in (names.LONG_NAME, names.SHORT_NAME, names.DISPLAY_NAME)
            if (text := text_of(properties, number, charset))
        ),
        "",
    )
    name = no_controls(name or decoded(held.get(TITLE).partition(b"\0")[0], charset))
    octets = held.get(DATA) or octets
    if not octets and not name:
        return None
    kind = "message/rfc822" if enclosed is not None else media_type(text_of(properties, names.MIME_TAG, charset))
    return Packed(name, kind, octets, no_controls(text_of(properties, names.CONTENT_ID, charset)), enclosed)
