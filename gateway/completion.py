"""Completion: what a message that a person or program hands in lacks, and what must not leave with it. Pure.

Promises: what stands in the header stays as it is, octet for octet, but for Bcc fields, which are taken out; what is
added stands in front. A message without any header becomes the body of one.
Source: RFC 5322 §3.6 (which fields there must be), §3.6.3 (Bcc); RFC 6409 §8 (what a submission server may do).
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from email.utils import formatdate
from typing import Final

from gateway.compose import phrase
from gateway.message import Content
from gateway.octets import fold, no_controls
from mappings.fields import unfold

BLIND: Final = frozenset((b"bcc", b"resent-bcc"))
RECIPIENTS: Final = (b"to", b"cc", b"bcc")
MOST_RECIPIENTS: Final = 100_000
MOST_OCTETS: Final = 8 * 1024 * 1024
"""Octets of address fields that are read of one header."""
_TOKEN: Final = re.compile(
    rb'[ \t\r\n]++|"(?:[^"\\]|\\.)*+"|\[[^\]\\\r\n]{0,255}+\]|\\.|[^\x00- ()<>\[\]:;@\\,"]++|.', re.DOTALL
)
_IN_COMMENT: Final = re.compile(rb"\\.|[()]", re.DOTALL)
_AROUND: Final = re.compile(r" *([.@]) *")


@dataclass(frozen=True, slots=True)
class Author:
    """Who hands a message in: an addr-spec, and the name beside it, empty where there is none."""

    spec: str
    name: str = ""


def complete(content: Content, *, hostname: str, now: float, author: Author | None = None) -> Content:
    """Return the content with Date, Message-ID and, where there is an author, From, each where it is missing, and
    without Bcc fields. The very same object where nothing is to be done.

    `now` is in seconds since 1970. Blocks where the content is not in memory.
    """
    present = {f.name for f in content.fields}
    lines = b""
    if b"from" not in present and author is not None:
        lines += _from(author)
    # RFC 5322 §3.6.6: what is resent has the dates of its first sending, and is given others by whoever resends it.
    if b"date" not in present:
        lines += f"Date: {formatdate(now, localtime=True)}\r\n".encode("ascii")
    if b"message-id" not in present:
        lines += message_id(hostname, now)
    if present & BLIND:
        head = content.head
        kept = b"".join(head[f.start : f.end] for f in content.fields if f.name not in BLIND)
        content = content.with_head(kept)
    return content.with_prefix(lines) if lines else content


def message_id(hostname: str, now: float) -> bytes:
    """Return a new Message-ID field."""
    return f"Message-ID: <{int(now * 1000):x}.{secrets.token_hex(8)}@{hostname}>\r\n".encode("ascii")


def authors(content: Content) -> list[str]:
    """Return the addr-specs of the From fields, as written."""
    return _specs(content, (b"from",))


def recipients(content: Content) -> list[str]:
    """Return the addr-specs of To, Cc and Bcc in order, each once; where it is resent, those of its Resent- fields.

    A word without a domain is one too. Bounded by MOST_RECIPIENTS and MOST_OCTETS.
    """
    resent = tuple(b"resent-" + name for name in RECIPIENTS)
    names = resent if any(f.name in resent for f in content.fields) else RECIPIENTS
    return list(dict.fromkeys(_specs(content, names)))


def _specs(content: Content, names: tuple[bytes, ...]) -> list[str]:
    head, left = content.head, MOST_OCTETS
    found: list[str] = []
    for f in content.fields:
        if f.name not in names:
            continue
        left -= f.end - f.value_start
        if left < 0 or len(found) > MOST_RECIPIENTS:
            break
        found += addr_specs(unfold(head[f.value_start : f.end]))
    return found


def addr_specs(value: bytes) -> list[str]:
    """Return the addresses of an address field's value as they are written, those of groups too (RFC 5322 §3.4, §4.4).

    Words without a domain are taken, since programs on one machine write them. What is no address comes as it is, with
    its blanks, so that whoever reads it can say so. Linear in the octets.
    """
    found: list[str] = []
    words: list[bytes] = []
    angle: list[bytes] | None = None
    closed = False

    def flush() -> None:
        nonlocal words, angle, closed
        spec = b"".join(angle if angle is not None else words).strip()
        if spec:
            found.append(spec.decode("utf-8", "replace"))
        words, angle, closed = [], None, False

    at = 0
    while match := _TOKEN.match(value, at):
        token, at = match[0], match.end()
        if token == b"(":
            at = _comment_end(value, at)
        elif token in (b",", b";") and (angle is None or closed or (token == b"," and angle[:1] != [b"@"])):
            flush()
        elif token == b":":  # a group's name, or a route (RFC 5322 §4.4)
            if angle is None:
                words = []
            elif not closed:
                angle = []
        elif token == b"<" and angle is None:
            angle = []
        elif token == b">" and angle is not None:
            closed = True
        elif angle is not None and not closed:
            if not token.isspace():
                angle.append(token)
        elif not token.isspace():
            words.append(token)
        elif words and words[-1] != b" ":
            words.append(b" ")
    flush()
    return [_tight(spec) for spec in found]


def _comment_end(value: bytes, at: int) -> int:
    """Return where the comment ends whose bracket was opened before `at`; comments nest (RFC 5322 §3.2.2)."""
    depth = 1
    for match in _IN_COMMENT.finditer(value, at):
        depth += (match[0] == b"(") - (match[0] == b")")
        if depth == 0:
            return match.end()
    return len(value)


def _tight(spec: str) -> str:
    """Return an addr-spec without the blanks that may stand around its dots and its @ (RFC 5322 §4.4)."""
    return _AROUND.sub(r"\1", spec) if " " in spec and '"' not in spec else spec


def _from(author: Author) -> bytes:
    name = no_controls(author.name)
    spec = author.spec.encode("utf-8", "replace")
    return fold(b"From: " + (phrase(name) + b" <" + spec + b">" if name else spec)) + b"\r\n"
