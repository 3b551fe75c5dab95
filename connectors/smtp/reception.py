"""Reception: one transaction on its way to the intake.

Promises: nothing is said to be accepted before `intake.accept` has returned; what was stored of a content that is
not accepted is removed, except where the intake itself was cut off, since it may have committed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from functools import lru_cache
from typing import Any, ClassVar, Final

from connectors.smtp import refusals
from connectors.smtp.commands import Mail, Rcpt
from connectors.smtp.data_reader import INLINE_LIMIT
from connectors.smtp.replies import refusal
from connectors.smtp.server_events import End
from gateway.contract import (
    Address,
    Content,
    ContentWriter,
    Envelope,
    Intake,
    Message,
    Origin,
    Receipt,
    Recipient,
    Rejected,
    Status,
    Unavailable,
    id_text,
)
from mappings.network import network

_FAULT: Final = b"451 4.3.0 a fault of this system, try again later\r\n"
_DISCARDED: Final = b"250 2.0.0 taken\r\n"


class Judged(Rejected):
    """A check has refused the message, and has told why."""


class Discarded(Exception):
    """A check wants the message to be taken and thrown away."""


@lru_cache(maxsize=2048)  # with the longest addresses there are, some 10 MiB
def address(path: str) -> Address:
    """Read a mailbox; most of them come again and again. Raises: AddressError."""
    return network("smtp").parse(path)


class Reception:
    """One transaction: begun by MAIL, ended by `complete` or `abandon`.

    Raises, at the start and from `add`: AddressError.
    """

    __slots__ = ("_envelope", "_fault", "_intake", "_recipients", "_writer", "log")

    is_judged: ClassVar[bool] = False
    """Checks are asked about the content before it is accepted."""

    def __init__(self, intake: Intake, log: Any, mail: Mail, origin: Origin) -> None:
        self._intake = intake
        self.log = log
        self._envelope = Envelope(
            address(mail.path) if mail.path else None,
            (),
            origin,
            priority=mail.priority,
            ret=mail.ret,
            envid=mail.envid,
            smtputf8=mail.smtputf8,
        )
        self._recipients: list[Recipient] = []
        self._writer: ContentWriter | None = None
        self._fault = b""
        """The answer to come at the end of a content that could not be stored."""

    def add(self, rcpt: Rcpt) -> Status | None:
        """Take a recipient, or return the status with which it is refused."""
        recipient = Recipient(address(rcpt.path), rcpt.notify, rcpt.orcpt)
        status = self._intake.check(self._envelope, recipient)
        if status is None:
            self._recipients.append(recipient)
        return status

    def tell_refused(self, step: str, status: Status, recipients: str) -> None:
        """Leave a line in the log of what was refused and is no check's doing."""
        refusals.tell(self.log, step, self._envelope.origin, self._envelope.reverse_path, recipients, status)

    def write(self, octets: bytes) -> bool:
        """Take a piece of a large content. False asks for `drain` before more is read."""
        if self._fault:
            return True
        if self._writer is None:
            self._writer = self._intake.content()
        return self._writer.write(octets)

    async def drain(self) -> None:
        """Wait until there is room again; where there will be none, the rest of the content is thrown away."""
        writer = self._writer
        if writer is None:
            return
        try:
            await writer.drain()
        except Unavailable as no:
            self._fault = refusal(no.status, at_end=True)
        except Exception:
            self.log.exception("content could not be written", peer=self._envelope.origin.peer)
            self._fault = _FAULT
        if self._fault:
            self._writer = None
            await writer.abandon()

    def whole(self, end: End) -> Message | None:
        """Return the message where nothing has to be awaited before it is handed over, as it is with most of them, so
        that neither a task nor a future is needed: `taken` gives the reply. None asks for `complete`."""
        if self._fault or self.is_judged or (content := self._at_hand(end)) is None:
            return None
        return Message(self._whole_envelope(), content)

    def taken(self, receipt: Receipt | None, fault: BaseException | None) -> tuple[bytes, bool]:
        """Return the reply to what came of the message, and whether it says yes."""
        try:
            if fault is not None:
                raise fault
        except Discarded:
            return _DISCARDED, True
        except Exception as no:  # noqa: BLE001  of whatever kind it is
            return self._refused(no), False
        assert receipt is not None
        return _queued(receipt), True

    async def complete(self, end: End) -> tuple[bytes, bool]:
        """Have the message accepted; return the reply, and whether it says yes."""
        if self._fault:
            return self._fault, False
        try:
            content = self._at_hand(end)
            if content is None:
                content = await self._finish(end)
            if self.is_judged:
                content = await self._judge(content)
            message = Message(self._whole_envelope(), content)
            writer, self._writer = self._writer, None  # from here on what is stored may be the intake's
            try:
                receipt = await self._intake.accept(message)
            except asyncio.CancelledError:
                raise
            except BaseException:
                self._writer = writer
                raise
        except Discarded:
            if (removal := self.abandon()) is not None:
                await removal
            return _DISCARDED, True
        except Exception as no:  # noqa: BLE001  of whatever kind it is
            answer = self._refused(no)
        else:
            return _queued(receipt), True
        if (removal := self.abandon()) is not None:
            await removal
        return answer, False

    def _refused(self, no: Exception) -> bytes:
        """Return the reply to a message that is not taken. To be called where `no` was caught."""
        if not isinstance(no, (Rejected, Unavailable)):
            self.log.exception("the message could not be accepted", peer=self._envelope.origin.peer)
            return _FAULT
        if not isinstance(no, Judged):
            self.tell_refused("content", no.status, refusals.named(self._recipients))
        return refusal(no.status, at_end=True)

    async def _judge(self, content: Content) -> Content:
        """Return what is accepted in the content's place. Raises: Rejected; Discarded."""
        return content

    def _at_hand(self, end: End) -> Content | None:
        """Return the content where all of it is in memory."""
        if self._writer is not None or len(end.octets) > INLINE_LIMIT:
            return None
        return Content(end.octets, traits=end.traits)

    async def _finish(self, end: End) -> Content:
        if self._writer is None:
            self._writer = self._intake.content()
        if end.octets:
            self._writer.write(end.octets)
        return await self._writer.finish(end.traits)

    def _whole_envelope(self) -> Envelope:
        begun = self._envelope
        return Envelope(
            begun.reverse_path,
            tuple(self._recipients),
            begun.origin,
            priority=begun.priority,
            ret=begun.ret,
            envid=begun.envid,
            smtputf8=begun.smtputf8,
        )

    def abandon(self) -> Coroutine[Any, Any, None] | None:
        """Return what removes the stored part of a content, to be awaited; None where there is nothing."""
        writer, self._writer = self._writer, None
        return None if writer is None else writer.abandon()


def _queued(receipt: Receipt) -> bytes:
    return b"250 2.0.0 queued as %s\r\n" % id_text(receipt.message_id).encode("ascii")
