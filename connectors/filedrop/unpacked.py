"""Attachments of a format that has none: put into a folder, and named at the end of the text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from connectors.filedrop.formats import Bad, Codec, Enclosure, Encoded, Part, Stamp
from connectors.filedrop.names import safe_name, stem_of
from gateway.contract import (
    Attachment,
    Blob,
    Capabilities,
    Content,
    Fate,
    Item,
    Note,
    Parcel,
    Report,
    compose,
    memo,
)

NAME_CHARS: Final = 60


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A codec without attachments, made to have them: `shown` is what readers call the folder of their files."""

    codec: Codec
    shown: str
    hostname: str

    def __getattr__(self, name: str) -> Any:
        return getattr(self.codec, name)

    @property
    def name(self) -> str:
        return self.codec.name

    @property
    def extension(self) -> str:
        return self.codec.extension

    @property
    def one_a_recipient(self) -> bool:
        return self.codec.one_a_recipient

    @property
    def many_a_file(self) -> bool:
        return self.codec.many_a_file

    @property
    def capabilities(self) -> Capabilities:
        return replace(self.codec.capabilities, attachments=True)

    def decode(self, file: Blob, stamp: Stamp) -> Iterator[Part | Bad]:
        return self.codec.decode(file, stamp)

    def encode(self, parcel: Parcel, items: tuple[Item, ...], stem: str) -> Encoded:
        """Return the message without its attachments, and those as enclosures. Raises: OSError, Refused."""
        taken = memo(parcel.content)
        if not taken.attachments:
            return self.codec.encode(parcel, items, stem)
        enclosures = tuple(
            Enclosure(_name(stem, number, one), _octets(one)) for number, one in enumerate(taken.attachments, 1)
        )
        end = "" if self.shown.endswith(("/", "\\")) else "\\" if "\\" in self.shown else "/"
        lines = [f"[{one.name or 'attachment'}: {self.shown}{end}{put.name}]" for one, put in _pairs(taken, enclosures)]
        text = "\n".join([taken.text.rstrip("\n"), "", *lines, ""])
        made = self.codec.encode(replace(parcel, content=self._without(parcel.content, text)), items, stem)
        notes = tuple(
            Note(Fate.MAPPED, f"attachment {one.name}", f"put into a folder as {put.name}")
            for one, put in _pairs(taken, enclosures)
        )
        return replace(made, enclosures=made.enclosures + enclosures, notes=made.notes + notes)

    def _without(self, content: Content, text: str) -> Content:
        """Return the content with another text and no attachments, its other header fields as they are."""
        gone = (b"mime-version", b"content-type", b"content-transfer-encoding", b"content-disposition")
        head = content.head
        kept = b"".join(head[f.start : f.end] for f in content.fields if f.name not in gone)
        made = b"".join(piece for piece in compose([], text, hostname=self.hostname) if piece)
        return Content(kept + made, attributes=content.attributes)

    def opening(self, encoded: Encoded) -> bytes:
        return self.codec.opening(encoded)

    def closing(self) -> bytes:
        return self.codec.closing()

    def status(self, report: Report, key: str, stem: str) -> Encoded | None:
        return self.codec.status(report, key, stem)


def _pairs(taken: Any, enclosures: tuple[Enclosure, ...]) -> list[tuple[Attachment, Enclosure]]:
    return list(zip(taken.attachments, enclosures, strict=True))


def _name(stem: str, number: int, one: Attachment) -> str:
    """Return a file's name: the message's and the attachment's own; of DOS's form where the message's is."""
    own = safe_name(one.name, NAME_CHARS)
    if len(stem) == 8:
        extension = own[len(stem_of(own)) :][:4]
        return f"{stem[:6]}{number % 1296:02X}"[:8] + extension.upper()
    return f"{stem}-{number}-{own}"


def _octets(one: Attachment) -> Callable[[], Iterable[bytes]]:
    return one.octets
