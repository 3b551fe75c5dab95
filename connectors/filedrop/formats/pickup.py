"""pickup: one RFC 5322 message a file, as Exchange's Pickup folder and IIS's Pickup and Drop folders have it.

In: where the file begins with `X-Sender:` and `X-Receiver:` lines, they are the envelope (with the parameters of
MAIL and RCPT behind the address, `<>` for the null reverse-path) and Received and Resent fields stay, for whoever
writes them passes a message on. Else the sender is the one address of From, or of Sender where From has several;
the recipients are those of To, Cc and Bcc; Received and Resent fields go, except our own Received, by which a loop
is seen. Either way Bcc goes, and a Message-ID and a Date are added where they are missing. Everything else,
line ends included, stays octet for octet.
Out: the message, with the envelope in such lines on top; without them where `envelope_headers` is off.
Source: Microsoft's "Pickup directory and Replay directory"; the lines `x-sender`, `x-receiver` as IIS writes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Final, Literal

from connectors.filedrop.formats.addresses import ListError, in_network, read_list, read_one, write_one
from connectors.filedrop.formats.values import Bad, Options, Part, Stamp
from gateway.contract import Address, AddressError, Blob, Content, Item, Notify, Parcel, Recipient

EXTENSION: Final = ".eml"

_ENVELOPE: Final = frozenset(
    (
        b"x-sender",
        b"x-receiver",
        b"x-createdby",
        b"x-endofinjectedxheaders",
        b"x-extendedmessageprops",
        b"x-helodomain",
        b"x-source",
        b"x-sourceipaddress",
    )
)
_RECIPIENT_FIELDS: Final = (b"to", b"cc", b"bcc")
_FOLD: Final = re.compile(rb"\r?\n(?=[ \t])")
_NOTIFY: Final = {"NEVER": Notify.NEVER, "SUCCESS": Notify.SUCCESS, "FAILURE": Notify.FAILURE, "DELAY": Notify.DELAY}
_XTEXT: Final = re.compile(r"\+([0-9A-F]{2})")
_SHOWN: Final = 200


class _Mistake(Exception):
    """Carries a Bad up to `decode`; `offset` is in the header."""

    def __init__(self, rule: str, offset: int, text: str, mend: str, found: bytes = b"") -> None:
        self.rule, self.offset, self.text, self.mend, self.found = rule, offset, text, mend, found
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class _Line:
    """One header field: name in lower case, place and unfolded value."""

    name: bytes
    start: int
    end: int
    value: bytes


@dataclass(slots=True)
class _Envelope:
    reverse_path: Address | None = None
    recipients: list[Recipient] = field(default_factory=list)
    ret: Literal["full", "hdrs"] | None = None
    envid: str | None = None


def decode(file: Blob, stamp: Stamp, options: Options) -> Iterator[Part | Bad]:
    """Yield the one message of a pickup file, or what is wrong with it. Raises: OSError alone."""
    start = file.read(0, options.max_header_bytes + 4)
    content = Content(start)
    head = content.head
    try:
        if not start.strip():
            raise _Mistake("pickup.empty", 0, "the file is empty", "write a message into it")
        if len(head) > options.max_header_bytes:
            raise _Mistake(
                "pickup.header-too-long",
                options.max_header_bytes,
                f"the header has more than {options.max_header_bytes} octets",
                "put an empty line between header and text, or raise max_header_bytes",
            )
        if not head.strip() or content.fields[0].name == b"":
            raise _Mistake(
                "pickup.no-header",
                0,
                "the file does not begin with a header field",
                "begin with From: and To: lines, then an empty line, then the text",
                start[:_SHOWN].split(b"\n")[0],
            )
        yield _decode(head, content, file.size, stamp, options)
    except _Mistake as m:
        line = start.count(b"\n", 0, m.offset) + 1
        yield Bad(m.rule, m.offset, line, m.text, m.mend, m.found[:_SHOWN])


def _decode(head: bytes, content: Content, size: int, stamp: Stamp, options: Options) -> Part:
    lines = [
        _Line(f.name, f.start, f.end, _FOLD.sub(b"", head[f.value_start : f.end]).strip(b" \t\r\n"))
        for f in content.fields
    ]
    count = next((i for i, line in enumerate(lines) if line.name not in _ENVELOPE), len(lines))
    injected, fields = lines[:count], lines[count:]
    if any(line.name in (b"x-sender", b"x-receiver") for line in injected):
        envelope = _from_lines(injected, options)
        body_of_header = fields
        dropped: frozenset[int] = frozenset(line.start for line in fields if line.name == b"bcc")
    else:
        envelope = _from_fields(lines, options)
        body_of_header = lines
        by_us = re.compile(rb"\bby[ \t]+" + re.escape(options.hostname.encode()) + rb"[ \t;(]", re.IGNORECASE)
        dropped = frozenset(
            line.start
            for line in lines
            if line.name == b"bcc"
            or line.name.startswith(b"resent-")
            or (line.name == b"received" and not by_us.search(line.value))
        )
    if len(envelope.recipients) > options.max_recipients:
        raise _Mistake(
            "pickup.too-many-recipients",
            0,
            f"{len(envelope.recipients)} recipients, the limit is {options.max_recipients}",
            "write several files, or raise max_recipients",
        )
    added = _missing_fields(body_of_header, stamp, options, head)
    kept = [line for line in body_of_header if line.start not in dropped]
    if len(kept) == len(lines) and not added:
        return Part(envelope.reverse_path, _unique(envelope), b"", 0, size, envelope.ret, envelope.envid)
    # A line that is no field would end the header if it came to stand first.
    first = next((i for i, line in enumerate(kept) if line.name), len(kept))
    pieces = [head[line.start : line.end] for line in (*kept[first : first + 1], *kept[:first], *kept[first + 1 :])]
    pieces.insert(0 if first == len(kept) else len(pieces), added)
    made = b"".join(piece if piece.endswith(b"\n") or not piece else piece + _newline(head) for piece in pieces)
    # The empty line stays in the file; one is made where the file ends without.
    body = len(head)
    if body == size:
        made += _newline(head)
    return Part(envelope.reverse_path, _unique(envelope), made, body, size, envelope.ret, envelope.envid)


def _unique(envelope: _Envelope) -> tuple[Recipient, ...]:
    """Return each recipient once: an address in To and in Cc gets one copy."""
    found: dict[Address, Recipient] = {}
    for recipient in envelope.recipients:
        found.setdefault(recipient.address, recipient)
    return tuple(found.values())


def _newline(head: bytes) -> bytes:
    return b"\n" if b"\n" in head and b"\r\n" not in head else b"\r\n"


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "surrogateescape")


def _bad_address(line: _Line, e: AddressError) -> _Mistake:
    return _Mistake("pickup.bad-address", line.start, f"{e.message} ({e.rule})", "mend the address", line.value)


def _from_lines(lines: list[_Line], options: Options) -> _Envelope:
    """Read the envelope from the lines on top of the file."""
    envelope = _Envelope()
    senders = [line for line in lines if line.name == b"x-sender"]
    if len(senders) != 1:
        rule, text = ("no", "no X-Sender line") if not senders else ("many", f"{len(senders)} X-Sender lines")
        at = lines[0] if not senders else senders[1]
        raise _Mistake(
            f"pickup.{rule}-sender{'s' if senders else ''}",
            at.start,
            f"{text} where one is needed",
            "give the sender once, X-Sender: <> for none",
            at.value,
        )
    address, parameters = _line_address(senders[0])
    if address:
        envelope.reverse_path = _line_parse(senders[0], address, options)
    ret = parameters.get("RET", "").lower()
    envelope.ret = "full" if ret == "full" else "hdrs" if ret == "hdrs" else None
    envelope.envid = _from_xtext(parameters["ENVID"]) if parameters.get("ENVID") else None
    for line in lines:
        if line.name == b"x-receiver":
            address, parameters = _line_address(line)
            notify = Notify.UNSET
            for word in parameters.get("NOTIFY", "").upper().split(","):
                notify |= _NOTIFY.get(word, Notify.UNSET)
            if Notify.NEVER in notify:  # RFC 3461 §4.1: NEVER stands alone
                notify = Notify.NEVER
            orcpt = parameters.get("ORCPT")
            if orcpt:
                kind, _, value = orcpt.rpartition(";")
                orcpt = f"{kind or 'rfc822'};{_from_xtext(value)}"
            envelope.recipients.append(Recipient(_line_parse(line, address, options), notify, orcpt or None))
    if not envelope.recipients:
        raise _Mistake(
            "pickup.no-recipient", senders[0].start, "no X-Receiver line", "give each recipient in an X-Receiver line"
        )
    return envelope


def _line_address(line: _Line) -> tuple[str, dict[str, str]]:
    """Split `<address> KEY=VALUE ...` (or the address alone, as IIS writes it); keys in upper case."""
    text = _text(line.value)
    if not text.startswith("<"):
        return text, {}
    end = _closing(text)
    if end < 0:
        raise _Mistake("pickup.bad-address", line.start, "no > ends the address", "write <address>", line.value)
    words = (word.partition("=") for word in text[end + 1 :].split())
    return text[1:end].strip(), {key.upper(): value for key, _, value in words}


def _closing(text: str) -> int:
    """Return where the angle bracket opened at 0 is closed, outside quotation marks; -1 where it is not."""
    match = re.match(r'<(?:[^">\\]|"(?:[^"\\]|\\.)*"|\\.)*>', text)
    return -1 if match is None else match.end() - 1


def _line_parse(line: _Line, address: str, options: Options) -> Address:
    try:
        return read_one(address, options.network)
    except AddressError as e:
        raise _bad_address(line, e) from None


def _from_xtext(value: str) -> str:
    """Undo xtext; what is none stays as it is (RFC 3461 §4)."""
    return _XTEXT.sub(lambda m: chr(int(m[1], 16)), value)


def _from_fields(lines: list[_Line], options: Options) -> _Envelope:
    """Read the envelope from the message's own address fields."""
    envelope = _Envelope()
    senders = _addresses(lines, (b"from",), options)
    if len(senders) != 1:
        named = _addresses(lines, (b"sender",), options)
        if len(named) != 1:
            at = next((line for line in lines if line.name == b"from"), None)
            raise _Mistake(
                "pickup.no-sender",
                at.start if at else 0,
                "From has several addresses and Sender does not have exactly one"
                if len(senders) > 1
                else "no From field with an address",
                "write one address in From, or say who sent it in Sender",
                at.value if at else b"",
            )
        senders = named
    envelope.reverse_path = senders[0]
    envelope.recipients = [Recipient(address) for address in _addresses(lines, _RECIPIENT_FIELDS, options)]
    if not envelope.recipients:
        at = next((line for line in lines if line.name in _RECIPIENT_FIELDS), None)
        raise _Mistake(
            "pickup.no-recipient",
            at.start if at else 0,
            "no address in To, Cc or Bcc",
            "name at least one recipient",
            at.value if at else b"",
        )
    return envelope


def _addresses(lines: list[_Line], names: tuple[bytes, ...], options: Options) -> list[Address]:
    found = []
    for line in lines:
        if line.name in names:
            try:
                found += [in_network(spec, options.network) for spec in read_list(_text(line.value))]
            except ListError as e:
                raise _Mistake(
                    "pickup.bad-address-list",
                    line.start,
                    f"{e} (character {e.offset + 1} of the field)",
                    "write addresses as user@domain or Name <user@domain>, with commas between",
                    line.value,
                ) from None
            except AddressError as e:
                raise _bad_address(line, e) from None
    return found


def _missing_fields(lines: list[_Line], stamp: Stamp, options: Options, head: bytes) -> bytes:
    """Return the fields to add, whole lines in the file's own line ends; none of them holds an envelope address."""
    has = {line.name for line in lines if line.value}
    added = []
    if not has.intersection((b"to", b"cc")):
        added.append("To: undisclosed-recipients:;")  # RFC 5322 §3.4: a group without members
    if b"message-id" not in has:
        added.append(f"Message-ID: <{stamp.token}@{options.hostname}>")
    if b"date" not in has:
        added.append(f"Date: {formatdate(stamp.at)}")
    newline = _newline(head)
    return b"".join(line.encode() + newline for line in added)


def encode(parcel: Parcel, items: tuple[Item, ...], options: Options) -> Iterator[bytes]:
    """Yield the octets of the file for these recipients. Raises: OSError where the content cannot be read."""
    if options.envelope_headers:
        sender = parcel.envelope.reverse_path
        lines = ["X-Sender: " + ("<>" if sender is None else _bracketed(sender, options.network))]
        lines += ["X-Receiver: " + _bracketed(item.address, options.network) for item in items]
        newline = b"\r\n" if b"\r\n" in parcel.content.head or b"\n" not in parcel.content.head else b"\n"
        yield b"".join(line.encode() + newline for line in lines)
    yield from parcel.content.chunks()


def _bracketed(address: Address, name: str) -> str:
    """Return `<address>`; the address alone where a bracket inside it would end it early."""
    text = write_one(address, name)
    return f"<{text}>" if _closing(f"<{text}>") == len(text) + 1 else text
