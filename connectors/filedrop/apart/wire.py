"""What the two processes say to each other: a length, and a tuple of plain values as the interpreter writes them.

Both ends are of one installation and one interpreter, so the form need not outlive either.
"""

from __future__ import annotations

import marshal
import struct
from collections.abc import Iterator
from enum import IntEnum, unique
from typing import Any, Final

from gateway.contract import (
    Address,
    Content,
    Envelope,
    Message,
    Notify,
    Origin,
    Recipient,
    Rejected,
    Status,
    Traits,
    Unavailable,
)

_LENGTH: Final = struct.Struct("<I")
MAX_FRAME: Final = 64 * 1024 * 1024

Values = tuple[Any, ...]


@unique
class Ask(IntEnum):
    """What the reading process says; each frame's first value."""

    ACCEPT = 1
    """(call, envelope, content, report): answered."""
    WRITE = 2
    """(writer, piece)"""
    DRAIN = 3
    """(call, writer): answered."""
    ABANDON = 4
    """(writer,)"""
    LOG = 5
    """(level, event, keywords)"""
    COUNT = 6
    """(name, value, labels)"""
    TROUBLE = 7
    """(text or None,)"""
    BEAT = 8
    """(): it comes round to its line."""


@unique
class Answer(IntEnum):
    """What the gateway answers: (kind, call, ...)."""

    RECEIPT = 1
    REJECTED = 2
    UNAVAILABLE = 3
    FAULT = 4
    DONE = 5
    STOP = 6


def frame(values: Values) -> bytes:
    """Return the octets of one frame."""
    octets = marshal.dumps(values)
    return _LENGTH.pack(len(octets)) + octets


class Frames:
    """Cuts a stream into frames."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, octets: bytes) -> Iterator[Values]:
        """Take octets; yield the frames that are whole now. Raises: ValueError where they are none of ours."""
        held = self._held
        held += octets
        at = 0
        size = len(held)
        with memoryview(held) as view:
            while size - at >= 4:
                (length,) = _LENGTH.unpack_from(view, at)
                if length > MAX_FRAME:
                    raise ValueError(f"a frame of {length} octets")
                if size - at - 4 < length:
                    break
                values = marshal.loads(view[at + 4 : at + 4 + length])
                at += 4 + length
                yield values
        del held[:at]


def _address_out(address: Address) -> tuple[str, str, str]:
    return address.network, address.value, address.key


def envelope_out(envelope: Envelope) -> Values:
    """Return an envelope as plain values."""
    origin = envelope.origin
    return (
        None if envelope.reverse_path is None else _address_out(envelope.reverse_path),
        tuple([(*_address_out(r.address), int(r.notify), r.orcpt) for r in envelope.recipients]),
        (origin.connector, origin.peer, origin.helo, origin.protocol, origin.user, origin.tls, origin.trusted),
        envelope.priority,
        envelope.expires_at,
        envelope.ret,
        envelope.envid,
        envelope.smtputf8,
        envelope.dedupe_key,
    )  # fmt: skip


def envelope_in(values: Values) -> Envelope:
    """Return the envelope that `envelope_out` was given."""
    path, recipients, origin, priority, expires_at, ret, envid, smtputf8, key = values
    return Envelope(
        None if path is None else Address(*path),
        tuple([Recipient(Address(network, value, k), Notify(n), orcpt) for network, value, k, n, orcpt in recipients]),
        Origin(*origin),
        priority,
        expires_at,
        ret,
        envid,
        smtputf8,
        key,
    )


def content_out(content: Content, writer: int | None) -> Values:
    """Return a content in memory as plain values, with what its octets need; of another the number of its writer."""
    attributes = dict(content.attributes)
    if writer is not None:
        return writer, attributes, None
    traits = content.traits
    return content.octets(), attributes, (traits.crlf_only, traits.eight_bit, traits.nul)


def message_in(envelope: Values, content: Content, attributes: dict[str, str]) -> Message:
    """Return the message of an ACCEPT frame."""
    if attributes:
        content.attributes = attributes
    return Message(envelope_in(envelope), content)


def inline_content(octets: bytes, traits: tuple[bool, bool, bool]) -> Content:
    return Content(octets, traits=Traits(*traits))


def status_out(status: Status) -> Values:
    return status.code, status.text, status.cause, status.reply, status.remote


def fault_out(call: int, fault: BaseException) -> Values:
    """Return the answer that makes the other side raise the same."""
    match fault:
        case Rejected():
            return Answer.REJECTED.value, call, *status_out(fault.status)
        case Unavailable():
            return Answer.UNAVAILABLE.value, call, *status_out(fault.status)
        case _:
            return Answer.FAULT.value, call, repr(fault)


def fault_in(values: Values) -> Exception:
    """Return what `fault_out` was given; of another fault than the contract's, its words."""
    kind, _, *rest = values
    if kind == Answer.REJECTED:
        return Rejected(Status(*rest))
    if kind == Answer.UNAVAILABLE:
        return Unavailable(Status(*rest))
    return RuntimeError(rest[0])
