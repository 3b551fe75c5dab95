"""From a file's messages to the spool: each accepted under a key that names this hand-over of this file.

Many at once, within `max_in_flight` for the whole inbox; or, where an order is kept, one after the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol, runtime_checkable

from connectors.filedrop.config import FileDropConfig
from connectors.filedrop.formats import Bad, Part
from connectors.filedrop.reading import Found, Reading
from connectors.filedrop.status import wishes
from gateway.contract import (
    Content,
    ContentWriter,
    Context,
    Envelope,
    Intake,
    Message,
    Notify,
    Origin,
    Receipt,
    Recipient,
    Rejected,
    Unavailable,
)

STREAMS: Final = 4
"""Contents streamed at once."""
KEY_CHARACTERS: Final = 255
"""Of what the other system calls a message, so much is kept for its status file."""


@runtime_checkable
class TakesMany(Protocol):
    """An Intake that takes many messages in one go for less."""

    async def accept_many(self, messages: Sequence[Message], *, report: bool = False) -> list[Receipt | Exception]:
        """Accept messages; return of each what `accept` returns or raises."""
        ...


class Acceptance:
    """Hands the messages of one inbox's files to the intake."""

    def __init__(
        self,
        name: str,
        config: FileDropConfig,
        context: Context,
        intake: Intake,
        thread: Callable[..., Awaitable[Any]],
    ) -> None:
        self._name = name
        self._config = config
        self._log = context.log
        self._intake = intake
        self._thread = thread
        self._in_flight = asyncio.Semaphore(config.max_in_flight)
        self._streams = asyncio.Semaphore(STREAMS)
        self._notify = wishes(config) if config.status is not None else None

    async def accept_many(self, files: Sequence[tuple[Reading, Found]]) -> list[Exception | None]:
        """Accept messages of as many files, whose contents are there; return what `accept_one` raises of each.

        The caller bounds how many are under way. Costs no task a message, which for small files counts.
        """
        failed: list[Exception | None] = [None] * len(files)
        places: list[int] = []
        messages: list[Message] = []
        for place, (reading, found) in enumerate(files):
            try:
                messages.append(self._message(reading, found))
            except Exception as e:  # noqa: BLE001  it is this message's alone
                failed[place] = e
            else:
                places.append(place)
        for place, outcome in zip(places, await self._accept_all(messages), strict=True):
            if isinstance(outcome, Exception):
                failed[place] = outcome
            elif outcome.duplicate:
                self._tell_duplicate(files[place][0])
        return failed

    def _message(self, reading: Reading, found: Found) -> Message:
        assert found.content is not None
        content = Content(found.content)
        if found.part.attributes:
            content.attributes = found.part.attributes
        return Message(self._envelope(reading, found), content)

    async def _accept_all(self, messages: Sequence[Message]) -> list[Receipt | Exception]:
        intake = self._intake
        if isinstance(intake, TakesMany):
            return await intake.accept_many(messages, report=True)
        begun: list[asyncio.Future[Receipt] | Exception] = []
        for message in messages:
            try:
                begun.append(intake.submit(message, report=True))
            except Exception as e:  # noqa: BLE001  it is this message's alone
                begun.append(e)
        return [await _outcome(each) for each in begun]

    def _tell_duplicate(self, reading: Reading) -> None:
        self._log.info("a file that was accepted before is not taken twice", file=reading.claimed.shown)

    async def accept_one(self, reading: Reading, found: Found) -> None:
        """Accept one message. Raises: Rejected, Unavailable, OSError, whatever accepting raises."""
        async with self._in_flight:
            await self._accept(reading, found)

    async def accept_all(self, reading: Reading, found: Sequence[Found | Bad]) -> list[tuple[int, Bad]]:
        """Accept messages of a file; return what is bad of them, with its place among `found`.

        Raises: Unavailable, OSError, whatever accepting one raises; then others may have been accepted.
        """
        if len(found) == 1 or self._config.order != "none":
            results = [await self._accept_one(reading, one) for one in found]
        else:
            results = await self._at_once(reading, found)
        return [(number, bad) for number, bad in enumerate(results) if bad is not None]

    async def _at_once(self, reading: Reading, found: Sequence[Found | Bad]) -> list[Bad | None]:
        tasks = [asyncio.ensure_future(self._accept_one(reading, one)) for one in found]
        try:
            # All come to their end, so that none is left to accept a message of a file that is read anew.
            results = await asyncio.gather(*tasks, return_exceptions=True)
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            raise
        made: list[Bad | None] = []
        for result in results:
            if isinstance(result, BaseException):
                raise result
            made.append(result)
        return made

    async def _accept_one(self, reading: Reading, one: Found | Bad) -> Bad | None:
        if isinstance(one, Bad):
            return one
        try:
            await self.accept_one(reading, one)
        except Rejected as e:
            return refused(e, one)
        return None

    async def _accept(self, reading: Reading, found: Found) -> None:
        writer: ContentWriter | None = None
        part = found.part
        if found.content is not None:
            content = Content(found.content)
        else:
            async with self._streams:
                writer = self._intake.content()
                content = await self._stream(writer, reading, part)
        if part.attributes:
            content.attributes = part.attributes
        try:
            receipt = await self._intake.accept(Message(self._envelope(reading, found), content), report=True)
        except (Rejected, Unavailable):
            if writer is not None:
                await writer.abandon()
            raise
        # Any other end, cancellation too, may have come after the commit: the content is then in use.
        if receipt.duplicate:
            self._tell_duplicate(reading)
            if writer is not None:
                await writer.abandon()

    def _envelope(self, reading: Reading, found: Found) -> Envelope:
        claimed, part = reading.claimed, found.part
        key = f"{self._name}:{claimed.token}:{found.number}"
        theirs = _shown_key(part.key) if part.key else ""
        return Envelope(
            part.reverse_path,
            self._recipients(part),
            Origin(self._name, peer=claimed.shown, protocol="file", trusted=self._config.trusted),
            priority=part.priority,
            expires_at=part.expires_at,
            ret=part.ret,
            envid=part.envid,
            dedupe_key=f"{key}:{theirs}" if theirs else key,
        )

    def _recipients(self, part: Part) -> tuple[Recipient, ...]:
        """Return the recipients, with the reports that status files are made of asked for where the file did not."""
        wanted = self._notify
        if wanted is None or part.reverse_path is None:
            return part.recipients
        return tuple(
            replace(recipient, notify=wanted) if recipient.notify is Notify.UNSET else recipient
            for recipient in part.recipients
        )

    async def _stream(self, writer: ContentWriter, reading: Reading, part: Part) -> Content:
        try:
            pieces = reading.chunks(part)
            while (piece := await self._thread(next, pieces, None)) is not None:
                if not writer.write(piece):
                    await writer.drain()
            await self._thread(reading.check_unchanged)
            return await writer.finish()
        except BaseException:
            await writer.abandon()
            raise


async def _outcome(begun: asyncio.Future[Receipt] | Exception) -> Receipt | Exception:
    if isinstance(begun, Exception):
        return begun
    try:
        return await begun
    except Exception as e:  # noqa: BLE001  told where it is looked at
        return e


def _shown_key(key: str) -> str:
    """Return the other system's key as one line of text: a database takes no NUL, its index no key of any length."""
    return "".join(c if c.isprintable() else " " for c in key[:KEY_CHARACTERS]).strip()


def refused(e: Rejected, found: Found) -> Bad:
    """Return a refusal as what is wrong with the message."""
    mend = "mend the message, or the gateway's tables"
    return Bad(f"refused.{e.status.code}", 0, 0, e.status.text or str(e.status), mend, item=found.part.item)
