"""Compose: RFC 5322 octets of fields, a text and files. Pure; `gateway.memo` is the way back.

Promises: no CR, LF or other control character of a value leaves its field; every line is bounded; a field's value, the
text and the names of files come back from `memo` as they were given, but for outer blanks and control characters.
Sources: RFC 5322 §2.1.1, §2.2.3, §3.4; RFC 2045, 2046, 2047, 2183, 2231; RFC 6532 (addresses beyond ASCII).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Literal, TypeVar

from gateway.octets import (
    encode_base64,
    encode_quoted_printable,
    encode_words,
    fold,
    has_longer_line,
    no_controls,
)
from gateway.parameters import media_type, written
from mappings.address import Address
from mappings.encapsulation import unsigned_spec
from mappings.network import network
from mappings.rewrite import SAFE_SPEC

T = TypeVar("T")

_NOT_IN_NAME: Final = re.compile(r"[^!-9;-~]+")
_NOT_IN_ID: Final = re.compile(r"[^!#-'*+./0-9=?@A-Z^_`a-z{|}~-]+")
_ATOMS: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_ESCAPE: Final = re.compile(r'(["\\])')
_UNFOLDABLE: Final = re.compile(r"\S{900}| {20}|=\?")
_NEWLINE: Final = re.compile(r"\r\n?|\u2028|\u2029")
_PLAIN: Final = bytes(range(0x20, 0x7F)) + b"\t\n"
_LONGEST_LINE: Final = 990
_WORD: Final = 900
_NAME: Final = 76
"""Characters of a field's name: one that fills a line has no place for its colon there (RFC 5322 §2.1.1)."""
_NO_WORDS: Final = frozenset(
    ["message-id", "in-reply-to", "references", "date", "resent-date", "resent-message-id", "received", "return-path"]
)
"""Fields that hold no encoded words (RFC 2047 §5): what is beyond ASCII becomes a question mark there."""
_OURS: Final = frozenset({"mime-version", "content-type", "content-transfer-encoding", "content-disposition"})
# A message may be in another only without an encoding (RFC 2046 §5.2.1), and ours are base64.
_NEVER_ENCODED: Final = ("message/", "multipart/")


@dataclass(frozen=True, slots=True)
class Mailbox:
    """One address of a header field with the name that stands beside it, empty where none does."""

    name: str
    address: Address


def compose(
    fields: Iterable[tuple[str, str | Sequence[Mailbox]]],
    text: str,
    attachments: Sequence[tuple[str, str, T]] = (),
    *,
    hostname: str,
    subtype: Literal["plain", "html"] = "plain",
    html: str | None = None,
    pictures: Sequence[tuple[str, str, T, str]] = (),
) -> list[bytes | T]:
    """Return the octets of a message, in pieces. `subtype` is what the text is; `html` is the same as a page beside it.

    `fields` are names and decoded values, addresses as Mailboxes; an empty value leaves its field out, and the fields
    of MIME are written here. Line ends of `text` are LF. Each attachment is (name, type, what stands in its place in
    the pieces): lines of base64 that whoever has the octets is to fill in, with a CRLF at the end; a picture has the
    Content-ID too, without its brackets, by which the page shows it. `hostname` is the gateway's own name: the domain
    under which an address without an addr-spec of its own is written.
    """
    head = [line for name, value in fields if (line := _field(name, value, hostname))]
    head.append(b"MIME-Version: 1.0\r\n")
    kind, body = text_part(text, subtype)
    if html is None and not attachments and not pictures:
        return [b"".join(head) + kind + b"\r\n" + body]
    page_kind, page = text_part(html or "", "html")
    seed = (body, page)
    parts: list[_Part[T]] = [_Part(kind, [body + b"\r\n"])]
    if html is not None:
        shown: _Part[T] = _Part(page_kind, [page + b"\r\n"])
        if pictures:
            shown = _multipart("related", [shown, *map(_picture, pictures)], _boundary(seed, b"rel-"))
        parts = [_multipart("alternative", [parts[0], shown], _boundary(seed, b"alt-"))]
    elif pictures:
        parts = [_multipart("related", [parts[0], *map(_picture, pictures)], _boundary(seed, b"rel-"))]
    if attachments:
        files: list[_Part[T]] = [
            _Part(attachment_head(name, kind), [_Place(place)]) for name, kind, place in attachments
        ]
        parts = [_multipart("mixed", [*parts, *files], _boundary(seed))]
    return _joined([b"".join(head), parts[0].head, b"\r\n", *parts[0].pieces])


@dataclass(frozen=True, slots=True)
class _Place(Generic[T]):
    """What stands for octets that are filled in later; it may be octets too, and then stays a piece of its own."""

    what: T


@dataclass(frozen=True, slots=True)
class _Part(Generic[T]):
    """One entity: its header lines, and what follows their empty line, up to the end of a line."""

    head: bytes
    pieces: list[bytes | _Place[T]]


def _multipart(subtype: str, parts: Sequence[_Part[T]], boundary: bytes) -> _Part[T]:
    pieces: list[bytes | _Place[T]] = []
    for part in parts:
        pieces += [b"--" + boundary + b"\r\n" + part.head + b"\r\n", *part.pieces]
    pieces.append(b"--" + boundary + b"--\r\n")
    kind = f"Content-Type: multipart/{subtype}; ".encode("ascii")
    return _Part(kind + b'boundary="' + boundary + b'"\r\n', pieces)


def _picture(picture: tuple[str, str, T, str]) -> _Part[T]:
    name, kind, place, content_id = picture
    octets = fold(b"Content-ID: <" + _NOT_IN_ID.sub("-", content_id)[:_WORD].encode("ascii") + b">") + b"\r\n"
    return _Part(attachment_head(name, kind).replace(b": attachment", b": inline", 1) + octets, [_Place(place)])


def _joined(pieces: Iterable[bytes | _Place[T]]) -> list[bytes | T]:
    """Return pieces with neighbours that are octets made one, so that every other one is what a place holds."""
    made: list[bytes | T] = []
    held: list[bytes] = []
    for piece in pieces:
        if isinstance(piece, _Place):
            made += [b"".join(held), piece.what]
            held = []
        else:
            held.append(piece)
    made.append(b"".join(held))
    return made


def text_part(text: str, subtype: Literal["plain", "html"] = "plain") -> tuple[bytes, bytes]:
    """Return the header lines and the body of a text as a part: as it is where that is plain, else encoded."""
    octets = _NEWLINE.sub("\n", text).encode("utf-8", "replace")
    encoding = b"7bit"
    if is_plain(octets):
        body = octets.replace(b"\n", b"\r\n")
    elif (len(octets) - len(octets.translate(None, _UNPLAIN))) * 4 <= len(octets):
        encoding, body = b"quoted-printable", encode_quoted_printable(octets)
    else:
        encoding, body = b"base64", encode_base64(octets.replace(b"\n", b"\r\n"))
    kind = f"Content-Type: text/{subtype}; charset=utf-8\r\nContent-Transfer-Encoding: ".encode("ascii")
    return kind + encoding + b"\r\n", body


def is_plain(octets: bytes) -> bool:
    """Say whether a text can stand in a part as it is: printable ASCII in lines of bounded length, ended by LF."""
    return not octets.translate(None, _PLAIN) and not has_longer_line(octets, _LONGEST_LINE)


_UNPLAIN: Final = bytes(octet for octet in range(256) if not 0x20 <= octet < 0x7F and octet not in b"\t\n")


def attachment_head(name: str, kind: str) -> bytes:
    """Return the header lines of a file in base64."""
    kind = media_type(kind)
    if kind.startswith(_NEVER_ENCODED):
        kind = "application/octet-stream"
    disposition = ";\r\n ".join(["Content-Disposition: attachment", *written("filename", name)])
    return f"Content-Type: {kind}\r\nContent-Transfer-Encoding: base64\r\n{disposition}\r\n".encode("ascii")


def unstructured(text: str) -> bytes:
    """Return the value of an unstructured field, as encoded words where it can't stand as it is."""
    if text.isascii() and not _UNFOLDABLE.search(text):
        return text.encode("ascii")
    return encode_words(text.encode("utf-8", "replace"))


def phrase(name: str) -> bytes:
    """Return the name beside an address, as atoms, a quoted string or encoded words."""
    if not name.isascii() or _UNFOLDABLE.search(name):
        return encode_words(name.encode("utf-8", "replace"))
    if _ATOMS.fullmatch(name):
        return name.encode("ascii")
    return b'"' + _ESCAPE.sub(r"\\\1", name).encode("ascii") + b'"'


def addr_spec(address: Address, hostname: str) -> str:
    """Return the addr-spec by which an address stands in a header: its network's own, else the unsigned form."""
    if address.network == "smtp" and "@" not in address.value:
        return f"{address.value}@{hostname}"
    own = network(address.network).to_addr_spec(address)
    return own if own is not None and SAFE_SPEC.fullmatch(own) else unsigned_spec(address, hostname)


def _field(name: str, value: str | Sequence[Mailbox], hostname: str) -> bytes:
    name = _NOT_IN_NAME.sub("-", name)[:_NAME]
    lower = name.lower()
    if not name.strip("-") or lower in _OURS:
        return b""
    if not isinstance(value, str):
        octets = b", ".join(_mailbox(box, hostname) for box in value)
    elif lower in _NO_WORDS:
        octets = no_controls(value).encode("ascii", "replace")
    else:
        octets = unstructured(no_controls(value))
    return fold(name.encode("ascii") + b": " + octets) + b"\r\n" if octets else b""


def _mailbox(box: Mailbox, hostname: str) -> bytes:
    spec = addr_spec(box.address, hostname).encode("utf-8", "replace")
    if len(spec) > _WORD:
        spec = spec.replace(b".", b".\r\n ")  # RFC 5322 §4.4, obs-local-part
    name = no_controls(box.name)
    return phrase(name) + b" <" + spec + b">" if name else spec


def _boundary(texts: Sequence[bytes], level: bytes = b"") -> bytes:
    """Return a boundary that does not stand in the texts; base64 has no underscore. None begins as another level's."""
    n = zlib.crc32(texts[0])
    while any((boundary := b"=_gatepost-%s%08x" % (level, n)) in text for text in texts):
        n = (n + 1) & 0xFFFFFFFF
    return boundary
