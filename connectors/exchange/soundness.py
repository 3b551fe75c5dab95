"""Whether a message is MIME that everybody reads alike. Pure, and strict: what a reader may take otherwise is unsound.

Exchange, like any program, reads sound MIME as it is meant, and the rest in a way of its own; so a gateway can tell
what comes back of the first, and of the second only that it is uncertain. Bounded in parts and depth; each octet is
looked at a few times at most. Sources: RFC 2045 §5, §6; RFC 2046 §5.1.1 (boundaries), §5.2.1 (enclosed messages);
RFC 5322 §2.2.
"""

from __future__ import annotations

import codecs
import re
from functools import lru_cache
from typing import Final

from gateway.contract import Content

_MOST_PARTS: Final = 500
_MOST_DEEP: Final = 12
_MOST_HEAD: Final = 64 * 1024
_FIELDS: Final = re.compile(rb"(?:[!-9;-~]++:[^\0\r\n]*+\r\n(?:[ \t][^\0\r\n]*+\r\n)*+)++")
_BLANK_AFTER: Final = re.compile(rb"(?im)^content-transfer-encoding:[^\r\n]*[ \t]\r")
"""Some readers take the blank for a part of the word."""
_TYPE: Final = re.compile(rb"[ \t]*([A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+)[ \t]*(;.*)?", re.DOTALL)
_PARAMETER: Final = re.compile(
    rb";[ \t\r\n]*([A-Za-z0-9!#$&^_.+*-]+)=(?:\"((?:[^\"\\\r\n]|\\[ -~])*)\"|([^\s;\"(),:<>?=@\[\]\\]+))[ \t\r\n]*"
)
_LOOSE: Final = re.compile(rb"\r(?!\n)|(?<!\r)\n|\0")
_BOUNDARY: Final = re.compile(rb"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/\r\n]*+={0,2}+[\r\n]*+")
_BAD_QUOTED: Final = re.compile(rb"=(?![0-9A-F]{2}|\r\n|\Z)")
_NOT_QUOTED: Final = re.compile(rb"[\x80-\xff\0]")


def is_sound(content: Content) -> bool:
    """Say so of a message. One that is not in memory is taken for sound: it is not read for this."""
    if not content.is_inline:
        return True
    return _entity(content.octets(), 0, [_MOST_PARTS], is_message=True)


def _entity(octets: bytes, depth: int, budget: list[int], *, is_message: bool = False) -> bool:
    budget[0] -= 1
    if budget[0] < 0 or depth > _MOST_DEEP:
        return False
    if octets.startswith(b"\r\n"):
        head, body = b"", octets[2:]
        if is_message:
            return False
    else:
        head, empty, body = octets.partition(b"\r\n\r\n")
        if not empty:
            return False
        head += b"\r\n"
    if len(head) > _MOST_HEAD or (head and not _FIELDS.fullmatch(head)) or _BLANK_AFTER.search(head):
        return False
    content = Content(head + b"\r\n")
    names = [field.name for field in content.fields]
    if names.count(b"content-type") > 1 or names.count(b"content-transfer-encoding") > 1:
        return False
    value = content.get(b"content-type")
    read = (b"text/plain", {}) if value is None else _type(value)
    if read is None:
        return False
    type_, parameters = read
    encoding = (content.get(b"content-transfer-encoding") or b"7bit").lower()
    if type_.startswith(b"multipart/"):
        if encoding not in (b"7bit", b"8bit", b"binary") or type_ == b"multipart/digest":
            return False
        return _parts(body, parameters.get(b"boundary", b""), depth, budget)
    if type_.startswith(b"message/"):
        if encoding not in (b"7bit", b"8bit", b"binary"):
            return False
        return type_ != b"message/rfc822" or _entity(body, depth + 1, budget, is_message=True)
    return _is_leaf_sound(type_, parameters, encoding, body)


def _type(value: bytes) -> tuple[bytes, dict[bytes, bytes]] | None:
    match = _TYPE.fullmatch(value)
    if match is None:
        return None
    parameters: dict[bytes, bytes] = {}
    rest = match[2] or b""
    at = 0
    while at < len(rest):
        found = _PARAMETER.match(rest, at)
        if found is None:
            return (match[1].lower(), parameters) if not rest[at:].strip(b"; \t\r\n") else None
        name = found[1].lower()
        if name in parameters:
            return None
        parameters[name] = found[3] if found[3] is not None else found[2]
        at = found.end()
    return match[1].lower(), parameters


def _parts(body: bytes, boundary: bytes, depth: int, budget: list[int]) -> bool:
    if not _BOUNDARY.fullmatch(boundary) or b" " in boundary:
        return False
    mark = b"\r\n--" + boundary
    pieces = (b"\r\n" + body).split(mark)
    if len(pieces) < 3:
        return False
    for number, piece in enumerate(pieces[1:], 1):
        is_last = number == len(pieces) - 1
        if is_last != piece.startswith(b"--"):
            return False
        if is_last:
            return not piece[2:].strip(b" \t") or piece[2:].startswith(b"\r\n")
        if not piece.startswith(b"\r\n"):
            return False
        part = piece[2:]
        if not part.strip():
            return False
        if not _entity(part + b"\r\n", depth + 1, budget):
            return False
    return False


def _is_leaf_sound(type_: bytes, parameters: dict[bytes, bytes], encoding: bytes, body: bytes) -> bool:
    if encoding == b"base64":
        if not _BASE64.fullmatch(body) or len(body.translate(None, b"\r\n")) % 4:
            return False
    elif encoding == b"quoted-printable":
        if _BAD_QUOTED.search(body) or _NOT_QUOTED.search(body):
            return False
    elif encoding not in (b"7bit", b"8bit", b"binary") or (not type_.startswith(b"text/") and _LOOSE.search(body)):
        return False
    elif not body.isascii():
        if not type_.startswith(b"text/"):
            return False
        return _is_in(body, parameters.get(b"charset", b""))
    return not type_.startswith(b"text/") or b"charset" not in parameters or _codec(parameters[b"charset"]) is not None


def _is_in(octets: bytes, charset: bytes) -> bool:
    name = _codec(charset)
    if name is None:
        return False
    try:
        octets.decode(name)
    except UnicodeDecodeError:
        return False
    return True


@lru_cache(256)
def _codec(charset: bytes) -> str | None:
    try:
        name = codecs.lookup(charset.decode("ascii")).name
        "x".encode(name)
    except (LookupError, UnicodeError, TypeError, ValueError):
        return None
    return name
