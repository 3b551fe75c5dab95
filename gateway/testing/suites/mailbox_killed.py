"""What a mailbox store promises over a kill: what it said is there is there, and nothing is there in half."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from gateway.contract import Appended, Content
from gateway.testing.bench import PATIENCE_S, Bench, MailboxDriver, promise
from gateway.testing.crash import POINTS, SteppingLoop, Victim, killed, points
from gateway.testing.peers import Journal
from gateway.testing.samples import numbered
from gateway.testing.suites.mailbox_folders import MailboxFolders, item

DURABLE: Final = "what append() says is Appended is in the store durably, whole and once"
WHOLE: Final = "an item is in a store whole, or not at all"
_FEWER: Final = 3
"""Each kill starts a client of the store's anew, which costs more than a source's; so a third of the points."""


class MailboxKilled(MailboxFolders):
    """Tests of an append that is killed."""

    @pytest.mark.timeout(300)
    def test_store_killed_at_every_step_of_an_append(self, connector: Bench, tmp_path: Path) -> None:
        """Kill the gateway before each step of append(), open the mailbox again, and look what is there."""
        if not connector.make().holds().writable:
            return
        total = self._kill_append_at(connector, tmp_path, 0, 0)
        for number, at in enumerate(points(total, max(2, POINTS // _FEWER)), 1):
            self._kill_append_at(connector, tmp_path, number, at)

    def _kill_append_at(self, connector: Bench, tmp: Path, number: int, at: int) -> int:
        driver: MailboxDriver = connector.driver
        journal, calls = Journal(tmp / f"appended-{number}"), tmp / f"calls-{number}"
        name = driver.mailbox()
        items = [item(2 * number), item(2 * number + 1)]

        async def body(loop: SteppingLoop) -> None:
            made = connector.make()
            await made.start()
            async with made.open(name) as opened:
                folder = await self._inbox(opened)
                connector.calls.into(calls)
                loop.armed = True
                answers = await opened.append(folder, items)
                journal.add({"ids": [each.id if isinstance(each, Appended) else None for each in answers]})
                loop.armed = False
            await made.stop()

        victim = Victim(body, at)
        try:
            ended = victim.wait(lambda: False, PATIENCE_S)
            promise(ended, "append() ends", f"was still busy after {PATIENCE_S} s")
        finally:
            steps = victim.steps
            victim.kill()
            connector.calls.take_over(calls, f"the gateway is killed, {'before' if at else 'after'} step {at or steps}")
        told = [id for line in journal.lines() for id in line["ids"]]

        async def again() -> None:
            made = connector.make()
            await made.start()
            try:
                async with made.open(name) as opened:
                    folder = await self._inbox(opened)
                    ids = [state.id for state in (await self._all(opened, folder)).items]
                    found = [(id, each) async for id, each in opened.fetch(ids)]
            finally:
                await made.stop()
            promise(len(told) == 2 or bool(at), DURABLE, f"answered {told} to two sound items in a process of its own")
            promise(
                None not in told and set(told) <= set(ids), DURABLE, f"had said {told}, and has {ids}, {killed(at)}"
            )
            promise(len(ids) <= len(items), DURABLE, f"has {len(ids)} items of two that were put in, {killed(at)}")
            for id, content in found:
                octets = b"".join(content.chunks()) if isinstance(content, Content) else b""
                whole = any(driver.carried(numbered(2 * number + n), octets) for n in range(2))
                promise(whole, WHOLE, f"has {id} with {octets[:200]!r}, {killed(at)}")

        connector.run(again())
        return steps
