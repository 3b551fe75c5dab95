"""What a stream held, as MIME: the entity it would have been, had the mail program not packed it. Pure.

Promises: everything that was packed is in it: text, page, RTF where the text was written as such, meeting, files with
their names and types, messages as messages. Octets of files are unaltered; every line is bounded.
Sources: RFC 2045, 2046, 2183, 2387; RFC 6047 §2.4 (text/calendar).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import formatdate
from typing import Final, Literal

from gateway.compose import Mailbox, attachment_head, compose, text_part
from gateway.octets import encode_base64, fold
from gateway.tnef.calendar import calendar
from gateway.tnef.reader import Packed, Party, Unpacked
from gateway.tnef.rtf import body_of
from mappings.address import Address, AddressError
from mappings.fields import header_end, scan, unfold
from mappings.network import network

_NETWORKS: Final = {"SMTP": "smtp", "EX": "x500", "X400": "x400"}
_UNSAFE_ID: Final = b"<>\r\n\t \0"


@dataclass(frozen=True, slots=True)
class Entity:
    """One MIME entity: its Content- fields' lines, and its body, which ends in a line end."""

    head: bytes
    body: bytes

    def octets(self) -> bytes:
        return self.head + b"\r\n" + self.body


@dataclass(frozen=True, slots=True)
class Parts:
    """What a stream comes to: the text in its forms, the files beside it, and whether the calendar is whole. `sealed`:
    it was signed as a whole, and nothing that stands beside the stream is in it."""

    shown: Entity | None
    files: tuple[Entity, ...]
    whole: bool = True
    sealed: bool = False


def parts_of(
    unpacked: Unpacked,
    *,
    hostname: str,
    text: Entity | None = None,
    page: bool = True,
    others: Sequence[Party] = (),
) -> Parts:
    """Return the entities. `text` is the message's text where it stands beside the stream, and then ours is left out;
    `page` false leaves ours out where another stands there."""
    signed = _signed(unpacked)
    if signed is not None:
        return Parts(signed, (), sealed=True)
    forms: list[Entity] = [text] if text is not None else []
    if text is None and unpacked.text.strip():
        forms.append(_text(unpacked.text, "plain"))
    files = list(unpacked.files)
    if page and unpacked.html.strip():
        shown = _text(unpacked.html, "html")
        pictures = [f for f in files if f.content_id and f.enclosed is None and f"cid:{f.content_id}" in unpacked.html]
        if pictures:
            files = [f for f in files if f not in pictures]
            shown = multipart("related", [shown, *(_file(f, n, hostname) for n, f in enumerate(pictures, 1))])
        forms.append(shown)
    meeting = calendar(unpacked, others)
    if meeting is not None:
        kind = b"Content-Type: text/calendar; charset=utf-8; method=" + meeting.method.encode("ascii") + b"\r\n"
        forms.append(
            Entity(kind + b"Content-Transfer-Encoding: base64\r\n", encode_base64(meeting.octets))
            if not meeting.octets.isascii()
            else Entity(kind + b"Content-Transfer-Encoding: 7bit\r\n", meeting.octets)
        )
    entities = [_file(file, n, hostname) for n, file in enumerate(files, 1)]
    if unpacked.rtf and unpacked.rtf_alone and body_of(unpacked.rtf).native:
        entities.append(_file(Packed("message.rtf", "application/rtf", unpacked.rtf), 0, hostname))
    alternative = forms[0] if len(forms) == 1 else multipart("alternative", forms) if forms else None
    return Parts(alternative, tuple(entities), meeting is None or meeting.whole)


def entity(parts: Parts) -> Entity:
    """Return all parts as one entity."""
    shown = parts.shown if parts.shown is not None else _text("", "plain")
    return multipart("mixed", [shown, *parts.files]) if parts.files else shown


def message(unpacked: Unpacked, *, hostname: str) -> bytes:
    """Return a message that was packed in another as one of its own."""
    made = entity(parts_of(unpacked, hostname=hostname))
    boxes: dict[int, list[Mailbox]] = {}
    for party in unpacked.recipients:
        if (box := _mailbox(party)) is not None:
            boxes.setdefault(party.type, []).append(box)
    sender = _mailbox(unpacked.sender) if unpacked.sender is not None else None
    fields: list[tuple[str, str | Sequence[Mailbox]]] = [
        ("From", [sender] if sender is not None else ""),
        ("To", boxes.get(1, "")),
        ("Cc", boxes.get(2, "")),
        ("Subject", unpacked.subject),
        ("Date", formatdate(unpacked.sent_at) if unpacked.sent_at is not None else ""),
        ("Message-ID", unpacked.message_id),
    ]
    pieces: list[bytes] = compose(fields, "", hostname=hostname)
    head = pieces[0].partition(b"MIME-Version: 1.0\r\n")[0]
    return head + b"MIME-Version: 1.0\r\n" + made.octets()


def multipart(subtype: str, entities: Sequence[Entity]) -> Entity:
    """Return several entities as one, with a boundary that stands in none of them."""
    number = zlib.crc32(b"".join(e.head for e in entities), zlib.crc32(entities[0].body))
    while any((boundary := b"=_unpacked-%s-%08x" % (subtype[:3].encode("ascii"), number)) in e.body for e in entities):
        number = (number + 1) & 0xFFFFFFFF
    pieces = [b"--" + boundary + b"\r\n" + e.octets() for e in entities]
    kind = b"Content-Type: multipart/" + subtype.encode("ascii") + b';\r\n boundary="' + boundary + b'"\r\n'
    return Entity(kind, b"".join(pieces) + b"--" + boundary + b"--\r\n")


def _signed(unpacked: Unpacked) -> Entity | None:
    """Return a message that was signed in the clear: its one file is the entity as it was, octet for octet (MS-OXOSMIME
    §2.1.2). None where it is none."""
    if not unpacked.message_class.lower().startswith("ipm.note.smime.multipartsigned") or len(unpacked.files) != 1:
        return None
    octets = unpacked.files[0].octets
    end, body = header_end(octets)
    head = octets[:end]
    kinds = [unfold(head[f.value_start : f.end]).strip().lower() for f in scan(head) if f.name == b"content-type"]
    if len(kinds) != 1 or not kinds[0].startswith(b"multipart/signed") or not body:
        return None
    own = b"".join(head[f.start : f.end] for f in scan(head) if f.name.startswith(b"content-"))
    return Entity(own, octets[body:] if octets.endswith(b"\r\n") else octets[body:] + b"\r\n")


def _text(text: str, subtype: Literal["plain", "html"]) -> Entity:
    head, body = text_part(text, subtype)
    return Entity(head, body if body.endswith(b"\r\n") else body + b"\r\n")


def _file(file: Packed, number: int, hostname: str) -> Entity:
    if file.enclosed is not None:
        return Entity(
            b"Content-Type: message/rfc822\r\nContent-Disposition: attachment\r\n",
            message(file.enclosed, hostname=hostname),
        )
    head = attachment_head(file.name or f"attachment-{number}.bin", file.type)
    if file.content_id and not any(octet in _UNSAFE_ID for octet in file.content_id.encode()):
        identifier = file.content_id.encode("ascii", "ignore")[:900]
        head = head.replace(b": attachment", b": inline", 1) + fold(b"Content-ID: <" + identifier + b">") + b"\r\n"
    return Entity(head, encode_base64(file.octets) or b"\r\n")


def _mailbox(party: Party) -> Mailbox | None:
    known = _NETWORKS.get(party.routing)
    if known is None:
        return None
    try:
        address: Address = network(known).parse(party.address)
    except AddressError:
        return None
    return Mailbox(party.name, address)
