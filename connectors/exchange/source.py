"""The source side: from items of watched folders to mails in the spool.

Promises: an item is moved, marked or deleted only after its mail's commit; until then it stays where it is, and is
taken after a crash. One that was committed before a kill is known by its id, and only its end is made up for. An item
that nothing can be made of, or that is refused for good, goes into the folder of refused ones; no item stops another.
Bounded: `max_in_flight` messages and 32 MiB of them are in memory, of those over 4 MiB `large_at_once`; of what is
committed there is no message any more, and the ends of 100 items are under way.
Known limits: an item that a user moves out of the folder and back, between the commit and its end, is another item.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Final

from connectors.exchange import envelope
from connectors.exchange.common_config import ExchangeConfig, Watched
from connectors.exchange.envelope import BadItem
from connectors.exchange.finishing import Finishing
from connectors.exchange.hand_over import HandOver
from connectors.exchange.organisation import Addressed, Fault, Organisation, Person, Ref
from connectors.exchange.places import Places
from connectors.exchange.tokens import Tokens
from connectors.exchange.watching import Folder, Under
from gateway.contract import (
    Content,
    Context,
    Intake,
    Rejected,
    Status,
    Unavailable,
)

BATCH_ITEMS: Final = 20
BATCH_OCTETS: Final = 8 * 1024 * 1024
IN_FLIGHT_OCTETS: Final = 4 * BATCH_OCTETS
LARGE: Final = 4 * 1024 * 1024
TRIES: Final = 3
"""How often an item is asked for that the server says it can't make a message of."""
ENDING: Final = 100
"""Items whose mails are committed, and that are being moved, marked or deleted."""
NEW_STREAM_S: Final = 60.0
"""How long to wait for further folders that can be watched, before notifications are asked for anew."""

GONE: Final = frozenset({"ErrorItemNotFound", "ErrorMessageNotFound"})
BROKEN: Final = frozenset(
    {
        "ErrorContentConversionFailed",
        "ErrorCorruptData",
        "ErrorItemCorrupt",
        "ErrorMessageSizeExceeded",
        "ErrorMimeContentConversionFailed",
        "ErrorMimeContentInvalid",
        "ErrorMimeContentInvalidBase64String",
        "ErrorUnsupportedMimeConversion",
    }
)


class ExchangeSource:
    """Takes the items of watched folders; `run` owns all of its tasks."""

    def __init__(
        self,
        name: str,
        config: ExchangeConfig,
        watched: Sequence[Watched],
        organisation: Organisation,
        tokens: Tokens,
        context: Context,
        protocol: str,
    ) -> None:
        self._name = name
        self._config = config
        self._organisation = organisation
        self._context = context
        self._protocol = protocol
        self._log = context.log
        self._hand_over: HandOver
        self._finishing = Finishing(organisation, config.refused_folder)
        self._places = Places(config.max_in_flight, IN_FLIGHT_OCTETS)
        self._large = asyncio.Semaphore(config.large_at_once)
        self._ending = asyncio.Semaphore(ENDING)
        self._accepting: set[asyncio.Task[None]] = set()
        self._paused_until = 0.0
        self._pauses = 0
        self._spool_trouble: str | None = None
        self._opened = asyncio.Event()
        self._folders = [
            Folder(
                rule,
                organisation,
                tokens,
                poll_s=config.poll_s,
                take=self._take,
                prepare=self._finishing.prepare,
                opened=self._opened.set,
                log=context.log,
            )
            for rule in watched
        ]

    def trouble(self) -> str | None:
        """Say in words for an operator what does not work."""
        found = [text for each in self._folders for text in (each.trouble, each.waiting) if text]
        told = [*([self._spool_trouble] if self._spool_trouble else []), *found[:3]]
        if len(found) > 3:
            told.append(f"and {len(found) - 3} more folders")
        return "; ".join(told) or None

    async def run(self, intake: Intake) -> None:
        """Serve until cancelled; then finish what is being accepted."""
        self._hand_over = HandOver(self._name, self._config, self._organisation, self._context, self._protocol, intake)
        serving = asyncio.ensure_future(self._serve())
        try:
            await asyncio.shield(serving)
        finally:
            serving.cancel()
            await asyncio.wait((serving,), timeout=self._context.stop_s * 0.1)
            if self._accepting:
                await asyncio.wait(self._accepting, timeout=self._context.stop_s * 0.6)
            for each in self._accepting:
                each.cancel()
            if self._accepting:
                await asyncio.wait(self._accepting, timeout=self._context.stop_s * 0.1)

    async def _serve(self) -> None:
        if not self._folders:
            await asyncio.Event().wait()  # nothing comes in here; to be cancelled like any source
        async with asyncio.TaskGroup() as tasks:
            for each in self._folders:
                tasks.create_task(each.run())
            tasks.create_task(self._hints())

    # -- hints

    async def _hints(self) -> None:
        """Ask for notifications of all folders that can be watched; of further ones after a while."""
        while not all(each.is_tried for each in self._folders):
            self._opened.clear()
            await self._opened.wait()
        while True:
            self._opened.clear()
            by_place = self._watchable()
            listening = asyncio.ensure_future(self._listen(by_place))
            try:
                while self._watchable().keys() <= by_place.keys():
                    await self._opened.wait()
                    self._opened.clear()
                if by_place:
                    await asyncio.sleep(NEW_STREAM_S)
            finally:
                listening.cancel()
                await asyncio.wait((listening,))

    def _watchable(self) -> dict[tuple[str, str], Folder]:
        return {(each.rule.mailbox, each.id): each for each in self._folders if each.id is not None}

    async def _listen(self, by_place: Mapping[tuple[str, str], Folder]) -> None:
        while by_place:
            try:
                async for place in self._organisation.watch(list(by_place)):
                    folder = by_place.get(place)
                    if folder is not None:
                        folder.hint()
                return
            except Exception as e:  # noqa: BLE001 - without notifications folders are looked at from time to time
                self._log.error("a fault in the notifications", cause=repr(e), exc_info=e)
                await asyncio.sleep(NEW_STREAM_S)

    # -- from a page to messages

    async def _take(self, folder: Folder, items: Sequence[Under]) -> None:
        """Fetch items and begin to accept each; returns once all of them were begun.

        Raises what the server said instead; what was not begun waits for its next try then.
        """
        left = list(items)
        try:
            while left:
                await self._take_some(folder, left)
        except Fault as e:
            for item in left:
                folder.hold(item, str(e), after_s=e.retry_after_s)
            raise
        except Exception as e:
            for item in left:
                folder.hold(item, repr(e))
            raise

    async def _take_some(self, folder: Folder, left: list[Under]) -> None:
        """Take as many from the front of the list as go together."""
        most = self._config.max_message_bytes
        await self._wait_out()
        if left[0].accepted or left[0].seen.size > most:
            await self._places.take([0])
            item = left.pop(0)
            work = None if item.accepted else self._refuse(folder, item, self._hand_over.over(item.seen.size))
            self._begin(folder, item, work, 0, large=False)
            return
        now = _batch(left, min(LARGE, most))
        is_large = now[0].seen.size > LARGE
        if is_large:
            await self._large.acquire()
        try:
            fit = await self._places.take([item.seen.size for item in now])
        except BaseException:
            if is_large:
                self._large.release()
            raise
        # What has no place goes with the next batch.
        del left[:fit]
        await self._fetch(folder, now[:fit], is_large)

    async def _fetch(self, folder: Folder, items: Sequence[Under], is_large: bool) -> None:
        """Fetch items whose places are taken; each place is given to what accepts the item, or freed."""
        waiting = {item.seen.ref: item for item in items}
        try:
            parties = await self._parties(folder.rule, [item.seen.ref for item in items])
            stream = self._organisation.mime([item.seen for item in items])
            async for ref, found in stream:
                item = waiting.pop(ref, None)
                if item is None:
                    continue
                if isinstance(found, Fault):
                    self._begin(folder, item, self._bad(folder, item, found), item.seen.size, large=is_large)
                else:
                    addressed, known = parties.get(ref, (None, {}))
                    work = self._accept(folder, item, found, addressed, known)
                    self._begin(folder, item, work, item.seen.size, large=is_large)
        except Fault as e:
            for item in waiting.values():
                folder.hold(item, str(e), after_s=e.retry_after_s)
            raise
        except Exception as e:
            for item in waiting.values():
                folder.hold(item, repr(e))
            raise
        else:
            for item in waiting.values():
                folder.hold(item, "the server did not give it")
        finally:
            for item in waiting.values():
                self._release(item.seen.size, is_large)

    async def _parties(
        self, rule: Watched, refs: Sequence[Ref]
    ) -> dict[Ref, tuple[Addressed | None, Mapping[str, Person | None]]]:
        """Return whom items are from and to, and what the directory says of them, where the rule needs it."""
        if rule.envelope != "headers" or rule.recipients or rule.journal:
            return {}
        given = await self._organisation.addressed(refs)
        found = {ref: one for ref, one in given.items() if isinstance(one, Addressed)}
        names = list(dict.fromkeys(dn for one in found.values() for dn in envelope.legacy_dns(one)))
        known = await self._organisation.resolve(names) if names else {}
        return {ref: (one, known) for ref, one in found.items()}

    # -- one item: a task each, as many as have a place

    def _begin(
        self, folder: Folder, item: Under, work: Coroutine[Any, Any, None] | None, size: int, *, large: bool
    ) -> None:
        task = asyncio.get_running_loop().create_task(self._serve_one(folder, item, work, size, large))
        self._accepting.add(task)
        task.add_done_callback(self._accepting.discard)

    async def _serve_one(
        self, folder: Folder, item: Under, work: Coroutine[Any, Any, None] | None, size: int, large: bool
    ) -> None:
        """Do what makes a mail of an item; then, where its mail is committed, see to the item's own end.

        The place is free in between: while the server ends items, as slowly as it likes, what is next is fetched.
        """
        try:
            if work is not None:
                await self._guarded(folder, item, work)
            if item.accepted:
                await self._ending.acquire()
        finally:
            self._release(size, large)
        if item.accepted:
            try:
                await self._guarded(folder, item, self._end(folder, item))
            finally:
                self._ending.release()

    async def _guarded(self, folder: Folder, item: Under, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as e:  # noqa: BLE001 - an unknown fault is a deferral: the item stays where it is
            self._log.error("an item cannot be taken", message_id=item.seen.message_id, cause=repr(e), exc_info=e)
            folder.hold(item, repr(e))

    def _release(self, size: int, large: bool) -> None:
        self._places.release(size)
        if large:
            self._large.release()

    async def _accept(
        self,
        folder: Folder,
        item: Under,
        content: Content,
        addressed: Addressed | None,
        known: Mapping[str, Person | None],
    ) -> None:
        seen = item.seen
        try:
            await self._hand_over.accept(folder.rule, seen, content, addressed, known)
            item.accepted = True
            self._context.count("messages_taken", mailbox=seen.ref.mailbox)
            self._works()
        except BadItem as e:
            await self._refuse(folder, item, e.status)
        except Rejected as e:
            if e.status.is_permanent:
                await self._refuse(folder, item, e.status)
            else:
                folder.hold(item, str(e.status))
        except (Unavailable, OSError) as e:
            self._pause(str(e.status) if isinstance(e, Unavailable) else str(e))
            folder.hold(item, str(e))
        except Fault as e:
            folder.hold(item, str(e), after_s=e.retry_after_s)

    async def _end(self, folder: Folder, item: Under) -> None:
        """Move, mark or delete an item whose mail is committed."""
        try:
            await self._finishing.finish(folder.rule, item.seen.ref)
        except Fault as e:
            folder.hold(item, str(e), after_s=e.retry_after_s)
        else:
            folder.done(item)

    async def _bad(self, folder: Folder, item: Under, fault: Fault) -> None:
        """Judge an item that could not be fetched."""
        if fault.code in GONE:
            folder.done(item)
        elif fault.code in BROKEN and item.tries + 1 >= TRIES:
            await self._refuse(folder, item, Status("5.6.0", f"the server can't make a message of it: {fault.code}"))
        else:
            folder.hold(item, str(fault), after_s=fault.retry_after_s)

    async def _refuse(self, folder: Folder, item: Under, status: Status) -> None:
        seen = item.seen
        try:
            await self._finishing.refuse(seen.ref)
        except Fault as e:
            folder.hold(item, str(e), after_s=e.retry_after_s)
            return
        self._context.count("messages_refused", mailbox=seen.ref.mailbox)
        self._log.warning(
            "an item was not taken",
            mailbox=seen.ref.mailbox,
            message_id=seen.message_id,
            why=str(status),
            kept_in=self._config.refused_folder,
        )
        folder.done(item)

    # -- the spool

    def _pause(self, why: str) -> None:
        """Nothing is accepted just now: wait, longer each time, all together."""
        now = asyncio.get_running_loop().time()
        if self._paused_until <= now:
            self._pauses += 1
            self._paused_until = now + min(30.0, 0.25 * 2.0 ** min(self._pauses, 20))
            self._spool_trouble = f"messages wait in their mailboxes: {why}"
            self._log.warning("messages wait", why=why)

    async def _wait_out(self) -> None:
        left = self._paused_until - asyncio.get_running_loop().time()
        if left > 0:
            await asyncio.sleep(left)

    def _works(self) -> None:
        self._pauses = 0
        self._spool_trouble = None


def _batch(items: Sequence[Under], single: int) -> Sequence[Under]:
    """Return what is fetched by one call: one item of more than `single` octets, or several others."""
    octets = items[0].seen.size
    if octets > single:
        return items[:1]
    for n, item in enumerate(items[1:BATCH_ITEMS], 1):
        octets += item.seen.size
        if item.accepted or item.seen.size > single or octets > BATCH_OCTETS:
            return items[:n]
    return items[:BATCH_ITEMS]
