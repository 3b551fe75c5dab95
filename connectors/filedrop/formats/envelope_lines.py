"""The envelope as lines on top of a message's header: `X-Sender`, `X-Receiver` and what Exchange writes beside them.

Promises: lines are read in any order, up to the first field that is none of the eight, or as far as
`X-EndOfInjectedXHeaders` says; the same names further down are ordinary fields and touch no envelope. Addresses
stand in angle brackets or alone, as IIS writes them. Parameters are those of MAIL and RCPT (RFC 3461 §4); those that
are unknown are kept as attributes of the content, and written again. What is written is read back the same.
Source: Microsoft's "Pickup directory and Replay directory". The null reverse-path as `<>`, and the lines that IIS
writes, are not tried against the real products.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from connectors.filedrop.formats.addresses import read_one, write_one
from connectors.filedrop.formats.header_envelope import FileEnvelope, HeaderLine, Mistake, bad_address, unique
from connectors.filedrop.formats.values import Options
from gateway.contract import Address, AddressError, Item, Notify, Recipient

NAMES: Final = frozenset(
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
"""The eight fields, in lower case."""

OrcptStyle = Literal["rfc3461", "bare"]
_NOTIFY: Final = {"NEVER": Notify.NEVER, "SUCCESS": Notify.SUCCESS, "FAILURE": Notify.FAILURE, "DELAY": Notify.DELAY}
_KNOWN: Final = frozenset(("BODY", "RET", "ENVID", "NOTIFY", "ORCPT"))
_XTEXT: Final = re.compile(rb"\+([0-9A-Fa-f]{2})")
_PARAMETER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*(?:=[!-<>-~]+)?")
_ATTRIBUTE: Final = "filedrop-"


@dataclass(frozen=True, slots=True)
class _Value:
    """A line's value taken apart; keys of parameters in upper case."""

    address: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def injected(lines: Sequence[HeaderLine]) -> int:
    """Return how many of a header's first lines are envelope lines."""
    for count, line in enumerate(lines):
        if line.name not in NAMES:
            return count
        if line.name == b"x-endofinjectedxheaders":
            return count + 1
    return len(lines)


def names_envelope(lines: Sequence[HeaderLine]) -> bool:
    """Tell whether envelope lines name a sender or a receiver."""
    return any(line.name in (b"x-sender", b"x-receiver") for line in lines)


def envelope_of_lines(lines: Sequence[HeaderLine], options: Options) -> FileEnvelope:
    """Read the envelope from the lines that `injected` counted. Raises: Mistake."""
    senders = [line for line in lines if line.name == b"x-sender"]
    if len(senders) != 1:
        raise _not_one_sender(lines, senders)
    value = _value(senders[0])
    reverse_path = _address(senders[0], value.address, options) if value.address else None
    ret = value.parameters.get("RET", "").lower()
    envid = value.parameters.get("ENVID")
    receivers = [line for line in lines if line.name == b"x-receiver"]
    if not receivers:
        raise Mistake(
            "no-receiver", senders[0].start, "no X-Receiver line", "give each recipient in an X-Receiver line"
        )
    return FileEnvelope(
        reverse_path,
        unique((_recipient(line, options) for line in receivers), options),
        "full" if ret == "full" else "hdrs" if ret == "hdrs" else None,
        from_xtext(envid) if envid else None,
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


def _recipient(line: HeaderLine, options: Options) -> Recipient:
    value = _value(line)
    notify = Notify.UNSET
    for word in value.parameters.get("NOTIFY", "").upper().split(","):
        notify |= _NOTIFY.get(word, Notify.UNSET)
    if Notify.NEVER in notify:  # RFC 3461 §4.1: NEVER stands alone
        notify = Notify.NEVER
    orcpt = value.parameters.get("ORCPT")
    if orcpt:
        kind, _, text = orcpt.rpartition(";")
        orcpt = f"{kind or 'rfc822'};{from_xtext(text)}"
    return Recipient(_address(line, value.address, options), notify, orcpt or None)


def _value(line: HeaderLine) -> _Value:
    """Split `<address> KEY=VALUE ...`, or the address alone."""
    text = line.text
    if not text.startswith("<"):
        return _Value(text)
    end = closing(text)
    if end < 0:
        raise Mistake("bad-address", line.start, "no > ends the address", "write <address>", line.value)
    words = (word.partition("=") for word in text[end + 1 :].split())
    return _Value(text[1:end].strip(), {key.upper(): value for key, _, value in words})


def _address(line: HeaderLine, text: str, options: Options) -> Address:
    try:
        return read_one(text, options.network)
    except AddressError as e:
        raise bad_address(line, e) from None


def closing(text: str) -> int:
    """Return where the angle bracket opened at 0 is closed, outside quotation marks; -1 where it is not."""
    match = re.match(r'<(?:[^">\\]|"(?:[^"\\]|\\.)*"|\\.)*>', text)
    return -1 if match is None else match.end() - 1


def bracketed(address: Address, network: str) -> str:
    """Return `<address>`; the address alone where a bracket inside it would end it early."""
    text = write_one(address, network)
    return f"<{text}>" if closing(f"<{text}>") == len(text) + 1 else text


def from_xtext(value: str) -> str:
    """Undo xtext; what is none stays as it is (RFC 3461 §4)."""
    octets = value.encode("utf-8", "surrogateescape")
    return _XTEXT.sub(lambda m: bytes((int(m[1], 16),)), octets).decode("utf-8", "surrogateescape")


def to_xtext(text: str) -> str:
    """Write a text as xtext: what is not printable ASCII, `+` and `=` as `+` and two digits (RFC 3461 §4)."""
    return "".join(
        chr(octet) if 0x21 <= octet <= 0x7E and octet not in b"+=" else f"+{octet:02X}"
        for octet in text.encode("utf-8", "surrogateescape")
    )


def sender_line(reverse_path: Address | None, network: str) -> str:
    """Return the X-Sender line without its end."""
    return "X-Sender: " + ("<>" if reverse_path is None else bracketed(reverse_path, network))


def receiver_line(item: Item, network: str) -> str:
    """Return the X-Receiver line without its end."""
    return "X-Receiver: " + bracketed(item.address, network)
