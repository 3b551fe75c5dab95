"""What the two processes say to each other: a length, and a tuple of plain values as the interpreter writes them.

Both ends are of one installation and one interpreter, so the form need not outlive either.
"""

from __future__ import annotations

import asyncio
import marshal
import struct
from collections.abc import Iterator
from enum import IntEnum, unique
from functools import lru_cache
from itertools import product
from typing import Any, Final

from gateway.contract import (
    Address,
    Content,
    Envelope,
    Message,
    Notify,
    Origin,
    Receipt,
    Recipient,
    Rejected,
    Status,
    Traits,
    Unavailable,
)

_LENGTH: Final = struct.Struct("<I")
MAX_FRAME: Final = 64 * 1024 * 1024
_SHORT: Final = 200
_TRAITS: Final = {each: Traits(*each) for each in product((False, True), repeat=3)}
_BUFFER: Final = 256 * 1024
"""Octets taken off the line in one go; the loop's other work waits no longer than their messages take. Of a quarter as
many the messages cost an eighth more, for what is done for all that come together."""

Values = tuple[Any, ...]


@unique
class Ask(IntEnum):
    """What the reading process says; each frame's first value."""

    ACCEPT = 1
    """(call, report, messages), each an envelope and a content: answered once for all. One whose content went to a
    writer is alone."""
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

    OUTCOMES = 1
    """(call, outcomes): what `outcome_out` gives, of each message."""
    REJECTED = 2
    UNAVAILABLE = 3
    FAULT = 4
    DONE = 5
    STOP = 6
    DUPLICATE = 7


def frame(values: Values) -> bytes:
    """Return the octets of one frame."""
    octets = marshal.dumps(values)
    return _LENGTH.pack(len(octets)) + octets


class Frames:
    """Cuts a stream into frames; what comes off the line is written into its buffer and read there."""

    def __init__(self) -> None:
        self._held = bytearray(2 * _BUFFER)
        self._end = 0

    def space(self) -> memoryview:
        """Return where the next octets go, of which `taken` is told how many they are."""
        return memoryview(self._held)[self._end : self._end + _BUFFER]

    def taken(self, octets: int) -> Iterator[Values]:
        """Take so many octets that stand in `space`; yield the frames that are whole now.

        To be run to its end before more is taken. Raises: ValueError where they are none of ours.
        """
        held = memoryview(self._held)
        at, end = 0, self._end + octets
        wanted = 0
        while end - at >= 4:
            (length,) = _LENGTH.unpack_from(held, at)
            if length > MAX_FRAME:
                raise ValueError(f"a frame of {length} octets")
            after = at + 4 + length
            if after > end:
                wanted = 4 + length
                break
            values = marshal.loads(held[at + 4 : after])
            at = after
            yield values
        self._end = end - at
        size = max(2 * _BUFFER, wanted + _BUFFER)
        if size == len(held):
            if at:
                held[: self._end] = held[at:end]
        else:
            # Made anew: whoever wrote into the old one may still hold it.
            self._held = bytearray(size)
            self._held[: self._end] = held[at:end]

    def feed(self, octets: bytes) -> Iterator[Values]:
        """Take octets; yield the frames that are whole now. Raises: as `taken`."""
        for start in range(0, len(octets), _BUFFER):
            piece = octets[start : start + _BUFFER]
            self.space()[: len(piece)] = piece
            yield from self.taken(len(piece))


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
    reverse_path, to = (_remembered if _is_short(path, recipients) else _people)(path, recipients)
    return Envelope(reverse_path, to, Origin(*origin), priority, expires_at, ret, envid, smtputf8, key)


def _is_short(path: Values | None, recipients: Values) -> bool:
    """Tell whether so little is said of people that it may be remembered."""
    if len(recipients) != 1:
        return False
    _, value, _, _, orcpt = recipients[0]
    return orcpt is None and len(value) <= _SHORT and (path is None or len(path[1]) <= _SHORT)


def _people(path: Values | None, recipients: Values) -> tuple[Address | None, tuple[Recipient, ...]]:
    return (
        None if path is None else Address(*path),
        tuple([Recipient(Address(network, value, k), Notify(n), orcpt) for network, value, k, n, orcpt in recipients]),
    )


_remembered: Final = lru_cache(4096)(_people)
"""The same people write to each other again."""


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
    return Content(octets, traits=_TRAITS[traits])


def receipt_out(receipt: Receipt) -> int | Values:
    """Return what became of an accepted message as plain values: of a new one, as nearly all are, its id alone."""
    return (Answer.DUPLICATE.value, receipt.message_id) if receipt.duplicate else receipt.message_id


def outcome_out(receipt: asyncio.Future[Receipt]) -> int | Values:
    """Return what a future that is done, and not cancelled, gives or raises, as plain values."""
    fault = receipt.exception()
    return receipt_out(receipt.result()) if fault is None else fault_out(0, fault)


def outcome_in(outcome: int | Values) -> Receipt | Exception:
    """Return what `receipt_out` or `fault_out` was given."""
    if isinstance(outcome, int):
        return Receipt(outcome)
    return Receipt(outcome[1], duplicate=True) if outcome[0] == Answer.DUPLICATE else fault_in(outcome)


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
