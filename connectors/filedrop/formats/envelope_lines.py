"""The envelope as lines on top of a message's header: `X-Sender`, `X-Receiver` and what Exchange writes beside them.

Promises: lines are read in any order, up to the first field that is none of these, or as far as
`X-EndOfInjectedXHeaders` marks; the same names further down are ordinary fields and touch no envelope. Addresses
stand in angle brackets, or alone as IIS writes them. Parameters are those of MAIL and RCPT (RFC 3461 §4); unknown
ones are kept as attributes of the content, and written again. What is written is read back the same.
Sources: Microsoft's "Pickup directory and Replay directory"; files that Exchange 2016 exported and that public list
archives hold, for `X-ExtendedProps`, `ORCPT=rfc822;...` and `NOTIFY=NEVER;` with its semicolon. The null
reverse-path as `<>`, and the lines that IIS writes, are not tried against the real products.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from connectors.filedrop.formats.addresses import read_one, write_one
from connectors.filedrop.formats.header_envelope import FileEnvelope, HeaderLine, Mistake, bad_address, unique
from connectors.filedrop.formats.values import Options
from gateway.contract import Address, AddressError, Content, Envelope, Item, Notify, Recipient

END_MARK: Final = b"x-endofinjectedxheaders"
KEPT_WHOLE: Final = {b"x-extendedmessageprops": "X-ExtendedMessageProps", b"x-extendedprops": "X-ExtendedProps"}
"""Fields of Exchange's own that are carried on as they are, and never made."""

NAMES: Final = frozenset(
    (
        b"x-sender",
        b"x-receiver",
        b"x-createdby",
        b"x-helodomain",
        b"x-source",
        b"x-sourceipaddress",
        END_MARK,
        *KEPT_WHOLE,
    )
)
"""The names of envelope lines, in lower case."""

OrcptStyle = Literal["rfc3461", "bare"]
ReadAddress = Callable[[str], Address]
WriteAddress = Callable[[Address], str]

_NOTIFY: Final = {"NEVER": Notify.NEVER, "SUCCESS": Notify.SUCCESS, "FAILURE": Notify.FAILURE, "DELAY": Notify.DELAY}
_SENDER_KEYS: Final = frozenset(("BODY", "RET", "ENVID"))
_RECEIVER_KEYS: Final = frozenset(("NOTIFY", "ORCPT"))
_XTEXT: Final = re.compile(rb"\+([0-9A-Fa-f]{2})")
_PARAMETER: Final = re.compile(r"[!-<>-~]+(?:=[!-~]*)?")
_BRACKETED: Final = re.compile(r'<(?:[^">\\]|"(?:[^"\\]|\\.)*"|\\.)*>')
_SENDER: Final = "envelope.sender"
_RECEIVER: Final = "envelope.receiver "


@dataclass(frozen=True, slots=True)
class _Value:
    """A line's value taken apart; keys of parameters in upper case, `extra` as they were written."""

    address: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    extra: str = ""


def injected(lines: Sequence[HeaderLine]) -> int:
    """Return how many of a header's first lines are envelope lines."""
    for count, line in enumerate(lines):
        if line.name not in NAMES:
            return count
        if line.name == END_MARK:
            return count + 1
    return len(lines)


def names_envelope(lines: Sequence[HeaderLine]) -> bool:
    """Tell whether envelope lines name a sender or a receiver."""
    return any(line.name in (b"x-sender", b"x-receiver") for line in lines)


def envelope_of_lines(lines: Sequence[HeaderLine], options: Options, read: ReadAddress | None = None) -> FileEnvelope:
    """Read the envelope from the lines that `injected` counted. Raises: Mistake."""
    read = read or (lambda text: read_one(text, options.network))
    senders = [line for line in lines if line.name == b"x-sender"]
    if len(senders) != 1:
        raise _not_one_sender(lines, senders)
    value = _value(senders[0], _SENDER_KEYS)
    reverse_path = _address(senders[0], value.address, read) if value.address else None
    ret = value.parameters.get("RET", "").lower()
    envid = value.parameters.get("ENVID")
    attributes = {_SENDER: value.extra} if value.extra else {}
    attributes |= {f"envelope.{KEPT_WHOLE[line.name]}": line.text for line in lines if line.name in KEPT_WHOLE}
    recipients = []
    for line in lines:
        if line.name == b"x-receiver":
            recipient, extra = _recipient(line, read)
            recipients.append(recipient)
            if extra:
                attributes.setdefault(f"{_RECEIVER}{recipient.address}", extra)
    if not recipients:
        mend = "give each recipient in an X-Receiver line"
        raise Mistake("no-receiver", senders[0].start, "no X-Receiver line", mend)
    return FileEnvelope(
        reverse_path,
        unique(recipients, options),
        "full" if ret == "full" else "hdrs" if ret == "hdrs" else None,
        _printable(from_xtext(envid)) if envid else None,
        attributes,
    )


def _not_one_sender(lines: Sequence[HeaderLine], senders: Sequence[HeaderLine]) -> Mistake:
    at = senders[1] if senders else lines[0] if lines else HeaderLine(b"", 0, 0, b"")
    return Mistake(
        "many-senders" if senders else "no-sender",
        at.start,
        f"{len(senders)} X-Sender lines where one is needed" if senders else "no X-Sender line where one is needed",
        "give the sender once, X-Sender: <> for none",
        at.value,
    )


def _recipient(line: HeaderLine, read: ReadAddress) -> tuple[Recipient, str]:
    value = _value(line, _RECEIVER_KEYS)
    notify = Notify.UNSET
    # Exchange puts a semicolon behind NOTIFY where more follows.
    for word in value.parameters.get("NOTIFY", "").rstrip(";").upper().split(","):
        notify |= _NOTIFY.get(word, Notify.UNSET)
    if Notify.NEVER in notify:  # RFC 3461 §4.1: NEVER stands alone
        notify = Notify.NEVER
    orcpt = value.parameters.get("ORCPT")
    if orcpt:
        kind, _, text = orcpt.rpartition(";")
        orcpt = _printable(f"{kind or 'rfc822'};{from_xtext(text)}")
    return Recipient(_address(line, value.address, read), notify, orcpt or None), value.extra


def _value(line: HeaderLine, known: frozenset[str]) -> _Value:
    """Split `<address> KEY=VALUE ...`, or the address alone."""
    text = line.text
    if not text.startswith("<"):
        return _Value(text)
    end = _closing(text)
    if end < 0:
        raise Mistake("bad-address", line.start, "no > ends the address", "write <address>", line.value)
    parameters: dict[str, str] = {}
    extra = []
    for word in text[end + 1 :].split():
        key, _, value = word.partition("=")
        if key.upper() in known:
            parameters.setdefault(key.upper(), value)
        elif key:
            extra.append(word)
    return _Value(text[1:end].strip(), parameters, " ".join(extra))


def _address(line: HeaderLine, text: str, read: ReadAddress) -> Address:
    try:
        return read(text)
    except AddressError as e:
        raise bad_address(line, e) from None


def _closing(text: str) -> int:
    """Return where the angle bracket opened at 0 is closed, outside quotation marks; -1 where it is not."""
    match = _BRACKETED.match(text)
    return -1 if match is None else match.end() - 1


def from_xtext(value: str) -> str:
    """Undo xtext; what is none stays as it is (RFC 3461 §4)."""
    octets = value.encode("utf-8", "surrogateescape")
    return _XTEXT.sub(lambda m: bytes((int(m[1], 16),)), octets).decode("utf-8", "surrogateescape")


def _printable(text: str) -> str:
    """Return what may stand in a report's line: octets that are no text and controls, however hidden, are none."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def to_xtext(text: str) -> str:
    """Write a text as xtext: what is not printable ASCII, `+` and `=` as `+` and two digits (RFC 3461 §4)."""
    return "".join(
        chr(octet) if 0x21 <= octet <= 0x7E and octet not in b"+=" else f"+{octet:02X}"
        for octet in text.encode("utf-8", "surrogateescape")
    )


def bracketed(address: Address, write: WriteAddress) -> str:
    """Return `<address>`; the address alone where a bracket inside it would end it early."""
    text = write(address)
    return f"<{text}>" if _closing(f"<{text}>") == len(text) + 1 else text


def writer_in(network: str) -> WriteAddress:
    """Return how addresses are written for readers that use this network."""
    return lambda address: write_one(address, network)


def sender_line(envelope: Envelope, write: WriteAddress, parameters: Iterable[str] = ()) -> str:
    """Return the X-Sender line without its end."""
    path = "<>" if envelope.reverse_path is None else bracketed(envelope.reverse_path, write)
    return _line("X-Sender", path, parameters)


def receiver_line(item: Item, write: WriteAddress, parameters: Iterable[str] = ()) -> str:
    """Return the X-Receiver line without its end."""
    return _line("X-Receiver", bracketed(item.address, write), parameters)


def _line(name: str, path: str, parameters: Iterable[str]) -> str:
    # An address that stands without its brackets has no place for parameters.
    words = [word for word in parameters if _PARAMETER.fullmatch(word)] if path.startswith("<") else []
    return " ".join((f"{name}:", path, *words))


def sender_parameters(envelope: Envelope, content: Content) -> list[str]:
    """Return the parameters of MAIL that the envelope holds, and those that came with it."""
    ret = [f"RET={envelope.ret.upper()}"] if envelope.ret else []
    envid = [f"ENVID={to_xtext(envelope.envid)}"] if envelope.envid else []
    return [*ret, *envid, *content.attributes.get(_SENDER, "").split()]


def receiver_parameters(item: Item, content: Content, style: OrcptStyle) -> list[str]:
    """Return the parameters of RCPT that an item holds, and those that came with its recipient."""
    made = []
    if item.notify:
        words = [word for word, flag in _NOTIFY.items() if flag in item.notify]
        made.append("NOTIFY=" + ("NEVER" if Notify.NEVER in item.notify else ",".join(words)))
    if item.orcpt:
        kind, _, address = item.orcpt.partition(";")
        made.append("ORcpt=" + (f"{kind};{to_xtext(address)}" if style == "rfc3461" else to_xtext(address)))
    return [*made, *content.attributes.get(f"{_RECEIVER}{item.original}", "").split()]


def kept_lines(content: Content) -> list[str]:
    """Return the lines of Exchange's own that came with the content."""
    found = ((name, content.attributes.get(f"envelope.{name}", "")) for name in KEPT_WHOLE.values())
    return [f"{name}: {value}" for name, value in found if value and value.isprintable()]


def parted(content: Content) -> bytes:
    """Return what has to follow a content whose header no empty line ends, so that one does; nothing where it does."""
    head = content.head
    if content.size > len(head):
        return b""
    newline = b"\n" if b"\n" in head and b"\r\n" not in head else b"\r\n"
    return newline if not head or head.endswith(b"\n") else newline * 2


def closed(lines: Sequence[str], content: Content) -> bytes:
    """Return envelope lines as they stand on top of the content, in its own line ends.

    Where the content's header begins with a field that would be read as one of them, a mark parts the two.
    """
    head = content.head
    newline = b"\r\n" if b"\r\n" in head or b"\n" not in head else b"\n"
    made = b"".join(line.encode("utf-8", "surrogateescape") + newline for line in lines)
    if content.fields and content.fields[0].name in NAMES:
        made += b"X-EndOfInjectedXHeaders: %d" % len(made) + newline
    return made
