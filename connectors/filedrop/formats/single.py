"""One delivered message a file, with the line ends of Unix: what Maildir and MH have in common."""

from __future__ import annotations

from collections.abc import Iterator

from connectors.filedrop.formats.header_envelope import Mistake, header_octets, read_header
from connectors.filedrop.formats.mailbox import MailboxSettings, delivered, envelope_fields, envelope_notes
from connectors.filedrop.formats.values import Bad, Encoded, Options, Part, Span, Stamp
from gateway.contract import Blob, Item, Parcel
from gateway.formats.lines import to_crlf, to_lf
from gateway.formats.mh import dash_line


def decoded(
    file: Blob, stamp: Stamp, name: str, options: Options, settings: MailboxSettings, *, dashes: bool = False
) -> Part | Bad:
    """Return the message of a file; with `dashes`, a line of them may end its header. Raises: OSError alone."""
    octets = file.read(0, min(header_octets(options), file.size))
    start, skipped = octets, 0
    if octets.startswith(b"From "):  # some programs leave the line by which an mbox file has messages
        skipped = octets.find(b"\n") + 1 or len(octets)
        start = octets[skipped:]
    line = dash_line(start) if dashes else None
    if line is not None:
        start = start[: line[0]] + b"\n"
    try:
        header = read_header(start, options)
        found = delivered(header, None, stamp, options, settings)
    except Mistake as mistake:
        return mistake.bad(name, octets[skipped:], skipped, 1 + (skipped > 0))
    body = skipped + len(header.head)
    content: tuple[bytes | Span, ...] = (Span(skipped, file.size, to_crlf),)
    if line is not None:
        made = header.head if found.head is None else found.head
        content = (_crlf(made) + b"\r\n", Span(skipped + line[1], file.size, to_crlf))
    elif found.head is not None:
        content = (_crlf(found.head), Span(body, file.size, to_crlf))
    return Part(found.reverse_path, found.recipients, content)


def _crlf(octets: bytes) -> bytes:
    return b"".join(to_crlf(iter((octets,))))


def encoded(parcel: Parcel, items: tuple[Item, ...], options: Options) -> Encoded:
    """Return the file for these recipients."""
    content = parcel.content
    if fields := envelope_fields(parcel, items, options):
        content = content.with_prefix(fields)

    def octets() -> Iterator[bytes]:
        yield from to_lf(content.chunks())

    return Encoded(octets, notes=envelope_notes(parcel, items, options))
