"""What writers of dropped files promise, checked: any message, made to fit, is written, and read again as itself.

What came in by the same format goes this way too: an input that its codec reads is taken as what it reads.
"""

from __future__ import annotations

import re
from typing import Final
from zlib import crc32

from connectors.filedrop.files import InMemory
from connectors.filedrop.formats import Bad, Beside, Codec, Encoded, Part, Stamp
from connectors.filedrop.formats.values import Refused
from connectors.filedrop.names import is_safe
from gateway.adapt import Adapter
from gateway.contract import Address, Content, Envelope, Item, Notify, Origin, Parcel, Recipient, memo
from mappings.network import parse
from tests.fuzz.target import REFUSED
from tests.gateway.adapt.builders import TABLE, message

_STEM: Final = "20261124T000203000Z-7-0"
_AT: Final = 1_795_482_123.0
_TO: Final = {
    "smf": ("mhs:ann@hq", "smtp:ann@far.example"),
    "ftn": ("ftn:Ann Lee@2:280/464", "ftn:Bob@2:280/464.3"),
    "uucp": ("uucp:beta!ann", "smtp:ann@far.example"),
    "ccmail": ("ccmail:Lee, Ann at HQ",),
    "domino": ("notes:Ann Lee/HQ/Acme",),
    "groupwise": ("gwise:hq.sales.ann",),
    "msmail": ("msmail:NET/PO/ANN",),
    "profs": ("profs:VM1(ANN)",),
}
_FROM: Final = ("smtp:bob@acme.example", "smtp:zoe@far.example", None)
_NOT_TOLD: Final = frozenset(("records.no-sender", "records.address", "records.no-recipient", "records.too-long"))
_RECEIVED: Final = b"Received: from x.example by gw.example; Tue, 24 Nov 2026 01:02:03 +0000\r\n"
"""What the core puts before each content."""


def _recipients(title: str) -> tuple[str, ...]:
    key = next((key for key in _TO if key in title), "")
    return _TO.get(key, ("smtp:ann@far.example", "smtp:bea@far.example"))


def check_written(title: str, codec: Codec, octets: bytes) -> str:
    """Write a message, and read what was written; raise where a promise is broken. Returns: the outcome in short."""
    n = crc32(octets)
    known = _recipients(title)
    address = parse(known[n % len(known)])
    senders = (*_FROM, *known)
    sender = senders[n // 8 % len(senders)]
    octets = _came_in(codec, octets) or octets
    stored = message(octets, sender=sender, prefix=_RECEIVED)
    fitted = Adapter(hostname="gw.example").adapt(stored, stored.deliveries, codec.capabilities, TABLE)
    if fitted.refused:
        return REFUSED + "does not fit"
    notify = (Notify.UNSET, Notify.NEVER, Notify.SUCCESS)[n // 32 % 3]
    item = Item((1, 0), address, address, notify)
    path = None if sender is None else parse(sender)
    if sender in _FROM:
        path = fitted.envelope.reverse_path
    origin = Origin("in", peer="192.0.2.1", helo="x.example")
    envelope = Envelope(path, (Recipient(address, notify),), origin)
    parcel = Parcel(1, envelope, fitted.content, (item,), _AT)
    try:
        encoded = codec.encode(parcel, (item,), _STEM)
        pieces = list(encoded.octets())
    except Refused as e:
        return f"{REFUSED}{e.status.code}"
    assert list(encoded.octets()) == pieces, "written again, it is another"
    if title == "ftn-messages":
        for piece in pieces:  # each is a file
            _check_read(title, codec, address, fitted.content, encoded, piece, "2.msg")
    else:
        file = b"".join(pieces)
        if codec.many_a_file:
            file = codec.opening(encoded) + file + codec.closing()
        name = "1a2b3c4d" + (codec.extension or "")
        _check_read(title, codec, address, fitted.content, encoded, file, name)
    return " ".join(sorted({note.what.partition(":")[0][:20] for note in encoded.notes}))[:80]


def _came_in(codec: Codec, octets: bytes) -> bytes:
    """Return the content of the first message in a file of the format itself; nothing where it is none."""
    for found in codec.decode(InMemory(octets), Stamp("0123456789abcdef", _AT, "x")):
        if not isinstance(found, Part):
            return b""
        pieces = []
        for piece in found.content:
            if isinstance(piece, bytes):
                pieces.append(piece)
            elif isinstance(piece, Beside) or piece.file:
                pieces.append(b"QQ==\r\n")
            else:
                stretch = iter((octets[piece.start : piece.end],))
                pieces += stretch if piece.filter is None else piece.filter(stretch)
        return b"".join(pieces)
    return b""


def _check_read(
    title: str, codec: Codec, address: Address, sent: Content, encoded: Encoded, file: bytes, name: str
) -> None:
    files = {}
    for enclosure in encoded.enclosures:
        assert is_safe(enclosure.name), enclosure
        assert enclosure.name not in files, f"{enclosure.name} twice"
        files[enclosure.name] = b"".join(enclosure.octets())

    def beside(name: str) -> InMemory:
        if name not in files:
            raise FileNotFoundError(name)
        return InMemory(files[name])

    stamp = Stamp("0123456789abcdef", _AT, name, beside)
    found = list(codec.decode(InMemory(file), stamp))
    parts = [one for one in found if isinstance(one, Part)]
    bads = [one for one in found if isinstance(one, Bad)]
    if {bad.rule for bad in bads} & _NOT_TOLD:
        return  # a description may have no field for an address, or grow a text over the bound that is set here
    assert not bads, f"what was written is bad: {bads[0]}"
    assert parts, "what was written holds no message"
    if title.startswith("ftn"):
        assert all(each.recipients[0].address == address for each in parts), parts[0].recipients
    else:
        assert len(parts) == 1, f"one message became {len(parts)}"
        if not title.startswith(("records", "mh", "mbox-mboxo")):  # where no field is for the envelope
            assert [each.address for each in parts[0].recipients] == [address], parts[0].recipients
    read = Content(b"".join(_pieces(parts[0], file, files)))
    if title == "mh" and re.search(rb"(?m)^-+\r?$", sent.head):
        return  # which ends a header there, as drafts have it; in one of mail it is no field
    if codec.capabilities.mime:
        assert _body(title, read) == _body(title, sent), "the body is another"
    elif title.startswith("smf"):
        one, other = memo(sent), memo(read)
        text = one.text.replace("\x1a", " ")  # it ends a file under DOS
        assert "".join(other.text.split()) == "".join(text.split()), "the text is another"
        assert " ".join(other.subject.split()) == " ".join(one.subject.split()), "the subject is another"
        assert len(other.attachments) == min(len(one.attachments), 256)


def _pieces(part: Part, file: bytes, files: dict[str, bytes]) -> list[bytes]:
    made = []
    for piece in part.content:
        if isinstance(piece, bytes):
            made.append(piece)
        elif isinstance(piece, Beside):
            assert piece.name in files, f"names {piece.name}, which was not written"
            made.append(b"QQ==\r\n")
        else:
            stretch = iter(((files[piece.file] if piece.file else file)[piece.start : piece.end],))
            made += stretch if piece.filter is None else piece.filter(stretch)
    return made


def _body(title: str, content: Content) -> bytes:
    """Return a body without what a format may change: its line ends, blanks at its end, and quoted From lines."""
    body = b"".join(content.body_chunks()).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if title.startswith("mbox-"):
        body = re.sub(rb"(?m)^>From ", b"From ", body)
    if title == "mmdf":
        body = re.sub(rb"(?m)^\x01{4}[ \t]?$", b"\1", body)
    return body.rstrip()
