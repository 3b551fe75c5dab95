"""What tests of a codec share: a file read to its parts, a part's content put together, a parcel to write."""

from __future__ import annotations

from base64 import encodebytes
from collections.abc import Mapping, Sequence
from pathlib import Path

from connectors.filedrop.files import InMemory
from connectors.filedrop.formats import Bad, Beside, Codec, Part, Span, Stamp
from gateway.contract import Address, Content, Envelope, Item, Origin, Parcel, Recipient

STAMP = Stamp("0123456789abcdef", 1_795_482_123.0)
DATA = Path(__file__).parents[2] / "data" / "filedrop"


def content_of(part: Part, octets: bytes, files: Mapping[str, bytes] | None = None) -> bytes:
    """Return a part's content; `files` are what lies beside the file, by name."""
    made = b""
    for piece in part.content:
        match piece:
            case bytes():
                made += piece
            case Beside():
                made += encodebytes((files or {})[piece.name]).replace(b"\n", b"\r\n")
            case Span():
                made += span_of(piece, octets, files)
    return made


def span_of(span: Span, octets: bytes, files: Mapping[str, bytes] | None = None) -> bytes:
    """Return what a span stands for."""
    found = ((files if files is not None else {})[span.file] if span.file else octets)[span.start : span.end]
    return found if span.filter is None else b"".join(span.filter(iter((found,))))


def read_all(codec: Codec, octets: bytes) -> list[Part | Bad]:
    return list(codec.decode(InMemory(octets), STAMP))


def read_one_part(codec: Codec, octets: bytes) -> Part:
    [part] = read_all(codec, octets)
    assert isinstance(part, Part), part
    return part


def read_bad(codec: Codec, octets: bytes) -> Bad:
    [found] = read_all(codec, octets)
    assert isinstance(found, Bad), found
    assert found.text
    assert found.mend
    return found


def parcel(
    sender: Address | None,
    items: Sequence[Address | Item],
    content: bytes | Content,
    *,
    origin: Origin | None = None,
    envelope: Envelope | None = None,
) -> Parcel:
    """Return a parcel for these recipients, as the core hands one over."""
    made = tuple(item if isinstance(item, Item) else Item((1, n), item, item) for n, item in enumerate(items))
    if envelope is None:
        envelope = Envelope(sender, tuple(Recipient(item.address) for item in made), origin or Origin("x"))
    octets = content if isinstance(content, Content) else Content(content)
    return Parcel(1, envelope, octets, made, 1_795_482_123.0)


def written(codec: Codec, sent: Parcel, stem: str = "20261124T010203000Z-1-0") -> bytes:
    return b"".join(codec.encode(sent, sent.items, stem).octets())
