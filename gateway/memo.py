"""Memo: a message as formats without MIME have it, and back: named fields, one text, files.

`memo` takes a Content apart that the adapter has fitted to Capabilities with `mime=False`: there the text is one part
of text/plain, and everything else a file behind it. It takes any other content too, as well as that can be had.
`compose` makes RFC 5322 octets of fields, a text and files. Both are pure, but for reading a Blob.

Promises: any octets are taken; no control character is in a field's value or a name; a file's octets are decoded piece
by piece, so that one of any size is never whole in memory.
Sources: RFC 5322 §2.2, §3.4; RFC 2045, 2046, 2047, 2183, 2231.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import lru_cache, partial
from typing import Final

from gateway.blobs import readable
from gateway.charsets import decoded, guessed
from gateway.compose import Mailbox, compose
from gateway.frozen import quickly_made
from gateway.html_text import html_to_text
from gateway.message import Content
from gateway.mime import MAX_HEAD, Octets, Part, content_type, parse
from gateway.octets import encoded_words, no_controls
from gateway.parameters import parameter
from gateway.transfer import decoded_pieces
from mappings.address import Address, AddressError
from mappings.encapsulation import named_unsigned
from mappings.fields import unfold
from mappings.network import network
from mappings.rewrite import Named, mailboxes

MAX_TEXT: Final = 16 * 1024 * 1024
"""Octets of the text that is brought into memory; a longer one is a file."""
MAX_HTML: Final = 4 * 1024 * 1024
"""Octets of HTML that is brought to text; a longer page is a file."""
GATEWAY: Final = "gateway"
"""The attribute of an adapted content that tells the gateway's own name."""

_AS_IT_IS: Final = (b"7bit", b"8bit", b"binary")
_LONGEST_PLAIN: Final = 200
_META: Final = re.compile(rb"(?i)<meta[^>]{0,200}?charset[ \t]*=[ \t\"']*([A-Za-z0-9._:+-]{1,40})")
_NEWLINE: Final = re.compile(r"\r\n?")
_BRACKETS: Final = re.compile(r"^<|>$")
_QUOTED: Final = re.compile(rb'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)
_BLANKS: Final = re.compile(rb"[ \t\r\n]+")
_EXTENSIONS: Final = {
    "text/plain": ".txt",
    "text/html": ".html",
    "text/calendar": ".ics",
    "text/csv": ".csv",
    "text/vcard": ".vcf",
    "text/rfc822-headers": ".txt",
    "message/rfc822": ".eml",
    "message/global": ".eml",
    "message/delivery-status": ".txt",
    "message/disposition-notification": ".txt",
    "application/pdf": ".pdf",
    "application/pgp-signature": ".asc",
    "application/pgp-encrypted": ".asc",
    "application/pkcs7-signature": ".p7s",
    "application/x-pkcs7-signature": ".p7s",
    "application/pkcs7-mime": ".p7m",
    "application/x-pkcs7-mime": ".p7m",
    "application/ms-tnef": ".dat",
    "application/rtf": ".rtf",
    "application/zip": ".zip",
    "image/gif": ".gif",
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/tiff": ".tif",
    "audio/mpeg": ".mp3",
    "audio/wav": ".wav",
}


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that a message carries. `name` is as the sender gave it, on one line, and is no path to trust.

    `octets` yields what is in it, decoded; called anew for each use. Blocks on a Blob. `content_id` is that by which
    a page shows it, without its brackets; empty where it has none.
    """

    name: str
    type: str
    octets: Callable[[], Iterator[bytes]]
    content_id: str = ""


@quickly_made
@dataclass(frozen=True, slots=True)
class Memo:
    """`text` is decoded, its lines end in LF.

    `page` is that of the attachments which is the message's text as HTML, not a file; None where there is none. Where
    it is the only text, `text` is made of it.
    """

    content: Content
    text: str
    attachments: tuple[Attachment, ...] = ()
    page: Attachment | None = None
    _html: Callable[[], str] = field(default=lambda: "", repr=False, compare=False)

    @property
    def subject(self) -> str:
        """Return the subject, decoded and on one line; empty where there is none. Read anew for each use."""
        return self.get(b"subject")

    @property
    def date(self) -> float | None:
        """Return the Date in seconds since 1970; None where there is none that can be read. Read anew for each use."""
        return _date(self.content)

    @property
    def html(self) -> str:
        """Return the page, its lines ended by LF; empty where there is none. Read anew for each use."""
        return self._html()

    def get(self, name: bytes) -> str:
        """Return the first field of this (lower-case) name, decoded and on one line; empty where there is none."""
        value = self.content.get(name)
        return "" if value is None else no_controls(encoded_words(value))

    def get_all(self, name: bytes) -> tuple[str, ...]:
        """Return all fields of this (lower-case) name in order, each decoded and on one line."""
        return tuple(no_controls(encoded_words(value)) for value in self.content.get_all(name))

    def mailboxes(self, name: bytes, networks: Sequence[str], *, strict: bool = False) -> tuple[Mailbox, ...]:
        """Return the addresses of all fields of this name: each of the first of these networks that knows it.

        What none of them knows is left out, or raises AddressError where `strict`. An address without an addr-spec of
        its own is read in the form in which `compose` and the adapter write it.
        """
        own = self.content.attributes.get(GATEWAY)
        found = []
        for value in self.content.get_all(name):
            for box in mailboxes(value):
                address = address_of(box, networks, own)
                if address is not None:
                    found.append(Mailbox(name_of(box.name), address))
                elif strict:
                    spec = f"{box.local}@{box.domain}"
                    raise AddressError("addr.unreadable", spec, 0, "no network here reads this address")
        return tuple(found)


def memo(content: Content) -> Memo:
    """Take a content apart. Raises: OSError where a Blob cannot be read."""
    if content.text is not None:
        return Memo(content, content.text)
    plain = plain_body(content)
    if plain is not None:
        body, charset = plain
        return Memo(content, decoded(body, charset).replace("\r\n", "\n").replace("\r", "\n"))
    source = readable(content)
    root = parse(source)
    leaves = list(_leaves(root))
    text_part = next((part for part in leaves if is_text(part)), None)
    page_part = next((part for part in leaves if is_text(part, "text/html", MAX_HTML)), None)
    html = partial(text_of, source, page_part) if page_part is not None else None
    text = "" if html is None or text_part is not None else html_to_text(html())
    if text_part is not None:
        text = text_of(source, text_part)
    files = [part for part in leaves if part is not text_part]
    attachments = tuple(_attachment(source, part, n) for n, part in enumerate(files, 1))
    if page_part is None or html is None:
        return Memo(content, text, attachments)
    return Memo(content, text, attachments, attachments[files.index(page_part)], html)


def plain_body(content: Content) -> tuple[bytes, str] | None:
    """Return the body of a message in memory that is nothing but one text, written as it is, and its charset.

    None where that cannot be said at first sight. A gateway of machines' mail meets little else, and the search for
    parts costs several times what is left.
    """
    if not content.is_inline or content.size > MAX_TEXT:
        return None
    head = content.head
    if len(head) >= MAX_HEAD:
        return None
    charset: str | None = None
    encoded = False
    for written, raw in content.named if b"content-" in head.lower() else ():
        name = written.lower()
        if not name.startswith(b"content-"):
            continue
        value = raw.strip(b" \t\r\n")
        if name == b"content-type" and charset is None:
            charset = _plain_charset(value) if len(value) <= _LONGEST_PLAIN else None
            if charset is None:
                return None
        elif name == b"content-transfer-encoding" and not encoded and value.lower() in _AS_IT_IS:
            encoded = True
        else:
            return None
    return content.body(), charset or ""


@lru_cache(maxsize=256)
def _plain_charset(value: bytes) -> str | None:
    """Return the charset of a Content-Type that says plain text and no more, empty where it says none; else None."""
    kind, parameters = content_type(unfold(value))
    if kind != "text/plain" or parameters.keys() - {"charset"}:
        return None
    return parameters.get("charset", b"").decode("latin-1")


def _attachment(source: Octets, part: Part, n: int) -> Attachment:
    octets = partial(decoded_pieces, source, part.body, part.end, part.encoding)
    content_id = part.get(b"content-id") or b""
    return Attachment(file_name(part, n), part.type, octets, _BRACKETS.sub("", no_controls(guessed(content_id))))


def _leaves(part: Part) -> Iterator[Part]:
    """Yield what is not a multipart; an enclosed message is one thing. Nothing for a message without any body."""
    if part.type.startswith("multipart/") and part.children:
        for child in part.children:
            yield from _leaves(child)
    elif part.start or part.end > part.body:
        yield part


def is_text(part: Part, kind: str = "text/plain", most: int = MAX_TEXT) -> bool:
    """Say whether a part is text to be read on the spot, and not too long to be."""
    disposition = part.get(b"content-disposition")
    attached = disposition is not None and content_type(disposition)[0] == "attachment"
    return part.type == kind and not attached and part.end - part.body <= most


def text_of(source: Octets, part: Part) -> str:
    """Return the text that a part holds, its lines ended by LF."""
    octets = b"".join(decoded_pieces(source, part.body, part.end, part.encoding))
    charset = part.parameters.get("charset", b"")
    if not charset and part.type == "text/html" and (said := _META.search(octets, 0, 2048)) is not None:
        charset = said[1]
    return _NEWLINE.sub("\n", decoded(octets, charset.decode("latin-1")))


def file_name(part: Part, n: int) -> str:
    """Return the name of a part as a file; where it has none, one by its number among them."""
    disposition = part.get(b"content-disposition")
    name = parameter(content_type(disposition)[1], "filename") if disposition is not None else ""
    return name or parameter(part.parameters, "name") or f"attachment-{n}{_EXTENSIONS.get(part.type, '.bin')}"


def address_of(box: Named, networks: Sequence[str], own: str | None = None) -> Address | None:
    """Return the address of a mailbox: of the first of these networks that knows it.

    `own` is the domain at which unsigned forms are taken; any where it is None.
    """
    if box.local[:5].lower() == "imcea" and (own is None or box.domain.lower() == own.lower()):
        named = named_unsigned(box.local)
        if named is not None and named.network != "smtp" and named.network in networks:
            return named
    for name in networks:
        address = network(name).from_addr_spec(box.local, box.domain)
        if address is not None:
            return address
    return None


def name_of(octets: bytes) -> str:
    """Return the name beside an address: words, quoted strings and encoded words as text; a comment without its
    brackets."""
    if octets.startswith(b"("):
        octets = _ESCAPED.sub(rb"\1", octets[1:-1])
    elif b'"' in octets:
        octets = _QUOTED.sub(lambda quoted: _ESCAPED.sub(rb"\1", quoted[1]), octets)
    else:
        octets = _BLANKS.sub(b" ", octets)
    return no_controls(encoded_words(octets))


def _date(content: Content) -> float | None:
    value = content.get(b"date")
    if value is None:
        return None
    try:
        return parsedate_to_datetime(value[:100].decode("latin-1")).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


__all__ = ["GATEWAY", "MAX_TEXT", "Attachment", "Mailbox", "Memo", "compose", "memo"]
