"""Step: a message brought to one text and files beside it, for destinations without MIME, HTML or attachments.

What comes out is MIME again, in its plainest form, for `gateway.memo` to take apart: a header without encoded octets
that the destination's charset lacks, one part of text/plain, and the files. Promises: a file's octets are never
decoded here, and stay out of memory where the message is; every line that was broken, character that was written
otherwise and file that was left out is in the notes. A header field that needs nothing keeps its octets.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from gateway.adapt.head_step import ADDRESS_FIELDS
from gateway.adapt.lines import wrapped
from gateway.adapt.plain_parts import File, Parts
from gateway.adapt.transliterate import transliterate
from gateway.blobs import Slice, Spliced, readable
from gateway.compose import attachment_head, is_plain, phrase, text_part, unstructured
from gateway.contract import Capabilities
from gateway.fidelity import Fate, Note
from gateway.memo import GATEWAY, name_of, plain_body
from gateway.message import Blob, Content
from gateway.mime import InMemory, Octets, Part, find, parse
from gateway.octets import encode_base64, encoded_words, fold, no_controls
from gateway.parameters import media_charset, media_type, written
from gateway.tnef import Packed
from mappings.fields import scan, unfold
from mappings.rewrite import mailboxes

_LEFT_ALONE: Final = frozenset(
    b"received message-id in-reply-to references date resent-date resent-message-id return-path dkim-signature "
    b"arc-seal arc-message-signature arc-authentication-results authentication-results list-id".split()
)
"""Fields that programs read, and that hold no words (RFC 2047 §5)."""
_ENCODED: Final = re.compile(rb"=\?|[\x80-\xff]")
_BARE_CR: Final = re.compile(rb"\r(?!\n)")
# Whole fields of ASCII, in lines that end in CRLF or LF; none without a name.
_PLAIN_HEAD: Final = re.compile(rb"(?:[!-9;-~]++[ \t]*+:[\t -~]*+\r?\n(?:[ \t][\t -~]*+\r?\n)*+)*+")
_ASCII_AND_MORE: Final = frozenset(
    ("", "us-ascii", "ascii", "utf-8", "utf8", "iso-8859-1", "iso-8859-15", "windows-1252")
)
"""Charsets in which ASCII is what it is; none is said to be so, too."""
_ONE_TEXT: Final = b"MIME-Version: 1.0\r\n" + text_part("")[0]
"""The fields of a message that is one text of plain ASCII."""
_MAX_NOTES: Final = 50
_ELLIPSIS: Final = "..."


@lru_cache(maxsize=16)
def _of_gateway(hostname: str) -> Mapping[str, str]:
    return MappingProxyType({GATEWAY: hostname})


def fit_plain(content: Content, capabilities: Capabilities, hostname: str = "") -> tuple[Content, list[Note]]:
    """Return the content as one text and files, and notes. Blocks on a Blob.

    A destination with MIME gets it so only where the message has HTML or attachments that it does not take.
    """
    attributes = content.attributes
    if hostname:
        attributes = {**attributes, GATEWAY: hostname} if attributes else _of_gateway(hostname)
    quick = _at_first_sight(content, capabilities, attributes)
    if quick is not None:
        return quick, []
    source = readable(content)
    root = parse(source)
    parts = Parts(source, root, capabilities, hostname)
    if capabilities.mime and _may_stay(parts, capabilities):
        return content, []
    step = _Step(parts, capabilities)
    head = step.head(content.head)
    text = step.text()
    files = step.files()
    pieces = list(_pieces(source, head, text, files, parts.page if capabilities.mime else None))
    made: bytes | Blob = b"".join(p for p in pieces if isinstance(p, bytes)) if content.is_inline else Spliced(pieces)
    return Content(made, attributes=attributes), step.notes


def _at_first_sight(content: Content, capabilities: Capabilities, attributes: Mapping[str, str]) -> Content | None:
    """Return what the steps below make of a message that is one text of plain ASCII, where that is seen at first sight:
    the content itself, or its body under another header, with these attributes; None where it has to be looked into.

    Most mail between machines is such, and the steps cost five times what it takes to see it.
    """
    if capabilities.wrap_columns is not None or capabilities.max_subject_chars is not None:
        return None
    plain = plain_body(content)
    if plain is None:
        return None
    if capabilities.mime:
        return content
    body, charset = plain
    if not {charset.lower(), capabilities.charset.lower()} <= _ASCII_AND_MORE:
        return None
    head = content.head
    if not content.traits.crlf_only or not _PLAIN_HEAD.fullmatch(head) or b"=?" in head:
        return None
    text = body.replace(b"\r\n", b"\n")
    if not is_plain(text):
        return None
    kept, lower = head, head.lower()
    if b"content-" in lower or b"mime-version" in lower:
        kept = b"".join(
            [
                head[start:end]
                for name, start, _, end in content.fields
                if not name.startswith(b"content-") and name != b"mime-version"
            ]
        )
    return content.with_head(kept + _ONE_TEXT, text=text.decode("ascii"), attributes=attributes, is_fields=True)


def _may_stay(parts: Parts, capabilities: Capabilities) -> bool:
    has_html = parts.rendered or any(note.what == "HTML" for note in parts.notes)
    return not ((has_html and not capabilities.html) or (parts.files and not capabilities.attachments))


class _Step:
    """Makes header, text and files; gathers the notes."""

    def __init__(self, parts: Parts, capabilities: Capabilities) -> None:
        self.notes = parts.notes
        self._parts = parts
        self._capabilities = capabilities
        self._whole_subject = ""
        self._charset = capabilities.charset if not capabilities.mime else "utf-8"

    # -- the header

    def head(self, head: bytes) -> bytes:
        """Return the header's fields without those of MIME, in the destination's characters."""
        kept: list[bytes] = []
        for field in scan(head):
            name = field.name
            octets = head[field.start : field.end]
            if name.startswith(b"content-") or name == b"mime-version":
                continue
            if not self._capabilities.mime:
                if not name:
                    self.notes.append(Note(Fate.DROPPED, "a line of the header without a name", "it is no field"))
                    continue
                octets = self._fitted_field(name, octets, field.value_start - field.start)
            kept.append(octets if octets.endswith(b"\n") else octets + b"\r\n")
        return b"".join(kept) + b"MIME-Version: 1.0\r\n"

    def _fitted_field(self, name: bytes, octets: bytes, start: int) -> bytes:
        """Return a field whose value begins at `start` with another value where it needs one."""
        if b"\0" in octets or _BARE_CR.search(octets):
            # Made a line end further on, it would end the header.
            octets = _BARE_CR.sub(b" ", octets).replace(b"\0", b"")
            self.notes.append(Note(Fate.MAPPED, f"{name.decode('latin-1').title()}: bare CR or NUL", "made blanks"))
        changed = None if name in _LEFT_ALONE else self._field(name, octets[start:])
        return octets if changed is None else fold(octets[:start] + b" " + changed) + b"\r\n"

    def _field(self, name: bytes, value: bytes) -> bytes | None:
        """Return another value for a field, None where it can stay."""
        most = self._capabilities.max_subject_chars
        if name == b"subject" and most is not None:
            return self._subject(unfold(value), most)
        if not _ENCODED.search(value):
            return None
        if name in ADDRESS_FIELDS:
            return self._names(name, unfold(value))
        text = no_controls(encoded_words(unfold(value)))
        fitted = self._fitted(text, name.decode("latin-1").title())
        return None if fitted == text else unstructured(fitted)

    def _subject(self, value: bytes, most: int) -> bytes | None:
        text = no_controls(encoded_words(value))
        fitted = self._fitted(text, "Subject")
        if len(fitted) > most:
            self._whole_subject = fitted
            cut = most - len(_ELLIPSIS)
            fitted = fitted[:cut].rstrip() + _ELLIPSIS if cut > len(_ELLIPSIS) else fitted[:most]
            self.notes.append(
                Note(Fate.MAPPED, f"Subject: cut to {most} characters", "it stands whole on top of the text")
            )
        return None if fitted == text else unstructured(fitted)

    def _names(self, field: bytes, value: bytes) -> bytes | None:
        """Bring the names beside the addresses to the destination's characters."""
        made: list[bytes] = []
        at = 0
        for box in mailboxes(value):
            name = name_of(box.name)
            fitted = self._fitted(name, field.decode("latin-1").title())
            if fitted != name:
                octets = phrase(fitted) if not box.name.startswith(b"(") else b"(" + unstructured(fitted) + b")"
                made += [value[at : box.at], octets]
                at = box.at + len(box.name)
        return b"".join([*made, value[at:]]) if made else None

    # -- the text

    def text(self) -> str:
        """Return the one text."""
        texts = list(self._parts.texts)
        if self._whole_subject:
            texts.insert(0, f"Subject: {self._whole_subject}\n")
        if not self._capabilities.attachments and self._parts.files:
            texts.append("".join(f"[Left out: {_told(file)}]\n" for file in self._parts.files))
        text = _joined(texts)
        if "\0" in text:
            text = text.replace("\0", "")
            self.notes.append(Note(Fate.DROPPED, "NUL octets", "a text can't hold them"))
        text = self._fitted(text, "text")
        columns = self._capabilities.wrap_columns
        if columns is not None and not self._capabilities.mime:
            text, broken = wrapped(text, columns)
            if broken:
                self.notes.append(
                    Note(
                        Fate.MAPPED,
                        f"text: {_counted(broken, 'line')} broken",
                        f"the destination takes {columns} columns",
                    )
                )
        return text

    def _fitted(self, text: str, what: str) -> str:
        """Bring a text to the destination's charset, and note what that did."""
        made = transliterate(text, self._charset)
        if made.otherwise:
            count = f"{what}: {_counted(made.otherwise, 'character')}"
            self.notes.append(Note(Fate.MAPPED, count, f"written otherwise, since {self._charset} lacks them"))
        if made.lost:
            count = f"{what}: {_counted(made.lost, 'character')}"
            self.notes.append(Note(Fate.DROPPED, count, f"question marks stand for what {self._charset} lacks"))
        return made.text

    # -- the files

    def files(self) -> list[tuple[str, File]]:
        """Return the files that go along, each with the name that it gets."""
        files = self._parts.files
        if self._capabilities.attachments:
            return [(self._fitted(file.name, "file name"), file) for file in files]
        for file in files[:_MAX_NOTES]:
            why = "the destination takes no attachments; the text names it"
            self.notes.append(Note(Fate.DROPPED, f"attachment {_told(file)}", why))
        if len(files) > _MAX_NOTES:
            self.notes.append(Note(Fate.DROPPED, f"{len(files) - _MAX_NOTES} more attachments", "as those before"))
        return []


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _told(file: File) -> str:
    size = file.size
    shown = f"{size} octets" if size < 1024 else f"{-(-size // 1024)} KiB"
    return f"{file.name}, {file.type}, {shown}"


def _joined(texts: Sequence[str]) -> str:
    """Return texts one after the other, with an empty line in between."""
    made = ""
    for text in texts:
        if made:
            made = made.rstrip("\n") + "\n\n"
        made += text
    return made


# -- the octets


def _pieces(
    source: Octets, head: bytes, text: str, files: Sequence[tuple[str, File]], page: Part | None
) -> Iterator[bytes | Blob]:
    type_, body = text_part(text)
    if not files and page is None:
        yield head + type_ + b"\r\n" + body
        return
    outer, inner = _boundaries(source, head, body)
    opening = head
    if files:
        opening += b'Content-Type: multipart/mixed; boundary="' + outer + b'"\r\n\r\n--' + outer + b"\r\n"
    if page is None:
        yield opening + type_ + b"\r\n" + body
    else:
        opening += b'Content-Type: multipart/alternative; boundary="' + inner + b'"\r\n\r\n--' + inner + b"\r\n"
        yield opening + type_ + b"\r\n" + body + b"\r\n--" + inner + b"\r\n"
        yield from _entity(source, page, "")
        yield b"\r\n--" + inner + b"--\r\n"
    for name, file in files:
        yield b"\r\n--" + outer + b"\r\n"
        held = file.held
        if isinstance(held, Packed):
            yield attachment_head(name, held.type) + b"\r\n" + encode_base64(held.octets).removesuffix(b"\r\n")
        else:
            yield from _entity(source, held, name if name != file.name or not _is_told(held) else "")
    if files:
        yield b"\r\n--" + outer + b"--\r\n"


def _is_told(part: Part) -> bool:
    """Say whether a part says itself that it is a file, so that nobody takes it for the text."""
    disposition = part.get(b"content-disposition")
    return disposition is not None and disposition.lower().startswith(b"attachment")


def _entity(source: Octets, part: Part, name: str) -> Iterator[bytes | Blob]:
    """Yield a part as it is, but for its name where another is given."""
    fields = [part.head[f.start : f.end].rstrip(b"\r\n") + b"\r\n" for f in part.fields if _goes_along(f.name, name)]
    if name:
        kind = part.get(b"content-type") or b""
        if not kind.isascii() or b"name" in kind.lower():
            fields = [octets for octets in fields if not octets.lower().startswith(b"content-type")]
            charset = media_charset(part.parameters)
            fields.append(f"Content-Type: {media_type(part.type)}{charset}\r\n".encode("ascii"))
        disposition = ";\r\n ".join(["Content-Disposition: attachment", *written("filename", name)])
        fields.append(disposition.encode("ascii") + b"\r\n")
    yield b"".join(fields) + b"\r\n"
    if isinstance(source, InMemory):
        yield source.octets[part.body : part.end]
    elif part.end > part.body:
        yield Slice(source, part.body, part.end)


def _goes_along(field: bytes, name: str) -> bool:
    return field.startswith(b"content-") and not (name and field == b"content-disposition")


def _boundaries(source: Octets, head: bytes, body: bytes) -> tuple[bytes, bytes]:
    """Return two boundaries that stand nowhere in the message."""
    n = zlib.crc32(body, zlib.crc32(head))
    while True:
        stem = b"=_gatepost-%08x" % n
        if stem not in body and find(source, stem, 0, source.size) < 0:
            return stem + b"-m", stem + b"-a"
        n = (n + 1) & 0xFFFFFFFF
