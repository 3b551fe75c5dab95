"""Items brought across: read ahead on one side while they are appended on the other, in bounded batches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Final

from gateway.mailbox import Form
from gateway.status import Status
from gateway.sync.appending import Appending, problem_of
from gateway.sync.ends import End as End
from gateway.sync.ends import Report as Report
from gateway.sync.ends import fetched as fetched
from gateway.sync.ends import is_gone as is_gone
from gateway.sync.lanes import Budget, Place, together
from gateway.sync.objects import form_across, stamps
from gateway.sync.readying import Means, Read, ready
from gateway.sync.state import State
from gateway.sync.values import Copy, Policy, Side, other

_FIRST: Final = 10
_FIRST_OCTETS: Final = 256 * 1024
"""Of what is copied into a folder no more is read before the first is appended: as long as that is read, a server that
has nothing else to do waits."""


class Transfer:
    """Copies into folders. `ids`: the folder's id on a side by its number; `advance` is told of each batch."""

    def __init__(
        self,
        pairing: str,
        ends: dict[Side, End],
        state: State,
        policy: Policy,
        report: Report,
        folder_id: Callable[[int, Side], str],
        advance: Callable[[], None],
        means: Means,
    ) -> None:
        self._pairing = pairing
        self._ends = ends
        self._state = state
        self._policy = policy
        self._report = report
        self._folder_id = folder_id
        self._advance = advance
        self._means = means
        self.again: set[int] = set()
        """Folders in which something is not settled."""

    async def run(self, copies: Sequence[Copy], place: Place | None = None) -> None:
        """Copy all of these. Raises: StoreFault, Unsettled."""
        groups: dict[tuple[Side, int], list[Copy]] = {}
        for copy in copies:
            groups.setdefault((copy.side, copy.folder), []).append(copy)
        lanes = asyncio.Semaphore(max(1, self._policy.connections))

        async def one(side: Side, folder: int, some: Sequence[Copy]) -> None:
            async with lanes:
                await self._folder(side, folder, some, place)

        await together([one(side, folder, some) for (side, folder), some in groups.items()])

    async def _folder(self, side: Side, folder: int, copies: Sequence[Copy], place: Place | None) -> None:
        queue: asyncio.Queue[list[Read] | None] = asyncio.Queue()
        budget = place.budget if place is not None else Budget(self._policy.ahead_bytes)
        appending = Appending(
            self._pairing,
            side,
            folder,
            self._folder_id(folder, side),
            self._ends[side],
            self._state,
            self._policy,
            self._report,
            self._advance,
            self._means,
            source_tells=self._ends[other(side)].mailbox.holds().tells_unseen,
        )

        async def read() -> None:
            async for batch in self._batches(side, copies):
                await budget.take(_octets(batch))
                await queue.put(batch)
            await queue.put(None)
            if place is not None:
                place.all_read.set()

        async def batches() -> AsyncIterator[Sequence[Read]]:
            while (batch := await queue.get()) is not None:
                yield batch
                await budget.give(_octets(batch))

        await together([read(), appending.run(batches(), place)])
        if appending.is_unsettled:
            self.again.add(folder)

    async def _batches(self, side: Side, copies: Sequence[Copy]) -> AsyncIterator[list[Read]]:
        """Yield what is read, in batches bounded by items and octets."""
        source, most = self._ends[other(side)], self._ends[side].mailbox.holds().max_item_bytes
        objects = [copy for copy in copies if copy.item.print.kind != "mail"]
        if objects:
            async for read in self._objects(side, objects):
                yield read
            copies = [copy for copy in copies if copy.item.print.kind == "mail"]
        by_id = {copy.item.id: copy for copy in copies}
        batch: list[Read] = []
        octets = 0
        full = min(_FIRST, self._policy.batch_items)
        for chunk in self._chunks(copies):
            async for id, content in fetched(source, chunk, self._report):
                copy = by_id[id]
                if isinstance(content, Status):
                    await self._unread(copy, content)
                    continue
                size = content.size
                if await self._is_too_large(copy, size, most):
                    continue
                if batch and (len(batch) >= full or octets + size > self._policy.batch_bytes):
                    yield batch
                    batch, octets, full = [], 0, self._policy.batch_items
                if not self._means.search.takes(content):
                    self._report.skipped += 1
                    await self._state.settle(self._pairing, solved=[(other(side), id)])
                    continue
                batch.append(await ready(copy, content, self._ends[side].mailbox.holds(), self._means))
                octets += size
            if batch and full != self._policy.batch_items:
                yield batch
                batch, octets, full = [], 0, self._policy.batch_items
        if batch:
            yield batch

    async def _objects(self, side: Side, copies: Sequence[Copy]) -> AsyncIterator[list[Read]]:
        """Yield what is no mail, in its own forms. What it is like is read first, and again where it is edited then."""
        source, holds = self._ends[other(side)], self._ends[side].mailbox.holds()
        by_id = {copy.item.id: copy for copy in copies}
        for chunk in self._chunks(copies):
            asked = [(id, by_id[id].item.print.kind) for id in chunk]
            known = await stamps(source, asked, self._report)
            forms: dict[Form, list[str]] = {}
            for id, kind in asked:
                forms.setdefault(form_across(kind, source.mailbox.holds(), holds), []).append(id)
            for form, ids in forms.items():
                batch: list[Read] = []
                async for id, content in fetched(source, ids, self._report, form):
                    copy, (digest, uid) = by_id[id], known.get(id, (None, None))
                    if isinstance(content, Status):
                        await self._unread(copy, content)
                    elif not await self._is_too_large(copy, content.size, holds.max_item_bytes):
                        listed = copy.item.print
                        print = replace(listed, digest=digest, message_id=uid, size=listed.size or content.size)
                        words, at = copy.item.words, listed.received_at
                        batch.append(Read(copy, content, content, print, words, at, form=form))
                if batch:
                    yield batch

    async def _is_too_large(self, copy: Copy, size: int, most: int | None) -> bool:
        if most is None or size <= most:
            return False
        await self._problem(copy, Status("5.3.4", f"of {size} octets, and the most that is taken is {most}"))
        return True

    def _chunks(self, copies: Sequence[Copy]) -> list[list[str]]:
        """Return ids in such groups as are fetched at once, the first of them being here soon."""
        chunks: list[list[str]] = []
        octets = 0
        for copy in copies:
            size = copy.item.print.size or 0
            is_first = len(chunks) <= 1
            most = min(_FIRST, self._policy.batch_items) if is_first else self._policy.batch_items
            most_octets = min(_FIRST_OCTETS, self._policy.batch_bytes) if is_first else self._policy.batch_bytes
            if not chunks or len(chunks[-1]) >= most or octets + size > most_octets:
                chunks.append([])
                octets = 0
            chunks[-1].append(copy.item.id)
            octets += size
        return chunks

    async def _unread(self, copy: Copy, status: Status) -> None:
        side = other(copy.side)
        if is_gone(status):  # it was removed meanwhile, and the next pass is told
            await self._state.settle(self._pairing, solved=[(side, copy.item.id)])
            return
        await self._problem(copy, status)

    async def _problem(self, copy: Copy, status: Status) -> None:
        self._report.problems += 1
        await self._state.settle(self._pairing, problems=[problem_of(copy, status)])


def _octets(batch: Sequence[Read]) -> int:
    return sum(one.content.size for one in batch)
