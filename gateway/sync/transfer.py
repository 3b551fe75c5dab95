"""Items brought across: read ahead on one side while they are appended on the other, in bounded batches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from gateway.mailbox import StoreFault
from gateway.message import Content
from gateway.status import Status
from gateway.sync.appending import Appending, problem_of
from gateway.sync.ends import End as End
from gateway.sync.ends import Report as Report
from gateway.sync.lanes import Budget, together
from gateway.sync.readying import Means, Read, ready
from gateway.sync.state import State
from gateway.sync.values import Copy, Policy, Side, other

_GONE: Final = ("4.2.0", "5.1.1")


async def fetched(end: End, ids: Sequence[str], report: Report) -> AsyncIterator[tuple[str, Content | Status]]:
    """Yield contents, going on after faults that pass. Raises: StoreFault."""
    at = 0
    while at < len(ids):
        await end.pace.ready()
        try:
            async for id, content in end.mailbox.fetch(ids[at:]):
                at += 1
                report.read += 1
                end.pace.good()
                yield id, content
        except StoreFault as fault:
            end.pace.bad(fault)
        else:
            return


def is_gone(status: Status) -> bool:
    """Tell whether a status says that an item is not there (any more)."""
    return status.code in _GONE


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

    async def run(self, copies: Sequence[Copy]) -> None:
        """Copy all of these. Raises: StoreFault, Unsettled."""
        groups: dict[tuple[Side, int], list[Copy]] = {}
        for copy in copies:
            groups.setdefault((copy.side, copy.folder), []).append(copy)
        lanes = asyncio.Semaphore(max(1, self._policy.connections))

        async def one(side: Side, folder: int, some: Sequence[Copy]) -> None:
            async with lanes:
                await self._folder(side, folder, some)

        await together([one(side, folder, some) for (side, folder), some in groups.items()])

    async def _folder(self, side: Side, folder: int, copies: Sequence[Copy]) -> None:
        queue: asyncio.Queue[list[Read] | None] = asyncio.Queue()
        budget = Budget(self._policy.ahead_bytes)
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

        async def batches() -> AsyncIterator[Sequence[Read]]:
            while (batch := await queue.get()) is not None:
                yield batch
                await budget.give(_octets(batch))

        await together([read(), appending.run(batches())])
        if appending.is_unsettled:
            self.again.add(folder)

    async def _batches(self, side: Side, copies: Sequence[Copy]) -> AsyncIterator[list[Read]]:
        """Yield what is read, in batches bounded by items and octets."""
        source, most = self._ends[other(side)], self._ends[side].mailbox.holds().max_item_bytes
        by_id = {copy.item.id: copy for copy in copies}
        batch: list[Read] = []
        octets = 0
        for chunk in self._chunks(copies):
            async for id, content in fetched(source, chunk, self._report):
                copy = by_id[id]
                if isinstance(content, Status):
                    await self._unread(copy, content)
                    continue
                size = content.size
                if most is not None and size > most:
                    status = Status("5.3.4", f"of {size} octets, and the most that is taken is {most}")
                    await self._problem(copy, status)
                    continue
                if batch and (len(batch) >= self._policy.batch_items or octets + size > self._policy.batch_bytes):
                    yield batch
                    batch, octets = [], 0
                if not self._means.search.takes(content):
                    self._report.skipped += 1
                    await self._state.settle(self._pairing, solved=[(other(side), id)])
                    continue
                batch.append(await ready(copy, content, self._ends[side].mailbox.holds(), self._means))
                octets += size
        if batch:
            yield batch

    def _chunks(self, copies: Sequence[Copy]) -> list[list[str]]:
        """Return ids in such groups as are fetched at once."""
        chunks: list[list[str]] = []
        octets = 0
        for copy in copies:
            size = copy.item.print.size or 0
            if not chunks or len(chunks[-1]) >= self._policy.batch_items or octets + size > self._policy.batch_bytes:
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
