"""Accepts wait for those of others: until none comes any more, and not for ever."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.spool.open import open_spool
from gateway.spool.options import SpoolOptions
from tests.gateway.spool.builders import Clock, Maker, submit


async def commits(folder: Path, clock: Clock, options: SpoolOptions, messages: int, pause_s: float) -> int:
    """Return how many commits it takes to accept messages that come one after the other."""
    maker = Maker(clock)
    async with await open_spool(f"sqlite:///{folder}", Path("/"), 0, clock, options) as spool:
        figures = spool._store.figures
        before = figures.commits
        told = []
        for n in range(messages):
            told.append(submit(spool, maker.message()))
            # The first one is alone and does not wait, so that the second one has company.
            if n:
                await asyncio.sleep(pause_s)
        await asyncio.gather(*told)
        return figures.commits - before


async def test_who_comes_soon_after_the_last_one_shares_its_commit(tmp_path: Path, clock: Clock) -> None:
    options = SpoolOptions(accept_gap_s=0.4, accept_delay_s=20)
    assert await commits(tmp_path / "spool", clock, options, 10, 0.01) == 2


async def test_those_that_come_without_end_are_committed_all_the_same(tmp_path: Path, clock: Clock) -> None:
    options = SpoolOptions(accept_gap_s=0.1, accept_delay_s=0.15)
    assert 3 <= await commits(tmp_path / "spool", clock, options, 40, 0.02) <= 15
