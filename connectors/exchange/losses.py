"""What Exchange makes of a message: told before, and found out by holding what comes back against what was sent. Pure.

Exchange keeps no MIME: it takes a message apart into properties, and makes MIME anew for whoever asks. What is signed
as a whole is the exception, since it would be worth nothing otherwise (MS-OXOSMIME).
Promises: `predict` names every kind of loss that a message can have there, from the octets alone and by one scan;
`differences` finds what was lost of this one, value by value; what it finds `predict` has named.
Sources: MS-OXCMAIL §2.1 (from properties to MIME), §2.2 (from MIME to properties).
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

from connectors.exchange.soundness import is_sound
from gateway.contract import Content, Fate, Memo, Note, memo

FORM: Final = "the form of the message"
HEADER_FORM: Final = "the form of the header"
REMADE: Final = Note(
    Fate.MAPPED,
    FORM,
    "Exchange keeps it as properties and makes its MIME anew: fields in another order and folded anew; text, HTML,"
    " attachments and enclosed messages with other boundaries, encodings and last line ends",
)
HEADER_REMADE: Final = Note(
    Fate.MAPPED,
    HEADER_FORM,
    "Exchange keeps it as properties and makes it anew, in another order and folded anew; the signed body stays",
)
LINE_ENDS: Final = Note(Fate.MAPPED, "bare CR or LF", "Exchange ends each line with CRLF")
NUL: Final = Note(Fate.DROPPED, "NUL", "Exchange holds no such character in a text")
BEYOND_ASCII: Final = Note(Fate.MAPPED, "header beyond ASCII", "Exchange writes it as encoded words")
REPEATED: Final = Note(Fate.DROPPED, "repeated fields", "Exchange keeps one value of a field that may stand once")
NO_FIELDS: Final = Note(Fate.DROPPED, "header lines that are no fields", "Exchange has no place for them")
PEOPLE: Final = Note(
    Fate.MAPPED, "what address fields hold beside names and addresses", "Exchange keeps a name and an address of each"
)
BCC: Final = Note(Fate.DROPPED, "Bcc", "Exchange shows it to the sender alone")
OUTSIDE: Final = Note(Fate.DROPPED, "text outside of the parts", "Exchange keeps the parts alone")
NAMES: Final = Note(Fate.MAPPED, "names of files beyond ASCII", "Exchange writes them anew")
OWN: Final = Note(Fate.MAPPED, "fields that Exchange writes itself", "it writes its own, whatever stood there")
TEXT: Final = Note(Fate.MAPPED, "the text", "it came back otherwise")
BROKEN: Final = Note(
    Fate.MAPPED, "what is no sound MIME", "Exchange reads it in a way of its own: text and files may be others"
)

_BARE_CR: Final = re.compile(rb"\r(?!\n)")
_SIGNED: Final = re.compile(rb"[ \t]*(?:multipart/signed|application/(?:x-)?pkcs7-mime)[ \t]*(?:;|$)", re.IGNORECASE)
_DOMAIN: Final = re.compile(rb"(?:^|;)[ \t]*d[ \t]*=[ \t]*([!-:<-~]{1,255})")
_MOST: Final = 20
_ONCE: Final = frozenset(
    b"from sender reply-to to cc bcc subject thread-topic thread-index importance x-priority date message-id references"
    b" in-reply-to accept-language content-language mime-version content-type content-transfer-encoding".split()
)
_PEOPLE: Final = frozenset(b"from sender reply-to to cc".split())
_OWN: Final = frozenset({b"x-ms-has-attach", b"x-ms-tnef-correlator"})
_OF_THE_BODY: Final = frozenset(
    b"mime-version content-type content-transfer-encoding content-disposition content-id content-description".split()
)
_SPEC: Final = rb"[^\s<>@(),:;\"\\]++@[^\s<>@(),:;\"\\]++"
_BOX: Final = rb"(?:(?:\"[^\"\\]*+\"|[^\",:;<>()@\\]++)[ \t]*+<" + _SPEC + rb">|" + _SPEC + rb")"
_PLAIN_PEOPLE: Final = re.compile(_BOX + rb"(?:,[ \t]*+" + _BOX + rb")*+")
_NO_QUOTES: Final = str.maketrans("", "", '"<>')
_NAME: Final = re.compile(rb"(?i)name(?:\*|=[ \t]{0,9}\"?[^\"\r\n;=]{0,200}(?:=\?|[\\\t\x80-\xff]))")
_BOUNDARY: Final = re.compile(
    rb"(?i)^[ \t]*multipart/.*;[ \t]*boundary[ \t]*=[ \t]*(?:\"([^\"]+)\"|([^\s;]+))", re.DOTALL
)


def is_signed_whole(content: Content) -> bool:
    """Say whether a message's body is kept octet for octet, for the sake of its signature."""
    value = content.get(b"content-type")
    return value is not None and _SIGNED.match(value) is not None


def predict(content: Content) -> tuple[Note, ...]:
    """Return notes of what Exchange changes of a message. Reads a content through where its traits aren't known."""
    signed = is_signed_whole(content)
    notes = [HEADER_REMADE if signed else REMADE]
    traits = content.traits
    if not traits.crlf_only:
        notes.append(LINE_ENDS)
    if traits.nul:
        notes.append(NUL)
    notes += _header_losses(content)
    if not signed:
        notes += _body_losses(content)
    return (*notes, *signatures(content))


def _header_losses(content: Content) -> Iterator[Note]:
    counts = Counter(field.name for field in content.fields)
    if counts[b""] or not counts:
        yield NO_FIELDS
    if any(counts[name] > 1 for name in _ONCE & counts.keys()):
        yield REPEATED
    if counts[b"bcc"]:
        yield BCC
    if any(map(_is_own, counts)):
        yield OWN
    head = content.head
    if not head.isascii() or b"=?" in head:
        yield BEYOND_ASCII
    for name in _PEOPLE & counts.keys():
        if any(not _PLAIN_PEOPLE.fullmatch(value) for value in content.get_all(name)):
            yield PEOPLE
            break


def _is_own(name: bytes) -> bool:
    return name in _OWN or name.startswith(b"x-ms-exchange-organization-")


def _body_losses(content: Content) -> Iterator[Note]:
    """Yield what is lost of the parts. A body that is not in memory is not looked at: it is taken for sound."""
    if not content.is_inline:
        return
    if _has_text_outside(content):
        yield OUTSIDE
    if _NAME.search(content.octets()):
        yield NAMES
    if not is_sound(content):
        yield BROKEN


def _has_text_outside(content: Content) -> bool:
    found = _BOUNDARY.match(content.get(b"content-type") or b"")
    if found is None:
        return False
    mark = b"\r\n--" + (found[1] or found[2])
    before, first, rest = (b"\r\n" + content.body()).partition(mark)
    _, last, after = rest.rpartition(mark + b"--")
    return bool(first and last and (before.strip() or after.strip()))


def signatures(content: Content) -> Iterator[Note]:
    """Yield a note for each DKIM signature: it is over other octets than those that come back (RFC 6376 §3.7)."""
    for number, value in enumerate(content.get_all(b"dkim-signature")):
        if number >= _MOST:
            break
        found = _DOMAIN.search(value)
        domain = found[1].decode("ascii") if found else "an unknown domain"
        yield Note(Fate.DROPPED, f"signature broken: DKIM of {domain}", "Exchange makes the message's MIME anew")


def differences(sent: Content, back: Content) -> tuple[Note, ...]:
    """Return notes of what is not the same in what came back. Both are in memory."""
    if sent.octets() == back.octets():
        return ()
    notes = [HEADER_REMADE if is_signed_whole(sent) else REMADE]
    before, after = sent.traits, back.traits
    if not before.crlf_only and after.crlf_only:
        notes.append(LINE_ENDS)
    if before.nul and not after.nul:
        notes.append(NUL)
    notes += signatures(sent)
    was, now = memo(sent), memo(back)
    notes += _fields(was, now)
    if is_signed_whole(sent):
        return tuple(dict.fromkeys(notes))
    if _has_text_outside(sent) and not _has_text_outside(back):
        notes.append(OUTSIDE)
    sound = is_sound(sent)
    if _text(was.text) != _text(now.text):
        notes.append(TEXT if sound else BROKEN)
    notes += _files(was, now, sound=sound)
    return tuple(dict.fromkeys(notes))


def _fields(was: Memo, now: Memo) -> Iterator[Note]:
    counts = Counter(field.name for field in was.content.fields)
    if counts[b""] or not counts:
        yield NO_FIELDS
        return
    if _BARE_CR.search(was.content.head):
        # Other fields begin there, or end, for who takes it for a line's end.
        yield LINE_ENDS
        return
    for name in counts.keys() - _OF_THE_BODY:
        squeezed = _bare if name in _PEOPLE else _squeezed
        if Counter(map(squeezed, was.get_all(name))) == Counter(map(squeezed, now.get_all(name))):
            continue
        if name in _ONCE and counts[name] > 1:
            yield REPEATED
        elif name == b"bcc":
            yield BCC
        elif _is_own(name):
            yield OWN
        elif any(not value.isascii() or b"=?" in value for value in was.content.get_all(name)):
            yield BEYOND_ASCII
        elif name in _PEOPLE:
            yield PEOPLE
        else:
            yield Note(Fate.MAPPED, f"field {name.decode('latin-1').title()}", "it came back with another value")


def _squeezed(value: str) -> str:
    """Return a value without what folding changes."""
    return "".join(value.split())


def _bare(value: str) -> str:
    """Return addresses without what quoting changes too."""
    return _squeezed(value).translate(_NO_QUOTES)


def _text(text: str) -> str:
    return text.replace("\0", "").rstrip()


def _files(was: Memo, now: Memo, *, sound: bool) -> Iterator[Note]:
    """Enclosed messages and parts of reports are made anew as the message itself is: of those the number counts."""
    before, after = Counter(_kept(was)), Counter(_kept(now))
    if before == after:
        return
    if not sound:
        yield BROKEN
        return
    nameless = [Counter(each[1:] for each in counts.elements()) for counts in (before, after)]
    if nameless[0] == nameless[1] and _NAME.search(was.content.octets()):
        yield NAMES
        return
    for name, kind, _ in before - after:
        yield Note(Fate.DROPPED, f"file {name} ({kind})", "it did not come back as it was")


def _kept(found: Memo) -> Iterator[tuple[str, str, str]]:
    for each in found.attachments:
        if each.type.startswith(("message/", "multipart/")):
            yield "", each.type, ""
            continue
        octets = b"".join(each.octets())
        if each.type.startswith("text/"):
            octets = octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\0", b"").rstrip()
        yield each.name, each.type, hashlib.sha256(octets).hexdigest()
