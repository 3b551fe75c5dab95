"""CheckedReception: a transaction that checks look at, where checks are configured.

Promises: what was stored of a content that a check replaced is removed; a message that comes to nothing leaves nothing
behind, whoever gave it up.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ClassVar, Final

from connectors.smtp.check_chain import Chain
from connectors.smtp.checks import Action, Transaction, Verdict
from connectors.smtp.commands import Mail
from connectors.smtp.reception import Discarded, Judged, Reception
from connectors.smtp.server_events import End
from gateway.contract import (
    Content,
    ContentWriter,
    Envelope,
    Intake,
    Message,
    Origin,
    Recipient,
    Rejected,
    Status,
    Traits,
)

_NOBODY_LEFT: Final = Status("5.7.1", "no recipient of this message is left")
_REFUSED: Final = Status("5.7.1", "refused")


class _Made:
    """The writer of a content that a check makes, which remembers what came of it."""

    __slots__ = ("_writer", "source")

    def __init__(self, writer: ContentWriter) -> None:
        self._writer = writer
        self.source: object = None

    @property
    def size(self) -> int:
        return self._writer.size

    def write(self, piece: bytes) -> bool:
        return self._writer.write(piece)

    async def drain(self) -> None:
        await self._writer.drain()

    async def finish(self, traits: Traits | None = None) -> Content:
        content = await self._writer.finish(traits)
        self.source = content.source
        return content

    async def abandon(self) -> None:
        await self._writer.abandon()


class CheckedReception(Reception):
    """One transaction with its chain of checks. `asks` is called with True while a check is under way at the content,
    when the whole may be given up, and with False after it."""

    __slots__ = ("_asks", "_chain", "_made", "_so_far", "discards", "drops", "transaction")

    is_judged: ClassVar[bool] = True

    def __init__(
        self, intake: Intake, log: Any, mail: Mail, origin: Origin, chain: Chain, asks: Callable[[bool], None]
    ) -> None:
        super().__init__(intake, log, mail, origin)
        self._chain = chain
        self._asks = asks
        self._made: list[_Made] = []
        """Writers of contents that checks put in the place of what came."""
        self._so_far: Content | None = None
        """The content, where some checks have judged it already."""
        self.drops: Status | None = None
        """Why the connection is to be ended with the answer."""
        self.discards = False
        """A check has said, before there was a content, that it is not wanted."""
        self.transaction = Transaction(mail, self._envelope.reverse_path, new_content=self._new_content)

    def take_back(self) -> Recipient:
        """Return the recipient that `add` took last, which is none any more until the checks have taken it."""
        return self._recipients.pop()

    def keep(self, recipient: Recipient) -> None:
        """Take a recipient to which all checks have said yes."""
        self._recipients.append(recipient)
        self.transaction.recipients.append(recipient)

    def at_once(self, end: End) -> Coroutine[Any, Any, Message | None] | None:
        """Return what judges the content and gives the message, to go abreast with others; None where that cannot be.

        It raises Rejected or Discarded; where it gives None, a check has to wait, and `complete` goes on from there.
        """
        if self._fault or not self._chain.judges_at_once or (content := self._at_hand(end)) is None:
            return None
        return self._at_once(content)

    async def _at_once(self, content: Content) -> Message | None:
        if self.discards:
            raise Discarded
        verdict, content, all_said = await self._chain.content_at_once(content)
        if not all_said:
            self._so_far = content
            return None
        self._heed(verdict)
        return Message(self._whole_envelope(), content)

    def _at_hand(self, end: End) -> Content | None:
        return super()._at_hand(end) if self._so_far is None else self._so_far

    async def _judge(self, content: Content) -> Content:
        if self.discards:
            raise Discarded
        came = content
        self._asks(True)
        try:
            verdict, content = await self._chain.content(content)
        finally:
            self._asks(False)
        self._heed(verdict)
        if content.source is not came.source:
            if self._writer is not None:
                await self._writer.abandon()
            # Not simply the last: a check may have failed behind the one whose content stays.
            self._writer = next((each for each in self._made if each.source is content.source), None)
            self._made = [each for each in self._made if each is not self._writer]
        for writer in self._made:
            await writer.abandon()
        self._made.clear()
        return content

    def _heed(self, verdict: Verdict | None) -> None:
        """Raises: Rejected; Discarded."""
        if verdict is None:
            if not self.transaction.recipients:
                raise Rejected(_NOBODY_LEFT)
            return
        if verdict.action is Action.DISCARD:
            raise Discarded
        status = verdict.status or _REFUSED
        if verdict.action is Action.DROP:
            self.drops = status
        raise Judged(status)

    def _new_content(self) -> ContentWriter:
        writer = _Made(self._intake.content())
        self._made.append(writer)
        return writer

    def _whole_envelope(self) -> Envelope:
        begun, transaction = self._envelope, self.transaction
        return Envelope(
            transaction.reverse_path,
            tuple(transaction.recipients),
            begun.origin,
            priority=begun.priority,
            ret=begun.ret,
            envid=begun.envid,
            smtputf8=begun.smtputf8,
            hold=transaction.hold,
        )

    def abandon(self) -> Coroutine[Any, Any, None] | None:
        writers, self._made = self._made, []
        came = super().abandon()
        return _all(came, writers) if writers else came


async def _all(first: Coroutine[Any, Any, None] | None, writers: Sequence[ContentWriter]) -> None:
    if first is not None:
        await first
    for writer in writers:
        await writer.abandon()
