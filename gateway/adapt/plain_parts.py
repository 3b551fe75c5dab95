"""What of a message is its text, and what are files beside it, for a destination without MIME.

The text is what a mail program would show: of alternatives the plain one, or the HTML as text; further texts behind it.
All else is a file. Bounded as `gateway.mime` and `gateway.memo` are; a text over their bounds is a file.
Sources: RFC 2046 §5.1 (multiparts), RFC 2387 (related), RFC 1847 (signed, encrypted), RFC 2183 (inline or a file).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.adapt.lines import unflowed
from gateway.contract import Capabilities
from gateway.fidelity import Fate, Note
from gateway.html_text import html_to_text
from gateway.memo import MAX_HTML, MAX_TEXT, file_name, is_text, text_of
from gateway.mime import Octets, Part, content_type
from gateway.parameters import parameter
from gateway.tnef import TYPES, Packed, unpack
from gateway.tnef.calendar import calendar
from gateway.tnef.mime import message
from gateway.tnef.rtf import body_of
from gateway.transfer import decoded_pieces

_TEXT_ALONE: Final = "the destination takes text alone"


@dataclass(frozen=True, slots=True)
class File:
    """What goes as a file: a part as it is, or octets that were unpacked. `size` is about what it has in the end."""

    name: str
    held: Part | Packed

    @property
    def type(self) -> str:
        return self.held.type

    @property
    def size(self) -> int:
        held = self.held
        if isinstance(held, Packed):
            return len(held.octets)
        size = held.end - held.body
        return size * 57 // 78 if held.encoding == "base64" else size  # RFC 2045 §6.8: 57 octets on a line of 76


class Parts:
    """One walk through a message: gathers its texts, its files and the notes."""

    def __init__(self, source: Octets, root: Part, capabilities: Capabilities, hostname: str) -> None:
        self.texts: list[str] = []
        self.files: list[File] = []
        self.notes: list[Note] = []
        self.page: Part | None = None
        """The HTML that the text was made of, or that says the same."""
        self.rendered = False
        self._source = source
        self._capabilities = capabilities
        self._hostname = hostname or "localhost"
        self._room = MAX_TEXT
        self._packed: list[Part] = []
        self._walk(root)
        for part in self._packed:
            self._unpack(part)
        if self.rendered:
            self.notes.append(Note(Fate.MAPPED, "HTML: brought to text", _TEXT_ALONE))
        if len(self.texts) > 1:
            self.notes.append(
                Note(Fate.MAPPED, f"{len(self.texts)} parts of text: joined", "the destination takes one")
            )

    def _walk(self, part: Part) -> None:
        kind = part.type
        if kind == "multipart/alternative" and part.children:
            self._alternative(part)
        elif kind == "multipart/related" and part.children:
            self._walk(part.children[0])
            for child in part.children[1:]:
                self._file(child)
        elif kind == "multipart/signed" and part.children:
            self._walk(part.children[0])
            self._signature(part)
        elif kind == "multipart/encrypted" and part.children:
            for child in part.children:
                self._file(child)
            self._locked("it is encrypted")
        elif kind.startswith("multipart/") and part.children:
            for child in part.children:
                self._walk(child)
        elif kind.startswith("multipart/"):
            part.type = "text/plain"  # what has no parts is shown as it is
            self._leaf(part)
        else:
            self._leaf(part)

    def _leaf(self, part: Part) -> None:
        size = part.end - part.body
        if not size and not part.get(b"content-disposition"):
            return
        if not self._capabilities.mime and (part.type in TYPES or file_name(part, 0).lower() == "winmail.dat"):
            self._packed.append(part)  # what it says matters only where nothing else does
            return
        if part.type in ("application/pkcs7-mime", "application/x-pkcs7-mime"):
            self._locked("it is encrypted, or signed in a form that is no text")
        if is_text(part, most=self._room) and not (self.texts and _is_named(part)):
            self._room -= size
            self._text(part)
        elif is_text(part, "text/html", min(self._room, MAX_HTML)) and not (self.texts and _is_named(part)):
            self._room -= size
            self.texts.append(html_to_text(text_of(self._source, part)))
            self.rendered = True
            self._keep_page(part)
        else:
            self._file(part)

    def _unpack(self, part: Part) -> None:
        """Take apart what Outlook packed for itself; the text in it counts where the message has no other."""
        octets = b""
        if part.end - part.body <= 2 * MAX_TEXT:
            octets = b"".join(decoded_pieces(self._source, part.body, part.end, part.encoding))
        found = unpack(octets)
        if found is None:
            self._file(part)
            return
        self.notes.append(Note(Fate.MAPPED, f"{self._name(part)}: unpacked", "only Outlook reads it as it is"))
        if not any(text.strip() for text in self.texts):
            if found.text.strip():
                self.texts = [found.text]
            elif found.html.strip() and len(found.html) <= MAX_HTML:
                self.texts, self.rendered = [html_to_text(found.html)], True
        if found.rtf_alone and body_of(found.rtf).native:
            self.files.append(File("message.rtf", Packed("message.rtf", "application/rtf", found.rtf)))
        meeting = calendar(found)
        if meeting is not None:
            self.files.append(File("meeting.ics", Packed("meeting.ics", "text/calendar", meeting.octets)))
        for packed in found.files:
            if packed.enclosed is not None:
                name = f"{packed.name or 'message'}.eml"
                octets = message(packed.enclosed, hostname=self._hostname)
                self.files.append(File(name, Packed(name, "message/rfc822", octets)))
                continue
            self.files.append(File(packed.name or f"attachment-{len(self.files) + 1}.bin", packed))

    def _text(self, part: Part) -> None:
        text = text_of(self._source, part)
        if part.parameters.get("format", b"").lower() == b"flowed":
            joined = unflowed(text, delsp=part.parameters.get("delsp", b"").lower() == b"yes")
            if joined != text:
                self.notes.append(Note(Fate.MAPPED, "flowed text: joined to paragraphs", _TEXT_ALONE))
            text = joined
        self.texts.append(text)

    def _alternative(self, part: Part) -> None:
        """Take the plain form where it says something, else the HTML one, else the first; files of the others stay."""
        plain = next((c for c in part.children if self._says(c, "text/plain")), None)
        chosen = plain or next((c for c in part.children if self._says(c, "text/html")), part.children[0])
        before = len(self.texts)
        self._walk(chosen)
        dropped = False
        for child in part.children:
            if child is chosen:
                continue
            for leaf in _leaves(child):
                if leaf.type == "text/html" and is_text(leaf, "text/html"):
                    dropped = not self._keep_page(leaf) or dropped
                elif leaf.type == "text/calendar" or not leaf.type.startswith("text/"):
                    self._file(leaf)
        if dropped and len(self.texts) > before:
            self.notes.append(Note(Fate.DROPPED, "HTML", "the text beside it says the same, and " + _TEXT_ALONE))

    def _says(self, part: Part, kind: str) -> bool:
        """Say whether a part has text of this kind that is more than blanks."""
        for leaf in _leaves(part):
            if is_text(leaf, kind):
                head = self._source.read(leaf.body, min(leaf.end - leaf.body, 4096))
                if head.strip():
                    return True
        return False

    def _keep_page(self, part: Part) -> bool:
        """Keep HTML beside the text, where the destination takes it."""
        if not self._capabilities.html or (self.page is not None and self._capabilities.mime):
            return False
        self.page = self.page or part
        if not self._capabilities.mime:
            self.files.append(File(self._name(part), part))
        return True

    def _file(self, part: Part) -> None:
        for leaf in _leaves(part):
            name = self._name(leaf)
            self.files.append(File(name, leaf))
            if leaf.type in ("message/rfc822", "message/global") and not self._capabilities.mime:
                self.notes.append(Note(Fate.MAPPED, f"the message {name}: a file", "it was enclosed as a message"))

    def _name(self, part: Part) -> str:
        return file_name(part, len(self.files) + 1)

    def _signature(self, part: Part) -> None:
        kind = part.parameters.get("protocol", b"").decode("latin-1").lower()
        name = "PGP" if "pgp" in kind else "S/MIME" if "pkcs7" in kind else kind[:80] or "of an unknown kind"
        self.notes.append(Note(Fate.DROPPED, f"signature: {name}", "it holds for the message as it was sent alone"))

    def _locked(self, why: str) -> None:
        self.notes.append(Note(Fate.KEPT, "the message as a file", f"{why}; who has the key opens the file"))


def _leaves(part: Part) -> list[Part]:
    """Return what is no multipart inside a part, or itself; an enclosed message is one thing."""
    if not (part.type.startswith("multipart/") and part.children):
        return [part]
    return [leaf for child in part.children for leaf in _leaves(child)]


def _is_named(part: Part) -> bool:
    disposition = part.get(b"content-disposition")
    named = disposition is not None and parameter(content_type(disposition)[1], "filename")
    return bool(named or parameter(part.parameters, "name"))
