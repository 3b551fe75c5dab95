"""The header of a message as a file has it, and the envelope that is read from its own fields.

Promises: the sender is the one address of From, or of Sender where From has several; the recipients are those the
folder is set up with, or else those of To, Cc and Bcc, each once. A header is completed without a change to any
octet of the fields that stay. What cannot be had raises a Mistake, which knows its place; nothing else is raised.
Sources: RFC 5322 §3.4, §3.6; the sender's rule is that of Microsoft's "Pickup directory and Replay directory".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from connectors.filedrop.formats.addresses import ListError, in_network, read_list
from connectors.filedrop.formats.values import Bad, Options, Part, Piece, Stamp
from gateway.contract import Address, AddressError, Content, Recipient, quickly_made
from mappings.fields import header_end

_RECIPIENT_FIELDS: Final = (b"to", b"cc", b"bcc")
_FOLD: Final = re.compile(rb"\r?\n(?=[ \t])")
_LINE: Final = re.compile(rb"((?:([!-9;-~]++)[ \t]*+:)?+([^\n]*+(?:\n[ \t][^\n]*+)*+\n?+))")
"""A field, or a line that is none: the whole, its name, and what stands behind the colon."""
_SHOWN: Final = 200
_REMEMBERED: Final = 200
_HEAD_LIMIT: Final = 4 * 1024 * 1024
"""Further than this nothing of ours looks for the end of a header."""


class Mistake(Exception):
    """What makes a message a bad one; `offset` is in the octets that its header was read from.

    `rule` is without its format's name, which `bad` puts before it, unless it names another document's rule
    (`rfc5322.no-separator`).
    """

    def __init__(self, rule: str, offset: int, text: str, mend: str, found: bytes = b"") -> None:
        self.rule, self.offset, self.text, self.mend, self.found = rule, offset, text, mend, found
        super().__init__(text)

    def bad(self, format: str, octets: bytes, base: int = 0, line: int = 1) -> Bad:
        """Return the Bad of it: `octets` begin at the file's offset `base`, in line `line`."""
        rule = self.rule if "." in self.rule else f"{format}.{self.rule}"
        line += octets.count(b"\n", 0, self.offset)
        return Bad(rule, base + self.offset, line, self.text, self.mend, self.found[:_SHOWN])


class HeaderLine(NamedTuple):
    """One header field: its name in lower case, its place in the head, its unfolded value."""

    name: bytes
    start: int
    end: int
    value: bytes

    @property
    def text(self) -> str:
        return self.value.decode("utf-8", "surrogateescape")


class Header(NamedTuple):
    """`head` is what stands before the empty line; `has_end` tells whether that line is there."""

    head: bytes
    lines: tuple[HeaderLine, ...]
    has_end: bool

    @property
    def newline(self) -> bytes:
        return b"\n" if b"\n" in self.head and b"\r\n" not in self.head else b"\r\n"


@quickly_made
@dataclass(frozen=True, slots=True)
class FileEnvelope:
    """The envelope that a file gives its message; `attributes` are what else stood in it, by name."""

    reverse_path: Address | None
    recipients: tuple[Recipient, ...]
    ret: Literal["full", "hdrs"] | None = None
    envid: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


def header_octets(options: Options) -> int:
    """Return how many of a message's first octets `read_header` needs to see."""
    return options.max_header_bytes + 4


def read_header(start: bytes, options: Options) -> Header:
    """Read the header of a message from its first octets. Raises: Mistake."""
    head = start[: header_end(start, _HEAD_LIMIT)[0]]
    if not start or start.isspace():
        raise Mistake("empty", 0, "the file is empty", "write a message into it")
    if len(head) > options.max_header_bytes:
        raise Mistake(
            "header-too-long",
            options.max_header_bytes,
            f"the header has more than {options.max_header_bytes} octets",
            "put an empty line between header and text, or raise max_header_bytes",
        )
    lines = _lines(head)
    if not head or head.isspace() or lines[0].name == b"":
        raise Mistake(
            "no-header",
            0,
            "the file does not begin with a header field",
            "begin with From: and To: lines, then an empty line, then the text",
            start[:_SHOWN].split(b"\n")[0],
        )
    return Header(head, lines, has_end=len(head) < len(start))


def header_lines(content: Content) -> tuple[HeaderLine, ...]:
    """Return the header fields of a content, in order."""
    return _lines(content.head)


def _lines(head: bytes) -> tuple[HeaderLine, ...]:
    # One search over the whole, and no object a field but the one that is kept: of a small file's time this is a
    # large part.
    found = []
    start = 0
    for line, name, value in _LINE.findall(head):
        if not line:  # at the end
            break
        end = start + len(line)
        value = value.strip(b" \t\r\n")
        found.append(HeaderLine(name.lower(), start, end, _FOLD.sub(b"", value) if b"\n" in value else value))
        start = end
    return tuple(found)


def envelope_of_header(lines: Sequence[HeaderLine], options: Options) -> FileEnvelope:
    """Return the envelope as the fields tell it. Raises: Mistake."""
    return FileEnvelope(sender_of_header(lines, options), recipients_of_header(lines, options))


def sender_of_header(lines: Sequence[HeaderLine], options: Options) -> Address:
    """Return the address of From, or of Sender where From has several. Raises: Mistake."""
    senders = _addresses(lines, (b"from",), options)
    if len(senders) != 1:
        named = _addresses(lines, (b"sender",), options)
        if len(named) != 1:
            at = next((line for line in lines if line.name == b"from"), None)
            raise Mistake(
                "no-sender",
                at.start if at else 0,
                "From has several addresses and Sender does not have exactly one"
                if len(senders) > 1
                else "no From field with an address",
                "write one address in From, or say who sent it in Sender",
                at.value if at else b"",
            )
        senders = named
    return senders[0]


def recipients_of_header(lines: Sequence[HeaderLine], options: Options) -> tuple[Recipient, ...]:
    """Return `options.recipients`, or else the addresses of To, Cc and Bcc, each once. Raises: Mistake."""
    if options.recipients:
        return tuple(Recipient(address) for address in options.recipients)
    found = [Recipient(address) for address in _addresses(lines, _RECIPIENT_FIELDS, options)]
    if len(found) == 1:
        return tuple(found)
    if not found:
        at = next((line for line in lines if line.name in _RECIPIENT_FIELDS), None)
        raise Mistake(
            "no-recipient",
            at.start if at else 0,
            "no address in To, Cc or Bcc",
            "name at least one recipient",
            at.value if at else b"",
        )
    return unique(found, options)


def unique(recipients: Iterable[Recipient], options: Options) -> tuple[Recipient, ...]:
    """Return each recipient once: an address in To and in Cc gets one copy. Raises: Mistake where they are too many."""
    found: dict[Address, Recipient] = {}
    for recipient in recipients:
        found.setdefault(recipient.address, recipient)
    if len(found) > options.max_recipients:
        raise Mistake(
            "too-many-recipients",
            0,
            f"{len(found)} recipients, the limit is {options.max_recipients}",
            "write several files, or raise max_recipients",
        )
    return tuple(found.values())


def bad_address(line: HeaderLine, e: AddressError) -> Mistake:
    return Mistake("bad-address", line.start, f"{e.message} ({e.rule})", "mend the address", line.value)


def _addresses(lines: Sequence[HeaderLine], names: tuple[bytes, ...], options: Options) -> list[Address]:
    found: list[Address] = []
    for line in lines:
        if line.name in names:
            try:
                found += _read(line.value, options.network)
            except ListError as e:
                raise Mistake(
                    "bad-address-list",
                    line.start,
                    f"{e} (character {e.offset + 1} of the field)",
                    "write addresses as user@domain or Name <user@domain>, with commas between",
                    line.value,
                ) from None
            except AddressError as e:
                raise bad_address(line, e) from None
    return found


@lru_cache(4096)
def _remembered(value: bytes, network: str) -> tuple[Address, ...]:
    return tuple([in_network(spec, network) for spec in read_list(value.decode("utf-8", "surrogateescape"))])


def _read(value: bytes, network: str) -> tuple[Address, ...]:
    """Return the addresses of a field. Those of short ones are remembered, for the same people write again."""
    return (_remembered if len(value) <= _REMEMBERED else _remembered.__wrapped__)(value, network)


def part_of(envelope: FileEnvelope, content: tuple[Piece, ...]) -> Part:
    """Return the Part of an envelope and a content."""
    return Part(
        envelope.reverse_path,
        envelope.recipients,
        content,
        envelope.ret,
        envelope.envid,
        attributes=envelope.attributes,
    )


def completed(header: Header, kept: Sequence[HeaderLine], stamp: Stamp, options: Options) -> bytes | None:
    """Return a head of the fields that are kept and those a message must have; None where it stays as it is.

    Added where they are missing: Message-ID, Date, and a To where there is neither To nor Cc. What is returned ends
    in a line end, so that the empty line can follow; it holds that line where the header lacks it.
    """
    added = _missing_fields(kept, stamp, options, header.newline)
    if len(kept) == len(header.lines) and not added and header.has_end:
        return None
    # A line that is no field would end the header if it came to stand first.
    first = next((i for i, line in enumerate(kept) if line.name), len(kept))
    ordered = (*kept[first : first + 1], *kept[:first], *kept[first + 1 :])
    pieces = [header.head[line.start : line.end] for line in ordered]
    pieces.insert(0 if first == len(kept) else len(pieces), added)
    made = b"".join(piece if piece.endswith(b"\n") or not piece else piece + header.newline for piece in pieces)
    return made if header.has_end else made + header.newline


def _missing_fields(lines: Sequence[HeaderLine], stamp: Stamp, options: Options, newline: bytes) -> bytes:
    """Return the fields to add, as whole lines; none of them holds an envelope address."""
    has = {line.name for line in lines if line.value}
    added = []
    if b"to" not in has and b"cc" not in has:
        added.append("To: undisclosed-recipients:;")  # RFC 5322 §3.4: a group without members
    if b"message-id" not in has:
        added.append(f"Message-ID: <{stamp.token}@{options.hostname}>")
    if b"date" not in has:
        added.append(f"Date: {formatdate(stamp.at)}")
    return b"".join(line.encode() + newline for line in added)
