"""What Exchange makes of a message: told before, and found out by holding what comes back against what was sent. Pure.

Exchange keeps no MIME: it takes a message apart into properties, and makes MIME anew for whoever asks. What is signed
as a whole is the exception, since it would be worth nothing otherwise (MS-OXCMAIL §2.2.3, MS-OXOSMIME §2.1).
Promises: every difference that `differences` finds has a note of `predict`; a message is scanned, not decoded.
Sources: MS-OXCMAIL §2.1 (from properties to MIME), §2.2 (from MIME to properties).
"""

from __future__ import annotations

import re
from typing import Final

from gateway.contract import Content, Fate, Note

REMADE: Final = Note(
    Fate.MAPPED,
    "the form of the message",
    "Exchange keeps it as properties and makes its MIME anew: fields in another order and folded anew, parts with"
    " other boundaries and encodings",
)
HEADER_REMADE: Final = Note(
    Fate.MAPPED,
    "the form of the header",
    "Exchange keeps it as properties and makes it anew, in another order and folded anew; the signed body stays",
)
LINE_ENDS: Final = Note(Fate.MAPPED, "bare CR and LF", "Exchange ends each line with CRLF")
NUL: Final = Note(Fate.DROPPED, "NUL", "Exchange holds no such character in a text")
HEADER_BEYOND_ASCII: Final = Note(Fate.MAPPED, "header beyond ASCII", "Exchange writes it as encoded words")

_SIGNED: Final = re.compile(rb"[ \t]*(?:multipart/signed|application/(?:x-)?pkcs7-mime)[ \t]*(?:;|$)", re.IGNORECASE)
_DOMAIN: Final = re.compile(rb"(?:^|;)[ \t]*d[ \t]*=[ \t]*([!-:<-~]{1,255})")
_MOST: Final = 20


def is_signed_whole(content: Content) -> bool:
    """Say whether a message's body is kept octet for octet, for the sake of its signature."""
    value = content.get(b"content-type")
    return value is not None and _SIGNED.match(value) is not None


def predict(content: Content) -> tuple[Note, ...]:
    """Return notes of what Exchange changes of a message. Reads a content through where its traits aren't known."""
    signed = is_signed_whole(content)
    notes = [HEADER_REMADE if signed else REMADE]
    traits = content.traits
    if not signed:
        if not traits.crlf_only:
            notes.append(LINE_ENDS)
        if traits.nul:
            notes.append(NUL)
    if traits.eight_bit and not content.head.isascii():
        notes.append(HEADER_BEYOND_ASCII)
    for number, value in enumerate(content.get_all(b"dkim-signature")):
        if number >= _MOST:
            break
        found = _DOMAIN.search(value)
        domain = found[1].decode("ascii") if found else "an unknown domain"
        notes.append(Note(Fate.DROPPED, f"signature broken: DKIM of {domain}", REMADE.what + " is another one"))
    return tuple(notes)
