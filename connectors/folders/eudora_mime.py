"""A message as Eudora keeps it, made whole again: its attachments in it, and its text told as what it is. Pure.

Eudora takes a message apart when it comes: attachments become files, each told by a line `Attachment Converted:`;
the text is decoded and stands bare, between tags such as <x-html> where it is no plain text, under a header that still
says multipart. A message to be sent names its files in X-Attachments. What was not taken apart stays as it is.
A file that is not there keeps its line. The boundary is made of the octets: a message is rebuilt the same each time.
"""

from __future__ import annotations

import base64
import hashlib
import mimetypes
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import encode_rfc2231
from pathlib import Path
from typing import Final

from connectors.folders import notes

_CONVERTED: Final = re.compile(rb"^Attachment Converted:([^\r\n]{1,2048})(?:\r\n|\Z)", re.IGNORECASE | re.MULTILINE)
_MAC: Final = re.compile(r"(?: \([^()/]{1,8}/[^()/]{1,8}\))?(?: \([0-9A-Fa-f]{8}\))?$")
_TAG: Final = re.compile(rb"<x-(html|rich|flowed)>", re.IGNORECASE)
_BOUNDARY: Final = re.compile(rb"boundary[ \t]*=[ \t]*(?:\"([^\"]{1,200})\"|([^\s;]{1,200}))", re.IGNORECASE)
_CHARSET: Final = re.compile(rb"charset[ \t]*=[ \t]*\"?([A-Za-z0-9_.:+-]{1,40})", re.IGNORECASE)
_TYPES: Final = {
    b"html": (b"text/html", b""),
    b"rich": (b"text/enriched", b""),
    b"flowed": (b"text/plain", b"; format=flowed"),
}
_LINE_OCTETS: Final = 57
"""Of a file, per line of base64 (RFC 2045 §6.8)."""
_DROPPED: Final = (
    b"content-type",
    b"content-transfer-encoding",
    b"content-disposition",
    b"mime-version",
    b"x-attachments",
)
_MOST_FILES: Final = 500

Find = Callable[[str], Path | None]
"""Gives the file of the attachment folder that has a name, however it is written."""


@dataclass(frozen=True, slots=True)
class Whole:
    """What a message is made of: octets, and files in base64."""

    parts: tuple[bytes | Path, ...]


def _name(match: re.Match[bytes]) -> str:
    path = match[1].decode("cp1252", "replace").strip()
    quoted = path.startswith('"') and path.endswith('"')
    return base_name(path if quoted else _MAC.sub("", path))


def base_name(path: str) -> str:
    """Return the last part of a path of Windows, of a Macintosh or of Unix."""
    return re.split(r"[\\/:]", path.strip().strip('"'))[-1]


def is_apart(header: bytes, body: bytes) -> bool:
    """Tell whether Eudora has taken a message apart."""
    if _CONVERTED.search(body) is not None or _tagged(body) is not None:
        return True
    for name, value, _, _ in notes.fields(header):
        if name == b"x-attachments" and value.strip():
            return True
        if name == b"content-type" and value.strip().lower().startswith(b"multipart/"):
            match = _BOUNDARY.search(value)
            return match is None or b"--" + (match[1] or match[2]) not in body
    return False


def whole(header: bytes, body: bytes, find: Find) -> Whole:
    """Return a message made whole. `header` ends before its empty line; both have CRLF."""
    kept: list[bytes] = []
    charset = b"windows-1252"
    outgoing: list[str] = []
    for name, value, start, end in notes.fields(header):
        if name == b"content-type" and value.strip().lower().startswith(b"text/"):
            match = _CHARSET.search(value)
            charset = match[1] if match is not None else charset
        if name == b"x-attachments":
            outgoing = [base_name(part) for part in value.decode("cp1252", "replace").split(";") if part.strip()]
        if name not in _DROPPED:
            kept.append(header[start:end])
    files: list[Path] = []
    missing: list[str] = []
    for name_ in outgoing:
        path = find(name_)
        if path is None:
            missing.append(name_)
        elif len(files) < _MOST_FILES:
            files.append(path)

    def taken(match: re.Match[bytes]) -> bytes:
        path = find(_name(match))
        if path is None or len(files) >= _MOST_FILES:
            return match[0]
        files.append(path)
        return b""

    text = _CONVERTED.sub(taken, body)
    for name_ in missing:
        text += f'Attachment Converted: "{name_}"\r\n'.encode()
    kind, more = b"text/plain", b""
    tagged = _tagged(text)
    if tagged is not None:
        tag, start, end, inner = tagged
        kind, more = _TYPES[tag]
        rest = (text[:start] + text[end:]).strip()
        if kind == b"text/html" and rest:  # what stands beside the page is seen in it
            rest = rest.replace(b"&", b"&amp;").replace(b"<", b"&lt;").replace(b">", b"&gt;")
            text = inner + b"<pre>" + rest + b"</pre>\r\n"
        else:
            text = text[:start] + inner + text[end:] if rest else inner.lstrip(b"\r\n")
    if text and not text.endswith(b"\r\n"):
        text += b"\r\n"
    encoding = b"7bit" if text.isascii() else b"8bit"
    text_head = b"Content-Type: %s; charset=%s%s\r\nContent-Transfer-Encoding: %s\r\n" % (kind, charset, more, encoding)
    top = b"".join(kept) + b"MIME-Version: 1.0\r\n"
    if not files:
        return Whole((top + text_head + b"\r\n" + text,))
    boundary = b"=_" + hashlib.blake2b(header + body, digest_size=12).hexdigest().encode()
    opening = b'Content-Type: multipart/mixed; boundary="%s"\r\n\r\n' % boundary
    parts: list[bytes | Path] = [top + opening + b"--" + boundary + b"\r\n" + text_head + b"\r\n" + text]
    for path in files:
        parts += [b"\r\n--" + boundary + b"\r\n" + _file_head(path.name) + b"\r\n", path]
    return Whole((*parts, b"\r\n--" + boundary + b"--\r\n"))


def _tagged(text: bytes) -> tuple[bytes, int, int, bytes] | None:
    """Return the first tag that a text stands between, where it begins and ends, and the text; in linear time."""
    opening = _TAG.search(text)
    if opening is None:
        return None
    closing = re.compile(rb"</x-" + opening[1] + rb">", re.IGNORECASE).search(text, opening.end())
    if closing is None:
        return None
    return opening[1].lower(), opening.start(), closing.end(), text[opening.end() : closing.start()]


def _file_head(name: str) -> bytes:
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    if name.isascii() and '"' not in name and "\\" not in name and name.isprintable():
        told = f'filename="{name}"'
    else:
        told = f"filename*={encode_rfc2231(name, 'utf-8')}"
    return (
        f"Content-Type: {kind}\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment;\r\n {told}\r\n"
    ).encode("ascii", "replace")


def encoded(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Write a file in lines of base64."""
    held = b""
    for piece in pieces:
        held += piece
        cut = len(held) - len(held) % _LINE_OCTETS
        yield _lines(held[:cut])
        held = held[cut:]
    yield _lines(held)


def _lines(octets: bytes) -> bytes:
    return b"".join(
        base64.b64encode(octets[at : at + _LINE_OCTETS]) + b"\r\n" for at in range(0, len(octets), _LINE_OCTETS)
    )
