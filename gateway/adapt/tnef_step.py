"""Steps: what Outlook packs for itself taken apart, for destinations where nobody could read it; and made, for those
that ask for it.

Promises: everything in the stream that MIME can say is a part of its own afterwards; every other octet of the message
stays as it is; a stream that can't be read, or that is signed, is left and noted. A stream is in memory whole while it
is taken apart, and one over `MAX_STREAM` is left. Blocks on a Blob.
Sources: MS-OXCMAIL §2.1.3.4 (how Exchange sends it), RFC 2046 §5.1.
"""

from __future__ import annotations

from typing import Final

from gateway.blobs import Slice, Spliced, readable
from gateway.compose import text_part
from gateway.fidelity import Fate, Note
from gateway.memo import file_name, is_text, memo, name_of
from gateway.message import Blob, Content
from gateway.mime import MAX_HEAD, InMemory, Octets, Part, parse
from gateway.octets import encode_base64, fold, no_controls
from gateway.tnef import TYPES, Party, unpack
from gateway.tnef.mime import Entity, entity, multipart, parts_of
from gateway.tnef.writer import pack
from gateway.transfer import decoded_pieces
from mappings.fields import unfold
from mappings.rewrite import mailboxes

MAX_STREAM: Final = 64 * 1024 * 1024
_NAMES: Final = (b"ms-tnef", b"winmail.dat")
_LOOKED_AT: Final = 256 * 1024
_MAX_OTHERS: Final = 500
_SEALED: Final = ("multipart/signed", "multipart/encrypted", "multipart/report", "application/pkcs7")
_LEFT: Final = frozenset((*TYPES, "text/calendar", "application/x-pkcs7-mime"))
_WINMAIL: Final = (
    b'Content-Type: application/ms-tnef; name="winmail.dat"\r\nContent-Transfer-Encoding: base64\r\n'
    b'Content-Disposition: attachment; filename="winmail.dat"\r\n'
)
_WHY: Final = "only Outlook reads it as it is"

Edit = tuple[int, int, bytes]


def unpack_tnef(content: Content, hostname: str = "") -> tuple[Content, list[Note]]:
    """Return the content with every TNEF part in it replaced by what it holds, and notes.

    Costs a search where there is none. Raises: OSError where a Blob can't be read.
    """
    if not _may_hold(content):
        return content, []
    source = readable(content)
    root = parse(source)
    step = _Step(source, hostname)
    step.entity(root, None, root)
    if not step.edits:
        return content, step.notes
    pieces = list(_spliced(source, step.edits, root))
    if content.is_inline:
        made: bytes | Blob = b"".join(p for p in pieces if isinstance(p, bytes))
    else:
        made = Spliced(pieces)
    return Content(made, attributes=content.attributes), step.notes


def pack_tnef(content: Content) -> tuple[Content, list[Note]]:
    """Return the content with its body packed as Outlook does it: a text for others, and a stream with everything.

    What is signed, encrypted, packed already, a report or a meeting is left as it is: it would be less afterwards.
    Holds the message in memory; one over `MAX_STREAM` is left. Raises: OSError where a Blob can't be read.
    """
    if content.size > MAX_STREAM:
        return content, [Note(Fate.KEPT, "the MIME structure", "the message is too large to be packed")]
    root = parse(readable(content))
    if any(part.type in _LEFT or part.type.startswith(_SEALED) for part in root.walk()):
        return content, []
    stream = pack(content)
    correlator = content.get(b"message-id") or b""
    kept = b"".join(
        root.head[f.start : f.end]
        for f in root.fields
        if not f.name.startswith(b"content-") and f.name not in (b"mime-version", b"x-ms-tnef-correlator")
    )
    if kept and not kept.endswith(b"\n"):
        kept += b"\r\n"
    head, body = text_part(memo(content).text)
    shown = Entity(head, body if body.endswith(b"\r\n") else body + b"\r\n")
    made = multipart("mixed", [shown, Entity(_WINMAIL, encode_base64(stream))])
    own = fold(b"X-MS-TNEF-Correlator: " + no_controls(correlator.decode("latin-1")).encode("ascii", "replace"))
    octets = kept + (own + b"\r\n" if correlator else b"") + b"MIME-Version: 1.0\r\n" + made.octets()
    notes = [Note(Fate.MAPPED, "the message: packed as TNEF", "the destination asks for it")]
    return Content(octets, attributes=content.attributes), notes


def _may_hold(content: Content) -> bool:
    """Say whether a TNEF part can be in it: its type is named in a header, of the message or of a part."""
    if content.is_inline:
        lower = content.octets().lower()
        return any(name in lower for name in _NAMES)
    kept = b""
    for chunk in content.chunks(_LOOKED_AT):
        lower = kept + chunk.lower()
        if any(name in lower for name in _NAMES):
            return True
        kept = lower[-16:]
    return False


def is_tnef(part: Part) -> bool:
    """Say whether a part is a TNEF stream by its type or its name."""
    return part.is_leaf and (part.type in TYPES or file_name(part, 0).lower() == "winmail.dat")


def _spliced(source: Octets, edits: list[Edit], root: Part) -> list[bytes | Blob]:
    pieces: list[bytes | Blob] = []
    at = 0
    for start, end, octets in sorted(edits):
        if start > at:
            pieces.append(_piece(source, at, start))
        pieces.append(octets)
        at = end
    if at < root.end:
        pieces.append(_piece(source, at, root.end))
    return pieces


def _piece(source: Octets, start: int, end: int) -> bytes | Blob:
    return source.octets[start:end] if isinstance(source, InMemory) else Slice(source, start, end)


class _Step:
    """One walk through a message; gathers edits and notes."""

    def __init__(self, source: Octets, hostname: str) -> None:
        self.edits: list[Edit] = []
        self.notes: list[Note] = []
        self._source = source
        self._hostname = hostname

    def entity(self, part: Part, parent: Part | None, message: Part) -> None:
        """Take apart what is packed in a part; `message` is the one it is in, of those that are in each other."""
        if part.type == "multipart/signed":
            if any(is_tnef(inner) for inner in part.walk()):
                self.notes.append(Note(Fate.KEPT, "a part that only Outlook reads", "it is signed"))
            return
        for child in part.children:
            self.entity(child, part, child if part.type.startswith("message/") else message)
        if is_tnef(part):
            self._replace(part, parent, message)

    def _replace(self, part: Part, parent: Part | None, message: Part) -> None:
        octets = b""
        if part.end - part.body <= MAX_STREAM and len(part.head) < MAX_HEAD:
            octets = b"".join(decoded_pieces(self._source, part.body, part.end, part.encoding))
        unpacked = unpack(octets)
        name = file_name(part, 1)
        if unpacked is None:
            self.notes.append(Note(Fate.KEPT, name, "it is not what it is said to be, or too large to be taken apart"))
            return
        siblings = parent.children if parent is not None and parent.type == "multipart/mixed" else []
        text = next((s for s in siblings if is_text(s) and self._says(s)), None)
        has_page = any(inner.type == "text/html" for s in siblings for inner in s.walk())
        outside = None if text is None else self._as_it_is(text)
        parts = parts_of(
            unpacked, hostname=self._hostname, text=outside, page=not has_page, others=_recipients(message)
        )
        self.notes.append(Note(Fate.MAPPED, f"{name}: unpacked", _WHY))
        if not parts.whole:
            self.notes.append(Note(Fate.DROPPED, "when the meeting recurs", "there are no words for it in iCalendar"))
        if part is message:
            self._whole(part, entity(parts))
        elif parent is not None and siblings and text is not None and parts.shown is not None and not parts.sealed:
            if parts.shown is not outside:
                self.edits.append((text.start, text.end, _body(parts.shown)))
            self._instead(part, parent, parts.files)
        elif parent is not None and siblings:
            shown = (parts.shown,) if parts.shown is not None else ()
            self._instead(part, parent, (*shown, *parts.files))
        else:
            self.edits.append((part.start, part.end, _body(entity(parts))))

    def _whole(self, part: Part, made: Entity) -> None:
        """Put an entity in the place of a message's whole body, under what else its header says."""
        kept = b"".join(
            part.head[f.start : f.end]
            for f in part.fields
            if not f.name.startswith(b"content-") and f.name != b"mime-version"
        )
        head = kept + b"MIME-Version: 1.0\r\n" + made.head
        self.edits.append((part.start, part.end, head + b"\r\n" + made.body))

    def _instead(self, part: Part, parent: Part, entities: tuple[Entity, ...]) -> None:
        """Put entities in a part's place, as parts of the multipart it is in."""
        if not entities:
            at = parent.children.index(part)
            if at:  # with the delimiter before it
                self.edits.append((parent.children[at - 1].end, part.end, b""))
            else:
                self.edits.append((part.start, parent.children[1].start, b""))
            return
        delimiter = b"--" + parent.parameters.get("boundary", b"")
        if any(delimiter in octets for one in entities for octets in (one.head, one.body)):
            octets = _body(multipart("mixed", entities))  # under a boundary that is in none of them
        else:
            octets = (b"\r\n" + delimiter + b"\r\n").join(map(_body, entities))
        self.edits.append((part.start, part.end, octets))

    def _as_it_is(self, part: Part) -> Entity:
        return Entity(part.head, self._source.read(part.body, part.end - part.body) + b"\r\n")

    def _says(self, part: Part) -> bool:
        return bool(self._source.read(part.body, min(part.end - part.body, 4096)).strip())


def _recipients(message: Part) -> tuple[Party, ...]:
    """Return whom a message is to, for a meeting that does not say it itself."""
    found: list[Party] = []
    for name, kind in ((b"to", 1), (b"cc", 2)):
        for f in message.fields:
            if f.name == name and len(found) < _MAX_OTHERS:
                for box in mailboxes(unfold(message.head[f.value_start : f.end])):
                    found.append(Party(name_of(box.name), f"{box.local}@{box.domain}", "SMTP", kind))
    return tuple(found[:_MAX_OTHERS])


def _body(made: Entity) -> bytes:
    """Return an entity without the line end that belongs to the boundary behind it."""
    return made.octets().removesuffix(b"\r\n")
